//! Activations computed twice instead of kept.
//!
//! The way forward is cut where few values cross. What crosses a chosen cut is kept; everything
//! else that the way back needs is computed again from there, just before it is needed. The copies
//! wait for the gradient that arrives at their segment (a `Reshape` whose shape depends on it), so
//! that no scheduler runs them early and no optimizer merges them with the first computation.
//! Exact: the same operators run on the same numbers.

mod choose;
mod cuts;

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::Bytes;
use onnxfit_graph::Model;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{GraphProto, ModelProto};
use onnxfit_shape::Bindings;

pub use choose::Recompute;
use choose::choose;
use cuts::Forward;

use crate::emit::int;
use crate::error::TrainError;
use crate::gradient::Gradients;
use crate::order::{deepest_leaves_first, topological};
use crate::tape::Tape;

/// What recomputing is expected to do.
#[derive(Clone, Debug, PartialEq)]
pub struct RecomputeReport {
    /// Activations kept for the way back without recomputing.
    pub kept_before_bytes: Bytes,
    /// Activations kept at once with it: what crosses the cuts, and the largest segment.
    pub kept_after_bytes: Bytes,
    /// Segments that are computed again.
    pub n_segments: usize,
    /// Nodes that run twice, as a share of the nodes on the way forward.
    pub repeated_share: f64,
}

/// Rewrites the graph so that fewer activations are kept; `None` if nothing is gained. `sizes` are
/// those that the choice is made for; the result is right for all.
pub fn recompute(
    gradients: &Gradients,
    sizes: &Bindings,
    wanted: Recompute,
) -> Result<Option<(Gradients, RecomputeReport)>, TrainError> {
    let forward = Forward::of(gradients, sizes)?;
    let Some(cuts) = choose(&forward, wanted) else { return Ok(None) };
    let before = forward.kept_bytes();
    let mut proto = gradients.model.to_proto();
    let graph = proto.graph.take().unwrap_or_default();
    let mut writer = Writer { forward: &forward, tape: Tape::after(&gradients.model.graph), again: BTreeMap::new() };
    let n_repeated = writer.write(&cuts)?;
    if n_repeated == 0 {
        return Ok(None);
    }
    let report = RecomputeReport {
        kept_before_bytes: Bytes(before),
        kept_after_bytes: Bytes(forward.peak_bytes(&cuts)),
        n_segments: cuts.len(),
        repeated_share: n_repeated as f64 / forward.nodes.len().max(1) as f64,
    };
    let again = std::mem::take(&mut writer.again);
    let mut rewritten = GraphProto { node: Vec::new(), ..graph.clone() };
    let is_forward: BTreeSet<usize> = forward.positions.iter().copied().collect();
    for (position, mut node) in graph.node.into_iter().enumerate() {
        if !is_forward.contains(&position) {
            for name in &mut node.input {
                if let Some(copy) = again.get(name) {
                    name.clone_from(copy);
                }
            }
        }
        rewritten.node.push(node);
    }
    writer.tape.append_to(&mut rewritten);
    topological(&mut rewritten.node)?;
    deepest_leaves_first(&mut rewritten.node);
    let model = Model::from_proto(&ModelProto { graph: Some(rewritten), ..proto })?;
    Ok(Some((Gradients { model, ..gradients.clone() }, report)))
}

struct Writer<'a> {
    forward: &'a Forward,
    tape: Tape,
    /// The copy of each value that is computed again.
    again: BTreeMap<String, String>,
}

impl Writer<'_> {
    /// Writes the copies of all segments but the last, whose way back follows at once.
    fn write(&mut self, cuts: &[usize]) -> Result<usize, TrainError> {
        let mut n_repeated = 0;
        let mut start = 0;
        let kept = self.forward.kept_at(cuts);
        for cut in cuts {
            let segment = start..cut + 1;
            start = cut + 1;
            let wanted = self.forward.wanted_in(segment.clone(), &kept);
            if wanted.is_empty() {
                continue;
            }
            let Some(anchor) = self.forward.anchor(*cut) else { continue };
            n_repeated += self.segment(segment, wanted, &kept, &anchor);
        }
        Ok(n_repeated)
    }

    fn segment(
        &mut self,
        segment: std::ops::Range<usize>,
        wanted: BTreeSet<String>,
        kept: &BTreeSet<String>,
        anchor: &str,
    ) -> usize {
        let nodes = self.forward.needed_for(segment, wanted, kept);
        let scope = format!("{anchor}/again");
        self.tape.set_scope(&scope);
        let zero = self.zero(anchor);
        let mut local: BTreeMap<String, String> = BTreeMap::new();
        for at in &nodes {
            let node = &self.forward.nodes[*at];
            let mut copy = node.clone();
            for name in copy.input.iter_mut().filter(|name| !name.is_empty()) {
                if let Some(made) = local.get(name.as_str()) {
                    name.clone_from(made);
                } else if self.forward.is_data(name) {
                    let waiting = self.waiting(name, zero);
                    local.insert(name.clone(), waiting.clone());
                    *name = waiting;
                }
            }
            for name in copy.output.iter_mut().filter(|name| !name.is_empty()) {
                let fresh = self.tape.fresh(name);
                let made = self.tape.name(fresh).to_owned();
                local.insert(name.clone(), made.clone());
                if !kept.contains(name.as_str()) {
                    self.again.insert(name.clone(), made.clone());
                }
                *name = made;
            }
            copy.name = copy.output.first().cloned();
            self.tape.push(copy);
        }
        nodes.len()
    }

    /// A zero that is known only when the gradient is.
    fn zero(&mut self, anchor: &str) -> crate::tape::Var {
        let tape = &mut self.tape;
        let gradient = tape.named(anchor);
        let flat = tape.reshape_to(gradient, &[-1]);
        let first = tape.slice(flat, 0, 0, 1);
        let strange = tape.op("IsNaN", &[first]);
        let never = tape.constant(crate::tape::tensor_of(DataType::Bool, &[1], &[0.0]));
        let no = tape.and(strange, never);
        tape.op_with("Cast", &[no], vec![int("to", DataType::Int64.number().into())])
    }

    /// The same value, not before the gradient is there.
    fn waiting(&mut self, name: &str, zero: crate::tape::Var) -> String {
        let tape = &mut self.tape;
        let value = tape.named(name);
        let shape = tape.shape(value);
        let shape = tape.add(shape, zero);
        let same = tape.reshape(value, shape);
        tape.name(same).to_owned()
    }
}
