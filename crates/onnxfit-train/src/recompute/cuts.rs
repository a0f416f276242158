//! The way forward as a line of nodes, and what crosses it where.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use onnxfit_onnx::proto::NodeProto;
use onnxfit_shape::{Bindings, infer};

use crate::error::TrainError;
use crate::gradient::Gradients;

/// Values that may cross a cut; more make a cut of no use.
const N_CROSSING_MAX: usize = 8;

/// Operators whose second run would give something else.
const RANDOM: &[&str] =
    &["Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];

/// The way forward: everything that the loss depends on.
pub(super) struct Forward {
    /// The nodes in order.
    pub(super) nodes: Vec<NodeProto>,
    /// Where they are in the whole graph.
    pub(super) positions: Vec<usize>,
    /// Which node makes a value.
    maker: BTreeMap<String, usize>,
    /// Values that depend on the batch: inputs that are no parameters, and what is made of them.
    data: BTreeSet<String>,
    /// Values that the way back reads.
    read_back: BTreeSet<String>,
    bytes: BTreeMap<String, u64>,
    gradients: BTreeMap<String, String>,
    /// For each node, what is made up to it and read after it on the way forward.
    crossing: Vec<BTreeSet<String>>,
}

impl Forward {
    pub(super) fn of(gradients: &Gradients, sizes: &Bindings) -> Result<Self, TrainError> {
        let graph = &gradients.model.graph;
        let facts = infer(&gradients.model, sizes).graph;
        let proto = graph.to_proto();
        let mut bytes = BTreeMap::new();
        for (id, value) in graph.values() {
            let known = facts.get(id).and_then(|fact| fact.concrete_bytes());
            bytes.insert(value.name.clone(), known.map_or(0, |bytes| bytes.get()));
        }
        let mut needed: BTreeSet<String> = BTreeSet::from([gradients.loss.clone()]);
        needed.extend(gradients.statistics.iter().map(|one| one.output.clone()));
        let mut positions = Vec::new();
        for (position, node) in proto.node.iter().enumerate().rev() {
            if node.output.iter().any(|name| needed.contains(name)) {
                needed.extend(node.input.iter().cloned());
                positions.push(position);
            }
        }
        positions.reverse();
        let parameters: BTreeSet<&str> = gradients
            .gradients
            .iter()
            .chain(&gradients.statistics)
            .map(|one| one.parameter.as_str())
            .chain(gradients.sums.iter().map(String::as_str))
            .collect();
        let mut data: BTreeSet<String> = graph
            .inputs()
            .iter()
            .map(|id| graph.value(*id).name.clone())
            .filter(|name| !parameters.contains(name.as_str()))
            .collect();
        let nodes: Vec<NodeProto> = positions.iter().map(|position| proto.node[*position].clone()).collect();
        let mut maker = BTreeMap::new();
        for (at, node) in nodes.iter().enumerate() {
            let is_data = node.input.iter().any(|name| data.contains(name));
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                maker.insert(name.clone(), at);
                if is_data {
                    data.insert(name.clone());
                }
            }
        }
        let on_the_way: BTreeSet<usize> = positions.iter().copied().collect();
        let back = proto.node.iter().enumerate().filter(|(position, _)| !on_the_way.contains(position));
        let read_back: BTreeSet<String> =
            back.flat_map(|(_, node)| node.input.iter().cloned()).filter(|name| maker.contains_key(name)).collect();
        let mut forward = Self {
            nodes,
            positions,
            maker,
            data,
            read_back,
            bytes,
            gradients: gradients.value_gradients.clone(),
            crossing: Vec::new(),
        };
        forward.find_crossings();
        Ok(forward)
    }

    fn find_crossings(&mut self) {
        let mut last_read: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            node.input.iter().for_each(|name| {
                last_read.insert(name, at);
            });
        }
        let mut alive: BTreeSet<String> = BTreeSet::new();
        let mut crossing = Vec::with_capacity(self.nodes.len());
        for (at, node) in self.nodes.iter().enumerate() {
            let made = node.output.iter().filter(|name| self.data.contains(*name));
            alive.extend(made.filter(|name| last_read.get(name.as_str()).is_some_and(|last| *last > at)).cloned());
            alive.retain(|name| last_read.get(name.as_str()).is_some_and(|last| *last > at));
            crossing.push(alive.clone());
        }
        self.crossing = crossing;
    }

    /// Where the line may be cut: few values cross, and one of them has a gradient to wait for.
    pub(super) fn candidates(&self) -> Vec<usize> {
        (0..self.nodes.len().saturating_sub(1))
            .filter(|at| {
                let n = self.crossing[*at].len();
                n > 0 && n <= N_CROSSING_MAX && self.anchor(*at).is_some()
            })
            .collect()
    }

    /// The gradient that arrives at a cut: that of the value made last.
    pub(super) fn anchor(&self, cut: usize) -> Option<String> {
        let with_gradient = self.crossing[cut].iter().filter(|name| self.gradients.contains_key(*name));
        let last = with_gradient.max_by_key(|name| self.maker.get(*name).copied())?;
        self.gradients.get(last).cloned()
    }

    /// Whether a value depends on the batch.
    pub(super) fn is_data(&self, name: &str) -> bool {
        self.data.contains(name)
    }

    fn size(&self, name: &str) -> u64 {
        self.bytes.get(name).copied().unwrap_or(0)
    }

    fn is_random(&self, name: &str) -> bool {
        self.maker.get(name).is_some_and(|at| RANDOM.contains(&self.nodes[*at].op_type()))
    }

    /// Everything that the way back reads.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.read_back.iter().filter(|name| self.data.contains(*name)).map(|name| self.size(name)).sum()
    }

    /// Bytes that cross a cut.
    pub(super) fn crossing_bytes(&self, cut: usize) -> u64 {
        self.crossing[cut].iter().map(|name| self.size(name)).sum()
    }

    /// For each prefix of the line, the bytes made in it that the way back reads.
    pub(super) fn read_back_bytes_before(&self) -> Vec<u64> {
        let mut sums = vec![0];
        for node in &self.nodes {
            let read = node.output.iter().filter(|name| self.read_back.contains(*name) && self.data.contains(*name));
            let bytes: u64 = read.map(|name| self.size(name)).sum();
            sums.push(sums.last().copied().unwrap_or(0) + bytes);
        }
        sums
    }

    /// What is kept when the line is cut here.
    pub(super) fn kept_at(&self, cuts: &[usize]) -> BTreeSet<String> {
        let mut kept: BTreeSet<String> = cuts.iter().flat_map(|cut| self.crossing[*cut].iter().cloned()).collect();
        kept.extend(self.maker.keys().filter(|name| self.is_random(name) || !self.data.contains(*name)).cloned());
        kept
    }

    /// What the way back reads of a segment and is not kept.
    pub(super) fn wanted_in(&self, segment: Range<usize>, kept: &BTreeSet<String>) -> BTreeSet<String> {
        let made = self.nodes[segment].iter().flat_map(|node| &node.output);
        made.filter(|name| self.read_back.contains(*name) && !kept.contains(*name)).cloned().collect()
    }

    /// The nodes of a segment that make these values from what is kept, in order.
    pub(super) fn needed_for(
        &self,
        segment: Range<usize>,
        mut wanted: BTreeSet<String>,
        kept: &BTreeSet<String>,
    ) -> Vec<usize> {
        let mut found = Vec::new();
        for at in segment.rev() {
            let node = &self.nodes[at];
            if node.output.iter().any(|name| wanted.contains(name)) {
                wanted.extend(node.input.iter().filter(|name| !kept.contains(*name)).cloned());
                found.push(at);
            }
        }
        found.reverse();
        found
    }

    /// Activations kept at once with these cuts: what crosses them, and the largest segment.
    pub(super) fn peak_bytes(&self, cuts: &[usize]) -> u64 {
        let kept = self.kept_at(cuts);
        let held: u64 = kept.iter().filter(|name| self.data.contains(*name)).map(|name| self.size(name)).sum();
        let mut largest = 0;
        let mut start = 0;
        for end in cuts.iter().map(|cut| cut + 1).chain([self.nodes.len()]) {
            let wanted = self.wanted_in(start..end, &kept);
            largest = largest.max(wanted.iter().map(|name| self.size(name)).sum());
            start = end;
        }
        held + largest
    }
}
