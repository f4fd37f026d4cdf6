//! The desired state and its locks.
//!
//! Two, in this order: the *turn* of whoever changes something, and the state itself. Who only looks takes the second alone. Who
//! changes something has both, and lets the second go while a disk takes what it has decided, which may last ten seconds: nobody
//! who looks waits for a disk, and nothing changes between a decision and what becomes of it. One turn follows another, so the
//! store is written in the order of decisions, and nobody builds on what is not written yet.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::state::State;
use crate::store::{Change, Store, StoreError};

/// What should exist.
#[derive(Debug)]
pub(super) struct Desired {
    turn: Mutex<()>,
    state: Mutex<State>,
}

/// The state of whoever looks.
#[derive(Debug)]
pub(super) struct Looking<'a>(MutexGuard<'a, State>);

/// The state of whoever changes it.
#[derive(Debug)]
pub(super) struct Changing<'a> {
    /// None while the store is written. Let go before the turn is.
    state: Option<MutexGuard<'a, State>>,
    desired: &'a Desired,
    store: &'a Store,
    _turn: MutexGuard<'a, ()>,
}

impl Desired {
    pub(super) fn new(state: State) -> Desired {
        Desired { turn: Mutex::default(), state: Mutex::new(state) }
    }

    pub(super) fn look(&self) -> Looking<'_> {
        Looking(lock(&self.state))
    }

    /// Must not be called with the state in hand.
    pub(super) fn turn<'a>(&'a self, store: &'a Store) -> Changing<'a> {
        let turn = lock(&self.turn);
        Changing { state: Some(lock(&self.state)), desired: self, store, _turn: turn }
    }
}

impl Changing<'_> {
    /// Commits what was decided. Others may look meanwhile, and nobody else changes anything.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub(super) fn commit(&mut self, change: &Change<'_>) -> Result<(), StoreError> {
        let store = self.store;
        self.let_look(|| store.commit(change))
    }

    /// The same for what has happened.
    ///
    /// # Errors
    /// As [`Store::settle`].
    pub(super) fn settle(&mut self, change: &Change<'_>) -> Result<(), StoreError> {
        let store = self.store;
        self.let_look(|| store.settle(change))
    }

    fn let_look<T>(&mut self, write: impl FnOnce() -> T) -> T {
        self.state = None;
        let written = write();
        self.state = Some(lock(&self.desired.state));
        written
    }
}

impl Deref for Looking<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl Deref for Changing<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_ref().expect(HELD)
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect(HELD)
    }
}

const HELD: &str = "it is let go only within let_look";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::faults::on_disk;

    /// While the disk does not answer, whoever looks sees what was there before; whoever changes something comes after the change
    /// that is being written, and finds it done.
    #[test]
    fn nobody_who_looks_waits_for_the_disk() {
        let (disk, store) = on_disk();
        let desired = Desired::new(State::default());
        disk.hold(true);
        let before = disk.asked();
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                let mut state = desired.turn(&store);
                state.commit(&Change::new().put_ula([1, 2, 3, 4, 5])).unwrap();
                state.ula = Some([1, 2, 3, 4, 5]);
            });
            while disk.asked() == before {
                std::thread::yield_now();
            }
            assert_eq!(desired.look().ula, None);
            let second = scope.spawn(|| desired.turn(&store).ula);
            assert_eq!(desired.look().ula, None);
            assert!(!first.is_finished() && !second.is_finished());
            disk.hold(false);
            assert_eq!(second.join().unwrap(), Some([1, 2, 3, 4, 5]));
            first.join().unwrap();
        });
        assert_eq!(desired.look().ula, Some([1, 2, 3, 4, 5]));
    }
}
