//! Places in a store's queue: taken before a record exists, given back when it is kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_channel::oneshot;

use super::{AppendError, lock};

/// The places of a store's queue.
#[derive(Debug)]
pub struct Room {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    ended: Option<AppendError>,
    waiters: Vec<oneshot::Sender<()>>,
}

impl Room {
    /// Room for `places` records at a time.
    #[must_use]
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { free: places, ended: None, waiters: Vec::new() }) })
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
    pub fn freed(&self) -> RoomFreed {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if state.ended.is_none() {
            // Callers that gave up waiting leave a dead entry; sweep them where the list would grow.
            if state.waiters.len() == state.waiters.capacity() {
                state.waiters.retain(|waiter| !waiter.is_canceled());
            }
            state.waiters.push(sender);
        }
        RoomFreed(receiver)
    }
}

fn wake(mut state: std::sync::MutexGuard<'_, State>) {
    let waiters = std::mem::take(&mut state.waiters);
    drop(state);
    for waiter in waiters {
        let _ = waiter.send(());
    }
}

/// Resolves when a store's queue may have room again. Dropping it is harmless.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct RoomFreed(oneshot::Receiver<()>);

impl Future for RoomFreed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context).map(|_| ())
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
