//! Words that every onnxfit crate shares: [`Bytes`], typed ids, [`Diagnostic`], the [`Limits`] for
//! files that nobody vouches for, and [`Operators`], the table that a registry is asked through.
//!
//! This crate holds no behaviour of its own and depends on nothing but `thiserror`.

mod bytes;
mod diagnostic;
mod id;
mod limits;
mod operators;

pub use bytes::{Bytes, ParseBytesError};
pub use diagnostic::{Diagnostic, Severity};
pub use limits::Limits;
pub use operators::{NameHasher, Operators};
