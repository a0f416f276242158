//! `cargo xtask serve`: ten thousand requests against `onnxfit serve`, with too little memory and
//! workers that are killed: `results/serve.md`.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::ci::{library_in, python_environment};
use crate::runner::{release_binary, release_example, root};

const REQUESTS: &str = "10000";
const KILLS: &str = "20";

/// Runs the campaign and writes its table.
pub(crate) fn serve() -> Result<()> {
    let python = python_environment()?.join("bin/python");
    let binary = release_binary()?;
    let path = root().join("results/serve.md");
    let folder = std::env::temp_dir().join(format!("onnxfit-serve-{}", std::process::id()));
    std::fs::create_dir_all(&folder).context("cannot make a temporary folder")?;
    let mut child = Command::new(python)
        .arg(root().join("xtask/serve/client.py"))
        .arg(&binary)
        .args(["--requests", REQUESTS, "--kills", KILLS])
        .args(certificate(&folder))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start Python")?;
    let stdout = child.stdout.take().context("the pipe that was asked for")?;
    let mut promises = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        eprintln!("{line}");
        let Ok(found) = serde_json::from_str::<Value>(&line) else { continue };
        if found.get("promise").is_some() {
            promises.push(found);
            std::fs::write(&path, table(&promises, ""))?;
        }
    }
    let status = child.wait()?;
    // What is left over is in a folder for what is left over.
    let _ = std::fs::remove_dir_all(&folder);
    let load = load(&binary)?;
    std::fs::write(&path, table(&promises, &load))?;
    if !status.success() {
        bail!("a promise did not hold ({status})");
    }
    Ok(())
}

/// The arguments that name a certificate of this minute and its key; none where there is no `openssl`,
/// and then the script says that TLS was not asked.
fn certificate(folder: &Path) -> Vec<std::ffi::OsString> {
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    match made {
        Ok(output) if output.status.success() => {
            vec!["--tls-cert".into(), certificate.into(), "--tls-key".into(), key.into()]
        }
        _ => Vec::new(),
    }
}

/// The server under load beside the session itself: the rows of a table.
fn load(binary: &Path) -> Result<String> {
    let mut child = Command::new(release_example("load")?)
        .arg(binary)
        .env("ORT_DYLIB_PATH", library_in(&python_environment()?)?)
        .current_dir(root())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the example load")?;
    let stdout = child.stdout.take().context("the pipe that was asked for")?;
    let mut text = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        eprintln!("{line}");
        text.push_str(&line);
        text.push('\n');
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the example load failed ({status})");
    }
    Ok(text)
}

fn table(promises: &[Value], load: &str) -> String {
    let mut text = format!(
        "# The server, asked {REQUESTS} times\n\n\
         Made by `cargo xtask serve` (`xtask/serve/client.py`), CPU provider. The soak: arena limit 12 MiB, of which \
         another session takes up to 8 MiB at random and unseen (`--rehearse-others`), on a model whose requests of 1 \
         to 2,000 rows take up to 33 MB; 4 callers, {KILLS} times SIGKILL to the worker in the first half, 8 clients \
         that never finish their request. Memory is looked at 500 times; flat is when the largest of the second half \
         is at most 1.2 times that of the first and 16 MiB. Reference: the same model without a limit, in onnxruntime 1.31.1.\n\n\
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
    let _ = writeln!(
        text,
        "\n## How fast\n\nCallers that ask as fast as they are answered, each over a connection that it keeps, \
         tensors as binary data over HTTP; the session itself is called by one caller. Two threads, callers and \
         server on one machine; every answer is held against the session's.\n\n{load}"
    );
    text
}
