//! `cargo xtask unseen`: architectures that the twin was never tuned for, predicted and measured.
//!
//! The scripts of `xtask/unseen/` write them, a folder a batch; `onnxfit measure` runs each at levels
//! `disable` and `extended`. What a row said the first time it was ever measured is kept beside what it
//! says now (`results/unseen.jsonl`), for only the first figure tells how a stranger's model fares.

mod table;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::runner::{release_binary, root, run};

const ROWS: &str = "results/unseen.jsonl";
/// Rows between two writes: a campaign that is cut off keeps what it had.
const SAVED_EVERY: usize = 16;
const LEVELS: [&str; 2] = ["disable", "extended"];
/// Every batch, in the order of the table.
const BATCHES: &[(&str, &str)] = &[
    ("language", "language and speech models of `transformers`, TorchScript exporter, opsets 13 to 18"),
    ("vision", "image models of `torchvision`, `timm` and `transformers`, TorchScript exporter, opsets 13 to 18"),
    ("various", "recurrent, graph, point, recommender, audio, generative and detection models written out"),
    (
        "further",
        "detection heads, codecs, state spaces, experts, vision and language, cached steps, loops, opsets 11 to 20",
    ),
    ("dynamo", "some of the above through the dynamo exporter, opsets 18 to 21"),
    ("quantized", "some of the above quantized by `onnxruntime.quantization`"),
    ("fused", "some of the above after `onnxruntime.transformers.optimizer`"),
    ("nodes", "one operator each: the test cases that the `onnx` package makes for its own backends"),
];

/// What a line of `cases.jsonl` says.
#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    file: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    opset: u64,
    #[serde(default)]
    n_nodes: u64,
    #[serde(default)]
    variants: Vec<Variant>,
}

#[derive(Clone, Debug, Deserialize)]
struct Variant {
    sizes: BTreeMap<String, i64>,
    inputs: Option<String>,
    shapes: BTreeMap<String, Vec<i64>>,
}

/// One measured row.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    batch: String,
    model: String,
    variant: usize,
    level: String,
    opset: u64,
    n_nodes: u64,
    sizes: BTreeMap<String, i64>,
    /// What it said the first time.
    first: Verdict,
    /// What it says now.
    now: Verdict,
}

/// How a row fared.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Verdict {
    /// `exact`, `differs`, `not run` (ONNX Runtime or the command could not run it).
    kind: String,
    /// The first difference, or why it did not run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    text: String,
    /// Predicted over measured peak of all runs, less one.
    #[serde(default)]
    peak_error: f64,
}

impl Row {
    fn key(&self) -> (String, String, usize, String) {
        (self.batch.clone(), self.model.clone(), self.variant, self.level.clone())
    }
}

/// Exports what is not there yet, measures, and writes both files. Words narrow it to batches, or to
/// models whose names hold them; `--table` only writes the table.
pub(crate) fn unseen(words: &[String]) -> Result<()> {
    let mut rows = read_rows()?;
    if words.iter().any(|word| word == "--table") {
        return table::write(&rows);
    }
    let batches: Vec<&str> = BATCHES.iter().map(|(name, _)| *name).collect();
    let (named, wanted): (Vec<&String>, Vec<&String>) = words.iter().partition(|word| batches.contains(&word.as_str()));
    let chosen: Vec<&str> =
        batches.into_iter().filter(|batch| named.is_empty() || named.iter().any(|word| word == batch)).collect();
    let folder = folder();
    export(&folder, &chosen)?;
    let mut jobs = Vec::new();
    for batch in chosen {
        let place = folder.join(batch);
        let text = std::fs::read_to_string(place.join("cases.jsonl")).with_context(|| format!("batch {batch}"))?;
        for line in text.lines() {
            let case: Case = serde_json::from_str(line).with_context(|| format!("a case of {batch}"))?;
            if !case.error.is_empty() || !(wanted.is_empty() || wanted.iter().any(|word| case.name.contains(*word))) {
                continue;
            }
            for (index, variant) in case.variants.iter().enumerate() {
                for level in LEVELS {
                    let unknown = Verdict { kind: String::new(), text: String::new(), peak_error: 0.0 };
                    let row = Row {
                        batch: batch.to_owned(),
                        model: case.name.clone(),
                        variant: index,
                        level: level.to_owned(),
                        opset: case.opset,
                        n_nodes: case.n_nodes,
                        sizes: variant.sizes.clone(),
                        first: unknown.clone(),
                        now: unknown,
                    };
                    jobs.push((row, place.join(&case.file), variant.clone()));
                }
            }
        }
    }
    let n_jobs = jobs.len();
    for (index, some) in jobs.chunks(SAVED_EVERY).enumerate() {
        eprintln!("{} of {n_jobs} rows", index * SAVED_EVERY);
        for row in measure(some)? {
            match rows.get_mut(&row.key()) {
                Some(known) => known.now = row.now,
                None => {
                    rows.insert(row.key(), row);
                }
            }
        }
        write_rows(&rows)?;
    }
    table::write(&rows)
}

type Rows = BTreeMap<(String, String, usize, String), Row>;

fn read_rows() -> Result<Rows> {
    let text = std::fs::read_to_string(root().join(ROWS)).unwrap_or_default();
    let mut rows = Rows::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let row: Row = serde_json::from_str(line).with_context(|| format!("a line of {ROWS}"))?;
        rows.insert(row.key(), row);
    }
    Ok(rows)
}

fn write_rows(rows: &Rows) -> Result<()> {
    let mut text = String::new();
    for row in rows.values() {
        text.push_str(&serde_json::to_string(row)?);
        text.push('\n');
    }
    std::fs::write(root().join(ROWS), text)?;
    Ok(())
}

/// Where the models lie: `ONNXFIT_UNSEEN`, or the build folder.
fn folder() -> PathBuf {
    std::env::var_os("ONNXFIT_UNSEEN").map_or_else(|| root().join("target/unseen"), PathBuf::from)
}

/// Lets the scripts write what is missing. Without a Python that has what a batch needs, the models
/// that were written before are taken.
fn export(folder: &Path, batches: &[&str]) -> Result<()> {
    let Some(python) = std::env::var_os("ONNXFIT_UNSEEN_PYTHON") else {
        if batches.iter().any(|batch| !folder.join(batch).exists()) {
            bail!("ONNXFIT_UNSEEN_PYTHON names no Python; xtask/unseen/requirements.txt says what it must have");
        }
        return Ok(());
    };
    let script = root().join("xtask/unseen/export.py");
    for batch in batches {
        let place = folder.to_string_lossy().into_owned();
        run(&python.to_string_lossy(), &[&script.to_string_lossy(), &place, batch], &[])?;
    }
    Ok(())
}

/// Two at a time: each is a process that mostly waits for a worker.
fn measure(jobs: &[(Row, PathBuf, Variant)]) -> Result<Vec<Row>> {
    let binary = release_binary()?;
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((row, model, variant)) = jobs.get(index) else { break };
                    let now = measure_one(&binary, model, variant, &row.level);
                    eprint!("\r{} {}            ", row.model, row.level);
                    let _ = std::io::stderr().flush();
                    let row = Row { first: now.clone(), now, ..row.clone() };
                    done.lock().expect("no thread panics while it holds the list").push(row);
                }
            });
        }
    });
    eprintln!();
    done.into_inner().context("a thread ended early")
}

fn measure_one(binary: &Path, model: &Path, variant: &Variant, level: &str) -> Verdict {
    let mut command = Command::new(binary);
    command.arg("measure").arg(model).args(["--provider", "cpu", "--opt-level", level, "--threads", "2"]);
    command.args(["--offline", "--json"]);
    for (name, size) in &variant.sizes {
        command.args(["--dim", &format!("{name}={size}")]);
    }
    for (name, sizes) in &variant.shapes {
        let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
        command.args(["--shape", &format!("{name}:{}", sizes.join(","))]);
    }
    if let Some(inputs) = &variant.inputs {
        command.arg("--inputs").arg(model.with_file_name(inputs));
    }
    let not_run = |text: String| Verdict { kind: "not run".to_owned(), text, peak_error: 0.0 };
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return not_run(error.to_string()),
    };
    let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else {
        let words = String::from_utf8_lossy(&output.stderr);
        return not_run(words.lines().next().unwrap_or("no answer").chars().take(300).collect());
    };
    verdict(&answer)
}

/// What an answer of `measure` comes to: figures decide, the first parting node explains.
fn verdict(answer: &Value) -> Verdict {
    let accuracy = &answer["accuracy"];
    let peak_error = accuracy["peak_error"].as_f64().unwrap_or(0.0);
    let failure = &answer["failures"]["measured"];
    if let Some(text) = failure.as_str() {
        let kind = if answer["failures"]["predicted"].is_string() { "exact" } else { "not run" };
        return Verdict { kind: kind.to_owned(), text: text.chars().take(300).collect(), peak_error };
    }
    if accuracy["n_figures"] == accuracy["n_figures_equal"] {
        return Verdict { kind: "exact".to_owned(), text: String::new(), peak_error };
    }
    let mut text = accuracy["text"].as_str().unwrap_or_default().to_owned();
    let first = answer["first_difference"].as_u64().and_then(|index| answer["nodes"].get(usize::try_from(index).ok()?));
    if let Some(node) = first {
        text = format!(
            "{text}; first at {} `{}`",
            node["op_type"].as_str().unwrap_or("?"),
            node["node"].as_str().unwrap_or("?")
        );
    }
    Verdict { kind: "differs".to_owned(), text, peak_error }
}
