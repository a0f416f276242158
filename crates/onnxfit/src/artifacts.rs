//! The folder that `fix` writes: model, session options, a ready program, the plan.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use onnxfit_plan::Levers;
use onnxfit_report::check::BandView;
use onnxfit_report::{Size, fix::FixView};
use serde::Serialize;

use crate::Error;
use crate::request::{Provider, Request};

/// The model's name inside the folder.
pub(crate) const MODEL_FILE: &str = "model.onnx";

/// `session.json`: everything that a program needs to open and run the model as it was fitted.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SessionFile {
    /// `onnxfit.session/1`.
    pub schema: &'static str,
    /// The model, relative to this file.
    pub model: &'static str,
    /// ONNX Runtime's name of the provider.
    pub provider: &'static str,
    /// Options of the provider, by ONNX Runtime's names.
    pub provider_options: BTreeMap<String, String>,
    /// Attributes and config entries of `SessionOptions`.
    pub session_options: SessionOptionsFile,
    /// Config entries of `RunOptions`.
    pub run_options: BTreeMap<String, String>,
    /// Settings of the CPU provider's arena; `null` for ONNX Runtime's defaults.
    pub cpu_arena: Option<BTreeMap<String, u64>>,
    /// How a batch is cut; `null` when it never is.
    pub batch: Option<BatchFile>,
    /// What was predicted.
    pub predicted: PredictedFile,
    /// With what it was made.
    pub versions: BTreeMap<String, String>,
}

/// `session_options` of `session.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SessionOptionsFile {
    /// As `ORT_ENABLE_ALL`.
    pub graph_optimization_level: &'static str,
    /// `enable_mem_pattern`.
    pub enable_mem_pattern: bool,
    /// `intra_op_num_threads`; 0 leaves the choice to ONNX Runtime.
    pub intra_op_num_threads: u32,
    /// Config entries.
    pub config: BTreeMap<String, String>,
}

/// `batch` of `session.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BatchFile {
    /// The most rows that one run may take.
    pub max_rows: u64,
    /// The axis of the rows, for each input that has them.
    pub inputs: BTreeMap<String, usize>,
    /// The axis of the rows, for each output that has them.
    pub outputs: BTreeMap<String, usize>,
}

/// `predicted` of `session.json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PredictedFile {
    /// The most that one run takes.
    pub peak_bytes: BandView,
    /// What the arena holds after the runs.
    pub held_bytes: Size,
    /// The budget it was fitted to.
    pub budget_bytes: Option<Size>,
    /// The target.
    pub target: String,
    /// The request.
    pub dims: BTreeMap<String, i64>,
}

/// The provider's options that the levers ask for.
pub(crate) fn provider_options(request: &Request, levers: Levers) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    if request.provider == Provider::Cuda {
        if levers.same_as_requested {
            options.insert("arena_extend_strategy".to_owned(), "kSameAsRequested".to_owned());
        }
        if let Some(limit) = request.arena_limit {
            options.insert("gpu_mem_limit".to_owned(), limit.get().to_string());
        }
    }
    options
}

/// The run option that shrinks the arena of a provider after each run.
pub(crate) fn shrinkage(provider: Provider) -> (String, String) {
    let device = match provider {
        Provider::Cpu => "cpu:0",
        Provider::Cuda => "gpu:0",
    };
    ("memory.enable_memory_arena_shrinkage".to_owned(), device.to_owned())
}

/// The CPU arena's settings that the levers ask for.
pub(crate) fn cpu_arena(request: &Request, levers: Levers) -> Option<BTreeMap<String, u64>> {
    let mut arena = BTreeMap::new();
    if request.provider == Provider::Cpu {
        if levers.same_as_requested {
            arena.insert("arena_extend_strategy".to_owned(), 1);
        }
        if let Some(chunk) = levers.initial_chunk {
            arena.insert("initial_chunk_size_bytes".to_owned(), chunk.get());
        }
        if let Some(dead) = levers.dead_per_chunk_max {
            arena.insert("max_dead_bytes_per_chunk".to_owned(), dead.get());
        }
        if let Some(limit) = request.limit() {
            arena.insert("max_mem".to_owned(), limit.get());
        }
    }
    (!arena.is_empty()).then_some(arena)
}

/// A folder being written: made beside its final place, moved there when all of it is whole.
#[derive(Debug)]
pub(crate) struct Folder {
    working: PathBuf,
    last: PathBuf,
    done: bool,
}

impl Folder {
    /// Begins a folder; its final place must not exist, or be empty.
    pub(crate) fn begin(path: &Path) -> Result<Self, Error> {
        let taken = std::fs::read_dir(path).map(|mut entries| entries.next().is_some());
        let occupied = match taken {
            Ok(occupied) => occupied,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(source) => return Err(Error::Io { action: "look into", path: path.to_owned(), source }),
        };
        if occupied {
            let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "the folder is not empty");
            return Err(Error::Io { action: "write into", path: path.to_owned(), source });
        }
        let name = path.file_name().map_or_else(|| "out".to_owned(), |name| name.to_string_lossy().into_owned());
        let working = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        // A leftover of a process with our number is nobody's.
        let _ = std::fs::remove_dir_all(&working);
        std::fs::create_dir_all(&working).map_err(|source| Error::Io {
            action: "create",
            path: working.clone(),
            source,
        })?;
        Ok(Self { working, last: path.to_owned(), done: false })
    }

    /// Where the files go until the folder is finished.
    pub(crate) fn path(&self) -> &Path {
        &self.working
    }

    pub(crate) fn write(
        &self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        let path = self.working.join(name);
        let result = std::fs::File::create(&path).and_then(|file| {
            let mut file = std::io::BufWriter::new(file);
            fill(&mut file)?;
            file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
        });
        result.map_err(|source| Error::Io { action: "write", path, source })
    }

    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), Error> {
        self.write(name, |out| {
            serde_json::to_writer_pretty(&mut *out, value)?;
            writeln!(out)
        })
    }

    /// Moves the folder to its place.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        // An empty folder in its place is replaced; a full one was refused at the beginning.
        let _ = std::fs::remove_dir(&self.last);
        std::fs::rename(&self.working, &self.last).map_err(|source| Error::Io {
            action: "write",
            path: self.last.clone(),
            source,
        })?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.done {
            // The failure that brought us here is what is reported.
            let _ = std::fs::remove_dir_all(&self.working);
        }
    }
}

/// Writes `session.json`, `run.py` and `plan.json` beside the model.
pub(crate) fn write(folder: &Folder, session: &SessionFile, plan: &FixView) -> Result<(), Error> {
    folder.write_json("session.json", session)?;
    let package = if session.provider.starts_with("CUDA") { "onnxruntime-gpu" } else { "onnxruntime" };
    let version = session.versions.get("onnxruntime").map_or("", String::as_str);
    let program = include_str!("templates/run.py").replace("@PACKAGE@", package).replace("@VERSION@", version);
    folder.write("run.py", |out| out.write_all(program.as_bytes()))?;
    folder.write_json("plan.json", plan)
}
