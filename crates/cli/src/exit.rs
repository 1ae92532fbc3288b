//! How a command ends: the exit codes, and what is said on standard error.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use anstyle::AnsiColor;
use rmcp_guard::evidence::escape_for_display;

/// Why a command ended without doing what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The answer is no, or the work failed in a way of its own.
    Failed,
    /// The arguments cannot be. clap ends with the same number.
    Usage,
    /// Another machine could not be reached, or gave no usable answer.
    Network,
    /// A file or a configuration cannot be used.
    Input,
    /// The other side understood and refused, or what was asked for is not there.
    Refused,
    /// Evidence was altered, or is not signed by a trusted key.
    Tampered,
    /// Nothing of the evidence was found altered, but something is missing.
    Incomplete,
}

/// Exit codes, which `--help` explains.
///
/// Whoever verifies logs by a script must be able to tell three answers apart, so `evidence` has numbers of its own: there 1
/// always means tampered, and whatever merely went wrong means something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codes {
    /// Those of every other command.
    General,
    /// Those of `evidence`.
    Evidence,
}

impl Codes {
    /// The number that `exit` has.
    pub(crate) const fn number(self, exit: Exit) -> u8 {
        match (self, exit) {
            (Self::General, Exit::Failed | Exit::Tampered) | (Self::Evidence, Exit::Tampered) => 1,
            (Self::General, Exit::Usage | Exit::Incomplete) | (Self::Evidence, Exit::Incomplete) => 2,
            (Self::General, Exit::Network) | (Self::Evidence, Exit::Usage) => 3,
            (Self::General, Exit::Input) | (Self::Evidence, Exit::Input | Exit::Failed) => 4,
            (Self::General | Self::Evidence, Exit::Refused) => 5,
            (Self::Evidence, Exit::Network) => 6,
        }
    }
}

/// Why a command failed, in lines for standard error.
#[derive(Debug)]
pub(crate) struct Failure {
    lines: Vec<String>,
    exit: Exit,
}

impl Failure {
    /// A failure of no particular kind.
    pub(crate) fn new(line: impl Into<String>) -> Self {
        Self::lines(vec![line.into()])
    }

    /// One with a line for each of several mistakes.
    pub(crate) fn lines(lines: Vec<String>) -> Self {
        Self { lines, exit: Exit::Failed }
    }

    /// The answer is no, and standard output has said so already.
    pub(crate) fn answered() -> Self {
        Self::lines(Vec::new())
    }

    /// With another exit code.
    #[must_use]
    pub(crate) fn with_exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// What the exit code says.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Its lines as one, for a place where it is no failure.
    pub(crate) fn text(&self) -> String {
        self.lines.join("; ")
    }

    /// With another line.
    #[must_use]
    pub(crate) fn and(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// With what it was about in front of each line.
    #[must_use]
    pub(crate) fn about(mut self, what: impl fmt::Display) -> Self {
        for line in &mut self.lines {
            line.insert_str(0, &format!("{what}: "));
        }
        self
    }

    /// Tells it on standard error, and the exit code to the caller.
    pub(crate) fn report(&self, codes: Codes) -> ExitCode {
        let mut err = anstream::stderr().lock();
        let red = AnsiColor::Red.on_default();
        for line in &self.lines {
            // Without a standard error there is nobody left to tell.
            let _ = writeln!(err, "{red}rmcp-guard:{red:#} {}", escape_for_display(line));
        }
        ExitCode::from(codes.number(self.exit))
    }
}

/// An error with its causes.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut line = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        Self::new(line)
    }
}
