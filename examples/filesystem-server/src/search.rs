//! Search below a directory by name and text: bounded in depth, entries, results, bytes and time, stopped when nobody waits.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use globset::{GlobBuilder, GlobMatcher};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::FsError;
use crate::path::RelPath;
use crate::root::{EntryType, MAX_DEPTH, Root, sorted_names};

/// Most matches that one search returns.
pub const MAX_SEARCH_RESULTS: usize = 1000;
/// Most entries that one search looks at.
pub const MAX_SEARCH_ENTRIES: usize = 100_000;
/// Bytes of each file that are searched for text.
pub const MAX_SEARCH_FILE_BYTES: u64 = 1024 * 1024;
/// Longest search: a caller that wants more narrows it.
pub const MAX_SEARCH_TIME: Duration = Duration::from_secs(5);
/// Longest glob or text, in bytes: the glob is compiled to a regular expression, whose size grows with it.
pub const MAX_PATTERN_BYTES: usize = 512;
/// Characters of a matching line that are returned.
const MAX_LINE_CHARS: usize = 200;
/// Bytes at the start of a file in which a NUL byte marks it as binary.
const BINARY_PROBE_BYTES: usize = 8192;

/// What to look for; at least one of glob and text.
#[derive(Debug)]
pub(crate) struct Query {
    glob: Option<(GlobMatcher, GlobScope)>,
    text: Option<String>,
    max_results: usize,
}

#[derive(Clone, Copy, Debug)]
enum GlobScope {
    /// A glob without a slash speaks about names.
    Name,
    /// A glob with a slash speaks about paths below the start.
    Path,
}

/// One match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Match {
    /// Path relative to the root.
    pub(crate) path: String,
    #[serde(rename = "type")]
    pub(crate) kind: EntryType,
    /// Number of the matching line, from 1 on, when text was searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<usize>,
    /// The matching line, cut at 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
    /// True if the path on disk is not UTF-8: it is shown with replacement characters and cannot be addressed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) path_not_utf8: bool,
}

/// Which limit ended a search early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    Results,
    Entries,
    Time,
    Cancelled,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Found {
    pub(crate) matches: Vec<Match>,
    /// The limit that ended the search before everything was looked at; absent if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stopped_by: Option<Limit>,
    /// Files and directories that could not be read, were deeper than 32 directories, or only searched in part.
    pub(crate) skipped: usize,
}

impl Query {
    pub(crate) fn new(glob: Option<&str>, text: Option<String>, max_results: usize) -> Result<Self, FsError> {
        if glob.is_none() && text.is_none() {
            return Err(FsError::invalid("a search needs a `glob`, a `text` or both"));
        }
        if glob.is_some_and(|glob| glob.len() > MAX_PATTERN_BYTES)
            || text.as_ref().is_some_and(|t| t.len() > MAX_PATTERN_BYTES)
        {
            return Err(FsError::too_large("`glob` and `text` are at most 512 bytes long"));
        }
        if text.as_ref().is_some_and(String::is_empty) {
            return Err(FsError::invalid("`text` is empty"));
        }
        let compile = |glob: &str| -> Result<_, FsError> {
            let built = GlobBuilder::new(glob).literal_separator(true).build();
            let built = built.map_err(|_| FsError::invalid("`glob` is not a valid glob"))?;
            Ok((built.compile_matcher(), if glob.contains('/') { GlobScope::Path } else { GlobScope::Name }))
        };
        Ok(Self { glob: glob.map(compile).transpose()?, text, max_results: max_results.min(MAX_SEARCH_RESULTS) })
    }

    fn matches_name(&self, below_start: &Path) -> bool {
        match &self.glob {
            None => true,
            Some((glob, GlobScope::Path)) => glob.is_match(below_start),
            Some((glob, GlobScope::Name)) => below_start.file_name().is_some_and(|name| glob.is_match(Path::new(name))),
        }
    }
}

/// Looks for `query` below `start` until done, a limit is reached or `stop` is set.
pub(crate) fn search(root: &Root, start: &RelPath, query: &Query, stop: &AtomicBool) -> Result<Found, FsError> {
    let began = Instant::now();
    let mut found = Found::default();
    let mut seen = 0_usize;
    // Each directory is opened from the root when its turn comes, so that one search holds one directory open.
    let mut waiting = vec![PathBuf::new()];
    let mut first = true;
    while let Some(below_start) = waiting.pop() {
        let names = root.open_dir(&start.as_path().join(&below_start)).and_then(|dir| sorted_names(&dir));
        let (names, incomplete) = match names {
            Ok(names) => names,
            Err(error) if first => return Err(error.into()),
            Err(_) => {
                found.skipped = found.skipped.saturating_add(1);
                continue;
            }
        };
        first = false;
        found.skipped = found.skipped.saturating_add(usize::from(incomplete));
        let mut directories = Vec::new();
        for (name, entry_type) in names {
            seen = seen.saturating_add(1);
            let limit = if stop.load(Ordering::Relaxed) {
                Some(Limit::Cancelled)
            } else if began.elapsed() > MAX_SEARCH_TIME {
                Some(Limit::Time)
            } else if seen > MAX_SEARCH_ENTRIES {
                Some(Limit::Entries)
            } else {
                None
            };
            if limit.is_some() {
                found.stopped_by = limit;
                return Ok(found);
            }
            let below_start = below_start.join(name);
            if query.matches_name(&below_start) {
                collect(root, &start.as_path().join(&below_start), entry_type, query, &mut found);
            }
            if found.matches.len() >= query.max_results {
                found.stopped_by = Some(Limit::Results);
                return Ok(found);
            }
            if entry_type == EntryType::Directory {
                if below_start.components().count() < MAX_DEPTH {
                    directories.push(below_start);
                } else {
                    found.skipped = found.skipped.saturating_add(1);
                }
            }
        }
        waiting.extend(directories.into_iter().rev());
    }
    Ok(found)
}

fn collect(root: &Root, path: &Path, entry_type: EntryType, query: &Query, found: &mut Found) {
    let shown = path.strip_prefix(".").unwrap_or(path);
    let found_at = |line, text| Match {
        path: shown.to_string_lossy().into_owned(),
        kind: entry_type,
        line,
        text,
        path_not_utf8: shown.to_str().is_none(),
    };
    let Some(text) = &query.text else {
        found.matches.push(found_at(None, None));
        return;
    };
    if entry_type != EntryType::File {
        return;
    }
    let mut bytes = Vec::new();
    let size = root.open_regular(path).and_then(|(file, metadata)| {
        file.take(MAX_SEARCH_FILE_BYTES).read_to_end(&mut bytes)?;
        Ok(metadata.len())
    });
    if size.map_or(true, |size| size > MAX_SEARCH_FILE_BYTES) {
        found.skipped = found.skipped.saturating_add(1);
    }
    if bytes.iter().take(BINARY_PROBE_BYTES).any(|byte| *byte == 0) {
        return;
    }
    let remaining = query.max_results.saturating_sub(found.matches.len());
    let content = String::from_utf8_lossy(&bytes);
    let lines = content.lines().enumerate().filter(|(_, line)| line.contains(text.as_str())).take(remaining);
    found.matches.extend(lines.map(|(index, line)| {
        found_at(Some(index.saturating_add(1)), Some(line.chars().take(MAX_LINE_CHARS).collect()))
    }));
}

#[cfg(test)]
mod tests;
