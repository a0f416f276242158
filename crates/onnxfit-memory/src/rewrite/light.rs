//! Sessions with optimization off, rewritten at a glance.
//!
//! Such a session still duplicates dequantizations, inlines what it has no kernel for, inserts
//! casts around half precision and drops casts that cancel out. Most graphs have nothing of the
//! kind but the last, and to see that takes one look at each node: no second graph is built.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::{AttributeValue, Constant, Graph, Model, Node, NodeId, Patch, Use, ValueId, ValueType};
use onnxfit_onnx::DataType;

use super::insert_cast::is_unsafe;
use super::{Level, RewriteOptions};

/// The model as [`super::rewrite`] makes it, where a look at each node suffices to know it.
/// `Constant` nodes stay: they are weights either way. `None` where it takes more.
pub fn rewrite_at_a_glance<'a>(model: &'a Model, options: &RewriteOptions) -> Option<Cow<'a, Model>> {
    let is_asked = options.level == Level::Disable && model.functions().is_empty();
    if !is_asked || !options.disabled_optimizers.is_empty() || !is_plain(&model.graph) {
        return None;
    }
    let mut casts = Casts { graph: &model.graph, inputs: BTreeMap::new(), removed: BTreeSet::new() };
    for (id, _) in sorted_by_id(&model.graph, |node| node.op_type == "Cast") {
        casts.remove_after(id)?;
    }
    let patch = casts.patch();
    if patch.is_empty() {
        return Some(Cow::Borrowed(model));
    }
    let mut result = model.clone();
    result.graph.apply(&patch).ok()?;
    Some(Cow::Owned(result))
}

fn sorted_by_id(graph: &Graph, is_wanted: impl Fn(&Node) -> bool) -> Vec<(NodeId, &Node)> {
    let mut nodes: Vec<(NodeId, &Node)> = graph.nodes().filter(|(_, node)| is_wanted(node)).collect();
    nodes.sort_by_key(|(id, _)| *id);
    nodes
}

/// Whether casts are all that may be changed; in the bodies of nodes, nothing.
fn is_plain(graph: &Graph) -> bool {
    // A graph that was changed is sorted.
    graph.is_sorted()
        && graph.values().all(|(_, value)| {
            let half_weight = match &value.constant {
                Some(Constant::Dense(tensor)) => tensor.element_type().ok() == Some(DataType::Float16),
                Some(Constant::Sparse(_)) => true,
                None => false,
            };
            !half_weight && !holds_half(&value.ty)
        })
        && graph.nodes().all(|(_, node)| is_plain_node(node))
}

fn is_plain_node(node: &Node) -> bool {
    // Also those of other domains: it only costs time.
    let is_replaced = node.op_type == "DequantizeLinear" || super::functions::is_function(&node.op_type);
    !is_replaced
        && node.attributes.iter().all(|attribute| match &attribute.value {
            AttributeValue::Int(number) => {
                *number != i64::from(DataType::Float16.number())
                    || !matches!(attribute.name.as_str(), "to" | "dtype" | "output_dtype" | "stash_type")
            }
            AttributeValue::Tensor(tensor) => tensor.element_type().ok() != Some(DataType::Float16),
            _ => attribute.graphs().iter().all(is_plain_body),
        })
}

fn is_plain_body(graph: &Graph) -> bool {
    let feeds_a_cast = |node: &Node| {
        let made = node.input(0).and_then(|value| graph.producer(value));
        made.is_some_and(|(_, made)| made.op_type == "Cast")
    };
    is_plain(graph) && !graph.nodes().any(|(_, node)| node.op_type == "Cast" && feeds_a_cast(node))
}

fn holds_half(ty: &ValueType) -> bool {
    match ty {
        ValueType::Tensor(tensor) | ValueType::SparseTensor(tensor) => tensor.element_type == Some(DataType::Float16),
        ValueType::Sequence(inner) | ValueType::Optional(inner) | ValueType::Map(_, inner) => holds_half(inner),
        ValueType::Unknown | ValueType::Opaque(..) => false,
    }
}

/// `RemoveDuplicateCastTransformer` on a graph that stays as it is, with what it changes beside it.
struct Casts<'a> {
    graph: &'a Graph,
    /// What nodes read instead.
    inputs: BTreeMap<(NodeId, usize), ValueId>,
    removed: BTreeSet<NodeId>,
}

impl Casts<'_> {
    fn input(&self, id: NodeId, slot: usize) -> Option<ValueId> {
        self.inputs.get(&(id, slot)).copied().or_else(|| self.graph.node(id).input(slot))
    }

    /// The nodes that read a value now, first to last; `None` if a body does.
    fn readers(&self, value: ValueId) -> Option<Vec<(NodeId, usize)>> {
        let mut readers = Vec::new();
        for Use { node, input } in &self.graph.value(value).uses {
            let slot = (*input)?;
            if !self.removed.contains(node) && self.input(*node, slot) == Some(value) {
                readers.push((*node, slot));
            }
        }
        let moved = self.inputs.iter().filter(|((node, _), now)| **now == value && !self.removed.contains(node));
        readers.extend(moved.map(|(reader, _)| *reader));
        readers.sort_unstable();
        readers.dedup();
        Some(readers)
    }

    /// Drops the casts after this one that undo it, and this one if only casts read it. `None` if
    /// that takes more than a look.
    fn remove_after(&mut self, id: NodeId) -> Option<()> {
        let node = self.graph.node(id);
        if self.removed.contains(&id) {
            return Some(());
        }
        let (Some(input), Some(output)) = (self.input(id, 0), node.output(0)) else { return Some(()) };
        let is_read_by_casts =
            self.graph.value(output).uses.iter().any(|reader| self.graph.node(reader.node).op_type == "Cast");
        if !is_read_by_casts {
            return Some(());
        }
        if !node.domain.is_empty() || node.inputs.len() != 1 || node.outputs.len() != 1 {
            return None;
        }
        let (from, to) = (element(self.graph, input)?, cast_to(node)?);
        let loses = is_unsafe(Some(from), Some(to), &node.name);
        let readers = self.readers(output)?;
        let (mut removed, mut kept) = (Vec::new(), Vec::new());
        for (reader, _) in &readers {
            let next = self.graph.node(*reader);
            if next.op_type != "Cast" {
                continue;
            }
            if !next.domain.is_empty() || next.inputs.len() != 1 || next.outputs.len() != 1 {
                return None;
            }
            let next_to = cast_to(next)?;
            if loses && is_unsafe(Some(next_to), Some(to), &next.name) {
                return Some(());
            }
            let gives_output = next.output(0).is_some_and(|value| self.graph.value(value).is_output);
            if !gives_output && from == next_to { removed.push(*reader) } else { kept.push((*reader, next_to)) }
        }
        let (n_readers, n_casts) = (readers.len(), removed.len() + kept.len());
        for next in removed {
            self.bypass(next, input)?;
        }
        let to_bool = loses && kept.iter().any(|(_, next_to)| *next_to == DataType::Bool);
        if n_readers > 0 && n_casts == n_readers && !self.graph.value(output).is_output && !to_bool {
            self.bypass(id, input)?;
        }
        Some(())
    }

    /// Lets whoever reads a cast read its input, and drops it.
    fn bypass(&mut self, id: NodeId, input: ValueId) -> Option<()> {
        if let Some(output) = self.graph.node(id).output(0) {
            for reader in self.readers(output)? {
                self.inputs.insert(reader, input);
            }
        }
        self.removed.insert(id);
        Some(())
    }

    fn patch(&self) -> Patch {
        let mut patch = Patch::new(self.graph, "onnxruntime-rewrites");
        self.removed.iter().for_each(|id| patch.remove_node(*id));
        for ((node, slot), value) in self.inputs.iter().filter(|((node, _), _)| !self.removed.contains(node)) {
            patch.set_input(*node, *slot, Some(*value));
        }
        patch
    }
}

fn cast_to(node: &Node) -> Option<DataType> {
    DataType::from_number(i32::try_from(node.int("to")?).ok()?)
}

/// The element type of a value as the rewrites' own inference finds it; `None` where it takes more
/// than following a value to where its type is made.
fn element(graph: &Graph, value: ValueId) -> Option<DataType> {
    let mut at = value;
    // A chain is no longer than the graph.
    for _ in 0..=graph.n_nodes() {
        let known = graph.value(at);
        if known.is_captured {
            return None;
        }
        if let Some(tensor) = known.tensor() {
            return tensor.element_type().ok();
        }
        let Some((_, node)) = graph.producer(at) else { return known.ty.as_tensor()?.element_type };
        if !node.domain.is_empty() || node.output(0) != Some(at) {
            return None;
        }
        at = match node.op_type.as_str() {
            "Cast" => return cast_to(node),
            "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" => return Some(DataType::Int64),
            "And" | "Or" | "Xor" | "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" => {
                return Some(DataType::Bool);
            }
            "Constant" => return node.tensor("value")?.element_type().ok(),
            "Where" => node.input(1)?,
            "Abs" | "Add" | "Ceil" | "Clip" | "Concat" | "Cos" | "Div" | "Erf" | "Exp" | "Expand" | "Flatten"
            | "Floor" | "Gather" | "GatherElements" | "GatherND" | "Identity" | "Log" | "Max" | "Min" | "Mod"
            | "Mul" | "Neg" | "Not" | "Pad" | "Pow" | "Range" | "Reciprocal" | "ReduceMax" | "ReduceMean"
            | "ReduceMin" | "ReduceProd" | "ReduceSum" | "Relu" | "Reshape" | "Round" | "Sigmoid" | "Sin" | "Slice"
            | "Softmax" | "Split" | "Sqrt" | "Squeeze" | "Sub" | "Tanh" | "Tile" | "Transpose" | "Unsqueeze" => {
                node.input(0)?
            }
            _ => return None,
        };
    }
    None
}
