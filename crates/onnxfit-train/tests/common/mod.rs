//! What the tests share: ONNX Runtime, models as text, comparing numbers.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;

use onnxfit_graph::Model;
use onnxfit_onnx::{ModelFile, SaveOptions, WeightStore, save};
use onnxfit_runtime::{
    ElementType, Library, OptimizationLevel, RunError, Session, SessionSpec, Tensor, Tensors, locate,
};

/// The library found on this machine, or `None` and a message.
pub fn library() -> Option<&'static Library> {
    let found = locate::find(&locate::Places::of_this_process());
    let Some(path) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return None;
    };
    Some(Library::load(path).expect("a library that was found loads"))
}

pub fn parse(text: &str) -> Model {
    let proto = onnxfit_onnx::text::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Model::from_proto(&proto).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Loads a model with few threads, so that tests may run side by side.
pub fn open(library: &'static Library, model: &Model) -> Result<(Session, tempfile::TempDir), RunError> {
    open_at(library, model, OptimizationLevel::All)
}

pub fn open_at(
    library: &'static Library,
    model: &Model,
    optimization: OptimizationLevel,
) -> Result<(Session, tempfile::TempDir), RunError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    let store = WeightStore::new(folder.path());
    save(&model.to_proto(), &path, &SaveOptions::new(&store)).expect("a model that saves");
    let spec = SessionSpec { optimization, intra_op_threads: Some(1), ..SessionSpec::new(&path) };
    Ok((Session::open(library, &spec)?, folder))
}

pub fn tensor(element_type: ElementType, shape: &[u64], values: &[f64]) -> Tensor {
    Tensor::from_f64(element_type, shape.to_vec(), values)
        .expect("a numeric type")
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The largest difference, relative to the largest number of the reference (at least one).
pub fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "another number of elements");
    let scale = expected.iter().fold(1e-3f64, |scale, value| scale.max(value.abs()));
    let worst = found.iter().zip(expected).fold(0f64, |worst, (a, b)| {
        let error = (a - b).abs();
        if error.is_nan() { f64::INFINITY } else { worst.max(error) }
    });
    worst / scale
}

pub type Numbers = BTreeMap<String, (ElementType, Vec<u64>, Vec<f64>)>;

pub fn feeds(numbers: &Numbers) -> Tensors {
    numbers.iter().map(|(name, (ty, shape, values))| (name.clone(), tensor(*ty, shape, values))).collect()
}

/// A model file's bytes, for fixtures that are files.
pub fn read(path: &std::path::Path) -> Option<Model> {
    let file = ModelFile::open(path).ok()?;
    Model::from_proto(&file.proto).ok()
}
