//! Writing a changed model: to temporary files, then renamed; weights streamed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use onnxfit_base::Bytes;
use prost::Message;

use crate::encode::{Streamed, checked_bytes};
use crate::error::{OnnxError, TensorError};
use crate::external::TensorSource;
use crate::pages::release_pages;
use crate::pending::PendingFile;
use crate::proto::{ModelProto, TensorProto};
use crate::walk::{tensors_mut, visit_tensors};

/// Protobuf's own limit for one message, and so for one file.
const PROTOBUF_MAX: Bytes = Bytes((1 << 31) - 1);
/// External tensors begin on a page, so that they can be mapped (onnx's own convention).
const ALIGNMENT_BYTES: u64 = 4096;
/// What smaller tensors are aligned to.
const ALIGNMENT_SMALL_BYTES: u64 = 64;

/// How a model is written.
pub struct SaveOptions<'a> {
    /// Where weights that are not in `model` itself come from.
    pub source: &'a dyn TensorSource,
    /// Tensors from this size on go to the data file, when there is one.
    pub external_min: Bytes,
    /// Write a data file even when all would fit one file.
    pub force_external: bool,
    /// What the model file itself may take: protobuf's 2 GiB, or less.
    pub model_max: Bytes,
    /// Called after each tensor with the bytes written so far and in all.
    pub progress: Option<&'a dyn Fn(Bytes, Bytes)>,
}

impl<'a> SaveOptions<'a> {
    /// One file where it fits, weights from `source`.
    pub fn new(source: &'a dyn TensorSource) -> Self {
        Self { source, external_min: Bytes(1024), force_external: false, model_max: PROTOBUF_MAX, progress: None }
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaveReport {
    /// The model file.
    pub model_bytes: Bytes,
    /// The data file beside it; zero if there is none.
    pub data_bytes: Bytes,
    /// The name of the data file.
    pub data_name: Option<String>,
    /// Tensors whose bytes are nowhere to be had: they still point to where they were.
    pub absent: Vec<String>,
}

/// Writes `model` to `path`, and its weights to `path` + `.data` when they were elsewhere, when the
/// file would pass `model_max`, or when asked.
///
/// Nothing appears under the final names until all is written; then the data file is renamed
/// first, and the model file right after it.
pub fn save(model: &ModelProto, path: &Path, options: &SaveOptions<'_>) -> Result<SaveReport, OnnxError> {
    let mut report = SaveReport::default();
    let mut model = model.clone();
    let external = wants_data_file(&model, options)?;
    let mut data = None;
    if external {
        let layout = Layout::of(&mut model, options)?;
        let data_name = free_name(path, &layout.absent_locations);
        if layout.end_bytes > 0 {
            data = Some(write_data(&mut model, &path.with_file_name(&data_name), &layout, options)?);
            report.data_bytes = Bytes(layout.end_bytes);
            report.data_name = Some(data_name.clone());
        }
        for (index, (tensor, _)) in tensors_mut(&mut model).into_iter().enumerate() {
            if let Some(offset) = layout.offsets.get(&index) {
                let length = tensor.size_bytes()?.get();
                tensor.set_external(&data_name, *offset, length);
            } else if layout.absent.contains(&index) {
                report.absent.push(tensor.name().to_owned());
            } else if !tensor.is_inline() {
                let bytes = options.source.tensor_bytes(tensor)?;
                tensor.set_raw(bytes);
            }
        }
    }
    if !external {
        fill_all_but_initializers(&mut model, options)?;
    }
    let streamed = Streamed::of(model, !external)?;
    let have = Bytes(streamed.encoded_bytes());
    if have > options.model_max {
        return Err(OnnxError::StructureTooLarge { path: path.to_owned(), have, limit: options.model_max });
    }
    let mut failure = None;
    let done = |written| {
        if let Some(progress) = options.progress.filter(|_| !external) {
            progress(Bytes(written), have);
        }
    };
    let pending = PendingFile::write(path, |file| streamed.write(file, options.source, &mut failure, &done));
    let pending = pending.map_err(|error| failure.take().map_or(error, OnnxError::Tensor))?;
    if let Some(data) = data {
        data.commit()?;
    }
    pending.commit()?;
    report.model_bytes = have;
    Ok(report)
}

fn wants_data_file(model: &ModelProto, options: &SaveOptions<'_>) -> Result<bool, TensorError> {
    let (mut total, mut elsewhere, mut first_error) = (0u64, false, None);
    visit_tensors(model, &mut |tensor| match tensor.size_bytes() {
        Ok(bytes) => {
            total = total.saturating_add(bytes.get());
            elsewhere |= !tensor.is_inline() && !options.source.belongs_inline(tensor);
        }
        Err(error) => first_error = first_error.take().or(Some(error)),
    });
    if let Some(error) = first_error {
        return Err(error);
    }
    // A quarter is left for what is no weight; typed fields may also take more than raw bytes.
    let is_large = total > options.model_max.get() / 4 * 3 || model.encoded_len() as u64 > options.model_max.get();
    Ok(elsewhere || options.force_external || is_large)
}

/// Gets the bytes of tensors in nodes and bodies; those of the graph's own initializers are written as
/// they come.
fn fill_all_but_initializers(model: &mut ModelProto, options: &SaveOptions<'_>) -> Result<(), TensorError> {
    let initializers = model.graph.as_mut().map(|graph| std::mem::take(&mut graph.initializer));
    for (tensor, _) in tensors_mut(model) {
        if !tensor.is_inline() {
            let bytes = options.source.tensor_bytes(tensor)?;
            tensor.set_raw(bytes);
        }
    }
    if let (Some(graph), Some(initializers)) = (&mut model.graph, initializers) {
        graph.initializer = initializers;
    }
    Ok(())
}

/// Which tensors go where in the data file, by their index in the walk over the model.
#[derive(Default)]
struct Layout {
    offsets: BTreeMap<usize, u64>,
    end_bytes: u64,
    absent: BTreeSet<usize>,
    absent_locations: BTreeSet<String>,
}

impl Layout {
    fn of(model: &mut ModelProto, options: &SaveOptions<'_>) -> Result<Self, TensorError> {
        let mut layout = Self::default();
        for (index, (tensor, is_initializer)) in tensors_mut(model).into_iter().enumerate() {
            let bytes = tensor.size_bytes()?;
            if !tensor.is_inline() && matches!(options.source.check(tensor), Err(TensorError::Absent { .. })) {
                layout.absent.insert(index);
                layout.absent_locations.extend(tensor.external_location()?.map(|external| external.location));
            } else if is_initializer && bytes >= options.external_min && bytes > Bytes::ZERO && !tensor.dims.is_empty()
            {
                let is_page = bytes.get() >= ALIGNMENT_BYTES;
                let alignment = if is_page { ALIGNMENT_BYTES } else { ALIGNMENT_SMALL_BYTES };
                let offset = layout.end_bytes.next_multiple_of(alignment);
                layout.offsets.insert(index, offset);
                layout.end_bytes = offset + bytes.get();
            }
        }
        Ok(layout)
    }
}

/// The name of the data file: never one that an absent tensor waits for, or it would find other
/// bytes there.
fn free_name(path: &Path, taken: &BTreeSet<String>) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let candidates = (0u64..).map(|n| if n == 0 { format!("{name}.data") } else { format!("{name}.{n}.data") });
    let is_taken = |candidate: &str| taken.iter().any(|location| location.trim_start_matches("./") == candidate);
    candidates.into_iter().find(|candidate| !is_taken(candidate)).expect("the numbers do not end")
}

fn write_data(
    model: &mut ModelProto,
    path: &Path,
    layout: &Layout,
    options: &SaveOptions<'_>,
) -> Result<PendingFile, OnnxError> {
    let tensors: Vec<&TensorProto> = tensors_mut(model).into_iter().map(|(tensor, _)| &*tensor).collect();
    let mut failure = None;
    let written = PendingFile::write(path, |file| {
        let mut written = 0u64;
        for (index, offset) in &layout.offsets {
            let bytes = checked_bytes(tensors[*index], options.source).map_err(|error| {
                failure = Some(error);
                io::Error::other("a tensor cannot be read")
            })?;
            io::copy(&mut io::Read::take(io::repeat(0), offset - written), file)?;
            file.write_all(&bytes)?;
            release_pages(&bytes);
            written = offset + bytes.len() as u64;
            if let Some(progress) = options.progress {
                progress(Bytes(written), Bytes(layout.end_bytes));
            }
        }
        Ok(())
    });
    written.map_err(|error| failure.take().map_or(error, OnnxError::Tensor))
}
