//! Samples that lie as rows of arrays or tables, or as images in a folder: as many rows of them at once as the
//! model wants, one by default.

use std::collections::BTreeMap;
use std::path::Path;

use onnxfit_data::{DataError, ImageLayout, OpenOptions, Source};
use onnxfit_graph::{Dim, Model as GraphModel, TensorType};
use onnxfit_rewrite::uint8_input::Uint8Options;
use onnxfit_runtime::{ElementType, Tensor, Tensors};

/// Sets of inputs out of a source of rows.
pub(crate) struct Rows {
    source: Source,
    n_rows: u64,
    /// Which field feeds which input, and what that takes.
    feeds: Vec<Feed>,
    pixels: Uint8Options,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Rows({} of {})", self.n_rows, self.source.len())
    }
}

struct Feed {
    field: String,
    input: String,
    wanted: Option<ElementType>,
}

impl Rows {
    /// Opens a file or folder and tells which field is which input.
    pub(crate) fn open(path: &Path, model: &GraphModel, pixels: &Uint8Options) -> Result<Self, DataError> {
        let graph = &model.graph;
        let inputs: Vec<(&str, &TensorType)> = graph
            .required_inputs()
            .filter_map(|id| Some((graph.value(id).name.as_str(), graph.value(id).ty.as_tensor()?)))
            .collect();
        let rank = |ty: &TensorType| Some(ty.shape.as_ref()?.len());
        let ranks = inputs.iter().filter_map(|(name, ty)| Some(((*name).to_owned(), rank(ty)?))).collect();
        let image = inputs.iter().find_map(|(_, ty)| Image::of(ty.shape.as_deref()?));
        let options = OpenOptions {
            ranks,
            image_size: image.and_then(|image| image.size),
            image_layout: image.map_or(ImageLayout::ChannelsFirst, |image| image.layout),
            is_gray: image.is_some_and(|image| image.is_gray),
        };
        let source = Source::open_with(path, &options)?;
        let first = |ty: &TensorType| match ty.shape.as_ref()?.first()? {
            Dim::Known(rows) => u64::try_from(*rows).ok().filter(|rows| *rows > 0),
            _ => None,
        };
        let n_rows = inputs.iter().find_map(|(_, ty)| first(ty)).unwrap_or(1);
        // One input and one field are each other's, whatever they are called; labels feed nothing.
        let fields = source.schema();
        let only = fields.iter().find(|field| !field.is_named_as_target());
        let feeds = inputs.iter().filter_map(|(name, ty)| {
            let own = fields.iter().find(|field| field.name == *name);
            let field = own.or(only.filter(|_| inputs.len() == 1))?;
            let wanted = ty.element_type.and_then(|element| ElementType::from_onnx(element.number()));
            Some(Feed { field: field.name.clone(), input: (*name).to_owned(), wanted })
        });
        let feeds = feeds.collect();
        Ok(Self { source, n_rows, feeds, pixels: pixels.clone() })
    }

    /// How many sets there are; rows that do not fill one are left out.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.source.len() / self.n_rows).unwrap_or(usize::MAX)
    }

    /// One set.
    pub(crate) fn get(&self, index: usize) -> Result<Tensors, DataError> {
        let first = index as u64 * self.n_rows;
        let rows: Vec<u64> = (first..first + self.n_rows).collect();
        let read = self.source.rows(&rows)?;
        let mut found = Tensors::new();
        for feed in &self.feeds {
            let Some(tensor) = read.get(&feed.field) else { continue };
            let is_pixels = tensor.element_type() == ElementType::Uint8;
            let fed = match feed.wanted.filter(|wanted| is_pixels && wanted.is_float()) {
                Some(wanted) => floats(tensor, wanted, &self.pixels).unwrap_or_else(|| tensor.clone()),
                None => tensor.clone(),
            };
            found.insert(feed.input.clone(), fed);
        }
        Ok(found)
    }
}

/// What images have to look like.
#[derive(Clone, Copy)]
struct Image {
    size: Option<(u32, u32)>,
    layout: ImageLayout,
    is_gray: bool,
}

impl Image {
    /// Told from the shape of an input of four axes.
    fn of(shape: &[Dim]) -> Option<Self> {
        let [_, second, third, fourth] = shape else { return None };
        let is_channels = |dim: &Dim| matches!(dim, Dim::Known(1 | 3));
        let size = |dim: &Dim| match dim {
            Dim::Known(size) => u32::try_from(*size).ok(),
            _ => None,
        };
        let (layout, channels, height, width) = if is_channels(fourth) && !is_channels(second) {
            (ImageLayout::ChannelsLast, fourth, second, third)
        } else {
            (ImageLayout::ChannelsFirst, second, third, fourth)
        };
        Some(Self { size: size(height).zip(size(width)), layout, is_gray: matches!(channels, Dim::Known(1)) })
    }
}

/// Bytes as the floats that a model takes: `(byte / scale - mean) / deviation`, by channel.
fn floats(bytes: &Tensor, element_type: ElementType, pixels: &Uint8Options) -> Option<Tensor> {
    let shape = bytes.shape().to_vec();
    let size = |axis: usize| shape.get(axis).and_then(|size| usize::try_from(*size).ok()).unwrap_or(1).max(1);
    let is_last = shape.len() == 4 && size(3) <= 4 && size(1) > 4;
    let plane = if is_last { 1 } else { size(2) * size(3) };
    let n_channels = if is_last { size(3) } else { size(1) };
    let of = |numbers: &[f32], channel: usize| numbers.get(channel).or(numbers.first()).copied().unwrap_or(0.0);
    let scaled = bytes.bytes()?.iter().enumerate().map(|(place, byte)| {
        let channel = place / plane % n_channels;
        let number = f32::from(*byte) / pixels.scale - of(&pixels.mean, channel);
        f64::from(number / of(&pixels.deviation, channel))
    });
    Tensor::from_f64(element_type, shape.clone(), &scaled.collect::<Vec<f64>>())?.ok()
}

/// What a set of inputs lies in, if not in files of its own: arrays or tables of rows, or images.
pub(crate) fn is_of_rows(path: &Path) -> bool {
    let ends_so =
        |path: &Path, extension: &str| path.extension().is_some_and(|own| own.eq_ignore_ascii_case(extension));
    // An archive is one set of inputs; any other file that can be read holds rows.
    if path.is_file() {
        return !ends_so(path, "npz");
    }
    let Ok(entries) = std::fs::read_dir(path) else { return false };
    let names: BTreeMap<_, _> = entries.flatten().map(|entry| (entry.path(), ())).collect();
    let mut paths = names.keys();
    !names.is_empty() && !paths.any(|path| ends_so(path, "npz"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Float32Type;
    use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch};
    use parquet::arrow::ArrowWriter;

    use super::*;

    #[test]
    fn a_table_is_a_sample_a_row_and_its_labels_feed_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calib.parquet");
        let x = (0..5).map(|row| Some([row as f32, 0.5, -1.0].map(Some)));
        let columns: [(&str, ArrayRef); 2] = [
            ("features", Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(x))),
            ("label", Arc::new(Int64Array::from_iter_values(0..5))),
        ];
        let table = RecordBatch::try_from_iter(columns).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, table.schema(), None).unwrap();
        writer.write(&table).unwrap();
        writer.close().unwrap();

        assert!(is_of_rows(&path) && !is_of_rows(&folder.path().join("0.npz")));
        let text = "g (float[n,3] x) => (float[n,3] y) { y = Relu(x) }";
        let model = GraphModel::from_proto(&onnxfit_onnx::text::parse(text).unwrap()).unwrap();
        let rows = Rows::open(&path, &model, &Uint8Options::default()).unwrap();
        assert_eq!(rows.len(), 5);
        let sample = rows.get(4).unwrap();
        let fed = sample.get("x").unwrap();
        assert_eq!((fed.shape(), fed.values().unwrap()), (&[1, 3][..], vec![4.0, 0.5, -1.0]));
        assert!(sample.get("label").is_none());
    }
}
