//! `cargo xtask soak` and `overhead`: what the guard survives, and what it costs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ci::{library_in, python_environment};
use crate::runner::root;
use crate::zoo::shared;

/// Ten architectures, small and large, of few long runs and of many short ones.
const MODELS: &[(&str, &str)] = &[
    ("resnet18", "batch=2,height=96,width=96"),
    ("resnet50", "batch=1,height=96,width=96"),
    ("mobilenetv3_large", "batch=2,height=96,width=96"),
    ("efficientnet_b0", "batch=2,height=96,width=96"),
    ("shufflenet_v2", "batch=2,height=96,width=96"),
    ("densenet121", "batch=1,height=96,width=96"),
    ("distilbert_base_cls", "batch_size=1,sequence_length=32"),
    ("t5_small_encoder", "batch_size=2,encoder_sequence_length=32"),
    ("lstm_lm", "batch=4,seq=24"),
    ("bilstm_tagger", "batch=3,seq=32"),
];

/// Writes `results/soak.md`.
pub(crate) fn soak() -> Result<()> {
    let table = example("soak", &["10000".to_owned()])?;
    let text = format!(
        "# The guard while memory runs out\n\nMade by `cargo xtask soak`. Every way gets the same trace of requests, in an \
         arena of its own beside a session that takes and gives back; every answer is held against an uncapped \
         session, bit for bit. In vain: runs that ended because memory ran out.\n\n{table}"
    );
    write("soak", &text)
}

/// Writes `results/overhead.md`.
pub(crate) fn overhead() -> Result<()> {
    let zoo = shared().join("zoo/graphs");
    let arguments: Vec<String> =
        MODELS.iter().map(|(name, sizes)| format!("{}:{sizes}", zoo.join(format!("{name}.onnx")).display())).collect();
    let table = example("overhead", &arguments)?;
    let text = format!(
        "# What the guard costs when nothing fails\n\nMade by `cargo xtask overhead`: the same inputs through the plain \
         session and the guarded one, block by block in turn; one thread, made-up weights. Processor time of a run, and \
         the middle of the ratios of wall time. The last column is how long the twin takes to say what a request needs \
         that it was asked before.\n\n\
         | graph | runs of each | plain, ms | guarded, ms | processor time | wall time, middle | asked, ns |\n\
         |---|---:|---:|---:|---:|---:|---:|\n{table}"
    );
    write("overhead", &text)
}

/// Runs an example of the facade with ONNX Runtime at hand; what it prints.
fn example(name: &str, arguments: &[String]) -> Result<String> {
    let venv = python_environment()?;
    let library = library_in(&venv)?;
    let output = Command::new("cargo")
        .args(["run", "--release", "--quiet", "--package", "onnxfit", "--example", name, "--"])
        .args(arguments)
        .env("ORT_DYLIB_PATH", library)
        .current_dir(root())
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run the example {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("the example {name} failed ({}):\n{text}", output.status);
    }
    Ok(text)
}

fn write(name: &str, text: &str) -> Result<()> {
    let path = root().join(format!("results/{name}.md"));
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{text}");
    Ok(())
}
