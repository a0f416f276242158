//! Writes a plan into the graph.

use std::collections::BTreeMap;

use onnxfit_graph::{AttributeValue, Model, NewNode, Node, NodeId, Patch, Place, ValueId, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::operators::{Role, Roles};
use super::plan::{Plan, behind_clip, params};
use super::{Qdq, QdqOutcome};
use crate::affine::{Quantized, quantize_tensor, quantize_tensor_with};
use crate::constants::{float_dims, floats, sweep};
use crate::node_names::NodeNames;
use crate::ranges::Range;
use crate::{Granularity, IntType, Params, QuantizeError, Symmetry};

/// Operators of ONNX's own domain that know axes came with this version, those of 4 and 16 bits
/// with that; before, ONNX Runtime's own domain has them.
const OPSET_AXIS: i64 = 13;
const OPSET_WIDE: i64 = 21;

pub(super) fn emit(qdq: &Qdq<'_>, plan: &Plan) -> Result<QdqOutcome, QuantizeError> {
    let mut writer = Writer::new(qdq, plan);
    for (value, params) in &plan.values {
        writer.value(*value, *params);
    }
    let mut integer_nodes: BTreeMap<String, usize> = BTreeMap::new();
    for id in &plan.nodes {
        writer.node(*id)?;
        *integer_nodes.entry(qdq.roles[id].kernel.to_owned()).or_default() += 1;
    }
    writer.protect_floats();
    let uses_own_domain = writer.uses_own_domain;
    let patch = writer.patch;
    let mut model = Model::clone(qdq.model);
    model.graph.apply(&patch)?;
    if uses_own_domain {
        model.import_opset("com.microsoft", 1);
    }
    sweep(&mut model)?;
    Ok(QdqOutcome { model, integer_nodes, n_values: plan.values.len() })
}

struct Writer<'a, 'b> {
    qdq: &'a Qdq<'b>,
    plan: &'a Plan,
    patch: Patch,
    names: NodeNames,
    domain: &'static str,
    uses_own_domain: bool,
    /// Parameters that are written, by their bits.
    scales: BTreeMap<(u32, i32), (ValueId, ValueId)>,
    /// What nodes on integers read instead of a value.
    integers_of: BTreeMap<ValueId, ValueId>,
    /// Weights that are written.
    weights: BTreeMap<(ValueId, Option<usize>), (ValueId, Vec<Params>)>,
    /// Constants that are written as values.
    constants: BTreeMap<ValueId, ValueId>,
}

impl<'a, 'b> Writer<'a, 'b> {
    fn new(qdq: &'a Qdq<'b>, plan: &'a Plan) -> Self {
        let opset = qdq.model.opset("");
        let widest = qdq.options.activation.bits().max(qdq.options.weight.bits());
        let needed = if widest == 8 { OPSET_AXIS } else { OPSET_WIDE };
        let domain = if opset >= needed { "" } else { "com.microsoft" };
        Self {
            qdq,
            plan,
            patch: Patch::new(&qdq.model.graph, "quantize"),
            names: NodeNames::of(&qdq.model.graph),
            domain,
            uses_own_domain: false,
            scales: BTreeMap::new(),
            integers_of: BTreeMap::new(),
            weights: BTreeMap::new(),
            constants: BTreeMap::new(),
        }
    }

    /// Puts the pair behind a value.
    fn value(&mut self, value: ValueId, params: Params) {
        let graph = &self.qdq.model.graph;
        let entry = graph.value(value);
        let (scale, zero_point) = self.params(params);
        let name = entry.name.clone();
        // Who makes it makes integers in the end: then everybody reads what the integers say.
        let made_by = entry.producer.filter(|(node, _)| self.is_on_integers(*node));
        let (from, to, place) = match (made_by, entry.producer) {
            (Some((node, output)), _) => {
                let made = self.patch.add_value(&format!("{name}_made"), ValueType::Unknown);
                self.patch.set_output(node, output, Some(made));
                (made, value, Place::After(node))
            }
            (None, producer) => {
                let to = self.patch.add_value(&format!("{name}_read"), ValueType::Unknown);
                (value, to, producer.map_or(Place::Start, |(node, _)| Place::After(node)))
            }
        };
        let integers = self.patch.add_value(&format!("{name}_quantized"), ValueType::Unknown);
        let quantize =
            NewNode::new("QuantizeLinear", &format!("{name}_QuantizeLinear"), &[from, scale, zero_point], &[integers]);
        self.add(place, quantize);
        let dequantize = NewNode::new(
            "DequantizeLinear",
            &format!("{name}_DequantizeLinear"),
            &[integers, scale, zero_point],
            &[to],
        );
        self.add(place, dequantize);
        self.integers_of.insert(value, to);
    }

    /// A node on integers, or the `Relu` behind one that the integers make needless.
    fn is_on_integers(&self, node: NodeId) -> bool {
        if self.plan.nodes.contains(&node) {
            return self.qdq.roles[&node].makes_values();
        }
        let graph = &self.qdq.model.graph;
        let clip = graph.node(node);
        let before = clip.input(0).filter(|_| clip.is("Relu") || clip.is("Clip"));
        // The value before is no integer, so the one behind is made for it.
        before.is_some_and(|before| {
            !self.plan.values.contains_key(&before)
                && graph.value(before).producer.is_some_and(|(maker, _)| self.plan.nodes.contains(&maker))
        })
    }

    fn node(&mut self, id: NodeId) -> Result<(), QuantizeError> {
        let qdq = self.qdq;
        let graph = &qdq.model.graph;
        let (node, roles) = (graph.node(id), &qdq.roles[&id]);
        let bias_limit = self.bias_limit(id, roles)?;
        for (index, input) in node.inputs.iter().enumerate() {
            let Some(input) = *input else { continue };
            let read = match roles.role(index) {
                Role::Untouched => continue,
                Role::Activation => match self.integers_of.get(&input) {
                    Some(read) => *read,
                    None => self.constant(input)?,
                },
                Role::Weight { axis } => self.weight(input, axis, bias_limit.as_deref())?.0,
                Role::Bias { factor } => self.bias(id, input, factor, bias_limit.as_deref())?,
                Role::Table => {
                    self.table(id, input)?;
                    continue;
                }
            };
            if read != input {
                self.patch.set_input(id, index, Some(read));
            }
        }
        Ok(())
    }

    /// ONNX Runtime quantizes the weight of a `Conv` or `Gemm` itself, with one scale for all of it,
    /// when its input comes from integers and its output goes to some (weight_bias_quantization.cc,
    /// 1.31). A layer that shall stay float reads its input through a node that changes nothing and
    /// that no rewrite takes away.
    fn protect_floats(&mut self) {
        let graph = &self.qdq.model.graph;
        for (id, node) in graph.nodes() {
            let Some(input) = node.input(0).filter(|_| !self.plan.nodes.contains(&id)) else { continue };
            let reads_integers = self.plan.values.contains_key(&input)
                && graph.value(input).producer.is_some_and(|(maker, _)| self.is_on_integers(maker));
            if reads_integers && self.is_quantized_by_the_runtime(node) {
                let name = format!("{}_float", graph.value(input).name);
                let same = self.patch.add_value(&name, ValueType::Unknown);
                let mut same_node = NewNode::new("Max", &format!("{name}_Max"), &[input], &[same]);
                same_node.name = self.names.unique(&same_node.name);
                self.patch.add_node(Place::Before(id), same_node);
                self.patch.set_input(id, 0, Some(same));
            }
        }
    }

    /// A layer with a weight, perhaps with an `Add` behind it that becomes its bias, before integers.
    fn is_quantized_by_the_runtime(&self, node: &Node) -> bool {
        let graph = &self.qdq.model.graph;
        let Some(output) = node.output(0) else { return false };
        let goes_to_integers = |value| {
            self.plan.values.contains_key(&value)
                || behind_clip(graph, value).is_some_and(|behind| self.plan.values.contains_key(&behind))
        };
        if node.is("Conv") || node.is("ConvTranspose") || node.is("Gemm") {
            return goes_to_integers(output);
        }
        let added = graph.value(output).uses.iter().map(|reader| graph.node(reader.node));
        let mut sums = added.filter(|reader| reader.is("Add")).filter_map(|reader| reader.output(0));
        node.is("MatMul") && sums.any(goes_to_integers)
    }

    /// The scale of each channel's weight below which the bias would not fit into 32 bits.
    fn bias_limit(&self, id: NodeId, roles: &Roles) -> Result<Option<Vec<f32>>, QuantizeError> {
        let graph = &self.qdq.model.graph;
        let node = graph.node(id);
        let Some(at) = roles.inputs.iter().position(|role| matches!(role, Role::Bias { .. })) else { return Ok(None) };
        let (Some(bias), Some(input)) = (node.input(at), self.input_params(id)) else { return Ok(None) };
        let Some(tensor) = graph.constant_tensor(bias) else { return Ok(None) };
        let factor = if let Role::Bias { factor } = roles.inputs[at] { factor.abs() } else { 1.0 };
        // Half of what fits, for the sums that the bias is added to.
        const MOST: f32 = (i32::MAX / 2) as f32;
        Ok(Some(
            floats(tensor, self.qdq.source)?.iter().map(|bias| bias.abs() / (input.scale * factor * MOST)).collect(),
        ))
    }

    fn input_params(&self, id: NodeId) -> Option<Params> {
        self.plan.values.get(&self.qdq.model.graph.node(id).input(0)?).copied()
    }

    /// A weight as integers, and what the nodes read.
    fn weight(
        &mut self,
        weight: ValueId,
        axis: Option<usize>,
        limits: Option<&[f32]>,
    ) -> Result<(ValueId, Vec<Params>), QuantizeError> {
        let axis = axis.filter(|_| self.qdq.options.per_channel);
        if let Some(known) = self.weights.get(&(weight, axis)) {
            let fits = |(params, limit): (&Params, &f32)| params.scale >= *limit;
            if limits.is_none_or(|limits| each_limit(&known.1, limits).all(fits)) {
                return Ok(known.clone());
            }
        }
        let graph = &self.qdq.model.graph;
        let name = graph.value(weight).name.clone();
        let dims = float_dims(graph, weight).unwrap_or_default();
        let tensor = graph.constant_tensor(weight).ok_or(QuantizeError::WrongLength { have: 0, dims: dims.clone() })?;
        let numbers = floats(tensor, self.qdq.source)?;
        let granularity = axis.map_or(Granularity::Tensor, |axis| Granularity::Channel { axis });
        let (int_type, reduce) = (self.qdq.options.weight, self.qdq.options.reduce_range);
        let mut quantized = quantize_tensor(&numbers, &dims, int_type, granularity, Symmetry::Symmetric, reduce)?;
        if let Some(limits) = limits {
            let mut params = quantized.params.clone();
            let n_params = params.len();
            for (channel, limit) in limits.iter().enumerate() {
                let of = &mut params[if n_params == 1 { 0 } else { channel.min(n_params - 1) }];
                of.scale = of.scale.max(*limit);
            }
            if params != quantized.params {
                let used = int_type.used_range(Symmetry::Symmetric, reduce);
                quantized = quantize_tensor_with(&numbers, &dims, int_type, granularity, params, used)?;
            }
        }
        let read = self.dequantized(&name, &quantized, axis);
        self.weights.insert((weight, axis), (read, quantized.params.clone()));
        Ok((read, quantized.params))
    }

    /// A quantized tensor and the node behind it.
    fn dequantized(&mut self, name: &str, quantized: &Quantized, axis: Option<usize>) -> ValueId {
        let integers = self.patch.add_initializer(quantized.to_tensor(&format!("{name}_quantized")));
        let scale = self.patch.add_initializer(quantized.scales_tensor(&format!("{name}_scale")));
        let zero_point = self.patch.add_initializer(quantized.zero_points_tensor(&format!("{name}_zero_point")));
        let read = self.patch.add_value(&format!("{name}_dequantized"), ValueType::Unknown);
        let mut node = NewNode::new(
            "DequantizeLinear",
            &format!("{name}_DequantizeLinear"),
            &[integers, scale, zero_point],
            &[read],
        );
        if let Some(axis) = axis {
            node = node.with("axis", AttributeValue::Int(axis as i64));
        }
        self.add(Place::Start, node);
        read
    }

    /// A bias as 32-bit integers: its scale is that of the products.
    fn bias(
        &mut self,
        id: NodeId,
        bias: ValueId,
        factor: f32,
        limits: Option<&[f32]>,
    ) -> Result<ValueId, QuantizeError> {
        let qdq = self.qdq;
        let graph = &qdq.model.graph;
        let (node, roles) = (graph.node(id), &qdq.roles[&id]);
        let (Some(input), Some(weight)) = (self.input_params(id), roles.weight(node)) else { return Ok(bias) };
        let axis = roles.inputs.iter().find_map(|role| match role {
            Role::Weight { axis } => Some(*axis),
            _ => None,
        });
        let (_, weights) = self.weight(weight, axis.flatten(), limits)?;
        let Some(tensor) = graph.constant_tensor(bias) else { return Ok(bias) };
        let numbers = floats(tensor, qdq.source)?;
        let scales: Vec<f32> = weights.iter().map(|weight| input.scale * weight.scale * factor).collect();
        let of = |channel: usize| scales[if scales.len() == 1 { 0 } else { channel.min(scales.len() - 1) }];
        let integer = |(channel, number): (usize, &f32)| {
            let steps = (f64::from(*number) / f64::from(of(channel))).round_ties_even();
            (steps as i32).to_le_bytes()
        };
        let raw: Vec<u8> = numbers.iter().enumerate().flat_map(integer).collect();
        let name = format!("{}_of_{}", graph.value(bias).name, graph.node_label(id));
        let dims = &tensor.dims;
        let integers =
            self.patch.add_initializer(TensorProto::from_raw(&format!("{name}_quantized"), DataType::Int32, dims, raw));
        let is_one = scales.len() == 1;
        let scale_dims = if is_one { Vec::new() } else { vec![scales.len() as i64] };
        let zeros = vec![0u8; 4 * scales.len()];
        let scale = self.patch.add_initializer(TensorProto::from_f32(&format!("{name}_scale"), &scale_dims, &scales));
        let zero = TensorProto::from_raw(&format!("{name}_zero_point"), DataType::Int32, &scale_dims, zeros);
        let zero_point = self.patch.add_initializer(zero);
        let read = self.patch.add_value(&format!("{name}_dequantized"), ValueType::Unknown);
        let inputs = [integers, scale, zero_point];
        let mut node = NewNode::new("DequantizeLinear", &format!("{name}_DequantizeLinear"), &inputs, &[read]);
        if !is_one {
            node = node.with("axis", AttributeValue::Int(dims.len() as i64 - 1));
        }
        self.add(Place::Start, node);
        Ok(read)
    }

    /// A constant that a node reads like a value.
    fn constant(&mut self, value: ValueId) -> Result<ValueId, QuantizeError> {
        if let Some(known) = self.constants.get(&value) {
            return Ok(*known);
        }
        let graph = &self.qdq.model.graph;
        let options = &self.qdq.options;
        let Some(tensor) = graph.constant_tensor(value) else { return Ok(value) };
        let numbers = floats(tensor, self.qdq.source)?;
        let range = numbers.iter().fold(Range::default(), |range, number| Range {
            lowest: range.lowest.min(*number),
            highest: range.highest.max(*number),
        });
        let dims = float_dims(graph, value).unwrap_or_default();
        let one = params(options.activation, options.activation_symmetry, range);
        let used = options.activation.used_range(options.activation_symmetry, false);
        let quantized =
            quantize_tensor_with(&numbers, &dims, options.activation, Granularity::Tensor, vec![one], used)?;
        let read = self.dequantized(&graph.value(value).name.clone(), &quantized, None);
        self.constants.insert(value, read);
        Ok(read)
    }

    /// Rows are taken from integers and made numbers behind that: no float copy of the table.
    fn table(&mut self, id: NodeId, table: ValueId) -> Result<(), QuantizeError> {
        let graph = &self.qdq.model.graph;
        let node = graph.node(id);
        let (Some(tensor), Some(output)) = (graph.constant_tensor(table), node.output(0)) else { return Ok(()) };
        let numbers = floats(tensor, self.qdq.source)?;
        let dims = float_dims(graph, table).unwrap_or_default();
        let (weight, reduce) = (self.qdq.options.weight, false);
        let quantized = quantize_tensor(&numbers, &dims, weight, Granularity::Tensor, Symmetry::Symmetric, reduce)?;
        let name = graph.value(table).name.clone();
        let integers = self.patch.add_initializer(quantized.to_tensor(&format!("{name}_quantized")));
        let (scale, zero_point) = (
            self.patch.add_initializer(quantized.scales_tensor(&format!("{name}_scale"))),
            self.patch.add_initializer(quantized.zero_points_tensor(&format!("{name}_zero_point"))),
        );
        let rows = self.patch.add_value(&format!("{}_integers", graph.value(output).name), ValueType::Unknown);
        self.patch.set_input(id, 0, Some(integers));
        self.patch.set_output(id, 0, Some(rows));
        let label = format!("{}_DequantizeLinear", graph.node_label(id));
        let node = NewNode::new("DequantizeLinear", &label, &[rows, scale, zero_point], &[output]);
        self.add(Place::After(id), node);
        Ok(())
    }

    fn params(&mut self, params: Params) -> (ValueId, ValueId) {
        let key = (params.scale.to_bits(), params.zero_point);
        if let Some(known) = self.scales.get(&key) {
            return *known;
        }
        let n = self.scales.len();
        let int_type = self.qdq.options.activation;
        let scale = self.patch.add_initializer(TensorProto::from_f32(&format!("scale_{n}"), &[], &[params.scale]));
        let raw = scalar(int_type, params.zero_point);
        let zero_point = TensorProto::from_raw(&format!("zero_point_{n}"), int_type.data_type(), &[], raw);
        let zero_point = self.patch.add_initializer(zero_point);
        self.scales.insert(key, (scale, zero_point));
        (scale, zero_point)
    }

    fn add(&mut self, place: Place, mut node: NewNode) {
        self.uses_own_domain |= !self.domain.is_empty();
        node.domain = self.domain.to_owned();
        node.name = self.names.unique(&node.name);
        self.patch.add_node(place, node);
    }
}

fn scalar(int_type: IntType, integer: i32) -> Vec<u8> {
    crate::affine::raw(int_type, &[integer])
}

/// The limit of each channel beside its parameters; one pair of them serves all limits.
fn each_limit<'a>(params: &'a [Params], limits: &'a [f32]) -> impl Iterator<Item = (&'a Params, &'a f32)> {
    let last = params.len().saturating_sub(1);
    limits.iter().enumerate().filter_map(move |(channel, limit)| {
        params.get(if last == 0 { 0 } else { channel.min(last) }).map(|params| (params, limit))
    })
}
