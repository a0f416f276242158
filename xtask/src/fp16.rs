//! `cargo xtask fp16`: half precision by onnxfit and by four other tools, side by side, as a table.

use std::path::Path;

use anyhow::{Context, Result};

use crate::runner::{release_binary, release_example, root, run};
use crate::weights::python;
use crate::zoo::shared;

/// Where the models and the other tools come from. Without their dependencies: the models lie
/// inside, and the tools need only what is listed.
pub(crate) const PACKAGES: [&str; 26] = [
    "ddddocr",
    "magika",
    "rapidocr",
    "rapidocr-onnxruntime",
    "silero-vad",
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "onnxconverter-common==1.16.0",
    "onnxslim==0.1.98",
    "onnxsim==0.8.1",
    "colorama",
    "coloredlogs",
    "flatbuffers",
    "humanfriendly",
    "markdown-it-py",
    "mdurl",
    "ml_dtypes",
    "mpmath",
    "numpy",
    "packaging",
    "protobuf",
    "pygments",
    "rich",
    "sympy",
    "typing_extensions",
    "setuptools",
];

/// Writes `results/fp16.md` from the rows in `results/fp16.jsonl`, and first makes those that are missing
/// or of an earlier build; what is given goes to the script, such as `--tools onnxfit "onnxfit unseen"
/// --budget 600` (seconds after which no new row is begun; an hour if nothing is said).
pub(crate) fn fp16(more: &[String]) -> Result<()> {
    let python = python()?;
    let binary = release_binary()?;
    let script = root().join("crates/onnxfit-rewrite/tests/peers/fp16.py");
    let out = root().join("results/fp16.md");
    let mut arguments = vec![text(&script)?, text(&out)?, text(&binary)?];
    let graphs = shared().join("zoo/graphs");
    let maker = release_example("half")?;
    if graphs.exists() {
        arguments.extend(["--zoo", text(&graphs)?, text(&maker)?]);
    } else {
        eprintln!("no zoo beside the repository: only the models of packages");
    }
    arguments.extend(more.iter().map(String::as_str));
    run(text(&python)?, &arguments, &[])
}

pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("`{}` is no UTF-8", path.display()))
}
