//! How a command ends: the exit codes, and what is said on standard error.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use anstyle::AnsiColor;
use rmcp_guard::evidence::escape_for_display;

/// Why a command ended without doing what it was asked. Its number is the exit code, which `--help` explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The answer is no, or the work failed in a way of its own.
    Failed = 1,
    /// The arguments cannot be. clap ends with the same number.
    Usage = 2,
    /// Another machine could not be reached, or gave no usable answer.
    Network = 3,
    /// A file or a configuration cannot be used.
    Input = 4,
    /// The other side understood and refused.
    Refused = 5,
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
    pub(crate) fn report(&self) -> ExitCode {
        let mut err = anstream::stderr().lock();
        let red = AnsiColor::Red.on_default();
        for line in &self.lines {
            // Without a standard error there is nobody left to tell.
            let _ = writeln!(err, "{red}rmcp-guard:{red:#} {}", escape_for_display(line));
        }
        ExitCode::from(self.exit as u8)
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
