//! `cargo xtask fp16`: half precision by onnxfit and by four other tools, side by side, as a table.

use std::path::Path;

use anyhow::{Context, Result};

use crate::runner::{release_binary, root, run};
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

/// Architectures of the zoo that are small enough to be run by every tool, with random weights.
const ZOO: [&str; 30] = [
    "bilstm_tagger",
    "clip_vit_b32_text_ts",
    "clip_vit_b32_vision_ts",
    "deeplabv3_resnet50",
    "densenet121",
    "distilbert_base_cls",
    "efficientnet_b0",
    "efficientnet_b0_dynamo",
    "efficientnet_b4",
    "esrgan_x4_6b",
    "fcn_resnet50",
    "inception_v3",
    "lraspp_mobilenetv3",
    "lstm_lm",
    "mobilenetv3_large",
    "resnet18",
    "resnet50",
    "resnet50_dynamo",
    "shipped_nudenet_yolov8n",
    "shipped_silero_vad_v4",
    "shipped_vgg16_tumor",
    "shufflenet_v2",
    "swin_t",
    "swin_t_dynamo",
    "t5_small_decoder",
    "t5_small_encoder",
    "wav2vec2_base",
    "wavenet_tcn",
    "yolos_tiny",
    "yolov8n",
];

/// Writes `results/fp16.md`; what is given goes to the script, such as `--budget 1200` (seconds after
/// which no new model is begun; an hour if nothing is said).
pub(crate) fn fp16(more: &[String]) -> Result<()> {
    let home = root().join("target/peers");
    let python = home.join("bin/python");
    if !python.exists() {
        let place = text(&home)?;
        run("python3", &["-m", "venv", place], &[])?;
        let install = ["-m", "pip", "install", "--quiet", "--no-deps"];
        run(text(&python)?, &[&install[..], &PACKAGES[..]].concat(), &[])?;
    }
    let binary = release_binary()?;
    let script = root().join("crates/onnxfit-rewrite/tests/peers/fp16.py");
    let out = root().join("results/fp16.md");
    let mut arguments = vec![text(&script)?, text(&out)?, text(&binary)?];
    let zoo = home.join("zoo");
    let sizes = shared().join("zoo/graphs");
    let graphs: Vec<String> = ZOO
        .iter()
        .map(|name| sizes.join(format!("{name}.onnx")))
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if graphs.is_empty() {
        eprintln!("no zoo beside the repository: only the models of packages");
    } else {
        std::fs::create_dir_all(&zoo)?;
        let example = ["run", "--release", "--quiet", "-p", "onnxfit-rewrite", "--example", "half", "--", text(&zoo)?];
        let graphs: Vec<&str> = graphs.iter().map(String::as_str).collect();
        run("cargo", &[&example[..], &graphs[..]].concat(), &[])?;
        arguments.extend(["--zoo", text(&zoo)?, "--sizes", text(&sizes)?]);
    }
    arguments.extend(more.iter().map(String::as_str));
    run(text(&python)?, &arguments, &[])
}

pub(crate) fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("`{}` is no UTF-8", path.display()))
}
