//! Ends a process that takes too long, whatever it is that it does not do: reading or answering.

use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::library::lock;

/// Kills a child after a while, unless dropped before.
pub(super) struct Alarm {
    state: Arc<(Mutex<State>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Waiting,
    Cancelled,
    Rang,
}

impl Alarm {
    pub(super) fn set(child: &Arc<Mutex<Child>>, after: Duration) -> Self {
        let state = Arc::new((Mutex::new(State::Waiting), Condvar::new()));
        let (child, shared) = (Arc::clone(child), Arc::clone(&state));
        let thread = std::thread::spawn(move || {
            let (state, changed) = &*shared;
            let waiting = |state: &mut State| *state == State::Waiting;
            let waited = changed.wait_timeout_while(lock(state), after, waiting);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if *state == State::Waiting {
                *state = State::Rang;
                // Ended already, or not to be ended: the caller sees either for itself.
                let _ = lock(&child).kill();
            }
        });
        Self { state, thread: Some(thread) }
    }

    /// Whether it went off.
    pub(super) fn rang(&self) -> bool {
        *lock(&self.state.0) == State::Rang
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        {
            let mut state = lock(&self.state.0);
            if *state == State::Waiting {
                *state = State::Cancelled;
            }
        }
        self.state.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
