//! What the commands that talk to a registry have in common: where it is, and the API key.

use std::path::PathBuf;

use clap::Args;
use rmcp_guard::identity::fetch::FetchErrorKind;
use rmcp_guard::identity::registry::{
    API_KEY_VARIABLE, ApiKey, RegistrationError, RegistryClient, RegistryError, RegistryErrorKind,
};
use rmcp_guard::identity::server::Channel;

use crate::exit::{Exit, Failure};
use crate::files;
use crate::network::{self, NetworkArgs};

/// Where the API key is. There is no option for the key itself: every process on a machine can read arguments.
#[derive(Debug, Args)]
pub(crate) struct ApiKeyArgs {
    /// The file with the registry's API key, `-` for standard input; the variable `CAPISCIO_API_KEY` unless given.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

impl ApiKeyArgs {
    fn read(&self) -> Result<Option<ApiKey>, Failure> {
        if let Some(file) = &self.api_key_file {
            return files::read_text(file).map(|text| Some(ApiKey::new(text.trim())));
        }
        let Some(key) = std::env::var_os(API_KEY_VARIABLE).filter(|key| !key.is_empty()) else { return Ok(None) };
        match key.into_string() {
            Ok(key) => Ok(Some(ApiKey::new(key))),
            Err(_) => Err(Failure::new(format!("{API_KEY_VARIABLE} is not UTF-8")).with_exit(Exit::Input)),
        }
    }

    /// The client of the registry at `url`.
    pub(crate) fn client(&self, url: &str, network: &NetworkArgs) -> Result<RegistryClient, Failure> {
        if let Ok(channel) = Channel::http(url)
            && let Some(origin) = channel.origin()
        {
            network::check_origin(origin.as_str(), network)?;
        }
        RegistryClient::new(url, self.read()?, network.fetcher()?).map_err(|error| failure(&error))
    }

    /// The client of the registry at `url`, for calls that nobody makes without a key.
    pub(crate) fn client_with_key(&self, url: &str, network: &NetworkArgs) -> Result<RegistryClient, Failure> {
        let client = self.client(url, network)?;
        if client.has_key() {
            return Ok(client);
        }
        let advice = format!("the registry asks for an API key: --api-key-file, or the variable {API_KEY_VARIABLE}");
        Err(Failure::new(advice).with_exit(Exit::Usage))
    }
}

/// What went wrong, what the registry said, and what would help.
pub(crate) fn failure(error: &RegistryError) -> Failure {
    let mut lines = vec![error.to_string()];
    lines.extend(error.server_message().map(|message| format!("the registry says: {message}")));
    lines.push(error.advice().to_owned());
    Failure::lines(lines).with_exit(exit_of(error.kind()))
}

/// [`failure`], for what sets up an identity.
pub(crate) fn setup_failure(error: RegistrationError) -> Failure {
    let advice = error.advice();
    let exit = if matches!(error, RegistrationError::Keys(_)) { Exit::Input } else { Exit::Failed };
    if let RegistrationError::Registry(error) = &error {
        failure(error)
    } else {
        Failure::from(error).and(advice).with_exit(exit)
    }
}

const fn exit_of(kind: RegistryErrorKind) -> Exit {
    match kind {
        RegistryErrorKind::Url | RegistryErrorKind::Argument | RegistryErrorKind::Unreachable(FetchErrorKind::Url) => {
            Exit::Usage
        }
        RegistryErrorKind::ApiKey => Exit::Input,
        RegistryErrorKind::Unauthorized
        | RegistryErrorKind::Forbidden
        | RegistryErrorKind::NotFound
        | RegistryErrorKind::Conflict
        | RegistryErrorKind::Invalid => Exit::Refused,
        RegistryErrorKind::Unreachable(_)
        | RegistryErrorKind::RateLimited
        | RegistryErrorKind::Unavailable
        | RegistryErrorKind::Answer => Exit::Network,
        RegistryErrorKind::ForeignBadge | RegistryErrorKind::Challenge | RegistryErrorKind::Random | _ => Exit::Failed,
    }
}
