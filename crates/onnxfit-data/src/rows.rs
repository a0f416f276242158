//! Rows of an array that stays in its file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use onnxfit_runtime::npy::{self, NpyError};
use onnxfit_runtime::{ElementType, Tensor};

use crate::error::DataError;

/// A file that several arrays may lie in.
pub(crate) type SharedFile = Arc<Mutex<File>>;

/// An array of which single rows are read.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// The array's name.
    pub(crate) key: String,
    /// The file, for messages.
    pub(crate) path: PathBuf,
    pub(crate) element_type: ElementType,
    /// The shape of one row.
    pub(crate) shape: Vec<u64>,
    pub(crate) n_rows: u64,
    /// Whether the array has an axis of rows at all.
    pub(crate) is_scalar: bool,
    file: SharedFile,
    start: u64,
    row_bytes: u64,
}

impl Rows {
    /// An array whose packed bytes begin at `start`.
    pub(crate) fn new(
        path: &Path,
        key: &str,
        file: &SharedFile,
        start: u64,
        element_type: ElementType,
        shape: &[u64],
    ) -> Result<Self, DataError> {
        let damaged = |reason: &str| DataError::Damaged { path: path.to_owned(), reason: format!("`{key}` {reason}") };
        let (n_rows, row) = match shape {
            [] => (1, &[][..]),
            [n_rows, row @ ..] => (*n_rows, row),
        };
        if element_type.bits() == 0 || !element_type.bits().is_multiple_of(8) {
            return Err(damaged(&format!("has elements of type {element_type}, which have no whole bytes")));
        }
        let row_bytes = row.iter().try_fold(element_type.bits() / 8, |bytes, dim| bytes.checked_mul(*dim));
        let row_bytes = row_bytes.ok_or_else(|| damaged("is larger than any memory"))?;
        let end = row_bytes.checked_mul(n_rows).and_then(|bytes| bytes.checked_add(start));
        let end = end.ok_or_else(|| damaged("is larger than any memory"))?;
        let have = lock(file).metadata().map_err(|source| DataError::Io { path: path.to_owned(), source })?.len();
        if have < end {
            return Err(damaged(&format!("is cut off: the file has {have} bytes, {end} are needed")));
        }
        Ok(Self {
            key: key.to_owned(),
            path: path.to_owned(),
            element_type,
            shape: row.to_vec(),
            n_rows,
            is_scalar: shape.is_empty(),
            file: Arc::clone(file),
            start,
            row_bytes,
        })
    }

    /// The whole shape.
    pub(crate) fn whole_shape(&self) -> Vec<u64> {
        if self.is_scalar { Vec::new() } else { [&[self.n_rows], self.shape.as_slice()].concat() }
    }

    /// Appends the bytes of one row.
    pub(crate) fn read_row(&self, row: u64, bytes: &mut Vec<u8>) -> Result<(), DataError> {
        self.read_span(row, 1, bytes)
    }

    /// Appends all bytes.
    pub(crate) fn read_all(&self, bytes: &mut Vec<u8>) -> Result<(), DataError> {
        self.read_span(0, self.n_rows, bytes)
    }

    fn read_span(&self, row: u64, n_rows: u64, bytes: &mut Vec<u8>) -> Result<(), DataError> {
        let before = bytes.len();
        bytes.resize(before + (self.row_bytes * n_rows) as usize, 0);
        let mut file = lock(&self.file);
        file.seek(SeekFrom::Start(self.start + row * self.row_bytes))
            .and_then(|_| file.read_exact(&mut bytes[before..]))
            .map_err(|source| DataError::Io { path: self.path.clone(), source })
    }
}

/// A thread that panicked while reading leaves the file as usable as before: every read seeks.
fn lock(file: &SharedFile) -> std::sync::MutexGuard<'_, File> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An array of a `.npy` that lies in a file from `start` on, `length` bytes long.
pub(crate) fn npy_rows(path: &Path, key: &str, file: &SharedFile, start: u64, length: u64) -> Result<Rows, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let damaged =
        |error: NpyError| DataError::Damaged { path: path.to_owned(), reason: format!("array `{key}` {error}") };
    let read = |length: u64| -> std::io::Result<Vec<u8>> {
        let mut file = lock(file);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        (&mut *file).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let prefix = read(length.min(npy::PREFIX_BYTES_MAX as u64)).map_err(io)?;
    let layout = npy::layout(&prefix).map_err(damaged)?;
    if layout.is_plain {
        return Rows::new(path, key, file, start + layout.start, layout.element_type, &layout.shape);
    }
    // Another byte or axis order, or text: rewritten once, into a file without a name.
    let tensor = npy::read(&read(length).map_err(io)?).map_err(damaged)?;
    from_tensor(path, key, &tensor)
}

/// An array that is written into a file of its own, which has no name.
pub(crate) fn from_tensor(path: &Path, key: &str, tensor: &Tensor) -> Result<Rows, DataError> {
    let Some(bytes) = tensor.bytes() else {
        return Err(DataError::Damaged {
            path: path.to_owned(),
            reason: format!("array `{key}` is text, which has no gradient and no place in a batch"),
        });
    };
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut file = tempfile::tempfile().map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    let file = Arc::new(Mutex::new(file));
    Rows::new(path, key, &file, 0, tensor.element_type(), tensor.shape())
}
