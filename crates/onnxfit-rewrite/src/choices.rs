//! Where a model chooses, and the same model with the choices given to it.
//!
//! A choice makes whole numbers or truth values of floats: the best of a list, what is above a
//! threshold. It does not move a little when its inputs do: it jumps, and with it every answer that
//! follows. So two models that differ by rounding cannot be compared behind a choice unless both
//! choose alike. [`watch`] shows what a model chooses and from what; [`give`] shows from what, and
//! takes the choices as inputs. If what goes into the choices is the same, and the answers are the
//! same for equal choices, the models differ by nothing but choices between equals: a fault before,
//! between or behind the choices shows as it does anywhere.
//!
//! Looks at the main graph only. The branch of an `If` that is taken becomes part of it ([`ask`],
//! [`resolve`]); what a loop chooses stays hidden in its body.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, TensorShapeProto, TensorTypeProto, TypeProto,
    TypeValue, ValueInfoProto,
};

/// One choice of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The value that is chosen.
    pub name: String,
    /// The operator that chooses.
    pub op_type: String,
    element_type: DataType,
    attributes: Vec<AttributeProto>,
}

impl Choice {
    /// What one input of the operator is called as an output of the watched model.
    fn told(&self, position: usize) -> String {
        format!("{}, input {position}", self.name)
    }
}

/// The choices of a model, in the order of its nodes.
pub fn choices(model: &ModelProto) -> Vec<Choice> {
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    nodes.filter_map(|node| choice(node, opset(model))).collect()
}

/// The choices that both models make in the same way; the others are left to each.
pub fn shared(before: &ModelProto, after: &ModelProto) -> Vec<Choice> {
    let theirs = choices(after);
    choices(before).into_iter().filter(|choice| theirs.contains(choice)).collect()
}

/// Adds outputs: these choices, and all that goes into them.
pub fn watch(model: &mut ModelProto, choices: &[Choice]) {
    let Some(graph) = &mut model.graph else { return };
    tell(graph, choices);
    let given: BTreeSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    let new = choices.iter().filter(|choice| !given.contains(&choice.name));
    graph.output.extend(new.map(|choice| value(&choice.name, None)));
}

/// Makes inputs of these choices, each with so many axes, and adds what would have gone into them as outputs.
pub fn give(model: &mut ModelProto, choices: &[Choice], n_axes: impl Fn(&str) -> usize) {
    let opset = opset(model);
    let Some(graph) = &mut model.graph else { return };
    tell(graph, choices);
    graph.output.retain(|output| choices.iter().all(|choice| choice.name != output.name()));
    for node in &mut graph.node {
        let Some(made) = choice(node, opset).filter(|made| choices.contains(made)) else { continue };
        graph.input.push(value(&made.name, Some((made.element_type, n_axes(&made.name)))));
        // What is taken is still the model's own: only the places are given.
        *node = match node.output.first().filter(|values| node.op_type() == "TopK" && !values.is_empty()) {
            Some(values) => NodeProto {
                op_type: Some("GatherElements".to_owned()),
                input: vec![node.input[0].clone(), made.name],
                output: vec![values.clone()],
                attribute: node.attribute.iter().filter(|attribute| attribute.name() == "axis").cloned().collect(),
                ..node.clone()
            },
            None => NodeProto::default(),
        };
        if node.op_type() == "GatherElements" && node.attribute.is_empty() {
            node.attribute.push(last_axis());
        }
    }
    graph.node.retain(|node| node.op_type.is_some());
}

/// Adds an output for the condition of each `If` of the main graph; gives for each of them the `If`, by the
/// name of its first output.
pub fn ask(model: &mut ModelProto) -> BTreeMap<String, String> {
    let Some(graph) = &mut model.graph else { return BTreeMap::new() };
    let mut asked = BTreeMap::new();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        if let (true, Some(output), Some(condition)) = (is_if(&node), node.output.first(), node.input.first()) {
            let told = format!("{output}, condition");
            nodes.push(identity(condition, &told));
            graph.output.push(value(&told, None));
            asked.insert(told, output.clone());
        }
        nodes.push(node);
    }
    graph.node = nodes;
    asked
}

/// Puts the branch that is taken in the place of each of these `If`s, named by its first output, and of
/// those in that branch.
pub fn resolve(model: &mut ModelProto, taken: &BTreeMap<String, bool>) {
    let Some(graph) = &mut model.graph else { return };
    let is_known = |node: &NodeProto| is_if(node) && node.output.first().is_some_and(|name| taken.contains_key(name));
    // Each pass takes away one level of them.
    while graph.node.iter().any(is_known) && resolve_one_level(graph, taken) {}
}

/// Whether there was one.
fn resolve_one_level(graph: &mut GraphProto, taken: &BTreeMap<String, bool>) -> bool {
    let mut any = false;
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        let condition = node.output.first().filter(|_| is_if(&node)).and_then(|output| taken.get(output)).copied();
        let branch = condition.map(|condition| if condition { "then_branch" } else { "else_branch" });
        let body = branch.and_then(|name| node.attribute.iter().find(|attribute| attribute.name() == name)?.g.clone());
        match body {
            Some(body) => {
                put_in_place(&node, *body, graph, &mut nodes);
                any = true;
            }
            None => nodes.push(node),
        }
    }
    graph.node = nodes;
    any
}

fn put_in_place(node: &NodeProto, mut body: GraphProto, graph: &mut GraphProto, nodes: &mut Vec<NodeProto>) {
    let own: BTreeSet<String> = (body.node.iter().flat_map(|node| node.output.iter().cloned()))
        .chain(body.initializer.iter().map(|tensor| tensor.name().to_owned()))
        .filter(|name| !name.is_empty())
        .collect();
    let first = node.output.first().cloned().unwrap_or_default();
    let renamed = |name: &str| if own.contains(name) { format!("{name}, in {first}") } else { name.to_owned() };
    for tensor in &mut body.initializer {
        tensor.name = Some(renamed(tensor.name()));
    }
    rename(&mut body, &renamed);
    nodes.extend(body.node);
    graph.initializer.extend(body.initializer);
    let leaving = body.output.iter().zip(&node.output).filter(|(_, output)| !output.is_empty());
    nodes.extend(leaving.map(|(inner, output)| identity(inner.name(), output)));
}

/// Renames what nodes make and read, in bodies too.
fn rename(graph: &mut GraphProto, renamed: &dyn Fn(&str) -> String) {
    for node in &mut graph.node {
        for name in node.input.iter_mut().chain(&mut node.output) {
            *name = renamed(name);
        }
        for attribute in &mut node.attribute {
            let bodies = attribute.g.iter_mut().map(|body| &mut **body).chain(&mut attribute.graphs);
            bodies.for_each(|body| rename(body, renamed));
        }
    }
    for output in &mut graph.output {
        output.name = Some(renamed(output.name()));
    }
}

fn is_if(node: &NodeProto) -> bool {
    node.op_type() == "If" && node.domain().is_empty()
}

fn identity(from: &str, to: &str) -> NodeProto {
    NodeProto {
        op_type: Some("Identity".to_owned()),
        name: Some(to.to_owned()),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        ..NodeProto::default()
    }
}

/// Adds what goes into the choices as outputs, in front of each.
fn tell(graph: &mut GraphProto, choices: &[Choice]) {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for node in std::mem::take(&mut graph.node) {
        let choice =
            choices.iter().find(|choice| choice.op_type == node.op_type() && node.output.contains(&choice.name));
        for (position, input) in
            node.input.iter().enumerate().filter(|(_, input)| choice.is_some() && !input.is_empty())
        {
            let told = choice.map_or_else(String::new, |choice| choice.told(position));
            nodes.push(identity(input, &told));
            graph.output.push(value(&told, None));
        }
        nodes.push(node);
    }
    graph.node = nodes;
}

fn choice(node: &NodeProto, opset: i64) -> Option<Choice> {
    /// The first version with `GatherElements`, which takes the values that a `TopK` chose.
    const OPSET_WITH_GATHER: i64 = 11;
    if !node.domain().is_empty() {
        return None;
    }
    let (output, element_type) = match node.op_type() {
        "TopK" if opset >= OPSET_WITH_GATHER => (1, DataType::Int64),
        "NonMaxSuppression" | "ArgMax" | "ArgMin" | "NonZero" => (0, DataType::Int64),
        "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Equal" => (0, DataType::Bool),
        // Whole numbers, even if they are still floats.
        "Floor" | "Ceil" | "Round" => (0, DataType::Float),
        "Cast" => {
            let to = node.attribute.iter().find(|attribute| attribute.name() == "to")?.i?;
            let to = DataType::from_number(i32::try_from(to).ok()?)?;
            (0, Some(to).filter(|to| !to.is_float() && *to != DataType::String)?)
        }
        _ => return None,
    };
    let name = node.output.get(output).filter(|name| !name.is_empty())?.clone();
    Some(Choice { name, op_type: node.op_type().to_owned(), element_type, attributes: node.attribute.clone() })
}

fn opset(model: &ModelProto) -> i64 {
    let own = model.opset_import.iter().find(|opset| matches!(opset.domain(), "" | "ai.onnx"));
    own.map_or(1, |opset| opset.version())
}

fn value(name: &str, ty: Option<(DataType, usize)>) -> ValueInfoProto {
    let ty = ty.map(|(element_type, n_axes)| {
        let shape = TensorShapeProto { dim: vec![DimensionProto::default(); n_axes] };
        let tensor = TensorTypeProto { elem_type: Some(element_type.number()), shape: Some(shape) };
        TypeProto { denotation: None, value: Some(TypeValue::TensorType(tensor)) }
    });
    ValueInfoProto { name: Some(name.to_owned()), r#type: ty, ..ValueInfoProto::default() }
}

fn last_axis() -> AttributeProto {
    const INT: i32 = 2;
    AttributeProto { name: Some("axis".to_owned()), i: Some(-1), r#type: Some(INT), ..AttributeProto::default() }
}

#[cfg(test)]
mod tests;
