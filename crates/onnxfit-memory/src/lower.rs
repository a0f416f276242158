//! From the model's graph to the program that a session runs.
//!
//! Value indices stay those of the graph, so that shapes computed there fit here. `Constant` nodes
//! and initializers become weights; weights that nothing reads are dropped, as `Graph::Resolve` does.

use onnxfit_base::Bytes;
use onnxfit_graph::{AttributeValue, Constant, Graph, Model, ValueId, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use crate::declared::{self, Symbols};
use crate::program::{
    Attribute, Capture, Name, NameWriter, Names, Node, NodeIdx, NodeProvider, Program, Value, ValueIdx, Weight,
    WeightValues, Written,
};
use crate::rewrite::{FOLDED_LOCATION, constant_node, content};
use crate::sizes::TensorSize;

/// The program of a model's main graph, subgraphs inside its nodes.
pub fn lower(model: &Model) -> Program {
    lower_ordered(model).0
}

/// The same with the default order of its nodes.
pub(crate) fn lower_ordered(model: &Model) -> (Program, Vec<NodeIdx>) {
    let context = Context { model, standard_opset: model.opset("") };
    let mut program = lower_graph(&model.graph, &context);
    let order = declared::infer(&mut program);
    (program, order)
}

/// What every graph of a model shares.
struct Context<'a> {
    model: &'a Model,
    /// The version of ONNX's own operator set.
    standard_opset: i64,
}

impl Context<'_> {
    fn opset(&self, domain: &str) -> i64 {
        if domain.is_empty() { self.standard_opset } else { self.model.opset(domain) }
    }

    /// Before the fourth version of the format every initializer had to be an input as well, and
    /// nobody could feed it.
    fn inputs_override(&self) -> bool {
        self.model.ir_version() >= 4
    }
}

/// The names of a graph, all in one text.
struct GraphNames {
    names: Names,
    values: Vec<Written>,
    nodes: Vec<NodeNames>,
    /// Of all nodes, one after the other.
    attributes: Vec<Written>,
}

struct NodeNames {
    name: Written,
    op_type: Written,
    domain: Written,
}

impl GraphNames {
    fn of(graph: &Graph) -> Self {
        let mut writer = NameWriter::default();
        let values = graph.values().map(|(_, value)| writer.write(&value.name)).collect();
        let mut nodes = Vec::with_capacity(graph.n_nodes());
        let mut attributes = Vec::with_capacity(graph.n_nodes());
        for (_, node) in graph.nodes() {
            nodes.push(NodeNames {
                name: writer.write(&node.name),
                op_type: writer.write(&node.op_type),
                domain: writer.write(&node.domain),
            });
            attributes.extend(node.attributes.iter().map(|attribute| writer.write(&attribute.name)));
        }
        Self { names: writer.finish(), values, nodes, attributes }
    }
}

fn lower_graph(graph: &Graph, context: &Context<'_>) -> Program {
    let names = GraphNames::of(graph);
    let values = graph.values().zip(&names.values);
    let mut symbols = Symbols::default();
    let mut program = Program {
        values: values.map(|((_, value), name)| lower_value(names.names.get(*name), &value.ty, &mut symbols)).collect(),
        ..Program::default()
    };
    program.nodes.reserve(graph.n_nodes());
    let mut in_nodes = Vec::new();
    let mut attribute_names = names.attributes.as_slice();
    for ((id, node), node_names) in graph.nodes().zip(&names.nodes) {
        let (of_node, rest) = attribute_names.split_at(node.attributes.len());
        attribute_names = rest;
        if node.is("Constant") {
            in_nodes.extend(node.output(0).zip(constant_weight(node)));
            continue;
        }
        let attributes = node.attributes.iter().zip(of_node);
        program.nodes.push(Node {
            name: names.names.get(node_names.name),
            op_type: names.names.get(node_names.op_type),
            domain: names.names.get(node_names.domain),
            opset: context.opset(&node.domain),
            inputs: node.inputs.iter().map(|input| input.map(lower_id)).collect(),
            implicit_inputs: node.implicit_inputs.iter().copied().map(lower_id).collect(),
            outputs: node.outputs.iter().map(|output| output.map(lower_id)).collect(),
            attributes: attributes
                .map(|(attribute, name)| (names.names.get(*name), lower_attribute(&attribute.value)))
                .collect(),
            subgraphs: node.subgraphs().map(|(name, graph)| (name.to_owned(), lower_graph(graph, context))).collect(),
            provider: NodeProvider::Cpu,
            runtime_index: id.index(),
        });
    }
    let mut in_file_order = Vec::with_capacity(graph.initializers().len() + in_nodes.len());
    for &value in graph.initializers() {
        let overridable = graph.value(value).is_input && context.inputs_override();
        let weight = match &graph.value(value).constant {
            Some(Constant::Dense(tensor)) => weight_of(tensor, overridable),
            _ => NewWeight { overridable, ..NewWeight::default() },
        };
        in_file_order.push((value, weight));
    }
    // `Constant` nodes become initializers behind the others, as their values are met.
    in_nodes.sort_by_key(|(value, _)| *value);
    in_file_order.extend(in_nodes);
    program.outputs = graph.outputs().iter().copied().map(lower_id).collect();
    program.inputs = graph.required_inputs().map(lower_id).collect();
    program.captured =
        graph.captured().map(|(id, value)| Capture { inner: lower_id(id), name: value.name.as_str().into() }).collect();
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

fn lower_value<'a>(name: Name, ty: &'a ValueType, symbols: &mut Symbols<'a>) -> Value {
    let tensor = ty.as_tensor();
    Value {
        name,
        element: tensor.and_then(|tensor| tensor.element_type),
        is_tensor: matches!(ty, ValueType::Tensor(_) | ValueType::Unknown),
        declared: tensor.and_then(|tensor| tensor.shape.as_deref()).map(|dims| declared::from_dims(dims, symbols)),
        known_integers: None,
        copy_of: None,
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
    // What a rewrite made lies nowhere in a file, however it is known.
    let external = tensor.is_external()
        && !matches!(tensor.external_location(), Ok(Some(place)) if place.location == FOLDED_LOCATION);
    let values = size.as_ref().filter(|_| !overridable).and_then(|size| numbers_of(tensor, size));
    NewWeight { size, bytes, external, overridable, identity: content::identity(tensor), values }
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
    if let Some(AttributeValue::Tensor(tensor)) = node.attribute("value") {
        return Some(weight_of(tensor, false));
    }
    match constant_node::tensor(node) {
        Some(tensor) => Some(weight_of(&tensor, false)),
        // A sparse one: its elements are counted nowhere.
        None => node.attributes.first().map(|_| {
            let size = TensorSize { element: DataType::Float, dims: vec![0] };
            NewWeight { size: Some(size), ..NewWeight::default() }
        }),
    }
}
