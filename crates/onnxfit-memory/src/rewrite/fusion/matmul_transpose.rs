//! Transposes before a matrix product become its flags: matmul_transpose_fusion.cc (ORT 1.31). CPU
//! and CUDA.

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;

use super::{CPU_AND_CUDA, runs_on};
use crate::rewrite::net::{ArgId, Net, Op, OpId};
use crate::rewrite::{Context, MS, Provider};

/// A transpose that a product can take over.
struct Turn {
    input: ArgId,
    node: OpId,
    matrix: bool,
    batch: bool,
}

/// Fuses transposes of the operands.
pub(crate) fn matmul_transpose(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_fused = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(|op| op.is("MatMul") || op.is_ms("FusedMatMul"));
        if fits && runs_on(net, id, CPU_AND_CUDA) && fuse(net, id) {
            n_fused += 1;
        }
    }
    n_fused
}

fn fuse(net: &mut Net, id: OpId) -> bool {
    let types: &[DataType] = match net.op(id).provider {
        Some(Provider::Cpu) => &[DataType::Float, DataType::Double],
        _ => &[DataType::Float16, DataType::Float, DataType::Double, DataType::Bfloat16],
    };
    let op = net.op(id);
    let (Some(left), Some(right)) = (op.input(0), op.input(1)) else { return false };
    if !super::has_types(net, id, types, 2) || left == right {
        return false;
    }
    let flag = |name: &str| op.int(name).unwrap_or(0) != 0;
    let free = [!flag("transBatchA"), !flag("transBatchB")];
    let old = [flag("transA"), flag("transB"), flag("transBatchA"), flag("transBatchB")];
    let alpha = if op.op_type == "FusedMatMul" { op.float("alpha").unwrap_or(1.0) } else { 1.0 };
    let name = format!("{}/MatmulTransposeFusion/", op.name);
    let mut turns = [None, None];
    for (slot, arg) in [left, right].into_iter().enumerate() {
        if free[slot] {
            turns[slot] = turn(net, arg).or_else(|| {
                let before_cast = swap_cast(net, arg)?;
                turn(net, before_cast)
            });
        }
    }
    if turns.iter().flatten().any(|turn| turn.batch) {
        let ranks = [left, right].map(|arg| net.arg(arg).shape.as_ref().map(Vec::len));
        if ranks[0].is_none() || ranks[0] != ranks[1] {
            for turn in &mut turns {
                if turn.as_ref().is_some_and(|turn| turn.batch) {
                    *turn = None;
                }
            }
        }
    }
    if turns.iter().all(Option::is_none) {
        return false;
    }
    let input = |slot: usize, arg: ArgId| Some(turns[slot].as_ref().map_or(arg, |turn| turn.input));
    let inputs = vec![input(0, left), input(1, right)];
    let now = |slot: usize| turns[slot].as_ref().map_or((false, false), |turn| (turn.matrix, turn.batch));
    let flags = [now(0).0 ^ old[0], now(1).0 ^ old[1], now(0).1 ^ old[2], now(1).1 ^ old[3]];
    let mut new = Op { op_type: "FusedMatMul".to_owned(), domain: MS.to_owned(), inputs, ..Op::default() };
    for (name, value) in ["transA", "transB", "transBatchA", "transBatchB"].into_iter().zip(flags) {
        new.attributes.insert(name.to_owned(), AttributeValue::Int(i64::from(value)));
    }
    new.attributes.insert("alpha".to_owned(), AttributeValue::Float(alpha));
    let new = net.add_op(id, &name, new);
    net.fuse(&[id], new);
    for turn in turns.into_iter().flatten() {
        if net.get(turn.node).is_some() && !net.has_output_edges(turn.node) {
            net.remove_op(turn.node);
        }
    }
    true
}

/// The transpose that makes a value, if the product's flags can express it.
fn turn(net: &Net, arg: ArgId) -> Option<Turn> {
    let node = net.producer(arg).filter(|node| net.op(*node).op_type == "Transpose")?;
    if net.makes_graph_output(node) {
        return None;
    }
    let input = net.op(node).input(0)?;
    let perm: Vec<i64> = match net.op(node).ints("perm") {
        Some(perm) => perm.to_vec(),
        None => (0..net.arg(input).shape.as_ref()?.len() as i64).rev().collect(),
    };
    let rank = perm.len();
    let last = rank.checked_sub(1).filter(|last| *last >= 1)? as i64;
    let at = if perm[rank - 1] == last { rank - 1 } else { rank - 2 };
    if perm[at] != last {
        return None;
    }
    if rank >= 3 && ((perm[0] != 0 && perm[0] != 1) || (0..rank - 3).any(|at| perm[at] + 1 != perm[at + 1])) {
        return None;
    }
    Some(Turn { input, node, matrix: at == rank - 2, batch: rank >= 3 && perm[0] == 1 })
}

/// A cast after a transpose changes places with it; gives the value that the transpose makes then.
fn swap_cast(net: &mut Net, arg: ArgId) -> Option<ArgId> {
    let cast = net.producer(arg).filter(|cast| net.op(*cast).op_type == "Cast")?;
    let inner = turn(net, net.op(cast).input(0)?)?;
    let output = net.op(cast).output(0)?;
    let elem = net.arg(output).elem;
    let shape = net.arg(inner.input).shape.clone();
    let between = net.add_arg(&format!("{}/MatmulTransposeFusion/", net.arg(output).name), elem, shape);
    let cast_name = format!("{}/MatmulTransposeFusion/", net.op(cast).name);
    let turn_name = format!("{}_transformed", net.op(inner.node).name);
    let new_cast = Op {
        op_type: "Cast".to_owned(),
        inputs: vec![Some(inner.input)],
        outputs: vec![Some(between)],
        attributes: net.op(cast).attributes.clone(),
        ..Op::default()
    };
    net.add_op(cast, &cast_name, new_cast);
    let attributes = net.op(inner.node).attributes.clone();
    let new_turn = Op { op_type: "Transpose".to_owned(), inputs: vec![Some(between)], attributes, ..Op::default() };
    let new_turn = net.add_op(inner.node, &turn_name, new_turn);
    net.fuse(&[cast], new_turn);
    if !net.has_output_edges(inner.node) {
        net.remove_op(inner.node);
    }
    Some(output)
}
