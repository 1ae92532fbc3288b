//! Following the logs.

use rmcp_guard::evidence::merkle::Hash;
use rmcp_guard::evidence::{Entry, LogEntry};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Transaction, params};
use serde_json::Value;

use super::read::rows_of;
use super::{Index, IndexError};
use crate::evidence_index::{Log, Row, Set, event_of};

/// Rows of one transaction.
const BATCH: usize = 2_000;

/// Entries of a bundle, which is pruned as a whole.
const BUNDLE: u64 = 256;
/// Kinds of deeds.
const REDACTED: &str = "redacted";
const PRUNED: &str = "pruned";

/// What the index knows of one log.
struct Known {
    id: i64,
    next: u64,
    pruned: u64,
    /// The last entry whose bytes were there, and its hash.
    seen: Option<(u64, Hash)>,
}

impl Index {
    /// Brings every log up to its end, and forgets those that are gone.
    pub(super) fn follow(
        &mut self,
        set: &Set,
        progress: &mut dyn FnMut(u64),
        notes: &mut Vec<String>,
    ) -> Result<(), IndexError> {
        self.forget_missing(set)?;
        let mut added = 0_u64;
        for log in set.logs() {
            let known = match known(&self.connection, log)? {
                Some(known) if !belongs(&self.connection, log, &known)? => {
                    notes.push(format!("the index of {} was not that of this log and is made anew", log.name()));
                    self.begin(log, Some(known.id))?
                }
                Some(known) => {
                    // a row that is not there would otherwise be missed by nobody
                    let (rows, expected) =
                        (rows_of(&self.connection, known.id)?, known.next.saturating_sub(known.pruned));
                    if rows == expected {
                        known
                    } else {
                        let name = log.name();
                        notes.push(format!("the index of {name} had {rows} of {expected} entries and is made anew"));
                        self.begin(log, Some(known.id))?
                    }
                }
                None => self.begin(log, None)?,
            };
            self.follow_log(log, &known, &mut |rows| {
                added = added.saturating_add(rows);
                progress(added);
            })?;
            self.heed(log, known.id)?;
        }
        Ok(())
    }

    /// Truncates what `SQLite` has not yet moved into the database, so that nothing that was removed stays in it.
    pub(crate) fn settle(&self) -> Result<(), IndexError> {
        // a reader elsewhere may hold it up; it is then done by the last one
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Takes out what the log says was redacted or pruned, once it is: it is announced before it is done.
    fn heed(&mut self, log: &Log, id: i64) -> Result<(), IndexError> {
        let deeds: Vec<(String, u64)> = {
            let mut statement = self.connection.prepare_cached("SELECT kind, place FROM deeds WHERE log = ?1")?;
            let rows = statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        for (kind, place) in deeds {
            // whole bundles are pruned
            let pruned = place.saturating_sub(place.checked_rem(BUNDLE).unwrap_or(0));
            let at = if kind == PRUNED { pruned.saturating_sub(1) } else { place };
            if matches!(log.entry(at).map_err(IndexError::Log)?, Some(LogEntry::Present(_))) {
                continue;
            }
            let transaction = self.connection.transaction()?;
            if kind == PRUNED {
                transaction.execute("UPDATE logs SET pruned = max(pruned, ?2) WHERE id = ?1", params![id, pruned])?;
                transaction.execute("DELETE FROM entries WHERE log = ?1 AND idx < ?2", params![id, pruned])?;
            } else {
                let empty = "UPDATE entries SET leaf = NULL, at = NULL, id = NULL, kind = NULL, decision = NULL, \
                    tool = NULL, agent = NULL, reason = NULL, count = NULL WHERE log = ?1 AND idx = ?2";
                transaction.execute(empty, params![id, place])?;
            }
            let done = "DELETE FROM deeds WHERE log = ?1 AND kind = ?2 AND place = ?3";
            transaction.execute(done, params![id, kind, place])?;
            transaction.commit()?;
        }
        Ok(())
    }

    fn forget_missing(&mut self, set: &Set) -> Result<(), IndexError> {
        let names: Vec<(i64, String)> = {
            let mut statement = self.connection.prepare("SELECT id, name FROM logs")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<_, _>>()?
        };
        let gone = names.into_iter().filter(|(_, name)| !set.logs().iter().any(|log| log.name() == name));
        let transaction = self.connection.transaction()?;
        for (id, _) in gone {
            forget(&transaction, id)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// An empty index of `log`, instead of the one under `old`.
    fn begin(&mut self, log: &Log, old: Option<i64>) -> Result<Known, IndexError> {
        let transaction = self.connection.transaction()?;
        if let Some(old) = old {
            forget(&transaction, old)?;
        }
        transaction.execute("INSERT INTO logs (name, origin) VALUES (?1, ?2)", params![log.name(), log.origin()])?;
        let id = transaction.last_insert_rowid();
        transaction.commit()?;
        Ok(Known { id, next: 0, pruned: 0, seen: None })
    }

    fn follow_log(&mut self, log: &Log, known: &Known, progress: &mut dyn FnMut(u64)) -> Result<(), IndexError> {
        let mut entries = log.entries(known.next).map_err(IndexError::Log)?;
        loop {
            let transaction = self.connection.transaction()?;
            let mut batch = Batch::new(&transaction, known, log.origin())?;
            let mut rows = 0_u64;
            let mut end = Some(());
            let mut broken = None;
            for entry in entries.by_ref().take(BATCH) {
                match entry {
                    Ok((index, entry)) => batch.add(index, &entry)?,
                    Err(failure) => {
                        broken = Some(failure);
                        break;
                    }
                }
                rows = rows.saturating_add(1);
                if usize::try_from(rows) == Ok(BATCH) {
                    end = None;
                }
            }
            batch.finish(&transaction)?;
            transaction.commit()?;
            progress(rows);
            if let Some(failure) = broken {
                return Err(IndexError::Log(failure));
            }
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

/// Removes all that is known of the log `id`.
fn forget(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    for sql in
        ["DELETE FROM entries WHERE log = ?1", "DELETE FROM deeds WHERE log = ?1", "DELETE FROM logs WHERE id = ?1"]
    {
        transaction.execute(sql, [id])?;
    }
    Ok(())
}

fn known(connection: &Connection, log: &Log) -> Result<Option<Known>, IndexError> {
    let mut statement = connection.prepare_cached("SELECT id, next, seen, leaf, pruned FROM logs WHERE name = ?1")?;
    let known = statement.query_row([log.name()], |row| {
        let seen: Option<u64> = row.get(2)?;
        let leaf: Option<[u8; 32]> = row.get(3)?;
        let seen = seen.zip(leaf.map(Hash::new));
        Ok(Known { id: row.get(0)?, next: row.get(1)?, pruned: row.get(4)?, seen })
    });
    Ok(known.optional()?)
}

/// Whether the index is of this log: same origin, and the last entry it has seen is the log's. Each entry names the one
/// before it, so this one stands for all before it.
fn belongs(connection: &Connection, log: &Log, known: &Known) -> Result<bool, IndexError> {
    let origin: String = connection.query_row("SELECT origin FROM logs WHERE id = ?1", [known.id], |row| row.get(0))?;
    if origin != log.origin() {
        return Ok(false);
    }
    let Some((seen, leaf)) = known.seen else { return Ok(true) };
    let mut entries = log.entries(seen).map_err(IndexError::Log)?;
    Ok(match entries.next().transpose().map_err(IndexError::Log)? {
        Some((index, LogEntry::Present(bytes))) => index == seen && Hash::of_leaf(&bytes) == leaf,
        Some((_, LogEntry::Pruned)) => true,
        // what it was is gone, but the next one names it
        Some(_) => match entries.next().transpose().map_err(IndexError::Log)? {
            Some((_, LogEntry::Present(bytes))) => Entry::parse(&bytes).is_none_or(|entry| entry.prev == leaf),
            _ => true,
        },
        None => false,
    })
}

/// Entries on their way into the database.
struct Batch<'a> {
    insert: CachedStatement<'a>,
    id: i64,
    origin: &'a str,
    next: u64,
    pruned: Option<u64>,
    seen: Option<(u64, Hash)>,
    /// What records of the log announce: redacted entries, and ends of what is pruned.
    deeds: Vec<(&'static str, u64)>,
}

impl<'a> Batch<'a> {
    fn new(transaction: &'a Transaction<'_>, known: &Known, origin: &'a str) -> Result<Self, IndexError> {
        let insert = transaction.prepare_cached(
            "INSERT OR REPLACE INTO entries (log, idx, leaf, at, id, kind, decision, tool, agent, reason, count) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        let next = transaction.query_row("SELECT next FROM logs WHERE id = ?1", [known.id], |row| row.get(0))?;
        Ok(Self { insert, id: known.id, origin, next, pruned: None, seen: None, deeds: Vec::new() })
    }

    fn add(&mut self, index: u64, entry: &LogEntry) -> Result<(), IndexError> {
        self.next = index.saturating_add(1);
        match entry {
            LogEntry::Present(bytes) => {
                let leaf = Hash::of_leaf(bytes);
                let event = event_of(bytes);
                let row = event.as_ref().map(Row::of).unwrap_or_default();
                self.insert(index, Some(&leaf), &row)?;
                self.seen = Some((index, leaf));
                if let Some(event) = event {
                    self.note_deed(&event);
                }
            }
            LogEntry::Pruned => self.pruned = Some(self.next),
            LogEntry::Redacted | _ => self.insert(index, None, &Row::default())?,
        }
        Ok(())
    }

    fn insert(&mut self, index: u64, leaf: Option<&Hash>, row: &Row) -> Result<(), IndexError> {
        let Row { at, id, kind, decision, tool, agent, reason, count } = row;
        let leaf = leaf.map(Hash::as_bytes);
        self.insert.execute(params![self.id, index, leaf, at, id, kind, decision, tool, agent, reason, count])?;
        Ok(())
    }

    /// A record may announce that entries indexed earlier are redacted or pruned.
    fn note_deed(&mut self, event: &Value) {
        // of another log, whose place this one has taken meanwhile
        if event.get("rmcp_guard.notice.origin").and_then(Value::as_str).is_some_and(|named| named != self.origin) {
            return;
        }
        let number = |name: &str| event.get(name).and_then(Value::as_str).and_then(|text| text.parse().ok());
        let deed = match event.get("rmcp_guard.notice").and_then(Value::as_str) {
            Some("entry_redacted") => number("rmcp_guard.notice.index").map(|place| (REDACTED, place)),
            Some("entries_pruned") => number("rmcp_guard.notice.below").map(|place| (PRUNED, place)),
            _ => None,
        };
        // what lies behind it is not taken out by it
        self.deeds.extend(deed.filter(|(_, place)| *place <= self.next));
    }

    fn finish(self, transaction: &Transaction<'_>) -> Result<(), IndexError> {
        let Self { insert, id, origin: _, next, pruned, seen, deeds } = self;
        drop(insert);
        for (kind, place) in deeds {
            let announced = "INSERT OR IGNORE INTO deeds (log, kind, place) VALUES (?1, ?2, ?3)";
            transaction.execute(announced, params![id, kind, place])?;
        }
        transaction.execute("UPDATE logs SET next = ?2 WHERE id = ?1", params![id, next])?;
        if let Some((seen, leaf)) = seen {
            let seen_sql = "UPDATE logs SET seen = ?2, leaf = ?3 WHERE id = ?1";
            transaction.execute(seen_sql, params![id, seen, leaf.as_bytes()])?;
        }
        if let Some(pruned) = pruned {
            transaction.execute("UPDATE logs SET pruned = max(pruned, ?2) WHERE id = ?1", params![id, pruned])?;
            transaction.execute("DELETE FROM entries WHERE log = ?1 AND idx < ?2", params![id, pruned])?;
        }
        Ok(())
    }
}
