//! Taking away what may not be kept: redaction, pruning, and destroying keys of hashes. Each of these is told in the log,
//! durably, before it is done.

use std::time::Duration;

use super::keyed::KeyedHash;
use super::record::{NoticeRecord, Record};
use super::store::durable::Removal;
use super::{AppendError, EvidenceId, EvidenceLog, OpenError, OpenErrorKind};
use crate::clock::{Clock as _, SystemClock};

/// How long one of these may take before it is given up.
const LIMIT: Duration = Duration::from_secs(60);

impl EvidenceLog {
    /// Takes the body of entry `index` out of the log that is being written, keeping its leaf hash so that every proof
    /// holds, and records who asked (`by`) and why. Blocks.
    ///
    /// Entries of earlier logs are not in its reach, and once a log has rolled an index is another entry's: compare the
    /// receipt's origin with the name of [`verifier_key`](EvidenceLog::verifier_key) before. A log that rolls between the
    /// record and the deed is told ([`OtherLog`](OpenErrorKind::OtherLog)), and nothing is taken out; the record names the
    /// log that it speaks of.
    ///
    /// What is free in the write-ahead log's segment, 64 MiB at most, is overwritten by the thread that writes it, for
    /// which calls wait; on a slow disk some are denied meanwhile.
    ///
    /// Until it returns `Ok` the body may still be there, with a record that says otherwise: then ask again. What disks,
    /// backups and mirrors have kept is not in its reach.
    ///
    /// # Errors
    /// [`OpenError`], of kind [`NoSuchEntry`](OpenErrorKind::NoSuchEntry) where there is none.
    pub fn redact(&self, index: u64, by: &str, why: &str) -> Result<(), OpenError> {
        let members = vec![("index", index.to_string()), ("by", by.to_owned()), ("why", why.to_owned())];
        self.remove(Removal::Redact(index), "entry_redacted", members)
    }

    /// Removes the bodies and leaf hashes of the entries below `index` (rounded down to a full bundle), keeping the tree
    /// above them so that proofs of later entries hold, and records it. Blocks.
    ///
    /// # Errors
    /// [`OpenError`], of kind [`NoSuchEntry`](OpenErrorKind::NoSuchEntry) where `index` is beyond the log.
    pub fn prune(&self, index: u64, by: &str, why: &str) -> Result<(), OpenError> {
        let members = vec![("below", index.to_string()), ("by", by.to_owned()), ("why", why.to_owned())];
        self.remove(Removal::Prune(index), "entries_pruned", members)
    }

    fn remove(
        &self,
        removal: Removal,
        name: &'static str,
        mut members: Vec<(&'static str, String)>,
    ) -> Result<(), OpenError> {
        let store = self.durable().ok_or_else(|| OpenError::new(OpenErrorKind::NoSuchEntry))?;
        let origin = store.check_removal(removal, LIMIT)?;
        // the record may come to stand in the next log, of which it must not be read
        members.push(("origin", origin.to_string()));
        self.record_deed(name, members)?;
        store.remove(removal, &origin, LIMIT)
    }

    /// Destroys the key of keyed hashes named `key_id`, so that nobody can find what was hashed by guessing any more
    /// (crypto-shredding), and records it. The key in use is replaced first. Blocks.
    ///
    /// # Errors
    /// [`OpenError`], of kind [`NoSuchEntry`](OpenErrorKind::NoSuchEntry) where there is no such key (any more).
    pub fn shred_hash_key(&self, key_id: &str, by: &str, why: &str) -> Result<(), OpenError> {
        let store = self.durable().ok_or_else(|| OpenError::new(OpenErrorKind::NoSuchEntry))?;
        if self.key_id() == key_id {
            let key = store.private().rotate_hash_key()?;
            self.keys().set(KeyedHash::new(&key));
        }
        let members = vec![("key_id", key_id.to_owned()), ("by", by.to_owned()), ("why", why.to_owned())];
        self.record_deed("params_key_shredded", members)?;
        if store.private().shred_hash_key(key_id)? { Ok(()) } else { Err(OpenError::new(OpenErrorKind::NoSuchEntry)) }
    }

    /// Records what will be done, and waits until that is durable.
    fn record_deed(&self, name: &'static str, members: Vec<(&'static str, String)>) -> Result<(), OpenError> {
        let now = SystemClock.now();
        let record = Record::Notice(NoticeRecord::new(EvidenceId::generate(now), now, name, members));
        let durable = self.reserve_blocking(1).and_then(|mut place| {
            let mut ticket = self.append(&mut place, &record)?;
            if !ticket.is_recorded() {
                return Err(AppendError::Full);
            }
            // in best-effort mode nothing is synced before the next checkpoint
            self.publish(LIMIT)?;
            ticket.wait_durable(LIMIT)
        });
        durable.map_err(|error| OpenError::new(OpenErrorKind::Io).caused_by(error))
    }
}
