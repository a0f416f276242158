//! What an image becomes: bytes of one size and layout.

use std::io::{BufRead, Seek};
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageReader};

use crate::error::DataError;
use crate::source::{ImageLayout, OpenOptions};

/// Larger images are taken for damage: 2^28 pixels.
const SIDE_MAX: u32 = 1 << 16;

/// The form that all images of a source get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pixels {
    height: u32,
    width: u32,
    is_scaled: bool,
    layout: ImageLayout,
    is_gray: bool,
}

impl Pixels {
    /// Images of this height and width; others are scaled only if a size was asked for.
    pub(crate) fn new((height, width): (u32, u32), options: &OpenOptions) -> Self {
        let is_scaled = options.image_size.is_some();
        Self { height, width, is_scaled, layout: options.image_layout, is_gray: options.is_gray }
    }

    /// The shape of one image.
    pub(crate) fn shape(&self) -> Vec<u64> {
        let (height, width, n_channels) = (u64::from(self.height), u64::from(self.width), self.n_channels());
        match self.layout {
            ImageLayout::ChannelsLast => vec![height, width, n_channels],
            ImageLayout::ChannelsFirst => vec![n_channels, height, width],
        }
    }

    fn n_channels(&self) -> u64 {
        if self.is_gray { 1 } else { 3 }
    }

    /// The bytes of an image; `path` and `key` say where it is from.
    pub(crate) fn of(&self, image: DynamicImage, path: &Path, key: &str) -> Result<Vec<u8>, DataError> {
        let (width, height) = (image.width(), image.height());
        let image = if (height, width) == (self.height, self.width) {
            image
        } else if self.is_scaled {
            fill(&image, self.width, self.height)
        } else {
            let shape = |height: u32, width: u32| vec![u64::from(height), u64::from(width), self.n_channels()];
            let (want, have) = (shape(self.height, self.width), shape(height, width));
            return Err(DataError::Shape { path: path.to_owned(), key: key.to_owned(), want, have });
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

/// Decodes a PNG or JPEG file.
pub(crate) fn decode(encoded: impl BufRead + Seek, path: &Path) -> Result<DynamicImage, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut reader = ImageReader::new(encoded).with_guessed_format().map_err(io)?;
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
