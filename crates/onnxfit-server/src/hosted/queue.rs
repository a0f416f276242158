//! Requests that wait for one model: a bounded queue, and the choice of the next batch.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onnxfit::runtime::guard::Counted;
use onnxfit::runtime::{ElementType, Tensors};
use tokio::sync::oneshot;

use crate::refusal::{Refusal, RefusalKind};

/// A request that waits.
pub(crate) struct Waiting {
    pub(crate) inputs: Tensors,
    pub(crate) counted: Counted,
    pub(crate) n_bytes: u64,
    pub(crate) since: Instant,
    pub(crate) deadline: Option<Instant>,
    /// Workers that died with it.
    pub(crate) n_deaths: u32,
    pub(crate) reply: oneshot::Sender<Result<Tensors, Refusal>>,
}

impl Waiting {
    /// Whether two requests may run as one: rows of one size and type, and equal inputs otherwise.
    fn goes_with(&self, other: &Self, cut_inputs: &std::collections::BTreeMap<String, usize>) -> bool {
        let types = |inputs: &Tensors| -> Vec<(String, ElementType)> {
            inputs.iter().map(|(name, tensor)| (name.to_owned(), tensor.element_type())).collect()
        };
        self.counted.cuttable
            && other.counted.cuttable
            && self.counted.sizes == other.counted.sizes
            && self.n_deaths == 0
            && other.n_deaths == 0
            && types(&self.inputs) == types(&other.inputs)
            && self
                .inputs
                .iter()
                .filter(|(name, _)| !cut_inputs.contains_key(*name))
                .all(|(name, tensor)| other.inputs.get(name) == Some(tensor))
    }
}

/// How the next batch is chosen.
pub(crate) struct BatchRule<'a> {
    /// Inputs that have rows.
    pub(crate) cut_inputs: &'a std::collections::BTreeMap<String, usize>,
    /// How long the first request waits for others.
    pub(crate) delay: Duration,
    /// Whether so many rows of these sizes may run at once.
    pub(crate) fits: &'a dyn Fn(&[u64], u64) -> bool,
}

/// What the queue may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) requests: usize,
    pub(crate) bytes: u64,
}

/// Requests that wait for one model.
pub(crate) struct Queue {
    limits: QueueLimits,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    n_bytes: u64,
    closed: bool,
    /// Requests that were taken and not answered yet.
    in_hand: usize,
    /// A moving mean of how long one request takes.
    seconds_each: f64,
}

impl Queue {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self { limits, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Takes a request in, or gives it back and says when to come again.
    pub(crate) fn put(&self, request: Waiting) -> Result<(), (Refusal, Box<Waiting>)> {
        let mut state = self.lock();
        if state.closed {
            let refusal = Refusal::new(RefusalKind::Unavailable, "the model is being unloaded");
            return Err((refusal.retry_after(Duration::from_secs(1)), Box::new(request)));
        }
        let n_bytes = state.n_bytes + request.n_bytes;
        // A request is taken in by an empty queue, whatever its size.
        let is_full =
            state.waiting.len() >= self.limits.requests || (!state.waiting.is_empty() && n_bytes > self.limits.bytes);
        if is_full {
            let seconds = (state.seconds_each * state.waiting.len() as f64).ceil().clamp(1.0, 60.0);
            let (n, bytes) = (state.waiting.len(), onnxfit::Bytes(state.n_bytes));
            let refusal = Refusal::new(RefusalKind::Busy, format!("{n} requests of {bytes} wait already"));
            return Err((refusal.retry_after(Duration::from_secs_f64(seconds)), Box::new(request)));
        }
        state.n_bytes = n_bytes;
        state.waiting.push_back(request);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Puts requests back in front, in their order.
    pub(crate) fn put_back(&self, requests: Vec<Waiting>) {
        let mut state = self.lock();
        state.in_hand = state.in_hand.saturating_sub(requests.len());
        for request in requests.into_iter().rev() {
            state.n_bytes += request.n_bytes;
            state.waiting.push_front(request);
        }
    }

    /// Waits for the next batch; `None` once the queue is closed and empty.
    pub(crate) fn take(&self, rule: &BatchRule<'_>) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        loop {
            refuse_late(&mut state);
            if let Some(first) = state.waiting.front() {
                let ripe = first.since + rule.delay;
                let now = Instant::now();
                if ripe <= now || state.closed {
                    break;
                }
                let (back, _) = self.changed.wait_timeout(state, ripe - now).unwrap_or_else(PoisonError::into_inner);
                state = back;
            } else if state.closed {
                return None;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let first = state.waiting.pop_front()?;
        let mut rows = first.counted.rows;
        let mut batch = vec![first];
        let mut at = 0;
        while at < state.waiting.len() {
            let next = &state.waiting[at];
            let together = rows + next.counted.rows;
            if batch[0].goes_with(next, rule.cut_inputs) {
                if !(rule.fits)(&next.counted.sizes, together) {
                    break;
                }
                rows = together;
                batch.extend(state.waiting.remove(at));
            } else {
                at += 1;
            }
        }
        state.n_bytes = state.n_bytes.saturating_sub(batch.iter().map(|request| request.n_bytes).sum());
        state.in_hand += batch.len();
        Some(batch)
    }

    /// Notes that requests were answered.
    pub(crate) fn answered(&self, n: usize, seconds: f64) {
        let mut state = self.lock();
        state.in_hand = state.in_hand.saturating_sub(n);
        let each = seconds / n.max(1) as f64;
        state.seconds_each = if state.seconds_each == 0.0 { each } else { 0.8 * state.seconds_each + 0.2 * each };
    }

    /// Takes nothing in any more; what waits is still answered.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Refuses all that waits, and takes nothing in any more.
    pub(crate) fn refuse_all(&self, refusal: &Refusal) {
        let waiting = {
            let mut state = self.lock();
            state.closed = true;
            state.n_bytes = 0;
            std::mem::take(&mut state.waiting)
        };
        for request in waiting {
            // A caller that has left needs no answer.
            let _ = request.reply.send(Err(refusal.clone()));
        }
        self.changed.notify_all();
    }

    /// Requests and bytes that wait.
    pub(crate) fn depth(&self) -> (usize, u64) {
        let state = self.lock();
        (state.waiting.len(), state.n_bytes)
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.in_hand == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops requests whose callers have left, and refuses those that wait longer than they would.
fn refuse_late(state: &mut State) {
    let now = Instant::now();
    let mut kept = VecDeque::with_capacity(state.waiting.len());
    for request in state.waiting.drain(..) {
        if request.reply.is_closed() {
            state.n_bytes = state.n_bytes.saturating_sub(request.n_bytes);
        } else if request.deadline.is_some_and(|deadline| deadline <= now) {
            state.n_bytes = state.n_bytes.saturating_sub(request.n_bytes);
            let waited = (now - request.since).as_millis();
            let refusal = Refusal::new(RefusalKind::Deadline, format!("it waited {waited} ms, longer than it would"));
            let _ = request.reply.send(Err(refusal));
        } else {
            kept.push_back(request);
        }
    }
    state.waiting = kept;
}

#[cfg(test)]
mod tests;
