//! The guard: a session that does not fail on memory.
//!
//! Before a run it asks how many bytes the request takes ([`BytesNeeded`]); what does not fit is
//! cut along the batch into the fewest pieces that do. If memory runs out all the same, because
//! other processes hold it or the arena is in fragments, the guard learns from ONNX Runtime's
//! message how much there was, gives back what the arena does not use, cuts smaller, runs again,
//! and later grows back. Only a single row that cannot fit by itself is an error.
//!
//! What to do next is decided by the [`Planner`], which runs nothing: it says "run these rows" and
//! is told "they ran" or "memory ran out, and this is what was said". [`Guard`] carries that out
//! with a [`Session`](crate::Session); others may with theirs.

mod assembly;
mod cut;
mod error;
mod learned;
mod planner;
mod session;

pub use cut::{Counted, Cut};
pub use error::{DoesNotFit, GuardError};
pub use learned::{LearnedLimits, LearnedRoom};
pub use planner::{Counts, Job, Piece, Planner, PlannerOptions, Situation};
pub use session::{Guard, GuardOptions};

use onnxfit_base::Bytes;

/// Says how many bytes a request takes.
///
/// A request's sizes are all dimensions of all inputs one after the other, in the model's order;
/// where rows lie, the size of one row stands. Asked before every run, so an answer that was given
/// once must come again in nanoseconds.
pub trait BytesNeeded: Send {
    /// The smallest limit under which a run of so many rows succeeds; a little more is allowed,
    /// less is not. `None` if that is not known.
    fn bytes_needed(&self, sizes: &[u64], rows: u64) -> Option<Bytes>;

    /// No less than [`BytesNeeded::bytes_needed`], and cheaper: what is asked before every run.
    fn bytes_bound(&self, sizes: &[u64], rows: u64) -> Option<Bytes> {
        self.bytes_needed(sizes, rows)
    }
}

/// Knows nothing: the guard learns from running out of memory alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingKnown;

impl BytesNeeded for NothingKnown {
    fn bytes_needed(&self, _: &[u64], _: u64) -> Option<Bytes> {
        None
    }
}
