//! `cargo xtask explain [MODEL..]`: real out-of-memory texts, explained with their model.
//!
//! Architectures get made-up weights and a limit for the arena between their weights and their
//! peak. What ONNX Runtime then says is given to `onnxfit explain LOG MODEL`: it has to name the
//! limit as the cause, find the node, and match the number to a tensor and to the sizes that were
//! really run. About five minutes with a release build.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::ci::python_environment;
use crate::limits::{CASES, LEVELS, check, tried, with_weights};
use crate::runner::{release_binary, root};
use crate::zoo::shared;

/// What one text gave.
struct Row {
    model: &'static str,
    level: &'static str,
    node: String,
    requested: u64,
    product: String,
    is_cause: bool,
    is_node: bool,
    is_tensor: bool,
    is_dims: bool,
    offers_fix: bool,
}

/// Writes `results/explain.md`, row by row.
pub(crate) fn explain(only: &[String]) -> Result<()> {
    let binary = release_binary()?;
    let python = python_environment()?.join("bin/python");
    let mut rows = Vec::new();
    for (model, dims) in CASES.iter().filter(|(model, _)| only.is_empty() || only.iter().any(|name| name == model)) {
        let graph = shared().join("zoo/graphs").join(format!("{model}.onnx"));
        if !graph.exists() {
            eprintln!("left out: {model} is not at hand");
            continue;
        }
        let sizes: Vec<String> = dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
        let folder = root().join("target/explain").join(model);
        // A leftover of an earlier try.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.parent().context("the folder has a parent")?)?;
        let runnable = with_weights(&binary, &graph, &sizes, &folder)?;
        for (level, name) in LEVELS {
            let free = check(&binary, &runnable, &sizes, level, None)?;
            let bytes = |path: &str| free.pointer(path).and_then(Value::as_u64).with_context(|| format!("no {path}"));
            let (load, peak) = (bytes("/arena/load/total_bytes")?, bytes("/arena/runs/0/peak_in_use_bytes")?);
            let limit = load + peak.saturating_sub(load) * 3 / 5;
            let (runs, message) = tried(&python, &runnable, name, limit, &sizes)?;
            if runs {
                eprintln!("left out: {model} at {level} runs under {limit}");
                continue;
            }
            let log = folder.join(format!("{level}.log"));
            std::fs::write(&log, message)?;
            rows.push(explained(&binary, (model, level), &log, &runnable, dims)?);
            if only.is_empty() {
                std::fs::write(root().join("results/explain.md"), table(&rows))?;
            }
        }
        std::fs::remove_dir_all(&folder)?;
    }
    println!("{}", summary(&rows));
    Ok(())
}

fn explained(
    binary: &Path,
    (model, level): (&'static str, &'static str),
    log: &Path,
    runnable: &Path,
    dims: &[(&str, i64)],
) -> Result<Row> {
    let answer = |more: &[&str]| Command::new(binary).arg("explain").arg(log).arg(runnable).args(more).output();
    let json: Value = serde_json::from_slice(&answer(&["--json"])?.stdout).context("explain answers in JSON")?;
    let plain = String::from_utf8_lossy(&answer(&[])?.stdout).into_owned();
    let text = std::fs::read_to_string(log)?;
    let real = text.rsplit_once("Name:'").and_then(|(_, rest)| rest.split_once('\'')).map_or("", |(name, _)| name);
    let readings = json["readings"].as_array().cloned().unwrap_or_default();
    let ran = |reading: &Value| {
        reading["dims"].as_object().is_some_and(|found| {
            found.iter().all(|(name, value)| {
                let asked = dims.iter().find(|(dim, _)| dim == name).map(|(_, size)| *size);
                // A name that the graph gives to a size it computes is not one that was asked for.
                asked.is_none_or(|size| value.as_i64() == Some(size))
            })
        })
    };
    let row = Row {
        model,
        level,
        node: real.to_owned(),
        requested: json["requested_bytes"].as_u64().unwrap_or(0),
        product: readings.first().and_then(|reading| reading["product"].as_str()).unwrap_or("").to_owned(),
        is_cause: json["is_oom"] == true && json.pointer("/causes/0/id") == Some(&"memory_limit_too_low".into()),
        is_node: json["node"].as_str().unwrap_or("") == real,
        is_tensor: readings.iter().any(|reading| reading["is_failing_node"] == true),
        is_dims: readings.iter().any(ran),
        offers_fix: plain.contains("onnxfit fix "),
    };
    eprintln!("  {model} {level}: `{}` {} = {}", row.node, row.requested, row.product);
    Ok(row)
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "# Real out-of-memory texts, explained with their model\n\n\
         Made by `cargo xtask explain`: ONNX Runtime 1.31.1 on the CPU provider, made-up weights, the arena limited \
         to three fifths of the way from the weights to the peak.\n\n\
         | model | level | node | requested, bytes | read as | limit is the cause | node | its tensor | sizes that ran | fix offered |\n\
         |---|---|---|---:|---|---|---|---|---|---|\n",
    );
    let yes = |is: bool| if is { "yes" } else { "no" };
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | `{}` | {} | {} | {} | {} | {} | {} | {} |",
            row.model,
            row.level,
            row.node,
            row.requested,
            row.product,
            yes(row.is_cause),
            yes(row.is_node),
            yes(row.is_tensor),
            yes(row.is_dims),
            yes(row.offers_fix),
        );
    }
    text.push('\n');
    text.push_str(&summary(rows));
    text.push('\n');
    text
}

fn summary(rows: &[Row]) -> String {
    let count = |is: fn(&Row) -> bool| rows.iter().filter(|row| is(row)).count();
    format!(
        "Of {} texts: cause {}, node {}, number matched to a tensor of that node {}, to the sizes that ran {}, fix \
         offered {}.",
        rows.len(),
        count(|row| row.is_cause),
        count(|row| row.is_node),
        count(|row| row.is_tensor),
        count(|row| row.is_dims),
        count(|row| row.offers_fix),
    )
}
