//! ONNX Runtime's memory as arithmetic: what it allocates, when, where, and for whom.
//!
//! Pure: no I/O, no clock, no environment; the same model, shapes and options give the same bytes.

pub mod arena;
pub mod compile;
mod declared;
mod kernels;
pub mod lower;
pub mod order;
pub mod overhead;
pub mod pattern;
pub mod peak;
mod placement;
pub mod plan;
mod predict;
mod prepack;
pub mod program;
pub mod releases;
pub mod rewrite;
mod schedule;
pub mod simulate;
pub mod sizes;
pub mod trace;
pub mod validate;
mod weights;
mod workspace;

pub use predict::{
    Breakdown, PeakReport, Prediction, Provider, RunPrediction, SessionOptions, compile_session, predict,
    predict_compiled,
};
