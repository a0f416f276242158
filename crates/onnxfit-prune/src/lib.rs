//! Structured pruning of ONNX models: whole channels, heads and features go, and what is left is a
//! smaller plain model.
//!
//! [`Analysis::of`] finds what depends on what: one rule file per operator family says how each
//! axis of a result goes with axes of inputs and weights. What no rule proves free stays whole, and
//! a diagnostic says so. [`Analysis::cut`] removes a choice of atoms: it cuts the weights and mends
//! the shapes, groups and ranges that name sizes. [`Analysis::mask`] gives the whole model with the
//! same weights set to zero, which answers alike and so proves the cut.
//!
//! No I/O: weights are cut when a [`CuttingSource`] is asked for them.

mod analysis;
mod blocks;
mod choose;
mod context;
mod cut;
mod elements;
mod error;
mod importance;
mod mend;
mod numbers;
mod proof;
mod purpose;
mod refit;
mod registry;
mod rules;
mod source;
mod sparse;
mod unshare;

pub use analysis::{Analysis, Atom, Group};
pub use cut::Pruned;
pub use elements::Axis;
pub use error::PruneError;
pub use importance::{Contraction, Importance};
pub use numbers::{decode, encode};
pub use refit::Moments;
pub use registry::coupled_operators;
pub use source::{Cuts, CuttingSource};
pub use sparse::Sparsity;
