//! What a server may ask of the client.

use rmcp::model::{
    ClientCapabilities, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction, Implementation,
    ProtocolVersion,
};
use rmcp::service::RequestContext;
use rmcp::{ClientHandler, ErrorData, RoleClient};
use serde_json::{Map, Value};

/// Accepts every form, with its defaults.
#[derive(Clone, Debug)]
pub(crate) struct Handler {
    config: ClientConfig,
}

impl Handler {
    pub(crate) fn new(revision: ProtocolVersion) -> Self {
        let capabilities = ClientCapabilities::builder().enable_elicitation().build();
        let config = ClientConfig::new(capabilities, Implementation::new("conformance-client", "0.1.0"));
        Self { config: config.with_protocol_version(revision) }
    }
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        self.config.clone()
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { requested_schema, .. } = request else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        let schema = serde_json::to_value(requested_schema)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let content: Map<_, _> = fields
            .filter_map(|(name, field)| match (field.get("default"), field.get("type").and_then(Value::as_str)) {
                (Some(default), _) => Some((name.clone(), default.clone())),
                (None, Some("boolean")) => Some((name.clone(), Value::Bool(true))),
                (None, _) => None,
            })
            .collect();
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(Value::Object(content)))
    }
}
