//! A folder of images with a folder for each class.
//!
//! Pixels stay bytes: they are made numbers on the card. Classes are counted in the order of their
//! folders' names.

use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageReader};
use onnxfit_runtime::ElementType;

use crate::error::DataError;
use crate::source::{Field, ImageLayout, OpenOptions, Samples, entries};

/// Extensions of the formats that are decoded.
const EXTENSIONS: &[&str] = &["png", "jpg", "jpeg"];
/// Larger images are taken for damage: 2^28 pixels.
const SIDE_MAX: u32 = 1 << 16;
/// The field with the pixels.
const IMAGE: &str = "image";
/// The field with the number of the class.
const LABEL: &str = "label";

/// Images and their classes.
pub(crate) struct Images {
    files: Vec<(PathBuf, Option<i64>)>,
    fields: Vec<Field>,
    height: u32,
    width: u32,
    is_scaled: bool,
    layout: ImageLayout,
    is_gray: bool,
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
        let (height, width) = match options.image_size {
            Some(size) => size,
            None => first_size(&files)?,
        };
        let n_channels = if options.is_gray { 1 } else { 3 };
        let shape = match options.image_layout {
            ImageLayout::ChannelsLast => vec![u64::from(height), u64::from(width), n_channels],
            ImageLayout::ChannelsFirst => vec![n_channels, u64::from(height), u64::from(width)],
        };
        let mut fields = vec![Field { name: IMAGE.to_owned(), element_type: ElementType::Uint8, shape }];
        if has_label {
            fields.push(Field { name: LABEL.to_owned(), element_type: ElementType::Int64, shape: Vec::new() });
        }
        let (is_scaled, layout, is_gray) = (options.image_size.is_some(), options.image_layout, options.is_gray);
        Ok(Self { files, fields, height, width, is_scaled, layout, is_gray })
    }

    fn pixels(&self, path: &Path) -> Result<Vec<u8>, DataError> {
        let image = decode(path)?;
        let (width, height) = (image.width(), image.height());
        let image = if (height, width) == (self.height, self.width) {
            image
        } else if self.is_scaled {
            fill(&image, self.width, self.height)
        } else {
            let n_channels = if self.is_gray { 1 } else { 3 };
            let shape = |height: u32, width: u32| vec![u64::from(height), u64::from(width), n_channels];
            return Err(DataError::Shape {
                path: path.to_owned(),
                key: IMAGE.to_owned(),
                want: shape(self.height, self.width),
                have: shape(height, width),
            });
        };
        if self.is_gray {
            return Ok(image.into_luma8().into_raw());
        }
        let pixels = image.into_rgb8().into_raw();
        match self.layout {
            ImageLayout::ChannelsLast => Ok(pixels),
            ImageLayout::ChannelsFirst => {
                Ok((0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect())
            }
        }
    }
}

/// The size of the first image that can be decoded.
fn first_size(files: &[(PathBuf, Option<i64>)]) -> Result<(u32, u32), DataError> {
    let mut first_error = None;
    for (path, _) in files {
        match decode(path) {
            Ok(image) => return Ok((image.height(), image.width())),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    let first = first_error.map_or_else(String::new, |error| error.to_string());
    Err(DataError::AllBad { n_samples: files.len() as u64, first })
}

fn decode(path: &Path) -> Result<DynamicImage, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut reader = ImageReader::open(path).map_err(io)?.with_guessed_format().map_err(io)?;
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(SIDE_MAX), Some(SIDE_MAX));
    reader.limits(limits);
    reader.decode().map_err(|error| DataError::Damaged { path: path.to_owned(), reason: error.to_string() })
}

/// Scales so that the image just covers the size, and cuts what stands over on both sides.
fn fill(image: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    let scale = (f64::from(width) / f64::from(image.width())).max(f64::from(height) / f64::from(image.height()));
    let wide = ((f64::from(image.width()) * scale).round() as u32).max(width);
    let high = ((f64::from(image.height()) * scale).round() as u32).max(height);
    let scaled = image.resize_exact(wide, high, FilterType::Triangle);
    let (left, top) = ((wide - width) / 2, (high - height) / 2);
    let cut = imageops::crop_imm(&scaled, left, top, width, height).to_image();
    DynamicImage::ImageRgba8(cut)
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
        let mut values = vec![self.pixels(path)?];
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
