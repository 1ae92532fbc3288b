//! Between callers and the writing thread: records in order, places for them, and what else the thread shall do.
//!
//! Whoever holds the pen writes what is queued: the thread, or a caller who finds nobody writing and so saves everybody the
//! cost of waking one another. Records are taken from the queue only by who holds the pen, so the order of the queue is the
//! order of the log.
//!
//! INVARIANT: what is queued is seen by somebody. A caller who cannot have the pen leaves its record to who has it; who lays
//! the pen down looks at the queue once more. Looking and queueing are under one lock, so either the look comes second and
//! finds the record, or the record comes second and its caller finds the pen free.

use std::sync::{Arc, PoisonError, TryLockError};
use std::time::Instant;

use super::super::progress::Place;
use super::super::sync::{Condvar, Mutex, MutexGuard, lock};
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
    /// Bytes of their events.
    bytes: usize,
    /// Whether somebody waits for one of them to be written.
    pressing: bool,
    commands: Vec<C>,
    appended: u64,
    /// When the thread has something to do even if nothing comes.
    due: Option<Instant>,
    /// Somebody waits for a commit.
    hurry: bool,
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
    /// Whether a commit shall not wait until it is due.
    pub(super) hurry: bool,
    /// Why nothing will follow, if so.
    pub(super) ended: Option<AppendError>,
}

/// When a record has to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// By the thread, at once.
    Now,
    /// By whoever writes next; the thread does so when a commit is due.
    Soon,
    /// By its caller, who [does so](Queue::write_here).
    Here,
}

/// How a caller got on with the pen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// What it found is written.
    All(Written),
    /// The queue is left to the thread.
    Nothing,
    /// The store has failed.
    Failed,
}

/// How far the file has come, to be told without the pen: whoever is woken may do anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Callers' records in the file.
    pub(super) records: u64,
    /// Places that are free again, and how many of these were of callers not authenticated.
    pub(super) places: (usize, usize),
}

/// How often a caller writes what others queued while it wrote, before it wakes the thread for them.
const ROUNDS: usize = 2;

impl<C> Queue<C> {
    pub(super) fn new(places: usize) -> Arc<Self> {
        let state = State {
            items: Vec::new(),
            bytes: 0,
            pressing: false,
            commands: Vec::new(),
            appended: 0,
            due: None,
            hurry: false,
            ended: None,
            idle: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Room::new(places),
            progress: Progress::new(),
        })
    }

    /// Queues a record, and has the thread write it as `urgency` says.
    pub(super) fn append(
        &self,
        reservation: &mut Reservation,
        event: Vec<u8>,
        urgency: Urgency,
    ) -> Result<Ticket, AppendError> {
        let place = Arc::<Place>::default();
        let mut state = lock(&self.state);
        if let Some(reason) = state.ended {
            return Err(reason);
        }
        let unauthenticated = reservation.take_place(&self.room)?;
        state.bytes = state.bytes.saturating_add(event.len());
        state.items.push(Item { event, place: Arc::clone(&place), unauthenticated });
        state.appended = state.appended.saturating_add(1);
        let sequence = state.appended;
        // the thread comes by when a commit is due
        let waits = urgency == Urgency::Soon && state.due.is_some();
        state.pressing |= !waits;
        if !waits && urgency != Urgency::Here {
            self.wake(state);
        }
        Ok(self.progress.ticket_with_place(sequence, place))
    }

    /// Has the thread make everything appended so far durable without waiting for more.
    pub(super) fn hurry(&self) {
        let mut state = lock(&self.state);
        state.hurry = true;
        self.wake(state);
    }

    /// Writes what is queued on this thread by `turn`, where nobody else holds the pen; the thread sees to what is left.
    pub(super) fn write_here<W>(&self, pen: &Mutex<W>, mut turn: impl FnMut(&mut W) -> Wrote) {
        for _ in 0..ROUNDS {
            let wrote = match pen.try_lock() {
                Ok(mut held) => turn(&mut held),
                Err(TryLockError::WouldBlock) => return,
                Err(TryLockError::Poisoned(_)) => Wrote::Failed,
            };
            match wrote {
                Wrote::All(written) => self.tell(written),
                Wrote::Nothing => break,
                Wrote::Failed => return self.end(AppendError::Failed),
            }
            if !lock(&self.state).pressing {
                return;
            }
        }
        self.wake(lock(&self.state));
    }

    /// Gives back places before anybody is told what is written: who is told finds room for the next.
    pub(super) fn tell(&self, Written { records, places: (places, unauthenticated) }: Written) {
        if places > 0 {
            self.room.give_back_all(places, unauthenticated);
        }
        self.progress.set_written(records);
    }

    /// Wakes the thread, if it sleeps.
    fn wake(&self, mut state: MutexGuard<'_, State<C>>) {
        let sleeps = std::mem::take(&mut state.idle);
        drop(state);
        if sleeps {
            self.work.notify_one();
        }
    }

    /// The thread has something to do at `due`, whatever comes.
    pub(super) fn set_due(&self, due: Option<Instant>) {
        let mut state = lock(&self.state);
        // a thread that sleeps until then wakes by itself
        let wakes = state.due.is_none() && due.is_some();
        state.due = due;
        // what was left for a commit that is done waits for nothing
        state.pressing |= due.is_none() && !state.items.is_empty();
        if wakes {
            self.wake(state);
        }
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

    /// For the thread, without the pen: waits until there is something to do.
    pub(super) fn wait(&self) {
        let mut state = lock(&self.state);
        while !state.pressing && state.commands.is_empty() && !state.hurry && state.ended.is_none() {
            state.idle = true;
            match state.due {
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
    }

    /// For the thread, with the pen: takes everything there is.
    pub(super) fn take(&self) -> Taken<C> {
        let mut state = lock(&self.state);
        (state.bytes, state.pressing) = (0, false);
        Taken {
            items: std::mem::take(&mut state.items),
            commands: std::mem::take(&mut state.commands),
            hurry: std::mem::take(&mut state.hurry),
            ended: state.ended,
        }
    }

    /// With the pen: takes all records into `items`, which is empty, if they `fit` by number and bytes and more may come.
    pub(super) fn take_if(&self, items: &mut Vec<Item>, fit: impl FnOnce(usize, usize) -> bool) -> bool {
        let mut state = lock(&self.state);
        if state.ended.is_some() || !fit(state.items.len(), state.bytes) {
            return false;
        }
        (state.bytes, state.pressing) = (0, false);
        std::mem::swap(&mut state.items, items);
        true
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

    /// Nobody writes any more: whoever waits for more than it has done gets `reason`.
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
        self.work.notify_all();
    }
}
