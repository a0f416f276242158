//! What can be wrong with a model file: what, where, how much.

use std::path::PathBuf;

use onnxfit_base::Bytes;

/// Why a model file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The operating system refused.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// `open`, `map`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// Not a protobuf message, or cut short.
    #[error("`{path}` is no ONNX model: {problem} at byte {offset}, in {place}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong there.
        problem: String,
        /// Where in the file.
        offset: u64,
        /// Where in the model, as `graph.node[3].attribute[0]`.
        place: String,
    },
    /// Decoding would take more than the limit.
    #[error("`{path}` would take more than {limit} of memory for its structure alone (reached in {place})")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is allowed.
        limit: Bytes,
        /// Where the limit was passed.
        place: String,
    },
    /// Subgraphs inside subgraphs past the limit.
    #[error("`{path}` nests subgraphs more than {limit} deep (in {place})")]
    TooDeep {
        /// The file.
        path: PathBuf,
        /// What is allowed.
        limit: usize,
        /// Where the limit was passed.
        place: String,
    },
    /// A tensor whose own description contradicts itself.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The file has fields that this release of onnxfit does not know, and would be rewritten.
    #[error("`{path}` has fields that onnxfit does not know (first: {first}); rewriting it would lose them")]
    WouldLose {
        /// The file.
        path: PathBuf,
        /// The first such field.
        first: String,
    },
    /// A single protobuf file may not pass 2 GiB.
    #[error("the structure of `{path}` takes {have}, but a protobuf file ends at {limit}")]
    StructureTooLarge {
        /// The file to be written.
        path: PathBuf,
        /// What it would take.
        have: Bytes,
        /// What is allowed.
        limit: Bytes,
    },
}

impl OnnxError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some("check the path; a model exported with external data needs its data file beside it".to_owned())
            }
            Self::Io { .. } => None,
            Self::Malformed { problem, .. } if problem.contains("Git LFS") => {
                Some("`git lfs pull` in the repository of the model fetches the model itself".to_owned())
            }
            Self::Malformed { .. } => {
                Some("the file may be cut short by a download or a full disk, or be no ONNX file".to_owned())
            }
            Self::TooLarge { .. } | Self::TooDeep { .. } => {
                Some("no exporter writes such a file; do not trust where it came from".to_owned())
            }
            Self::Tensor(error) => error.hint(),
            Self::WouldLose { .. } => {
                Some("`--force` rewrites it all the same; an untouched model is always copied byte by byte".to_owned())
            }
            Self::StructureTooLarge { .. } => Some("move large Constant attributes to initializers first".to_owned()),
        }
    }
}

/// Why the bytes of a tensor cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// Its type number is 0 or newer than onnxfit.
    #[error("tensor `{tensor}` has data type number {number}, which ONNX does not define")]
    UnknownType {
        /// The tensor.
        tensor: String,
        /// The number in the file.
        number: i32,
    },
    /// A negative dimension, or a product past 64 bits or past the limit.
    #[error("tensor `{tensor}` has the impossible shape {dims:?}")]
    ImpossibleShape {
        /// The tensor.
        tensor: String,
        /// The dimensions in the file.
        dims: Vec<i64>,
    },
    /// The bytes at hand do not match the shape.
    #[error("tensor `{tensor}` holds {have}, but its shape needs {need}")]
    WrongLength {
        /// The tensor.
        tensor: String,
        /// What is there.
        have: Bytes,
        /// What type and shape ask for.
        need: Bytes,
    },
    /// An `external_data` entry that is missing or is no number.
    #[error("tensor `{tensor}` has external data with a bad `{key}`: `{value}`")]
    BadExternalEntry {
        /// The tensor.
        tensor: String,
        /// `location`, `offset` or `length`.
        key: &'static str,
        /// What stands there.
        value: String,
    },
    /// The path leads out of the model's folder.
    #[error("tensor `{tensor}` points to `{location}`, which {problem}")]
    ForbiddenPath {
        /// The tensor.
        tensor: String,
        /// The location as written.
        location: String,
        /// `is an absolute path`, `leaves the model's folder`, …
        problem: &'static str,
    },
    /// The external file is shorter than the tensor it should hold.
    #[error("external data `{location}` has {have}, but `{tensor}` ends at byte {need_end}")]
    ExternalDataShort {
        /// The tensor.
        tensor: String,
        /// The location as written.
        location: String,
        /// The file's size.
        have: Bytes,
        /// Where the tensor should end.
        need_end: u64,
    },
    /// The external file is not there, or the bytes were stripped from the model file.
    #[error("the weights of `{tensor}` ({bytes}) are absent: `{location}` does not have them")]
    Absent {
        /// The tensor.
        tensor: String,
        /// The location as written.
        location: String,
        /// What is missing.
        bytes: Bytes,
    },
    /// The operating system refused to read the external file.
    #[error("cannot read `{location}` for `{tensor}`: {reason}")]
    Unreadable {
        /// The tensor.
        tensor: String,
        /// The location as written.
        location: String,
        /// The system's own words.
        reason: String,
    },
}

impl TensorError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Absent { .. } => Some(
                "put the data file beside the model, or run with `--random-weights SEED` to try it without its weights"
                    .to_owned(),
            ),
            Self::ForbiddenPath { .. } => {
                Some("external data must lie in the model's own folder; move it there".to_owned())
            }
            Self::ExternalDataShort { .. } => {
                Some("the data file is cut short, or belongs to another model".to_owned())
            }
            _ => None,
        }
    }
}
