//! The arrays of one file, by format.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use onnxfit_runtime::ElementType;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use zip::{CompressionMethod, ZipArchive};

use crate::error::DataError;
use crate::rows::{Rows, npy_rows};
use crate::tables;

/// Most bytes that a compressed array may unpack to.
const UNPACKED_BYTES_MAX: u64 = 1 << 40;
/// Most bytes of a `.safetensors` header.
const HEADER_BYTES_MAX: u64 = 100 << 20;

/// A format of files that hold arrays.
type Reader = fn(&Path, File) -> Result<Vec<Rows>, DataError>;

/// The formats by extension. A new one is a line here and a function.
const FORMATS: &[(&str, Reader)] = &[("npz", npz), ("npy", npy), ("safetensors", safetensors)];

/// Whether a file's name says that it holds arrays.
pub(crate) fn is_of_arrays(path: &Path) -> bool {
    reader(path).is_some()
}

fn reader(path: &Path) -> Option<Reader> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    FORMATS.iter().find(|(known, _)| *known == extension).map(|(_, reader)| *reader)
}

/// The arrays of a file, in the file's order.
pub(crate) fn arrays(path: &Path) -> Result<Vec<Rows>, DataError> {
    let Some(reader) = reader(path) else {
        let known: Vec<&str> = FORMATS.iter().map(|(extension, _)| *extension).chain(tables::extensions()).collect();
        let reason = format!("it is none of .{}", known.join(", ."));
        return Err(DataError::Nothing { path: path.to_owned(), reason });
    };
    let file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let arrays = reader(path, file)?;
    if arrays.is_empty() {
        return Err(DataError::Damaged { path: path.to_owned(), reason: "it holds no array".to_owned() });
    }
    Ok(arrays)
}

fn npy(path: &Path, file: File) -> Result<Vec<Rows>, DataError> {
    let length = file.metadata().map_err(|source| DataError::Io { path: path.to_owned(), source })?.len();
    let key = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(vec![npy_rows(path, &key, &Arc::new(Mutex::new(file)), 0, length)?])
}

fn npz(path: &Path, file: File) -> Result<Vec<Rows>, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let damaged = |reason: String| DataError::Damaged { path: path.to_owned(), reason };
    let mut archive = ZipArchive::new(io::BufReader::new(file.try_clone().map_err(io)?))
        .map_err(|error| damaged(format!("it is no .npz file: {error}")))?;
    let shared = Arc::new(Mutex::new(file));
    let mut arrays = Vec::new();
    for at in 0..archive.len() {
        let entry = archive.by_index(at).map_err(|error| damaged(error.to_string()))?;
        if entry.is_dir() {
            continue;
        }
        let name = entry.name().map_err(|error| damaged(error.to_string()))?.into_owned();
        let key = name.strip_suffix(".npy").map(str::to_owned).unwrap_or(name);
        let size = entry.size();
        if entry.compression() == CompressionMethod::Stored
            && let Some(start) = entry.data_start()
        {
            arrays.push(npy_rows(path, &key, &shared, start, size)?);
            continue;
        }
        if size > UNPACKED_BYTES_MAX {
            return Err(damaged(format!("array `{key}` claims {size} bytes")));
        }
        // Rows of a compressed array cannot be found; it is unpacked once into a file without a name.
        let mut unpacked = tempfile::tempfile().map_err(io)?;
        let copied = io::copy(&mut entry.take(size.saturating_add(1)), &mut unpacked)
            .map_err(|error| damaged(format!("array `{key}`: {error}")))?;
        if copied != size {
            return Err(damaged(format!("array `{key}` is not of the size it claims")));
        }
        arrays.push(npy_rows(path, &key, &Arc::new(Mutex::new(unpacked)), 0, size)?);
    }
    Ok(arrays)
}

fn safetensors(path: &Path, mut file: File) -> Result<Vec<Rows>, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let damaged = |reason: String| DataError::Damaged { path: path.to_owned(), reason };
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| damaged("it has no header".to_owned()))?;
    let n_header = u64::from_le_bytes(length);
    if n_header > HEADER_BYTES_MAX {
        return Err(damaged(format!("its header claims {n_header} bytes")));
    }
    let mut header = Vec::new();
    (&mut file).take(n_header).read_to_end(&mut header).map_err(io)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| damaged(format!("its header is no header: {error}")))?;
    let shared = Arc::new(Mutex::new(file));
    let mut arrays = Vec::new();
    for key in metadata.offset_keys() {
        let Some(info) = metadata.info(&key) else { continue };
        let element_type = element_type(info.dtype)
            .ok_or_else(|| damaged(format!("`{key}` has elements of type {:?}, which ONNX lacks", info.dtype)))?;
        let shape: Vec<u64> = info.shape.iter().map(|dim| *dim as u64).collect();
        let (from, to) = (info.data_offsets.0 as u64, info.data_offsets.1 as u64);
        let need = shape.iter().try_fold(element_type.bits() / 8, |bytes, dim| bytes.checked_mul(*dim));
        if to.checked_sub(from).is_none_or(|have| Some(have) != need) {
            return Err(damaged(format!("`{key}` of shape {shape:?} has bytes {from}..{to}")));
        }
        let start = 8 + n_header + from;
        arrays.push(Rows::new(path, &key, &shared, start, element_type, &shape)?);
    }
    Ok(arrays)
}

fn element_type(dtype: Dtype) -> Option<ElementType> {
    Some(match dtype {
        Dtype::BOOL => ElementType::Bool,
        Dtype::U8 => ElementType::Uint8,
        Dtype::I8 => ElementType::Int8,
        Dtype::U16 => ElementType::Uint16,
        Dtype::I16 => ElementType::Int16,
        Dtype::U32 => ElementType::Uint32,
        Dtype::I32 => ElementType::Int32,
        Dtype::U64 => ElementType::Uint64,
        Dtype::I64 => ElementType::Int64,
        Dtype::F16 => ElementType::Float16,
        Dtype::BF16 => ElementType::Bfloat16,
        Dtype::F32 => ElementType::Float,
        Dtype::F64 => ElementType::Double,
        _ => return None,
    })
}
