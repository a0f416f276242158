//! Words that every onnxfit crate shares: [`Bytes`], typed ids, [`Diagnostic`] and the
//! [`Limits`] for files that nobody vouches for.
//!
//! This crate holds no behaviour of its own and depends on nothing but `thiserror`.

mod bytes;
mod diagnostic;
mod id;
mod limits;

pub use bytes::{Bytes, ParseBytesError};
pub use diagnostic::{Diagnostic, Severity};
pub use limits::Limits;
