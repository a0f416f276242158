//! `cargo xtask prune`: every real architecture at hand pruned to 60 % of its weights' bytes and of
//! its arena's peak, and what pruning does to models that read digits, as a table.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::runner::{release_binary, root, run};
use crate::zoo::{first_rows, graphs};

/// What is to be left.
const SHARE: &str = "0.6";
/// Larger models take minutes each, and are like smaller ones.
const WEIGHTS_MB_MAX: f64 = 700.0;
/// For the digits.
const PACKAGES: [&str; 2] = ["numpy", "scikit-learn==1.7.2"];
/// Writes the digits of scikit-learn as arrays.
const EXPORT: &str = "import sys, numpy; from sklearn.datasets import load_digits; d = load_digits(); \
     numpy.savez(sys.argv[1], x=(d.images / 16).astype('float32')[:, None], y=d.target.astype('int64'))";

/// Writes `results/prune.md`; names choose architectures, `digits` the digits alone.
pub(crate) fn prune(only: &[String]) -> Result<()> {
    let wants_digits = only.is_empty() || only.iter().any(|name| name == "digits");
    let wants_zoo = only.is_empty() || only.iter().any(|name| name != "digits");
    let rows = if wants_zoo { zoo(only)? } else { Vec::new() };
    let digits = if wants_digits { digits()? } else { Vec::new() };
    let text = table(&rows, &digits);
    if only.is_empty() {
        std::fs::write(root().join("results/prune.md"), &text)?;
    }
    println!("{text}");
    Ok(())
}

/// One architecture, and one thing that was to be smaller.
struct Row {
    name: String,
    of: &'static str,
    answer: std::result::Result<Value, String>,
}

fn zoo(only: &[String]) -> Result<Vec<Row>> {
    let binary = release_binary()?;
    let sizes = first_rows()?;
    let graphs = graphs()?;
    let desk = root().join("target/prune");
    std::fs::create_dir_all(&desk)?;
    let mut rows = Vec::new();
    for (index, graph) in graphs.iter().enumerate() {
        let name = graph.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_wanted = only.is_empty() || only.contains(&name);
        let meta = std::fs::read_to_string(graph.with_extension("meta.json")).unwrap_or_default();
        let meta: Value = serde_json::from_str(&meta).unwrap_or_default();
        // Those whose weights are made by nodes have none in the file to be cut.
        if !is_wanted || name.starts_with("light_") || weights_mb(&meta, graph) > WEIGHTS_MB_MAX {
            continue;
        }
        for of in ["weights", "arena"] {
            eprint!("\r{}/{} {name} {of}          ", index + 1, graphs.len());
            let empty = Vec::new();
            let bound = sizes.get(&name).unwrap_or(&empty);
            rows.push(Row { answer: one(&binary, graph, of, bound, &desk), name: name.clone(), of });
        }
    }
    eprintln!();
    Ok(rows)
}

/// Megabytes of all weights, as far as the zoo's notes or the file tell.
fn weights_mb(meta: &Value, graph: &Path) -> f64 {
    let noted = meta["weights_mb"].as_f64();
    let known = [("sd15_unet", 3437.4), ("deberta_v3_base", 737.8)];
    let name = graph.file_stem().unwrap_or_default().to_string_lossy();
    noted.or_else(|| known.iter().find(|(known, _)| *known == name).map(|(_, size)| *size)).unwrap_or(0.0)
}

fn one(binary: &Path, graph: &Path, of: &str, bound: &[String], desk: &Path) -> std::result::Result<Value, String> {
    let out = desk.join("pruned.onnx");
    let output = Command::new(binary)
        .arg("prune")
        .arg(graph)
        .arg(&out)
        .args(bound)
        .args(["--target-memory", SHARE, "--of", of, "--random-weights", "1", "--offline", "--json"])
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| error.to_string())?;
    let _ = std::fs::remove_file(&out);
    let _ = std::fs::remove_file(desk.join("pruned.onnx.data"));
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let told = String::from_utf8_lossy(&output.stderr);
        let line = told.lines().find(|line| line.contains("error")).unwrap_or("it ended without an answer");
        line.chars().take(160).collect()
    })
}

/// The digits, as arrays, and what the example makes of them.
fn digits() -> Result<Vec<Value>> {
    let home = root().join("target/digits");
    let python = home.join("bin/python");
    let text =
        |path: &Path| path.to_str().map(str::to_owned).with_context(|| format!("`{}` is no UTF-8", path.display()));
    if !python.exists() {
        run("python3", &["-m", "venv", &text(&home)?], &[])?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        run(&text(&python)?, &[&install[..], &PACKAGES[..]].concat(), &[])?;
    }
    let arrays = home.join("digits.npz");
    run(&text(&python)?, &["-c", EXPORT, &text(&arrays)?], &[])?;
    let models = home.join("models");
    std::fs::create_dir_all(&models)?;
    let mut command = match std::env::var_os("ONNXFIT_DIGITS") {
        Some(built) => Command::new(built),
        None => {
            let mut cargo = Command::new("cargo");
            cargo.args(["run", "--release", "--quiet", "-p", "onnxfit", "--example", "digits", "--"]);
            cargo
        }
    };
    let output = command.arg(&arrays).arg(&models).current_dir(root()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the example `digits` failed ({})", output.status);
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).context("a line of the example is no JSON")).collect()
}

fn table(rows: &[Row], digits: &[Value]) -> String {
    let mut text = "# Pruning\n\nWritten by `cargo xtask prune`.\n".to_owned();
    if !rows.is_empty() {
        write_zoo(&mut text, rows);
    }
    if !digits.is_empty() {
        write_digits(&mut text, digits);
    }
    text
}

fn write_zoo(text: &mut String, rows: &[Row]) {
    let is_done = |row: &&Row| row.answer.as_ref().is_ok_and(|answer| answer["pruned"] == true);
    let n = |of: &str| rows.iter().filter(|row| row.of == of).count();
    let n_done = |of: &str| rows.iter().filter(is_done).filter(|row| row.of == of).count();
    let _ = write!(
        text,
        "\n## Real architectures, made-up weights\n\n\
         Pruned so that at most 60 % is left: of the weights' bytes ({} of {}), of the CPU arena's peak ({} of {}). \
         \"Can go\" is the share of the weights' bytes that is in groups at all. \"Error\" is the proof: the relative \
         distance between the pruned model and the whole one with the same weights set to zero, both run by ONNX \
         Runtime. The arena's peak is that of a run on the CPU provider; constant weights lie outside it.\n\n\
         | model | 60 % of | groups | channels | can go | weights | left | arena, twin | arena, measured | left | error | loads and runs |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        n_done("weights"),
        n("weights"),
        n_done("arena"),
        n("arena")
    );
    for row in rows {
        let Row { name, of, answer } = row;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let _ = writeln!(text, "| {name} | {of} | | | | | | | | | | no: {} |", error.replace('|', "/"));
                continue;
            }
        };
        let number = |value: &Value| value.as_f64().unwrap_or(0.0);
        let weights = &answer["weights"];
        let before = number(&weights["before_bytes"]);
        let can_go = 1.0 - number(&answer["least_weights_bytes"]) / before.max(1.0);
        let worst = answer["proof"]["outputs"].as_array().map_or(f64::NAN, |outputs| {
            outputs.iter().map(|output| number(&output["relative_l2"])).fold(0.0, f64::max)
        });
        let change = |change: &Value| match change["before_bytes"].as_f64() {
            Some(before) => format!("{:.1} -> {:.1} MB", before / 1e6, number(&change["after_bytes"]) / 1e6),
            None => String::new(),
        };
        let share =
            |change: &Value| change["ratio"].as_f64().map_or(String::new(), |ratio| format!("{:.1} %", 100.0 * ratio));
        let verdict = if answer["pruned"] == true {
            "yes".to_owned()
        } else if answer["n_groups"] == 0 {
            "nothing that may go".to_owned()
        } else if answer["reached"] != true {
            "runs, but that much cannot go".to_owned()
        } else {
            "not proved".to_owned()
        };
        let _ = writeln!(
            text,
            "| {name} | {of} | {} | {} | {:.0} % | {} | {} | {} | {} | {} | {} | {verdict} |",
            answer["n_groups"],
            answer["n_atoms"],
            100.0 * can_go,
            change(weights),
            share(weights),
            change(&answer["predicted_peak"]),
            change(&answer["measured_peak"]),
            share(&answer["measured_peak"]),
            if worst.is_nan() { String::new() } else { format!("{worst:.1e}") },
        );
    }
}

fn write_digits(text: &mut String, digits: &[Value]) {
    text.push_str(
        "\n## Handwritten digits\n\n\
         1797 images of scikit-learn, 600 of them for the test, three seeds. Teachers are trained by onnxfit from \
         made-up weights (40 passes, 120 for the transformer). \"Pruned\" is the teacher without channels, nothing else; \"refitted\" by the \
         closed form; \"distilled\" then learns from the teacher's answers, no labels (20 passes). The same small model \
         without a teacher: \"tuned\" on labels from the pruned weights (20 passes), \"alone\" from made-up weights (as many \
         passes as the teacher). Accuracy in %.\n\n\
         | model | asked | weights left | seed | teacher | pruned | refitted | distilled | tuned | alone |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    const COLUMNS: [&str; 6] = ["teacher", "pruned", "refitted", "distilled", "tuned_on_labels", "trained_alone"];
    let percent = |value: &Value| format!("{:.1}", 100.0 * value.as_f64().unwrap_or(f64::NAN));
    let mut groups: Vec<(String, Value)> = Vec::new();
    for line in digits {
        let key = (line["model"].as_str().unwrap_or("").to_owned(), line["asked"].clone());
        if !groups.contains(&key) {
            groups.push(key);
        }
    }
    for (model, asked) in groups {
        let lines: Vec<&Value> =
            digits.iter().filter(|line| line["model"] == model.as_str() && line["asked"] == asked).collect();
        for line in &lines {
            let columns: Vec<String> = COLUMNS.iter().map(|column| percent(&line[*column])).collect();
            let left = percent(&line["weights_ratio"]);
            let _ = writeln!(text, "| {model} | {asked} | {left} % | {} | {} |", line["seed"], columns.join(" | "));
        }
        let mean = |column: &str| {
            let sum: f64 = lines.iter().filter_map(|line| line[column].as_f64()).sum();
            format!("**{:.1}**", 100.0 * sum / lines.len().max(1) as f64)
        };
        let columns: Vec<String> = COLUMNS.iter().map(|column| mean(column)).collect();
        let _ = writeln!(text, "| {model} | {asked} | | mean | {} |", columns.join(" | "));
    }
}
