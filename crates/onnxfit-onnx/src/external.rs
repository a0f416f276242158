//! Weights in other files: found, checked, and mapped only when a byte is needed.
//!
//! Nothing outside the model's folder is ever read, whatever the model says: absolute paths, `..`
//! and links that lead out are refused (the threats are those of onnx's own advisory
//! CVE-2024-27318). A model that is itself a link may also have its data beside the link's target,
//! as in the cache of Hugging Face (`ValidateExternalDataPath`, tensorprotoutils.cc, ORT 1.31).
//!
//! The check is made on the file that was opened, not on the path before it was: between the two
//! somebody could exchange the path. A hard link is not refused: who could make it in the model's
//! folder could have put a copy there.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes as Buffer;
use onnxfit_base::Bytes;

use crate::error::{OnnxError, TensorError};
use crate::pages::map;
use crate::proto::TensorProto;
use crate::tensor::ExternalLocation;

/// Gives the bytes of tensors.
pub trait TensorSource {
    /// The little-endian bytes of `tensor`.
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Buffer, TensorError>;

    /// Whether [`Self::tensor_bytes`] would succeed, at less cost where there is a way.
    fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        self.tensor_bytes(tensor).map(drop)
    }

    /// Whether a tensor that seems to be elsewhere is to lie in the model file when it is written:
    /// what it is made from lies there, too.
    fn belongs_inline(&self, _tensor: &TensorProto) -> bool {
        false
    }
}

/// The weights of a model: inline ones, and external ones relative to the model's folder.
#[derive(Debug)]
pub struct WeightStore {
    folder: PathBuf,
    /// The real folder of a model that was opened through a link.
    real_folder: Option<PathBuf>,
    /// By location: what was found there, so that thousands of tensors cost one look at the disk.
    seen: Mutex<BTreeMap<String, Seen>>,
}

#[derive(Clone, Debug)]
enum Seen {
    /// Found, allowed, and this long.
    Length(u64),
    Mapped(Buffer),
}

impl WeightStore {
    /// The weights of a model that lies in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), real_folder: None, seen: Mutex::default() }
    }

    /// The weights of the model at `path`, which may be a link.
    pub fn beside(path: &Path) -> Self {
        let folder = path.parent().unwrap_or(Path::new(""));
        let is_link = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        let real = is_link.then(|| path.canonicalize().ok()).flatten();
        let real_folder = real.and_then(|real| real.parent().map(Path::to_owned));
        Self { real_folder, ..Self::new(folder) }
    }

    /// The folder that external paths are relative to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the bytes of this tensor can be had; maps nothing.
    pub fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        match tensor.external_location()? {
            None => tensor.inline_length().map(drop),
            Some(external) => {
                let have = match self.seen(&external.location) {
                    Some(Seen::Length(length)) => length,
                    Some(Seen::Mapped(buffer)) => buffer.len() as u64,
                    None => {
                        let length = self.find(tensor, &external)?.1.len();
                        self.remember(&external.location, Seen::Length(length));
                        length
                    }
                };
                external_end(tensor, &external, have).map(drop)
            }
        }
    }

    /// The file of an external tensor, opened, with every check made but the one of its length.
    fn find(&self, tensor: &TensorProto, external: &ExternalLocation) -> Result<(File, Metadata), TensorError> {
        let name = || tensor.name().to_owned();
        let location = || external.location.clone();
        let forbidden = |problem| TensorError::ForbiddenPath { tensor: name(), location: location(), problem };
        let relative = Path::new(&external.location);
        if relative.is_absolute() || relative.has_root() {
            return Err(forbidden("is an absolute path"));
        }
        if external.location.contains('\\') || external.location.contains('\0') {
            return Err(forbidden("is no plain relative path"));
        }
        if relative.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(forbidden("leaves the model's folder"));
        }
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => TensorError::Absent {
                tensor: name(),
                location: location(),
                bytes: tensor.size_bytes().unwrap_or_default(),
            },
            _ => TensorError::Unreadable { tensor: name(), location: location(), reason: error.to_string() },
        };
        let path = self.folder.join(relative);
        // Looked at before it is opened as well: opening a pipe would wait for its writer.
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(_) if path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) => {
                return Err(forbidden("is a link to nothing that can be read"));
            }
            Err(error) => return Err(unreadable(error)),
        };
        if !metadata.is_file() {
            return Err(forbidden("is no file"));
        }
        let file = File::open(&path).map_err(unreadable)?;
        let opened = file.metadata().map_err(unreadable)?;
        let real = path.canonicalize().map_err(unreadable)?;
        let is_inside = |folder: &Path| folder.canonicalize().is_ok_and(|folder| real.starts_with(folder));
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        if !is_inside(folder) && !self.real_folder.as_deref().is_some_and(is_inside) {
            return Err(forbidden("is a link that leaves the model's folder"));
        }
        if !opened.is_file() || !real.symlink_metadata().is_ok_and(|metadata| is_same_file(&opened, &metadata)) {
            return Err(forbidden("was exchanged while it was opened"));
        }
        Ok((file, opened))
    }

    fn seen(&self, location: &str) -> Option<Seen> {
        self.seen.lock().expect("no holder of the lock panics").get(location).cloned()
    }

    fn remember(&self, location: &str, seen: Seen) {
        self.seen.lock().expect("no holder of the lock panics").insert(location.to_owned(), seen);
    }
}

impl TensorSource for WeightStore {
    fn tensor_bytes(&self, tensor: &TensorProto) -> Result<Buffer, TensorError> {
        let Some(external) = tensor.external_location()? else {
            return tensor.inline_bytes().map(Option::unwrap_or_default);
        };
        let buffer = match self.seen(&external.location) {
            Some(Seen::Mapped(buffer)) => buffer,
            _ => {
                let (file, metadata) = self.find(tensor, &external)?;
                external_end(tensor, &external, metadata.len())?;
                let buffer = map(&file, metadata.len()).map_err(|error| TensorError::Unreadable {
                    tensor: tensor.name().to_owned(),
                    location: external.location.clone(),
                    reason: error.to_string(),
                })?;
                self.remember(&external.location, Seen::Mapped(buffer.clone()));
                buffer
            }
        };
        let end = external_end(tensor, &external, buffer.len() as u64)?;
        Ok(buffer.slice(external.offset as usize..end as usize))
    }

    fn check(&self, tensor: &TensorProto) -> Result<(), TensorError> {
        self.check(tensor)
    }
}

/// Where the tensor ends in its file, which has `have` bytes.
fn external_end(tensor: &TensorProto, external: &ExternalLocation, have: u64) -> Result<u64, TensorError> {
    let need = tensor.size_bytes()?;
    if let Some(length) = external.length.filter(|length| *length != need.get()) {
        return Err(TensorError::WrongLength { tensor: tensor.name().to_owned(), have: Bytes(length), need });
    }
    let end = external.offset.checked_add(need.get());
    end.filter(|end| *end <= have).ok_or_else(|| TensorError::ExternalDataShort {
        tensor: tensor.name().to_owned(),
        location: external.location.clone(),
        have: Bytes(have),
        need_end: end.unwrap_or(u64::MAX),
    })
}

#[cfg(unix)]
fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
    // No identity to be had without extra libraries: the kind and the length are what there is.
    other.is_file() && one.len() == other.len()
}

/// Maps a file; an empty one gives an empty buffer.
pub(crate) fn map_file(path: &Path) -> Result<Buffer, OnnxError> {
    let fail = |action| move |source| OnnxError::Io { action, path: path.to_owned(), source };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(fail("open"))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "it is a folder" } else { "it is no regular file" };
        return Err(fail("open")(io::Error::other(what)));
    }
    let file = File::open(path).map_err(fail("open"))?;
    let length = file.metadata().map_err(fail("open"))?.len();
    map(&file, length).map_err(fail("map"))
}
