//! Growth: ending a log that is large or old, and going on in the next one.

use std::io;
use std::sync::Arc;

use super::follow::Follow;
use super::store::LogTail;
use super::writer::{Log, Writer};
use super::{DurableOptions, Epoch, PreviousLog, PrivateDir, begin_epoch, successor};
use crate::evidence::keyed::KeyedHash;
use crate::evidence::sink::RecordSink;
use crate::evidence::wal::FrameKind;
use crate::evidence::{OpenError, OpenErrorKind};

impl Log {
    /// Splits an open log into the writer's part and the tiler's.
    pub(super) fn split(
        epoch: Epoch,
        options: &DurableOptions,
        private: &PrivateDir,
        sink: RecordSink,
    ) -> Result<(Self, LogTail), OpenError> {
        let follows = if options.signer.is_none() { Some(successor(options, private, &epoch)?) } else { None };
        let Some(first) = epoch.signers.first() else { return Err(OpenError::new(OpenErrorKind::Key)) };
        let key = first.verifier_key().clone();
        let follow = Follow::new(epoch.directory, Arc::clone(&epoch.origin), key, epoch.wal.keeper());
        let tail = LogTail {
            reader: epoch.unsealed,
            tiles: epoch.tiles,
            follow: Arc::clone(&follow),
            sink: sink.for_log(Arc::clone(&epoch.origin)),
        };
        let log = Self {
            number: epoch.number,
            origin: epoch.origin,
            signers: epoch.signers,
            created: epoch.created,
            frontier: epoch.frontier,
            last_leaf: epoch.last_leaf,
            bytes: epoch.bytes,
            wal: epoch.wal,
            follow,
            sink,
            successor: follows,
            committed: 0,
        };
        Ok((log, tail))
    }
}

impl Writer {
    /// Begins the next log when this one is large or old enough.
    pub(super) fn roll_if_due(&mut self) -> io::Result<()> {
        let old = self.clock.now().duration_since(self.log.created).is_ok_and(|age| age >= self.options.roll_age);
        // a log that holds nothing but its opening is not worth ending
        let grown = self.log.bytes >= self.options.roll_bytes || (old && self.log.frontier.size() > 1);
        // a log whose tiles are not even begun is left to itself: opening looks after one unfinished log
        if grown && self.log.successor.is_some() && self.log.follow.is_published() { self.roll() } else { Ok(()) }
    }

    /// The last entry names the next log; once that is durable, the next begins, and the tiler ends this one behind it. A
    /// crash on the way is no harm: who opens a log that ends so begins the next one, and finishes the tiles.
    fn roll(&mut self) -> io::Result<()> {
        let Some(next) = self.log.successor.clone() else { return Ok(()) };
        self.notice("log_rolled", vec![("next_origin", next.name().to_owned()), ("next_vkey", next.to_string())])?;
        self.commit()?;
        self.log.wal.push(FrameKind::Close, &[], None);
        self.log.wal.write()?;
        self.log.wal.sync()?;
        self.log.follow.finish_rolled();
        let ended = PreviousLog {
            origin: Arc::clone(&self.log.origin),
            size: self.log.committed,
            root: self.log.frontier.root(),
            vkey: self.log.follow.key.to_string(),
        };
        let number = self.log.number.saturating_add(1);
        let epoch = begin_epoch(&self.storage, &self.options, &self.private, number, Some(ended), self.clock.now())
            .map_err(io::Error::other)?;
        if epoch.signers.first().map(|signer| signer.verifier_key()) != Some(&next) {
            return Err(io::Error::other("the next log has another key than the one that was announced"));
        }
        self.replace_hash_key();
        let opened = epoch.opened_notice(true);
        let sink = self.log.sink.for_log(Arc::clone(&epoch.origin));
        let (log, tail) = Log::split(epoch, &self.options, &self.private, sink).map_err(io::Error::other)?;
        tracing::info!(origin = %log.origin, "the evidence log goes on in a new log");
        self.log = log;
        self.notice(opened.name, opened.members)?;
        self.commit()?;
        self.current.set(Arc::clone(&self.log.follow));
        self.tiler.follow(tail);
        Ok(())
    }

    /// Each log has a hash key of its own, so that hashes of one log can be made unguessable without the others.
    fn replace_hash_key(&self) {
        match self.private.rotate_hash_key() {
            Ok(key) => self.keys.set(KeyedHash::new(&key)),
            Err(error) => tracing::warn!(%error, "the new evidence log keeps the hash key of the one before"),
        }
    }
}
