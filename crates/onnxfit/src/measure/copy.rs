//! A model file that can really run: the model's own, or a copy with made-up weights.

use std::path::{Path, PathBuf};

use onnxfit_onnx::{SaveOptions, save};

use crate::progress::{Progress, Stage};
use crate::{Error, Model, weights};

/// A model file that can run; a copy is removed with this.
pub(crate) struct RunnableCopy<'a> {
    model: Whose<'a>,
    _folder: Option<Folder>,
}

enum Whose<'a> {
    Own(&'a Model),
    Copy(Box<Model>),
}

/// Writes a model with made-up numbers in the place of absent weights, so that it can run.
pub fn write_runnable(model: &Model, seed: u64, path: &Path, progress: &dyn Progress) -> Result<Model, Error> {
    let source = weights::source(model, Some(seed));
    let written = |done: onnxfit_base::Bytes, total: onnxfit_base::Bytes| {
        let what = "making up weights".to_owned();
        progress.stage(&Stage::Counted { what, done: done.get(), total: total.get() });
    };
    save(&model.file().proto, path, &SaveOptions { progress: Some(&written), ..SaveOptions::new(&*source) })?;
    Model::open(path)
}

impl<'a> RunnableCopy<'a> {
    /// The model itself where all its weights are there; else a copy in a temporary folder.
    pub(crate) fn make(model: &'a Model, seed: Option<u64>, progress: &dyn Progress) -> Result<Self, Error> {
        let absent = weights::absent(model);
        let Some(first) = absent.first() else { return Ok(Self { model: Whose::Own(model), _folder: None }) };
        let Some(seed) = seed else {
            return Err(Error::Runtime {
                message: format!("{} weights are absent, first `{first}`: the model cannot run", absent.len()),
                hint: Some("put the data file beside the model, or try with `--random-weights SEED`".to_owned()),
            });
        };
        let folder = Folder::new()?;
        let path = folder.path.join("model.onnx");
        let copy = write_runnable(model, seed, &path, progress)?;
        Ok(Self { model: Whose::Copy(Box::new(copy)), _folder: Some(folder) })
    }

    /// What runs.
    pub(crate) fn model(&self) -> &Model {
        match &self.model {
            Whose::Own(model) => model,
            Whose::Copy(model) => model,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.model().file().path()
    }
}

/// A folder of this process among the system's temporary files.
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    pub(super) fn new() -> Result<Self, Error> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("onnxfit-measure-{}-{number}", std::process::id()));
        // Not `create_dir_all`: a folder that somebody else put there is not ours to fill.
        std::fs::create_dir(&path)
            .map_err(|source| Error::Io { action: "create", path: path.clone(), source })
            .map(|()| Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left-overs among temporary files are the system's to remove.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
