//! `cargo xtask serve`: ten thousand requests against `onnxfit serve`, with too little memory and
//! workers that are killed: `results/serve.md`.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::ci::python_environment;
use crate::runner::{release_binary, root};

const REQUESTS: &str = "10000";
const KILLS: &str = "20";

/// Runs the campaign and writes its table.
pub(crate) fn serve() -> Result<()> {
    let python = python_environment()?.join("bin/python");
    let binary = release_binary()?;
    let mut child = Command::new(python)
        .arg(root().join("xtask/serve/client.py"))
        .arg(binary)
        .args(["--requests", REQUESTS, "--kills", KILLS])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start Python")?;
    let stdout = child.stdout.take().context("the pipe that was asked for")?;
    let mut promises = Vec::new();
    let mut direct = None;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        eprintln!("{line}");
        let Ok(found) = serde_json::from_str::<Value>(&line) else { continue };
        if found.get("promise").is_some() {
            promises.push(found);
        } else if let Some(rate) = found.get("direct_requests_per_second") {
            direct = rate.as_f64();
        }
    }
    let status = child.wait()?;
    std::fs::write(root().join("results/serve.md"), table(&promises, direct))?;
    if !status.success() {
        bail!("a promise did not hold ({status})");
    }
    Ok(())
}

fn table(promises: &[Value], direct: Option<f64>) -> String {
    let mut text = format!(
        "# The server, asked {REQUESTS} times\n\n\
         Made by `cargo xtask serve` (`xtask/serve/client.py`), CPU provider, arena limit 12 MiB on a model whose \
         requests of 1 to 2,000 rows take up to 33 MB, 4 callers, {KILLS} times SIGKILL to the worker, 8 clients that \
         never finish their request. Reference: the same model without a limit, in onnxruntime 1.31.1.\n\n\
         | promise | holds | figures |\n|---|---|---|\n"
    );
    for found in promises {
        let facts = found.as_object().into_iter().flatten();
        let facts: Vec<String> = facts
            .filter(|(key, _)| !["promise", "holds"].contains(&key.as_str()))
            .map(|(key, value)| format!("{key} {}", value.to_string().replace('|', "\\|")))
            .collect();
        let holds = if found["holds"] == Value::Bool(true) { "yes" } else { "**no**" };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "| {} | {holds} | {} |", found["promise"].as_str().unwrap_or(""), facts.join(", "));
    }
    let served = promises.iter().find_map(|found| found.get("requests_per_second")?.as_f64());
    if let (Some(served), Some(direct)) = (served, direct) {
        let _ = writeln!(
            text,
            "\nThrough the server {served:.0} requests/s, memory running out and workers dying included; the session \
             called directly, one caller and no limit, {direct:.0} requests/s: {:.2} of it.",
            served / direct
        );
    }
    text
}
