//! Samples that are rows of arrays, or files of arrays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::DataError;
use crate::files::{arrays, is_of_arrays};
use crate::rows::Rows;
use crate::source::{Field, OpenOptions, Samples, entries};

/// Files of a folder that are kept open.
const OPEN_FILES_MAX: usize = 32;
/// The field of a folder of single arrays.
const ONLY: &str = "data";

/// Arrays with a row for each sample.
pub(crate) struct Columns {
    arrays: Vec<Rows>,
    fields: Vec<Field>,
}

impl Columns {
    /// Arrays that agree on the number of rows.
    pub(crate) fn new(arrays: Vec<Rows>) -> Result<Self, DataError> {
        check_rows(&arrays)?;
        let fields = arrays.iter().map(|array| field(array, &array.shape)).collect();
        Ok(Self { arrays, fields })
    }
}

impl Samples for Columns {
    fn n_samples(&self) -> u64 {
        self.arrays.first().map_or(0, |array| array.n_rows)
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn read(&self, index: u64) -> Result<Vec<Vec<u8>>, DataError> {
        read_row(self.arrays.iter(), index)
    }

    fn place(&self, index: u64) -> (&Path, u64) {
        (self.arrays.first().map_or(Path::new(""), |array| &array.path), index)
    }
}

fn read_row<'a>(arrays: impl Iterator<Item = &'a Rows>, row: u64) -> Result<Vec<Vec<u8>>, DataError> {
    let one = |array: &Rows| {
        let mut bytes = Vec::new();
        array.read_row(row, &mut bytes).map(|()| bytes)
    };
    arrays.map(one).collect()
}

fn field(array: &Rows, shape: &[u64]) -> Field {
    Field { name: array.key.clone(), element_type: array.element_type, shape: shape.to_vec() }
}

fn check_rows(arrays: &[Rows]) -> Result<(), DataError> {
    let Some(first) = arrays.first() else { return Ok(()) };
    for array in arrays {
        if array.is_scalar {
            let reason = format!("`{}` is a single number, not a row for each sample", array.key);
            return Err(DataError::Damaged { path: array.path.clone(), reason });
        }
        if array.n_rows != first.n_rows {
            return Err(DataError::Rows {
                path: array.path.clone(),
                key: array.key.clone(),
                have: array.n_rows,
                other: first.key.clone(),
                want: first.n_rows,
            });
        }
    }
    Ok(())
}

/// What a folder of arrays turned out to be.
pub(crate) enum Folder {
    Columns(Columns),
    Files(Files),
}

/// Tells what a folder of arrays is.
pub(crate) fn folder_of_arrays(folder: &Path, options: &OpenOptions) -> Result<Folder, DataError> {
    let found = entries(folder)?;
    let files: Vec<PathBuf> = found.iter().filter(|path| is_of_arrays(path)).cloned().collect();
    if files.is_empty() {
        return Files::of_folders(&found).map(Folder::Files);
    }
    let is_npy = |path: &PathBuf| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
    if !files.iter().all(is_npy) {
        let files: Vec<PathBuf> = files.into_iter().filter(|path| !is_npy(path)).collect();
        let first = arrays(&files[0])?;
        let holds_many = holds_many(&first, options);
        return Files::of_files(files, first, holds_many).map(Folder::Files);
    }
    // One array a file: either a column each, or a sample each.
    let is_numbered = |path: &PathBuf| {
        path.file_stem().is_some_and(|stem| stem.to_string_lossy().bytes().any(|byte| byte.is_ascii_digit()))
    };
    let is_named =
        |path: &PathBuf| path.file_stem().is_some_and(|stem| options.ranks.contains_key(&*stem.to_string_lossy()));
    let are_samples = files.len() > 1 && files.iter().all(is_numbered) && !files.iter().any(is_named);
    if !are_samples {
        let mut columns = Vec::new();
        for path in &files {
            columns.extend(arrays(path)?);
        }
        return Columns::new(columns).map(Folder::Columns);
    }
    let mut first = arrays(&files[0])?;
    first.iter_mut().for_each(|array| array.key = ONLY.to_owned());
    Files::of_files(files, first, false).map(Folder::Files)
}

/// Whether a file of a folder holds many samples: its arrays have the ranks of a batch, or, where
/// nothing is known, agree on their first dimension, as what a session is fed does.
fn holds_many(arrays: &[Rows], options: &OpenOptions) -> bool {
    for array in arrays {
        if let Some(rank) = options.ranks.get(&array.key) {
            return array.whole_shape().len() >= *rank;
        }
    }
    check_rows(arrays).is_ok()
}

/// Files of a folder, each with a sample or with many.
pub(crate) struct Files {
    /// The files of a sample or of many; in a folder of folders one for each field.
    files: Vec<Vec<PathBuf>>,
    fields: Vec<Field>,
    /// Samples up to and including each file; `None` if each file is one.
    ends: Option<Vec<u64>>,
    open: Mutex<Vec<(usize, Arc<Vec<Rows>>)>>,
}

impl Files {
    fn of_files(files: Vec<PathBuf>, first: Vec<Rows>, holds_many: bool) -> Result<Self, DataError> {
        let fields = if holds_many {
            first.iter().map(|array| field(array, &array.shape)).collect()
        } else {
            first.iter().map(|array| field(array, &array.whole_shape())).collect()
        };
        let mut ends = holds_many.then(Vec::new);
        if let Some(ends) = &mut ends {
            let mut end = 0;
            for path in &files {
                let arrays = arrays(path)?;
                check_rows(&arrays)?;
                end += arrays.first().map_or(0, |array| array.n_rows);
                ends.push(end);
            }
        }
        let files = files.into_iter().map(|path| vec![path]).collect();
        Ok(Self { files, fields, ends, open: Mutex::default() })
    }

    /// A folder for each field, in it a file for each sample, of the same name.
    fn of_folders(folders: &[PathBuf]) -> Result<Self, DataError> {
        let mut names: Vec<String> = Vec::new();
        let mut by_field: Vec<Vec<PathBuf>> = Vec::new();
        for folder in folders.iter().filter(|path| path.is_dir()) {
            names.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
            by_field.push(entries(folder)?.into_iter().filter(|path| is_of_arrays(path)).collect());
        }
        let n_samples = by_field.first().map_or(0, Vec::len);
        for (at, files) in by_field.iter().enumerate() {
            if files.len() != n_samples {
                return Err(DataError::Rows {
                    path: folders.first().and_then(|folder| folder.parent()).unwrap_or(Path::new("")).to_owned(),
                    key: names[at].clone(),
                    have: files.len() as u64,
                    other: names[0].clone(),
                    want: n_samples as u64,
                });
            }
        }
        let mut fields = Vec::new();
        for (name, files) in names.iter().zip(&by_field) {
            let Some(path) = files.first() else { continue };
            let first = arrays(path)?;
            fields
                .extend(first.first().map(|array| Field { name: name.clone(), ..field(array, &array.whole_shape()) }));
        }
        let files = (0..n_samples).map(|at| by_field.iter().map(|files| files[at].clone()).collect()).collect();
        Ok(Self { files, fields, ends: None, open: Mutex::default() })
    }

    fn locate(&self, index: u64) -> (usize, u64) {
        match &self.ends {
            None => (index as usize, 0),
            Some(ends) => {
                let file = ends.partition_point(|end| *end <= index);
                (file, index - file.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0))
            }
        }
    }

    /// The arrays of a file in the order of the fields.
    fn arrays(&self, file: usize) -> Result<Arc<Vec<Rows>>, DataError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, arrays)) = open.iter().find(|(at, _)| *at == file) {
            return Ok(Arc::clone(arrays));
        }
        let Some(paths) = self.files.get(file) else {
            return Err(DataError::Position { index: file as u64, n_samples: self.n_samples() });
        };
        let mut found = Vec::new();
        for path in paths {
            found.extend(arrays(path)?);
        }
        let is_one_each = found.len() == self.fields.len() && (paths.len() > 1 || self.fields.len() == 1);
        let mut ordered = Vec::new();
        for (at, field) in self.fields.iter().enumerate() {
            let by_place = if is_one_each { found.get(at) } else { None };
            let array = found.iter().find(|array| array.key == field.name).or(by_place);
            let Some(array) = array else {
                let have = found.iter().map(|array| array.key.clone()).collect();
                return Err(DataError::NoKey { path: paths[0].clone(), key: field.name.clone(), have });
            };
            let have = if self.ends.is_some() { array.shape.clone() } else { array.whole_shape() };
            let (path, key) = (array.path.clone(), field.name.clone());
            if array.element_type != field.element_type {
                return Err(DataError::Type { path, key, want: field.element_type, have: array.element_type });
            }
            if have != field.shape {
                return Err(DataError::Shape { path, key, want: field.shape.clone(), have });
            }
            ordered.push(array.clone());
        }
        let ordered = Arc::new(ordered);
        if open.len() >= OPEN_FILES_MAX {
            open.remove(0);
        }
        open.push((file, Arc::clone(&ordered)));
        Ok(ordered)
    }
}

impl Samples for Files {
    fn n_samples(&self) -> u64 {
        self.ends.as_ref().map_or(self.files.len() as u64, |ends| ends.last().copied().unwrap_or(0))
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn read(&self, index: u64) -> Result<Vec<Vec<u8>>, DataError> {
        let (file, row) = self.locate(index);
        let arrays = self.arrays(file)?;
        if self.ends.is_some() {
            return read_row(arrays.iter(), row);
        }
        let one = |array: &Rows| {
            let mut bytes = Vec::new();
            array.read_all(&mut bytes).map(|()| bytes)
        };
        arrays.iter().map(one).collect()
    }

    fn place(&self, index: u64) -> (&Path, u64) {
        let (file, row) = self.locate(index);
        (self.files.get(file).and_then(|files| files.first()).map_or(Path::new(""), |path| path), row)
    }
}
