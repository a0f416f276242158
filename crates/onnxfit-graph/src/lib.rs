//! The graph that onnxfit reasons on: nodes, values, subgraphs and what they capture.
//!
//! A [`Model`] is built from a decoded file and can be written back; nothing that the file said is
//! dropped on the way. A [`Graph`] is read freely and changed only by applying a [`Patch`], after
//! which use and definition agree again and the structure has been checked.
//!
//! No I/O, no clock: weights are references to bytes that somebody else reads.

mod apply;
mod attribute;
mod build;
mod check;
mod display;
mod error;
pub mod families;
mod graph;
mod model;
mod names;
mod node;
mod order;
mod patch;
mod types;
mod value;
mod write;

pub use attribute::{Attribute, AttributeValue};
pub use error::GraphError;
pub use graph::Graph;
pub use model::Model;
pub use node::{Node, NodeId};
pub use patch::{NewNode, Patch, Place};
pub use types::{Dim, TensorType, ValueType};
pub use value::{Constant, Use, Value, ValueId};
