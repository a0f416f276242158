//! The invariants of ARCHITECTURE.md that a machine can check.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::runner::root;

/// Which crate may lean on which: each on those before it in the table, and only if named.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("onnx", &["base"]),
    ("hardware", &["base"]),
    ("graph", &["base", "onnx"]),
    ("shape", &["base", "onnx", "graph"]),
    ("memory", &["base", "onnx", "graph", "shape"]),
    ("explain", &["base"]),
    ("runtime", &["base", "onnx"]),
    ("rewrite", &["base", "onnx", "graph", "shape"]),
    ("prune", &["base", "onnx", "graph", "shape"]),
    ("quantize", &["base", "onnx", "graph", "shape"]),
    ("data", &["base", "runtime"]),
    ("train", &["base", "onnx", "graph", "shape", "memory", "runtime", "rewrite", "data"]),
    ("plan", &["base"]),
    ("deploy", &["base", "onnx"]),
    ("report", &["base"]),
    ("server", &[]),
];

/// Crates that read neither files, clock nor environment.
const PURE: &[&str] = &[
    "base", "graph", "shape", "memory", "explain", "hardware", "rewrite", "prune", "quantize", "plan", "deploy",
    "report",
];

/// What pure crates may not name.
const IMPURE: &[&str] = &["std::fs", "std::env", "std::time", "std::net", "std::process", "SystemTime", "Instant::now"];

/// A source file longer than this is more than one noun.
const LINES_MAX: usize = 800;

/// Checks them all and lists every breach.
pub(crate) fn tidy() -> Result<()> {
    let mut breaches = Vec::new();
    check_layers(&mut breaches)?;
    for path in source_files()? {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let shown = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().into_owned();
        check_source(&shown, &text, &mut breaches);
    }
    if breaches.is_empty() {
        eprintln!("tidy: all in order");
        return Ok(());
    }
    for breach in &breaches {
        eprintln!("tidy: {breach}");
    }
    bail!("{} breaches of the house's rules", breaches.len())
}

fn check_layers(breaches: &mut Vec<String>) -> Result<()> {
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    for entry in std::fs::read_dir(root().join("crates"))?.flatten() {
        let folder = entry.file_name().to_string_lossy().into_owned();
        let manifest = std::fs::read_to_string(entry.path().join("Cargo.toml"))
            .with_context(|| format!("{folder} has no Cargo.toml"))?;
        let name = folder.strip_prefix("onnxfit-").unwrap_or("");
        let Some(below) = allowed.get(name) else { continue };
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
        for line in dependencies.lines() {
            if let Some(dependency) = line.strip_prefix("onnxfit-").and_then(|rest| rest.split(['.', ' ', '=']).next())
                && !below.contains(&dependency)
            {
                breaches.push(format!("crates/{folder}: may not lean on onnxfit-{dependency} (see LAYERS)"));
            }
            let is_ort = line.starts_with("ort.") || line.starts_with("ort ");
            if is_ort && name != "runtime" {
                breaches.push(format!("crates/{folder}: only onnxfit-runtime may see `ort`"));
            }
        }
    }
    Ok(())
}

fn check_source(path: &str, text: &str, breaches: &mut Vec<String>) {
    let n_lines = text.lines().count();
    if n_lines > LINES_MAX {
        breaches.push(format!("{path}: {n_lines} lines, at most {LINES_MAX}"));
    }
    let is_test = path.contains("/tests/") || path.ends_with("tests.rs") || path.contains("/benches/");
    if path.ends_with(".rs") && !path.ends_with("/tests.rs") && !text.trim_start_matches("#!").contains("//!") {
        breaches.push(format!("{path}: no head that says what it is (`//! …`)"));
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or("");
    let pure = PURE.iter().any(|name| path.starts_with(&format!("crates/onnxfit-{name}/src")));
    for (index, line) in code.lines().enumerate() {
        let statement = line.trim_start();
        if statement.starts_with("//") || is_test {
            continue;
        }
        let at = format!("{path}:{}", index + 1);
        if statement.contains(".unwrap()") {
            breaches.push(format!("{at}: `unwrap()`; say why it holds with `expect`, or return an error"));
        }
        for word in ["todo!(", "unimplemented!(", "dbg!("] {
            if statement.contains(word) && !path.starts_with("xtask/") {
                breaches.push(format!("{at}: `{word}…)`"));
            }
        }
        if pure && let Some(word) = IMPURE.iter().find(|word| statement.contains(**word)) {
            breaches.push(format!("{at}: a pure crate names `{word}`"));
        }
    }
}

fn source_files() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["crates", "xtask", "fuzz"].iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_kept = !path.file_name().is_some_and(|name| name == "target" || name == "corpus");
            if path.is_dir() && is_kept {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py")
                && is_source(&path)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_source(path: &Path) -> bool {
    !path.components().any(|part| part.as_os_str() == "node_modules")
}
