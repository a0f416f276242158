//! NumPy's `.npz`: a zip of `.npy` arrays, one per name.
//!
//! A size that a zip entry claims is checked against a limit before anything is unpacked, and
//! unpacking stops at the claimed size. Files are written beside their name and renamed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use onnxfit_base::Bytes;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::npy::{self, NpyError};
use crate::{ElementType, Tensor, Tensors};

/// Most bytes that all arrays of one file may take together.
pub const UNPACKED_BYTES_MAX: Bytes = Bytes::gib(64);
/// Most arrays in one file.
pub const ARRAYS_MAX: usize = 10_000;

/// Why a file is no set of arrays, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum NpzError {
    /// The file cannot be opened, read or written.
    #[error("`{path}`: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: io::Error,
    },
    /// No zip file, or a damaged one.
    #[error("`{path}` is no .npz file: {reason}")]
    NotNpz {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// One of the arrays cannot be read.
    #[error("array `{name}` of `{path}` {source}")]
    Array {
        /// The file.
        path: String,
        /// The array's name.
        name: String,
        /// What is wrong with it.
        source: NpyError,
    },
    /// More than the limit.
    #[error("`{path}` would unpack to {have_bytes}, more than {most_bytes}")]
    TooLarge {
        /// The file.
        path: String,
        /// What its entries claim.
        have_bytes: Bytes,
        /// The limit.
        most_bytes: Bytes,
    },
}

/// Reads every array of an `.npz` file.
pub fn read(path: &Path) -> Result<Tensors, NpzError> {
    let file = File::open(path).map_err(|source| NpzError::Io { path: path.display().to_string(), source })?;
    read_from(BufReader::new(file), &path.display().to_string(), UNPACKED_BYTES_MAX)
}

/// Reads every array of an `.npz`; `path` is for messages.
pub fn read_from(reader: impl Read + Seek, path: &str, most: Bytes) -> Result<Tensors, NpzError> {
    let damaged = |error: ZipError| NpzError::NotNpz { path: path.to_owned(), reason: error.to_string() };
    let mut archive = ZipArchive::new(reader).map_err(damaged)?;
    if archive.len() > ARRAYS_MAX {
        let reason = format!("it holds {} entries, more than {ARRAYS_MAX}", archive.len());
        return Err(NpzError::NotNpz { path: path.to_owned(), reason });
    }
    let mut tensors = Tensors::new();
    let mut unpacked = Bytes::ZERO;
    for at in 0..archive.len() {
        let entry = archive.by_index(at).map_err(damaged)?;
        if entry.is_dir() {
            continue;
        }
        let size = entry.size();
        let too_large = |have_bytes| NpzError::TooLarge { path: path.to_owned(), have_bytes, most_bytes: most };
        unpacked = unpacked.checked_add(Bytes(size)).ok_or_else(|| too_large(Bytes(u64::MAX)))?;
        if unpacked > most {
            return Err(too_large(unpacked));
        }
        let name = entry.name().map_err(damaged)?.into_owned();
        let name = name.strip_suffix(".npy").map(str::to_owned).unwrap_or(name);
        let mut bytes = Vec::new();
        // One byte more than claimed, to notice an entry that lies; memory grows with what is
        // really there, not with the claim.
        let read = entry.take(size.saturating_add(1)).read_to_end(&mut bytes);
        let reason = match read {
            Err(error) => Some(format!("array `{name}`: {error}")),
            Ok(_) if bytes.len() as u64 != size => Some(format!("array `{name}` is not of the size it claims")),
            Ok(_) => None,
        };
        if let Some(reason) = reason {
            return Err(NpzError::NotNpz { path: path.to_owned(), reason });
        }
        let tensor = npy::read(&bytes).map_err(|source| NpzError::Array {
            path: path.to_owned(),
            name: name.clone(),
            source,
        })?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// Reads a single `.npy` file.
pub fn read_npy(path: &Path) -> Result<Tensor, NpzError> {
    let text = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| NpzError::Io { path: text.clone(), source })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    npy::read(&bytes).map_err(|source| NpzError::Array { path: text, name, source })
}

/// Writes the arrays to a new file; the name has the old content or the new, never half of it.
pub fn write(path: &Path, tensors: &Tensors) -> Result<(), NpzError> {
    let fail = |source: io::Error| NpzError::Io { path: path.display().to_string(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    write_to(BufWriter::new(file.as_file_mut()), &path.display().to_string(), tensors)?;
    file.persist(path).map_err(|error| fail(error.error))?;
    Ok(())
}

/// Writes the arrays as an `.npz`, uncompressed as NumPy's `savez` does; `path` is for messages.
pub fn write_to(writer: impl Write + Seek, path: &str, tensors: &Tensors) -> Result<(), NpzError> {
    let fail = |source: io::Error| NpzError::Io { path: path.to_owned(), source };
    let mut archive = ZipWriter::new(writer);
    for (name, tensor) in tensors.iter() {
        let bytes = npy::write(tensor).map_err(|source| NpzError::Array {
            path: path.to_owned(),
            name: name.to_owned(),
            source,
        })?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() >= u32::MAX as usize);
        archive.start_file(format!("{name}.npy"), options).map_err(|error| fail(error.into()))?;
        archive.write_all(&bytes).map_err(fail)?;
    }
    archive.finish().map_err(|error| fail(error.into()))?.flush().map_err(fail)
}

/// An array whose packed bytes lie in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayFile {
    /// Its name.
    pub name: String,
    /// Element type.
    pub element_type: ElementType,
    /// Shape.
    pub shape: Vec<u64>,
    /// The file with its bytes, and nothing else.
    pub bytes: PathBuf,
}

/// Writes arrays that lie in files, and small ones from memory, as one new `.npz`.
pub fn write_files(path: &Path, files: &[ArrayFile], small: &Tensors) -> Result<(), NpzError> {
    let shown = path.display().to_string();
    let fail = |source: io::Error| NpzError::Io { path: shown.clone(), source };
    let bad = |name: &str, source| NpzError::Array { path: shown.clone(), name: name.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut whole = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
    let mut archive = ZipWriter::new(BufWriter::new(whole.as_file_mut()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    for file in files {
        let header = npy::write_header(file.element_type, &file.shape).map_err(|error| bad(&file.name, error))?;
        archive.start_file(format!("{}.npy", file.name), options).map_err(|error| fail(error.into()))?;
        archive.write_all(&header).map_err(fail)?;
        let mut bytes = File::open(&file.bytes).map_err(fail)?;
        io::copy(&mut bytes, &mut archive).map_err(fail)?;
    }
    for (name, tensor) in small.iter() {
        let bytes = npy::write(tensor).map_err(|error| bad(name, error))?;
        archive.start_file(format!("{name}.npy"), options).map_err(|error| fail(error.into()))?;
        archive.write_all(&bytes).map_err(fail)?;
    }
    archive.finish().map_err(|error| fail(error.into()))?.flush().map_err(fail)?;
    whole.persist(path).map_err(|error| fail(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests;
