//! Training from ONNX files on a stock ONNX Runtime.
//!
//! [`differentiate`] turns a model into one that also computes gradients, with standard operators
//! only. Gradient rules are added by a file in `rules/` and a line in its table of tables.

mod broadcast;
mod emit;
mod error;
mod forward;
mod gradient;
mod lift;
mod registry;
mod reverse;
mod rules;
mod tape;

pub use error::{MissingGradient, TrainError};
pub use gradient::{BatchNorm, Gradient, GradientOptions, Gradients, Missing, differentiate, trainable_parameters};
pub use registry::differentiable_operators;
