//! Which nodes run on integers, and which values are integers for them.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::{Graph, Node, NodeId, ValueId};

use super::Qdq;
use super::operators::{Made, Role, Roles};
use super::parameters::clip_bounds;
use crate::constants::float_dims;
use crate::layer::{Choice, Level, level_of};
use crate::ranges::Range;
use crate::{IntType, Params, Symmetry};

/// What is quantized.
pub(super) struct Plan {
    /// The nodes that run on integers.
    pub(super) nodes: BTreeSet<NodeId>,
    /// The values that are integers in between, with their parameters.
    pub(super) values: BTreeMap<ValueId, Params>,
}

/// Each round takes away at least one node.
const ROUNDS_MAX: usize = 10_000;

pub(super) fn plan(qdq: &Qdq<'_>, choice: &Choice, ranges: &BTreeMap<String, Range>) -> Plan {
    let look = Look { qdq, ranges };
    let mut nodes: BTreeSet<NodeId> = qdq.roles.keys().copied().filter(|id| look.may(*id, choice)).collect();
    for _ in 0..ROUNDS_MAX {
        let stays = |id: &&NodeId| qdq.layer_of.contains_key(id) || look.follows(**id, &nodes);
        let left: BTreeSet<NodeId> = nodes.iter().filter(stays).copied().collect();
        if left.len() == nodes.len() {
            break;
        }
        nodes = left;
    }
    let values = look.values(&nodes);
    Plan { nodes, values }
}

/// The output of a `Relu` or `Clip` that alone reads a value.
pub(super) fn behind_clip(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let made = graph.value(value);
    let [only] = made.uses.as_slice() else { return None };
    if made.is_output || only.input != Some(0) {
        return None;
    }
    let reader = graph.node(only.node);
    if reader.is("Relu") || clip_bounds_known(graph, reader) { reader.output(0) } else { None }
}

fn clip_bounds_known(graph: &Graph, node: &Node) -> bool {
    let fixed = |index| node.input(index).is_none_or(|bound| float_dims(graph, bound).is_some());
    node.is("Clip") && fixed(1) && fixed(2)
}

/// The integers' parameters for a range.
pub(super) fn params(int_type: IntType, symmetry: Symmetry, range: Range) -> Params {
    // An unsigned type cannot be symmetric around zero but around its middle.
    Params::of_range(range.lowest, range.highest, int_type.used_range(symmetry, false), symmetry)
}

struct Look<'a, 'b> {
    qdq: &'a Qdq<'b>,
    ranges: &'a BTreeMap<String, Range>,
}

impl Look<'_, '_> {
    fn graph(&self) -> &Graph {
        &self.qdq.model.graph
    }

    fn range(&self, value: ValueId) -> Option<Range> {
        self.ranges.get(&self.graph().value(value).name).copied()
    }

    fn activations<'n>(&self, node: &'n Node, roles: &'n Roles) -> impl Iterator<Item = ValueId> + 'n {
        let inputs = node.inputs.iter().enumerate();
        inputs.filter(|(index, _)| roles.role(*index) == Role::Activation).filter_map(|(_, value)| *value)
    }

    fn is_constant(&self, value: ValueId) -> bool {
        self.graph().value(value).is_fixed() && float_dims(self.graph(), value).is_some()
    }

    /// Whether a node may be quantized: its layer is, and the ranges that it needs are known.
    fn may(&self, id: NodeId, choice: &Choice) -> bool {
        let (node, roles) = (self.graph().node(id), &self.qdq.roles[&id]);
        if let Some(layer) = self.qdq.layer_of.get(&id)
            && level_of(choice, &self.qdq.layers[*layer].name) == Level::Float
        {
            return false;
        }
        let known = |value: ValueId| self.is_constant(value) || self.range(value).is_some();
        let inputs = self.activations(node, roles).all(known);
        let all_given = roles.inputs.iter().enumerate().all(|(index, _)| node.input(index).is_some());
        let outputs = match roles.made {
            Made::Always | Made::IfRead => node.outputs.iter().flatten().all(|value| self.range(*value).is_some()),
            _ => true,
        };
        inputs && all_given && outputs
    }

    /// The value that becomes integers for a node's output: that behind a `Relu` or `Clip` which the
    /// integers make needless.
    fn tail(&self, output: ValueId) -> ValueId {
        let Some(behind) = behind_clip(self.graph(), output) else { return output };
        let Some(range) = self.range(behind) else { return output };
        let int_type = self.qdq.options.activation;
        let params = params(int_type, self.qdq.options.activation_symmetry, range);
        let Some((_, clip)) = self.graph().producer(behind) else { return output };
        let (lowest, highest) = int_type.range();
        let Some((least, most)) = clip_bounds(self.graph(), clip, self.qdq.source) else { return output };
        // `IsClipMadeRedundantByQ`, qdq_util.cc, ORT 1.31.
        let steps = |bound: f32| f64::from(bound / params.scale).round_ties_even() + f64::from(params.zero_point);
        let is_needless = if clip.is("Relu") {
            params.zero_point == lowest
        } else {
            steps(least) <= f64::from(lowest) && steps(most) >= f64::from(highest)
        };
        if is_needless { behind } else { output }
    }

    /// Whether a node made this value as integers.
    fn is_made(&self, value: ValueId, nodes: &BTreeSet<NodeId>) -> bool {
        let Some((id, node)) = self.graph().producer(value) else { return false };
        if nodes.contains(&id) {
            return self.qdq.roles[&id].makes_values();
        }
        // Behind a Relu that the integers make needless.
        let before = node.input(0).filter(|_| node.is("Relu") || node.is("Clip"));
        let Some((id, _)) = before.and_then(|before| self.graph().producer(before)) else { return false };
        let made = before.is_some_and(|before| self.tail(before) == value);
        made && nodes.contains(&id) && self.qdq.roles[&id].makes_values()
    }

    fn is_read(&self, value: ValueId, nodes: &BTreeSet<NodeId>, by_layer: bool) -> bool {
        self.graph().value(value).uses.iter().any(|reader| {
            let role = reader.input.and_then(|input| self.qdq.roles.get(&reader.node).map(|roles| roles.role(input)));
            role == Some(Role::Activation)
                && nodes.contains(&reader.node)
                && (!by_layer || self.qdq.layer_of.contains_key(&reader.node))
        })
    }

    /// Whether a node that is no layer stands between nodes on integers.
    fn follows(&self, id: NodeId, nodes: &BTreeSet<NodeId>) -> bool {
        let (node, roles) = (self.graph().node(id), &self.qdq.roles[&id]);
        let is_integer = |value: ValueId| self.is_made(value, nodes) || self.is_read(value, nodes, true);
        let mut n_values = 0;
        for value in self.activations(node, roles) {
            if self.is_constant(value) {
                continue;
            }
            n_values += 1;
            if !is_integer(value) {
                return false;
            }
        }
        let mut outputs = node.outputs.iter().flatten();
        n_values > 0 && outputs.any(|output| self.is_read(self.tail(*output), nodes, false))
    }

    /// The values that are integers, inputs before outputs.
    fn values(&self, nodes: &BTreeSet<NodeId>) -> BTreeMap<ValueId, Params> {
        let mut values: BTreeMap<ValueId, Params> = BTreeMap::new();
        let options = &self.qdq.options;
        let of = |range: Range| params(options.activation, options.activation_symmetry, range);
        // A graph that was built has no cycle.
        for id in self.graph().topological_order().unwrap_or_default() {
            if !nodes.contains(&id) {
                continue;
            }
            let (node, roles) = (self.graph().node(id), &self.qdq.roles[&id]);
            for value in self.activations(node, roles).filter(|value| !self.is_constant(*value)) {
                if let Some(range) = self.range(value) {
                    values.entry(value).or_insert_with(|| of(range));
                }
            }
            for output in node.outputs.iter().flatten() {
                let tail = self.tail(*output);
                let params = match roles.made {
                    Made::Always => self.range(tail).map(of),
                    Made::IfRead => self.range(tail).filter(|_| self.is_read(tail, nodes, false)).map(of),
                    Made::Between(lowest, highest) => Some(of(Range { lowest, highest })),
                    Made::AsInput => node.input(0).and_then(|input| values.get(&input).copied()),
                    Made::Floats => None,
                };
                let at = if roles.made == Made::AsInput { *output } else { tail };
                if let Some(params) = params {
                    values.insert(at, params);
                }
            }
        }
        values
    }
}
