//! `cargo xtask accuracy`: predicted against measured, for every row that was ever measured.
//!
//! Writes `results/accuracy.md` for people and `results/accuracy.snap` for the ratchet
//! (`crates/onnxfit-cli/tests/accuracy.rs`): a row that was exact must stay exact. With
//! `--measure` it first runs the zoo at the levels that its own measurements leave out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::runner::{release_binary, root};
use crate::zoo::shared;

/// Runs at levels `extended` and `basic`, measured by `--measure`.
const MEASURED: &str = "results/measured.jsonl";
/// Larger models are not run by `--measure`.
const WEIGHT_BYTES_MAX: u64 = 1_500_000_000;
/// Variants of each graph that `--measure` runs.
const VARIANTS_MAX: usize = 2;
const N_RUNS: usize = 3;

/// A figure that is not as measured.
struct Difference {
    figure: String,
    predicted: u64,
    measured: u64,
}

impl Difference {
    fn share(&self) -> f64 {
        self.predicted as f64 / (self.measured as f64).max(1.0) - 1.0
    }
}

/// One row and what came of it.
struct Outcome {
    model: String,
    variant: String,
    opt: String,
    /// Why there is no prediction.
    error: Option<String>,
    differences: Vec<Difference>,
    /// Predicted over measured, less one, of the highest peak.
    peak_error: f64,
    /// Whether level `all` blocks the layout of its convolutions, which happens on the CPU provider
    /// only and is not imitated.
    is_blocked: bool,
}

impl Outcome {
    fn is_exact(&self) -> bool {
        self.error.is_none() && self.differences.is_empty()
    }

    fn first(&self) -> String {
        match (&self.error, self.differences.first()) {
            (Some(error), _) => error.clone(),
            (None, Some(first)) => format!(
                "{} {} instead of {} ({:+.2} %)",
                first.figure,
                first.predicted,
                first.measured,
                100.0 * first.share()
            ),
            (None, None) => "exact".to_owned(),
        }
    }
}

/// Compares every row and writes both files.
pub(crate) fn accuracy(measure_first: bool) -> Result<()> {
    let binary = release_binary()?;
    let truth = read_rows(&shared().join("zoo/ground-truth.jsonl"))?;
    if measure_first {
        measure(&binary, &truth)?;
    }
    let mut rows = truth;
    let ours = root().join(MEASURED);
    if ours.exists() {
        rows.extend(read_rows(&ours)?);
    }
    let mut outcomes = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        eprint!("\r{}/{} rows ", index + 1, rows.len());
        outcomes.push(compare(&binary, row)?);
    }
    eprintln!();
    outcomes.sort_by(|left, right| {
        (&left.opt, &left.model, &left.variant).cmp(&(&right.opt, &right.model, &right.variant))
    });
    let results = root().join("results");
    std::fs::create_dir_all(&results)?;
    std::fs::write(results.join("accuracy.snap"), snapshot(&outcomes))?;
    std::fs::write(results.join("accuracy.md"), table(&outcomes))?;
    println!("{}", summary(&outcomes));
    Ok(())
}

/// Rows with default options whose graph is at hand.
fn read_rows(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("no measurements in {}", path.display()))?;
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line).with_context(|| format!("a line of {}", path.display()))?;
        let default = row["arena"].as_str().is_none_or(|arena| arena.contains("default"))
            && row["mem_pattern"].as_bool().unwrap_or(true);
        if default && row["arena_run3"].is_object() && graph(&row).exists() {
            rows.push(row);
        }
    }
    Ok(rows)
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

fn graph(row: &Value) -> PathBuf {
    shared().join(format!("zoo/graphs/{}.onnx", text(row, "model")))
}

/// What makes the command look at a row's sizes.
fn arguments(row: &Value, level: &str) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--provider", "cpu", "--opt-level", level, "--threads", "2", "--json"].map(str::to_owned).into();
    for (name, input) in row["inputs"].as_object().into_iter().flatten() {
        let sizes = input.as_array().into_iter().flatten().skip(1).map(ToString::to_string);
        arguments.extend(["--shape".to_owned(), format!("{name}:{}", sizes.collect::<Vec<_>>().join(","))]);
    }
    for (name, size) in row["variant"].as_object().into_iter().flatten() {
        if let Some(size) = size.as_i64() {
            arguments.extend(["--dim".to_owned(), format!("{name}={size}")]);
        }
    }
    arguments
}

fn compare(binary: &Path, row: &Value) -> Result<Outcome> {
    let opt = text(row, "opt");
    let mut outcome = Outcome {
        model: text(row, "model").to_owned(),
        variant: row["variant"].to_string(),
        opt: opt.to_owned(),
        error: None,
        differences: Vec::new(),
        peak_error: 0.0,
        is_blocked: false,
    };
    let output = Command::new(binary).arg("check").arg(graph(row)).args(arguments(row, opt)).output()?;
    let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else {
        let words = String::from_utf8_lossy(&output.stderr);
        outcome.error = Some(words.lines().next().unwrap_or("no answer").to_owned());
        return Ok(outcome);
    };
    let mut highest = (0, 0);
    for (figure, have, want) in figures() {
        let predicted = answer.pointer(&have).and_then(Value::as_u64).unwrap_or(0);
        let measured = row.pointer(&want).and_then(Value::as_u64).unwrap_or(0);
        let mut predicted = predicted;
        if figure.ends_with("peak") {
            // A counter that never falls tells the highest peak so far, not that of its run alone.
            if text(row, "peaks") == "highest so far" {
                predicted = predicted.max(highest.0);
            }
            highest = (predicted.max(highest.0), measured.max(highest.1));
        }
        if predicted != measured {
            outcome.differences.push(Difference { figure, predicted, measured });
        }
    }
    let findings = answer["diagnostics"].as_array().into_iter().flatten();
    outcome.is_blocked = findings.into_iter().any(|finding| text(finding, "id") == "layout-not-imitated");
    outcome.peak_error = highest.0 as f64 / (highest.1 as f64).max(1.0) - 1.0;
    Ok(outcome)
}

/// Name, place in the answer of `check`, place in a row.
fn figures() -> Vec<(String, String, String)> {
    let mut figures = vec![
        ("load in use".to_owned(), "/arena/load/in_use_bytes".to_owned(), "/arena_load/in_use".to_owned()),
        ("load held".to_owned(), "/arena/load/total_bytes".to_owned(), "/arena_load/total".to_owned()),
    ];
    for run in 0..N_RUNS {
        let number = run + 1;
        let (have, want) = (format!("/arena/runs/{run}"), format!("/arena_run{number}"));
        figures.push((format!("run {number} peak"), format!("{have}/peak_in_use_bytes"), format!("{want}/max_in_use")));
        figures.push((format!("run {number} held"), format!("{have}/total_bytes"), format!("{want}/total")));
    }
    figures
}

/// Runs the zoo at the levels nobody measured, and keeps what was measured before.
fn measure(binary: &Path, truth: &[Value]) -> Result<()> {
    let path = root().join(MEASURED);
    let key = |row: &Value, opt: &str| format!("{} {} {opt}", text(row, "model"), row["variant"]);
    let known: Vec<String> = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|row| key(&row, text(&row, "opt")))
        .collect();
    let mut n_variants: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wanted = Vec::new();
    for row in truth.iter().filter(|row| text(row, "opt") == "all") {
        let number = n_variants.entry(text(row, "model")).or_default();
        if *number < VARIANTS_MAX && row["weights_bytes"].as_u64().unwrap_or(0) <= WEIGHT_BYTES_MAX {
            *number += 1;
            wanted.push(row);
        }
    }
    std::fs::create_dir_all(path.parent().context("the file has a folder")?)?;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
    let jobs: Vec<(&Value, &str)> =
        ["extended", "basic"].iter().flat_map(|opt| wanted.iter().map(move |row| (*row, *opt))).collect();
    for (index, (row, opt)) in jobs.iter().enumerate() {
        eprint!("\rmeasuring {}/{}: {} {opt}            ", index + 1, jobs.len(), text(row, "model"));
        if !known.contains(&key(row, opt)) {
            writeln!(file, "{}", run_really(binary, row, opt)?)?;
        }
    }
    eprintln!();
    Ok(())
}

/// One row as the zoo's own are written.
fn run_really(binary: &Path, row: &Value, opt: &str) -> Result<Value> {
    let output = Command::new(binary)
        .arg("measure")
        .arg(graph(row))
        .args(arguments(row, opt))
        .args(["--random-weights", "7", "--offline"])
        .output()?;
    let mut measured = json!({
        "model": row["model"], "variant": row["variant"], "opt": opt, "inputs": row["inputs"],
        "weights_bytes": row["weights_bytes"], "weights": "random, seed 7",
    });
    let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else {
        let words = String::from_utf8_lossy(&output.stderr);
        measured["error"] = words.lines().next().unwrap_or("no answer").into();
        return Ok(measured);
    };
    measured["ort"] = answer["ort_version"].clone();
    for stage in answer["stages"].as_array().into_iter().flatten() {
        let (name, counters) = (text(stage, "stage"), &stage["measured"]);
        if counters.is_object() && !name.ends_with("released") {
            measured[format!("arena_{}", name.replace(' ', ""))] = json!({
                "in_use": counters["in_use_bytes"], "total": counters["total_bytes"],
                "max_in_use": counters["peak_in_use_bytes"],
            });
        }
    }
    Ok(measured)
}

/// A line a row: model, variant, level, and `exact` or every figure that is not.
fn snapshot(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let differences: Vec<String> = outcome
            .differences
            .iter()
            .map(|difference| format!("{} {} {}", difference.figure, difference.predicted, difference.measured))
            .collect();
        let found = match &outcome.error {
            Some(error) => format!("error {error}"),
            None if differences.is_empty() => "exact".to_owned(),
            None => differences.join("; "),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\t{}\t{}\t{found}", outcome.model, outcome.variant, outcome.opt);
    }
    text
}

fn by_level(outcomes: &[Outcome]) -> BTreeMap<&str, Vec<&Outcome>> {
    let mut levels: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        levels.entry(&outcome.opt).or_default().push(outcome);
    }
    levels
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn level_row(level: &str, rows: &[&Outcome]) -> String {
    let exact = rows.iter().filter(|row| row.is_exact()).count();
    let errors: Vec<f64> = rows.iter().filter(|row| row.error.is_none()).map(|row| row.peak_error).collect();
    let worst = errors.iter().copied().fold(0.0, f64::min);
    let most = errors.iter().copied().fold(0.0, f64::max);
    let middle = median(errors.iter().map(|error| error.abs()).collect());
    format!(
        "| {level} | {} | {exact} | {:.1} % | {:.3} % | {:+.2} % | {:+.2} % |",
        rows.len(),
        100.0 * exact as f64 / rows.len().max(1) as f64,
        100.0 * middle,
        100.0 * worst,
        100.0 * most
    )
}

fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| level | rows | exact | share | median peak error | worst under | worst over |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for (level, rows) in by_level(outcomes) {
        let (blocked, plain): (Vec<&Outcome>, Vec<&Outcome>) = rows.iter().partition(|row| row.is_blocked);
        let mut parts = vec![(level.to_owned(), rows)];
        if !blocked.is_empty() {
            parts
                .extend([(format!("{level}, layout untouched"), plain), (format!("{level}, blocked layout"), blocked)]);
        }
        for (name, rows) in parts {
            text.push_str(&level_row(&name, &rows));
            text.push('\n');
        }
    }
    text
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "# Predicted against measured on the CPU provider\n\n\
         Made by `cargo xtask accuracy`. A row is a model, its sizes and a level; it is exact when the arena's bytes in\n\
         use and held after load, and the peak and the bytes held of each of three runs, are equal to the byte. Levels\n\
         `disable` and `all` are the zoo's own measurements; `basic` and `extended` come from `--measure`, with random\n\
         weights. Errors are those of the highest peak. A blocked layout of convolutions is what level `all` makes on\n\
         the CPU provider only; it never happens on CUDA and is not imitated.\n\n",
    );
    text.push_str(&summary(outcomes));
    for (level, rows) in by_level(outcomes) {
        let mut models: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
        for row in rows.iter().filter(|row| !row.is_exact()) {
            models.entry(&row.model).or_default().push(row);
        }
        if models.is_empty() {
            continue;
        }
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n## Not exact at `{level}`\n\n| model | rows | sizes | first figure that differs |\n|---|---:|---|---|\n"
        );
        for (model, rows) in models {
            let _ = writeln!(text, "| {model} | {} | `{}` | {} |", rows.len(), rows[0].variant, rows[0].first());
        }
    }
    text
}
