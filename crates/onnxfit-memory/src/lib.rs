//! ONNX Runtime's memory as arithmetic: what it allocates, when, where, and for whom.
//!
//! Pure: no I/O, no clock, no environment; the same model, shapes and options give the same bytes.

pub mod arena;
pub mod pattern;
