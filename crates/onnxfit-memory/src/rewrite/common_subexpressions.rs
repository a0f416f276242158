//! Equal nodes on equal inputs become one.
//!
//! common_subexpression_elimination.cc (ORT 1.31), all providers, level 1. Values are numbered in
//! topological order; the first node of a class represents it. Graph outputs stay.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use hashbrown::HashMap;
use onnxfit_graph::AttributeValue;

use super::net::{ArgId, Net, Op, OpId};
use super::{Context, MS, fold};

/// What makes two nodes equal.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    operator: (&'a str, &'a str),
    inputs: Vec<Option<usize>>,
    attributes: Attributes<'a>,
}

/// Attributes that are compared bit for bit; all of them are of comparable kinds.
struct Attributes<'a>(&'a BTreeMap<String, AttributeValue>);

impl PartialEq for Attributes<'_> {
    fn eq(&self, other: &Self) -> bool {
        let mut pairs = self.0.iter().zip(other.0);
        self.0.len() == other.0.len() && pairs.all(|((a, x), (b, y))| a == b && are_equal(x, y))
    }
}

impl Eq for Attributes<'_> {}

impl Hash for Attributes<'_> {
    /// Names and numbers; what is long is left to the comparison.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (name, value) in self.0 {
            name.hash(state);
            match value {
                AttributeValue::Float(value) => value.to_bits().hash(state),
                AttributeValue::Int(value) => value.hash(state),
                AttributeValue::String(value) => value.hash(state),
                AttributeValue::Ints(values) => values.hash(state),
                _ => {}
            }
        }
    }
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
        if !can_merge(op) {
            for arg in op.outputs.iter().flatten() {
                representative.push(*arg);
                class_of.insert(*arg, representative.len() - 1);
            }
            continue;
        }
        let key = Key { operator: (&op.domain, &op.op_type), inputs, attributes: Attributes(&op.attributes) };
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
        && op.attributes.values().all(is_comparable)
        && fold::is_deterministic(&op.domain, &op.op_type)
        && !(op.op_type == "DequantizeLinear" && (op.domain.is_empty() || op.domain == MS))
        && op.op_type != "EPContext"
}

/// Whether an attribute's kind is ever equal; of tensors only single elements are compared.
fn is_comparable(value: &AttributeValue) -> bool {
    match value {
        AttributeValue::Float(_)
        | AttributeValue::Int(_)
        | AttributeValue::String(_)
        | AttributeValue::Floats(_)
        | AttributeValue::Ints(_)
        | AttributeValue::Strings(_) => true,
        AttributeValue::Tensor(tensor) => {
            tensor.dims == [1] && tensor.inline_bytes().is_ok_and(|bytes| bytes.is_some())
        }
        _ => false,
    }
}

fn are_equal(a: &AttributeValue, b: &AttributeValue) -> bool {
    match (a, b) {
        (AttributeValue::Float(a), AttributeValue::Float(b)) => a.to_bits() == b.to_bits(),
        (AttributeValue::Int(a), AttributeValue::Int(b)) => a == b,
        (AttributeValue::String(a), AttributeValue::String(b)) => a == b,
        (AttributeValue::Floats(a), AttributeValue::Floats(b)) => {
            a.iter().map(|value| value.to_bits()).eq(b.iter().map(|value| value.to_bits()))
        }
        (AttributeValue::Ints(a), AttributeValue::Ints(b)) => a == b,
        (AttributeValue::Strings(a), AttributeValue::Strings(b)) => a == b,
        (AttributeValue::Tensor(a), AttributeValue::Tensor(b)) => {
            a.data_type == b.data_type && a.inline_bytes().ok() == b.inline_bytes().ok()
        }
        _ => false,
    }
}
