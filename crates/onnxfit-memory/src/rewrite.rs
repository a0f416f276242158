//! ONNX Runtime's own graph transforms, so that a model straight from the exporter is predicted as
//! it will run.
//!
//! [`rewrite`] takes a model through the steps of `InferenceSession::TransformGraph`
//! (inference_session.cc, ORT 1.31): constants become initializers, level 1 runs up to ten rounds,
//! nodes are placed on a provider, level 2 runs, casts are inserted around nodes that have no
//! kernel for their type. One file per transform, one line per transform in `registry.rs`, in the
//! runtime's own order. New nodes get ids above all old ones, in the order the runtime makes them,
//! so the execution order that follows from ids is the runtime's.

pub(crate) mod constant_node;
pub(crate) mod content;
mod infer;
mod net;
mod quantize_propagation;
mod quantized;
mod registry;

mod common_subexpressions;
mod constant_sharing;
mod double_pairs;
mod fold;
mod functions;
mod fusion;
mod insert_cast;
mod kernels;
mod light;
mod placement;
mod rules;
mod transpose;
mod unique_dequantize;
mod weight_bias;
mod where_dummy;

use std::cell::OnceCell;
use std::sync::Arc;

use onnxfit_base::Diagnostic;
use onnxfit_graph::Model;
use onnxfit_onnx::TensorSource;
use onnxfit_shape::{Bindings, Fact, Inference, infer};

use net::Net;

pub use content::FOLDED_LOCATION;
pub use light::rewrite_at_a_glance;

/// The domain of ONNX Runtime's own operators.
const MS: &str = "com.microsoft";
/// How often a level runs at most (`GraphTransformerManager`, steps_).
const N_STEPS_MAX: usize = 10;
/// External tensors up to this size are read, because shapes may depend on what they hold.
const READ_BYTES_MAX: u64 = 64 << 10;

/// `GraphOptimizationLevel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only what every session does.
    Disable,
    /// ONNX operators only.
    Basic,
    /// Also ONNX Runtime's own operators.
    Extended,
    /// Also layout changes; those of the CPU provider are not imitated.
    #[default]
    All,
}

/// Where the nodes run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Provider {
    /// The CPU provider.
    #[default]
    Cpu,
    /// The CUDA provider, the CPU for what it does not know.
    Cuda,
}

/// How the session is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewriteOptions {
    /// The optimization level.
    pub level: Level,
    /// The provider.
    pub provider: Provider,
    /// Release of ONNX Runtime, as 1.31 is `(1, 31)`.
    pub ort_version: (u32, u32),
    /// `optimization.constant_folding_max_output_size_in_bytes`; 0 is no limit.
    pub constant_folding_max_bytes: u64,
    /// Transforms and rules to leave out, by ONNX Runtime's names.
    pub disabled_optimizers: Vec<String>,
}

impl Default for RewriteOptions {
    fn default() -> Self {
        Self {
            level: Level::default(),
            provider: Provider::default(),
            ort_version: (1, 31),
            constant_folding_max_bytes: 1 << 30,
            disabled_optimizers: Vec::new(),
        }
    }
}

/// A rewritten model.
#[derive(Clone, Debug)]
pub struct RewriteOutcome {
    /// The model as the runtime will run it.
    pub model: Model,
    /// Which transforms changed something, in order, and how often.
    pub applied: Vec<(&'static str, usize)>,
    /// What could not be followed.
    pub diagnostics: Vec<Diagnostic>,
}

/// Everything a transform may know besides the graph.
pub(crate) struct Context<'a> {
    pub(crate) options: &'a RewriteOptions,
    /// Whether the model defines functions of its own.
    pub(crate) has_functions: bool,
    /// The model as it was given.
    model: &'a Model,
    /// What shape inference knows of its values, found when it is first asked.
    facts: OnceCell<Inference>,
}

impl Context<'_> {
    /// What shape inference knows of a value of the main graph.
    pub(crate) fn fact(&self, name: &str) -> Option<&Fact> {
        let value = self.model.graph.value_named(name)?;
        self.facts.get_or_init(|| infer(self.model, &Bindings::default())).graph.get(value)
    }
}

/// Rewrites a model as ONNX Runtime would on loading it.
///
/// Weights may be absent: a tensor folded from them is then known by type and shape only, and
/// points to [`FOLDED_LOCATION`].
pub fn rewrite(model: &Model, options: &RewriteOptions, weights: Option<&dyn TensorSource>) -> RewriteOutcome {
    let opsets = Arc::new(model.opset_imports().clone());
    let mut net = Net::from_graph(&model.graph, &opsets, model.ir_version() >= 4);
    if let Some(weights) = weights {
        net.read_small_constants(weights, READ_BYTES_MAX);
    }
    let mut diagnostics = not_imitated(model, options);
    let has_functions = !model.functions().is_empty();
    let context = Context { options, has_functions, model, facts: OnceCell::new() };
    let applied = registry::run(&mut net, &context);
    let mut result = model.clone();
    match net.patch(&model.graph).and_then(|patch| result.graph.apply(&patch)) {
        Ok(()) => {
            if options.level >= Level::Extended {
                result.import_opset(MS, 1);
            }
        }
        Err(error) => {
            let message = format!("ONNX Runtime's graph rewrites could not be followed: {error}");
            diagnostics.push(Diagnostic::warning("rewrite-failed", message));
            result = model.clone();
        }
    }
    RewriteOutcome { model: result, applied, diagnostics }
}

/// What this module knows it leaves out, where it may matter.
fn not_imitated(model: &Model, options: &RewriteOptions) -> Vec<Diagnostic> {
    let mut notes = Vec::new();
    let has = |op_type: &str| model.graph.nodes().any(|(_, node)| node.is(op_type));
    if options.level == Level::All && options.provider == Provider::Cpu && has("Conv") {
        let message = "level `all` changes the layout of convolutions on the CPU provider, which is not imitated";
        let hint = "measure with level `extended`, or predict from the graph that the runtime dumps";
        notes.push(Diagnostic::note("layout-not-imitated", message).with_hint(hint));
    }
    let defines = |domain: &str, op_type: &str| {
        model.functions().iter().any(|function| function.name() == op_type && function.domain() == domain)
    };
    if let Some((id, node)) = model.graph.nodes().find(|(_, node)| defines(&node.domain, &node.op_type)) {
        let label = model.graph.node_label(id);
        let message = format!("`{label}` calls the model's own function `{}`, which is not inlined", node.op_type);
        notes.push(Diagnostic::warning("function-not-inlined", message));
    }
    notes
}

#[cfg(test)]
mod tests;
