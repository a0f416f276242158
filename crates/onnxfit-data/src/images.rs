//! A folder of images with a folder for each class.
//!
//! Pixels stay bytes: they are made numbers on the card. Classes are counted in the order of their
//! folders' names.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::DynamicImage;
use onnxfit_runtime::ElementType;

use crate::error::DataError;
use crate::pixels::{Pixels, decode};
use crate::source::{Field, OpenOptions, Samples, entries};

/// Extensions of the formats that are decoded.
const EXTENSIONS: &[&str] = &["png", "jpg", "jpeg"];
/// The field with the pixels.
const IMAGE: &str = "image";
/// The field with the number of the class.
const LABEL: &str = "label";

/// Images and their classes.
pub(crate) struct Images {
    files: Vec<(PathBuf, Option<i64>)>,
    fields: Vec<Field>,
    pixels: Pixels,
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

impl Images {
    /// Finds images in the folders of a folder, or in the folder itself if they have no class.
    pub(crate) fn open(folder: &Path, options: &OpenOptions) -> Result<Self, DataError> {
        let found = entries(folder)?;
        let mut files = Vec::new();
        let classes = found.iter().filter(|path| path.is_dir());
        for (class, path) in classes.enumerate() {
            let images = entries(path)?.into_iter().filter(|path| is_image(path));
            files.extend(images.map(|path| (path, Some(class as i64))));
        }
        if files.is_empty() {
            files.extend(found.into_iter().filter(|path| is_image(path)).map(|path| (path, None)));
        }
        if files.is_empty() {
            let reason = "it holds neither arrays nor images".to_owned();
            return Err(DataError::Nothing { path: folder.to_owned(), reason });
        }
        let has_label = files[0].1.is_some();
        let size = match options.image_size {
            Some(size) => size,
            None => first_size(&files)?,
        };
        let pixels = Pixels::new(size, options);
        let shape = pixels.shape();
        let mut fields = vec![Field { name: IMAGE.to_owned(), element_type: ElementType::Uint8, shape }];
        if has_label {
            fields.push(Field { name: LABEL.to_owned(), element_type: ElementType::Int64, shape: Vec::new() });
        }
        Ok(Self { files, fields, pixels })
    }
}

/// The size of the first image that can be decoded.
fn first_size(files: &[(PathBuf, Option<i64>)]) -> Result<(u32, u32), DataError> {
    let mut first_error = None;
    for (path, _) in files {
        match open(path) {
            Ok(image) => return Ok((image.height(), image.width())),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    let first = first_error.map_or_else(String::new, |error| error.to_string());
    Err(DataError::AllBad { n_samples: files.len() as u64, first })
}

fn open(path: &Path) -> Result<DynamicImage, DataError> {
    let file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    decode(BufReader::new(file), path)
}

impl Samples for Images {
    fn n_samples(&self) -> u64 {
        self.files.len() as u64
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn read(&self, index: u64) -> Result<Vec<Vec<u8>>, DataError> {
        let position = || DataError::Position { index, n_samples: self.n_samples() };
        let (path, class) = self.files.get(index as usize).ok_or_else(position)?;
        let mut values = vec![self.pixels.of(open(path)?, path, IMAGE)?];
        values.extend(class.map(|class| class.to_le_bytes().to_vec()));
        Ok(values)
    }

    fn place(&self, index: u64) -> (&Path, u64) {
        (self.files.get(index as usize).map_or(Path::new(""), |(path, _)| path), 0)
    }

    fn is_slow(&self) -> bool {
        true
    }
}
