//! The table `[evidence]` of a configuration file: where the log stands, and how it is kept.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use crate::enforce::config::builder::EvidenceChoice;
use crate::enforce::config::file::{Reader, Section};
use crate::evidence::{
    DEFAULT_ANONYMOUS_BURST_BYTES, DEFAULT_ANONYMOUS_BYTES_PER_SECOND, DEFAULT_DENIED_BURST_BYTES,
    DEFAULT_DENIED_BYTES_PER_SECOND, EvidenceLog, EvidenceMode, OpenError,
};

/// How long a file can let a call wait for its evidence: above a minute its caller has gone.
const WAIT_LIMIT_MS: RangeInclusive<u64> = 1..=60_000;

/// How often a file can have checkpoints published. Each one costs a few synced writes; an hour is as long as a reader of
/// the log should have to wait for its newest entries.
const CHECKPOINT_INTERVAL_MS: RangeInclusive<u64> = 100..=3_600_000;

/// Sizes at which a file can have a new log begun: below a mebibyte logs follow each other within minutes, above a
/// tebibyte one is too large to be checked as a whole.
const ROLL_AFTER_BYTES: RangeInclusive<u64> = 1024 * 1024..=1024 * 1024 * 1024 * 1024;

/// Ages at which a file can have a new log begun, up to ten years.
const ROLL_AFTER_DAYS: RangeInclusive<u64> = 1..=3_660;

/// Shares of the queue that a file can leave to callers who are not authenticated, in per cent.
const UNAUTHENTICATED_SHARE: RangeInclusive<u64> = 1..=100;

/// Bytes each second, and at once, that a file can leave to records of such callers: up to more than a disk takes.
const SHARE_BYTES: RangeInclusive<u64> = 0..=1024 * 1024 * 1024 * 1024;

/// Longest name of an instance.
const MAX_INSTANCE_BYTES: usize = 64;

/// Bytes of origin and instance together. The number of the log follows them, and a receipt that names all three stays
/// within 256 bytes.
const MAX_NAME_BYTES: usize = 90;

/// Bytes of the random origin that a log gives itself: `rmcp-guard.invalid/` and 32 digits.
const RANDOM_ORIGIN_BYTES: usize = 51;

/// The instance where none is named.
const DEFAULT_INSTANCE: &str = "main";

/// A log in a directory, to be opened when nothing else is wrong: a mistake elsewhere leaves no directory behind.
#[derive(Debug)]
pub(super) struct EvidencePlan {
    pub(super) directory: PathBuf,
    pub(super) mode: EvidenceMode,
    wait_limit: Option<Duration>,
    origin: Option<String>,
    instance: Option<String>,
    private_dir: Option<PathBuf>,
    checkpoint_interval: Option<Duration>,
    roll_after_bytes: Option<u64>,
    roll_after_age: Option<Duration>,
    unauthenticated_share: Option<u8>,
    /// Each second, and at once.
    denied_bytes: (u64, u64),
    anonymous_bytes: (u64, u64),
}

impl EvidencePlan {
    pub(super) fn open(self) -> Result<EvidenceLog, OpenError> {
        let (denied, anonymous) = (self.denied_bytes, self.anonymous_bytes);
        let mut options = EvidenceLog::options()
            .mode(self.mode)
            .denied_bytes(denied.0, denied.1)
            .anonymous_bytes(anonymous.0, anonymous.1);
        if let Some(per_cent) = self.unauthenticated_share {
            options = options.unauthenticated_share(per_cent);
        }
        if let Some(limit) = self.wait_limit {
            options = options.wait_limit(limit);
        }
        if let Some(origin) = self.origin {
            options = options.origin(origin);
        }
        if let Some(instance) = self.instance {
            options = options.instance(instance);
        }
        if let Some(directory) = self.private_dir {
            options = options.private_dir(directory);
        }
        if let Some(interval) = self.checkpoint_interval {
            options = options.checkpoint_interval(interval);
        }
        if let Some(bytes) = self.roll_after_bytes {
            options = options.roll_after_bytes(bytes);
        }
        if let Some(age) = self.roll_after_age {
            options = options.roll_after_age(age);
        }
        options.create_or_open(self.directory)
    }
}

impl Reader<'_> {
    pub(super) fn evidence(&mut self, root: &mut Section) {
        let Some(mut section) = self.section(root, "evidence") else { return };
        let directory = self.required_text(&mut section, "dir", "write the directory that holds the records");
        let directory = directory.map(|directory| self.base.join(directory));
        let mode = match self.text(&mut section, "mode").as_deref() {
            None | Some("bounded") => EvidenceMode::Bounded,
            Some("strict") => EvidenceMode::Strict,
            // whether it may be is for the whole configuration to say
            Some("best-effort") => EvidenceMode::BestEffort,
            Some(_) => {
                self.builder.problem("evidence.mode", "write `bounded` or `strict`");
                EvidenceMode::Strict
            }
        };
        if let Some(yes) = self.flag(&mut section, "receipts") {
            self.builder.receipts = yes;
        }
        let (origin, instance) = self.log_name(&mut section);
        let private_dir = self.text(&mut section, "private_dir").map(|private| self.base.join(private));
        if let (Some(directory), Some(private)) = (&directory, &private_dir)
            && private.starts_with(directory)
        {
            self.builder.problem(
                "evidence.private_dir",
                "holds the log's keys and must be outside of `dir`, which auditors read; best on another volume",
            );
        }
        let millis = |number: Option<u64>| number.map(Duration::from_millis);
        let wait_limit = self.number(&mut section, "wait_limit_ms", WAIT_LIMIT_MS, "milliseconds");
        let interval = self.number(&mut section, "checkpoint_interval_ms", CHECKPOINT_INTERVAL_MS, "milliseconds");
        let roll_after_bytes = self.number(&mut section, "roll_after_bytes", ROLL_AFTER_BYTES, "bytes");
        let days = self.number(&mut section, "roll_after_days", ROLL_AFTER_DAYS, "days");
        let share = self.number(&mut section, "unauthenticated_share", UNAUTHENTICATED_SHARE, "per cent");
        let mut bytes = |name: &str, default| self.number(&mut section, name, SHARE_BYTES, "bytes").unwrap_or(default);
        let denied_bytes = (
            bytes("denied_bytes_per_second", DEFAULT_DENIED_BYTES_PER_SECOND),
            bytes("denied_burst_bytes", DEFAULT_DENIED_BURST_BYTES),
        );
        let anonymous_bytes = (
            bytes("anonymous_bytes_per_second", DEFAULT_ANONYMOUS_BYTES_PER_SECOND),
            bytes("anonymous_burst_bytes", DEFAULT_ANONYMOUS_BURST_BYTES),
        );
        self.unknown(&section);
        if let Some(directory) = directory {
            self.builder.evidence = Some(EvidenceChoice::Directory(EvidencePlan {
                directory,
                mode,
                wait_limit: millis(wait_limit),
                origin,
                instance,
                private_dir,
                checkpoint_interval: millis(interval),
                roll_after_bytes,
                roll_after_age: days.map(|days| Duration::from_secs(days.saturating_mul(24 * 60 * 60))),
                unauthenticated_share: share.and_then(|per_cent| u8::try_from(per_cent).ok()),
                denied_bytes,
                anonymous_bytes,
            }));
        }
    }

    /// Origin and instance, which are for ever in what the log signs.
    fn log_name(&mut self, section: &mut Section) -> (Option<String>, Option<String>) {
        let origin = self.text(section, "origin").filter(|origin| {
            // a name of a key (c2sp.org/signed-note), whose parts are joined by `/`
            let is_name = origin.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+')
                && origin.split('/').all(|part| !part.is_empty());
            if !is_name {
                self.builder.problem(
                    "evidence.origin",
                    "write a name for the log without a scheme, such as `files.example.com/evidence`: ASCII without spaces, `+`, or a `/` at an end",
                );
            }
            is_name
        });
        let instance = self.text(section, "instance").filter(|name| {
            let is_name = (1..=MAX_INSTANCE_BYTES).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            if !is_name {
                let advice = format!("write 1 to {MAX_INSTANCE_BYTES} ASCII letters, digits, `-` or `_`");
                self.builder.problem("evidence.instance", advice);
            }
            is_name
        });
        let origin_bytes = origin.as_ref().map_or(RANDOM_ORIGIN_BYTES, String::len);
        let instance_bytes = instance.as_deref().unwrap_or(DEFAULT_INSTANCE).len();
        if origin_bytes.saturating_add(instance_bytes) > MAX_NAME_BYTES {
            let key = if origin.is_some() { "evidence.origin" } else { "evidence.instance" };
            self.builder.problem(
                key,
                format!(
                    "origin ({origin_bytes} bytes, {RANDOM_ORIGIN_BYTES} where none is written) and instance \
                     ({instance_bytes}) go into every receipt; keep them within {MAX_NAME_BYTES} bytes together"
                ),
            );
        }
        (origin, instance)
    }

    fn number(&mut self, section: &mut Section, name: &str, range: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        let value: Value = section.take(name)?;
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = (range.start(), range.end());
            self.builder.problem(section.key_of(name), format!("write {low} to {high} {unit}, without quotes"));
        }
        number
    }
}
