//! Places in a store's queue: taken before a record exists, given back when it is kept.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::AppendError;
use super::sync::{Mutex, MutexGuard, lock};

/// The places of a store's queue.
#[derive(Debug)]
pub struct Room {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    ended: Option<AppendError>,
    /// How often places came back.
    returns: u64,
    last_key: u64,
    waiters: BTreeMap<u64, Waker>,
}

impl Room {
    /// Room for `places` records at a time.
    #[must_use]
    pub fn new(places: usize) -> Arc<Self> {
        let state = State { free: places, ended: None, returns: 0, last_key: 0, waiters: BTreeMap::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Takes `places`, all or none, without waiting.
    ///
    /// # Errors
    /// [`AppendError::Full`], or the reason given to [`end`](Self::end).
    pub fn reserve(self: &Arc<Self>, places: u32) -> Result<Reservation, AppendError> {
        let wanted = usize::try_from(places).map_err(|_| AppendError::Full)?;
        let mut state = lock(&self.state);
        if let Some(reason) = state.ended {
            return Err(reason);
        }
        state.free = state.free.checked_sub(wanted).ok_or(AppendError::Full)?;
        Ok(Reservation { room: Some(Arc::clone(self)), places })
    }

    /// Gives `places` back and wakes everybody who waits for room.
    pub fn give_back(&self, places: usize) {
        let mut state = lock(&self.state);
        state.free = state.free.saturating_add(places);
        state.returns = state.returns.wrapping_add(1);
        wake(state);
    }

    /// Refuses every later reservation with `reason`; the first reason stays.
    pub fn end(&self, reason: AppendError) {
        let mut state = lock(&self.state);
        state.ended.get_or_insert(reason);
        wake(state);
    }

    /// Whether [`end`](Self::end) was called.
    #[must_use]
    pub fn ended(&self) -> bool {
        lock(&self.state).ended.is_some()
    }

    /// Resolves when places have been given back after this call, or the room has ended.
    pub fn freed(self: &Arc<Self>) -> RoomFreed {
        let seen = lock(&self.state).returns;
        RoomFreed { room: Arc::clone(self), seen, key: None }
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waiters = std::mem::take(&mut state.waiters);
    drop(state);
    waiters.into_values().for_each(Waker::wake);
}

/// Resolves when a store's queue may have room again. Dropping it is harmless.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct RoomFreed {
    room: Arc<Room>,
    /// The count of returns when it was made.
    seen: u64,
    key: Option<u64>,
}

impl Future for RoomFreed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let room = Arc::clone(&self.room);
        let mut state = lock(&room.state);
        if state.ended.is_some() || state.returns != self.seen {
            // whoever gave places back took the waker out
            self.key = None;
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            state.last_key = state.last_key.wrapping_add(1);
            state.last_key
        });
        self.key = Some(key);
        state.waiters.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for RoomFreed {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            lock(&self.room.state).waiters.remove(&key);
        }
    }
}

/// Places in a store's queue; those not used are given back on drop.
#[derive(Debug)]
#[must_use = "the places are given back on drop"]
pub struct Reservation {
    /// `None`: places that nothing backs, which best-effort mode hands out when a record will be dropped.
    room: Option<Arc<Room>>,
    places: u32,
}

impl Reservation {
    pub(in crate::evidence) const fn unbacked(places: u32) -> Self {
        Self { room: None, places }
    }

    pub(in crate::evidence) const fn is_backed(&self) -> bool {
        self.room.is_some()
    }

    pub(in crate::evidence) fn take_unbacked(&mut self) -> Result<(), AppendError> {
        self.places = self.places.checked_sub(1).ok_or(AppendError::Full)?;
        Ok(())
    }

    /// How many records can still be appended with it.
    #[must_use]
    pub const fn places(&self) -> u32 {
        self.places
    }

    /// Uses up one place of `room`, which the store gives back once the record is kept.
    ///
    /// # Errors
    /// [`AppendError::Full`] when no place is left or the places are another room's.
    pub fn take(&mut self, room: &Arc<Room>) -> Result<(), AppendError> {
        if !self.room.as_ref().is_some_and(|own| Arc::ptr_eq(own, room)) {
            return Err(AppendError::Full);
        }
        self.places = self.places.checked_sub(1).ok_or(AppendError::Full)?;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(room) = self.room.take()
            && self.places > 0
        {
            room.give_back(usize::try_from(self.places).unwrap_or(usize::MAX));
        }
    }
}
