//! What was learned about a machine's memory, kept for the next process.
//!
//! One small JSON file for many sessions, each under a key of its own; written beside its name and
//! renamed, so it is whole or as it was.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::GuardError;
use super::planner::Planner;

/// The form of the file.
const SCHEMA: &str = "onnxfit.limits/1";

/// Room that is believed to be there since memory ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedRoom {
    /// Bytes, or rows where bytes are not known.
    pub room: u64,
    /// Requests since that would have liked more and did without.
    pub calm: u32,
    /// How many of them it takes before more is tried.
    pub patience: u32,
}

/// A session's entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    bytes: Option<LearnedRoom>,
    rows: Option<LearnedRoom>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    schema: String,
    sessions: BTreeMap<String, Entry>,
}

/// The file, and which entry of it is this session's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedLimits {
    /// The file.
    pub path: PathBuf,
    /// The session's key: its model, provider and limit.
    pub key: String,
}

impl LearnedLimits {
    /// Tells a planner what is known.
    pub fn recall(&self, planner: &mut Planner) -> Result<(), GuardError> {
        let entry = self.read()?;
        planner.recall(entry.bytes, entry.rows);
        Ok(())
    }

    /// Keeps what a planner has learned.
    pub fn keep(&self, planner: &Planner) -> Result<(), GuardError> {
        let (bytes, rows) = planner.learned();
        self.write(Entry { bytes, rows })
    }

    /// What is known; nothing if there is no file, or one of another form.
    fn read(&self) -> Result<Entry, GuardError> {
        Ok(self.file()?.sessions.get(&self.key).copied().unwrap_or_default())
    }

    /// Puts this session's entry in the place of its old one.
    fn write(&self, entry: Entry) -> Result<(), GuardError> {
        let fail = |source| GuardError::Learned { action: "write", path: self.path.clone(), source };
        let mut file = self.file()?;
        file.schema = SCHEMA.to_owned();
        if entry == Entry::default() {
            file.sessions.remove(&self.key);
        } else {
            file.sessions.insert(self.key.clone(), entry);
        }
        let text = serde_json::to_vec_pretty(&file).map_err(|error| fail(error.into()))?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(fail)?;
        let mut part = tempfile::NamedTempFile::new_in(folder).map_err(fail)?;
        part.write_all(&text).map_err(fail)?;
        part.persist(&self.path).map_err(|error| fail(error.error))?;
        Ok(())
    }

    fn file(&self) -> Result<File, GuardError> {
        let fail = |source| GuardError::Learned { action: "read", path: self.path.clone(), source };
        match std::fs::read(&self.path) {
            // A file of another release, or a damaged one, is only forgotten knowledge.
            Ok(bytes) => {
                Ok(serde_json::from_slice::<File>(&bytes).ok().filter(|file| file.schema == SCHEMA).unwrap_or_default())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
            Err(error) => Err(fail(error)),
        }
    }
}
