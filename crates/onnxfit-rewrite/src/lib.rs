//! Changes to a model: one file, one change.
//!
//! A change takes a model and gives another; it reads weights through a
//! [`TensorSource`](onnxfit_onnx::TensorSource) and does no I/O of its own. Each says what it does
//! to the answers: see [`Exactness`].

pub mod batch;
pub mod choices;
mod error;
pub mod half;
pub mod inline;
mod operators;
pub mod stages;
pub mod uint8_input;
pub mod weight_roles;

pub use error::RewriteError;

/// What a change does to the answers of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exactness {
    /// The same bits; verification may be skipped.
    Exact,
    /// Rounding differs; the result must be verified.
    Approximate,
    /// The change is only as good as the data it is given.
    NeedsData,
}
