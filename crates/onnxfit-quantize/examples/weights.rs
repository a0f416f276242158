//! Rounds the weights of a model, streamed: `weights IN.onnx OUT.onnx int4|int8|fp16`.

#![allow(clippy::print_stdout, reason = "its answer")]

use std::path::Path;

use onnxfit_graph::Model;
use onnxfit_onnx::{ModelFile, SaveOptions, WeightStore, save};
use onnxfit_quantize::Level;
use onnxfit_quantize::weights::{WeightOnly, WeightOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, level] = arguments.as_slice() else { return Err("IN.onnx OUT.onnx int4|int8|fp16".into()) };
    let smallest = match level.as_str() {
        "int4" => Level::Int4,
        "int8" => Level::Int8,
        _ => Level::Half,
    };
    let file = ModelFile::open(Path::new(input))?;
    let model = Model::from_proto(&file.proto)?;
    let store = WeightStore::new(Path::new(input).parent().unwrap_or(Path::new(".")));
    let only = WeightOnly::new(&model, &store, WeightOptions { smallest, ..WeightOptions::default() });
    let choice = only.layers().iter().map(|layer| (layer.name.clone(), layer.levels[0])).collect();
    let outcome = only.build(&choice)?;
    let source = outcome.pieces.source(&store);
    let report = save(&outcome.model.to_proto(), Path::new(output), &SaveOptions::new(&source))?;
    let bytes = report.model_bytes.get() + report.data_bytes.get();
    println!(
        "{} weights, {bytes} bytes, {:.3} of {}",
        only.layers().len(),
        bytes as f64 / file.size().get() as f64,
        file.size()
    );
    Ok(())
}
