//! Fewer bits a number: the arithmetic, the ranges, and the graphs that say so.
//!
//! Pure: samples come in as slices, weights through a
//! [`TensorSource`](onnxfit_onnx::TensorSource), graphs as models; files and runs are the
//! caller's. [`affine`] is the arithmetic that everything here shares.

pub mod affine;
mod error;
mod layer;
pub mod weights;

pub use affine::{Granularity, IntType, Params, Quantized, Symmetry};
pub use error::QuantizeError;
pub use layer::{Choice, Layer, Level, level_of};
