//! Asking: rows in the order of the log, counts, and how the index compares with the log.

use std::collections::VecDeque;

use rmcp_guard::evidence::LogEntry;
use rmcp_guard::evidence::merkle::Hash;
use rusqlite::{Connection, OptionalExtension as _, ToSql, params_from_iter};

use super::{Index, IndexError, LogStatus};
use crate::evidence_index::{Content, Filter, Found, Row, Set, Stream, event_of};
use crate::exit::Failure;

/// Rows that are fetched at a time, as the statement says.
const PAGE: usize = 1_000;

/// A place where the index says something else than the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) log: String,
    pub(crate) index: u64,
    pub(crate) what: &'static str,
}

/// Most differences that are told.
const MAX_DIFFERENCES: usize = 100;

impl Index {
    /// Where the database is.
    pub(crate) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Rows of the logs at `positions` that match, one log after the other.
    pub(crate) fn search<'a>(&'a self, set: &'a Set, positions: Vec<usize>, filter: &'a Filter) -> Stream<'a> {
        Box::new(positions.into_iter().flat_map(move |position| {
            let name = set.logs().get(position).map(super::super::Log::name).unwrap_or_default();
            Pages { connection: &self.connection, name, position, filter, range: None, page: VecDeque::new() }
        }))
    }

    /// How far the index of every log is.
    pub(crate) fn status(&self, set: &Set) -> Result<Vec<LogStatus>, IndexError> {
        let mut statement = self.connection.prepare_cached("SELECT id, next, pruned FROM logs WHERE name = ?1")?;
        let mut logs = Vec::new();
        for log in set.logs() {
            let known: Option<(i64, u64, u64)> =
                statement.query_row([log.name()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
            let (id, next, pruned) = known.unwrap_or_default();
            let indexed = rows_of(&self.connection, id)?.saturating_add(pruned);
            let published = log.published().map_err(IndexError::Log)?;
            let lag = published.saturating_sub(next);
            logs.push(LogStatus { name: log.name().to_owned(), next, indexed, lag });
        }
        Ok(logs)
    }

    /// How many entries of all logs are redacted, and how many pruned.
    pub(crate) fn absent(&self) -> Result<(u64, u64), IndexError> {
        let redacted = "SELECT count(*) FROM entries WHERE leaf IS NULL";
        let redacted = self.connection.query_row(redacted, [], |row| row.get(0))?;
        let pruned = "SELECT coalesce(sum(pruned), 0) FROM logs";
        let pruned = self.connection.query_row(pruned, [], |row| row.get(0))?;
        Ok((redacted, pruned))
    }

    /// Compares every row with the log, up to where the index is.
    pub(crate) fn compare(&self, set: &Set, progress: &mut dyn FnMut(u64)) -> Result<Vec<Difference>, IndexError> {
        let everything = Filter::default();
        let mut differences = Vec::new();
        let mut compared = 0_u64;
        for (position, status) in self.status(set)?.into_iter().enumerate() {
            let Some(log) = set.logs().get(position) else { continue };
            let mut rows = self.search(set, vec![position], &everything).peekable();
            let mut tell = |index, what| {
                if differences.len() < MAX_DIFFERENCES {
                    differences.push(Difference { log: status.name.clone(), index, what });
                }
            };
            let mut entries = 0_u64;
            for entry in log.entries(0).map_err(IndexError::Log)? {
                let (index, entry) = entry.map_err(IndexError::Log)?;
                if index >= status.next {
                    break;
                }
                entries = index.saturating_add(1);
                compared = compared.saturating_add(1);
                progress(compared);
                let indexed = match rows.peek() {
                    Some(Ok(found)) if found.index == index => rows.next().transpose().map_err(IndexError::Log)?,
                    Some(Err(_)) => {
                        return Err(rows.next().and_then(Result::err).map_or(IndexError::Busy, IndexError::Log));
                    }
                    _ => None,
                };
                match (entry, indexed) {
                    (LogEntry::Present(bytes), Some(found)) => {
                        let row = event_of(&bytes).as_ref().map(Row::of).unwrap_or_default();
                        let leaf = Hash::of_leaf(&bytes);
                        if row != found.row
                            || !matches!(found.content, Content::Indexed { leaf: indexed } if indexed == leaf)
                        {
                            tell(index, "is indexed with other members");
                        }
                    }
                    (LogEntry::Present(_), None) => tell(index, "is not indexed"),
                    (_, Some(_)) => tell(index, "is redacted or pruned, and still indexed"),
                    (_, None) => {}
                }
            }
            if entries < status.next {
                tell(entries, "is indexed, and behind the end of the log");
            }
            if let Some(found) = rows.next() {
                tell(found.map_err(IndexError::Log)?.index, "is indexed twice, or not in the log");
            }
        }
        Ok(differences)
    }
}

/// How many rows there are of the log `id`.
pub(super) fn rows_of(connection: &Connection, id: i64) -> rusqlite::Result<u64> {
    connection.prepare_cached("SELECT count(*) FROM entries WHERE log = ?1")?.query_row([id], |row| row.get(0))
}

/// The rows of one log, page by page.
struct Pages<'a> {
    connection: &'a Connection,
    name: &'a str,
    position: usize,
    filter: &'a Filter,
    /// First and last index that are still to be looked at; `None` before the first page.
    range: Option<(i64, i64)>,
    page: VecDeque<Found>,
}

impl Iterator for Pages<'_> {
    type Item = Result<Found, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.page.pop_front() {
                return Some(Ok(found));
            }
            if self.range.is_some_and(|(first, last)| first > last) {
                return None;
            }
            if let Err(error) = self.turn() {
                self.range = Some((0, -1));
                return Some(Err(Failure::from(IndexError::Sqlite(error))));
            }
        }
    }
}

/// The columns of [`Row`], behind those of its place.
const COLUMNS: &str = "idx, leaf, at, id, kind, decision, tool, agent, reason, count";

impl Pages<'_> {
    fn turn(&mut self) -> rusqlite::Result<()> {
        let (first, last) = match self.range {
            Some(range) => range,
            None => self.period()?,
        };
        // the most telling condition picks the secondary index; the filter itself decides, as for the log
        let Filter { tool, agent, decision, reason, kind, since: _, until: _, id } = self.filter;
        let tool = tool.as_ref().and_then(super::super::ToolFilter::exact);
        let by = match (id, agent, tool, reason) {
            (Some(_), ..) => "INDEXED BY by_id",
            (None, Some(_), ..) => "INDEXED BY by_agent",
            (None, None, Some(_), _) => "INDEXED BY by_tool",
            (None, None, None, Some(_)) => "INDEXED BY by_reason",
            (None, None, None, None) => "",
        };
        let mut sql = format!(
            "SELECT {COLUMNS} FROM entries {by} WHERE log = (SELECT id FROM logs WHERE name = ?) \
            AND idx >= ? AND idx <= ? AND leaf IS NOT NULL"
        );
        let mut values: Vec<&dyn ToSql> = vec![&self.name, &first, &last];
        let texts = [
            (" AND agent = ?", agent.as_deref()),
            (" AND tool = ?", tool),
            (" AND reason = ?", reason.as_deref()),
            (" AND decision = ?", *decision),
            (" AND kind = ?", kind.as_deref()),
            (" AND id = ?", id.as_deref()),
        ];
        for (condition, value) in &texts {
            if let Some(value) = value {
                sql.push_str(condition);
                values.push(value);
            }
        }
        sql.push_str(" ORDER BY idx LIMIT 1000");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut count = 0_usize;
        let mut reached = first;
        while let Some(row) = rows.next()? {
            count = count.saturating_add(1);
            reached = row.get(0)?;
            let index: u64 = row.get(0)?;
            let leaf: [u8; 32] = row.get(1)?;
            let row = Row {
                at: row.get(2)?,
                id: row.get(3)?,
                kind: row.get(4)?,
                decision: row.get(5)?,
                tool: row.get(6)?,
                agent: row.get(7)?,
                reason: row.get(8)?,
                count: row.get(9)?,
            };
            if self.filter.matches(&row) {
                let content = Content::Indexed { leaf: Hash::new(leaf) };
                self.page.push_back(Found { log: self.position, index, row, content });
            }
        }
        self.range = Some(if count < PAGE { (0, -1) } else { (reached.saturating_add(1), last) });
        Ok(())
    }

    /// The places that the filter's period can be at. Entries are nearly in the order of time, so these are few.
    fn period(&self) -> rusqlite::Result<(i64, i64)> {
        let (since, until) = (self.filter.since, self.filter.until);
        if since.is_none() && until.is_none() {
            return Ok((0, i64::MAX));
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT min(idx), max(idx) FROM entries INDEXED BY by_time \
            WHERE log = (SELECT id FROM logs WHERE name = ?1) AND at >= ?2 AND at < ?3",
        )?;
        let bounds = (self.name, since.unwrap_or(i64::MIN), until.unwrap_or(i64::MAX));
        let (first, last): (Option<i64>, Option<i64>) =
            statement.query_row(bounds, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(first.zip(last).unwrap_or((0, -1)))
    }
}
