//! `cargo xtask limits`: the smallest arena limit that runs, predicted by search and then tried.
//!
//! The prediction is searched to 256 bytes with the twin alone. ONNX Runtime is then asked twice:
//! it must run three times at that limit, and fail 256 bytes below it, at the node and with the
//! message that were predicted.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::ci::python_environment;
use crate::runner::{release_binary, root};
use crate::zoo::shared;

/// Architecture and sizes; small, because every one is really run.
pub(crate) const CASES: &[(&str, &[(&str, i64)])] = &[
    ("resnet18", &[("batch", 2), ("height", 96), ("width", 96)]),
    ("resnet50", &[("batch", 2), ("height", 96), ("width", 96)]),
    ("mobilenetv3_large", &[("batch", 4), ("height", 96), ("width", 96)]),
    ("efficientnet_b0", &[("batch", 2), ("height", 96), ("width", 96)]),
    ("densenet121", &[("batch", 2), ("height", 96), ("width", 96)]),
    ("inception_v3", &[("batch", 1), ("height", 160), ("width", 160)]),
    ("shufflenet_v2", &[("batch", 2), ("height", 96), ("width", 96)]),
    ("lraspp_mobilenetv3", &[("batch", 1), ("height", 128), ("width", 128)]),
    ("fcn_resnet50", &[("batch", 1), ("height", 96), ("width", 96)]),
    ("deeplabv3_resnet50", &[("batch", 1), ("height", 128), ("width", 128)]),
    ("esrgan_x4_6b", &[("batch", 1), ("height", 32), ("width", 32)]),
    ("distilbert_base_cls", &[("batch_size", 2), ("sequence_length", 48)]),
    ("t5_small_encoder", &[("batch_size", 3), ("encoder_sequence_length", 40)]),
    ("lstm_lm", &[("batch", 4), ("seq", 24)]),
    ("bilstm_tagger", &[("batch", 3), ("seq", 32)]),
    ("swin_t", &[("batch", 1)]),
    ("timm_mixer_b16", &[("batch", 1)]),
    ("wavenet_tcn", &[("batch", 1), ("time", 4000)]),
    ("wav2vec2_base", &[("batch_size", 1), ("sequence_length", 8000)]),
    ("yolov8n", &[("batch", 1), ("height", 160), ("width", 160)]),
];

pub(crate) const LEVELS: [(&str, &str); 2] = [("disable", "ORT_DISABLE_ALL"), ("extended", "ORT_ENABLE_EXTENDED")];
/// The arena's rounding: a smaller step changes nothing.
const STEP_BYTES: u64 = 256;

/// What one search gave.
struct Row {
    model: &'static str,
    level: &'static str,
    limit: u64,
    outcome: String,
    agrees: bool,
}

/// Writes `results/limits.md`.
pub(crate) fn limits() -> Result<()> {
    let binary = release_binary()?;
    let python = python_environment()?.join("bin/python");
    let mut rows = Vec::new();
    for (index, (model, dims)) in CASES.iter().enumerate() {
        eprintln!("{}/{} {model}", index + 1, CASES.len());
        let graph = shared().join("zoo/graphs").join(format!("{model}.onnx"));
        if !graph.exists() {
            eprintln!("left out: {model} is not at hand");
            continue;
        }
        let dims: Vec<String> = dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
        let folder = root().join("target/limits").join(model);
        // A leftover of an earlier search.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.parent().context("the folder has a parent")?)?;
        let runnable = with_weights(&binary, &graph, &dims, &folder)?;
        for (level, name) in LEVELS {
            rows.push(search(&binary, &python, model, &runnable, &dims, (level, name))?);
        }
        std::fs::remove_dir_all(&folder)?;
    }
    let text = table(&rows);
    std::fs::create_dir_all(root().join("results"))?;
    std::fs::write(root().join("results/limits.md"), &text)?;
    println!("{}", summary(&rows));
    Ok(())
}

/// The architecture with made-up weights, so that it can run.
pub(crate) fn with_weights(binary: &Path, graph: &Path, dims: &[String], folder: &Path) -> Result<PathBuf> {
    let mut command = Command::new(binary);
    command.arg("fix").arg(graph).args(["--provider", "cpu", "--on", "1TiB", "--random-weights", "7", "--no-verify"]);
    command.arg("-o").arg(folder).args(dims.iter().flat_map(|dim| ["--dim", dim.as_str()]));
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}: {}", graph.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(folder.join("model.onnx"))
}

pub(crate) fn check(binary: &Path, model: &Path, dims: &[String], level: &str, limit: Option<u64>) -> Result<Value> {
    let mut command = Command::new(binary);
    command.arg("check").arg(model).args(["--provider", "cpu", "--threads", "2", "--json", "--opt-level", level]);
    command.args(dims.iter().flat_map(|dim| ["--dim", dim.as_str()]));
    if let Some(limit) = limit {
        command.args(["--arena-limit", &limit.to_string()]);
    }
    let output = command.output()?;
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn search(
    binary: &Path,
    python: &Path,
    model: &'static str,
    runnable: &Path,
    dims: &[String],
    (level, name): (&'static str, &str),
) -> Result<Row> {
    let free = check(binary, runnable, dims, level, None)?;
    let bytes = |path: &str| free.pointer(path).and_then(Value::as_u64).with_context(|| format!("no {path}"));
    // Below what loading reserves the limit is not enforced (the arena's subtraction wraps).
    let (mut fails, mut runs) = (bytes("/arena/load/total_bytes")?, bytes("/arena/runs/2/total_bytes")?);
    fails = fails.div_ceil(STEP_BYTES) * STEP_BYTES;
    runs = runs.div_ceil(STEP_BYTES) * STEP_BYTES;
    while runs - fails > STEP_BYTES {
        let middle = (fails + (runs - fails) / 2) / STEP_BYTES * STEP_BYTES;
        let fits = check(binary, runnable, dims, level, Some(middle))?["failure"].is_null();
        *(if fits { &mut runs } else { &mut fails }) = middle;
    }
    let predicted = check(binary, runnable, dims, level, Some(runs - STEP_BYTES))?;
    let message = predicted.pointer("/failure/message").and_then(Value::as_str).unwrap_or("").to_owned();
    let at = tried(python, runnable, name, runs, dims)?;
    let below = tried(python, runnable, name, runs - STEP_BYTES, dims)?;
    let (outcome, agrees) = match (at.0, below.0) {
        (true, false) if says(&below.1, &message) => ("runs; below it fails as predicted".to_owned(), true),
        (true, false) => (format!("runs; below it fails otherwise: {}", short(&below.1)), false),
        (true, true) => ("runs 256 bytes below it too".to_owned(), false),
        (false, _) => (format!("fails at it: {}", short(&at.1)), false),
    };
    eprintln!("  {level}: {runs} {outcome}");
    Ok(Row { model, level, limit: runs, outcome, agrees })
}

/// Whether it runs under a limit, and what it says otherwise.
pub(crate) fn tried(python: &Path, model: &Path, level: &str, limit: u64, dims: &[String]) -> Result<(bool, String)> {
    let output = Command::new(python)
        .arg(root().join("xtask/campaign/limited.py"))
        .arg(model)
        .args([level, &limit.to_string(), "2"])
        .args(dims)
        .output()?;
    let answer: Value =
        serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((answer["runs"] == true, answer["message"].as_str().unwrap_or("").to_owned()))
}

/// Whether two messages are the same but for the place in ONNX Runtime's source.
fn says(real: &str, predicted: &str) -> bool {
    let (head, tail) = predicted.split_once("Status Message: ").unwrap_or(("", predicted));
    real.contains(head.trim()) && real.contains(tail.trim())
}

fn short(message: &str) -> String {
    message.chars().take(160).collect::<String>().replace(['\n', '|'], " ")
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "# The smallest arena limit that runs\n\n\
         Made by `cargo xtask limits`: searched to 256 bytes by prediction alone, then tried with ONNX Runtime \
         1.31.1 on the CPU provider, three runs, made-up weights, 2 threads.\n\n\
         | model | level | predicted limit, bytes | ONNX Runtime |\n|---|---|---:|---|\n",
    );
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| {} | {} | {} | {} |", row.model, row.level, row.limit, row.outcome);
    }
    text.push('\n');
    text.push_str(&summary(rows));
    text.push('\n');
    text
}

fn summary(rows: &[Row]) -> String {
    let agreeing = rows.iter().filter(|row| row.agrees).count();
    format!("{agreeing} of {} limits are as predicted: run at it, fail 256 bytes below at that node.", rows.len())
}
