//! What several evidence commands are given: keys, times, places, conditions.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rmcp_guard::clock::{Clock as _, SystemClock};
use rmcp_guard::evidence::note::VerifierKey;
use rmcp_guard::evidence::{EvidenceId, EvidenceOptions};
use rmcp_guard::policy::ToolPattern;

use crate::evidence_index::{Filter, Index, IndexError, Set, ToolFilter, micros};
use crate::exit::{Exit, Failure};
use crate::files;
use crate::output::{is_watched, note};

/// The keys that are trusted; none is ever taken from a log.
#[derive(Debug, Args)]
#[group(required = true, multiple = true, id = "keys")]
pub(super) struct KeyArgs {
    /// Trust this key of a log, as `evidence key` prints it; may be repeated. Of a set it is enough to know the key of the
    /// first log of each instance, since each log names the next.
    #[arg(long, value_name = "VKEY")]
    key: Vec<VerifierKey>,
    /// Trust the keys in this file, one on each line; may be repeated.
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
}

impl KeyArgs {
    pub(super) fn keys(&self) -> Result<Vec<VerifierKey>, Failure> {
        let mut keys = self.key.clone();
        for file in &self.key_file {
            keys.extend(key_file(file)?);
        }
        Ok(keys)
    }
}

/// The keys in a file, one on each line.
pub(super) fn key_file(file: &Path) -> Result<Vec<VerifierKey>, Failure> {
    let text = files::read_text(file)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<VerifierKey>, _> = lines.map(str::parse).collect();
    match keys {
        Ok(keys) if keys.is_empty() => Err(files::about(file, &"holds no key")),
        keys => keys.map_err(|error| files::about(file, &error)),
    }
}

/// Where the owner of a log has it.
#[derive(Debug, Args)]
pub(super) struct OwnerArgs {
    /// The directory of the logs.
    pub(super) dir: PathBuf,
    /// The instance whose log is meant.
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub(super) instance: String,
    /// The directory of keys and of the high-water mark; DIR.private unless given.
    #[arg(long, value_name = "PRIVATE")]
    pub(super) private_dir: Option<PathBuf>,
}

impl OwnerArgs {
    /// `DIR.private` or what was given.
    pub(super) fn private(&self) -> PathBuf {
        self.private_dir.clone().unwrap_or_else(|| {
            let mut name = self.dir.components().as_path().as_os_str().to_owned();
            name.push(".private");
            PathBuf::from(name)
        })
    }

    /// How the log is opened.
    pub(super) fn options(&self) -> EvidenceOptions {
        let options = rmcp_guard::evidence::EvidenceLog::options().instance(self.instance.as_str());
        match &self.private_dir {
            Some(private) => options.private_dir(private),
            None => options,
        }
    }
}

/// Why the owner asked for it, which the log records.
#[derive(Debug, Args)]
pub(super) struct ReasonArgs {
    /// Who asks for it; recorded.
    #[arg(long, value_name = "WHO")]
    pub(super) by: String,
    /// Why; recorded.
    #[arg(long, value_name = "REASON")]
    pub(super) why: String,
}

/// One entry.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Index(u64),
    Id(EvidenceId),
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Index).map_err(|_| "an index this large cannot be");
        }
        text.parse().map(Self::Id).map_err(|_| "write the index of an entry, or the id of its record")
    }
}

/// A moment: RFC 3339, a date, or how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) SystemTime);

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str =
            "write a time such as 2026-11-01T10:00:00Z, a date such as 2026-11-01, or -2h for two hours ago";
        if let Some(ago) = text.strip_prefix('-') {
            let ago = humantime::parse_duration(ago).map_err(|_| WRONG)?;
            return SystemClock.now().checked_sub(ago).map(Self).ok_or(WRONG);
        }
        let date_only = text.len() == "2026-11-01".len();
        let full = if date_only { format!("{text}T00:00:00Z") } else { text.to_owned() };
        if let Ok(time) = humantime::parse_rfc3339(&full) {
            return Ok(Self(time));
        }
        with_offset(&full).map(Self).ok_or(WRONG)
    }
}

/// RFC 3339 with a numeric offset from UTC.
fn with_offset(text: &str) -> Option<SystemTime> {
    let (local, offset) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = offset.split_once(':')?;
    let number = |text: &str, below: u64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().filter(|number: &u64| *number < below)
    };
    let seconds = number(hours, 24)?.checked_mul(3600)?.checked_add(number(minutes, 60)?.checked_mul(60)?)?;
    let offset = Duration::from_secs(seconds);
    match sign {
        "+" => local.checked_sub(offset),
        "-" => local.checked_add(offset),
        _ => None,
    }
}

/// What is decided.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DecisionArg {
    Allow,
    Deny,
}

/// Which records.
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Calls of this tool: its name, or a glob as in a policy.
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Calls by this agent: its DID, or api-key:NAME.
    #[arg(long, value_name = "DID")]
    agent: Option<String>,
    /// Calls that were allowed, or denied.
    #[arg(long)]
    decision: Option<DecisionArg>,
    /// Calls denied for this reason, such as `trust_insufficient`.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Records of this kind: `decision`, `outcome`, `policy_loaded`, `notice`, `gap`, `coalesced` or
    /// `coalesced_sessions`.
    #[arg(long)]
    kind: Option<String>,
    #[command(flatten)]
    period: PeriodArgs,
}

/// Since when, until when.
#[derive(Debug, Args)]
pub(super) struct PeriodArgs {
    /// From this time on: RFC 3339, a date, or -2h for two hours ago.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) since: Option<Moment>,
    /// Before this time.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(super) until: Option<Moment>,
}

impl PeriodArgs {
    /// Both ends in microseconds since 1970.
    pub(super) fn bounds(&self) -> Result<(Option<i64>, Option<i64>), Failure> {
        let bound = |moment: Option<Moment>| moment.map(|Moment(time)| micros(time).unwrap_or(0));
        let (since, until) = (bound(self.since), bound(self.until));
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(Failure::new("--until is not after --since").with_exit(Exit::Usage));
        }
        Ok((since, until))
    }
}

impl FilterArgs {
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        let (since, until) = self.period.bounds()?;
        let tool = match &self.tool {
            Some(tool) => Some(ToolFilter::new(
                ToolPattern::parse(tool)
                    .map_err(|error| Failure::from(error).about("--tool").with_exit(Exit::Usage))?,
            )),
            None => None,
        };
        let decision = self.decision.map(|decision| match decision {
            DecisionArg::Allow => "ALLOW",
            DecisionArg::Deny => "DENY",
        });
        let (agent, reason, kind) = (self.agent.clone(), self.reason.clone(), self.kind.clone());
        Ok(Filter { tool, agent, decision, reason, kind, since, until, id: None })
    }
}

/// Whether the index is used.
#[derive(Debug, Args)]
pub(super) struct IndexUse {
    /// Read the logs themselves instead of the index beside them, which is otherwise brought up to date first.
    #[arg(long)]
    no_index: bool,
}

impl IndexUse {
    /// The index of `set`, up to date; `None` where there can be none, which is told.
    pub(super) fn open(&self, set: &Set) -> Result<Option<Index>, Failure> {
        if self.no_index || set.is_single() {
            return Ok(None);
        }
        match filled(set).and_then(|index| tell_extent(&index, set).map(|()| index)) {
            Ok(index) => Ok(Some(index)),
            Err(IndexError::Log(failure)) => Err(failure),
            Err(error) => {
                let why = Failure::from(error).text();
                note(format_args!("the index is not used: {why}; reading the logs instead"));
                Ok(None)
            }
        }
    }
}

/// Says what is searched: how many entries the index has of how many that there are, log by log where it lacks some.
fn tell_extent(index: &Index, set: &Set) -> Result<(), IndexError> {
    let (mut indexed, mut entries) = (0_u64, 0_u64);
    for log in index.status(set)? {
        let size = log.next.saturating_add(log.lag);
        if log.indexed != size {
            note(format_args!("the index has {} of the {size} entries of {}", log.indexed, log.name));
        }
        indexed = indexed.saturating_add(log.indexed);
        entries = entries.saturating_add(size);
    }
    note(format_args!("searched by index: {indexed} of {entries} entries, logs: {}", set.logs().len()));
    Ok(())
}

/// The index of `set`, filled, with what was wrong with it told.
pub(super) fn filled(set: &Set) -> Result<Index, IndexError> {
    let spinner = spinner("indexing");
    let mut notes = Vec::new();
    let index = Index::fill(set, &mut |rows| spinner.set_position(rows), &mut notes);
    spinner.finish_and_clear();
    for line in notes {
        note(line);
    }
    index
}

/// A number that grows, where somebody watches.
pub(super) fn spinner(what: &'static str) -> ProgressBar {
    if !is_watched() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}: {human_pos} entries ({elapsed})") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let at = |text: &str| text.parse::<Moment>().ok().and_then(|Moment(time)| micros(time));
        let ten = Some(1_793_527_200_000_000);
        for same in ["2026-11-01T10:00:00Z", "2026-11-01T12:00:00+02:00", "2026-11-01T08:30:00-01:30"] {
            assert_eq!(at(same), ten, "{same}");
        }
        assert_eq!(at("2026-11-01"), ten.map(|ten| ten - 10 * 3_600_000_000));
        assert!(at("-2h") < at("-1h"));
        for wrong in
            ["", "-", "-2", "now", "2026-11-01T10:00:00", "2026-11-01T10:00:00+25:00", "2026-11-01T10:00:00+2:00", "ä"]
        {
            assert!(wrong.parse::<Moment>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn targets_are_an_index_or_an_id() {
        assert!(matches!("17".parse(), Ok(Target::Index(17))));
        assert!(matches!("019a9c3e-4f7e-7c53-8a1b-0d9be2b0a6f1".parse(), Ok(Target::Id(_))));
        for wrong in ["", "-1", "+1", "x", "99999999999999999999"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}
