//! Words that every onnxfit crate shares: [`Bytes`], typed ids, [`Diagnostic`], the [`Limits`] for
//! files that nobody vouches for, [`Operators`], the table that a registry is asked through, and the
//! little linear algebra that pruning and quantization share.
//!
//! This crate knows nothing of models and depends on nothing but `thiserror`.

mod bytes;
mod dense;
mod diagnostic;
mod id;
mod limits;
mod operators;

pub use bytes::{Bytes, ParseBytesError};
pub use dense::{cholesky, dot};
pub use diagnostic::{Diagnostic, Severity};
pub use limits::Limits;
pub use operators::{NameHasher, Operators};
