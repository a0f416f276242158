//! Writing a changed model: to a temporary file, then renamed; weights streamed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use onnxfit_base::Bytes;
use prost::Message;

use crate::error::{OnnxError, TensorError};
use crate::external::TensorSource;
use crate::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// Protobuf's own limit for one message, and so for one file.
const PROTOBUF_BYTES_MAX: u64 = (1 << 31) - 1;
/// External tensors begin on a page, so that they can be mapped (onnx's own convention).
const ALIGNMENT_BYTES: u64 = 4096;

/// How a model is written.
pub struct SaveOptions<'a> {
    /// Where weights that are not in `model` itself come from.
    pub source: &'a dyn TensorSource,
    /// Tensors from this size on go to the data file, when there is one.
    pub external_min: Bytes,
    /// Write a data file even when all would fit one file.
    pub force_external: bool,
    /// Called after each tensor with the bytes written so far and in all.
    pub progress: Option<&'a dyn Fn(Bytes, Bytes)>,
}

impl<'a> SaveOptions<'a> {
    /// One file where it fits, weights from `source`.
    pub fn new(source: &'a dyn TensorSource) -> Self {
        Self { source, external_min: Bytes(1024), force_external: false, progress: None }
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaveReport {
    /// The model file.
    pub model_bytes: Bytes,
    /// The data file beside it; zero if there is none.
    pub data_bytes: Bytes,
    /// Tensors whose bytes are nowhere to be had: they still point to where they were.
    pub absent: Vec<String>,
}

/// Writes `model` to `path`, and its weights to `path` + `.data` when they were external, when the
/// file would pass 2 GiB, or when asked.
///
/// Nothing appears under the final names until all is written; the data file comes first.
pub fn save(model: &ModelProto, path: &Path, options: &SaveOptions<'_>) -> Result<SaveReport, OnnxError> {
    let mut model = model.clone();
    let mut found = Vec::new();
    collect_model(&mut model, &mut found);
    // Runtimes expect the tensors of attributes inside the file.
    let attributes: BTreeSet<usize> = (0..found.len()).filter(|index| found[*index].1).collect();
    let mut tensors: Vec<&mut TensorProto> = found.into_iter().map(|(tensor, _)| tensor).collect();
    let total: Bytes = tensors.iter().map(|tensor| tensor.size_bytes()).sum::<Result<Bytes, TensorError>>()?;
    let any_external = tensors.iter().any(|tensor| tensor.is_external());
    let external = any_external || options.force_external || total.get() > PROTOBUF_BYTES_MAX / 4 * 3;
    let data_name = format!("{}.data", path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default());
    let data_path = path.with_file_name(&data_name);

    let mut report = SaveReport::default();
    if external {
        let mut plan: BTreeMap<usize, u64> = BTreeMap::new();
        let mut end = 0u64;
        for (index, tensor) in tensors.iter().enumerate() {
            let bytes = tensor.size_bytes()?;
            if tensor.is_external() && matches!(options.source.tensor_bytes(tensor), Err(TensorError::Absent { .. })) {
                report.absent.push(tensor.name().to_owned());
            } else if !attributes.contains(&index) && bytes >= options.external_min && !tensor.dims.is_empty() {
                let offset = end.next_multiple_of(if bytes.get() >= ALIGNMENT_BYTES { ALIGNMENT_BYTES } else { 64 });
                plan.insert(index, offset);
                end = offset + bytes.get();
            }
        }
        let mut failure = None;
        if !plan.is_empty() {
            write_atomically(&data_path, |file| {
                let mut written = 0u64;
                for (index, offset) in &plan {
                    let tensor = &tensors[*index];
                    let bytes = match options.source.tensor_bytes(tensor) {
                        Ok(bytes) => bytes,
                        Err(error) => {
                            failure = Some(error);
                            return Err(io::Error::other("a tensor cannot be read"));
                        }
                    };
                    io::copy(&mut io::Read::take(io::repeat(0), offset - written), file)?;
                    file.write_all(&bytes)?;
                    written = offset + bytes.len() as u64;
                    if let Some(progress) = options.progress {
                        progress(Bytes(written), Bytes(end));
                    }
                }
                Ok(())
            })
            .map_err(|error| failure.take().map_or(error, OnnxError::Tensor))?;
            report.data_bytes = Bytes(end);
        }
        for (index, tensor) in tensors.iter_mut().enumerate() {
            if let Some(offset) = plan.get(&index) {
                let length = tensor.size_bytes()?.get();
                tensor.set_external(&data_name, *offset, length);
            } else if tensor.is_external() && !report.absent.iter().any(|name| name == tensor.name()) {
                let bytes = options.source.tensor_bytes(tensor)?;
                tensor.set_raw(bytes);
            }
        }
    }
    let have = model.encoded_len() as u64;
    if have > PROTOBUF_BYTES_MAX {
        return Err(OnnxError::StructureOver2Gib { path: path.to_owned(), have: Bytes(have) });
    }
    // Encoding needs the whole message in memory once; its weights are external by now if large.
    let encoded = model.encode_to_vec();
    write_atomically(path, |file| file.write_all(&encoded))?;
    report.model_bytes = Bytes(have);
    Ok(report)
}

/// Writes a file under a temporary name in the same folder, flushes it to the disk, and renames
/// it. On failure nothing is left behind.
pub(crate) fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), OnnxError> {
    let fail = |action| move |source| OnnxError::Io { action, path: path.to_owned(), source };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let result = (|| {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
        fill(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    })();
    let result = result.and_then(|()| std::fs::rename(&temporary, path));
    result.map_err(|error| {
        // The reason is the failure above; that the leftover is gone already is no new one.
        let _ = std::fs::remove_file(&temporary);
        fail("write")(error)
    })
}

/// A tensor, and whether it belongs to an attribute.
type Found<'a> = (&'a mut TensorProto, bool);

fn collect_model<'a>(model: &'a mut ModelProto, found: &mut Vec<Found<'a>>) {
    for function in &mut model.functions {
        function.node.iter_mut().for_each(|node| collect_node(node, found));
    }
    for training in &mut model.training_info {
        let graphs = training.initialization.iter_mut().chain(training.algorithm.iter_mut());
        graphs.for_each(|graph| collect_graph(graph, found));
    }
    if let Some(graph) = &mut model.graph {
        collect_graph(graph, found);
    }
}

fn collect_graph<'a>(graph: &'a mut GraphProto, found: &mut Vec<Found<'a>>) {
    found.extend(graph.initializer.iter_mut().map(|tensor| (tensor, false)));
    for sparse in &mut graph.sparse_initializer {
        found.extend(sparse.values.iter_mut().chain(sparse.indices.iter_mut()).map(|tensor| (&mut **tensor, true)));
    }
    graph.node.iter_mut().for_each(|node| collect_node(node, found));
}

fn collect_node<'a>(node: &'a mut NodeProto, found: &mut Vec<Found<'a>>) {
    for AttributeProto { t, tensors, g, graphs, .. } in &mut node.attribute {
        found.extend(t.iter_mut().map(|tensor| (&mut **tensor, true)));
        found.extend(tensors.iter_mut().map(|tensor| (tensor, true)));
        g.iter_mut().for_each(|graph| collect_graph(graph, found));
        graphs.iter_mut().for_each(|graph| collect_graph(graph, found));
    }
}
