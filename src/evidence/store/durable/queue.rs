//! Between callers and the writing thread: records in order, places for them, and what else the thread shall do.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::super::progress::Place;
use super::super::sync::{Condvar, Mutex, lock};
use super::super::{AppendError, Progress, Reservation, Room, Ticket};

/// A record on its way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) event: Vec<u8>,
    pub(super) place: Arc<Place>,
    /// Whether its place in the room is that of a caller who is not authenticated.
    pub(super) unauthenticated: bool,
}

/// The queue of one store; `C` is what the writing thread can be told to do.
#[derive(Debug)]
pub(super) struct Queue<C> {
    state: Mutex<State<C>>,
    work: Condvar,
    pub(super) room: Arc<Room>,
    pub(super) progress: Arc<Progress>,
}

#[derive(Debug)]
struct State<C> {
    items: Vec<Item>,
    commands: Vec<C>,
    appended: u64,
    ended: Option<AppendError>,
    /// Whether the writing thread sleeps until somebody wakes it.
    idle: bool,
}

/// What the writing thread takes at a time.
#[derive(Debug)]
pub(super) struct Taken<C> {
    pub(super) items: Vec<Item>,
    /// To be done after the items.
    pub(super) commands: Vec<C>,
    /// Nothing will follow.
    pub(super) ended: bool,
}

impl<C> Queue<C> {
    pub(super) fn new(places: usize) -> Arc<Self> {
        let state = State { items: Vec::new(), commands: Vec::new(), appended: 0, ended: None, idle: false };
        Arc::new(Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Room::new(places),
            progress: Progress::new(),
        })
    }

    pub(super) fn append(&self, reservation: &mut Reservation, event: Vec<u8>) -> Result<Ticket, AppendError> {
        let place = Arc::<Place>::default();
        let mut state = lock(&self.state);
        if let Some(reason) = state.ended {
            return Err(reason);
        }
        let unauthenticated = reservation.take_place(&self.room)?;
        state.items.push(Item { event, place: Arc::clone(&place), unauthenticated });
        state.appended = state.appended.saturating_add(1);
        let sequence = state.appended;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        if idle {
            self.work.notify_one();
        }
        Ok(self.progress.ticket_with_place(sequence, place))
    }

    /// Has the writing thread do `command` after everything appended so far.
    pub(super) fn command(&self, command: C) -> Result<(), AppendError> {
        let mut state = lock(&self.state);
        if let Some(reason) = state.ended {
            return Err(reason);
        }
        state.commands.push(command);
        state.idle = false;
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Takes everything there is; waits for something until `due`, for ever where that is `None`.
    pub(super) fn take(&self, due: Option<Instant>) -> Taken<C> {
        let mut state = lock(&self.state);
        while state.items.is_empty() && state.commands.is_empty() && state.ended.is_none() {
            state.idle = true;
            match due {
                None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
        state.idle = false;
        Taken {
            items: std::mem::take(&mut state.items),
            commands: std::mem::take(&mut state.commands),
            ended: state.ended.is_some(),
        }
    }

    /// The ticket of everything appended so far.
    pub(super) fn everything(&self) -> Ticket {
        let appended = lock(&self.state).appended;
        self.progress.ticket(appended)
    }

    /// Records that the writing thread has not taken yet, and why nothing is accepted any more, if so.
    pub(super) fn state(&self) -> (usize, Option<AppendError>) {
        let state = lock(&self.state);
        (state.items.len(), state.ended)
    }

    /// Records that were accepted and did not come as far as the file when the writing thread failed.
    pub(super) fn lost(&self) -> u64 {
        let state = lock(&self.state);
        match state.ended {
            Some(AppendError::Failed) => state.appended.saturating_sub(self.progress.written()),
            _ => 0,
        }
    }

    /// Accepts nothing more; what is queued is still taken.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.ended.get_or_insert(AppendError::Closed);
        drop(state);
        self.room.end(AppendError::Closed);
        self.work.notify_all();
    }

    /// The writing thread is gone: whoever waits for more than it has done gets `reason`.
    pub(super) fn end(&self, reason: AppendError) {
        let mut state = lock(&self.state);
        if reason == AppendError::Failed {
            state.ended = Some(reason);
        }
        state.ended.get_or_insert(reason);
        state.items.clear();
        let commands = std::mem::take(&mut state.commands);
        drop(state);
        drop(commands);
        self.room.end(reason);
        self.progress.end(reason);
    }
}
