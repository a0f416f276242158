//! Computes in half-width floats: fp16 or bf16, with 32-bit inputs and outputs kept.
//!
//! The whole model changes: bodies of If, Loop and Scan, captured values, constants in nodes,
//! local functions (inlined first). What cannot or should not change stays float32 as islands with
//! the cheapest border: which undecided node goes to which side, and which edges get a Cast, is
//! one minimum cut over the whole model. No value is cast twice in one graph.
//!
//! Approximate: results differ by rounding, so the planner must verify.

mod batch_norm;
mod convert;
mod cut;
mod elements;
mod emit;
mod islands;
mod numbers;
mod quirks;
mod reason;
mod report;
mod sizes;
mod slots;
mod source;
mod storage;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::Model;
use onnxfit_onnx::TensorSource;

pub use convert::HalfType;
pub use reason::Reason;
pub use report::{HalfReport, Island};
pub use source::{Conversions, ConvertingSource};

use crate::operators::{Support, signature};
use crate::{Exactness, RewriteError, inline};
use cut::CutProblem;
use islands::Facts;
use slots::{BORDER, Slots};
use world::World;

/// What this change does to the answers.
pub const EXACTNESS: Exactness = Exactness::Approximate;

/// What was measured of one value over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ValueRange {
    /// The smallest finite number.
    pub smallest: f32,
    /// The largest finite number.
    pub largest: f32,
    /// The share of the nonzero numbers that the half type would make zero.
    pub share_vanishing: f32,
}

/// How a model is converted.
#[derive(Clone, Debug, PartialEq)]
pub struct HalfOptions {
    /// Into what.
    pub target: HalfType,
    /// Whether inputs and outputs of the model stay float32.
    pub keep_io: bool,
    /// Nodes that compute in float32, by name or by the name of their first output. Their weights
    /// are kept in the half type all the same, and cast where they are read.
    pub keep_nodes: BTreeSet<String>,
    /// Nodes whose weights stay float32 as well.
    pub exact_nodes: BTreeSet<String>,
    /// What was measured, by value name; values that are not in it are treated cautiously.
    pub ranges: Option<BTreeMap<String, ValueRange>>,
}

impl HalfOptions {
    /// Everything to `target` that can be, inputs and outputs kept, nothing measured.
    pub fn new(target: HalfType) -> Self {
        Self { target, keep_io: true, keep_nodes: BTreeSet::new(), exact_nodes: BTreeSet::new(), ranges: None }
    }
}

impl HalfOptions {
    fn is_named(&self, names: &BTreeSet<String>, world: &World<'_>, number: usize) -> bool {
        let Some((_, _, node)) = world.node(number).filter(|_| !names.is_empty()) else { return false };
        names.contains(&node.name) || names.contains(&world.label(number))
    }
}

/// A converted model.
#[derive(Clone, Debug)]
pub struct HalfOutcome {
    /// The model. Its weights come from a [`ConvertingSource`].
    pub model: Model,
    /// The weights that are converted when they are written.
    pub conversions: Conversions,
    /// What was done.
    pub report: HalfReport,
}

impl HalfOutcome {
    /// The weights of the converted model, from those of the original.
    pub fn source<'a>(&'a self, weights: &'a dyn TensorSource) -> ConvertingSource<'a> {
        ConvertingSource::new(weights, &self.conversions)
    }
}

/// Converts a model. Only small constants and what the model file itself holds is read from
/// `weights` now.
pub fn to_half(model: &Model, weights: &dyn TensorSource, options: &HalfOptions) -> Result<HalfOutcome, RewriteError> {
    let opset = model.opset("");
    let cast = signature("", "Cast", opset).and_then(|signature| signature.variables.first());
    let is_castable = cast.is_some_and(|variable| match options.target {
        HalfType::Float16 => variable.float16 > Support::No,
        HalfType::Bfloat16 => variable.bfloat16 > Support::No,
    });
    if !is_castable {
        return Err(RewriteError::OpsetTooOld { opset, what: options.target.data_type().name() });
    }
    let inlined = inline::inline_functions(model)?;
    let model = inlined.as_ref().unwrap_or(model);
    let moved = quirks::move_transposes(model)?;
    let model = moved.as_ref().unwrap_or(model);
    let folded = batch_norm::fold(model, weights, options.target)?;
    let model = folded.as_ref().unwrap_or(model);

    let world = World::new(model);
    let elements = elements::elements(&world);
    let n_elements = sizes::sizes(&world);
    let mut slots = slots::slots(&world, &elements, options.target, options.keep_io);
    let facts = Facts { world: &world, elements: &elements, n_elements: &n_elements, weights, options };
    islands::keep_islands(&facts, &mut slots);
    let is_half = decide(&world, &slots, &n_elements);
    let is_exact = |node: usize| {
        let quantized = |variable: &usize| matches!(slots.variables[*variable].stays, Some(Reason::Quantized));
        slots.of_node.get(&node).is_some_and(|variables| variables.iter().any(quantized))
            || options.is_named(&options.exact_nodes, &world, node)
    };
    let stored = storage::stored_half(&facts, &slots, &is_half, &is_exact);
    let decision = emit::Decision { is_half: &is_half, stored: &stored, target: options.target };
    let emitted = emit::emit(&facts, &slots, &decision)?;
    let report = report::report(&facts, &slots, &decision, &emitted);
    Ok(HalfOutcome { model: emitted.model, conversions: emitted.conversions, report })
}

/// Bytes moved by a cast of one element: four read, two written, or the other way round.
const CAST_BYTES: u64 = 6;
/// What a cast costs however small it is: a kernel launch, in bytes that could be moved meanwhile.
const CAST_FIXED_BYTES: u64 = 2048;
/// Operators whose kernels gain far more from the half type than memory traffic.
const HEAVY: [&str; 12] = [
    "Conv",
    "ConvTranspose",
    "MatMul",
    "Gemm",
    "Einsum",
    "LSTM",
    "GRU",
    "RNN",
    "Attention",
    "MultiHeadAttention",
    "FusedMatMul",
    "FusedConv",
];
const HEAVY_GAIN: u64 = 16;

/// For each variable whether it changes.
fn decide(world: &World<'_>, slots: &Slots, n_elements: &[u64]) -> Vec<bool> {
    let mut problem = CutProblem::new(slots.variables.len());
    let mut rewards = vec![0u64; slots.variables.len()];
    for (value, variable) in &slots.makers {
        let node = slots.variables[*variable].node.and_then(|number| world.node(number));
        let gain = if node.is_some_and(|(_, _, node)| HEAVY.contains(&node.op_type.as_str())) { HEAVY_GAIN } else { 1 };
        rewards[*variable] = rewards[*variable].saturating_add(n_elements[*value].saturating_mul(2 * gain));
    }
    for ((number, index), variable) in &slots.inputs {
        let Some((scope, _, node)) = world.node(*number) else { continue };
        let Some(value) = node.input(*index).map(|id| world.definition[world.value(scope, id)]) else { continue };
        if !slots.makers.contains_key(&value) {
            rewards[*variable] = rewards[*variable].saturating_add(n_elements[value].saturating_mul(2));
        }
    }
    for (index, variable) in slots.variables.iter().enumerate() {
        match (&variable.stays, variable.must_change) {
            (Some(_), _) => problem.fix_far(index),
            (None, true) => problem.fix_near(index),
            (None, false) if index == BORDER => problem.fix_far(index),
            (None, false) => problem.reward(index, rewards[index]),
        }
    }
    let mut leaving: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for ((scope, output), variable) in slots.outputs.iter().filter(|((scope, _), _)| *scope > 0) {
        let value = world.value(*scope, world.scopes[*scope].graph.outputs()[*output]);
        // One value that leaves a body twice leaves it in one type.
        if let Some(other) = leaving.insert((*scope, value), *variable).filter(|other| other != variable) {
            problem.tie(other, *variable);
        }
    }
    for (value, mut members) in storage::readers(world, slots) {
        // A fixed tensor is converted on the desk, not at run time.
        let Some(maker) = slots.makers.get(&world.definition[value]) else { continue };
        members.push(*maker);
        members.sort_unstable();
        members.dedup();
        let is_at_border = members.contains(&BORDER);
        if is_at_border && members.len() > 1 {
            problem.net(&members, 1);
            members.retain(|member| *member != BORDER);
        }
        if members.len() > 1 {
            let size = n_elements[world.definition[value]];
            problem.net(&members, size.saturating_mul(CAST_BYTES).saturating_add(CAST_FIXED_BYTES));
        }
    }
    problem.solve()
}

#[cfg(test)]
mod tests;
