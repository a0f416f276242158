//! Fewer bits a number: the arithmetic, the ranges, and the graphs that say so.
//!
//! Pure: samples come in as slices, weights through a
//! [`TensorSource`](onnxfit_onnx::TensorSource), graphs as models; files and runs are the
//! caller's. [`affine`] is the arithmetic that everything here shares.

pub mod affine;
mod error;

pub use affine::{Granularity, IntType, Params, Quantized, Symmetry};
pub use error::QuantizeError;
