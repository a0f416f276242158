//! `cargo xtask quantize`: quantization by onnxfit and by ONNX Runtime's own tool, side by side.

use anyhow::Result;

use crate::fp16::text;
use crate::runner::{release_binary, root, run};

/// Where the models and the other tool come from. Without their dependencies: the models lie
/// inside, and the tool needs only what is listed.
const PACKAGES: [&str; 16] = [
    "ddddocr",
    "magika",
    "rapidocr",
    "rapidocr-onnxruntime",
    "silero-vad",
    "onnx==1.23.2",
    "onnxruntime==1.31.1",
    "flatbuffers",
    "ml_dtypes",
    "mpmath",
    "numpy",
    "packaging",
    "pillow",
    "protobuf",
    "sympy",
    "typing_extensions",
];

/// Writes `results/quantize.md`; what is given goes to the script, such as `--only magika`.
pub(crate) fn quantize(more: &[String]) -> Result<()> {
    let home = root().join("target/quantize-peers");
    let python = home.join("bin/python");
    if !python.exists() {
        run("python3", &["-m", "venv", text(&home)?], &[])?;
        let install = ["-m", "pip", "install", "--quiet", "--no-deps"];
        run(text(&python)?, &[&install[..], &PACKAGES[..]].concat(), &[])?;
    }
    let binary = release_binary()?;
    let script = root().join("crates/onnxfit-quantize/tests/peers/quantize.py");
    let out = root().join("results/quantize.md");
    let mut arguments = vec![text(&script)?, text(&out)?, text(&binary)?];
    arguments.extend(more.iter().map(String::as_str));
    // Both tools run the same release.
    run(text(&python)?, &arguments, &[("VIRTUAL_ENV", &home)])
}
