//! Shapes that are put together at run time become constants: reshape_fusion.cc (ORT 1.31). Level
//! 1, all providers.

use onnxfit_graph::Dim;
use onnxfit_onnx::proto::TensorProto;

use super::parent;
use crate::rewrite::Context;
use crate::rewrite::net::{ArgId, Net, Op, OpId, known_dim};

/// Fuses the target shapes of reshapes, and reshapes that follow each other.
pub(crate) fn reshape(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("Reshape") && op.int("allowzero").unwrap_or(0) == 0);
        if fits && net.opset() >= 5 && (fuse_shape(net, id) || fuse_chain(net, id)) {
            n_fused += 1;
        }
    }
    n_fused
}

/// Constants of this graph itself: those around it are not looked at here.
fn own_ints(net: &Net, arg: Option<ArgId>) -> Option<Vec<i64>> {
    let arg = arg?;
    net.arg(arg).constant.as_ref().and_then(|_| net.constant_ints(arg))
}

fn fuse_shape(net: &mut Net, id: OpId) -> bool {
    let Some(root) = net.op(id).input(0) else { return false };
    let Some(concat) = net.producer_of_input(id, 1).filter(|concat| net.op(*concat).is("Concat")) else { return false };
    if !net.has_only_edges(concat, 1) {
        return false;
    }
    let mut shape: Vec<i64> = Vec::new();
    for slot in 0..net.op(concat).inputs.len() {
        if let Some(values) = own_ints(net, net.op(concat).input(slot)) {
            shape.extend(values);
        } else if is_dim_of_root(net, root, concat, slot, shape.len() as i64) {
            shape.push(0);
        } else if is_one_element(net, root, concat, slot) {
            shape.push(-1);
        } else {
            return false;
        }
    }
    if shape.iter().filter(|size| **size == -1).count() > 1 {
        return false;
    }
    let Some(output) = net.op(concat).output(0) else { return false };
    let inputs: Vec<ArgId> = net.op(concat).inputs.iter().flatten().copied().collect();
    for arg in inputs {
        if let Some(producer) = net.producer(arg) {
            net.remove_upwards(producer);
        }
    }
    net.remove_op(concat);
    net.set_constant(output, TensorProto::from_i64("", &[shape.len() as i64], &shape));
    true
}

fn unsqueezes_front(net: &Net, id: OpId) -> bool {
    let op = net.op(id);
    let axes = op.ints("axes").map(<[i64]>::to_vec).or_else(|| own_ints(net, op.input(1)));
    axes.as_deref() == Some(&[0])
}

/// `Shape -> Gather -> Unsqueeze`, reading a whole shape.
fn gathered_dim(net: &Net, concat: OpId, slot: usize) -> Option<(OpId, OpId)> {
    let unsqueeze = parent(net, concat, slot, "Unsqueeze")?;
    let gather = parent(net, unsqueeze, 0, "Gather")?;
    let shape = parent(net, gather, 0, "Shape")?;
    let op = net.op(shape);
    let whole = op.int("start").unwrap_or(0) == 0 && op.int("end").unwrap_or(i64::MAX) == i64::MAX;
    (whole && unsqueezes_front(net, unsqueeze)).then_some((gather, shape))
}

/// Whether an input of the `Concat` is the dimension of the reshaped value at this place.
fn is_dim_of_root(net: &Net, root: ArgId, concat: OpId, slot: usize, place: i64) -> bool {
    let Some((gather, shape)) = gathered_dim(net, concat, slot) else { return false };
    if !net.is_scalar_int(net.op(gather).input(1), place) {
        return false;
    }
    let Some(source) = net.op(shape).input(0) else { return false };
    same_shape(net, root, source, place) || is_linear_projection(net, concat, shape)
}

fn same_dim(one: &Dim, other: &Dim) -> bool {
    one == other && *one != Dim::Unknown
}

fn same_shape(net: &Net, root: ArgId, source: ArgId, place: i64) -> bool {
    if root == source {
        return true;
    }
    let before_pool = net.producer(root).filter(|id| net.op(*id).op_type == "GlobalAveragePool");
    if place == 0 && before_pool.is_some_and(|id| net.op(id).input(0) == Some(source)) {
        return true;
    }
    let (Some(one), Some(other)) = (&net.arg(source).shape, &net.arg(root).shape) else { return false };
    let all = !one.is_empty() && one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same_dim(a, b));
    let at = usize::try_from(place).unwrap_or(usize::MAX);
    all || one.get(at).zip(other.get(at)).is_some_and(|(a, b)| same_dim(a, b))
}

/// The reshaped value is a square projection of the value whose shape is read.
fn is_linear_projection(net: &Net, concat: OpId, shape: OpId) -> bool {
    let Some(root) = net.producer_of_input(shape, 0) else { return false };
    let found = (|| {
        let reshape = net.first_child(concat).filter(|id| net.op(*id).op_type == "Reshape")?;
        let add = parent(net, reshape, 0, "Add")?;
        let matmul = parent(net, add, 0, "MatMul")?;
        if net.producer_of_input(matmul, 0).is_some_and(|producer| producer != root) {
            return None;
        }
        net.input_constant(add, 1)?;
        let [size] = net.input_shape(add, 1)? else { return None };
        let size = known_dim(size)?;
        let [rows, columns] = net.input_shape(matmul, 1)? else { return None };
        (known_dim(rows) == Some(size) && known_dim(columns) == Some(size)).then_some(())
    })();
    found.is_some()
}

fn has_one_element(net: &Net, id: OpId, slot: usize) -> bool {
    let dims = net.op(id).input(slot).and_then(|arg| net.arg(arg).static_shape());
    dims.is_some_and(|dims| crate::rewrite::content::count(&dims) == 1)
}

/// Whether an input of the `Concat` is one number, whatever it is.
fn is_one_element(net: &Net, root: ArgId, concat: OpId, slot: usize) -> bool {
    if has_one_element(net, concat, slot) {
        return true;
    }
    if gathered_dim(net, concat, slot).is_some_and(|(gather, _)| has_one_element(net, gather, 1)) {
        return true;
    }
    let Some(unsqueeze) = parent(net, concat, slot, "Unsqueeze").filter(|id| unsqueezes_front(net, *id)) else {
        return false;
    };
    let binary = parent(net, unsqueeze, 0, "Div").or_else(|| parent(net, unsqueeze, 0, "Mul"));
    match binary {
        None => has_one_element(net, unsqueeze, 0) || sliced_dim(net, root, unsqueeze, 0),
        Some(binary) => (0..net.op(binary).inputs.len())
            .all(|slot| has_one_element(net, binary, slot) || sliced_dim(net, root, binary, slot)),
    }
}

/// `Shape -> Slice -> Squeeze` of one element of the reshaped value's shape.
fn sliced_dim(net: &Net, root: ArgId, id: OpId, slot: usize) -> bool {
    let found = (|| {
        let squeeze = parent(net, id, slot, "Squeeze")?;
        let slice = parent(net, squeeze, 0, "Slice")?;
        let shape = parent(net, slice, 0, "Shape")?;
        if net.op(shape).input(0)? != root {
            return None;
        }
        let op = net.op(slice);
        let (starts, ends) = if net.n_input_edges(slice) >= 3 {
            (own_ints(net, op.input(1))?, own_ints(net, op.input(2))?)
        } else {
            (op.ints("starts")?.to_vec(), op.ints("ends")?.to_vec())
        };
        let ([start], [end]) = (starts.as_slice(), ends.as_slice()) else { return None };
        let to_the_end = *end >= i64::from(i32::MAX) && *start == -1;
        (to_the_end || (end - start).abs() == 1).then_some(())
    })();
    found.is_some()
}

/// Reshapes in a row become one, if the last shape is known.
fn fuse_chain(net: &mut Net, id: OpId) -> bool {
    let mut chain = vec![id];
    let mut dims: Vec<i64> = Vec::new();
    let mut last = id;
    while !net.makes_graph_output(last) && net.n_output_edges(last) == 1 {
        let Some(next) = net.first_child(last) else { break };
        let op = net.op(next);
        let is_reshape = op.op_type == "Reshape" && op.int("allowzero").unwrap_or(0) == 0;
        if !is_reshape && !matches!(op.op_type.as_str(), "Squeeze" | "Unsqueeze") {
            break;
        }
        let Some(shape) = op.output(0).and_then(|arg| net.arg(arg).static_shape()) else { break };
        dims = shape;
        chain.push(next);
        last = next;
    }
    if chain.len() < 2 || dims.contains(&0) {
        return false;
    }
    let name = net.op(id).name.clone();
    let shape = TensorProto::from_i64(&format!("{name}_new_shape"), &[dims.len() as i64], &dims);
    let shape = net.add_constant(shape);
    let inputs = vec![net.op(id).input(0), Some(shape)];
    let new =
        net.add_op(id, &format!("{name}_new_reshape"), Op { op_type: "Reshape".to_owned(), inputs, ..Op::default() });
    net.fuse(&chain, new);
    true
}
