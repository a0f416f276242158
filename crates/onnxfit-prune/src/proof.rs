//! Which values of a model prove that two versions of it compute the same.
//!
//! Where a model picks by comparing (the best boxes, the largest score), a difference in the last
//! bit becomes another answer. There, what is compared is looked at, not what was picked.

use std::collections::BTreeSet;

use onnxfit_graph::{Graph, ValueId};
use onnxfit_onnx::DataType;
use onnxfit_shape::GraphFacts;

use crate::analysis::Analysis;

/// Operators whose answer jumps when their input moves a little.
const PICKING: [&str; 8] =
    ["ArgMax", "ArgMin", "Compress", "NonMaxSuppression", "NonZero", "RoiAlign", "TopK", "Unique"];

/// Operators whose truth value does.
const COMPARING: [&str; 4] = ["Greater", "GreaterOrEqual", "Less", "LessOrEqual"];

impl Analysis {
    /// The values to compare: the outputs, or what they are picked from.
    pub fn proof_values(&self) -> Vec<String> {
        let graph = &self.model.graph;
        let mut values: BTreeSet<ValueId> = BTreeSet::new();
        for output in graph.outputs() {
            let picked_from = picked_from(graph, &self.facts, *output);
            if picked_from.is_empty() {
                values.insert(*output);
            } else {
                values.extend(picked_from);
            }
        }
        values.into_iter().map(|id| graph.value(id).name.clone()).collect()
    }
}

/// The float values that nodes on the way to `output` pick from or compare, and that were not picked
/// themselves.
fn picked_from(graph: &Graph, facts: &GraphFacts, output: ValueId) -> BTreeSet<ValueId> {
    let is_one_of = |id: ValueId, op_types: &[&str]| {
        graph.producer(id).is_some_and(|(_, node)| op_types.iter().any(|op_type| node.is(op_type)))
    };
    let is_picking = |id: ValueId| is_one_of(id, &PICKING);
    let cone = cone(graph, output);
    let mut found = BTreeSet::new();
    if !cone.iter().any(|id| is_picking(*id)) {
        return found;
    }
    for id in cone.into_iter().filter(|id| is_picking(*id) || is_one_of(*id, &COMPARING)) {
        let Some((_, node)) = graph.producer(id) else { continue };
        for input in node.inputs.iter().flatten().copied() {
            let is_float = facts.get(input).and_then(|fact| fact.element_type).is_some_and(DataType::is_float);
            let is_computed = graph.producer(input).is_some_and(|(_, node)| !node.is("Constant"));
            let is_new = is_float && is_computed && !found.contains(&input);
            if is_new && !self::cone(graph, input).into_iter().any(is_picking) {
                found.insert(input);
            }
        }
    }
    found
}

/// A value and all that it is made from.
fn cone(graph: &Graph, from: ValueId) -> BTreeSet<ValueId> {
    let mut seen = BTreeSet::from([from]);
    let mut waiting = vec![from];
    while let Some(value) = waiting.pop() {
        let Some((_, node)) = graph.producer(value) else { continue };
        let inputs = node.inputs.iter().flatten().chain(&node.implicit_inputs);
        waiting.extend(inputs.copied().filter(|id| seen.insert(*id)));
    }
    seen
}
