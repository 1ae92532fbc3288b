//! Records in memory, for tests and for embedding where nothing outlives the process.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{AppendError, EvidenceStore, Reservation, Room, RoomFreed, StoreHealth, Ticket, lock};
use crate::encoding::parse_unique_json;
use crate::evidence::{OpenError, OpenErrorKind};

/// Most records a memory log keeps; after that it is full for good, which denies. At a kilobyte each this is 64 MiB,
/// more than a test or a demonstration writes and little enough to survive a mistake in production.
pub const MAX_MEMORY_RECORDS: usize = 65_536;

#[derive(Debug)]
pub(in crate::evidence) struct MemoryStore {
    room: Arc<Room>,
    events: Mutex<Vec<Vec<u8>>>,
}

impl MemoryStore {
    pub(in crate::evidence) fn new(capacity: usize) -> Self {
        Self { room: Room::new(capacity), events: Mutex::default() }
    }

    pub(in crate::evidence) fn limit_unauthenticated(&self, places: usize) {
        self.room.limit_unauthenticated(places);
    }
}

impl EvidenceStore for MemoryStore {
    fn reserve(&self, records: u32) -> Result<Reservation, AppendError> {
        self.room.reserve(records)
    }

    fn reserve_unauthenticated(&self, records: u32) -> Result<Reservation, AppendError> {
        self.room.reserve_unauthenticated(records)
    }

    fn append(&self, reservation: &mut Reservation, event: Vec<u8>) -> Result<Ticket, AppendError> {
        if self.room.ended() {
            return Err(AppendError::Closed);
        }
        reservation.take(&self.room)?;
        lock(&self.events).push(event);
        Ok(Ticket::kept())
    }

    fn room_freed(&self) -> RoomFreed {
        self.room.freed()
    }

    fn records(&self) -> Result<Vec<Value>, OpenError> {
        let events = lock(&self.events);
        let parse = |(index, event): (usize, &Vec<u8>)| {
            parse_unique_json(event).map_err(|error| {
                OpenError::new(OpenErrorKind::Damaged { line: index.saturating_add(1) }).caused_by(error)
            })
        };
        events.iter().enumerate().map(parse).collect()
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::new(u64::try_from(lock(&self.events).len()).unwrap_or(u64::MAX), 0, false)
    }

    fn close(&self) {
        self.room.end(AppendError::Closed);
    }
}
