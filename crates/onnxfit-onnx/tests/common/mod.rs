//! What several tests of this crate need.
#![allow(dead_code, reason = "no test needs all of it")]

use std::path::{Path, PathBuf};

use onnxfit_onnx::proto::ModelProto;
use onnxfit_onnx::text;
use prost::Message;

/// The folder of shared facts, if this checkout has one.
pub(crate) fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("ONNXFIT_SHARED").map_or_else(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: there is no folder `shared` beside the repository");
    None
}

/// Every real model at hand, in order.
pub(crate) fn zoo() -> Vec<PathBuf> {
    let mut models = Vec::new();
    for folder in shared().iter().flat_map(|shared| ["zoo/graphs", "zoo/optimized"].map(|name| shared.join(name))) {
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        models.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "onnx")));
    }
    models.sort();
    models
}

/// A small model with one of everything that a file can have.
pub(crate) fn rich_model() -> ModelProto {
    let mut model = text::parse(
        r#"<ir_version: 10, opset_import: ["" : 21, "local" : 1], producer_name: "test", metadata_props: ["k": "v"]>
           g (bool c, float[N, 2] x, float[2] d = {1, 2}) => (float[N, 2] y)
           <float[2] w = {1, 2}, int4[3] q = {1, 2, 3}, string[2] s = {"a", "b"}, float[N, 2] h>
           {
               [first] h = local.f <alpha = 2.0> (x)
               y = If (c) <then_branch = t () => (float[N, 2] a) <float[2] v = {3, 4}> { a = Add(h, v) },
                           else_branch = e () => (float[N, 2] b) { b = com.acme.Op <k = int64[2] {1, 2}> (h, w, d) }>
           }
           <domain: "local", opset_import: ["" : 21]> f <alpha> (a) => (b) { b = Elu <alpha: float = @alpha> (a) }"#,
    )
    .unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.sparse_initializer.push(onnxfit_onnx::proto::SparseTensorProto {
        values: Some(Box::new(onnxfit_onnx::proto::TensorProto::from_f32("sparse", &[1], &[5.0]))),
        indices: Some(Box::new(onnxfit_onnx::proto::TensorProto::from_i64("", &[1], &[3]))),
        dims: vec![10],
    });
    model
}

/// The bytes of a field that holds a message.
pub(crate) fn field(number: u64, message: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(number << 3 | 2, &mut bytes);
    prost::encoding::encode_varint(message.len() as u64, &mut bytes);
    bytes.extend_from_slice(message);
    bytes
}

/// The file that `text` stands for, in a folder of its own.
pub(crate) fn write_model(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("model.onnx");
    std::fs::write(&path, text::parse(text).unwrap().encode_to_vec()).unwrap();
    path
}

/// The names in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
