//! The library that this crate's tests run against.

use std::fs;
use std::path::PathBuf;

use crate::{Library, Session, SessionSpec, locate};

/// The library found on this machine, or `None` and a message.
pub(crate) fn library() -> Option<&'static Library> {
    let found = locate::find(&locate::Places::of_this_process());
    let Some(path) = found.library() else {
        eprintln!("skipped: no ONNX Runtime found\n{found}");
        return None;
    };
    Some(Library::load(path).expect("a library that was found loads"))
}

/// A model in a folder of its own, which lives as long as the value.
pub(crate) struct ModelFile {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

pub(crate) fn write_model(bytes: &[u8]) -> ModelFile {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.onnx");
    fs::write(&path, bytes).expect("a model file");
    ModelFile { folder, path }
}

pub(crate) fn open(library: &'static Library, spec: &SessionSpec) -> Session {
    Session::open(library, spec).expect("a small model loads")
}
