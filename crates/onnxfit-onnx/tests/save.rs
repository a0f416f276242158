//! What is saved can be opened again, and holds the same weights.

mod common;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes as Buffer;
use common::{names, rich_model, write_model};
use onnxfit_base::Bytes;
use onnxfit_onnx::proto::{ModelProto, TensorProto};
use onnxfit_onnx::{
    DataType, ModelFile, OnnxError, RandomWeights, SaveOptions, SaveReport, TensorError, TensorSource, WeightStore,
    save, text,
};

/// One weight of every element type, each of the same 96 elements.
fn every_type() -> ModelProto {
    let mut model = text::parse("g () => () {}").unwrap();
    for data_type in DataType::ALL {
        let raw: Vec<u8> = (0..data_type.packed_bytes(96).unwrap()).map(|index| (index * 7 + 1) as u8).collect();
        let mut tensor = TensorProto::from_raw(data_type.name(), *data_type, &[96], raw);
        if *data_type == DataType::String {
            tensor.raw_data = None;
            tensor.string_data = (0..96).map(|index| Buffer::from(format!("s{index}"))).collect();
        }
        model.graph.as_mut().unwrap().initializer.push(tensor);
    }
    model
}

fn inline() -> WeightStore {
    WeightStore::new("")
}

fn weights(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = ModelFile::open(path).unwrap();
    let graph = file.proto.graph.as_ref().unwrap();
    let bytes = |tensor: &TensorProto| file.weights().tensor_bytes(tensor).unwrap().to_vec();
    graph.initializer.iter().map(|tensor| (tensor.name().to_owned(), bytes(tensor))).collect()
}

fn expected(model: &ModelProto) -> BTreeMap<String, Vec<u8>> {
    let initializers = &model.graph.as_ref().unwrap().initializer;
    let bytes = |tensor: &TensorProto| tensor.inline_bytes().unwrap().unwrap().to_vec();
    initializers.iter().map(|tensor| (tensor.name().to_owned(), bytes(tensor))).collect()
}

#[test]
fn one_file_holds_every_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.onnx");
    let report = save(&every_type(), &path, &SaveOptions::new(&inline())).unwrap();
    assert_eq!(names(folder.path()), ["out.onnx"]);
    assert_eq!(report, SaveReport { model_bytes: report.model_bytes, ..SaveReport::default() });
    assert_eq!(report.model_bytes.get(), std::fs::metadata(&path).unwrap().len());
    assert_eq!(weights(&path), expected(&every_type()));
    assert_eq!(ModelFile::open(&path).unwrap().proto, every_type());
}

#[test]
fn a_data_file_holds_every_type_and_is_aligned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.onnx");
    let store = inline();
    let last = Cell::new((Bytes::ZERO, Bytes::ZERO));
    let progress = |done, total| last.set((done, total));
    let options = SaveOptions {
        force_external: true,
        external_min: Bytes(1),
        progress: Some(&progress),
        ..SaveOptions::new(&store)
    };
    let report = save(&every_type(), &path, &options).unwrap();
    assert_eq!(names(folder.path()), ["out.onnx", "out.onnx.data"]);
    assert_eq!(report.data_bytes.get(), std::fs::metadata(folder.path().join("out.onnx.data")).unwrap().len());
    assert_eq!(last.get(), (report.data_bytes, report.data_bytes));
    assert_eq!(weights(&path), expected(&every_type()));
    let file = ModelFile::open(&path).unwrap();
    for tensor in &file.proto.graph.as_ref().unwrap().initializer {
        match tensor.external_location().unwrap() {
            Some(external) => assert_eq!(external.offset % 64, 0),
            None => assert_eq!(tensor.element_type().unwrap(), DataType::String, "strings stay inside"),
        }
    }
}

#[test]
fn a_model_over_the_limit_goes_to_a_data_file_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.onnx");
    let mut model = text::parse("g () => () {}").unwrap();
    model.graph.as_mut().unwrap().initializer.push(TensorProto::from_f32("w", &[5000], &[1.5; 5000]));
    let store = inline();
    let options = SaveOptions { model_max: Bytes(16_000), ..SaveOptions::new(&store) };
    let report = save(&model, &path, &options).unwrap();
    assert_eq!(report.data_bytes, Bytes(20_000));
    assert!(report.model_bytes < Bytes(300), "{}", report.model_bytes);
    assert_eq!(weights(&path), expected(&model));
}

#[test]
fn a_structure_over_the_limit_is_an_error_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = inline();
    let options =
        SaveOptions { model_max: Bytes(500), external_min: Bytes(1), force_external: true, ..SaveOptions::new(&store) };
    let error = save(&every_type(), &folder.path().join("out.onnx"), &options).unwrap_err();
    assert!(matches!(error, OnnxError::StructureTooLarge { .. }), "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn everything_a_model_can_have_survives_a_data_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.onnx");
    let store = inline();
    let options = SaveOptions { force_external: true, external_min: Bytes(1), ..SaveOptions::new(&store) };
    save(&rich_model(), &path, &options).unwrap();
    let file = ModelFile::open(&path).unwrap();
    let graph = file.proto.graph.as_ref().unwrap();
    let then_branch = graph.node[1].attribute[0].g.as_ref().unwrap();
    assert!(then_branch.initializer[0].is_external(), "weights of subgraphs move too");
    assert_eq!(file.weights().tensor_bytes(&then_branch.initializer[0]).unwrap().len(), 8);
    assert!(!graph.sparse_initializer[0].values.as_ref().unwrap().is_external(), "sparse ones stay");
    let else_branch = graph.node[1].attribute[1].g.as_ref().unwrap();
    assert!(!else_branch.node[0].attribute[0].t.as_ref().unwrap().is_external(), "attributes stay");
    assert_eq!(file.proto.functions, rich_model().functions);
    assert_eq!(weights(&path), expected(&rich_model()));

    // And back into one file: external again by default, since it was.
    let again = folder.path().join("again.onnx");
    save(&file.proto, &again, &SaveOptions { external_min: Bytes(1), ..SaveOptions::new(file.weights()) }).unwrap();
    assert_eq!(weights(&again), expected(&rich_model()));
}

#[test]
fn saving_over_the_model_that_is_open_keeps_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.onnx");
    let store = inline();
    save(&every_type(), &path, &SaveOptions { force_external: true, ..SaveOptions::new(&store) }).unwrap();
    let mut file = ModelFile::open(&path).unwrap();
    file.proto.graph.as_mut().unwrap().initializer.reverse();
    save(&file.proto, &path, &SaveOptions { external_min: Bytes(1), ..SaveOptions::new(file.weights()) }).unwrap();
    assert_eq!(names(folder.path()), ["out.onnx", "out.onnx.data"]);
    assert_eq!(weights(&path), expected(&every_type()));
}

/// Gives one tensor and then no more.
struct FailsAtSecond(Cell<usize>);

impl TensorSource for FailsAtSecond {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Buffer, TensorError> {
        self.0.set(self.0.get() + 1);
        let reason = "the disk is gone".to_owned();
        match self.0.get() {
            1 => Ok(tensor.inline_bytes().unwrap().unwrap()),
            _ => Err(TensorError::Unreadable { tensor: tensor.name().to_owned(), location: "w".to_owned(), reason }),
        }
    }
}

#[test]
fn a_source_that_fails_in_the_middle_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let source = FailsAtSecond(Cell::new(0));
    let options = SaveOptions { force_external: true, external_min: Bytes(1), ..SaveOptions::new(&source) };
    let error = save(&every_type(), &folder.path().join("out.onnx"), &options).unwrap_err();
    assert_eq!(error.to_string(), "cannot read `w` for `uint8`: the disk is gone");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_source_that_gives_too_little_is_an_error() {
    struct Short;
    impl TensorSource for Short {
        fn tensor_bytes(&self, _: &TensorProto) -> Result<Buffer, TensorError> {
            Ok(Buffer::from_static(b"abc"))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let options = SaveOptions { force_external: true, external_min: Bytes(1), ..SaveOptions::new(&Short) };
    let error = save(&every_type(), &folder.path().join("out.onnx"), &options).unwrap_err();
    assert_eq!(error.to_string(), "tensor `float` holds 3 B, but its shape needs 384 B");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_folder_that_is_not_there_or_not_to_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = save(&every_type(), &folder.path().join("no/out.onnx"), &SaveOptions::new(&inline())).unwrap_err();
    assert!(error.to_string().starts_with("cannot write `"), "{error}");
    std::fs::create_dir(folder.path().join("out.onnx")).unwrap();
    assert!(save(&every_type(), &folder.path().join("out.onnx"), &SaveOptions::new(&inline())).is_err());
    assert_eq!(names(folder.path()), ["out.onnx"], "no temporary file is left");
}

#[test]
fn absent_weights_stay_absent_and_keep_their_file_to_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let source = write_model(
        folder.path(),
        r#"g () => () <float[300] w = ["location": "out.onnx.data", "offset": "0"], float[300] v> {}"#,
    );
    let mut file = ModelFile::open(&source).unwrap();
    assert_eq!(file.absent_weights, ["w", "v"]);
    let new = TensorProto::from_f32("new", &[300], &[2.5; 300]);
    file.proto.graph.as_mut().unwrap().initializer.push(new);
    let path = folder.path().join("out.onnx");
    let report = save(&file.proto, &path, &SaveOptions::new(file.weights())).unwrap();
    assert_eq!(report.absent, ["w", "v"]);
    assert_eq!(report.data_name.as_deref(), Some("out.onnx.1.data"), "`w` waits for `out.onnx.data`");
    let saved = ModelFile::open(&path).unwrap();
    assert_eq!(saved.absent_weights, ["w", "v"]);
    let tensor = &saved.proto.graph.as_ref().unwrap().initializer[2];
    assert_eq!(saved.weights().tensor_bytes(tensor).unwrap().len(), 1200);
}

#[test]
fn random_weights_fill_what_is_absent_or_stripped() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = text::parse("g () => () <float[300] w, float16[2] h, float[2] k = {1, 2}> {}").unwrap();
    let mut stripped = TensorProto::from_f32("stripped", &[300], &[]);
    stripped.raw_data = None;
    model.graph.as_mut().unwrap().initializer.push(stripped);
    let path = folder.path().join("out.onnx");
    let store = inline();
    let random = RandomWeights::new(&store, 7, BTreeMap::new());
    let report = save(&model, &path, &SaveOptions::new(&random)).unwrap();
    assert_eq!(report.absent, [""; 0]);
    let found = weights(&path);
    assert_eq!(found.values().map(Vec::len).collect::<Vec<_>>(), [4, 8, 1200, 1200]);
    assert_eq!(found["k"], [0, 0, 128, 63, 0, 0, 0, 64]);
}
