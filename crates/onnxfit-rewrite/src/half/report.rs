//! What a conversion did, for people and for the planner.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;

use super::emit::{Decision, Emitted};
use super::islands::Facts;
use super::reason::Reason;
use super::slots::Slots;

/// A node that stays float32.
#[derive(Clone, Debug, PartialEq)]
pub struct Island {
    /// The node's name, or that of its first output.
    pub node: String,
    /// Its operator.
    pub op_type: String,
    /// Why.
    pub reason: Reason,
}

/// What a conversion did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HalfReport {
    /// Nodes that compute in the half type now.
    pub n_converted: usize,
    /// Nodes that stay, in the order of the model.
    pub islands: Vec<Island>,
    /// Casts that were added.
    pub n_casts: usize,
    /// Fixed tensors with numbers past the range, and how many they had; they are now the largest
    /// number there is. Tensors that are converted when they are written are not counted.
    pub clamped: Vec<(String, u64)>,
    /// Fixed tensors that stay float32.
    pub n_float_tensors: usize,
    /// The fixed float tensors before.
    pub before_bytes: Bytes,
    /// The same after, copies included.
    pub after_bytes: Bytes,
}

pub(super) fn report(facts: &Facts<'_, '_>, slots: &Slots, decision: &Decision<'_>, emitted: &Emitted) -> HalfReport {
    let world = facts.world;
    let mut report = HalfReport { n_casts: emitted.n_casts, ..HalfReport::default() };
    report.clamped = emitted.conversions.clamped().to_vec();
    for (number, variables) in &slots.of_node {
        let floats: Vec<usize> = variables.iter().copied().filter(|variable| !decision.is_half[*variable]).collect();
        let has_half = floats.len() < variables.len();
        report.n_converted += usize::from(has_half);
        let reasons = floats.iter().filter_map(|variable| slots.variables[*variable].stays.clone());
        // A node that is only partly half (the scales of a Resize) is no island.
        if !has_half && let Some((_, _, node)) = world.node(*number) {
            let reason = reasons.into_iter().next().unwrap_or(Reason::Cheaper);
            report.islands.push(Island { node: world.label(*number), op_type: node.op_type.clone(), reason });
        }
    }
    for value in 0..world.n_values() {
        if world.definition[value] != value || !facts.elements[value].is_float() {
            continue;
        }
        let Some(tensor) = world.fixed_tensor(value).or_else(|| world.get(value).tensor().cloned()) else { continue };
        let bytes = tensor.size_bytes().unwrap_or_default();
        report.before_bytes = Bytes(report.before_bytes.get().saturating_add(bytes.get()));
        let is_half = decision.stored.contains(&value);
        report.n_float_tensors += usize::from(!is_half);
        let after = if is_half { bytes.get() / 2 } else { bytes.get() };
        report.after_bytes = Bytes(report.after_bytes.get().saturating_add(after));
    }
    report.after_bytes = Bytes(report.after_bytes.get().saturating_add(emitted.copied_bytes.get()));
    report
}

impl HalfReport {
    /// How often each reason kept a node, most often first.
    pub fn reasons(&self) -> Vec<(String, usize)> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for island in &self.islands {
            *counts.entry(island.reason.to_string()).or_default() += 1;
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), reason.clone()));
        counts
    }
}
