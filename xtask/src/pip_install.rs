//! `cargo xtask pip-install`: the README's way for Python, in release, from a fresh clone into a fresh
//! virtual environment, then the command and the notebook in it: `results/pip_install.md`.
//!
//! Ten minutes on two idle cores, all but one of them the build; it stops what takes longer than half
//! an hour. Committed is what is cloned.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::runner::root;

/// The most that one step may take.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// What the environment must not inherit: the package finds what it needs by itself.
const NOT_INHERITED: [&str; 6] =
    ["ORT_DYLIB_PATH", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "CARGO_TARGET_DIR", "ONNXFIT_PYTHON"];

/// A step: what a user types, and what is run.
struct Step<'a> {
    typed: &'a str,
    program: String,
    arguments: Vec<String>,
}

/// Runs all steps and writes the table, a row as each ends.
pub(crate) fn pip_install() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("onnxfit-pip-install-{}", std::process::id()));
    std::fs::create_dir_all(&folder).context("cannot make a temporary folder")?;
    let installed = all(&folder);
    // What is left over is in a folder for what is left over.
    let _ = std::fs::remove_dir_all(&folder);
    installed
}

fn all(folder: &Path) -> Result<()> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (clone, venv) = (folder.join("onnxfit"), folder.join("venv"));
    let (python, command) = (text(&venv.join("bin/python")), text(&venv.join("bin/onnxfit")));
    let model = text(&clone.join("examples/resnet50/model.onnx"));
    let tests = clone.join("crates/onnxfit-python/tests/python");
    let step = |typed, program: &str, arguments: &[&str]| Step {
        typed,
        program: program.to_owned(),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
    };
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let steps = [
        step("git clone", "git", &["clone", "--quiet", &text(&root()), &text(&clone)]),
        step("python3 -m venv venv", "python3", &["-m", "venv", &text(&venv)]),
        step("pip install .", &python, &[&pip[..], &[&text(&clone)]].concat()),
        step(
            "onnxfit check examples/resnet50/model.onnx --on T4 --dim batch=8 --dim height=224 --dim width=224",
            &command,
            &["check", &model, "--on", "T4", "--dim", "batch=8", "--dim", "height=224", "--dim", "width=224"],
        ),
        step("pip install onnx", &python, &[&pip[..], &["onnx"]].concat()),
        step(
            "the notebook, every cell",
            &python,
            &[
                &text(&tests.join("run_notebook.py")),
                &text(&clone.join("crates/onnxfit-python/notebook.ipynb")),
                &text(&clone.join("examples")),
            ],
        ),
    ];
    let revision = said(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root()));
    let mut table = format!(
        "# `pip install .`\n\nMade by `cargo xtask pip-install`: a fresh clone of {revision}, a fresh virtual environment \
         ({}), no build\nfolder of an earlier build, {} processors.\n\n| step | seconds | result | what it said |\n|---|---:|---|---|\n",
        said(Command::new("python3").arg("--version")),
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    );
    let path = root().join("results/pip_install.md");
    for step in &steps {
        eprintln!("$ {}", step.typed);
        let (seconds, result, last) = run(step, folder)?;
        eprintln!("{seconds:.1} s, {result}: {last}");
        // Writing to a `String` cannot fail.
        let _ = writeln!(table, "| `{}` | {seconds:.1} | {result} | {} |", step.typed, last.replace('|', "\\|"));
        std::fs::write(&path, &table).context("cannot write results/pip_install.md")?;
        if result != "works" {
            bail!("`{}` {result}: {last}", step.typed);
        }
    }
    Ok(())
}

/// Runs a step: seconds, how it ended, its verdict or the last line that it printed.
fn run(step: &Step<'_>, folder: &Path) -> Result<(f64, String, String)> {
    let began = Instant::now();
    let log = folder.join("log");
    let file = std::fs::File::create(&log).context("cannot write a log")?;
    let mut command = Command::new(&step.program);
    command.args(&step.arguments).current_dir(folder).stdin(Stdio::null());
    command.stdout(file.try_clone().context("cannot share a log")?).stderr(file);
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", step.program))?;
    let result = loop {
        match child.try_wait()? {
            Some(status) if status.success() => break "works".to_owned(),
            Some(status) => break format!("fails ({status})"),
            None if began.elapsed() > LIMIT => {
                // It may have ended in this moment.
                let _ = child.kill();
                let _ = child.wait();
                break format!("takes more than {} minutes", LIMIT.as_secs() / 60);
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    if result != "works" {
        eprintln!("{text}");
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let verdict = text.lines().find(|line| line.starts_with("fits on "));
    let last = verdict.or_else(|| lines.next_back()).unwrap_or_default();
    let last = last.trim().replace(&format!("{}/", folder.display()), "");
    Ok((began.elapsed().as_secs_f64(), result, last))
}

/// What a program prints, as far as it can be asked.
fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
