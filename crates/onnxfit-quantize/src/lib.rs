//! Fewer bits a number: the arithmetic, the ranges, and the graphs that say so.
//!
//! Pure: samples come in as slices, weights through a
//! [`TensorSource`](onnxfit_onnx::TensorSource), graphs as models; files and runs are the
//! caller's. [`affine`] is the arithmetic that everything here shares.

pub mod affine;
mod constants;
pub mod dynamic;
mod equalize;
mod error;
mod fold;
mod layer;
mod node_names;
mod prepare;
pub mod qdq;
pub mod ranges;
pub mod weights;

pub use affine::{Granularity, IntType, Params, Quantized, Symmetry};
pub use equalize::equalize;
pub use error::QuantizeError;
pub use fold::fold_normalizations;
pub use layer::{Choice, Layer, Level, level_of};
pub use prepare::{Prepared, prepare};
