//! Why data cannot be read.

use std::io;
use std::path::PathBuf;

use onnxfit_runtime::ElementType;

/// Why data cannot be read: what, which file, which key, what was wanted and what is there.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The system refuses.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that is not what its name says.
    #[error("`{path}` cannot be read: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A table of which no row can be read.
    #[error("`{path}` cannot be read: {reason}")]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No data of a known form is there.
    #[error("`{path}` has no samples: {reason}")]
    Nothing {
        /// The file or folder.
        path: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// A file lacks an array that others have.
    #[error("`{path}` has no `{key}`; it has {}", .have.join(", "))]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The array's name.
        key: String,
        /// The arrays that are there.
        have: Vec<String>,
    },
    /// A sample of another shape than the others.
    #[error("`{key}` of `{path}` is {have:?}, but samples are {want:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The array's name.
        key: String,
        /// The shape that all samples have.
        want: Vec<u64>,
        /// The shape that is there.
        have: Vec<u64>,
    },
    /// A sample of another element type than the others.
    #[error("`{key}` of `{path}` is {have}, but samples are {want}")]
    Type {
        /// The file.
        path: PathBuf,
        /// The array's name.
        key: String,
        /// The type that all samples have.
        want: ElementType,
        /// The type that is there.
        have: ElementType,
    },
    /// Arrays that do not have a row for each sample.
    #[error("`{key}` of `{path}` has {have} rows, but `{other}` has {want}")]
    Rows {
        /// The file.
        path: PathBuf,
        /// The array's name.
        key: String,
        /// Its rows.
        have: u64,
        /// The array it is held against.
        other: String,
        /// That one's rows.
        want: u64,
    },
    /// A number that is none.
    #[error("`{key}` of sample {index} of `{path}` has {n_bad} values that are no numbers")]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// The array's name.
        key: String,
        /// Which row of the file.
        index: u64,
        /// How many.
        n_bad: u64,
    },
    /// A position behind the end.
    #[error("sample {index} is asked for, but there are {n_samples}")]
    Position {
        /// The sample asked for.
        index: u64,
        /// How many there are.
        n_samples: u64,
    },
    /// So many samples are bad that a batch could not be filled.
    #[error("none of the {n_samples} samples can be used; the first: {first}")]
    AllBad {
        /// How many were tried.
        n_samples: u64,
        /// What was wrong with the first.
        first: String,
    },
}

impl DataError {
    /// Whether another sample may still be good: its content is at fault, not the whole source.
    pub fn is_of_one_sample(&self) -> bool {
        !matches!(self, Self::Table { .. } | Self::Nothing { .. } | Self::Position { .. } | Self::AllBad { .. })
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Nothing { .. } => Some(
                "give a .npz, .npy, .safetensors, .parquet or .arrow file with a row for each sample, a folder of \
                 them, or a folder with a folder of .png or .jpg images for each class",
            ),
            Self::Shape { .. } => Some("`--bad-samples skip` leaves such samples out; images take `--image-size`"),
            Self::Damaged { .. } | Self::Type { .. } | Self::NotANumber { .. } | Self::NoKey { .. } => {
                Some("`--bad-samples skip` leaves such samples out and counts them")
            }
            Self::Rows { .. } => Some("the first axis of each array counts samples"),
            Self::Io { .. } | Self::Table { .. } | Self::Position { .. } | Self::AllBad { .. } => None,
        }
    }
}
