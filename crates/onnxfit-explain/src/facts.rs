//! What a log says, before anything is concluded from it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::clean::Clean;
use crate::context::Context;
use crate::explanation::Phase;
use crate::forms::{Hit, Kind, spaced};

/// A node that a message names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeMention {
    pub at: usize,
    pub end: usize,
    pub name: String,
    pub op_type: String,
}

/// Everything that was read out of a log.
pub(crate) struct Facts<'a> {
    pub text: String,
    pub prose: String,
    pub hits: Vec<Hit>,
    pub nodes: Vec<NodeMention>,
    pub primary: Option<Hit>,
    pub node: Option<String>,
    pub op_type: Option<String>,
    pub phase: Phase,
    pub dialects: BTreeSet<&'static str>,
    pub provider: Option<&'static str>,
    pub context: &'a Context<'a>,
}

static NODE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let pattern = r"Non-zero status code returned while running (?P<op>[^\s']+) node\. Name:\\?'(?P<name>[^'\\\n]*)\\?'(?: Status Message: )?";
    Regex::new(&spaced(pattern)).ok()
});

const NODES_MAX: usize = 500;

impl<'a> Facts<'a> {
    /// Reads the facts out of a cleaned log.
    pub(crate) fn read(clean: Clean, context: &'a Context<'a>) -> Self {
        let telling = |hits: &[Hit]| {
            let said =
                |hit: &&Hit| matches!(hit.kind, Kind::OutOfMemory | Kind::NotMemory) || hit.form == "cuda_call_failure";
            hits.iter().any(|hit| said(&hit))
        };
        let mut hits = crate::forms::read(&clean.flat);
        let mut text = clean.flat;
        if let Some(joined) = clean.joined {
            let glued = crate::forms::read(&joined);
            let more_nodes = nodes_in(&text).is_empty() && !nodes_in(&joined).is_empty() && telling(&glued);
            let nothing_flat = !telling(&hits) && (telling(&glued) || (hits.is_empty() && !glued.is_empty()));
            if nothing_flat || more_nodes || gains_a_size(&hits, &glued) {
                (text, hits) = (joined, glued);
            }
        }
        promote_survivable(&mut hits, &text);
        let nodes = nodes_in(&text);
        let primary = primary_of(&hits).cloned();
        let mention = primary.as_ref().map_or_else(|| chain_from(&nodes, 0), |hit| node_of(hit, &hits, &nodes));
        let (mut node, mut op_type) = match mention {
            Some(mention) => (Some(mention.name.clone()), Some(operator_of(&mention.op_type))),
            None => (None, None),
        };
        if mention.is_none() {
            let named = |hit: &&Hit| hit.node.is_some() || hit.op_type.is_some();
            if let Some(hit) = hits.iter().find(named) {
                (node, op_type) = (hit.node.clone(), hit.op_type.clone());
            }
        }
        let node = node.filter(|name| !name.is_empty());
        let op_type = op_type.or_else(|| Some(context.model?.op_type_of(node.as_deref()?)?.to_owned()));
        let prose = crate::words::prose_of(&without_machine_lines(&text, &hits, &nodes));
        let mut dialects: BTreeSet<&'static str> = clean.dialects.into_iter().collect();
        dialects.extend(crate::dialects::read(&text));
        // A title repeats the message without what stood before it.
        let said_last = hits.iter().rfind(|hit| {
            primary.as_ref().is_some_and(|primary| (hit.form, hit.requested) == (primary.form, primary.requested))
        });
        let phase = match phase_of(&text, primary.as_ref(), &nodes) {
            Phase::Unknown => phase_of(&text, said_last, &nodes),
            phase => phase,
        };
        let provider = provider_of(&text, &hits, node.as_deref());
        Self { text, prose, hits, nodes, primary, node, op_type, phase, dialects, provider, context }
    }

    /// Whether a form occurs anywhere.
    pub(crate) fn has(&self, form: &str) -> bool {
        self.hits.iter().any(|hit| hit.form == form)
    }

    /// The first hit of a form.
    pub(crate) fn hit(&self, form: &str) -> Option<&Hit> {
        self.hits.iter().find(|hit| hit.form == form)
    }

    /// The first hit of a kind.
    pub(crate) fn first(&self, kind: Kind) -> Option<&Hit> {
        self.hits.iter().find(|hit| hit.kind == kind)
    }

    /// Whether the deciding message is of this form.
    pub(crate) fn is(&self, form: &str) -> bool {
        self.primary.as_ref().is_some_and(|hit| hit.form == form)
    }

    /// The deciding message if it says that memory was refused.
    pub(crate) fn out_of_memory(&self) -> Option<&Hit> {
        self.primary.as_ref().filter(|hit| hit.kind == Kind::OutOfMemory)
    }

    /// Whether a machine's message decides; otherwise only prose does.
    pub(crate) fn has_machine_message(&self) -> bool {
        self.primary.as_ref().is_some_and(|hit| hit.kind != Kind::Trace)
    }

    /// What was asked for: by the deciding message, or by the first refusal that has a number.
    pub(crate) fn requested(&self) -> Option<u64> {
        let primary = self.primary.as_ref()?;
        if matches!(primary.kind, Kind::OutOfMemory | Kind::Survivable) {
            let refusals = self.hits.iter().filter(|hit| matches!(hit.kind, Kind::OutOfMemory | Kind::Survivable));
            // What was refused before the failing node was named is its own cause.
            return primary.requested.or_else(|| refusals.filter_map(|hit| hit.requested).next());
        }
        primary.requested
    }

    /// Whether the failing operator is a convolution.
    pub(crate) fn on_convolution(&self) -> bool {
        self.op_type.as_deref().is_some_and(|op| op.contains("Conv"))
    }

    /// Whether the failing node computes attention scores (rows x heads x length x length).
    pub(crate) fn on_attention(&self) -> bool {
        crate::attention::computes_scores(
            self.node.as_deref().unwrap_or(""),
            self.op_type.as_deref().unwrap_or(""),
            self.context.model,
        )
    }

    /// Whether the failing node looks words up in a table: rows x length x width.
    pub(crate) fn on_embedding(&self) -> bool {
        let name = self.node.as_deref().unwrap_or("").to_ascii_lowercase();
        matches!(self.op_type.as_deref(), Some("EmbedLayerNormalization"))
            || (self.op_type.as_deref() == Some("Gather") && name.contains("embed"))
    }

    /// Whether the process serves several models or workers.
    pub(crate) fn on_server(&self) -> bool {
        ["triton", "sagemaker", "gunicorn"].iter().any(|dialect| self.dialects.contains(dialect))
    }

    /// Whether this ran on Windows, where the card is also the desktop's.
    pub(crate) fn on_windows(&self) -> bool {
        self.dialects.contains("windows")
    }

    /// The number of different nodes that failed.
    pub(crate) fn failing_nodes(&self) -> usize {
        self.nodes.iter().map(|node| &node.name).collect::<BTreeSet<_>>().len()
    }
}

/// Whether only the glued reading has the size. Arenas ask for multiples of 256: gluing what does
/// not belong together gives another number.
fn gains_a_size(flat: &[Hit], glued: &[Hit]) -> bool {
    let first = |hits: &[Hit]| {
        let arena = hits.iter().find(|hit| hit.kind == Kind::OutOfMemory && hit.form.starts_with("bfc_"));
        arena.map(|hit| hit.requested)
    };
    first(flat) == Some(None) && first(glued).flatten().is_some_and(|bytes| bytes % 256 == 0)
}

fn nodes_in(text: &str) -> Vec<NodeMention> {
    let Some(pattern) = NODE.as_ref() else { return Vec::new() };
    let mentions = pattern.captures_iter(text).take(NODES_MAX).filter_map(|groups| {
        let whole = groups.get(0)?;
        Some(NodeMention {
            at: whole.start(),
            end: whole.end(),
            name: groups.name("name")?.as_str().to_owned(),
            op_type: groups.name("op")?.as_str().to_owned(),
        })
    });
    mentions.collect()
}

/// Follows messages that nest (Loop, BeamSearch): the innermost is the one that failed.
fn chain_from(nodes: &[NodeMention], start: usize) -> Option<&NodeMention> {
    let mut index = start;
    while nodes.get(index + 1).is_some_and(|next| next.at <= nodes[index].end + 4) {
        index += 1;
    }
    nodes.get(index)
}

fn node_of<'n>(hit: &Hit, hits: &[Hit], nodes: &'n [NodeMention]) -> Option<&'n NodeMention> {
    let earlier_failures = hits.iter().filter(|other| other.end <= hit.at && other.kind == hit.kind);
    let after = earlier_failures.map(|other| other.end).max().unwrap_or(0);
    let before = nodes.iter().rfind(|node| node.at >= after && node.at <= hit.at);
    // An executor names the node after the library has printed its own line.
    before.or_else(|| {
        let first = nodes.iter().position(|node| node.at >= hit.at)?;
        let failures_between = hits.iter().any(|other| {
            other.at >= hit.end
                && other.end <= nodes[first].at
                && other.kind == Kind::OutOfMemory
                && other.form != hit.form
                && !(other.form.starts_with("trt_") && hit.form.starts_with("trt_"))
        });
        if failures_between { None } else { chain_from(nodes, first) }
    })
}

/// TensorRT's nodes are named after their engine: `TRTKernel_graph_main_123_0`.
fn operator_of(op_type: &str) -> String {
    if op_type.starts_with("TRTKernel") { "TRTKernel".to_owned() } else { op_type.to_owned() }
}

/// A refusal that TensorRT survives is a failure if no engine came out.
fn promote_survivable(hits: &mut [Hit], text: &str) {
    let fatal = hits.iter().any(|hit| hit.kind == Kind::Fatal)
        || (text.contains("TRTKernel") && text.contains("Non-zero status"));
    let survivable = |hit: &&mut Hit| hit.kind == Kind::Survivable && hit.form.starts_with("trt_");
    if fatal {
        hits.iter_mut().filter(survivable).for_each(|hit| hit.kind = Kind::OutOfMemory);
    }
}

/// The hit that decides: the first refusal of memory, then what is certainly something else, then
/// what cannot be told.
fn primary_of(hits: &[Hit]) -> Option<&Hit> {
    // A wrapper's status says less than any message inside it.
    let inner = |hit: &&Hit| hit.form != "sagemaker_model_error";
    let order = [Kind::OutOfMemory, Kind::NotMemory, Kind::Survivable, Kind::Ambiguous, Kind::Fatal, Kind::Trace];
    let first = |kind: Kind| {
        let of_kind = || hits.iter().filter(move |hit| hit.kind == kind);
        of_kind()
            .filter(inner)
            .find(|hit| hit.form != "node_failed_cut" && hit.form != "wasm_numeric_exception")
            .or_else(|| of_kind().next())
    };
    order.into_iter().find_map(first)
}

fn without_machine_lines(text: &str, hits: &[Hit], nodes: &[NodeMention]) -> String {
    let mut out = String::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        let said = hits
            .iter()
            .any(|hit| (hit.kind != Kind::Trace || hit.form.starts_with("arena_")) && hit.at < end && hit.end > at)
            || nodes.iter().any(|node| node.at < end && node.end > at);
        if !said {
            out.push_str(line);
        }
        at = end;
    }
    out
}

fn phase_of(text: &str, primary: Option<&Hit>, nodes: &[NodeMention]) -> Phase {
    let start = primary.map_or(text.len(), |hit| hit.end);
    let before = &text[..start];
    let at = |words: &[&str]| words.iter().filter_map(|word| before.rfind(word)).max();
    let initialization = at(&[
        "Exception during initialization",
        "InferenceSession::Initialize",
        "load failed",
        "UNAVAILABLE",
        "Load model from",
        "create_inference_session",
        "TransformGraph",
    ]);
    let run = at(&["Non-zero status", "Error in execution"]);
    let run = run.or_else(|| nodes.first().map(|node| node.at));
    let copies = primary.is_some_and(|hit| hit.expression.starts_with("cudaMemcpy"));
    match (initialization, run) {
        _ if copies && initialization.is_none() => Phase::Copy,
        (Some(initialization), Some(run)) if initialization > run => Phase::Initialization,
        (_, Some(_)) => Phase::Run,
        (Some(_), None) => Phase::Initialization,
        (None, None) if text.contains("cudaFreeHost") || text.contains("~InferenceSession") => Phase::Teardown,
        (None, None) => Phase::Unknown,
    }
}

/// The provider that was running; a list of available ones says nothing.
fn provider_of(text: &str, hits: &[Hit], node: Option<&str>) -> Option<&'static str> {
    let lower = text.to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let form = |prefix: &str| hits.iter().any(|hit| hit.form.starts_with(prefix));
    if node.is_some_and(|name| name.ends_with("_nchwc")) || any(&["ep: cpu", "provider: cpu"]) {
        return Some("CPU");
    }
    if form("ep_") || form("rust_tracing") || any(&["falling back to cpu"]) {
        return Some("CPU");
    }
    if form("trt_") || any(&["tensorrt"]) {
        return Some("TensorRT");
    }
    if form("dml_") || any(&["directml", "dmlexecutionprovider"]) {
        return Some("DirectML");
    }
    if form("hip_") || any(&["rocmexecutionprovider", "migraphx"]) {
        return Some("ROCm");
    }
    if form("webgpu") {
        return Some("WebGPU");
    }
    if form("wasm_") {
        return Some("WebAssembly");
    }
    if form("cuda_") || any(&["cudaexecutionprovider", "bfcarena for cuda", "gpu_mem_limit", "gpu:0"]) {
        return Some("CUDA");
    }
    if any(&["cpuexecutionprovider", "bfcarena for cpu"]) {
        return Some("CPU");
    }
    None
}
