//! Equal nodes on equal inputs become one.
//!
//! common_subexpression_elimination.cc (ORT 1.31), all providers, level 1. Values are numbered in
//! topological order; the first node of a class represents it. Graph outputs stay.

use std::collections::HashMap;

use onnxfit_graph::AttributeValue;

use super::net::{ArgId, Net, Op, OpId};
use super::{Context, MS, fold};

/// What makes two nodes equal.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    operator: (&'a str, &'a str),
    inputs: Vec<Option<usize>>,
    attributes: Vec<(&'a str, Vec<u8>)>,
    /// Zero, or a number of its own for a node that equals no other.
    discriminator: usize,
}

/// Merges equal nodes; returns how many nodes gave way.
pub(super) fn merge_equal_nodes(net: &mut Net, _: &Context<'_>) -> usize {
    let order = net.topological_order();
    let (class_of, representative) = number_values(net, &order);
    let mut n_merged = 0;
    for id in order {
        let mut replaced = false;
        for output in net.op(id).outputs.clone().into_iter().flatten() {
            let Some(first) = class_of.get(&output).map(|class| representative[*class]) else { continue };
            if first == output || net.arg(output).is_output {
                continue;
            }
            net.replace_uses(output, first);
            replaced = true;
        }
        if replaced {
            n_merged += 1;
            if net.has_only_edges(id, 0) {
                net.remove_op(id);
            }
        }
    }
    n_merged
}

/// The class of every value, and the first value of every class.
fn number_values(net: &Net, order: &[OpId]) -> (HashMap<ArgId, usize>, Vec<ArgId>) {
    let mut class_of: HashMap<ArgId, usize> = HashMap::new();
    let mut by_key: HashMap<Key<'_>, Vec<Option<(usize, ArgId)>>> = HashMap::new();
    let mut representative: Vec<ArgId> = Vec::new();
    let mut n_unique = 0;
    for id in order {
        let op = net.op(*id);
        let mut inputs = Vec::with_capacity(op.inputs.len());
        for arg in &op.inputs {
            inputs.push(arg.map(|arg| {
                *class_of.entry(arg).or_insert_with(|| {
                    representative.push(arg);
                    representative.len() - 1
                })
            }));
        }
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        let mut attributes = Some(Vec::new());
        for (name, value) in &op.attributes {
            attributes = attributes.zip(bytes_of(value)).map(|(mut list, bytes)| {
                list.push((name.as_str(), bytes));
                list
            });
        }
        let mut discriminator = 0;
        if attributes.is_none() || !can_merge(op) {
            n_unique += 1;
            discriminator = n_unique;
        }
        let key = Key {
            operator: (&op.domain, &op.op_type),
            inputs,
            attributes: attributes.unwrap_or_default(),
            discriminator,
        };
        let classes = by_key.entry(key).or_default();
        for (index, arg) in op.outputs.iter().enumerate() {
            if classes.len() <= index {
                classes.resize(index + 1, None);
            }
            let Some(arg) = arg else { continue };
            let class = match classes[index] {
                Some((class, _)) => class,
                None => {
                    representative.push(*arg);
                    classes[index] = Some((representative.len() - 1, *arg));
                    representative.len() - 1
                }
            };
            class_of.insert(*arg, class);
        }
    }
    (class_of, representative)
}

fn can_merge(op: &Op) -> bool {
    op.bodies.is_empty()
        && fold::is_deterministic(&op.domain, &op.op_type)
        && !(op.op_type == "DequantizeLinear" && (op.domain.is_empty() || op.domain == MS))
        && op.op_type != "EPContext"
}

/// An attribute as comparable bytes; `None` for kinds that are never equal.
fn bytes_of(value: &AttributeValue) -> Option<Vec<u8>> {
    Some(match value {
        AttributeValue::Float(value) => value.to_le_bytes().to_vec(),
        AttributeValue::Int(value) => value.to_le_bytes().to_vec(),
        AttributeValue::String(value) => value.to_vec(),
        AttributeValue::Floats(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        AttributeValue::Ints(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        AttributeValue::Strings(values) => {
            values.iter().flat_map(|value| [value.as_ref(), &[0][..]].concat()).collect()
        }
        // Only single elements are compared.
        AttributeValue::Tensor(tensor) if tensor.dims == [1] => {
            let mut bytes = tensor.data_type.unwrap_or(0).to_le_bytes().to_vec();
            bytes.extend_from_slice(&tensor.inline_bytes().ok()??);
            bytes
        }
        _ => return None,
    })
}
