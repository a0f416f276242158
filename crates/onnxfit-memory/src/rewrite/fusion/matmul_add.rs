//! A matrix product and the addition after it become a `Gemm`: matmul_add_fusion.cc (ORT 1.31).
//!
//! Level 1, all providers, sparing what may become an attention; level 2 for the rest. Products of
//! higher rank are flattened if all sizes are known.

use std::collections::BTreeSet;

use onnxfit_graph::Dim;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use crate::rewrite::Context;
use crate::rewrite::net::{Net, Op, OpId, known_dim};

/// Level 1: what looks like attention is spared.
pub(crate) fn level_1(net: &mut Net, _: &Context<'_>) -> usize {
    fuse_all(net, true)
}

/// Level 2: all that is left.
pub(crate) fn level_2(net: &mut Net, _: &Context<'_>) -> usize {
    fuse_all(net, false)
}

fn fuse_all(net: &mut Net, spare_attention: bool) -> usize {
    let mut attention = Attention::default();
    let mut n_fused = 0;
    for id in net.topological_order() {
        if net.get(id).is_some_and(|op| op.is("MatMul")) && fuse(net, id, spare_attention, &mut attention) {
            n_fused += 1;
        }
    }
    n_fused
}

/// What was recognised as attention before.
#[derive(Default)]
struct Attention {
    norms: BTreeSet<OpId>,
    adds: BTreeSet<OpId>,
}

impl Attention {
    fn contains(&mut self, net: &Net, matmul: OpId, add: OpId) -> bool {
        let norm = net.producer_of_input(matmul, 0);
        if norm.is_some_and(|norm| self.norms.contains(&norm)) || self.adds.contains(&add) {
            return true;
        }
        let Some(norm) = norm.filter(|norm| net.op(*norm).op_type == "LayerNormalization") else { return false };
        let readers = net.output_edges(norm);
        let count = |op_type: &str| readers.iter().filter(|edge| net.op(edge.op).op_type == op_type).count();
        if count("Add") != 1 || count("MatMul") != 3 || count("Shape") + 4 != readers.len() {
            return false;
        }
        let residual = readers.iter().map(|edge| edge.op).find(|reader| net.op(*reader).op_type == "Add");
        let output = net.op(norm).output(0);
        let before = residual.zip(output).and_then(|(residual, output)| super::other_input(net, residual, output));
        match before.and_then(|arg| net.producer(arg)).filter(|id| net.op(*id).op_type == "Add") {
            Some(attention) => {
                self.norms.insert(norm);
                self.adds.insert(attention);
                true
            }
            None => false,
        }
    }
}

fn fuse(net: &mut Net, id: OpId, spare_attention: bool, attention: &mut Attention) -> bool {
    if net.n_output_edges(id) != 1 || net.makes_graph_output(id) {
        return false;
    }
    let Some(add) = net.only_child(id, "Add").filter(|add| net.same_provider(id, *add)) else { return false };
    let elem = net.input_elem(id, 0);
    let floats = [DataType::Float, DataType::Float16, DataType::Bfloat16];
    let Some(elem) = elem.filter(|elem| floats.contains(elem) && net.input_elem(add, 0) == Some(*elem)) else {
        return false;
    };
    let (Some(a), Some([k, n])) = (net.input_shape(id, 0), net.input_shape(id, 1)) else { return false };
    let flat = a.len() != 2;
    let mut sizes = None;
    if flat {
        if spare_attention && attention.contains(net, id, add) {
            return false;
        }
        let a: Option<Vec<i64>> = a.iter().map(known_dim).collect();
        let (Some(a), Some(k), Some(n)) = (a, known_dim(k), known_dim(n)) else { return false };
        let Some((_, rows)) = a.split_last() else { return false };
        sizes = Some((crate::rewrite::content::count(rows), k, n, [rows, &[n]].concat()));
    }
    let op = net.op(id);
    let bias = op.output(0).and_then(|product| super::other_input(net, add, product));
    let Some(bias) = bias else { return false };
    let one = Dim::Known(1);
    let same = |left: &Dim, right: &Dim| left == right && *left != Dim::Unknown;
    let fits = match net.arg(bias).shape.as_deref() {
        Some([last]) => same(last, n),
        Some([first, last]) if !flat => {
            (*first == one && same(last, n)) || (same(first, &a[0]) && (*last == one || same(last, n)))
        }
        _ => false,
    };
    if !fits {
        return false;
    }
    let name = format!("{}/MatMulAddFusion", op.name);
    let (left, right) = (op.input(0), op.input(1));
    let gemm = |left| Op { op_type: "Gemm".to_owned(), inputs: vec![left, right, Some(bias)], ..Op::default() };
    let Some((m, k, n, whole)) = sizes else {
        let new = net.add_op(id, &name, gemm(left));
        net.fuse(&[id, add], new);
        return true;
    };
    let shape = |dims: &[i64]| Some(dims.iter().map(|dim| Dim::Known(*dim)).collect());
    // The runtime makes the input's reshape, the output's, and the product, in this order.
    let (input, _) = add_reshape(net, id, "gemm_input", &[m, k], left);
    let flat_input = net.add_arg("gemm_input_reshape_arg", Some(elem), shape(&[m, k]));
    net.set_output(input, 0, Some(flat_input));
    let flat_output = net.add_arg("gemm_output_reshape_arg", Some(elem), shape(&[m, n]));
    let (output, _) = add_reshape(net, id, "gemm_output", &whole, Some(flat_output));
    let product = net.add_op(id, &name, gemm(Some(flat_input)));
    net.set_output(product, 0, Some(flat_output));
    net.fuse(&[id, add], output);
    true
}

fn add_reshape(
    net: &mut Net,
    like: OpId,
    name: &str,
    dims: &[i64],
    input: Option<crate::rewrite::net::ArgId>,
) -> (OpId, crate::rewrite::net::ArgId) {
    let shape = TensorProto::from_i64(&format!("{name}_shape"), &[dims.len() as i64], dims);
    let shape = net.add_constant(shape);
    let op = Op { op_type: "Reshape".to_owned(), inputs: vec![input, Some(shape)], ..Op::default() };
    (net.add_op(like, &format!("{name}_reshape"), op), shape)
}
