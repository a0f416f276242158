//! The message grammars: one file per form, one registry.
//!
//! A pattern writes a space where any white space, box border or nothing at all may stand: logs
//! come wrapped. Named groups fill a [`Hit`]; `refine` decides what a group's value means.

mod arena_cut;
mod arena_limit;
mod arena_no_block;
mod arena_refused;
mod arena_trace;
mod bad_alloc;
mod cuda_call;
mod cuda_executing;
mod cuda_graph;
mod cuda_name;
mod directml;
mod docker_stats;
mod driver;
mod illegal;
mod java;
mod kill;
mod memory_pattern;
mod mempool;
mod migraphx;
mod not_enough_space;
mod other_frameworks;
mod pinned;
mod platform;
mod protobuf;
mod provider_load;
mod safeint;
mod sagemaker;
mod shape;
mod shrink_list;
mod smi;
mod status_name;
mod status_other;
mod tensorrt;
mod type_error;
mod unknown_option;
mod wasm;

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What a form says by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Memory was refused.
    OutOfMemory,
    /// Memory was refused and the program went on: decided by what follows.
    Survivable,
    /// Certainly something else.
    NotMemory,
    /// Memory or something else; the text cannot tell.
    Ambiguous,
    /// No failure: a trace of the allocator or a measurement.
    Trace,
    /// What a survivable refusal needs to be a failure.
    Fatal,
}

/// One grammar.
pub(crate) struct Form {
    /// The stable id, as in `form` of the JSON.
    pub id: &'static str,
    /// What it says by itself.
    pub kind: Kind,
    /// The pattern; see the module text for spaces.
    pub pattern: &'static str,
    /// Decides what the groups mean; `false` drops the hit.
    pub refine: fn(&mut Hit, &Captures<'_>, &str) -> bool,
}

/// One place in the log that matches a form.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub form: &'static str,
    pub kind: Kind,
    pub at: usize,
    pub end: usize,
    pub text: String,
    pub requested: Option<u64>,
    pub available: Option<u64>,
    pub limit: Option<u64>,
    pub device: Option<u64>,
    pub library: Option<String>,
    pub status: String,
    pub expression: String,
    pub host: Option<String>,
    /// A node that the message itself names.
    pub node: Option<String>,
    pub op_type: Option<String>,
    /// The named arena or memory, as printed.
    pub arena: Option<String>,
}

impl Hit {
    /// Whether the failing call only creates a handle, stream or event: it has no size of its own.
    pub(crate) fn is_handle_creation(&self) -> bool {
        const CALLS: &[&str] = &["Create", "cudaSetDevice", "cudaEvent", "cudaStream"];
        CALLS.iter().any(|call| self.expression.contains(call))
    }
}

/// Keeps a hit as it is.
pub(crate) fn as_is(_: &mut Hit, _: &Captures<'_>, _: &str) -> bool {
    true
}

const REGISTRY: &[&[Form]] = &[
    arena_limit::FORMS,
    arena_refused::FORMS,
    arena_no_block::FORMS,
    arena_cut::FORMS,
    arena_trace::FORMS,
    mempool::FORMS,
    migraphx::FORMS,
    memory_pattern::FORMS,
    cuda_call::FORMS,
    cuda_executing::FORMS,
    cuda_name::FORMS,
    cuda_graph::FORMS,
    safeint::FORMS,
    bad_alloc::FORMS,
    tensorrt::FORMS,
    provider_load::FORMS,
    driver::FORMS,
    illegal::FORMS,
    status_name::FORMS,
    status_other::FORMS,
    pinned::FORMS,
    shrink_list::FORMS,
    type_error::FORMS,
    unknown_option::FORMS,
    shape::FORMS,
    protobuf::FORMS,
    not_enough_space::FORMS,
    directml::FORMS,
    wasm::FORMS,
    java::FORMS,
    kill::FORMS,
    platform::FORMS,
    sagemaker::FORMS,
    other_frameworks::FORMS,
    docker_stats::FORMS,
    smi::FORMS,
];

static COMPILED: LazyLock<Vec<(&'static Form, Regex)>> = LazyLock::new(|| {
    let forms = REGISTRY.iter().flat_map(|forms| forms.iter());
    forms.filter_map(|form| Some((form, Regex::new(&spaced(form.pattern)).ok()?))).collect()
});

/// Hits of one form that are looked at.
const HITS_MAX: usize = 200;

/// A space of a pattern matches any white space and box borders, or nothing.
pub(crate) fn spaced(pattern: &str) -> String {
    pattern.replace(' ', r"[\s│┃║|]*")
}

/// Every hit in the text, in order.
pub(crate) fn read(text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    for (form, pattern) in COMPILED.iter() {
        for groups in pattern.captures_iter(text).take(HITS_MAX) {
            let Some(whole) = groups.get(0) else { continue };
            let mut hit = hit_of(form, &groups, text, whole.start(), whole.end());
            if (form.refine)(&mut hit, &groups, text) {
                hits.push(hit);
            }
        }
    }
    hits.sort_by_key(|hit| (hit.at, hit.kind));
    hits
}

fn hit_of(form: &'static Form, groups: &Captures<'_>, text: &str, at: usize, end: usize) -> Hit {
    let string = |name: &str| groups.name(name).map(|group| group.as_str().to_owned());
    let size = |name: &str| groups.name(name).and_then(|group| size_at(text, group.start(), group.end()));
    Hit {
        form: form.id,
        kind: form.kind,
        at,
        end,
        text: excerpt(&text[at..end]),
        requested: size("requested"),
        available: size("available"),
        limit: size("limit"),
        device: None,
        library: string("library"),
        status: string("status").unwrap_or_default(),
        expression: string("expression").unwrap_or_default(),
        host: None,
        node: string("node").filter(|name| !name.is_empty()),
        op_type: string("op").filter(|name| !name.is_empty()),
        arena: string("arena"),
    }
}

/// A number; if the line ends in it, the next begins with digits and only both together are what
/// an arena asks for (a multiple of 256), the terminal cut it and the two are one.
fn size_at(text: &str, start: usize, end: usize) -> Option<u64> {
    let part = &text[start..end];
    let value = crate::number::parse(part)?;
    if value % 256 == 0 || !text[end..].starts_with('\n') {
        return Some(value);
    }
    let rest = text[end..].trim_start_matches(['\n', ' ', '\t', '│', '┃', '║', '|']);
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits == 0 || rest[digits..].starts_with(['-', ':', '.']) {
        return Some(value);
    }
    let whole = crate::number::parse(&format!("{part}{}", &rest[..digits]));
    Some(whole.filter(|whole| whole % 256 == 0).unwrap_or(value))
}

/// At most 240 characters on one line.
pub(crate) fn excerpt(text: &str) -> String {
    let flat: Vec<&str> = text.split_whitespace().collect();
    let flat = flat.join(" ");
    match flat.char_indices().nth(240) {
        Some((cut, _)) => format!("{}…", &flat[..cut]),
        None => flat,
    }
}

#[cfg(test)]
mod tests;
