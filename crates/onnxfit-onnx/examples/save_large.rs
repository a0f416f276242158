//! Writes a model of 3 GiB of zeros, opens it again, and says how long both took:
//! `cargo run --release -p onnxfit-onnx --example save_large -- FOLDER`.
//!
//! Also times random weights and, for every further argument, opening that model.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes as Buffer;
use onnxfit_onnx::proto::TensorProto;
use onnxfit_onnx::{
    ModelFile, OnnxError, RandomWeights, SaveOptions, TensorError, TensorSource, WeightStore, save, text,
};

/// Zeros, whatever is asked for; one allocation serves all.
struct Zeros(Buffer);

impl TensorSource for Zeros {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Buffer, TensorError> {
        Ok(self.0.slice(..tensor.size_bytes()?.get() as usize))
    }
}

#[allow(clippy::print_stdout, reason = "an example talks to who runs it")]
fn main() -> Result<(), OnnxError> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().unwrap_or_else(std::env::temp_dir);
    for path in arguments {
        let start = Instant::now();
        let file = ModelFile::open(&path)?;
        println!("open {} ({}): {:.1?}", path.display(), file.size(), start.elapsed());
    }
    let model = text::parse(
        "g () => () <float[16384, 16384] a, float[16384, 16384] b, float[16384, 16384] c, float[125000000] r> {}",
    );
    let mut model = model.expect("the text above is a model");
    let weights = model.graph.as_mut().map(|graph| &mut graph.initializer).expect("it has a graph");
    let small = weights.remove(3);

    let start = Instant::now();
    let absent = WeightStore::new("");
    let random = RandomWeights::new(&absent, 1, BTreeMap::new()).tensor_bytes(&small)?;
    println!("random weights ({} bytes): {:.2?}", random.len(), start.elapsed());

    let path = folder.join("large.onnx");
    let source = Zeros(Buffer::from(vec![0; 1 << 30]));
    let start = Instant::now();
    let report = save(&model, &path, &SaveOptions::new(&source))?;
    println!("save {} + {}: {:.2?}", report.model_bytes, report.data_bytes, start.elapsed());
    let start = Instant::now();
    let file = ModelFile::open(&path)?;
    println!("open: {:.2?}, {} absent", start.elapsed(), file.absent_weights.len());
    for name in ["large.onnx", "large.onnx.data"] {
        let path = folder.join(name);
        std::fs::remove_file(&path).map_err(|source| OnnxError::Io { action: "remove", path, source })?;
    }
    Ok(())
}
