//! `cargo xtask gpu-campaign`: everything that a machine with a card needs, in one folder.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::runner::{release_binary, root};
use crate::zoo::shared;

/// Architectures of the campaign; those that are not at hand are left out.
const MODELS: &[&str] = &[
    "resnet18",
    "resnet50",
    "mobilenetv3_large",
    "efficientnet_b0",
    "densenet121",
    "vgg16",
    "inception_v3",
    "deeplabv3_resnet50",
    "fcn_resnet50",
    "esrgan_x4_6b",
    "regnet_y_8gf",
    "shufflenet_v2",
    "lraspp_mobilenetv3",
    "distilbert_base_cls",
    "t5_small_encoder",
    "t5_small_decoder",
    "lstm_lm",
    "bilstm_tagger",
    "wav2vec2_base",
    "swin_t",
    "timm_mixer_b16",
    "clip_vit_b32_vision_ts",
    "wavenet_tcn",
    "deberta_v3_base",
];

/// Rows of the cases of each architecture.
const BATCHES: [i64; 3] = [1, 8, 32];

/// Packs `target/gpu-campaign`.
pub(crate) fn pack() -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let folder = target.join("gpu-campaign");
    let models = folder.join("models");
    std::fs::create_dir_all(&models)?;
    std::fs::copy(release_binary()?, folder.join("onnxfit"))?;
    std::fs::copy(root().join("xtask/campaign/gpu.py"), folder.join("gpu.py"))?;
    let mut cases = Vec::new();
    for name in MODELS {
        let graph = shared().join("zoo/graphs").join(format!("{name}.onnx"));
        if !graph.exists() {
            eprintln!("left out: {name} is not at hand");
            continue;
        }
        std::fs::copy(&graph, models.join(format!("{name}.onnx")))?;
        cases.extend(cases_of(name, &graph)?);
    }
    // One batch of every architecture before the next: a time limit cuts the large ones.
    cases.sort_by_key(|(rows, _)| *rows);
    let cases: Vec<Value> = cases.into_iter().map(|(_, case)| case).collect();
    std::fs::write(folder.join("cases.json"), serde_json::to_string_pretty(&cases)?)?;
    println!("{} cases in {}", cases.len(), folder.display());
    println!("there: python3 gpu.py --library PATH/onnxruntime/capi/libonnxruntime.so.1.31.1");
    Ok(())
}

/// The measured variant's sizes, with other batches.
fn cases_of(name: &str, graph: &Path) -> Result<Vec<(i64, Value)>> {
    let meta = std::fs::read_to_string(graph.with_extension("meta.json"))?;
    let meta: Value = serde_json::from_str(&meta)?;
    let variant = meta.pointer("/variants/0").and_then(Value::as_object).context("a variant")?.clone();
    let batch = variant.keys().find(|key| key.starts_with("batch")).cloned();
    let mut cases = Vec::new();
    for rows in BATCHES {
        let mut dims = variant.clone();
        match &batch {
            Some(batch) => {
                dims.insert(batch.clone(), json!(rows));
            }
            None if rows > 1 => continue,
            None => {}
        }
        cases.push((rows, json!({"model": format!("{name}.onnx"), "dims": dims})));
    }
    Ok(cases)
}
