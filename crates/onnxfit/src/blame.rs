//! Who is to blame at the peak: layers by name, and one sentence.

use std::collections::BTreeMap;

use onnxfit_base::Bytes;
use onnxfit_graph::Graph;
use onnxfit_memory::peak::{Moment, Part};
use onnxfit_memory::trace::OwnerKind;
use onnxfit_report::blame::LayerView;

/// Layers below this share of the peak are shown together.
const SHARE_MIN: u64 = 500;

/// The parts of a moment as a tree of name prefixes, which sums to them exactly.
pub(crate) fn layers(moment: &Moment, graph: &Graph) -> Vec<LayerView> {
    let readers = readers(graph);
    let mut root = Branch::default();
    for part in &moment.parts {
        root.add(&path(part, &readers), part);
    }
    let smallest = Bytes(moment.bytes().get() / SHARE_MIN);
    root.views(smallest)
}

/// One sentence: what most of the bytes at the peak are.
pub(crate) fn dominant(moment: &Moment) -> String {
    use OwnerKind::*;
    let total = moment.bytes();
    if total == Bytes::ZERO {
        return String::new();
    }
    let groups: [(&str, &[OwnerKind]); 5] = [
        ("weights", &[Weight, Prepacked]),
        ("tensors between nodes", &[Activation]),
        ("inputs and outputs", &[Feed, Output, OutputCopy]),
        ("kernel workspace", &[Scratch]),
        ("the memory pattern's unoccupied space", &[PatternBlock, PatternGap]),
    ];
    let percent = |bytes: Bytes| format!("{:.0} %", 100.0 * bytes.ratio_to(total));
    let mut sums: Vec<(Bytes, &str, &[OwnerKind])> =
        groups.iter().map(|(name, kinds)| (moment.bytes_of(kinds), *name, *kinds)).collect();
    sums.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
    let (largest, name, kinds) = sums[0];
    let is_most = largest.get() * 2 > total.get();
    let mut sentence = if is_most {
        format!("{name} dominate: {largest} of {total} ({})", percent(largest))
    } else {
        let (second, other, _) = sums[1];
        format!("nothing dominates: {name} {}, {other} {}, of {total}", percent(largest), percent(second))
    };
    let tensor = moment.parts.iter().find(|part| kinds.contains(&part.owner.kind) && !part.owner.name.is_empty());
    if let Some(part) = tensor.filter(|part| part.owner.kind != PatternGap) {
        let made = if part.owner.node.is_empty() { String::new() } else { format!(" of `{}`", part.owner.node) };
        sentence.push_str(&format!("; the largest is `{}`{made} with {}", part.owner.name, part.bytes));
    }
    if sentence.starts_with("kernel workspace") || sentence.starts_with("the memory") {
        sentence = sentence.replacen("dominate:", "dominates:", 1);
    }
    sentence
}

/// For each initializer the first node that reads it.
fn readers(graph: &Graph) -> BTreeMap<&str, &str> {
    let first_reader = |id| {
        let value = graph.value(id);
        let reader = graph.get_node(value.uses.first()?.node)?;
        Some((value.name.as_str(), reader.name.as_str()))
    };
    let constants = graph.nodes().filter(|(_, node)| node.is("Constant")).filter_map(|(_, node)| node.output(0));
    graph.initializers().iter().copied().chain(constants).filter_map(first_reader).collect()
}

/// Where a part belongs: parts of a layer's name, outermost first.
fn path(part: &Part, readers: &BTreeMap<&str, &str>) -> Vec<String> {
    let owner = &part.owner;
    match owner.kind {
        OwnerKind::PatternGap | OwnerKind::PatternBlock => vec!["(memory pattern, unoccupied)".to_owned()],
        OwnerKind::Feed => vec!["(inputs)".to_owned()],
        OwnerKind::Weight | OwnerKind::Prepacked => {
            let own = scopes(&owner.name);
            let reader = readers.get(owner.name.as_ref()).copied().unwrap_or(&owner.node);
            if owner.name.contains("::") || own.is_empty() { named(scopes(reader)) } else { own }
        }
        _ => {
            let by_node = scopes(&owner.node);
            // What fusions make may have no name of its own; its result keeps the old one.
            named(if by_node.is_empty() { scopes(&owner.name) } else { by_node })
        }
    }
}

fn named(path: Vec<String>) -> Vec<String> {
    if path.is_empty() { vec!["(no layer in the name)".to_owned()] } else { path }
}

/// `/layer1/layer1.0/conv1/Conv` and the weight `layer1.0.conv1.weight` both lie in `layer1`, `0`, `conv1`.
fn scopes(name: &str) -> Vec<String> {
    let is_path = name.contains('/');
    let mut parts: Vec<&str> = name.split(if is_path { '/' } else { '.' }).filter(|part| !part.is_empty()).collect();
    // The last part is the tensor or the operator.
    parts.pop();
    let mut path: Vec<String> = Vec::new();
    for part in parts {
        let words: Vec<&str> = part.split('.').filter(|word| !word.is_empty()).collect();
        // Exporters repeat the modules that an indexed one lies in: `features.1`, `features.1.0`.
        let is_repeated = |n: &usize| path[path.len() - n..].iter().eq(&words[..*n]);
        let n_repeated = (1..words.len().min(path.len() + 1)).rev().find(is_repeated).unwrap_or(0);
        path.extend(words[n_repeated..].iter().map(|&word| word.to_owned()));
    }
    path
}

/// A node of the tree while it grows.
#[derive(Default)]
struct Branch {
    bytes: Bytes,
    weights: Bytes,
    /// Bytes of the branch that lie in none of its own branches.
    own: Bytes,
    own_weights: Bytes,
    branches: BTreeMap<String, Branch>,
}

impl Branch {
    fn add(&mut self, path: &[String], part: &Part) {
        let is_weight = matches!(part.owner.kind, OwnerKind::Weight | OwnerKind::Prepacked);
        let weights = if is_weight { part.bytes } else { Bytes::ZERO };
        let mut branch = self;
        for name in path {
            branch.bytes += part.bytes;
            branch.weights += weights;
            branch = branch.branches.entry(name.clone()).or_default();
        }
        branch.bytes += part.bytes;
        branch.weights += weights;
        branch.own += part.bytes;
        branch.own_weights += weights;
    }

    /// The branches as views, largest first, small ones together.
    fn views(self, smallest: Bytes) -> Vec<LayerView> {
        let mut views = Vec::new();
        let mut small = LayerView::default();
        let mut n_small = 0;
        let own = Branch { bytes: self.own, weights: self.own_weights, ..Branch::default() };
        let with_own = self.branches.into_iter().chain((own.bytes > Bytes::ZERO).then(|| ("(itself)".to_owned(), own)));
        for (name, branch) in with_own {
            if branch.bytes <= smallest {
                n_small += 1;
                small.bytes = (small.bytes.0 + branch.bytes).into();
                small.weights_bytes = (small.weights_bytes.0 + branch.weights).into();
                continue;
            }
            let (bytes, weights) = (branch.bytes, branch.weights);
            let (name, branch) = branch.collapsed(name);
            let layers = if branch.branches.is_empty() { Vec::new() } else { branch.views(smallest) };
            views.push(LayerView { name, bytes: bytes.into(), weights_bytes: weights.into(), layers });
        }
        views.sort_by(|left, right| right.bytes.cmp(&left.bytes).then_with(|| left.name.cmp(&right.name)));
        if n_small > 0 {
            small.name = format!("({n_small} small)");
            views.push(small);
        }
        views
    }

    /// A branch with one branch and nothing else is that branch under a longer name.
    fn collapsed(mut self, mut name: String) -> (String, Self) {
        while self.branches.len() == 1 && self.own == Bytes::ZERO {
            if let Some((inner, branch)) = self.branches.pop_first() {
                name = format!("{name}/{inner}");
                self = branch;
            }
        }
        (name, self)
    }
}

#[cfg(test)]
mod tests;
