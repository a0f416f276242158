//! Checkpoints: everything that is needed to go on with the same curve, in a `.safetensors` file.
//!
//! A file appears whole or not at all: it is written beside its name, brought to the disk, and
//! renamed; then the folder is brought to the disk too. Whoever kills the process, at any moment,
//! finds the checkpoint before.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use onnxfit_data::Position;
use onnxfit_runtime::{ElementType, Tensor};
use safetensors::tensor::{Dtype, Metadata, View};
use serde::{Deserialize, Serialize};

/// What the file's own metadata says under `onnxfit`.
const SCHEMA: &str = "onnxfit.checkpoint/1";
/// The entry of the file's metadata.
const ENTRY: &str = "onnxfit";
/// What names of parameters begin with in the file.
const PARAMETER: &str = "parameter/";
/// What names of the optimizer's states begin with.
const STATE: &str = "state/";
/// Checkpoints that are kept.
const KEPT: usize = 2;
/// Most bytes of a file's header.
const HEADER_BYTES_MAX: u64 = 100 << 20;

/// Where a training stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Steps that were made.
    pub step: u64,
    /// Where the data stands.
    pub position: Position,
    /// Samples that go through at once.
    pub micro_batch: u64,
    /// What the loss is multiplied by, and steps that went well with it.
    pub loss_scale: Option<(f64, u32)>,
    /// Bad samples that were left out so far.
    pub n_skipped: u64,
    /// What must be the same for the checkpoint to fit: model, data, settings.
    pub fingerprint: String,
    /// Parameters by name.
    pub parameters: BTreeMap<String, Tensor>,
    /// States of the optimizer by name.
    pub states: BTreeMap<String, Tensor>,
}

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The system refuses; nothing of the new file is left.
    #[error("cannot write checkpoint `{path}`: {source}; {kept}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
        /// Which checkpoint is still there, as the rest of a sentence.
        kept: String,
    },
    /// The system refuses.
    #[error("cannot read checkpoint `{path}`: {source}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No checkpoint, or a damaged one.
    #[error("`{path}` is no checkpoint: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint of another training.
    #[error("`{path}` belongs to another training: {reason}")]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
}

/// What is kept beside the tensors.
#[derive(Debug, Deserialize, Serialize)]
struct Header {
    schema: String,
    step: u64,
    epoch: u64,
    seed: Option<u64>,
    index: u64,
    micro_batch: u64,
    loss_scale: Option<(f64, u32)>,
    n_skipped: u64,
    fingerprint: String,
}

/// A folder of checkpoints.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// Makes the folder if it is not there, and removes what a killed process left half written.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let folder = folder.into();
        let read = |source| CheckpointError::Read { path: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(|source| CheckpointError::Write {
            path: folder.clone(),
            source,
            kept: "there is none yet".to_owned(),
        })?;
        for entry in std::fs::read_dir(&folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                // What cannot be removed is in nobody's way.
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(Self { folder })
    }

    /// The checkpoints that are there, the newest last.
    pub fn list(&self) -> Result<Vec<PathBuf>, CheckpointError> {
        let read = |source| CheckpointError::Read { path: self.folder.clone(), source };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if step_of(&path).is_some() {
                found.push(path);
            }
        }
        found.sort_by_key(|path| step_of(path));
        Ok(found)
    }

    /// The newest checkpoint that can be read; `None` if there is none at all.
    pub fn newest(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        let mut first_error = None;
        for path in self.list()?.iter().rev() {
            match read(path) {
                Ok(checkpoint) => return Ok(Some(checkpoint)),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(None), Err)
    }

    /// Writes a checkpoint and removes those that are too old; gives its path.
    pub fn write(&self, checkpoint: &Checkpoint) -> Result<PathBuf, CheckpointError> {
        let path = self.folder.join(format!("step-{:09}.safetensors", checkpoint.step));
        let part = path.with_extension("part");
        let written = write_whole(&part, &path, checkpoint);
        if let Err(source) = written {
            // The failure that brought us here is what is reported.
            let _ = std::fs::remove_file(&part);
            let last = self.list().ok().and_then(|list| list.last().cloned());
            let kept = match last {
                Some(last) => format!("the last one is `{}`", last.display()),
                None => "there is none before it".to_owned(),
            };
            return Err(CheckpointError::Write { path, source, kept });
        }
        let list = self.list()?;
        for old in list.iter().take(list.len().saturating_sub(KEPT)) {
            // One too many harms nobody.
            let _ = std::fs::remove_file(old);
        }
        Ok(path)
    }
}

/// The step in a checkpoint's name.
fn step_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}

fn write_whole(part: &Path, path: &Path, checkpoint: &Checkpoint) -> io::Result<()> {
    let header = Header {
        schema: SCHEMA.to_owned(),
        step: checkpoint.step,
        epoch: checkpoint.position.epoch,
        seed: checkpoint.position.seed,
        index: checkpoint.position.index,
        micro_batch: checkpoint.micro_batch,
        loss_scale: checkpoint.loss_scale,
        n_skipped: checkpoint.n_skipped,
        fingerprint: checkpoint.fingerprint.clone(),
    };
    let metadata = HashMap::from([(ENTRY.to_owned(), serde_json::to_string(&header)?)]);
    let mut tensors = viewed(PARAMETER, &checkpoint.parameters);
    tensors.extend(viewed(STATE, &checkpoint.states));
    safetensors::serialize_to_file(tensors, Some(metadata), part).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    })?;
    File::open(part)?.sync_all()?;
    std::fs::rename(part, path)?;
    // The new name itself must survive too; not every file system can be asked for it.
    if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// The types that may be trained, and their names in a file.
const TYPES: &[(ElementType, Dtype)] = &[
    (ElementType::Float, Dtype::F32),
    (ElementType::Double, Dtype::F64),
    (ElementType::Float16, Dtype::F16),
    (ElementType::Bfloat16, Dtype::BF16),
];

struct Viewed<'a> {
    tensor: &'a Tensor,
    shape: Vec<usize>,
}

fn viewed<'a>(prefix: &str, tensors: &'a BTreeMap<String, Tensor>) -> Vec<(String, Viewed<'a>)> {
    let view = |tensor: &'a Tensor| Viewed { tensor, shape: tensor.shape().iter().map(|dim| *dim as usize).collect() };
    tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), view(tensor))).collect()
}

impl View for Viewed<'_> {
    fn dtype(&self) -> Dtype {
        let known = TYPES.iter().find(|(known, _)| *known == self.tensor.element_type());
        known.map_or(Dtype::U8, |(_, dtype)| *dtype)
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        self.tensor.bytes().unwrap_or_default().into()
    }

    fn data_len(&self) -> usize {
        self.tensor.bytes().map_or(0, <[u8]>::len)
    }
}

/// Reads one checkpoint, all of it.
pub(crate) fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let damaged = |reason: String| CheckpointError::Damaged { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged("it has no header".to_owned()))?;
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().filter(|_| length <= HEADER_BYTES_MAX).and_then(|n| rest.get(..n));
    let header = header.ok_or_else(|| damaged("its header is cut off".to_owned()))?;
    let data = &rest[header.len()..];
    let metadata: Metadata = serde_json::from_slice(header).map_err(|error| damaged(error.to_string()))?;
    let entry = metadata.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
    let entry = entry.ok_or_else(|| damaged("it was not written by onnxfit".to_owned()))?;
    let header: Header = serde_json::from_str(entry).map_err(|error| damaged(error.to_string()))?;
    if header.schema != SCHEMA {
        return Err(damaged(format!("it is of the form {}, not {SCHEMA}", header.schema)));
    }
    let mut checkpoint = Checkpoint {
        step: header.step,
        position: Position { epoch: header.epoch, seed: header.seed, index: header.index },
        micro_batch: header.micro_batch,
        loss_scale: header.loss_scale,
        n_skipped: header.n_skipped,
        fingerprint: header.fingerprint,
        ..Checkpoint::default()
    };
    for key in metadata.offset_keys() {
        let Some(info) = metadata.info(&key) else { continue };
        let element_type = TYPES.iter().find(|(_, dtype)| *dtype == info.dtype).map(|(known, _)| *known);
        let element_type = element_type.ok_or_else(|| damaged(format!("`{key}` is {:?}", info.dtype)))?;
        let bytes = data.get(info.data_offsets.0..info.data_offsets.1);
        let bytes = bytes.ok_or_else(|| damaged(format!("it is cut off at `{key}`")))?;
        let shape = info.shape.iter().map(|dim| *dim as u64).collect();
        let tensor = Tensor::from_bytes(element_type, shape, bytes.to_vec());
        let tensor = tensor.map_err(|error| damaged(format!("`{key}`: {error}")))?;
        match (key.strip_prefix(PARAMETER), key.strip_prefix(STATE)) {
            (Some(name), _) => checkpoint.parameters.insert(name.to_owned(), tensor),
            (_, Some(name)) => checkpoint.states.insert(name.to_owned(), tensor),
            _ => return Err(damaged(format!("`{key}` is neither a parameter nor a state"))),
        };
    }
    Ok(checkpoint)
}

#[cfg(test)]
mod tests;
