//! `cargo xtask prune`: every real architecture at hand pruned to 60 % of its weights' bytes and of
//! its arena's peak, and what pruning does to models that read digits, as a table.
//!
//! Rows are written as they come, and kept in `target/prune`: with names (or `digits`) only those
//! are measured again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::runner::{release_binary, root, run};
use crate::zoo::{first_rows, graphs};

/// What is to be left.
const SHARE: &str = "0.6";
/// Larger models take minutes each, and are like smaller ones.
const WEIGHTS_MB_MAX: f64 = 700.0;
/// The architectures that the goal names, and their like; they come first.
const FIRST: [&str; 9] = [
    "resnet18",
    "mobilenetv3_large",
    "densenet121",
    "resnet50",
    "distilbert_base_cls",
    "yolos_tiny",
    "efficientnet_b0",
    "clip_vit_b32_vision_ts",
    "swin_t",
];
/// One row's time; what takes longer is said to.
const ROW_SECONDS_MAX: u64 = 300;
/// Time after which no further architecture is begun.
const ZOO_SECONDS_MAX: u64 = 2400;
/// For the digits.
const PACKAGES: [&str; 2] = ["numpy", "scikit-learn==1.7.2"];
/// Writes the digits of scikit-learn as arrays.
const EXPORT: &str = "import sys, numpy; from sklearn.datasets import load_digits; d = load_digits(); \
     numpy.savez(sys.argv[1], x=(d.images / 16).astype('float32')[:, None], y=d.target.astype('int64'))";

/// Writes `results/prune.md`; names choose architectures, `digits` the digits alone.
pub(crate) fn prune(only: &[String]) -> Result<()> {
    let wants_digits = only.is_empty() || only.iter().any(|name| name == "digits");
    let wants_zoo = only.is_empty() || only.iter().any(|name| name != "digits");
    let mut table = Table::open(only.is_empty())?;
    // The digits first: they take a known time.
    if wants_digits {
        digits(&mut table)?;
    }
    if wants_zoo {
        zoo(only, &mut table)?;
    }
    println!("{}", table.text());
    Ok(())
}

/// The rows so far, on the disk.
struct Table {
    path: PathBuf,
    /// By architecture and what was to be smaller.
    rows: BTreeMap<(String, String), Value>,
    digits: Vec<Value>,
}

impl Table {
    /// What an earlier call left, unless all begins anew.
    fn open(is_new: bool) -> Result<Self> {
        let desk = root().join("target/prune");
        std::fs::create_dir_all(&desk)?;
        let mut table = Self { path: desk.join("rows.json"), rows: BTreeMap::new(), digits: Vec::new() };
        let known = if is_new { Value::Null } else { read(&table.path) };
        for row in known["rows"].as_array().into_iter().flatten() {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            table.rows.insert((text("name"), text("of")), row["answer"].clone());
        }
        table.digits = known["digits"].as_array().cloned().unwrap_or_default();
        Ok(table)
    }

    fn keep(&self) -> Result<()> {
        let row = |((name, of), answer): (&(String, String), &Value)| json!({"name": name, "of": of, "answer": answer});
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        std::fs::write(&self.path, json!({"rows": rows, "digits": self.digits}).to_string())?;
        std::fs::write(root().join("results/prune.md"), self.text())?;
        Ok(())
    }

    fn text(&self) -> String {
        let mut text = "# Pruning\n\nWritten by `cargo xtask prune`.\n".to_owned();
        if !self.rows.is_empty() {
            write_zoo(&mut text, &self.rows);
        }
        if !self.digits.is_empty() {
            write_digits(&mut text, &self.digits);
        }
        text
    }
}

fn read(path: &Path) -> Value {
    std::fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

fn zoo(only: &[String], table: &mut Table) -> Result<()> {
    let binary = release_binary()?;
    let sizes = first_rows()?;
    let mut graphs = graphs()?;
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let place = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    graphs.sort_by_key(|path| (place(&stem(path)), stem(path)));
    let desk = root().join("target/prune");
    let started = Instant::now();
    for (index, graph) in graphs.iter().enumerate() {
        let name = stem(graph);
        let is_wanted = only.is_empty() || only.contains(&name);
        let meta = read(&graph.with_extension("meta.json"));
        // Those whose weights are made by nodes have none in the file to be cut.
        if !is_wanted || name.starts_with("light_") || weights_mb(&meta, graph) > WEIGHTS_MB_MAX {
            continue;
        }
        for of in ["weights", "arena"] {
            eprintln!("{}/{} {name} {of}", index + 1, graphs.len());
            let answer = if only.is_empty() && started.elapsed().as_secs() > ZOO_SECONDS_MAX {
                json!({"error": format!("not tried, the first {ZOO_SECONDS_MAX} s were over")})
            } else {
                let empty = Vec::new();
                let begun = Instant::now();
                let mut answer = one(&binary, graph, of, sizes.get(&name).unwrap_or(&empty), &desk)?;
                answer["seconds"] = begun.elapsed().as_secs_f64().into();
                answer
            };
            table.rows.insert((name.clone(), of.to_owned()), answer);
            table.keep()?;
        }
    }
    Ok(())
}

/// Megabytes of all weights, as far as the zoo's notes or the file tell.
fn weights_mb(meta: &Value, graph: &Path) -> f64 {
    let noted = meta["weights_mb"].as_f64();
    let known = [("sd15_unet", 3437.4), ("deberta_v3_base", 737.8)];
    let name = graph.file_stem().unwrap_or_default().to_string_lossy();
    noted.or_else(|| known.iter().find(|(known, _)| *known == name).map(|(_, size)| *size)).unwrap_or(0.0)
}

/// What the command answers, or `error`.
fn one(binary: &Path, graph: &Path, of: &str, bound: &[String], desk: &Path) -> Result<Value> {
    let [out, said, told] = ["pruned.onnx", "answer.json", "told.txt"].map(|name| desk.join(name));
    let mut child = Command::new(binary)
        .arg("prune")
        .arg(graph)
        .arg(&out)
        .args(bound)
        .args(["--target-memory", SHARE, "--of", of, "--random-weights", "1", "--offline", "--json"])
        .stdout(File::create(&said)?)
        .stderr(File::create(&told)?)
        .spawn()?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed().as_secs() > ROW_SECONDS_MAX {
            child.kill()?;
            child.wait()?;
            return Ok(json!({"error": format!("no answer within {ROW_SECONDS_MAX} s")}));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    for path in [&out, &out.with_extension("onnx.data")] {
        let _ = std::fs::remove_file(path);
    }
    let answer = read(&said);
    if answer.is_object() {
        return Ok(answer);
    }
    let told = std::fs::read_to_string(&told).unwrap_or_default();
    let line = told.lines().rfind(|line| line.contains("error:")).unwrap_or("error: it ended without an answer");
    let line = line.split_once("error:").map_or(line, |(_, rest)| rest).trim();
    Ok(json!({"error": line.chars().take(160).collect::<String>()}))
}

/// The digits, as arrays, and what the example makes of them.
fn digits(table: &mut Table) -> Result<()> {
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
    let mut child = command
        .arg(&arrays)
        .arg(&models)
        .current_dir(root())
        .stderr(Stdio::inherit())
        .stdout(Stdio::piped())
        .spawn()?;
    table.digits.clear();
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        let line = line?;
        eprintln!("{line}");
        table.digits.push(serde_json::from_str(&line).context("a line of the example is no JSON")?);
        table.keep()?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the example `digits` failed ({status})");
    }
    Ok(())
}

fn write_zoo(text: &mut String, rows: &BTreeMap<(String, String), Value>) {
    let n = |of: &str| rows.keys().filter(|row| row.1 == of).count();
    let n_done = |of: &str| rows.iter().filter(|(row, answer)| row.1 == of && answer["pruned"] == true).count();
    let _ = write!(
        text,
        "\n## Real architectures, made-up weights\n\n\
         Pruned so that at most 60 % is left: of the weights' bytes ({} of {}), of the CPU arena's peak ({} of {}). \
         \"Can go\" is the share of the weights' bytes that is in groups at all. \"Error\" is the proof: the relative \
         distance between the pruned model and the whole one with the same weights set to zero, both run by ONNX \
         Runtime. The arena's peak is that of a run on the CPU provider; constant weights lie outside it. No row may \
         take more than {ROW_SECONDS_MAX} s.\n\n\
         | model | 60 % of | groups | channels | can go | weights | left | arena, twin | arena, measured | left | error | seconds | loads and runs |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        n_done("weights"),
        n("weights"),
        n_done("arena"),
        n("arena")
    );
    for ((name, of), answer) in rows {
        if let Some(error) = answer["error"].as_str() {
            let _ = writeln!(text, "| {name} | {of} | | | | | | | | | | | no: {} |", error.replace('|', "/"));
            continue;
        }
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
            "| {name} | {of} | {} | {} | {:.0} % | {} | {} | {} | {} | {} | {} | {:.0} | {verdict} |",
            answer["n_groups"],
            answer["n_atoms"],
            100.0 * can_go,
            change(weights),
            share(weights),
            change(&answer["predicted_peak"]),
            change(&answer["measured_peak"]),
            share(&answer["measured_peak"]),
            if worst.is_nan() { String::new() } else { format!("{worst:.1e}") },
            number(&answer["seconds"]),
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
