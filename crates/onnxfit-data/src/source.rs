//! Where samples come from, told from a path.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use onnxfit_runtime::{ElementType, Tensors};

use crate::batches::{BatchOptions, Batches};
use crate::columns::{Columns, Folder, folder_of_arrays};
use crate::error::DataError;
use crate::files::{arrays, is_of_arrays};
use crate::images::Images;
use crate::order::Position;
use crate::stack::stack;
use crate::tables::{Tables, is_table};

/// A set of samples. Cloning it opens nothing twice.
#[derive(Clone)]
pub struct Source {
    samples: Arc<dyn Samples>,
}

/// One named tensor of every sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name.
    pub name: String,
    /// Element type.
    pub element_type: ElementType,
    /// Shape of one sample, without the axis of the batch.
    pub shape: Vec<u64>,
}

impl Field {
    /// Whether it is named as what a model should answer usually is.
    pub fn is_named_as_target(&self) -> bool {
        ["label", "labels", "target", "targets", "y"].contains(&self.name.as_str())
    }

    /// Bytes of one sample.
    pub fn sample_bytes(&self) -> u64 {
        self.shape.iter().product::<u64>().saturating_mul(self.element_type.bits()) / 8
    }
}

/// How a path is read, where it does not tell by itself.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Ranks of the tensors of a *batch*, by name: a file of a folder whose arrays have such a rank
    /// holds many samples, one whose arrays have a dimension less holds one.
    pub ranks: BTreeMap<String, usize>,
    /// Height and width that images are scaled to, the longer side cut; without it all images must
    /// have the size of the first.
    pub image_size: Option<(u32, u32)>,
    /// How the pixels of an image lie.
    pub image_layout: ImageLayout,
    /// Whether images become gray.
    pub is_gray: bool,
}

/// How the pixels of an image lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageLayout {
    /// Height, width, channel: as decoded.
    #[default]
    ChannelsLast,
    /// Channel, height, width: as most models want it.
    ChannelsFirst,
}

/// Something that has samples.
pub(crate) trait Samples: Send + Sync {
    fn n_samples(&self) -> u64;
    fn fields(&self) -> &[Field];
    /// The packed bytes of one sample, a vector for each field.
    fn read(&self, index: u64) -> Result<Vec<Vec<u8>>, DataError>;
    /// The file and the row within it, for messages.
    fn place(&self, index: u64) -> (&Path, u64);
    /// Samples up to and including each block, where they lie in blocks that are unpacked as a whole.
    fn block_ends(&self) -> &[u64] {
        &[]
    }
    /// Whether reading one takes so long that it is worth a thread.
    fn is_slow(&self) -> bool {
        false
    }
}

impl Source {
    /// Opens a file or folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::open_with(path, &OpenOptions::default())
    }

    /// Opens a file or folder that does not tell all by itself.
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, DataError> {
        let path = path.as_ref();
        let metadata = std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        let tables = if metadata.is_file() { vec![path.to_owned()] } else { entries(path)? };
        let tables: Vec<_> = tables.into_iter().filter(|path| is_table(path)).collect();
        let samples: Arc<dyn Samples> = if !tables.is_empty() {
            Arc::new(Tables::open(tables, options)?)
        } else if metadata.is_file() {
            Arc::new(Columns::new(arrays(path)?)?)
        } else if holds_arrays(path)? {
            match folder_of_arrays(path, options)? {
                Folder::Columns(columns) => Arc::new(columns),
                Folder::Files(files) => Arc::new(files),
            }
        } else {
            Arc::new(Images::open(path, options)?)
        };
        let nothing = |reason: &str| DataError::Nothing { path: path.to_owned(), reason: reason.to_owned() };
        match samples.n_samples() {
            0 => Err(nothing("it has no rows")),
            _ => Ok(Self { samples }),
        }
    }

    /// How many samples there are, bad ones included.
    pub fn len(&self) -> u64 {
        self.samples.n_samples()
    }

    /// Never true: a source without samples does not open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What each sample is.
    pub fn schema(&self) -> &[Field] {
        self.samples.fields()
    }

    /// These samples beside each other, in this order.
    pub fn rows(&self, indices: &[u64]) -> Result<Tensors, DataError> {
        let read = indices.iter().map(|index| self.samples.read(*index)).collect::<Result<Vec<_>, _>>()?;
        stack(self.samples.fields(), &read).map_err(|error| {
            let path = indices.first().map_or(Path::new(""), |index| self.samples.place(*index).0).to_owned();
            DataError::Damaged { path, reason: error.to_string() }
        })
    }

    /// Batches of one epoch from a position on, read ahead in a thread.
    pub fn batches(&self, options: &BatchOptions, from: Position) -> Batches {
        Batches::start(Arc::clone(&self.samples), options, from)
    }
}

fn holds_arrays(folder: &Path) -> Result<bool, DataError> {
    let entries = entries(folder)?;
    if entries.iter().any(|path| is_of_arrays(path)) {
        return Ok(true);
    }
    let inner = entries.iter().find(|path| path.is_dir());
    inner.map_or(Ok(false), |inner| Ok(self::entries(inner)?.iter().any(|path| is_of_arrays(path))))
}

/// What a folder holds, hidden files left out, by name.
pub(crate) fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>, DataError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !is_hidden {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
