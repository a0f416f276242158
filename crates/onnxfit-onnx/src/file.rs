//! Opening a model file.

use std::path::{Path, PathBuf};

use bytes::Bytes as Buffer;
use onnxfit_base::{Bytes, Limits};
use prost::Message;

use crate::error::{OnnxError, TensorError};
use crate::external::{WeightStore, map_file};
use crate::pending::PendingFile;
use crate::proto::{ModelProto, TensorProto};
use crate::scan::{ScanFailureKind, scan};
use crate::walk::visit_tensors;

/// A model file: its bytes as they are, and what they say.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    bytes: Buffer,
    /// The decoded model. Change it freely: the file's own bytes stay as they are.
    pub proto: ModelProto,
    /// The first field that onnxfit does not know; writing [`Self::proto`] would lose it.
    pub first_unknown_field: Option<String>,
    /// Tensors whose bytes are not there, by name in the order of the file: the model can be
    /// looked at all the same, but not run. Empty for [`Self::from_bytes`], which looks for none.
    pub absent_weights: Vec<String>,
    weights: WeightStore,
}

impl ModelFile {
    /// Maps and decodes `path` within the default [`Limits`], and looks for its external data
    /// without reading it: a path that leads out of the folder or a file that is too short is an
    /// error, a file that is not there is noted in [`Self::absent_weights`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OnnxError> {
        Self::open_within(path, &Limits::default())
    }

    /// Maps and decodes `path`, refusing what passes `limits`.
    pub fn open_within(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, OnnxError> {
        let path = path.as_ref();
        let bytes = map_file(path)?;
        let mut file = Self::from_bytes_within(path, bytes, limits)?;
        file.absent_weights = file.look_for_weights()?;
        Ok(file)
    }

    /// Decodes bytes that are in memory already; external data is looked for beside `path`.
    pub fn from_bytes(path: impl AsRef<Path>, bytes: impl Into<Buffer>) -> Result<Self, OnnxError> {
        Self::from_bytes_within(path.as_ref(), bytes.into(), &Limits::default())
    }

    fn from_bytes_within(path: &Path, bytes: Buffer, limits: &Limits) -> Result<Self, OnnxError> {
        let malformed =
            |problem: String, offset, place| OnnxError::Malformed { path: path.to_owned(), problem, offset, place };
        if let Some(problem) = no_protobuf(&bytes) {
            return Err(malformed(problem.to_owned(), 0, "the model".to_owned()));
        }
        let found = scan(&bytes, limits).map_err(|failure| match failure.kind {
            ScanFailureKind::Malformed(problem) => malformed(problem, failure.offset, failure.place),
            ScanFailureKind::TooLarge(limit) => {
                OnnxError::TooLarge { path: path.to_owned(), limit, place: failure.place }
            }
            ScanFailureKind::TooDeep(limit) => {
                OnnxError::TooDeep { path: path.to_owned(), limit, place: failure.place }
            }
        })?;
        let proto = ModelProto::decode(bytes.clone())
            .map_err(|error| malformed(error.to_string(), 0, "the model".to_owned()))?;
        if proto.graph.is_none() {
            return Err(malformed("it has no graph".to_owned(), 0, "the model".to_owned()));
        }
        let mut impossible = None;
        visit_tensors(&proto, &mut |tensor| {
            let too_large = |tensor: &TensorProto| TensorError::ImpossibleShape {
                tensor: tensor.name().to_owned(),
                dims: tensor.dims.clone(),
            };
            match tensor.size_bytes() {
                Ok(bytes) if bytes > limits.tensor_bytes_max => impossible = Some(too_large(tensor)),
                Err(error @ TensorError::ImpossibleShape { .. }) => impossible = Some(error),
                _ => {}
            }
        });
        if let Some(error) = impossible {
            return Err(error.into());
        }
        Ok(Self {
            path: path.to_owned(),
            bytes,
            proto,
            first_unknown_field: found.first_unknown,
            absent_weights: Vec::new(),
            weights: WeightStore::beside(path),
        })
    }

    fn look_for_weights(&self) -> Result<Vec<String>, TensorError> {
        let mut absent = Vec::new();
        let mut failure = None;
        visit_tensors(&self.proto, &mut |tensor| match self.weights.check(tensor) {
            // A type newer than onnxfit is the business of whoever needs its size.
            Ok(()) | Err(TensorError::UnknownType { .. }) => {}
            Err(TensorError::Absent { tensor, .. }) => absent.push(tensor),
            Err(error) => failure = failure.take().or(Some(error)),
        });
        failure.map_or(Ok(absent), Err)
    }

    /// Where the model was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file's own bytes.
    pub fn bytes(&self) -> &Buffer {
        &self.bytes
    }

    /// The size of the file itself, external data not counted.
    pub fn size(&self) -> Bytes {
        Bytes(self.bytes.len() as u64)
    }

    /// The weights, wherever they are.
    pub fn weights(&self) -> &WeightStore {
        &self.weights
    }

    /// Writes the untouched file, byte for byte; external data is not copied.
    pub fn copy_to(&self, path: impl AsRef<Path>) -> Result<(), OnnxError> {
        PendingFile::write(path.as_ref(), |file| std::io::Write::write_all(file, &self.bytes))?.commit()
    }
}

/// What a file is that is often found where a model should be.
fn no_protobuf(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        Some("it is empty")
    } else if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        Some("it is a Git LFS pointer, not the model it stands for,")
    } else {
        None
    }
}
