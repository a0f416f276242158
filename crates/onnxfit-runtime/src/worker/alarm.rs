//! Ends a process that takes too long, whatever it is that it does not do: reading or answering.
//!
//! One thread for a process and not for a question: it sleeps until the earliest moment at which
//! something could be late, and setting a later one does not wake it.

use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::library::lock;

/// Kills a child that is late. Dropping it ends its thread.
pub(super) struct Alarm {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// When the child is killed.
    at: Option<Instant>,
    /// When the thread looks again; `None` when it waits to be told.
    looks_at: Option<Instant>,
    rang: bool,
    ended: bool,
}

impl Alarm {
    /// An alarm that is not set.
    pub(super) fn new(child: &Arc<Mutex<Child>>) -> Self {
        let state = State { at: None, looks_at: None, rang: false, ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (child, of_thread) = (Arc::clone(child), Arc::clone(&shared));
        let thread = std::thread::spawn(move || of_thread.keep(&child));
        Self { shared, thread: Some(thread) }
    }

    /// Kills the child after a while, unless cancelled before.
    pub(super) fn set(&self, after: Duration) {
        // A moment that no clock has is never.
        let at = Instant::now().checked_add(after);
        let mut state = lock(&self.shared.state);
        state.at = at;
        let sleeps_too_long = at.is_some_and(|at| state.looks_at.is_none_or(|looks| looks > at));
        drop(state);
        if sleeps_too_long {
            self.shared.changed.notify_all();
        }
    }

    /// Lets the child live.
    pub(super) fn cancel(&self) {
        lock(&self.shared.state).at = None;
    }

    /// Whether it went off.
    pub(super) fn rang(&self) -> bool {
        lock(&self.shared.state).rang
    }
}

impl Shared {
    fn keep(&self, child: &Mutex<Child>) {
        let mut state = lock(&self.state);
        while !state.ended && !state.rang {
            let now = Instant::now();
            match state.at {
                Some(at) if at <= now => {
                    state.rang = true;
                    // Ended already, or not to be ended: the caller sees either for itself.
                    let _ = lock(child).kill();
                }
                // A cancelled alarm leaves the thread asleep until when it would have looked.
                Some(at) => {
                    state.looks_at = Some(at);
                    state = self.changed.wait_timeout(state, at - now).unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    state.looks_at = None;
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        lock(&self.shared.state).ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It ends at once; a panic in it was printed.
            let _ = thread.join();
        }
    }
}
