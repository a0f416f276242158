//! Answers that are there already, in a folder beside the output until all are.
//!
//! One file of packed bytes for each output, and a note of how many rows are in them. The note is
//! renamed into place after the bytes were written, so what it counts is there; what lies behind is
//! cut off when the run goes on.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onnxfit_report::run::OutputView;
use onnxfit_runtime::guard::Cut;
use onnxfit_runtime::npz::{self, ArrayFile};
use onnxfit_runtime::{ElementType, Tensors};
use serde::{Deserialize, Serialize};

use super::npz_error;
use crate::Error;

/// How often the note is written.
const NOTED_EVERY: Duration = Duration::from_secs(1);
/// The form of the note.
const SCHEMA: &str = "onnxfit.run-part/1";

/// What is known of the answers so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Note {
    schema: String,
    key: String,
    n_rows: u64,
    outputs: Vec<NotedOutput>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NotedOutput {
    name: String,
    element_type: String,
    /// Of one row, or of the whole if it has none.
    shape: Vec<u64>,
    has_rows: bool,
    n_bytes: u64,
}

/// The folder of a run under way.
pub(super) struct Part {
    folder: PathBuf,
    note: Note,
    files: Vec<File>,
    noted: Instant,
}

impl Part {
    /// Opens what an interrupted run with the same key has left, or begins anew.
    pub(super) fn open(output: &Path, key: &str, restart: bool) -> Result<Self, Error> {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let folder = output.with_file_name(format!(".{name}.part"));
        let fresh = Note { schema: SCHEMA.to_owned(), key: key.to_owned(), ..Note::default() };
        let noted = std::fs::read(folder.join("note.json")).ok();
        let old = noted.and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        let old = old.filter(|old| !restart && old.schema == SCHEMA && old.key == key);
        let mut part = Self { folder, note: old.unwrap_or(fresh), files: Vec::new(), noted: Instant::now() };
        std::fs::create_dir_all(&part.folder).map_err(|source| part.fail("create", source))?;
        for at in 0..part.note.outputs.len() {
            let file = part.file(at).and_then(|file| {
                let have = file.metadata()?.len();
                let want = part.note.outputs[at].n_bytes;
                if have < want {
                    return Err(std::io::Error::other("it is shorter than was noted; begin anew with --restart"));
                }
                file.set_len(want)?;
                Ok(file)
            });
            part.files.push(file.map_err(|source| part.fail("open", source))?);
        }
        Ok(part)
    }

    /// Rows that are there.
    pub(super) fn n_rows(&self) -> u64 {
        self.note.n_rows
    }

    /// Keeps the answers of a chunk.
    pub(super) fn append(&mut self, rows: u64, cut: Option<&Cut>, outputs: &Tensors) -> Result<(), Error> {
        let is_first = self.note.outputs.is_empty();
        for (at, (name, tensor)) in outputs.iter().enumerate() {
            let has_rows = cut.is_some_and(|cut| cut.outputs.contains_key(name));
            let mut shape = tensor.shape().to_vec();
            if has_rows && let Some(first) = shape.first_mut() {
                *first /= rows;
            }
            let element_type = tensor.element_type().to_string();
            if is_first {
                let noted = NotedOutput { name: name.to_owned(), element_type, shape, has_rows, n_bytes: 0 };
                self.note.outputs.push(noted);
                let file = self.file(at).and_then(|file| file.set_len(0).map(|()| file));
                self.files.push(file.map_err(|source| self.fail("create", source))?);
            } else if self.note.outputs.get(at).is_none_or(|noted| noted.name != name || noted.shape != shape) {
                let message = format!("output `{name}` has another shape for each row than before: {shape:?}");
                return Err(Error::Runtime { message, hint: None });
            }
            // What is the same for all rows is written once.
            if has_rows || is_first {
                let bytes = tensor.bytes().unwrap_or_default();
                let written = self.files[at].write_all(bytes);
                written.map_err(|source| self.fail("write", source))?;
                self.note.outputs[at].n_bytes += bytes.len() as u64;
            }
        }
        self.note.n_rows += rows;
        if self.noted.elapsed() >= NOTED_EVERY {
            self.write_note()?;
        }
        Ok(())
    }

    /// Puts the answers together as one `.npz`, and removes the folder.
    pub(super) fn finish(mut self, output: &Path) -> Result<Vec<OutputView>, Error> {
        self.files.clear();
        let mut arrays = Vec::new();
        let mut views = Vec::new();
        for (at, noted) in self.note.outputs.iter().enumerate() {
            let mut shape = noted.shape.clone();
            if noted.has_rows
                && let Some(first) = shape.first_mut()
            {
                *first *= self.note.n_rows;
            }
            let element_type = ElementType::ALL.iter().find(|kind| kind.to_string() == noted.element_type);
            let element_type = *element_type.ok_or_else(|| {
                self.fail("read", std::io::Error::other(format!("`{}` is no element type", noted.element_type)))
            })?;
            views.push(OutputView {
                name: noted.name.clone(),
                element_type: noted.element_type.clone(),
                shape: shape.clone(),
            });
            arrays.push(ArrayFile { name: noted.name.clone(), element_type, shape, bytes: self.path(at) });
        }
        npz::write_files(output, &arrays, &Tensors::new()).map_err(npz_error)?;
        std::fs::remove_dir_all(&self.folder).map_err(|source| self.fail("remove", source))?;
        Ok(views)
    }

    fn write_note(&mut self) -> Result<(), Error> {
        self.noted = Instant::now();
        let written = self.files.iter().try_for_each(File::sync_data).and_then(|()| {
            let text = serde_json::to_vec(&self.note)?;
            let path = self.folder.join("note.json");
            let beside = self.folder.join("note.json.new");
            std::fs::write(&beside, text)?;
            std::fs::rename(beside, path)
        });
        written.map_err(|source| self.fail("write", source))
    }

    fn path(&self, at: usize) -> PathBuf {
        self.folder.join(format!("{at}.bytes"))
    }

    fn file(&self, at: usize) -> std::io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.path(at))
    }

    fn fail(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::Io { action, path: self.folder.clone(), source }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // An error ended the run: what is there is kept for the next one. After `finish` there are
        // no files, and nothing is written.
        if !self.files.is_empty() {
            let _ = self.write_note();
        }
    }
}
