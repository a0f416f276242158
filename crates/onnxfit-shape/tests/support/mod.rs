//! Models from text: `y = Conv<strides=[2, 2]>(x, w)`, a node a line.

use onnxfit_graph::Model;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{
    AttributeProto, DimensionProto, DimensionValue, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, TypeValue, ValueInfoProto,
};
use onnxfit_shape::{Bindings, Inference, infer};

/// A graph from text. Lines are `name: float[batch, 3]` for inputs, `name = [1, 2]` for constants
/// of `int64`, and nodes; outputs are what nobody reads.
pub(crate) fn graph(text: &str) -> GraphProto {
    let mut graph = GraphProto::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some((name, rest)) = line.split_once(" = ") {
            match rest.strip_prefix('[') {
                Some(numbers) => graph.initializer.push(constant(name, numbers)),
                None => graph.node.push(node(name, rest)),
            }
        } else if let Some((name, ty)) = line.split_once(": ") {
            graph.input.push(input(name, ty));
        }
    }
    let read: Vec<String> = graph.node.iter().flat_map(|node| node.input.clone()).collect();
    let outputs: Vec<ValueInfoProto> = graph
        .node
        .iter()
        .flat_map(|node| &node.output)
        .filter(|name| !read.contains(name))
        .map(|name| ValueInfoProto { name: Some(name.clone()), ..Default::default() })
        .collect();
    graph.output = outputs;
    graph
}

/// A model of a graph, operator set 18.
pub(crate) fn model(graph: GraphProto) -> Model {
    let import = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) };
    let proto = ModelProto {
        ir_version: Some(9),
        opset_import: vec![import("", 18), import("com.microsoft", 1)],
        graph: Some(graph),
        ..Default::default()
    };
    Model::from_proto(&proto).unwrap()
}

/// What every node's outputs are, one a line.
pub(crate) fn inferred(text: &str) -> String {
    inferred_with(text, &Bindings::default())
}

/// As [`inferred`], with sizes given.
pub(crate) fn inferred_with(text: &str, bindings: &Bindings) -> String {
    let model = model(graph(text));
    show(&model, &infer(&model, bindings))
}

/// Facts and findings as text.
pub(crate) fn show(model: &Model, inference: &Inference) -> String {
    let mut lines = Vec::new();
    for (_, node) in model.graph.nodes() {
        for output in node.outputs.iter().flatten() {
            let fact = inference.graph.fact(*output);
            let shape = fact.shape.as_ref().map_or("?".to_owned(), |shape| {
                let dims: Vec<String> = shape.iter().map(ToString::to_string).collect();
                format!("[{}]", dims.join(", "))
            });
            let element_type = fact.element_type.map_or("?", DataType::name);
            let content = fact.ints().filter(|ints| ints.len() <= 8 && ints.iter().any(Option::is_some));
            let content = content.map_or(String::new(), |ints| {
                let ints: Vec<String> =
                    ints.iter().map(|one| one.as_ref().map_or("?".to_owned(), ToString::to_string)).collect();
                format!(" = {{{}}}", ints.join(", "))
            });
            lines.push(format!("{}: {element_type}{shape}{content}", model.graph.value(*output).name));
        }
    }
    lines.extend(inference.diagnostics.iter().map(ToString::to_string));
    for (name, most) in &inference.upper_bounds {
        lines.push(format!("{name} <= {most}"));
    }
    lines.join("\n") + "\n"
}

fn input(name: &str, ty: &str) -> ValueInfoProto {
    let (element_type, dims) = ty.split_once('[').unwrap();
    let dim = |text: &str| DimensionProto {
        denotation: None,
        value: match text.trim() {
            "?" => None,
            text => {
                Some(text.parse().map_or_else(|_| DimensionValue::DimParam(text.to_owned()), DimensionValue::DimValue))
            }
        },
    };
    let dims = dims.trim_end_matches(']');
    let shape = TensorShapeProto { dim: dims.split(',').filter(|dim| !dim.is_empty()).map(dim).collect() };
    let elem_type = DataType::from_name(element_type).map(DataType::number);
    let ty = TypeValue::TensorType(TensorTypeProto { elem_type, shape: Some(shape) });
    let ty = TypeProto { denotation: None, value: Some(ty) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(ty), ..Default::default() }
}

fn constant(name: &str, numbers: &str) -> TensorProto {
    let values = numbers_of(numbers);
    TensorProto::from_i64(name, &[values.len() as i64], &values)
}

fn numbers_of(text: &str) -> Vec<i64> {
    text.trim_end_matches(']')
        .split(',')
        .filter(|one| !one.trim().is_empty())
        .map(|one| one.trim().parse().unwrap())
        .collect()
}

fn node(outputs: &str, text: &str) -> NodeProto {
    let (head, inputs) = text.strip_suffix(')').unwrap().rsplit_once('(').unwrap();
    let (operator, attributes) = head.split_once('<').unwrap_or((head, ""));
    let (domain, op_type) = operator.rsplit_once('.').unwrap_or(("", operator));
    let names =
        |list: &str| list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    let attributes = attributes.trim_end_matches('>').split(';').filter_map(|entry| entry.trim().split_once('='));
    NodeProto {
        input: inputs.split(',').map(|name| name.trim().trim_matches('_').to_owned()).collect(),
        output: names(outputs),
        op_type: Some(op_type.to_owned()),
        domain: Some(domain.to_owned()),
        attribute: attributes.map(|(name, value)| attribute(name, value)).collect(),
        ..Default::default()
    }
}

/// An attribute: `[1, 2]`, `3`, `0.5` or a word.
pub(crate) fn attribute(name: &str, value: &str) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..Default::default() };
    if let Some(numbers) = value.strip_prefix('[') {
        proto.ints = numbers_of(numbers);
        proto.r#type = Some(7);
    } else if let Ok(number) = value.parse() {
        proto.i = Some(number);
        proto.r#type = Some(2);
    } else {
        proto.s = Some(value.as_bytes().to_vec().into());
        proto.r#type = Some(3);
    }
    proto
}
