//! The folder beside the output where a model is made, and from where it moves to its place when
//! all of it is whole.

use std::path::{Path, PathBuf};

use crate::{Error, Model};

/// A folder that is gone in the end.
#[derive(Debug)]
pub(crate) struct Workplace {
    folder: PathBuf,
    desk: PathBuf,
    name: String,
}

impl Workplace {
    /// Makes the folder; refuses to write over the model that is read, or its weights.
    pub(crate) fn begin(output: &Path, model: &Model) -> Result<Self, Error> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { action, path, source }
        };
        let name = output.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.filter(|_| !output.is_dir()).ok_or_else(|| {
            let hint = "give a file, such as `half.onnx`".to_owned();
            Error::Binding(format!("`{}` is no name of a file", output.display()), Some(hint))
        })?;
        let home = output.parent().filter(|home| !home.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let home = home.canonicalize().map_err(io("look into", home))?;
        let inputs = read_files(model);
        let taken = [name.clone(), format!("{name}.data")];
        if let Some(path) = taken.iter().map(|name| home.join(name)).find(|path| inputs.contains(path)) {
            let hint = "give the output another name".to_owned();
            let message = format!("`{}` is being read and would be written over", path.display());
            return Err(Error::Binding(message, Some(hint)));
        }
        let folder = home.join(format!(".{name}.{}.part", std::process::id()));
        // A leftover of a process with our number is nobody's.
        let _ = std::fs::remove_dir_all(&folder);
        let desk = folder.join("desk");
        std::fs::create_dir_all(&desk).map_err(io("create", &desk))?;
        Ok(Self { folder, desk, name })
    }

    /// For files that nobody keeps.
    pub(crate) fn desk(&self) -> &Path {
        &self.desk
    }

    /// Where the model is made.
    pub(crate) fn model(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Moves the data file and then the model to their place; gives their names.
    pub(crate) fn finish(&self, output: &Path, data: Option<&str>) -> Result<Vec<String>, Error> {
        let files: Vec<String> = data.into_iter().map(str::to_owned).chain([self.name.clone()]).collect();
        for file in &files {
            let place = output.with_file_name(file);
            std::fs::rename(self.folder.join(file), &place).map_err(|source| Error::Io {
                action: "write",
                path: place.clone(),
                source,
            })?;
        }
        Ok(files.into_iter().rev().collect())
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        // What is left here is nobody's.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The model file and the files that it points into.
fn read_files(model: &Model) -> Vec<PathBuf> {
    let path = model.file().path();
    let folder = path.parent().unwrap_or(Path::new(""));
    let tensors = model.file().proto.graph.iter().flat_map(|graph| &graph.initializer);
    let locations = tensors.filter_map(|tensor| tensor.external_location().ok().flatten());
    let mut files: Vec<PathBuf> = locations.map(|location| folder.join(location.location)).collect();
    files.sort();
    files.dedup();
    files.push(path.to_owned());
    files.iter().filter_map(|file| file.canonicalize().ok()).collect()
}
