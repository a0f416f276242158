use onnxfit_graph::Model;

use super::*;
use crate::lower::lower;

/// The declared shapes that the runtime would know, one line a value.
fn known_at_load(name: &str) -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/toy").join(name);
    let mut proto = onnxfit_onnx::ModelFile::open(path).unwrap().proto;
    if let Some(graph) = &mut proto.graph {
        graph.value_info.clear();
    }
    let program = lower(&Model::from_proto(&proto).unwrap());
    program
        .nodes
        .iter()
        .flat_map(crate::program::Node::present_outputs)
        .map(|value| program.value(value))
        .map(|value| format!("{} {:?}", value.name, value.declared.as_deref().map(shown)))
        .collect()
}

fn shown(dims: &[DeclaredDim]) -> String {
    let dim = |dim: &DeclaredDim| match dim {
        DeclaredDim::Value(value) => value.to_string(),
        DeclaredDim::Symbol(name) => name.to_string(),
        DeclaredDim::Unknown => "?".to_owned(),
    };
    dims.iter().map(dim).collect::<Vec<_>>().join("x")
}

#[test]
fn a_convolution_of_unnamed_size_is_unknown_to_the_runtime() {
    let known = known_at_load("convchain.onnx");
    assert_eq!(known[0], "c0 Some(\"Nx16x?x?\")");
    assert_eq!(known[8], "gap Some(\"Nx64x1x1\")");
}

#[test]
fn a_reshape_to_zeros_keeps_names() {
    let known = known_at_load("attn.onnx");
    let of = |name: &str| known.iter().find(|line| line.starts_with(&format!("{name} "))).cloned().unwrap();
    assert_eq!(of("q1"), "q1 Some(\"BxSx4x32\")");
    assert_eq!(of("qk"), "qk Some(\"Bx4xSxS\")");
    assert_eq!(of("y"), "y Some(\"BxSx128\")");
}
