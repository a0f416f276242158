//! Symbolic shapes and types of ONNX graphs.
//!
//! [`infer`] walks a model once and says of every value its type, its shape as [`Expr`]s over the
//! model's named sizes, and, for the small integer tensors that shapes are made of, its content.
//! Names that [`Bindings`] bind are numbers from the start; the others stay in the formulas, so
//! one run answers for every batch. Sizes that depend on data become named symbols, with an upper
//! bound where there is one. What could not be known, or was assumed, is a
//! [`Diagnostic`](onnxfit_base::Diagnostic).
//!
//! No I/O, no panic, and a bounded amount of work on any graph. Operators are added by a file in
//! `rules/` and a line in its table of tables.

mod again;
mod bindings;
mod constant;
mod context;
mod engine;
mod expr;
mod fact;
mod function;
mod grid;
mod inference;
mod registry;
mod rules;
mod scalar;
mod state;
mod unify;

pub use again::Incremental;
pub use bindings::Bindings;
pub use expr::{Expr, Symbol};
pub use fact::{Fact, Kind, Sequence, Value};
pub use inference::{GraphFacts, Inference, Most, infer};
pub use registry::{has_rule, operators};
pub use scalar::Scalar;
