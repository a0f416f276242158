//! ONNX Runtime's memory as arithmetic: what it allocates, when, where, and for whom.
//!
//! Pure: no I/O, no clock, no environment; the same model, shapes and options give the same bytes.

pub mod arena;
pub mod compile;
mod declared;
mod kernels;
pub mod lower;
pub mod order;
pub mod pattern;
pub mod plan;
mod prepack;
pub mod program;
pub mod simulate;
pub mod sizes;
pub mod trace;
mod weights;
mod workspace;
