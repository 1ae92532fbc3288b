//! Why the CA did not do what it was asked: one type for the command line and for HTTP.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rmcp_guard::identity::badge::BadgeIssueError;

use crate::exit::{Exit, Failure};

/// The CA could not, or would not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaError {
    /// A rule forbids it; whoever asked may know why.
    #[error("{0}")]
    Refused(Refusal),
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    #[error("{0}")]
    Io(String, #[source] std::io::Error),
    /// What stands in the directory is not what this program wrote.
    #[error("{0}")]
    State(String),
    #[error("the operating system gave no random bytes")]
    Random,
    #[error("a worker of the CA broke off")]
    Worker,
}

impl CaError {
    pub(crate) fn refused(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self::Refused(Refusal { status, code, message: message.into(), retry_after: None })
    }

    pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::refused(400, code, message)
    }

    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Io(path.display().to_string(), error)
    }
}

impl From<BadgeIssueError> for CaError {
    fn from(error: BadgeIssueError) -> Self {
        match error {
            BadgeIssueError::Random => Self::Random,
            BadgeIssueError::Lifetime => Self::invalid("invalid_ttl", error.to_string()),
            BadgeIssueError::Domain => Self::refused(409, "domain_required", error.to_string()),
            BadgeIssueError::Level => Self::invalid("invalid_level", error.to_string()),
            BadgeIssueError::Key => Self::invalid("key_mismatch", error.to_string()),
            BadgeIssueError::Origin | BadgeIssueError::KeyId | BadgeIssueError::ConfirmationKey | _ => {
                Self::State(error.to_string())
            }
        }
    }
}

impl CaError {
    /// As a command ends with it. A plain `?` would lose the exit code.
    pub(crate) fn into_failure(self) -> Failure {
        let exit = match &self {
            Self::Refused(refusal) if refusal.status == 400 => Exit::Usage,
            Self::Refused(_) => Exit::Refused,
            Self::Database(_) | Self::Io(..) | Self::State(_) => Exit::Input,
            Self::Random | Self::Worker => Exit::Failed,
        };
        Failure::from(self).with_exit(exit)
    }
}

/// A rule said no. Holds no secret: the text goes to whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The number of the HTTP status.
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// When it makes sense to ask again.
    pub(crate) retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}
