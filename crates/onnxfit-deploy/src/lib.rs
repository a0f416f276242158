//! What other systems must be told to run a model within its memory: Triton, Kubernetes, SageMaker.
//!
//! Pure: sizes come from the caller, documents go back as text. Each file is one system; what it
//! writes is held against that system's own schema by the tests of the command.

pub mod kubernetes;
mod names;
pub mod sagemaker;
mod tree;
pub mod triton;

pub use names::{dns_label, plain_name};
