//! Places in a store's queue: taken before a record exists, given back when it is kept.
//!
//! Callers who have not shown who they are share a part of the places (S29), so that a flood of them leaves room for the
//! others. A call takes its place before it is authenticated and is accounted for there until it is.

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
    /// Places, of those that are not free, that callers hold who are not authenticated.
    unauthenticated: usize,
    /// Most of them.
    most_unauthenticated: usize,
    ended: Option<AppendError>,
    /// How often places came back.
    returns: u64,
    last_key: u64,
    waiters: BTreeMap<u64, Waker>,
}

impl Room {
    /// Room for `places` records at a time, half of them for callers who are not authenticated.
    #[must_use]
    pub fn new(places: usize) -> Arc<Self> {
        let state = State {
            free: places,
            unauthenticated: 0,
            most_unauthenticated: share(places, DEFAULT_UNAUTHENTICATED_SHARE),
            ended: None,
            returns: 0,
            last_key: 0,
            waiters: BTreeMap::new(),
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// How many places callers may hold together who are not authenticated.
    pub fn limit_unauthenticated(&self, places: usize) {
        let mut state = lock(&self.state);
        state.most_unauthenticated = places;
        state.returns = state.returns.wrapping_add(1);
        wake(state);
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
        Ok(Reservation { room: Some(Arc::clone(self)), places, unauthenticated: false })
    }

    /// [`reserve`](Self::reserve) for a caller who is not authenticated, or not yet: within the share of all of these.
    ///
    /// # Errors
    /// [`AppendError::Full`], also when only the share is used up, or the reason given to [`end`](Self::end).
    pub fn reserve_unauthenticated(self: &Arc<Self>, places: u32) -> Result<Reservation, AppendError> {
        let wanted = usize::try_from(places).map_err(|_| AppendError::Full)?;
        let mut state = lock(&self.state);
        if let Some(reason) = state.ended {
            return Err(reason);
        }
        let unauthenticated = state.unauthenticated.saturating_add(wanted);
        if unauthenticated > state.most_unauthenticated {
            return Err(AppendError::Full);
        }
        state.free = state.free.checked_sub(wanted).ok_or(AppendError::Full)?;
        state.unauthenticated = unauthenticated;
        Ok(Reservation { room: Some(Arc::clone(self)), places, unauthenticated: true })
    }

    /// Gives `places` back and wakes everybody who waits for room.
    pub fn give_back(&self, places: usize) {
        self.give_back_all(places, 0);
    }

    /// Gives `places` back, `unauthenticated` of which were held by callers who were not authenticated.
    pub(in crate::evidence) fn give_back_all(&self, places: usize, unauthenticated: usize) {
        let mut state = lock(&self.state);
        state.free = state.free.saturating_add(places);
        state.unauthenticated = state.unauthenticated.saturating_sub(unauthenticated);
        state.returns = state.returns.wrapping_add(1);
        wake(state);
    }

    /// These places, still taken, are no longer those of callers who are not authenticated.
    fn authenticate(&self, places: usize) {
        let mut state = lock(&self.state);
        state.unauthenticated = state.unauthenticated.saturating_sub(places);
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

/// Per cent of a room's places that callers may hold together who are not authenticated. Half: what they can take from
/// the others is less than a doubling of the load would.
pub(in crate::evidence) const DEFAULT_UNAUTHENTICATED_SHARE: u8 = 50;

/// `per_cent` of `places`, and at least the two of one call.
pub(in crate::evidence) fn share(places: usize, per_cent: u8) -> usize {
    let share = places.saturating_mul(usize::from(per_cent.min(100))).div_ceil(100);
    share.max(2).min(places)
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
    /// Whether the places count as those of a caller who is not authenticated.
    unauthenticated: bool,
}

impl Reservation {
    pub(in crate::evidence) const fn unbacked(places: u32) -> Self {
        Self { room: None, places, unauthenticated: false }
    }

    /// The same places, within the share of callers who are not authenticated; given back where that is used up.
    pub(in crate::evidence) fn unauthenticated(self) -> Result<Self, AppendError> {
        match &self.room {
            Some(room) => {
                let room = Arc::clone(room);
                let places = self.places;
                // its places are free for the moment; whoever takes them meanwhile was here first
                drop(self);
                room.reserve_unauthenticated(places)
            }
            None => Ok(self),
        }
    }

    /// The caller has shown who it is: the places count no longer as those of somebody who has not.
    pub(crate) fn authenticate(&mut self) {
        if std::mem::take(&mut self.unauthenticated)
            && let Some(room) = &self.room
        {
            room.authenticate(usize::try_from(self.places).unwrap_or(usize::MAX));
        }
    }

    /// Whether the places are those of a caller who is not authenticated.
    #[must_use]
    pub const fn is_unauthenticated(&self) -> bool {
        self.unauthenticated
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
        if self.take_place(room)? {
            // the store says nothing of whose record it was when it gives the place back
            room.authenticate(1);
        }
        Ok(())
    }

    /// [`take`](Self::take) for a store that gives the place back by
    /// [`give_back_all`](Room::give_back_all): whether it is the place of a caller who is not authenticated.
    pub(in crate::evidence) fn take_place(&mut self, room: &Arc<Room>) -> Result<bool, AppendError> {
        if !self.room.as_ref().is_some_and(|own| Arc::ptr_eq(own, room)) {
            return Err(AppendError::Full);
        }
        self.places = self.places.checked_sub(1).ok_or(AppendError::Full)?;
        Ok(self.unauthenticated)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(room) = self.room.take()
            && self.places > 0
        {
            let places = usize::try_from(self.places).unwrap_or(usize::MAX);
            room.give_back_all(places, if self.unauthenticated { places } else { 0 });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::pin::pin;

    use super::*;

    fn is_woken(freed: RoomFreed) -> bool {
        pin!(freed).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_share_is_rounded_up_and_has_room_for_one_call() {
        assert_eq!(
            [(16_384, 50), (8, 50), (5, 50), (100, 1), (1, 50), (0, 50), (10, 255)].map(|(a, b)| share(a, b)),
            [8_192, 4, 3, 2, 1, 0, 10]
        );
    }

    #[test]
    fn strangers_fill_their_share_and_no_more() {
        let room = Room::new(8);
        let one = room.reserve_unauthenticated(3).unwrap();
        assert_eq!(room.reserve_unauthenticated(2).unwrap_err(), AppendError::Full);
        let other = room.reserve(5).unwrap();
        assert_eq!(room.reserve_unauthenticated(1).unwrap_err(), AppendError::Full, "no place is left at all");
        drop(other);
        drop(one);
        drop(room.reserve_unauthenticated(4).unwrap());
        assert_eq!(room.reserve(8).unwrap().places(), 8);
        room.end(AppendError::Failed);
        assert_eq!(room.reserve_unauthenticated(1).unwrap_err(), AppendError::Failed);
    }

    #[test]
    fn who_is_authenticated_leaves_the_share_and_wakes_who_waits_for_it() {
        let room = Room::new(4);
        let mut held = room.reserve_unauthenticated(2).unwrap();
        let freed = room.freed();
        held.authenticate();
        held.authenticate();
        assert!(is_woken(freed));
        let next = room.reserve_unauthenticated(2).unwrap();
        assert_eq!(room.reserve(1).unwrap_err(), AppendError::Full, "the places are still taken");
        drop(held);
        assert_eq!(room.reserve_unauthenticated(1).unwrap_err(), AppendError::Full);
        drop(next);
        assert_eq!(room.reserve_unauthenticated(2).unwrap().places(), 2);
    }

    /// A place counts until the store gives it back, where the store says whose it was, and until then otherwise.
    #[test]
    fn a_queued_record_keeps_its_place_in_the_share() {
        let room = Room::new(4);
        let mut held = room.reserve_unauthenticated(2).unwrap();
        assert_eq!(held.take_place(&room), Ok(true));
        drop(held);
        assert!(room.reserve_unauthenticated(2).is_err(), "one is queued");
        room.give_back_all(1, 1);
        let mut held = room.reserve_unauthenticated(2).unwrap();
        held.take(&room).unwrap();
        drop(held);
        assert!(room.reserve_unauthenticated(2).is_ok(), "the store says nothing of it later");
    }

    #[test]
    fn a_store_that_knows_no_shares_has_them() {
        let room = Room::new(4);
        let first = room.reserve(2).unwrap().unauthenticated().unwrap();
        assert_eq!(room.reserve(1).unwrap().unauthenticated().unwrap_err(), AppendError::Full);
        assert!(room.reserve(2).is_ok(), "what was refused was given back");
        drop(first);
        room.limit_unauthenticated(4);
        assert_eq!(room.reserve(4).unwrap().unauthenticated().unwrap().places(), 4);
        assert!(Reservation::unbacked(2).unauthenticated().is_ok());
    }
}
