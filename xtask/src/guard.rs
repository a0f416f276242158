//! `cargo xtask soak` and `overhead`: what the guard survives, and what it costs.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::ci::{library_in, python_environment};
use crate::runner::{release_example, root, run};
use crate::zoo::shared;

const REQUESTS: &str = "10000";

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

/// Writes `results/soak.md`: about three minutes, and two more for Python.
pub(crate) fn soak() -> Result<()> {
    let head = "# The guard while memory runs out\n\nMade by `cargo xtask soak`. Every way gets the same trace of \
                requests, in an arena of its own beside a session that takes and gives back, all in lockstep; every \
                answer is held against an uncapped session, bit for bit. In vain: runs that ended because memory ran \
                out.\n\n";
    let mut text = head.to_owned();
    let venv = python_environment()?;
    let mut command = Command::new(release_example("soak")?);
    written(command.arg(REQUESTS).env("ORT_DYLIB_PATH", library_in(&venv)?), "soak", &mut text)?;
    text.push_str("\n## The same from Python\n\n");
    let package = python_package()?;
    let mut command = Command::new(venv.join("bin/python"));
    command.arg(root().join("crates/onnxfit-python/tests/python/soak.py")).arg(REQUESTS);
    written(command.env("PYTHONPATH", package), "soak", &mut text)
}

/// The Python package as it would be installed, in a folder of its own.
fn python_package() -> Result<PathBuf> {
    run("cargo", &["build", "--release", "--quiet", "--package", "onnxfit-python"], &[])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = target.join("python-package");
    let package = folder.join("onnxfit");
    std::fs::create_dir_all(&package)?;
    for file in std::fs::read_dir(root().join("crates/onnxfit-python/python/onnxfit"))? {
        let file = file?;
        if file.file_type()?.is_file() {
            std::fs::copy(file.path(), package.join(file.file_name()))?;
        }
    }
    std::fs::copy(target.join("release/libonnxfit_native.so"), package.join("_native.abi3.so"))?;
    Ok(folder)
}

/// Writes `results/overhead.md`: under three minutes.
pub(crate) fn overhead() -> Result<()> {
    let zoo = shared().join("zoo/graphs");
    let arguments: Vec<String> =
        MODELS.iter().map(|(name, sizes)| format!("{}:{sizes}", zoo.join(format!("{name}.onnx")).display())).collect();
    let text = "# What the guard costs when nothing fails\n\nMade by `cargo xtask overhead`: the same inputs through \
                the guard and through its session called past it, in rounds of short blocks whose order changes; one \
                thread, made-up weights. The middle of a run's processor time, of what the guard adds to it, and of \
                the rounds' ratios. Noise is a second plain session, loaded alike, against the first: two loads of \
                one model differ by where their weights happen to lie. The last column is how long the twin takes to \
                say what a request needs that it was asked before.\n\n\
                | graph | runs of each | plain, ms | guard adds, us | processor time | wall time | noise, processor time | \
                noise, wall time | asked, ns |\n\
                |---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    example("overhead", &arguments, text)
}

/// Runs an example of the facade with ONNX Runtime at hand; `results/NAME.md` is `head` and what it
/// prints, written as it comes.
fn example(name: &str, arguments: &[String], head: &str) -> Result<()> {
    let mut command = Command::new(release_example(name)?);
    command.args(arguments).env("ORT_DYLIB_PATH", library_in(&python_environment()?)?);
    written(&mut command, name, &mut head.to_owned())
}

/// Runs a program; `results/NAME.md` is `text` and what it prints, written as it comes.
fn written(command: &mut Command, name: &str, text: &mut String) -> Result<()> {
    let mut child =
        command.current_dir(root()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {name}"))?;
    let stdout = child.stdout.take().context("the pipe that was asked for")?;
    let path = root().join(format!("results/{name}.md"));
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        eprintln!("{line}");
        text.push_str(&line);
        text.push('\n');
        std::fs::write(&path, &*text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}
