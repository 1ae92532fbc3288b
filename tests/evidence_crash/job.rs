//! What the child process is told to do, handed over in its environment.

use std::path::PathBuf;
use std::process::Command;

use rmcp_guard::evidence::EvidenceMode;

/// What to write, and what counts as acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) directory: PathBuf,
    pub(crate) mode: EvidenceMode,
    pub(crate) callers: usize,
    /// `None`: until it is killed.
    pub(crate) records: Option<u64>,
    /// Small, so that logs roll while the test runs.
    pub(crate) roll_after_bytes: u64,
    /// Only what is on stable storage is acknowledged, whatever the mode.
    pub(crate) power_cut: bool,
    /// Which of the processes that write to the log, in order.
    pub(crate) life: u32,
}

impl Job {
    pub(crate) fn new(directory: PathBuf, mode: EvidenceMode, callers: usize) -> Self {
        Self { directory, mode, callers, records: None, roll_after_bytes: 1 << 40, power_cut: false, life: 0 }
    }

    /// The job that the environment describes; `None` in a process that is no child.
    pub(crate) fn from_environment() -> Option<Self> {
        let text = |name: &str| std::env::var_os(name).and_then(|value| value.into_string().ok());
        let number = |name: &str| text(name).and_then(|value| value.parse().ok());
        let mode = match text("WRITER_MODE")?.as_str() {
            "strict" => EvidenceMode::Strict,
            "bounded" => EvidenceMode::Bounded,
            _ => EvidenceMode::BestEffort,
        };
        Some(Self {
            directory: text("WRITER_DIRECTORY")?.into(),
            mode,
            callers: number("WRITER_CALLERS").and_then(|callers| usize::try_from(callers).ok()).unwrap_or(1),
            records: number("WRITER_RECORDS"),
            roll_after_bytes: number("WRITER_ROLL_AFTER_BYTES").unwrap_or(1 << 40),
            power_cut: text("WRITER_POWER_CUT").is_some(),
            life: number("WRITER_LIFE").and_then(|life| u32::try_from(life).ok()).unwrap_or(0),
        })
    }

    /// This test program as the child that does the job.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        self.describe_to(&mut command);
        command.args(CHILD_ARGUMENTS);
        command
    }

    /// The same under another program, such as strace.
    pub(crate) fn command_under(&self, program: &str, arguments: &[String]) -> Command {
        let mut command = Command::new(program);
        self.describe_to(&mut command);
        command.args(arguments).arg(std::env::current_exe().unwrap()).args(CHILD_ARGUMENTS);
        command
    }

    fn describe_to(&self, command: &mut Command) {
        let mode = match self.mode {
            EvidenceMode::Strict => "strict",
            EvidenceMode::Bounded => "bounded",
            EvidenceMode::BestEffort => "best-effort",
        };
        command.env("WRITER_DIRECTORY", &self.directory).env("WRITER_MODE", mode);
        command.env("WRITER_CALLERS", self.callers.to_string());
        command.env("WRITER_ROLL_AFTER_BYTES", self.roll_after_bytes.to_string());
        command.env("WRITER_LIFE", self.life.to_string());
        if let Some(records) = self.records {
            command.env("WRITER_RECORDS", records.to_string());
        }
        if self.power_cut {
            command.env("WRITER_POWER_CUT", "1");
        }
    }
}

/// Runs the one test `child_writer` and nothing else.
const CHILD_ARGUMENTS: [&str; 5] = ["child_writer", "--exact", "--ignored", "--nocapture", "--test-threads=1"];
