//! Operators between `DequantizeLinear` and `QuantizeLinear` become quantized ones.
//!
//! qdq_s8_to_u8.cc and qdq_selector_action_transformer.cc with its selectors and actions
//! (ORT 1.31), level 2. On the CPU provider; weight-only products also on CUDA. An activation before
//! the quantization that it makes redundant is gone by then; any other keeps its node as it is.

mod weight_only;

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::content;
use super::double_pairs::are_paired;
use super::net::{ArgId, Net, Op, OpId};
use super::{Context, MS, Provider};
use crate::releases::{FormerRule, holds};

fn is_quantize(op: &Op) -> bool {
    op.op_type == "QuantizeLinear" && (op.domain.is_empty() || op.domain == MS)
}

fn is_dequantize(op: &Op) -> bool {
    op.op_type == "DequantizeLinear" && (op.domain.is_empty() || op.domain == MS)
}

/// Signed activations become unsigned: x64 has no fast signed products.
pub(super) fn signed_to_unsigned(net: &mut Net, _: &Context<'_>) -> usize {
    let mut n_changed = 0;
    for id in net.topological_order() {
        let fits = net.get(id).is_some_and(is_quantize) && net.op(id).provider == Some(Provider::Cpu);
        if !fits || !net.has_only_edges(id, 1) {
            continue;
        }
        let Some(dequantize) = net.first_child(id).filter(|next| is_dequantize(net.op(*next))) else { continue };
        let zero = |id: OpId| {
            let tensor = net.input_constant(id, 2)?;
            let single =
                tensor.element_type() == Ok(DataType::Int8) && crate::rewrite::content::count(&tensor.dims) == 1;
            single.then(|| content::integers(tensor)?.first().copied()).flatten()
        };
        let Some(from) = zero(id) else { continue };
        let absent = net.op(dequantize).input(2).is_none();
        if zero(dequantize).or(absent.then_some(0)) != Some(from) {
            continue;
        }
        let raw = vec![(from + 128) as u8];
        let new = net.add_constant(TensorProto::from_raw("qdq_s8_to_u8_zp_conversion", DataType::Uint8, &[], raw));
        let shape = net.op(id).output(0).and_then(|arg| net.arg(arg).shape.clone());
        let between = net.add_arg("qdq_s8_to_u8_quant", Some(DataType::Uint8), shape);
        net.set_output(id, 0, Some(between));
        net.set_input(dequantize, 0, Some(between));
        net.set_input(id, 2, Some(new));
        net.set_input(dequantize, 2, Some(new));
        n_changed += 1;
    }
    n_changed
}

/// A node with the dequantizations before and the quantizations after it.
struct Unit {
    before: Vec<(usize, OpId)>,
    after: Vec<OpId>,
}

impl Unit {
    fn of(net: &Net, id: OpId) -> Self {
        let op = net.op(id);
        let before = (0..op.inputs.len()).filter_map(|slot| {
            net.producer_of_input(id, slot).filter(|parent| is_dequantize(net.op(*parent))).map(|parent| (slot, parent))
        });
        let after = net.output_edges(id).into_iter().map(|edge| edge.op).filter(|next| is_quantize(net.op(*next)));
        Self { before: before.collect(), after: after.collect() }
    }

    fn input_type(&self, net: &Net, at: usize) -> Option<DataType> {
        net.input_elem(self.before.get(at)?.1, 0)
    }

    fn output_type(&self, net: &Net) -> Option<DataType> {
        net.arg(net.op(*self.after.first()?).output(0)?).elem
    }

    /// `CheckQDQNodes`: so many inputs dequantized, nothing shared, all outputs quantized.
    fn is_whole(&self, net: &Net, id: OpId, n_inputs: Option<usize>) -> bool {
        let op = net.op(id);
        let n_inputs = n_inputs.unwrap_or_else(|| op.inputs.iter().flatten().count());
        let n_outputs = op.outputs.iter().flatten().count();
        self.is_unshared(net, n_inputs)
            && self.after.len() == n_outputs
            && net.n_output_edges(id) == n_outputs
            && !net.makes_graph_output(id)
    }

    fn is_unshared(&self, net: &Net, n_inputs: usize) -> bool {
        self.before.len() == n_inputs
            && self.before.iter().all(|(_, id)| net.n_output_edges(*id) == 1 && !net.makes_graph_output(*id))
    }

    /// All types equal and eight bits wide.
    fn is_uniform(&self, net: &Net) -> bool {
        let first = self.input_type(net, 0);
        let eight = matches!(first, Some(DataType::Int8 | DataType::Uint8));
        eight && (1..self.before.len()).all(|at| self.input_type(net, at) == first) && self.output_type(net) == first
    }
}

/// Replaces all units that have a quantized operator.
pub(super) fn replace_units(net: &mut Net, context: &Context<'_>) -> usize {
    let (major, minor) = context.options.ort_version;
    let any_bias = holds(FormerRule::AnyBiasScale, (major, minor, 0));
    let mut n_replaced = 0;
    for id in net.topological_order() {
        let Some(op) = net.get(id) else { continue };
        if !op.domain.is_empty() {
            continue;
        }
        let on_cpu = op.provider == Some(Provider::Cpu);
        let unit = Unit::of(net, id);
        let done = match op.op_type.as_str() {
            _ if unit.before.is_empty() || is_before_activation(net, id) => false,
            "Conv" if on_cpu => conv(net, id, &unit, any_bias),
            "MatMul" => (on_cpu && matmul(net, id, &unit)) || weight_only::product(net, id, &unit),
            "Gemm" => (on_cpu && gemm(net, id, &unit)) || weight_only::product(net, id, &unit),
            "AveragePool" | "GlobalAveragePool" | "Sigmoid" | "LeakyRelu" | "Softmax" if on_cpu => {
                unit.is_whole(net, id, Some(1)) && unit.is_uniform(net) && plain(net, id, &unit, false)
            }
            "Add" | "Mul" if on_cpu => {
                unit.is_whole(net, id, None) && unit.is_uniform(net) && plain(net, id, &unit, false)
            }
            "Where" if on_cpu => unit.is_whole(net, id, Some(2)) && unit.is_uniform(net) && choose(net, id, &unit),
            "Split" if on_cpu => split(net, id, &unit),
            "ArgMax" if on_cpu => drop_before(net, id, &unit),
            "Concat" if on_cpu => unit.is_whole(net, id, None) && unit.is_uniform(net) && plain(net, id, &unit, true),
            "DepthToSpace" | "Resize" | "MaxPool" | "ReduceMax" | "ReduceMin" | "Expand" | "Flatten" | "Gather"
            | "GatherElements" | "Reshape" | "Slice" | "Squeeze" | "Tile" | "Transpose" | "Unsqueeze"
                if on_cpu =>
            {
                drop_around(net, id, &unit)
            }
            _ => false,
        };
        n_replaced += usize::from(done);
    }
    n_replaced
}

/// Value, scale and zero point at a dequantization.
fn triple(net: &Net, id: OpId) -> [Option<ArgId>; 3] {
    [0, 1, 2].map(|slot| net.op(id).input(slot))
}

fn output_parameters(net: &Net, unit: &Unit) -> [Option<ArgId>; 2] {
    unit.after.first().map_or([None, None], |id| [net.op(*id).input(1), net.op(*id).input(2)])
}

/// Puts a new node in place of a unit.
fn replace(net: &mut Net, id: OpId, unit: &Unit, domain: &str, op_type: &str, inputs: Vec<Option<ArgId>>) -> OpId {
    let op = net.op(id);
    let new = Op {
        name: op.name.clone(),
        op_type: op_type.to_owned(),
        domain: domain.to_owned(),
        inputs,
        attributes: op.attributes.clone(),
        provider: op.provider,
        ..Op::default()
    };
    let new = net.push_op(new);
    match unit.after.first() {
        Some(quantize) => net.fuse(&[id, *quantize], new),
        None => net.fuse(&[id], new),
    }
    for (_, dequantize) in &unit.before {
        if net.get(*dequantize).is_some() && !net.has_output_edges(*dequantize) {
            net.remove_op(*dequantize);
        }
    }
    new
}

/// `QLinear...` with inputs, scales and zero points in a row.
fn plain(net: &mut Net, id: OpId, unit: &Unit, output_first: bool) -> bool {
    let mut inputs: Vec<Option<ArgId>> = unit.before.iter().flat_map(|(_, id)| triple(net, *id)).collect();
    let output = output_parameters(net, unit);
    if output_first {
        inputs.splice(0..0, output);
    } else {
        inputs.extend(output);
    }
    let op_type = format!("QLinear{}", net.op(id).op_type);
    replace(net, id, unit, MS, &op_type, inputs);
    true
}

fn numbers(net: &Net, id: OpId, slot: usize) -> Option<Vec<f64>> {
    content::floats(net.input_constant(id, slot)?)
}

/// Whether the bias is scaled as input times weight, which the integer kernel takes for granted.
fn bias_fits(net: &Net, unit: &Unit, any_scale: bool) -> bool {
    let [(_, x), (_, w), (_, b)] = unit.before.as_slice() else { return true };
    if unit.input_type(net, 2) != Some(DataType::Int32) {
        return false;
    }
    if any_scale {
        return true;
    }
    let (Some(x), Some(w), Some(scale)) = (numbers(net, *x, 1), numbers(net, *w, 1), numbers(net, *b, 1)) else {
        return false;
    };
    let n = w.len().max(scale.len());
    let mismatched = w.len() != 1 && scale.len() != 1 && w.len() != scale.len();
    if x.len() != 1 || mismatched || w.is_empty() || scale.is_empty() {
        return false;
    }
    let at = |list: &[f64], index: usize| if list.len() == 1 { list[0] } else { list[index] };
    let scales_fit = (0..n).all(|index| {
        let expected = x[0] * at(&w, index);
        (at(&scale, index) - expected).abs() <= 1e-6 + 1e-2 * expected.abs()
    });
    let zero = net.op(*b).input(2).is_none_or(|arg| {
        net.constant(arg).and_then(|tensor| content::integers(tensor)).is_some_and(|zero| zero.iter().all(|v| *v == 0))
    });
    scales_fit && zero
}

fn conv(net: &mut Net, id: OpId, unit: &Unit, any_bias: bool) -> bool {
    let input = unit.input_type(net, 0);
    // Signed products need hardware that x64 builds do not count on.
    let fits = unit.is_whole(net, id, None)
        && input == Some(DataType::Uint8)
        && unit.output_type(net) == input
        && matches!(unit.input_type(net, 1), Some(DataType::Int8 | DataType::Uint8))
        && bias_fits(net, unit, any_bias);
    if !fits {
        return false;
    }
    let mut inputs: Vec<Option<ArgId>> = unit.before.iter().take(2).flat_map(|(_, id)| triple(net, *id)).collect();
    inputs.extend(output_parameters(net, unit));
    inputs.extend(unit.before.get(2).map(|(_, id)| net.op(*id).input(0)));
    replace(net, id, unit, "", "QLinearConv", inputs);
    true
}

fn matmul(net: &mut Net, id: OpId, unit: &Unit) -> bool {
    let fits = unit.before.len() == 2
        && unit.input_type(net, 0) == Some(DataType::Uint8)
        && matches!(unit.input_type(net, 1), Some(DataType::Int8 | DataType::Uint8));
    if !fits {
        return false;
    }
    let [a, b] = [0, 1].map(|at| triple(net, unit.before[at].1));
    if unit.after.is_empty() {
        replace(net, id, unit, MS, "MatMulIntegerToFloat", vec![a[0], b[0], a[1], b[1], a[2], b[2]]);
        return true;
    }
    if !unit.is_whole(net, id, None) || unit.output_type(net) != unit.input_type(net, 0) {
        return false;
    }
    let inputs = [a.as_slice(), &b, &output_parameters(net, unit)].concat();
    replace(net, id, unit, "", "QLinearMatMul", inputs);
    true
}

fn gemm(net: &mut Net, id: OpId, unit: &Unit) -> bool {
    let n_inputs = net.op(id).inputs.iter().flatten().count();
    let eight = |at| matches!(unit.input_type(net, at), Some(DataType::Int8 | DataType::Uint8));
    let fits = unit.is_unshared(net, n_inputs)
        && eight(0)
        && eight(1)
        && (n_inputs < 3
            || (unit.input_type(net, 2) == Some(DataType::Int32) && net.op(id).float("beta").unwrap_or(1.0) == 1.0));
    let has_zeros = unit.before.iter().take(2).all(|(_, id)| net.op(*id).input(2).is_some());
    let quantized =
        unit.after.is_empty() || (unit.is_whole(net, id, None) && unit.output_type(net) == unit.input_type(net, 0));
    if !fits || !quantized || !has_zeros {
        return false;
    }
    let mut inputs: Vec<Option<ArgId>> = unit.before.iter().take(2).flat_map(|(_, id)| triple(net, *id)).collect();
    inputs.push(unit.before.get(2).and_then(|(_, id)| net.op(*id).input(0)));
    if !unit.after.is_empty() {
        inputs.extend(output_parameters(net, unit));
    }
    let new = replace(net, id, unit, MS, "QGemm", inputs);
    net.op_mut(new).attributes.remove("beta");
    true
}

/// `QLinearWhere`: the condition stays as it is.
fn choose(net: &mut Net, id: OpId, unit: &Unit) -> bool {
    let mut inputs = vec![net.op(id).input(0)];
    inputs.extend(unit.before.iter().flat_map(|(_, id)| triple(net, *id)));
    inputs.extend(output_parameters(net, unit));
    replace(net, id, unit, MS, "QLinearWhere", inputs);
    true
}

/// Whether the one reader is an activation with one reader of its own: then its quantization counts,
/// and only if it makes the activation redundant.
fn is_before_activation(net: &Net, id: OpId) -> bool {
    let Some(next) = net.first_child(id).filter(|_| net.n_output_edges(id) == 1) else { return false };
    matches!(net.op(next).op_type.as_str(), "Relu" | "Clip")
        && net.n_output_edges(next) == 1
        && !net.makes_graph_output(next)
}

/// One constant number at this place.
fn single(net: &Net, id: OpId, slot: usize) -> Option<&TensorProto> {
    let tensor: &TensorProto = net.input_constant(id, slot)?;
    (content::count(&tensor.dims) == 1 && tensor.dims.len() <= 1).then_some(tensor)
}

/// Parts of a quantized value are quantized alike.
fn split(net: &mut Net, id: OpId, unit: &Unit) -> bool {
    let [(0, before)] = unit.before.as_slice() else { return false };
    let before = *before;
    let input = unit.input_type(net, 0);
    let alike = |net: &Net, quantize: OpId| {
        net.op(quantize).output(0).and_then(|arg| net.arg(arg).elem) == input && are_paired(net, before, quantize)
    };
    if !unit.is_whole(net, id, Some(1)) || !unit.after.iter().all(|quantize| alike(net, *quantize)) {
        return false;
    }
    let outputs: Vec<Option<ArgId>> = net.op(id).outputs.clone();
    let quantized = net.op(before).input(0);
    net.set_input(id, 0, quantized);
    for (index, output) in outputs.into_iter().enumerate() {
        let Some(reading) = output.and_then(|output| net.arg(output).uses.first().copied()) else { continue };
        let result = net.op(reading.op).output(0);
        net.remove_op(reading.op);
        net.set_output(id, index, result);
    }
    if !net.has_output_edges(before) {
        net.remove_op(before);
    }
    true
}

/// The place of the largest element is that of the largest quantized one.
fn drop_before(net: &mut Net, id: OpId, unit: &Unit) -> bool {
    let [(0, before)] = unit.before.as_slice() else { return false };
    let before = *before;
    let eight = matches!(unit.input_type(net, 0), Some(DataType::Int8 | DataType::Uint8));
    let known =
        single(net, before, 1).is_some() && (net.op(before).input(2).is_none() || single(net, before, 2).is_some());
    if !unit.is_unshared(net, 1) || !eight || !known {
        return false;
    }
    let quantized = net.op(before).input(0);
    net.set_input(id, 0, quantized);
    net.remove_op(before);
    true
}

/// Operators that only move elements work on quantized ones as they are.
fn drop_around(net: &mut Net, id: OpId, unit: &Unit) -> bool {
    let [(0, before)] = unit.before.as_slice() else { return false };
    let (before, Some(after)) = (*before, unit.after.first().copied()) else { return false };
    let op = net.op(id);
    let text = |name: &str| op.string(name);
    let computes = op.op_type == "Resize"
        && (text("mode").is_some_and(|mode| mode != "nearest")
            || text("coordinate_transformation_mode").is_some_and(|mode| mode == "tf_crop_and_resize"));
    let orders = matches!(op.op_type.as_str(), "MaxPool" | "ReduceMax" | "ReduceMin");
    let positive = || single(net, after, 1).and_then(content::first_float).is_some_and(|scale| scale > 0.0);
    // Wider elements have no such kernel.
    let wide = matches!(unit.input_type(net, 0), Some(DataType::Int16 | DataType::Uint16))
        && (orders || matches!(op.op_type.as_str(), "Resize" | "DepthToSpace"));
    let too_old = op.op_type == "MaxPool" && net.opset() < 12;
    if !unit.is_whole(net, id, Some(1))
        || unit.input_type(net, 0) != unit.output_type(net)
        || !are_paired(net, before, after)
        || computes
        || wide
        || too_old
        || (orders && !positive())
    {
        return false;
    }
    let input = net.op(before).input(0);
    net.set_input(id, 0, input);
    net.fuse(&[id, after], id);
    if !net.has_output_edges(before) {
        net.remove_op(before);
    }
    true
}
