//! A graph as short text, one node a line, for tests and messages.

use std::fmt;

use crate::attribute::AttributeValue;
use crate::graph::Graph;
use crate::node::Node;
use crate::value::ValueId;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.topological_order().unwrap_or_else(|_| self.order.clone());
        for id in sorted {
            self.write_node(f, self.node(id), 0)?;
        }
        Ok(())
    }
}

impl Graph {
    fn write_node(&self, f: &mut fmt::Formatter<'_>, node: &Node, indent: usize) -> fmt::Result {
        let names = |values: &[Option<ValueId>]| {
            let names: Vec<&str> =
                values.iter().map(|value| value.map_or("_", |id| self.value(id).name.as_str())).collect();
            names.join(", ")
        };
        write!(f, "{:indent$}{} = ", "", names(&node.outputs))?;
        if !node.domain.is_empty() {
            write!(f, "{}.", node.domain)?;
        }
        write!(f, "{}", node.op_type)?;
        let plain: Vec<String> =
            node.attributes.iter().filter_map(|a| Some(format!("{}={}", a.name, short(&a.value)?))).collect();
        if !plain.is_empty() {
            write!(f, "<{}>", plain.join(", "))?;
        }
        writeln!(f, "({})", names(&node.inputs))?;
        for (name, graph) in node.subgraphs() {
            writeln!(f, "{:indent$}  {name}:", "")?;
            for (_, inner) in graph.nodes() {
                graph.write_node(f, inner, indent + 4)?;
            }
        }
        Ok(())
    }
}

fn short(value: &AttributeValue) -> Option<String> {
    Some(match value {
        AttributeValue::Float(value) => format!("{value}"),
        AttributeValue::Int(value) => format!("{value}"),
        AttributeValue::String(value) => String::from_utf8_lossy(value).into_owned(),
        AttributeValue::Floats(values) => format!("{values:?}"),
        AttributeValue::Ints(values) => format!("{values:?}"),
        AttributeValue::Strings(values) => format!("{} texts", values.len()),
        AttributeValue::Tensor(tensor) => {
            format!("{}{:?}", tensor.element_type().map_or("?", |element_type| element_type.name()), tensor.dims)
        }
        AttributeValue::Tensors(tensors) => format!("{} tensors", tensors.len()),
        AttributeValue::Graph(_) | AttributeValue::Graphs(_) => return None,
        AttributeValue::Other(_) => "…".to_owned(),
    })
}
