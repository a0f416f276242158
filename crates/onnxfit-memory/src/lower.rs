//! From the model's graph to the program that a session runs.
//!
//! Value indices stay those of the graph, so that shapes computed there fit here. `Constant` nodes
//! and initializers become weights; weights that nothing reads are dropped, as `Graph::Resolve` does.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use onnxfit_base::Bytes;
use onnxfit_graph::{AttributeValue, Constant, Graph, Model, ValueId, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use crate::declared;
use crate::program::{
    Attribute, Capture, Node, NodeProvider, Program, Value, ValueIdx, Weight, WeightValues, tensor_bytes,
};
use crate::rewrite::FOLDED_LOCATION;
use crate::sizes::TensorSize;

/// The program of a model's main graph, subgraphs inside its nodes.
pub fn lower(model: &Model) -> Program {
    let context = Context { model };
    let mut program = lower_graph(&model.graph, &context);
    declared::infer(&mut program);
    program
}

/// What every graph of a model shares.
struct Context<'a> {
    model: &'a Model,
}

impl Context<'_> {
    /// Before the fourth version of the format every initializer had to be an input as well, and
    /// nobody could feed it.
    fn inputs_override(&self) -> bool {
        self.model.ir_version() >= 4
    }
}

fn lower_graph(graph: &Graph, context: &Context<'_>) -> Program {
    let mut program = Program {
        values: graph.values().map(|(_, value)| lower_value(&value.name, &value.ty)).collect(),
        ..Program::default()
    };
    let mut in_file_order = Vec::new();
    for (id, node) in graph.nodes() {
        if node.is("Constant") {
            in_file_order.extend(node.output(0).zip(constant_weight(node)));
        } else {
            program.nodes.push(Node { runtime_index: id.index(), ..lower_node(node, context) });
        }
    }
    for &value in graph.initializers() {
        let overridable = graph.value(value).is_input && context.inputs_override();
        let weight = match &graph.value(value).constant {
            Some(Constant::Dense(tensor)) => weight_of(tensor, overridable),
            _ => NewWeight { overridable, ..NewWeight::default() },
        };
        in_file_order.push((value, weight));
    }
    program.outputs = graph.outputs().iter().copied().map(lower_id).collect();
    program.inputs = graph.required_inputs().map(lower_id).collect();
    program.captured =
        graph.captured().map(|(id, value)| Capture { inner: lower_id(id), name: value.name.clone() }).collect();
    let used = used_values(&program);
    for (value, weight) in in_file_order {
        let value = lower_id(value);
        let known = &mut program.values[value.index()];
        if let Some(size) = &weight.size {
            known.element = Some(size.element);
            known.is_tensor = true;
            if !weight.overridable || known.declared.is_none() {
                known.declared = Some(size.dims.iter().copied().map(crate::program::DeclaredDim::Value).collect());
            }
        }
        if used[value.index()] {
            let NewWeight { size, bytes, external, overridable, identity, values } = weight;
            program.weights.push(Weight { value, size, bytes, external, overridable, identity, values });
        }
    }
    program
}

fn used_values(program: &Program) -> Vec<bool> {
    let mut used = vec![false; program.values.len()];
    for value in program.nodes.iter().flat_map(Node::reads).chain(program.outputs.iter().copied()) {
        used[value.index()] = true;
    }
    used
}

fn lower_id(value: ValueId) -> ValueIdx {
    ValueIdx::new(value.index())
}

fn lower_value(name: &str, ty: &ValueType) -> Value {
    let tensor = ty.as_tensor();
    Value {
        name: name.to_owned(),
        element: tensor.and_then(|tensor| tensor.element_type),
        is_tensor: matches!(ty, ValueType::Tensor(_) | ValueType::Unknown),
        declared: tensor.and_then(|tensor| tensor.shape.as_deref()).map(declared::from_dims),
        ..Value::default()
    }
}

fn lower_node(node: &onnxfit_graph::Node, context: &Context<'_>) -> Node {
    let mut attributes = BTreeMap::new();
    for attribute in &node.attributes {
        attributes.insert(attribute.name.clone(), lower_attribute(&attribute.value));
    }
    Node {
        name: node.name.clone(),
        op_type: node.op_type.clone(),
        domain: node.domain.clone(),
        opset: context.model.opset(&node.domain),
        inputs: node.inputs.iter().map(|input| input.map(lower_id)).collect(),
        implicit_inputs: node.implicit_inputs.iter().copied().map(lower_id).collect(),
        outputs: node.outputs.iter().map(|output| output.map(lower_id)).collect(),
        attributes,
        subgraphs: node.subgraphs().map(|(name, graph)| (name.to_owned(), lower_graph(graph, context))).collect(),
        provider: NodeProvider::Cpu,
        runtime_index: 0,
    }
}

fn lower_attribute(value: &AttributeValue) -> Attribute {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match value {
        AttributeValue::Int(value) => Attribute::Int(*value),
        AttributeValue::Float(value) => Attribute::Float(*value),
        AttributeValue::String(value) => Attribute::Text(text(value)),
        AttributeValue::Ints(values) => Attribute::Ints(values.clone()),
        AttributeValue::Floats(values) => Attribute::Floats(values.clone()),
        AttributeValue::Strings(values) => Attribute::Texts(values.iter().map(|value| text(value)).collect()),
        AttributeValue::Tensor(tensor) => Attribute::Tensor(tensor.element_type().ok()),
        _ => Attribute::Other,
    }
}

#[derive(Default)]
struct NewWeight {
    size: Option<TensorSize>,
    bytes: Bytes,
    external: bool,
    overridable: bool,
    identity: u64,
    values: Option<WeightValues>,
}

fn weight_of(tensor: &TensorProto, overridable: bool) -> NewWeight {
    let size = tensor.element_type().ok().map(|element| TensorSize {
        element,
        dims: tensor.dims.iter().map(|&dim| u64::try_from(dim).unwrap_or(0)).collect(),
    });
    let bytes = size.as_ref().and_then(TensorSize::bytes).unwrap_or_default();
    let external = tensor.is_external();
    let values = size.as_ref().filter(|_| !overridable).and_then(|size| numbers_of(tensor, size));
    NewWeight { size, bytes, external, overridable, identity: identity_of(tensor), values }
}

/// A number that is equal for tensors of equal contents: where they lie for external ones, samples
/// of the bytes for inline ones, the name for those whose bytes are absent, folded ones included.
fn identity_of(tensor: &TensorProto) -> u64 {
    let mut hasher = DefaultHasher::new();
    tensor.dims.hash(&mut hasher);
    match (tensor.external_location(), tensor.inline_bytes()) {
        (Ok(Some(place)), _) if place.location != FOLDED_LOCATION => {
            (place.location, place.offset, place.length).hash(&mut hasher)
        }
        (_, Ok(Some(raw))) => samples(&raw).for_each(|sample| sample.hash(&mut hasher)),
        _ => tensor.name().hash(&mut hasher),
    }
    hasher.finish()
}

/// Up to 64 evenly spread pieces of a buffer: enough to tell weights apart without reading them.
fn samples(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    const PIECE_BYTES: usize = 64;
    let step = (raw.len() / 64).max(PIECE_BYTES);
    raw.chunks(step).map(|piece| &piece[..piece.len().min(PIECE_BYTES)])
}

/// The contents of a small tensor, which shapes are made from.
fn numbers_of(tensor: &TensorProto, size: &TensorSize) -> Option<WeightValues> {
    const SMALL: u64 = 1024;
    if size.n_elements()? > SMALL {
        return None;
    }
    let raw = tensor.inline_bytes().ok()??;
    let int64 = |b: &[u8]| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
    let int32 = |b: &[u8]| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    match size.element {
        DataType::Int64 => Some(WeightValues::Integers(raw.chunks_exact(8).map(int64).collect())),
        DataType::Int32 => Some(WeightValues::Integers(raw.chunks_exact(4).map(int32).collect())),
        DataType::Float => Some(WeightValues::Floats(raw.chunks_exact(4).map(float).collect())),
        _ => None,
    }
}

/// The weight that a `Constant` node stands for.
fn constant_weight(node: &onnxfit_graph::Node) -> Option<NewWeight> {
    let attribute = node.attributes.first()?;
    let fixed = |element: DataType, dims: Vec<u64>, values: Option<WeightValues>| {
        let n_elements = dims.iter().product();
        let bytes = Bytes(tensor_bytes(element, n_elements).unwrap_or(0));
        NewWeight { size: Some(TensorSize { element, dims }), bytes, values, ..NewWeight::default() }
    };
    Some(match &attribute.value {
        AttributeValue::Tensor(tensor) => weight_of(tensor, false),
        AttributeValue::Int(value) => fixed(DataType::Int64, vec![], Some(WeightValues::Integers(vec![*value]))),
        AttributeValue::Float(_) => fixed(DataType::Float, vec![], None),
        AttributeValue::String(_) => fixed(DataType::String, vec![], None),
        AttributeValue::Ints(values) => {
            fixed(DataType::Int64, vec![values.len() as u64], Some(WeightValues::Integers(values.clone())))
        }
        AttributeValue::Floats(values) => fixed(DataType::Float, vec![values.len() as u64], None),
        AttributeValue::Strings(values) => fixed(DataType::String, vec![values.len() as u64], None),
        _ => fixed(DataType::Float, vec![0], None),
    })
}
