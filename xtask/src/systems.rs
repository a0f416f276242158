//! `cargo xtask systems`: what needs packages too large for continuous integration: the wheel with a
//! dataset of Ray's on a local cluster, manifests against Kubernetes' whole schema, requests against
//! SageMaker's service model: `results/systems.md`; the drop-in's uses: `results/drop_in.md`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::ci::{environment, library_in};
use crate::runner::root;

/// 77, 23 and 17 MB to fetch; 400 MB installed.
const PACKAGES: [&str; 3] = ["ray[data]==2.60.0", "kubernetes-validate==1.37.0", "botocore==1.44.5"];
/// Packages of tests, and the tests.
const TESTS: [&str; 10] = [
    "--package",
    "onnxfit-python",
    "--package",
    "onnxfit-cli",
    "--test",
    "wheel",
    "--test",
    "deploy",
    "--test",
    "split",
];
/// Lines of the tests' own output that say what was shown.
const TELLING: [&str; 6] =
    ["a worker was killed", "plan: ", "predict: ", "is valid", "Deployment ", "HorizontalPodAutoscaler "];

/// Runs those tests with the packages at hand and writes the table. A test that was skipped is a failure here.
pub(crate) fn systems() -> Result<()> {
    let venv = environment("venv-systems", &PACKAGES)?;
    let (python, library) = (venv.join("bin/python"), library_in(&venv)?);
    let arguments = [&["nextest", "run", "--no-fail-fast", "--success-output", "immediate"], &TESTS[..]].concat();
    eprintln!("$ cargo {}", arguments.join(" "));
    let output = Command::new("cargo")
        .args(&arguments)
        .envs([("VIRTUAL_ENV", venv.as_path()), ("ORT_DYLIB_PATH", &library), ("ONNXFIT_PYTHON", &python)])
        .current_dir(root())
        .stderr(Stdio::piped())
        .output()
        .context("cannot start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    eprintln!("{said}");
    if !said.contains("Summary [") {
        bail!("the tests did not run ({})", output.status);
    }
    write(&root().join("results/systems.md"), &said)?;
    write_drop_in(&root().join("results/drop_in.md"), &said)?;
    if let Some(skipped) = said.lines().find(|line| line.trim().starts_with("skipped:")) {
        bail!("a package is missing after all: {}", skipped.trim());
    }
    if !output.status.success() {
        bail!("a test failed ({})", output.status);
    }
    Ok(())
}

/// The drop-in's uses, as its test prints them.
fn write_drop_in(path: &Path, said: &str) -> Result<()> {
    let mut lines = said.lines().map(str::trim).skip_while(|line| !line.starts_with("| use |")).peekable();
    if lines.peek().is_none() {
        bail!("the test of the wheel printed no table");
    }
    let mut table = "# `onnxfit.InferenceSession` in onnxruntime's place\n\nMade by `cargo xtask systems` \
                     (`crates/onnxfit-python/tests/python/drop_in.py`): each use by both\nclasses on onnxruntime 1.31.1, CPU \
                     provider, answers and errors compared; the last rows have no\ncounterpart there and hold what they say.\n\n"
        .to_owned();
    lines.take_while(|line| line.starts_with('|')).for_each(|line| table.push_str(&format!("{line}\n")));
    std::fs::write(path, table).context("cannot write results/drop_in.md")
}

fn write(path: &Path, said: &str) -> Result<()> {
    let mut table = format!(
        "# Ray, Kubernetes, SageMaker\n\nMade by `cargo xtask systems`, with {} beside the packages of the tests; debug builds.\n\n\
         | test | result | seconds |\n|---|---|---:|\n",
        PACKAGES.join(", ")
    );
    let mut summary = "";
    for line in said.lines().map(str::trim) {
        let Some((result, rest)) = line.split_once(" [") else { continue };
        if result == "Summary" {
            summary = line;
        }
        if let ("PASS" | "FAIL", Some((seconds, name))) = (result, rest.split_once("s]")) {
            let name = name.trim().rsplit_once(") ").map_or(name.trim(), |(_, name)| name);
            // Writing to a `String` cannot fail.
            let _ = writeln!(table, "| {name} | {result} | {} |", seconds.trim());
        }
    }
    let _ = writeln!(table, "\n`{summary}`\n\nWhat they printed:\n\n```text");
    let mut told = Vec::new();
    for line in said.lines().map(str::trim) {
        if TELLING.iter().any(|telling| line.starts_with(telling) || line.ends_with(telling)) && !told.contains(&line) {
            let _ = writeln!(table, "{line}");
            told.push(line);
        }
    }
    table.push_str("```\n");
    std::fs::write(path, table).context("cannot write results/systems.md")
}
