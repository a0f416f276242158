//! `cargo xtask releases`: real runs under several releases of ONNX Runtime beside the prediction
//! for each, as a table. The measured rows are kept, so that a test can hold later predictions
//! against them without any of those libraries.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::runner::{release_binary, root};
use crate::zoo::shared;

/// Releases whose wheels ship a C library with arena counters to ask (`AllocatorGetStats`, 1.23).
const RELEASES: [&str; 5] = ["1.23.2", "1.24.4", "1.26.0", "1.31.1", "1.32.0"];

const LEVELS: [&str; 2] = ["disable", "extended"];

/// Graphs of the zoo that run within a second, one or two of a kind, and their inputs' shapes.
const GRAPHS: [(&str, &[&str]); 16] = [
    ("resnet18", &["input:1,3,224,224"]),
    ("mobilenetv3_large", &["input:1,3,224,224"]),
    ("shufflenet_v2", &["input:1,3,224,224"]),
    ("efficientnet_b0_dynamo", &["input:1,3,224,224"]),
    ("densenet121", &["input:1,3,224,224"]),
    ("yolov8n", &["images:1,3,320,320"]),
    ("resnet50_fp16", &["input:1,3,224,224"]),
    ("resnet50_qdq_int8", &["input:1,3,224,224"]),
    ("distilbert_int8_dynamic", &["input_ids:1,128", "attention_mask:1,128"]),
    ("shipped_minilm_int8", &["input_ids:1,32", "attention_mask:1,32", "token_type_ids:1,32"]),
    ("shipped_magika", &["bytes:1,2048"]),
    ("t5_small_encoder", &["input_ids:1,32", "attention_mask:1,32"]),
    ("wavenet_tcn", &["wav:1,1,4000"]),
    ("lstm_lm", &["ids:1,32"]),
    ("shipped_silero_vad_sequence", &["input:32,576"]),
    ("shipped_silero_vad_half", &["input:1,576", "state:2,1,128"]),
];

const N_RUNS: usize = 3;

/// One graph under one release and level.
struct Row {
    release: String,
    level: String,
    graph: String,
    shapes: Vec<String>,
    /// In use and held after load, then most in use and held for each run; `Err` says why not.
    measured: Result<Vec<u64>, String>,
    predicted: Vec<u64>,
}

impl Row {
    fn is_equal(&self) -> bool {
        self.measured.as_ref() == Ok(&self.predicted)
    }

    /// The first figure that differs.
    fn difference(&self) -> String {
        let measured = match &self.measured {
            Ok(measured) => measured,
            Err(why) => return why.clone(),
        };
        let mut pairs = self.predicted.iter().zip(measured).enumerate();
        let Some((index, (predicted, measured))) = pairs.find(|(_, (predicted, measured))| predicted != measured)
        else {
            return String::new();
        };
        let what = match (index, index % 2) {
            (0, _) => "load, in use".to_owned(),
            (1, _) => "load, held".to_owned(),
            (_, 0) => format!("run {}, in use at most", index / 2),
            _ => format!("run {}, held", index / 2),
        };
        let more = i128::from(*predicted) - i128::from(*measured);
        format!("{what}: predicted {predicted}, measured {measured} ({more:+})")
    }

    fn line(&self) -> String {
        let mut line = json!({
            "release": self.release,
            "level": self.level,
            "graph": self.graph,
            "shapes": self.shapes,
            "threads": 2,
            "equal": self.is_equal(),
        });
        match &self.measured {
            Ok(measured) => line["measured"] = json!(measured),
            Err(why) => line["refused"] = json!(why),
        }
        line.to_string()
    }
}

/// Writes `results/releases.md` and `results/releases.jsonl`. Words that are given choose graphs by
/// name; the files are left alone then.
pub(crate) fn releases(only: &[String]) -> Result<()> {
    let binary = release_binary()?;
    let graphs: Vec<_> = GRAPHS.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|w| w == name)).collect();
    let total = RELEASES.len() * LEVELS.len() * graphs.len();
    let mut rows = Vec::with_capacity(total);
    for release in RELEASES {
        let library = library(&binary, release)?;
        for level in LEVELS {
            for (graph, shapes) in &graphs {
                eprint!("\r{}/{total} {release} {level} {graph:<30}", rows.len() + 1);
                let row = measure(&binary, &library, release, level, graph, shapes)?;
                if !row.is_equal() {
                    eprintln!("{}", row.difference());
                }
                rows.push(row);
            }
        }
    }
    eprintln!();
    let text = table(&rows);
    if only.is_empty() {
        let lines: String = rows.iter().map(|row| row.line() + "\n").collect();
        std::fs::write(root().join("results/releases.jsonl"), lines)?;
        std::fs::write(root().join("results/releases.md"), &text)?;
    }
    println!("{text}");
    Ok(())
}

/// A release's library, installed below `target/` with the command itself.
fn library(binary: &Path, release: &str) -> Result<PathBuf> {
    let cache = root().join("target/releases").join(release);
    let library = cache.join(format!("runtime/onnxruntime-{release}/libonnxruntime.so.{release}"));
    if !library.exists() {
        std::fs::create_dir_all(&cache)?;
        let mut install = Command::new(binary);
        let status =
            install.args(["runtime", "install", "--version", release]).env("ONNXFIT_CACHE", &cache).status()?;
        if !status.success() || !library.exists() {
            bail!("onnxruntime {release} was not installed");
        }
    }
    Ok(library)
}

fn measure(binary: &Path, library: &Path, release: &str, level: &str, graph: &str, shapes: &[&str]) -> Result<Row> {
    let path = shared().join("zoo/graphs").join(format!("{graph}.onnx"));
    let ask = |verb: &str, more: &[&str]| -> Result<Result<Value, String>> {
        let mut command = Command::new(binary);
        command.env("ORT_DYLIB_PATH", library).arg(verb).arg(&path);
        command.args(["--provider", "cpu", "--threads", "2", "--opt-level", level, "--ort", release, "--json"]);
        command.args(shapes.iter().flat_map(|shape| ["--shape", shape])).args(more);
        let output = command.output()?;
        if output.stdout.is_empty() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Ok(Err(why.lines().last().unwrap_or("no answer").to_owned()));
        }
        Ok(Ok(serde_json::from_slice(&output.stdout).with_context(|| format!("{verb} {graph}"))?))
    };
    let predicted = ask("check", &[])?.map_err(|why| anyhow::anyhow!("{graph}: {why}"))?;
    let measured = ask("measure", &["--random-weights", "7"])?.and_then(|answer| {
        if answer["ort_version"] != release {
            return Err(format!("{} answered for {release}", answer["ort_version"]));
        }
        counters(&answer).ok_or_else(|| answer["failures"]["measured"].as_str().unwrap_or("no counters").to_owned())
    });
    Ok(Row {
        release: release.to_owned(),
        level: level.to_owned(),
        graph: graph.to_owned(),
        shapes: shapes.iter().map(|&shape| shape.to_owned()).collect(),
        measured,
        predicted: prediction(&predicted).with_context(|| format!("{graph}: no arena in the answer"))?,
    })
}

/// The figures of a `check`.
fn prediction(answer: &Value) -> Option<Vec<u64>> {
    let load = &answer["arena"]["load"];
    let mut figures = vec![load["in_use_bytes"].as_u64()?, load["total_bytes"].as_u64()?];
    for run in answer["arena"]["runs"].as_array()? {
        figures.extend([run["peak_in_use_bytes"].as_u64()?, run["total_bytes"].as_u64()?]);
    }
    Some(figures)
}

/// The same figures of a `measure`.
fn counters(answer: &Value) -> Option<Vec<u64>> {
    let stage = |name: &str| {
        let mut stages = answer["stages"].as_array()?.iter();
        Some(&stages.find(|stage| stage["stage"] == name)?["measured"])
    };
    let load = stage("load")?;
    let mut figures = vec![load["in_use_bytes"].as_u64()?, load["total_bytes"].as_u64()?];
    for run in 1..=N_RUNS {
        let run = stage(&format!("run {run}"))?;
        figures.extend([run["peak_in_use_bytes"].as_u64()?, run["total_bytes"].as_u64()?]);
    }
    Some(figures)
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "# The same twin, five releases of ONNX Runtime\n\n\
         Made by `cargo xtask releases`: CPU provider, two threads, random weights; the prediction knows only the graph. \
         A row is equal when bytes in use and held after load, and the most in use and held in each of three runs, \
         are all equal to the byte.\n\n\
         | release | level | rows equal | rows |\n|---|---|---:|---:|\n",
    );
    // Writing to a string cannot fail.
    let mut groups: Vec<((&str, &str), Vec<&Row>)> = Vec::new();
    for row in rows {
        let key = (row.release.as_str(), row.level.as_str());
        match groups.iter_mut().find(|(seen, _)| *seen == key) {
            Some((_, group)) => group.push(row),
            None => groups.push((key, vec![row])),
        }
    }
    for ((release, level), group) in &groups {
        let n_equal = group.iter().filter(|row| row.is_equal()).count();
        let _ = writeln!(text, "| {release} | {level} | {n_equal} | {} |", group.len());
    }
    text.push_str("\n## Rows that differ\n\n| release | level | graph | first difference |\n|---|---|---|---|\n");
    for row in rows.iter().filter(|row| !row.is_equal()) {
        let _ = writeln!(text, "| {} | {} | {} | {} |", row.release, row.level, row.graph, row.difference());
    }
    text.push_str(
        "\n## What changed from release to release\n\n\
         Measured figures, not predictions: releases on one side of a bar agree to the byte on all eight.\n\n\
         | level | graph | releases that agree |\n|---|---|---|\n",
    );
    let mut by_graph: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_graph.entry((&row.level, &row.graph)).or_default().push(row);
    }
    let n_steady = by_graph.values().filter(|rows| alike(rows).len() == 1).count();
    for ((level, graph), rows) in &by_graph {
        let groups = alike(rows);
        if groups.len() > 1 {
            let groups: Vec<String> = groups.iter().map(|group| group.join(", ")).collect();
            let _ = writeln!(text, "| {level} | {graph} | {} |", groups.join(" \\| "));
        }
    }
    let _ = writeln!(text, "\n{n_steady} of {} are the same in every release.", by_graph.len());
    text
}

/// Releases with the same measurement.
fn alike<'a>(rows: &[&'a Row]) -> Vec<Vec<&'a str>> {
    let mut groups: Vec<Vec<&'a Row>> = Vec::new();
    for &row in rows {
        match groups.iter_mut().find(|group| group[0].measured == row.measured) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups.iter().map(|group| group.iter().map(|row| row.release.as_str()).collect()).collect()
}
