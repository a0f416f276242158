//! Opening a model file.

use std::path::{Path, PathBuf};

use bytes::Bytes as Buffer;
use onnxfit_base::{Bytes, Limits};
use prost::Message;

use crate::error::OnnxError;
use crate::external::{WeightStore, map_file};
use crate::proto::ModelProto;
use crate::save::write_atomically;
use crate::scan::{ScanFailureKind, scan};

/// A model file: its bytes as they are, and what they say.
#[derive(Debug)]
pub struct ModelFile {
    path: PathBuf,
    bytes: Buffer,
    /// The decoded model. Change it freely: the file's own bytes stay as they are.
    pub proto: ModelProto,
    /// The first field that onnxfit does not know; writing [`Self::proto`] would lose it.
    pub first_unknown_field: Option<String>,
    weights: WeightStore,
}

impl ModelFile {
    /// Maps and decodes `path` within the default [`Limits`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OnnxError> {
        Self::open_within(path, &Limits::default())
    }

    /// Maps and decodes `path`, refusing what passes `limits`.
    pub fn open_within(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, OnnxError> {
        let path = path.as_ref();
        let bytes = map_file(path)?;
        Self::from_bytes_within(path, bytes, limits)
    }

    /// Decodes bytes that are in memory already; external data is looked for beside `path`.
    pub fn from_bytes(path: impl AsRef<Path>, bytes: impl Into<Buffer>) -> Result<Self, OnnxError> {
        Self::from_bytes_within(path.as_ref(), bytes.into(), &Limits::default())
    }

    fn from_bytes_within(path: &Path, bytes: Buffer, limits: &Limits) -> Result<Self, OnnxError> {
        let malformed =
            |problem: String, offset, place| OnnxError::Malformed { path: path.to_owned(), problem, offset, place };
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
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self {
            path: path.to_owned(),
            bytes,
            proto,
            first_unknown_field: found.first_unknown,
            weights: WeightStore::new(folder),
        })
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
        write_atomically(path.as_ref(), |file| std::io::Write::write_all(file, &self.bytes))
    }
}
