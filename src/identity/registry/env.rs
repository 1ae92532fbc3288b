//! The environment, which says who this process is and never whom it trusts (S34).

use std::env::VarError;
use std::sync::Arc;

use crate::identity::fetch::Fetcher;
use crate::identity::key::SigningKey;
use crate::identity::registry::connect::{RegistrationError, ServerConnector, ServerRef};
use crate::identity::registry::{ApiKey, DEFAULT_REGISTRY, RegistryClient};
use crate::identity::server::ServerIdentity;

/// The server's id at the registry, a UUID, or `auto`: created on the first start.
pub const SERVER_ID_VARIABLE: &str = "CAPISCIO_SERVER_ID";
/// The registry's API key.
pub const API_KEY_VARIABLE: &str = "CAPISCIO_API_KEY";
/// The registry's base URL; [`DEFAULT_REGISTRY`] otherwise.
pub const SERVER_URL_VARIABLE: &str = "CAPISCIO_SERVER_URL";
/// The domain that the badge names.
pub const SERVER_DOMAIN_VARIABLE: &str = "CAPISCIO_SERVER_DOMAIN";
/// The server's private key, PKCS#8 PEM; line breaks may be written `\n`.
pub const PRIVATE_KEY_VARIABLE: &str = "CAPISCIO_SERVER_PRIVATE_KEY_PEM";

/// A variable stops the start. Its value is never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct EnvironmentError {
    variable: &'static str,
    problem: &'static str,
}

impl EnvironmentError {
    /// The variable.
    #[must_use]
    pub const fn variable(&self) -> &'static str {
        self.variable
    }
}

/// Reads one variable of the process's environment.
#[expect(clippy::disallowed_methods, reason = "one of the two places that the ban points to")]
fn process(variable: &str) -> Result<String, VarError> {
    std::env::var(variable)
}

impl ServerIdentity {
    /// What [`connect`](Self::connect) needs, from the environment, as capiscio-mcp's `from_env`:
    ///
    /// | variable | what it says |
    /// |---|---|
    /// | `CAPISCIO_SERVER_ID` | the server's UUID, or `auto` |
    /// | `CAPISCIO_API_KEY` | the registry's API key |
    /// | `CAPISCIO_SERVER_URL` | the registry, `https://registry.capisc.io` by default |
    /// | `CAPISCIO_SERVER_DOMAIN` | the domain that the badge names; the registry's host by default |
    /// | `CAPISCIO_SERVER_PRIVATE_KEY_PEM` | the server's key; otherwise the file, otherwise a new one |
    ///
    /// None of them adds trust: which issuers and addresses count is said in code. An empty variable counts as unset.
    ///
    /// # Errors
    /// [`RegistrationError::Environment`] for a variable that is missing or cannot be used,
    /// [`RegistrationError::Registry`] for an unusable URL or API key.
    pub fn from_env(fetcher: Fetcher) -> Result<ServerConnector, RegistrationError> {
        Self::from_env_with(fetcher, process)
    }

    /// As [`from_env`](Self::from_env), from `lookup` instead of the process's environment.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_env_with(
        fetcher: Fetcher,
        lookup: impl Fn(&str) -> Result<String, VarError>,
    ) -> Result<ServerConnector, RegistrationError> {
        let read = |variable| match lookup(variable) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(EnvironmentError { variable, problem: "is not text" }),
        };
        let required =
            |variable| read(variable)?.ok_or(EnvironmentError { variable, problem: "is not set; see the registry" });

        let server = ServerRef::from(required(SERVER_ID_VARIABLE)?);
        if let ServerRef::Id(id) = &server
            && (id.len() != 36 || uuid::Uuid::try_parse(id).is_err())
        {
            let problem = "is neither a UUID nor `auto`";
            return Err(EnvironmentError { variable: SERVER_ID_VARIABLE, problem }.into());
        }
        let api_key = ApiKey::new(required(API_KEY_VARIABLE)?);
        let url = read(SERVER_URL_VARIABLE)?;
        let client = RegistryClient::new(url.as_deref().unwrap_or(DEFAULT_REGISTRY), Some(api_key), fetcher)?;
        let mut connector = Self::connect(client, server);
        if let Some(domain) = read(SERVER_DOMAIN_VARIABLE)? {
            connector = connector.domain(domain);
        }
        if let Some(pem) = read(PRIVATE_KEY_VARIABLE)?.map(zeroize::Zeroizing::new) {
            let unescaped = zeroize::Zeroizing::new(pem.replace("\\n", "\n"));
            let key = SigningKey::from_pkcs8_pem(&unescaped).map_err(|_| EnvironmentError {
                variable: PRIVATE_KEY_VARIABLE,
                problem: "is not an Ed25519 key in PKCS#8 PEM",
            })?;
            connector = connector.key(Arc::new(key));
        }
        Ok(connector)
    }
}
