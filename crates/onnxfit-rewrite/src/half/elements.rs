//! Which values are 32-bit floats: by declaration, by content, and by what the operators say.

use onnxfit_graph::{AttributeValue, Node};
use onnxfit_onnx::DataType;

use super::world::{Declared, World, declared_element};
use crate::operators::Slot;

/// What matters of a value's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// A dense tensor of this type.
    Tensor(DataType),
    /// A sequence or an optional, of tensors of this type as far as is known.
    Container(Option<DataType>),
    /// Nobody knows.
    Unknown,
}

impl Element {
    pub(super) fn is_float(self) -> bool {
        self == Self::Tensor(DataType::Float)
    }
}

/// The element type of every definition, by value number.
pub(super) fn elements(world: &World<'_>) -> Vec<Element> {
    let mut found = vec![Element::Unknown; world.n_values()];
    for (value, element) in found.iter_mut().enumerate() {
        let entry = world.get(value);
        *element = match (&entry.constant, world.fixed_tensor(value)) {
            (Some(_), None) if entry.tensor().is_none() => Element::Container(None),
            _ => match entry.tensor().cloned().or_else(|| world.fixed_tensor(value)) {
                Some(tensor) => tensor.element_type().map_or(Element::Unknown, Element::Tensor),
                None => declared(world, value),
            },
        };
    }
    visit(world, 0, &mut found);
    found
}

fn declared(world: &World<'_>, value: usize) -> Element {
    match declared_element(world.declared(value)) {
        Some(Declared::Tensor(data_type)) => Element::Tensor(data_type),
        Some(Declared::Container(inner)) => Element::Container(inner),
        None => Element::Unknown,
    }
}

/// One graph in the order of its execution; as deep as bodies nest, which reading has bounded.
fn visit(world: &World<'_>, scope: usize, found: &mut [Element]) {
    let graph = world.scopes[scope].graph;
    // A graph that was built has no cycle.
    for id in graph.topological_order().unwrap_or_default() {
        let node = graph.node(id);
        let number = world.node_number(scope, id);
        let inputs: Vec<Element> =
            node.inputs.iter().map(|v| v.map_or(Element::Unknown, |v| element(world, found, scope, v))).collect();
        for (body, pairs) in body_inputs(world, scope, number, node) {
            for (inner, input) in pairs {
                let inner = world.value(body, inner);
                if let Some(known) = inputs.get(input).filter(|known| **known != Element::Unknown) {
                    found[inner] = *known;
                }
            }
        }
        for body in bodies(world, scope, id) {
            visit(world, body, found);
        }
        for (index, output) in node.outputs.iter().enumerate() {
            let Some(output) = output else { continue };
            let inferred = infer(world, scope, number, node, index, &inputs, found);
            if inferred != Element::Unknown {
                found[world.value(scope, *output)] = inferred;
            }
        }
    }
}

fn element(world: &World<'_>, found: &[Element], scope: usize, id: onnxfit_graph::ValueId) -> Element {
    found[world.definition[world.value(scope, id)]]
}

/// The bodies of a node, as scopes.
pub(super) fn bodies(world: &World<'_>, scope: usize, id: onnxfit_graph::NodeId) -> Vec<usize> {
    let is_body = |candidate: &super::world::Scope<'_>| {
        candidate.parent.as_ref().is_some_and(|parent| parent.scope == scope && parent.node == id)
    };
    if world.scopes[scope].graph.node(id).subgraphs().next().is_none() {
        return Vec::new();
    }
    (scope + 1..world.scopes.len()).filter(|index| is_body(&world.scopes[*index])).collect()
}

/// Which input of a body is which input of its node, for the operators where that is so.
pub(super) fn body_inputs(
    world: &World<'_>,
    scope: usize,
    number: usize,
    node: &Node,
) -> Vec<(usize, Vec<(onnxfit_graph::ValueId, usize)>)> {
    let offset = match (node.domain.as_str(), node.op_type.as_str()) {
        // A body of Loop begins with iteration and condition, as the node does.
        ("", "Loop") => 0,
        ("", "Scan") => usize::from(world.model.opset("") < 9),
        _ => return Vec::new(),
    };
    let Some((_, id, _)) = world.node(number) else { return Vec::new() };
    let Some(body) = world.body(scope, id, "body") else { return Vec::new() };
    let graph = world.scopes[body].graph;
    vec![(body, graph.inputs().iter().enumerate().map(|(index, inner)| (*inner, index + offset)).collect())]
}

/// Which outputs of the bodies become an output of their node.
pub(super) fn body_outputs(
    world: &World<'_>,
    scope: usize,
    number: usize,
    node: &Node,
    output: usize,
) -> Vec<(usize, usize)> {
    let Some((_, id, _)) = world.node(number) else { return Vec::new() };
    let (attributes, offset): (&[&str], usize) = match (node.domain.as_str(), node.op_type.as_str()) {
        ("", "If") => (&["then_branch", "else_branch"], 0),
        ("", "Loop") => (&["body"], 1),
        ("", "Scan") => (&["body"], 0),
        _ => return Vec::new(),
    };
    let bodies = attributes.iter().filter_map(|attribute| world.body(scope, id, attribute));
    bodies.map(|body| (body, output + offset)).collect()
}

fn infer(
    world: &World<'_>,
    scope: usize,
    number: usize,
    node: &Node,
    output: usize,
    inputs: &[Element],
    found: &[Element],
) -> Element {
    let from_bodies = body_outputs(world, scope, number, node, output);
    if !from_bodies.is_empty() {
        let mut known = from_bodies.iter().filter_map(|(body, output)| {
            let inner = world.scopes[*body].graph.outputs().get(*output)?;
            Some(element(world, found, *body, *inner)).filter(|element| *element != Element::Unknown)
        });
        return known.next().unwrap_or(Element::Unknown);
    }
    let attribute_type =
        |name: &str| node.int(name).and_then(|number| DataType::from_number(number as i32)).map(Element::Tensor);
    match (node.domain.as_str(), node.op_type.as_str()) {
        ("", "Cast") => return attribute_type("to").unwrap_or(Element::Unknown),
        ("", "ConstantOfShape") => {
            return match node.attribute("value") {
                Some(AttributeValue::Tensor(tensor)) => tensor.element_type().map_or(Element::Unknown, Element::Tensor),
                _ => Element::Tensor(DataType::Float),
            };
        }
        ("", "Constant") => return Element::Unknown,
        ("", name) if name.contains("Sequence") || name.starts_with("Optional") => {
            return container_output(name, inputs, attribute_type("dtype"));
        }
        _ => {}
    }
    let Some(signature) = world.signature(node) else { return Element::Unknown };
    match signature.output(output) {
        Slot::Float => Element::Tensor(DataType::Float),
        Slot::Variable(variable) => {
            let shared = inputs.iter().enumerate().find_map(|(index, element)| {
                (signature.input(index) == Slot::Variable(variable) && *element != Element::Unknown).then_some(*element)
            });
            let by_attribute =
                || ["dtype", "output_dtype", "output_datatype"].iter().find_map(|name| attribute_type(name));
            shared.or_else(by_attribute).unwrap_or_else(|| default_output(&node.op_type, inputs))
        }
        // Never float, but which type does not matter here; the declaration may know.
        Slot::Other | Slot::Mixed => Element::Unknown,
    }
}

/// What the operators on sequences and optionals make.
fn container_output(name: &str, inputs: &[Element], dtype: Option<Element>) -> Element {
    let inner = inputs.iter().find_map(|input| match input {
        Element::Tensor(inner) | Element::Container(Some(inner)) => Some(*inner),
        _ => None,
    });
    match name {
        "SequenceEmpty" => match dtype {
            Some(Element::Tensor(inner)) => Element::Container(Some(inner)),
            _ => Element::Container(Some(DataType::Float)),
        },
        "SequenceConstruct" | "SequenceInsert" | "SequenceErase" | "SplitToSequence" | "Optional" => {
            Element::Container(inner)
        }
        "SequenceAt" | "ConcatFromSequence" | "OptionalGetElement" => inner.map_or(Element::Unknown, Element::Tensor),
        // A length, a truth value, or what a body makes: the declaration may know.
        _ => Element::Unknown,
    }
}

/// What an output is when nothing says so.
fn default_output(op_type: &str, inputs: &[Element]) -> Element {
    match op_type {
        "RandomNormal" | "RandomUniform" | "MelWeightMatrix" | "HannWindow" | "HammingWindow" | "BlackmanWindow" => {
            Element::Tensor(DataType::Float)
        }
        "RandomNormalLike" | "RandomUniformLike" | "EyeLike" | "Bernoulli" => {
            inputs.first().copied().unwrap_or(Element::Unknown)
        }
        "DequantizeLinear" => inputs.get(1).copied().unwrap_or(Element::Unknown),
        "LayerNormalization" => Element::Tensor(DataType::Float),
        _ => Element::Unknown,
    }
}
