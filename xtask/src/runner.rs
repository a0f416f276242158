//! Starting other programs, loudly.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
}

/// Runs a program in the repository's root and fails if it does.
pub(crate) fn run(program: &str, arguments: &[&str], environment: &[(&str, &Path)]) -> Result<()> {
    eprintln!("$ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .with_context(|| format!("cannot start `{program}`"))?;
    if !status.success() {
        bail!("`{program} {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// Whether a program starts and succeeds; its output is dropped.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// The release build of the command, or the one that `ONNXFIT_BINARY` names.
pub(crate) fn release_binary() -> Result<PathBuf> {
    match std::env::var_os("ONNXFIT_BINARY") {
        Some(binary) => Ok(binary.into()),
        None => Ok(release_folder()?.join("onnxfit")),
    }
}

/// The release build of an example that measures or makes models; beside the command that
/// `ONNXFIT_BINARY` names, if it was built there.
pub(crate) fn release_example(name: &str) -> Result<PathBuf> {
    let beside = std::env::var_os("ONNXFIT_BINARY")
        .and_then(|binary| Some(Path::new(&binary).parent()?.join("examples").join(name)));
    match beside.filter(|example| example.exists()) {
        Some(example) => Ok(example),
        None => Ok(release_folder()?.join("examples").join(name)),
    }
}

/// Where release builds lie, built once: the command and the examples together, so that what they
/// share is built once too.
fn release_folder() -> Result<PathBuf> {
    static BUILT: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    if BUILT.get().is_none() {
        let packages = ["onnxfit-cli", "onnxfit", "onnxfit-server", "onnxfit-rewrite"].map(|name| ["--package", name]);
        let examples = ["overhead", "soak", "load", "half"].map(|name| ["--example", name]);
        let all =
            [&["build", "--release", "--quiet", "--bin", "onnxfit"], packages.as_flattened(), examples.as_flattened()];
        run("cargo", &all.concat(), &[])?;
        let _ = BUILT.set(());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release"))
}
