//! `cargo xtask split`: architectures of the zoo in stages, each proved against the whole; `results/split.md`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::ci::{library_in, python_environment};
use crate::runner::{release_binary, root};

/// Architecture, stages, sizes.
const RUNS: &[(&str, usize, &[&str])] = &[
    ("resnet50", 2, &["batch=2", "height=224", "width=224"]),
    ("mobilenetv3_large", 3, &["batch=2", "height=224", "width=224"]),
    ("distilbert_base_cls", 4, &["batch_size=2", "sequence_length=128"]),
    ("t5_small_encoder", 2, &["batch_size=2", "encoder_sequence_length=128"]),
    ("deeplabv3_resnet50", 3, &["batch=1", "height=224", "width=224"]),
    ("lstm_lm", 2, &["batch=2", "seq=64"]),
];

/// Cuts, runs and compares them all; about a minute on two cores.
pub(crate) fn split() -> Result<()> {
    let program = release_binary()?;
    let library = library_in(&python_environment()?)?;
    let mut table = String::from(
        "# Models in stages\n\nMade by `cargo xtask split`: made-up weights, one g4dn.12xlarge (four T4), whole and stages run \
         on the CPU provider\nand compared. Sizes are predicted, context included.\n\n\
         | architecture | whole | stages | from stage to stage | largest difference | same |\n|---|---|---|---|---|---|\n",
    );
    let path = root().join("results/split.md");
    let mut unequal = Vec::new();
    for (name, n_stages, dims) in RUNS {
        let answer = one(&program, &library, name, *n_stages, dims)?;
        table.push_str(&row(name, &answer));
        std::fs::write(&path, &table).context("cannot write results/split.md")?;
        eprintln!("{}", row(name, &answer).trim_end());
        if answer["verify"]["agrees"] != true {
            unequal.push(*name);
        }
    }
    if !unequal.is_empty() {
        bail!("the stages of {} do not answer as the whole does", unequal.join(", "));
    }
    Ok(())
}

fn one(program: &Path, library: &Path, name: &str, n_stages: usize, dims: &[&str]) -> Result<Value> {
    let folder = std::env::temp_dir().join(format!("onnxfit-split-{}-{name}", std::process::id()));
    let mut command = Command::new(program);
    command.arg("split").arg(root().join("examples").join(name).join("model.onnx"));
    for dim in dims {
        command.args(["--dim", dim]);
    }
    command.args(["--on", "g4dn.12xlarge", "--random-weights", "0", "--offline", "--json", "--stages"]);
    let output = command.arg(n_stages.to_string()).arg("-o").arg(&folder).env("ORT_DYLIB_PATH", library).output();
    // Only the answer is kept.
    let _ = std::fs::remove_dir_all(&folder);
    let output = output.context("the command does not start")?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{name}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn row(name: &str, answer: &Value) -> String {
    let mib = |value: &Value| value.as_u64().map_or(0.0, |bytes| bytes as f64 / f64::from(1 << 20));
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let stages: Vec<String> =
        list(&answer["stages"]).iter().map(|stage| format!("{:.0}", mib(&stage["peak_bytes"]["expected"]))).collect();
    let errors = list(&answer["verify"]["outputs"]);
    let worst = errors.iter().filter_map(|output| output["max_absolute_error"].as_f64()).fold(0.0, f64::max);
    format!(
        "| {name} | {:.0} MiB | {} MiB | {:.2} MiB | {worst:.1e} | {} |\n",
        mib(&answer["whole_bytes"]["expected"]),
        stages.join(" + "),
        mib(&answer["traffic_bytes"]),
        if answer["verify"]["agrees"] == true { "yes" } else { "NO" }
    )
}
