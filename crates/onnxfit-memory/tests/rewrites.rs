//! The rewritten zoo against what ONNX Runtime itself dumped at each level (CPU provider).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use onnxfit_graph::{Graph, Model, NodeId};
use onnxfit_memory::lower::lower;
use onnxfit_memory::rewrite::{Level, RewriteOptions, rewrite, rewrite_at_a_glance};
use onnxfit_onnx::ModelFile;

const ZOO: &str = include_str!("data/rewrites.txt");
const PATTERNS: &str = include_str!("data/patterns.txt");

fn graphs() -> Option<PathBuf> {
    let shared = std::env::var_os("ONNXFIT_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let folder = shared.join("zoo/graphs");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {} is not there", folder.display());
    None
}

fn level(name: &str) -> Level {
    match name {
        "disable" => Level::Disable,
        "basic" => Level::Basic,
        _ => Level::Extended,
    }
}

/// The runtime's order: depth first from the leaves, the last one first.
fn order(graph: &Graph) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    ids.sort();
    let is_leaf =
        |id: &NodeId| graph.node(*id).outputs.iter().flatten().all(|value| graph.value(*value).uses.is_empty());
    let mut stack: Vec<(NodeId, bool)> = ids.into_iter().filter(is_leaf).map(|id| (id, false)).collect();
    let (mut seen, mut sorted) = (BTreeSet::new(), Vec::new());
    while let Some((id, leaving)) = stack.pop() {
        if leaving {
            sorted.push(id);
        } else if seen.insert(id) {
            stack.push((id, true));
            let node = graph.node(id);
            let inputs = node.inputs.iter().flatten().chain(&node.implicit_inputs);
            let before: BTreeSet<NodeId> = inputs.filter_map(|value| Some(graph.value(*value).producer?.0)).collect();
            stack.extend(before.into_iter().filter(|id| !seen.contains(id)).map(|id| (id, false)));
        }
    }
    sorted
}

/// The operators in execution order; a body follows its node in brackets.
///
/// A dump repeats a body that was not rewritten as the file has it, so bodies come in either order.
fn sequence(graph: &Graph, bodies_by_file: bool, is_body: bool) -> Vec<String> {
    let mut words = Vec::new();
    let ids: Vec<NodeId> =
        if is_body && bodies_by_file { graph.nodes().map(|(id, _)| id).collect() } else { order(graph) };
    for id in ids {
        let node = graph.node(id);
        let mut word =
            if node.domain.is_empty() { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
        let bodies: BTreeMap<&str, String> =
            node.subgraphs().map(|(name, graph)| (name, sequence(graph, bodies_by_file, true).join(" "))).collect();
        if !bodies.is_empty() {
            let inner: Vec<String> = bodies.iter().map(|(name, ops)| format!("{name}:{ops}")).collect();
            let _ = write!(word, "[{}]", inner.join("|"));
        }
        words.push(word);
    }
    words
}

fn counts(graph: &Graph, into: &mut BTreeMap<String, i64>) {
    for (_, node) in graph.nodes() {
        let name =
            if node.domain.is_empty() { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
        *into.entry(name).or_default() += 1;
        for (_, body) in node.subgraphs() {
            counts(body, into);
        }
    }
}

/// FNV-1a, as the script that writes the table.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

struct Row<'a> {
    model: &'a str,
    level: &'a str,
    order: u64,
    counts: BTreeMap<String, i64>,
}

fn rows(table: &'static str) -> impl Iterator<Item = Row<'static>> {
    table.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("the table has four columns and more");
        let (model, level, order) = (word(), word(), word());
        let counts = words.map(|word| {
            let (name, count) = word.rsplit_once(':').expect("a count follows its operator");
            (name.to_owned(), count.parse().expect("a count is a number"))
        });
        Row {
            model,
            level,
            order: u64::from_str_radix(order, 16).expect("a hash is hexadecimal"),
            counts: counts.collect(),
        }
    })
}

#[test]
fn the_zoo_is_rewritten_as_onnx_runtime_does() {
    if let Some(folder) = graphs() {
        compare(ZOO, &folder);
    }
}

#[test]
fn every_pattern_is_rewritten_as_onnx_runtime_does() {
    compare(PATTERNS, &PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/patterns"));
}

#[test]
fn a_graph_that_is_rewritten_at_a_glance_gives_the_program_that_the_rewrites_give() {
    let Some(folder) = graphs() else { return };
    let options = RewriteOptions { level: Level::Disable, ..RewriteOptions::default() };
    let models: BTreeSet<&str> = rows(ZOO).map(|row| row.model).collect();
    let (mut n_unchanged, mut n_changed) = (0, 0);
    for name in models {
        let file = ModelFile::open(folder.join(format!("{name}.onnx"))).expect("a zoo graph opens");
        let model = Model::from_proto(&file.proto).expect("a zoo graph is sound");
        let Some(light) = rewrite_at_a_glance(&model, &options) else { continue };
        match light {
            Cow::Borrowed(_) => n_unchanged += 1,
            Cow::Owned(_) => n_changed += 1,
        }
        let full = rewrite(&model, &options, None).model;
        assert!(format!("{:?}", lower(&light)) == format!("{:?}", lower(&full)), "{name}");
    }
    assert!(n_unchanged >= 30 && n_changed >= 5, "{n_unchanged} and {n_changed} at a glance");
}

/// Rewrites all models of a table and compares nodes and order with it.
fn compare(table: &'static str, folder: &Path) {
    let dump = std::env::var_os("ONNXFIT_REWRITES_DUMP").map(PathBuf::from);
    let only = std::env::var("ONNXFIT_REWRITES_ONLY").ok();
    let mut report = String::new();
    let mut differing = String::new();
    let mut totals: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for row in rows(table) {
        if only.as_ref().is_some_and(|only| only != row.model) {
            continue;
        }
        let file = ModelFile::open(folder.join(format!("{}.onnx", row.model))).expect("a zoo graph opens");
        let model = Model::from_proto(&file.proto).expect("a zoo graph is sound");
        let options = RewriteOptions { level: level(row.level), ..RewriteOptions::default() };
        let outcome = rewrite(&model, &options, None);
        for diagnostic in &outcome.diagnostics {
            let _ = writeln!(report, "{} {}: {diagnostic}", row.model, row.level);
        }
        let mut ours = BTreeMap::new();
        counts(&outcome.model.graph, &mut ours);
        let words = sequence(&outcome.model.graph, false, false);
        if let Some(dump) = &dump {
            std::fs::write(dump.join(format!("{}.{}.txt", row.model, row.level)), words.join("\n"))
                .expect("a folder to write to");
        }
        let names: BTreeSet<&String> = ours.keys().chain(row.counts.keys()).collect();
        let difference: Vec<String> = names
            .into_iter()
            .filter_map(|name| {
                let (have, want) = (ours.get(name).unwrap_or(&0), row.counts.get(name).unwrap_or(&0));
                (have != want).then(|| format!("{name} {have}/{want}"))
            })
            .collect();
        let by_file = sequence(&outcome.model.graph, true, false);
        let same_order = [&words, &by_file].iter().any(|words| hash(&words.join(" ")) == row.order);
        let total = totals.entry(row.level).or_default();
        total[0] += 1;
        total[1] += usize::from(difference.is_empty());
        total[2] += usize::from(same_order);
        if !difference.is_empty() {
            let _ = writeln!(differing, "{} {} nodes", row.model, row.level);
            let _ = writeln!(report, "{} {}: {}", row.model, row.level, difference.join(", "));
        } else if !same_order {
            let _ = writeln!(differing, "{} {} order", row.model, row.level);
            let _ = writeln!(report, "{} {}: order only", row.model, row.level);
        }
    }
    for (level, [n, nodes, orders]) in &totals {
        let _ = writeln!(report, "{level}: {nodes} of {n} equal in nodes, {orders} in order");
    }
    eprintln!("{report}");
    assert_eq!(differing, "", "{report}");
}
