//! `cargo xtask zoo`: every real architecture at hand through `onnxfit check`, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::runner::{release_binary, root};

/// What one graph gave.
struct Row {
    name: String,
    n_nodes: u64,
    seconds: f64,
    verdict: String,
    without_rule: Vec<String>,
    n_unknown: u64,
    other: usize,
}

/// Writes `results/zoo.md`.
pub(crate) fn zoo() -> Result<()> {
    let binary = release_binary()?;
    let first = first_rows()?;
    let graphs = graphs()?;
    let mut rows = Vec::new();
    for (index, graph) in graphs.iter().enumerate() {
        eprint!("\r{}/{} ", index + 1, graphs.len());
        rows.push(check(&binary, graph, &first)?);
    }
    eprintln!();
    let path = root().join("results/zoo.md");
    std::fs::create_dir_all(path.parent().context("the table has a folder")?)?;
    std::fs::write(&path, table(&rows))?;
    println!("{}", summary(&rows));
    Ok(())
}

/// The folder beside the repository that holds the zoo.
pub(crate) fn shared() -> PathBuf {
    std::env::var_os("ONNXFIT_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from)
}

/// The zoo's graphs, by name.
pub(crate) fn graphs() -> Result<Vec<PathBuf>> {
    let folder = shared().join("zoo/graphs");
    let mut graphs: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| format!("no zoo in {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .collect();
    graphs.sort();
    Ok(graphs)
}

/// The arguments that bind the sizes of each graph's first measured row.
pub(crate) fn first_rows() -> Result<BTreeMap<String, Vec<String>>> {
    let path = shared().join("zoo/ground-truth.jsonl");
    let text = std::fs::read_to_string(&path).with_context(|| format!("no measurements in {}", path.display()))?;
    let mut first: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line)?;
        let shapes = row["inputs"].as_object().into_iter().flatten().map(|(name, input)| {
            let sizes = input.as_array().into_iter().flatten().skip(1).map(ToString::to_string);
            format!("{name}:{}", sizes.collect::<Vec<_>>().join(","))
        });
        let dims = row["variant"].as_object().into_iter().flatten();
        let dims = dims.filter_map(|(name, size)| Some(format!("{name}={}", size.as_i64()?)));
        let arguments = shapes.flat_map(|shape| ["--shape".to_owned(), shape]);
        let arguments = arguments.chain(dims.flat_map(|dim| ["--dim".to_owned(), dim])).collect();
        first.entry(row["model"].as_str().unwrap_or_default().to_owned()).or_insert(arguments);
    }
    Ok(first)
}

fn check(binary: &Path, graph: &Path, first: &BTreeMap<String, Vec<String>>) -> Result<Row> {
    let name = graph.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = first.get(&name).cloned().unwrap_or_default();
    let mut fastest = Duration::MAX;
    let mut answer = Value::Null;
    // The best of three: the others measure what else the machine was doing.
    for _ in 0..3 {
        let start = Instant::now();
        let output =
            Command::new(binary).arg("check").arg(graph).args(["--on", "T4", "--json"]).args(&arguments).output()?;
        fastest = fastest.min(start.elapsed());
        if !matches!(output.status.code(), Some(0..=2)) || output.stdout.is_empty() {
            bail!("{name}: {}", String::from_utf8_lossy(&output.stderr));
        }
        answer = serde_json::from_slice(&output.stdout).with_context(|| name.clone())?;
    }
    let mut row = Row {
        name,
        n_nodes: n_nodes(graph)?,
        seconds: fastest.as_secs_f64(),
        verdict: answer["verdict"].as_str().unwrap_or("?").to_owned(),
        without_rule: Vec::new(),
        n_unknown: 0,
        other: 0,
    };
    for diagnostic in answer["diagnostics"].as_array().into_iter().flatten() {
        let message = diagnostic["message"].as_str().unwrap_or("");
        match diagnostic["id"].as_str().unwrap_or("") {
            "unknown-operator" | "no-shape-rule" => row.without_rule.push(message.to_owned()),
            "unknown-size" => row.n_unknown += message.split(' ').find_map(|word| word.parse().ok()).unwrap_or(1),
            _ => row.other += 1,
        }
    }
    Ok(row)
}

/// Nodes as the file counts them, by asking the command for nothing but its reading of the file.
fn n_nodes(graph: &Path) -> Result<u64> {
    let output =
        Command::new(release_binary()?).arg("check").arg(graph).args(["--opt-level", "disable", "--json"]).output()?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    Ok(answer["n_nodes"].as_u64().unwrap_or(0))
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "# Every real architecture through `onnxfit check`\n\n\
         Made by `cargo xtask zoo`: the whole process, best of three, no weights read, the sizes of the first measured row, on a T4.\n\n\
         | graph | nodes | seconds | verdict | values of unknown size | operators without a rule |\n\
         |---|---:|---:|---|---:|---|\n",
    );
    for row in rows {
        let without = if row.without_rule.is_empty() { "none".to_owned() } else { row.without_rule.join("; ") };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {} | {} | {without} |",
            row.name, row.n_nodes, row.seconds, row.verdict, row.n_unknown
        );
    }
    text.push('\n');
    text.push_str(&summary(rows));
    text.push('\n');
    text
}

fn summary(rows: &[Row]) -> String {
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *verdicts.entry(&row.verdict).or_default() += 1;
    }
    let verdicts: Vec<String> = verdicts.iter().map(|(verdict, n)| format!("{n} {verdict}")).collect();
    let slowest = rows.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
    format!(
        "{} graphs: {}; {} with an operator without a rule; {} with a value of unknown size; slowest {}.",
        rows.len(),
        verdicts.join(", "),
        rows.iter().filter(|row| !row.without_rule.is_empty()).count(),
        rows.iter().filter(|row| row.n_unknown > 0).count(),
        slowest.map_or_else(String::new, |row| format!(
            "{} with {:.3} s for {} nodes",
            row.name, row.seconds, row.n_nodes
        )),
    )
}
