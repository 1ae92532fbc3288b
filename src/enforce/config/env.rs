//! The environment, which can describe this process and never widen what it trusts (S34).

use std::env::VarError;
use std::fmt;
use std::str::FromStr;

use crate::enforce::config::{GuardConfig, GuardConfigBuilder};

/// The variable that holds the origin which evidence names as ours.
pub const SERVER_ORIGIN_VARIABLE: &str = "CAPISCIO_SERVER_ORIGIN";

/// The variable that holds the level of an application's log.
pub const LOG_LEVEL_VARIABLE: &str = "CAPISCIO_LOG_LEVEL";

/// What capiscio-mcp takes from its environment and we do not, because whoever starts the process could then choose whom it
/// trusts or what it records.
const IGNORED: &[(&str, &str)] = &[
    ("CAPISCIO_TRUST_STORE_KEY", "trust is configured with `issuer`"),
    ("CAPISCIO_TRUST_PATH", "trust is configured with `issuer`"),
    ("CAPISCIO_CACHE_PATH", "the cache of revocations is configured with `revocations`"),
    ("CAPISCIO_REGISTRY_ENDPOINT", "trust is configured with `issuer`, evidence with `evidence`"),
    ("CAPISCIO_EVIDENCE_MODE", "evidence is configured with `evidence`"),
    ("CAPISCIO_EVIDENCE_DIR", "evidence is configured with `evidence`"),
    ("CAPISCIO_EVIDENCE_RETENTION_DAYS", "evidence is configured with `evidence`"),
    ("CAPISCIO_ENFORCEMENT_MODE", "the guard always enforces"),
    ("CAPISCIO_BUNDLE_URL", "rules are configured with `tools`"),
    ("CAPISCIO_PDP_ENDPOINT", "rules are configured with `tools`"),
    ("CAPISCIO_BREAKGLASS_PUBLIC_KEY", "there is no override"),
    ("CAPISCIO_SERVER_DID", "own DIDs are configured with `own_dids`"),
];

/// Reads one variable of the process's environment.
#[expect(clippy::disallowed_methods, reason = "this is the one place that the ban points to")]
fn process(variable: &str) -> Result<String, VarError> {
    std::env::var(variable)
}

impl GuardConfig {
    /// A builder that has read the environment ([`GuardConfigBuilder::environment`]), as capiscio-mcp's `from_env`. What is
    /// trusted and allowed still has to be said.
    #[must_use]
    pub fn from_env() -> GuardConfigBuilder {
        Self::builder().environment()
    }
}

impl GuardConfigBuilder {
    /// Takes `CAPISCIO_SERVER_ORIGIN` from the environment, as the origin that evidence names as ours.
    ///
    /// Nothing else: no variable adds trust, sets an audience, selects a profile, or says where or how evidence is kept.
    /// capiscio-mcp's variables that would are ignored with a [warning](GuardConfig::warnings). A value that cannot be used
    /// is a mistake and stops the start.
    #[must_use]
    pub fn environment(self) -> Self {
        self.environment_from(process)
    }

    /// As [`environment`](Self::environment), from `lookup` instead of the process's environment.
    #[must_use]
    pub fn environment_from(mut self, lookup: impl Fn(&str) -> Result<String, VarError>) -> Self {
        if let Some(origin) = self.variable(SERVER_ORIGIN_VARIABLE, &lookup) {
            self = self.server_origin(origin);
        }
        for (variable, instead) in IGNORED {
            if !matches!(lookup(variable), Err(VarError::NotPresent)) {
                self.warnings.push(format!("{variable} is ignored: {instead}"));
            }
        }
        self
    }

    /// Takes `CAPISCIO_SERVER_ORIGIN` as an audience too. Whoever can set the environment then chooses for whom badges
    /// must be meant.
    #[must_use]
    pub fn audience_from_env(self) -> Self {
        self.audience_from(process)
    }

    /// As [`audience_from_env`](Self::audience_from_env), from `lookup` instead of the process's environment.
    #[must_use]
    pub fn audience_from(mut self, lookup: impl Fn(&str) -> Result<String, VarError>) -> Self {
        match self.variable(SERVER_ORIGIN_VARIABLE, &lookup) {
            Some(origin) => self.audience(origin),
            None => self,
        }
    }

    /// The value of a variable; an empty one counts as unset, one that is not text is a mistake.
    fn variable(&mut self, name: &str, lookup: impl Fn(&str) -> Result<String, VarError>) -> Option<String> {
        match lookup(name) {
            Ok(value) => Some(value).filter(|value| !value.is_empty()),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(_)) => {
                self.problem(name, "is not text; write an origin such as `https://files.example.com`");
                None
            }
        }
    }
}

/// How much an application logs, for the application to hand to its subscriber. Ordered from silence to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "the levels of `tracing`")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Failures.
    Error,
    /// What should be looked at.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// How it happens.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The spelling that `tracing`'s filters read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not a log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a log level is one of off, error, warn, info, debug, trace")]
#[non_exhaustive]
pub struct LogLevelError;

impl FromStr for LogLevel {
    type Err = LogLevelError;

    /// Reads a level in any case; `warning` is `warn`.
    fn from_str(text: &str) -> Result<Self, LogLevelError> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Ok(Self::Off),
            "error" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(LogLevelError),
        }
    }
}

/// The log level in `CAPISCIO_LOG_LEVEL`; [`LogLevel::Info`] when it is unset or empty.
///
/// # Errors
/// [`LogLevelError`] for any other word, which should stop the start: a silent fallback hides what was asked for.
pub fn log_level_from_env() -> Result<LogLevel, LogLevelError> {
    log_level_from(process)
}

pub(super) fn log_level_from(lookup: impl Fn(&str) -> Result<String, VarError>) -> Result<LogLevel, LogLevelError> {
    match lookup(LOG_LEVEL_VARIABLE) {
        Ok(text) if text.is_empty() => Ok(LogLevel::default()),
        Ok(text) => text.parse(),
        Err(VarError::NotPresent) => Ok(LogLevel::default()),
        Err(VarError::NotUnicode(_)) => Err(LogLevelError),
    }
}
