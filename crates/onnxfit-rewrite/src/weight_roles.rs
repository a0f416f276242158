//! What the weights of a model are for, so that made-up ones keep every number finite.
//!
//! A network of random weights is a fair test of memory and of rounding only if its activations
//! neither vanish nor explode over a hundred layers. So kernels get the deviation that keeps the
//! variance (1/√fan-in, a little more before an activation that discards half, less at the end of
//! a residual branch), normalizations are near one, scales are positive and small, and tables of
//! indices stay inside the table they point into.

use std::collections::BTreeMap;

use onnxfit_graph::{Graph, Model, Node, NodeId, ValueId};
use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{DataType, WeightRole};

/// Steps from a weight to who really uses it.
const N_STEPS_MAX: usize = 6;

/// The role of each initializer and constant of the model and its bodies, by tensor name. Tensors
/// about which nothing can be said are left out.
pub fn roles(model: &Model) -> BTreeMap<String, WeightRole> {
    let mut roles = BTreeMap::new();
    collect(&model.graph, &mut roles);
    roles
}

/// One reading of a weight.
struct Reading<'a> {
    graph: &'a Graph,
    id: NodeId,
    node: &'a Node,
    input: usize,
    dims: Vec<i64>,
}

/// What a body captures is followed from outside.
fn collect(graph: &Graph, roles: &mut BTreeMap<String, WeightRole>) {
    for (id, value) in graph.values() {
        let tensor = value.tensor().or_else(|| graph.constant_tensor(id));
        let Some(tensor) = tensor.filter(|tensor| !tensor.name().is_empty()) else { continue };
        let Ok(data_type) = tensor.element_type() else { continue };
        if let Some(role) = role_of(graph, id, tensor, data_type) {
            roles.insert(tensor.name().to_owned(), role);
        }
    }
    for (_, node) in graph.nodes() {
        for (_, body) in node.subgraphs() {
            collect(body, roles);
        }
    }
}

fn role_of(graph: &Graph, id: ValueId, tensor: &TensorProto, data_type: DataType) -> Option<WeightRole> {
    if data_type == DataType::Bool {
        return Some(WeightRole::Ones);
    }
    let mut readings = Vec::new();
    follow(graph, id, tensor.dims.clone(), 0, &mut readings);
    readings.iter().find_map(|reading| by_reader(reading, tensor, data_type))
}

/// Finds who uses a value, through operators that only pass it on, and into bodies.
fn follow<'a>(graph: &'a Graph, id: ValueId, dims: Vec<i64>, step: usize, found: &mut Vec<Reading<'a>>) {
    if step > N_STEPS_MAX || found.len() > 16 {
        return;
    }
    for reader in &graph.value(id).uses {
        let node = graph.node(reader.node);
        let Some(input) = reader.input else {
            let name = &graph.value(id).name;
            for (_, body) in node.subgraphs() {
                if let Some(inner) = body.value_named(name).filter(|inner| body.value(*inner).is_captured) {
                    follow(body, inner, dims.clone(), step + 1, found);
                }
            }
            continue;
        };
        let next = match (node.op_type.as_str(), input) {
            ("Transpose", 0) => Some(transposed(node, &dims)),
            ("Identity" | "Cast" | "Slice" | "Dropout", 0) => Some(dims.clone()),
            ("Unsqueeze" | "Squeeze" | "Reshape", 0) => {
                let unit = dims.iter().copied().filter(|dim| *dim != 1).collect::<Vec<i64>>();
                Some(if node.op_type == "Reshape" { dims.clone() } else { unit })
            }
            _ => None,
        };
        match (next, node.output(0)) {
            (Some(next), Some(output)) => follow(graph, output, next, step + 1, found),
            _ => found.push(Reading { graph, id: reader.node, node, input, dims: dims.clone() }),
        }
    }
}

fn transposed(node: &Node, dims: &[i64]) -> Vec<i64> {
    match node.ints("perm") {
        Some(perm) => perm
            .iter()
            .map(|axis| usize::try_from(*axis).ok().and_then(|axis| dims.get(axis)).copied().unwrap_or(1))
            .collect(),
        None => dims.iter().rev().copied().collect(),
    }
}

const NEAR_ONE: WeightRole = WeightRole::Uniform { low: 0.9, high: 1.1 };
const NEAR_ZERO: WeightRole = WeightRole::Normal { std: 0.02 };
/// The mean deviation of evenly drawn 8-bit integers.
const INT8_STD: f32 = 73.0;

fn by_reader(reading: &Reading<'_>, tensor: &TensorProto, data_type: DataType) -> Option<WeightRole> {
    if !data_type.is_float() {
        return integers(reading, tensor, data_type);
    }
    let (node, input) = (reading.node, reading.input);
    Some(match (node.op_type.as_str(), input) {
        ("Conv" | "ConvTranspose" | "MatMul" | "Gemm" | "FusedMatMul" | "FusedConv", 0 | 1) => {
            WeightRole::Normal { std: kernel_std(reading) }
        }
        ("LSTM" | "GRU" | "RNN", 1 | 2) => {
            WeightRole::Normal { std: per_root(reading.dims.last().copied().unwrap_or(1)) }
        }
        ("BatchNormalization", 1 | 4) => NEAR_ONE,
        (
            "LayerNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "SimplifiedLayerNormalization"
            | "RMSNormalization",
            1,
        ) => NEAR_ONE,
        ("SkipLayerNormalization" | "SkipSimplifiedLayerNormalization", 2) => NEAR_ONE,
        ("PRelu", 1) => WeightRole::Uniform { low: 0.1, high: 0.3 },
        ("DequantizeLinear", 1) => dequantize_scale(reading),
        ("QuantizeLinear", 1) => WeightRole::Uniform { low: 0.02, high: 0.03 },
        ("QLinearConv" | "QLinearMatMul", 1 | 6) => WeightRole::Uniform { low: 0.02, high: 0.03 },
        ("QLinearConv" | "QLinearMatMul", 4) => WeightRole::Uniform { low: 0.0005, high: 0.001 },
        // The factor of an integer product's result.
        ("Mul", _) if multiplies_scale(reading) => WeightRole::Uniform { low: 0.0005, high: 0.001 },
        ("Mul", _) | ("Div", 1) | ("Pow", _) => NEAR_ONE,
        ("Sqrt" | "Log" | "Reciprocal", _) => NEAR_ONE,
        _ => NEAR_ZERO,
    })
}

fn per_root(fan_in: i64) -> f32 {
    1.0 / (fan_in.max(1) as f32).sqrt()
}

/// The deviation of a kernel or matrix that keeps the variance of what flows through.
fn kernel_std(reading: &Reading<'_>) -> f32 {
    let softened = if makes_unscaled_scores(reading) { UNSCALED_SCORES_GAIN } else { 1.0 };
    per_root(fan_in(reading)) * gain(reading) * softened
}

/// Queries and keys of attention that divides by nothing (T5): the weights themselves must do what
/// 1/√head-size does elsewhere, half of it each.
const UNSCALED_SCORES_GAIN: f32 = 0.35;

fn makes_unscaled_scores(reading: &Reading<'_>) -> bool {
    let copies = ["Reshape", "Transpose", "Identity", "Split", "Unsqueeze", "Squeeze"];
    let masks = ["Reshape", "Add", "Where", "Cast", "Identity"];
    let Some(projected) = reading.node.output(0) else { return false };
    let products = reached(reading.graph, projected, &copies, "MatMul");
    products.iter().any(|product| {
        let scores = reading.graph.node(*product).output(0);
        scores.is_some_and(|scores| !reached(reading.graph, scores, &masks, "Softmax").is_empty())
    })
}

/// The nodes of one kind that a value reaches through operators of the others.
fn reached(graph: &Graph, from: ValueId, through: &[&str], wanted: &str) -> Vec<NodeId> {
    let mut found = Vec::new();
    let mut values = vec![from];
    for _ in 0..N_STEPS_MAX {
        let mut next = Vec::new();
        for reader in values.iter().flat_map(|value| &graph.value(*value).uses) {
            let node = graph.node(reader.node);
            if node.is(wanted) {
                found.push(reader.node);
            } else if through.contains(&node.op_type.as_str()) {
                next.extend(node.outputs.iter().flatten().copied());
            }
        }
        values = next;
    }
    found
}

fn fan_in(reading: &Reading<'_>) -> i64 {
    let dims = &reading.dims;
    let at = |from_end: usize| dims.len().checked_sub(from_end).and_then(|index| dims.get(index)).copied().unwrap_or(1);
    let is_set = |name| reading.node.int(name).unwrap_or(0) != 0;
    let product = |dims: &[i64]| dims.iter().fold(1i64, |product, dim| product.saturating_mul((*dim).max(1)));
    match (reading.node.op_type.as_str(), reading.input) {
        ("Conv" | "FusedConv" | "ConvInteger" | "QLinearConv", _) => product(dims.get(1..).unwrap_or(&[])),
        // Each output takes from the kernel's inputs, but only one in stride² positions of it.
        ("ConvTranspose", _) => {
            let strides = reading.node.ints("strides").unwrap_or(&[]).to_vec();
            dims.first().copied().unwrap_or(1).saturating_mul(product(dims.get(2..).unwrap_or(&[]))) / product(&strides)
        }
        ("Gemm", 1) => {
            if is_set("transB") {
                at(1)
            } else {
                at(2)
            }
        }
        ("Gemm", _) => {
            if is_set("transA") {
                at(2)
            } else {
                at(1)
            }
        }
        ("MatMul" | "FusedMatMul" | "MatMulInteger" | "QLinearMatMul", 0) => at(1),
        _ => {
            if dims.len() > 1 {
                at(2)
            } else {
                at(1)
            }
        }
    }
}

fn gain(reading: &Reading<'_>) -> f32 {
    const THROUGH_BIAS: usize = 2;
    let mut at = reading.node.output(0);
    for _ in 0..=THROUGH_BIAS {
        let Some(value) = at else { break };
        let readers = &reading.graph.value(value).uses;
        let ops: Vec<(&Node, ValueId)> =
            readers.iter().map(|reader| (reading.graph.node(reader.node), value)).collect();
        let halves =
            ["Relu", "LeakyRelu", "PRelu", "Clip", "HardSwish", "Sigmoid", "HardSigmoid", "Erf", "Gelu", "Mish"];
        if ops.iter().any(|(node, _)| halves.contains(&node.op_type.as_str())) {
            return std::f32::consts::SQRT_2;
        }
        let [(node, _)] = ops[..] else { break };
        match node.op_type.as_str() {
            // A sum of two branches: the end of a residual one, unless the other side is a bias.
            "Add" | "Sum" => {
                let is_bias = node.inputs.iter().flatten().any(|id| is_fixed(reading.graph, *id));
                if !is_bias {
                    return 0.5;
                }
                at = node.output(0);
            }
            "BatchNormalization" | "Identity" | "Reshape" => at = node.output(0),
            _ => break,
        }
    }
    1.0
}

fn is_fixed(graph: &Graph, id: ValueId) -> bool {
    graph.value(id).constant.is_some()
        || graph.constant_tensor(id).is_some()
        || graph.producer(id).is_some_and(|(_, node)| {
            node.is("Identity") && node.input(0).is_some_and(|id| graph.value(id).constant.is_some())
        })
}

/// Evenly drawn integers times this make a kernel of the right deviation.
fn dequantize_scale(reading: &Reading<'_>) -> WeightRole {
    let quantized = reading.node.input(0).and_then(|id| reading.graph.constant_tensor(id));
    let Some(quantized) = quantized else { return WeightRole::Uniform { low: 0.02, high: 0.03 } };
    if quantized.element_type() == Ok(DataType::Int32) {
        return WeightRole::Uniform { low: 1e-4, high: 2e-4 };
    }
    let mut readings = Vec::new();
    if let Some(output) = reading.node.output(0) {
        follow(reading.graph, output, quantized.dims.clone(), 0, &mut readings);
    }
    let std = readings.first().map_or(0.02, kernel_std);
    WeightRole::Uniform { low: std / INT8_STD * 0.9, high: std / INT8_STD * 1.1 }
}

fn multiplies_scale(reading: &Reading<'_>) -> bool {
    reading.node.inputs.iter().flatten().any(|id| {
        reading
            .graph
            .producer(*id)
            .is_some_and(|(producer, node)| node.op_type == "DynamicQuantizeLinear" && producer != reading.id)
    })
}

fn integers(reading: &Reading<'_>, tensor: &TensorProto, data_type: DataType) -> Option<WeightRole> {
    let (node, input) = (reading.node, reading.input);
    let is_table_index =
        matches!(node.op_type.as_str(), "Gather" | "GatherElements" | "GatherND" | "EmbedLayerNormalization");
    match (node.op_type.as_str(), input) {
        (_, 1) if is_table_index => {
            let table =
                node.input(0).map(|id| reading.graph.value(id).tensor().or_else(|| reading.graph.constant_tensor(id)));
            let axis = usize::try_from(node.int("axis").unwrap_or(0)).unwrap_or(0);
            let n_rows = table.flatten().and_then(|table| table.dims.get(axis)).copied().unwrap_or(1);
            Some(WeightRole::Integers { low: 0, high: i32::try_from(n_rows - 1).unwrap_or(0).max(0) })
        }
        // Zero points and axes stay zero.
        ("DequantizeLinear" | "QuantizeLinear", 2) => Some(WeightRole::Zeros),
        ("DequantizeLinear", 0) if data_type == DataType::Int32 => Some(WeightRole::Integers { low: -100, high: 100 }),
        (
            "DequantizeLinear"
            | "MatMulInteger"
            | "ConvInteger"
            | "QLinearConv"
            | "QLinearMatMul"
            | "DynamicQuantizeLSTM",
            _,
        ) if tensor.dims.len() > 1 => match data_type {
            DataType::Int8 => Some(WeightRole::Integers { low: -127, high: 127 }),
            DataType::Uint8 => Some(WeightRole::Integers { low: 0, high: 255 }),
            DataType::Int4 => Some(WeightRole::Integers { low: -7, high: 7 }),
            DataType::Uint4 => Some(WeightRole::Integers { low: 0, high: 15 }),
            _ => Some(WeightRole::Zeros),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
