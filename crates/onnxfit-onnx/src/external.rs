//! Weights in other files: found, checked, and mapped only when a byte is needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes as Buffer;
use onnxfit_base::Bytes;

use crate::error::{OnnxError, TensorError};
use crate::proto::TensorProto;

/// Gives the bytes of tensors.
pub trait TensorSource {
    /// The little-endian bytes of `tensor`.
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Buffer, TensorError>;
}

/// The weights of a model: inline ones, and external ones relative to the model's folder.
///
/// Nothing outside that folder is ever opened: absolute paths, `..` and links that lead out are
/// refused (the threats are those of onnx's own advisory CVE-2024-27318).
#[derive(Debug)]
pub struct WeightStore {
    folder: PathBuf,
    maps: Mutex<BTreeMap<PathBuf, Buffer>>,
}

impl WeightStore {
    /// The weights of a model that lies in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), maps: Mutex::default() }
    }

    /// The folder that external paths are relative to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the bytes of this tensor can be had; opens no file that is not needed.
    pub fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        if tensor.is_external() { self.external_range(tensor).map(drop) } else { tensor.size_bytes().map(drop) }
    }

    /// The file and the range of an external tensor, all checks made.
    fn external_range(&self, tensor: &TensorProto) -> Result<(PathBuf, u64, u64), TensorError> {
        let name = || tensor.name().to_owned();
        let Some(external) = tensor.external_location()? else {
            return Err(TensorError::BadExternalEntry { tensor: name(), key: "location", value: String::new() });
        };
        let need = tensor.size_bytes()?;
        if let Some(length) = external.length.filter(|length| *length != need.get()) {
            return Err(TensorError::WrongLength { tensor: name(), have: Bytes(length), need });
        }
        let forbidden =
            |problem| TensorError::ForbiddenPath { tensor: name(), location: external.location.clone(), problem };
        let relative = Path::new(&external.location);
        if relative.is_absolute() || relative.has_root() || external.location.contains('\\') {
            return Err(forbidden("is absolute or no plain relative path"));
        }
        if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(forbidden("leaves the model's folder"));
        }
        let path = self.folder.join(relative);
        let metadata = match path.symlink_metadata() {
            Ok(_) => std::fs::metadata(&path),
            Err(error) => Err(error),
        };
        let metadata = metadata.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                TensorError::Absent { tensor: name(), location: external.location.clone(), bytes: need }
            }
            _ => TensorError::Unreadable {
                tensor: name(),
                location: external.location.clone(),
                reason: error.to_string(),
            },
        })?;
        let inside = path
            .canonicalize()
            .and_then(|real| Ok(real.starts_with(self.folder_or_dot().canonicalize()?)))
            .unwrap_or(false);
        if !inside {
            return Err(forbidden("is a link that leaves the model's folder"));
        }
        if !metadata.is_file() {
            return Err(forbidden("is no file"));
        }
        match external.offset.checked_add(need.get()) {
            Some(end) if end <= metadata.len() => Ok((path, external.offset, need.get())),
            end => Err(TensorError::ExternalDataShort {
                tensor: name(),
                location: external.location.clone(),
                have: Bytes(metadata.len()),
                need_end: end.unwrap_or(u64::MAX),
            }),
        }
    }

    fn folder_or_dot(&self) -> &Path {
        if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder }
    }

    fn map(&self, path: &Path) -> Result<Buffer, OnnxError> {
        let mut maps = self.maps.lock().expect("no holder of the lock panics");
        if let Some(buffer) = maps.get(path) {
            return Ok(buffer.clone());
        }
        let buffer = map_file(path)?;
        maps.insert(path.to_owned(), buffer.clone());
        Ok(buffer)
    }
}

impl TensorSource for WeightStore {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Buffer, TensorError> {
        if let Some(bytes) = tensor.inline_bytes()? {
            return Ok(bytes);
        }
        let (path, offset, length) = self.external_range(tensor)?;
        let buffer = self.map(&path).map_err(|error| TensorError::Unreadable {
            tensor: tensor.name().to_owned(),
            location: path.display().to_string(),
            reason: error.to_string(),
        })?;
        let end = (offset + length) as usize;
        if end > buffer.len() {
            // The file shrank between the check and the mapping.
            return Err(TensorError::ExternalDataShort {
                tensor: tensor.name().to_owned(),
                location: path.display().to_string(),
                have: Bytes(buffer.len() as u64),
                need_end: end as u64,
            });
        }
        Ok(buffer.slice(offset as usize..end))
    }
}

/// Maps a file; an empty one gives an empty buffer.
pub(crate) fn map_file(path: &Path) -> Result<Buffer, OnnxError> {
    let fail = |action| move |source| OnnxError::Io { action, path: path.to_owned(), source };
    let file = File::open(path).map_err(fail("open"))?;
    let metadata = file.metadata().map_err(fail("open"))?;
    if metadata.is_dir() {
        return Err(fail("open")(std::io::Error::other("it is a folder")));
    }
    if metadata.len() == 0 {
        return Ok(Buffer::new());
    }
    // SAFETY: the map is read-only and private to this process. A writer that truncates the file
    // meanwhile can make a read fault; every reader of a mapped model has that risk, and copying
    // gigabytes of weights is the alternative.
    #[allow(unsafe_code)]
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(fail("map"))?;
    Ok(Buffer::from_owner(map))
}
