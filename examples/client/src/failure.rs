//! Why the program did not do what was asked, and the exit code that says so.

use std::error::Error;
use std::fmt::Display;

use rmcp::ServiceError;
use rmcp_guard::identity::server::ServerVerifyError;
use rmcp_guard::layer::client::{ConnectError, ReportedDenial, VerificationFailure, VerifiedClient, denial_of_error};

/// A failure, by what a caller can do about it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Anything else: the connection, the protocol.
    Other(String),
    /// The command line or a file that it names.
    Usage(String),
    /// The server did not prove who it is. No badge has left.
    NotVerified { detail: String, error: Option<Box<ServerVerifyError>> },
    /// The server's guard denied the call.
    Denied { tool: String, denial: ReportedDenial },
    /// The tool failed; `None` when its own result, which says how, has been printed.
    Tool(Option<String>),
}

impl Failure {
    /// Blames what the user gave under `name`.
    pub(crate) fn usage<E: Display>(name: &str) -> impl FnOnce(E) -> Self {
        let name = name.to_owned();
        move |error| Self::Usage(format!("{name}: {error}"))
    }

    /// A request about `target` failed over an established connection.
    pub(crate) fn of_call(client: &VerifiedClient, target: &str, error: &ServiceError) -> Self {
        if let Some(failure) = client.verification_failure() {
            return failure.into();
        }
        if let Some(denial) = denial_of_error(error) {
            return Self::Denied { tool: target.to_owned(), denial };
        }
        if let ServiceError::McpError(error) = error {
            return Self::Tool(Some(format!("{} ({})", error.message, error.code.0)));
        }
        Self::Other(chain(error))
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::NotVerified { .. } => 3,
            Self::Denied { .. } => 4,
            Self::Tool(_) => 5,
        }
    }

    /// A stable word for `--json`.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Other(_) => "other",
            Self::Usage(_) => "usage",
            Self::NotVerified { .. } => "server_not_verified",
            Self::Denied { .. } => "denied",
            Self::Tool(_) => "tool_error",
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        if let ConnectError::Identity(error) = error {
            return error.into();
        }
        if let ConnectError::Config(error) = &error {
            return Self::Usage(error.to_string());
        }
        Self::Other(chain(&error))
    }
}

impl From<VerificationFailure> for Failure {
    fn from(failure: VerificationFailure) -> Self {
        if let VerificationFailure::Identity(error) = failure {
            return error.into();
        }
        Self::NotVerified { detail: failure.to_string(), error: None }
    }
}

impl From<ServerVerifyError> for Failure {
    fn from(error: ServerVerifyError) -> Self {
        Self::NotVerified { detail: error.detail().to_owned(), error: Some(Box::new(error)) }
    }
}

/// An error with its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
