//! Half precision on the CPU: nodes without a kernel for it run in single precision, between casts;
//! casts that cancel out go. insert_cast_transformer.cc (ORT 1.31), every level.
//!
//! Half-precision nodes that find no provider exist on CUDA too, but rarely.

use hashbrown::HashMap;
use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;

use super::net::{ArgId, Net, Op, OpId};
use super::{Context, Provider};

const PREFIX: &str = "InsertedPrecisionFreeCast_";

fn is_half(net: &Net, arg: ArgId) -> bool {
    net.arg(arg).elem == Some(DataType::Float16)
}

/// No provider, and half precision at an input: the node will be cast.
fn will_be_cast(net: &Net, id: OpId) -> bool {
    net.op(id).provider.is_none() && net.op(id).inputs.iter().flatten().any(|arg| is_half(net, *arg))
}

/// Inserts casts; returns how many nodes are run in single precision.
pub(super) fn insert_casts(net: &mut Net, _: &Context<'_>) -> usize {
    for id in net.ids().collect::<Vec<_>>() {
        if is_isolated(net, id) {
            net.op_mut(id).provider = None;
        }
    }
    let mut cast_inputs: HashMap<ArgId, ArgId> = HashMap::new();
    let mut n_cast = 0;
    for id in net.topological_order() {
        if !will_be_cast(net, id) || !net.op(id).bodies.is_empty() {
            continue;
        }
        n_cast += 1;
        for (slot, input) in net.op(id).inputs.clone().into_iter().enumerate() {
            let Some(input) = input.filter(|input| is_half(net, *input)) else { continue };
            let wide = match cast_inputs.get(&input) {
                Some(wide) => *wide,
                None => {
                    let (cast, wide) = add_cast(net, input, DataType::Float);
                    net.set_input(cast, 0, Some(input));
                    net.set_output(cast, 0, Some(wide));
                    cast_inputs.insert(input, wide);
                    wide
                }
            };
            net.set_input(id, slot, Some(wide));
        }
        net.op_mut(id).provider = Some(Provider::Cpu);
        if net.op(id).int("dtype") == Some(i64::from(DataType::Float16.number())) {
            net.set_attribute(id, "dtype", AttributeValue::Int(i64::from(DataType::Float.number())));
        }
        for (index, output) in net.op(id).outputs.clone().into_iter().enumerate() {
            let Some(output) = output.filter(|output| is_half(net, *output)) else { continue };
            let (cast, wide) = add_cast(net, output, DataType::Float16);
            net.set_output(id, index, Some(wide));
            net.set_input(cast, 0, Some(wide));
            net.set_output(cast, 0, Some(output));
        }
    }
    n_cast
}

/// A cast node beside a half-precision value, and the single-precision value on its other side.
fn add_cast(net: &mut Net, beside: ArgId, to: DataType) -> (OpId, ArgId) {
    let name = net.generate_op_name(&format!("{PREFIX}{}", net.arg(beside).name));
    // The runtime gives the new value a type and no shape: what the file declared for the old one is
    // lost, and only what inference finds again is known to the planner.
    let wide = net.add_arg(&name, Some(DataType::Float), None);
    let mut op = Op { name, op_type: "Cast".to_owned(), provider: Some(Provider::Cpu), ..Op::default() };
    op.attributes.insert("to".to_owned(), AttributeValue::Int(i64::from(to.number())));
    (net.push_op(op), wide)
}

/// A node that can run in half precision, between nodes that cannot.
fn is_isolated(net: &Net, id: OpId) -> bool {
    let op = net.op(id);
    if net.n_input_edges(id) == 0
        || !op.bodies.is_empty()
        || net.makes_graph_output(id)
        || op.provider != Some(Provider::Cpu)
    {
        return false;
    }
    // Of a list of inputs only the first is looked at.
    let n_looked_at =
        if matches!(op.op_type.as_str(), "Concat" | "Sum" | "Max" | "Min" | "Mean") { 1 } else { op.inputs.len() };
    let half_inputs: Vec<ArgId> =
        op.inputs.iter().take(n_looked_at).flatten().copied().filter(|arg| is_half(net, *arg)).collect();
    if half_inputs.is_empty() {
        return false;
    }
    let producers = half_inputs.iter().filter_map(|arg| net.producer(*arg));
    if !producers.into_iter().all(|producer| will_be_cast(net, producer)) {
        return false;
    }
    let half_outputs: Vec<ArgId> = op.outputs.iter().flatten().copied().filter(|arg| is_half(net, *arg)).collect();
    !half_outputs.is_empty()
        && half_outputs.iter().all(|arg| net.arg(*arg).uses.iter().all(|reading| will_be_cast(net, reading.op)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Signed,
    Unsigned,
    Float,
}

fn kind(elem: DataType) -> Option<(Kind, u32)> {
    use DataType::*;
    Some(match elem {
        Bool => (Kind::Bool, 1),
        Int8 => (Kind::Signed, 8),
        Int16 => (Kind::Signed, 16),
        Int32 => (Kind::Signed, 32),
        Int64 => (Kind::Signed, 64),
        Uint8 => (Kind::Unsigned, 8),
        Uint16 => (Kind::Unsigned, 16),
        Uint32 => (Kind::Unsigned, 32),
        Uint64 => (Kind::Unsigned, 64),
        Float16 | Bfloat16 => (Kind::Float, 16),
        Float => (Kind::Float, 32),
        Double => (Kind::Float, 64),
        _ => return None,
    })
}

/// Whether a cast may lose something (`UnsafeCast`).
pub(super) fn is_unsafe(from: Option<DataType>, to: Option<DataType>, name: &str) -> bool {
    let (Some(from), Some(to)) = (from, to) else { return true };
    let (Some((from_kind, from_bits)), Some((to_kind, to_bits))) = (kind(from), kind(to)) else { return true };
    if from_kind != Kind::Bool && from_kind != Kind::Unsigned && to_kind == Kind::Unsigned {
        return true;
    }
    if from_kind == Kind::Float && to_kind != Kind::Float {
        return true;
    }
    let is_whole = matches!(from_kind, Kind::Signed | Kind::Unsigned);
    if (from_kind == Kind::Unsigned && to_kind == Kind::Signed) || (is_whole && to_kind == Kind::Float) {
        return to_bits <= from_bits;
    }
    if from_bits == 16 && to_bits == 16 && from != to && from_kind == Kind::Float && to_kind == Kind::Float {
        return true;
    }
    from_bits > to_bits && !name.starts_with(PREFIX)
}

/// Removes casts that undo or repeat each other (`RemoveDuplicateCastTransformer`).
pub(super) fn remove_duplicate_casts(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_removed = 0;
    for id in net.ids().collect::<Vec<_>>() {
        if net.get(id).is_some_and(|op| op.op_type == "Cast") {
            n_removed += remove_after(net, id);
        }
    }
    n_removed
}

fn remove_after(net: &mut Net, id: OpId) -> usize {
    let elem = |net: &Net, arg: Option<ArgId>| arg.and_then(|arg| net.arg(arg).elem);
    let op = net.op(id);
    let (Some(input), Some(output)) = (op.input(0), op.output(0)) else { return 0 };
    let (from, to) = (elem(net, Some(input)), elem(net, Some(output)));
    let loses = is_unsafe(from, to, &op.name);
    let readers = net.output_edges(id);
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for edge in &readers {
        let next = net.op(edge.op);
        if next.op_type != "Cast" {
            continue;
        }
        let next_to = elem(net, next.output(0));
        if loses && is_unsafe(next_to, to, &next.name) {
            return 0;
        }
        let gives_output = next.output(0).is_some_and(|arg| net.arg(arg).is_output);
        if !gives_output && from.is_some() && from == next_to { removed.push(edge.op) } else { kept.push(edge.op) }
    }
    let mut n_removed = 0;
    for next in &removed {
        if let Some(next_output) = net.op(*next).output(0) {
            net.replace_uses(next_output, input);
        }
        net.remove_op(*next);
        n_removed += 1;
    }
    let all_casts = !readers.is_empty() && removed.len() + kept.len() == readers.len();
    if all_casts && !net.arg(output).is_output {
        let own = net.op(id).provider;
        let crosses = kept.iter().any(|next| {
            let other = net.op(*next).provider;
            own.is_some() && other.is_some() && own != other
        });
        let to_bool = loses && kept.iter().any(|next| elem(net, net.op(*next).output(0)) == Some(DataType::Bool));
        if !crosses && !to_bool && net.bypass(id) {
            n_removed += 1;
        }
    }
    n_removed
}
