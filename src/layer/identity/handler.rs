use rmcp::model::{
    CacheScope, DiscoverResult, InitializeRequestParams, InitializeResult, MetaObject, RequestMetaObject,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::{Identity, IdentityLayer};
use crate::enforce::is_guard_meta_key;
use crate::layer::forward::forward_to_inner;

impl IdentityLayer {
    /// Puts the disclosure into a result's `_meta`; says whether it answers this client's nonce.
    fn disclose(&self, asked: &RequestMetaObject, meta: &mut Option<MetaObject>) -> bool {
        let disclosure = self.identity.disclose(Some(&**asked), self.clock.now_unix());
        let meta = meta.get_or_insert_default();
        meta.retain(|key, _| !is_guard_meta_key(key));
        meta.extend(MetaObject(disclosure.meta));
        disclosure.nonce_bound
    }
}

/// Takes the client's challenge and every other key of ours out of the request: the handler inside has no use for them,
/// and one that proxies would hand them on.
fn take_meta(context: &mut RequestContext<RoleServer>) -> RequestMetaObject {
    let asked = context.meta.clone();
    context.meta.retain(|key, _| !is_guard_meta_key(key));
    asked
}

#[deny(clippy::missing_trait_methods, reason = "a method that is new in rmcp must be looked at")]
impl<S: ServerHandler> ServerHandler for Identity<S> {
    async fn initialize(
        &self,
        request: InitializeRequestParams,
        mut context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let asked = take_meta(&mut context);
        let mut result = ServerHandler::initialize(&self.inner, request, context).await?;
        self.layer.disclose(&asked, &mut result.meta);
        Ok(result)
    }

    async fn discover(&self, mut context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        let asked = take_meta(&mut context);
        let mut result = ServerHandler::discover(&self.inner, context).await?;
        if self.layer.disclose(&asked, &mut result.meta) {
            // rmcp's client caches by method alone: the next nonce would be answered with this one's proof.
            result.ttl_ms = 0;
            result.cache_scope = CacheScope::Private;
        }
        Ok(result)
    }

    forward_to_inner! {
        ping, negotiate_initialize, supported_protocol_versions, complete, set_level, get_prompt, list_prompts,
        list_resources, list_resource_templates, read_resource, accepted_subscription_filter, listen, subscribe,
        unsubscribe, call_tool, list_tools, get_tool, on_custom_request, on_cancelled, on_progress, on_initialized,
        on_roots_list_changed, on_custom_notification, get_info, get_task, update_task, cancel_task, list_skills,
        get_skill, read_resource_directory
    }
}
