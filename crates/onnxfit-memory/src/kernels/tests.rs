use super::*;

fn node(provider: NodeProvider, op_type: &str) -> Node {
    Node { op_type: op_type.into(), provider, ..Node::default() }
}

#[test]
fn softmax_is_in_place_on_the_cpu_only() {
    assert_eq!(traits_of(&node(NodeProvider::Cpu, "Softmax")).may_in_place, [(0, 0)]);
    assert_eq!(traits_of(&node(NodeProvider::Cuda, "Softmax")).may_in_place, []);
}

#[test]
fn arithmetic_is_never_in_place() {
    for provider in [NodeProvider::Cpu, NodeProvider::Cuda] {
        for op_type in ["Add", "Mul", "MatMul", "Conv", "Transpose", "Erf"] {
            let traits = traits_of(&node(provider, op_type));
            assert!(traits.alias.is_empty() && traits.may_in_place.is_empty(), "{op_type}");
        }
    }
}

#[test]
fn a_cuda_kernel_exists_for_some_opsets_and_types() {
    use onnxfit_onnx::DataType::*;
    assert!(has_cuda_kernel("", "Add", 17, Some(Int64)));
    assert!(!has_cuda_kernel("", "Where", 17, Some(Bool)));
    assert!(!has_cuda_kernel("", "NoSuchOperator", 17, None));
    assert!(has_cuda_kernel("com.microsoft", "FusedMatMul", 1, Some(Float16)));
}
