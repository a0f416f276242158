//! Writes a model into one file without having it in memory twice: its weights are encoded one at a
//! time, behind everything else, where any reader of protobuf finds them.

use std::io::{self, Write};

use bytes::Bytes as Buffer;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::error::TensorError;
use crate::external::TensorSource;
use crate::pages::release_pages;
use crate::proto::{ModelProto, TensorProto};

/// Fields that hold bytes: their number and the wire type for a length and what follows.
const MODEL_GRAPH: u64 = 7 << 3 | 2;
const GRAPH_INITIALIZER: u64 = 5 << 3 | 2;
const TENSOR_RAW: u64 = 9 << 3 | 2;

/// A model whose large initializers are told apart from the rest.
pub(crate) struct Streamed {
    /// All but the graph.
    model: Vec<u8>,
    /// The graph, all but its initializers.
    graph: Vec<u8>,
    initializers: Vec<Initializer>,
    graph_bytes: u64,
}

struct Initializer {
    /// Asked for when it is written.
    tensor: TensorProto,
    /// The tensor without the bytes that come behind, encoded.
    head: Vec<u8>,
    /// Its bytes, if they come behind.
    raw_bytes: Option<u64>,
}

impl Initializer {
    fn encoded_bytes(&self) -> u64 {
        let raw = self.raw_bytes.map_or(0, |n| prefixed(TENSOR_RAW, n));
        self.head.len() as u64 + raw
    }
}

/// What a field of `n` bytes takes with what is in front of it.
fn prefixed(tag: u64, n: u64) -> u64 {
    (encoded_len_varint(tag) + encoded_len_varint(n)) as u64 + n
}

impl Streamed {
    /// Takes a model apart. With `fills`, initializers whose bytes are elsewhere are asked for when
    /// they are written; without it they keep pointing there.
    pub(crate) fn of(mut model: ModelProto, fills: bool) -> Result<Self, TensorError> {
        let mut graph = model.graph.take().unwrap_or_default();
        let mut initializers = Vec::with_capacity(graph.initializer.len());
        for tensor in std::mem::take(&mut graph.initializer) {
            let mut head = tensor.clone();
            let raw_bytes = match (tensor.is_inline(), head.raw_data.take()) {
                (true, Some(raw)) => Some(raw.len() as u64),
                (false, _) if fills => {
                    head.set_raw(Buffer::new());
                    head.raw_data = None;
                    Some(tensor.size_bytes()?.get())
                }
                _ => None,
            };
            initializers.push(Initializer { tensor, head: head.encode_to_vec(), raw_bytes });
        }
        let graph = graph.encode_to_vec();
        let tensors: u64 = initializers.iter().map(|each| prefixed(GRAPH_INITIALIZER, each.encoded_bytes())).sum();
        let graph_bytes = graph.len() as u64 + tensors;
        Ok(Self { model: model.encode_to_vec(), graph, initializers, graph_bytes })
    }

    /// What the file will take.
    pub(crate) fn encoded_bytes(&self) -> u64 {
        self.model.len() as u64 + prefixed(MODEL_GRAPH, self.graph_bytes)
    }

    /// Writes all of it; a tensor that cannot be read ends it with the reason in `failure`.
    pub(crate) fn write(
        &self,
        file: &mut impl Write,
        source: &dyn TensorSource,
        failure: &mut Option<TensorError>,
        progress: &dyn Fn(u64),
    ) -> io::Result<()> {
        file.write_all(&self.model)?;
        prefix(file, MODEL_GRAPH, self.graph_bytes)?;
        file.write_all(&self.graph)?;
        let mut written = 0;
        for each in &self.initializers {
            prefix(file, GRAPH_INITIALIZER, each.encoded_bytes())?;
            file.write_all(&each.head)?;
            let Some(n) = each.raw_bytes else { continue };
            let bytes = match &each.tensor.raw_data {
                Some(raw) => raw.clone(),
                None => checked_bytes(&each.tensor, source).map_err(|error| {
                    *failure = Some(error);
                    io::Error::other("a tensor cannot be read")
                })?,
            };
            prefix(file, TENSOR_RAW, n)?;
            file.write_all(&bytes)?;
            release_pages(&bytes);
            written += n;
            progress(written);
        }
        Ok(())
    }
}

/// The bytes of a tensor, as many as its shape says.
pub(crate) fn checked_bytes(tensor: &TensorProto, source: &dyn TensorSource) -> Result<Buffer, TensorError> {
    let bytes = source.tensor_bytes(tensor)?;
    let (need, have) = (tensor.size_bytes()?, onnxfit_base::Bytes(bytes.len() as u64));
    let name = || tensor.name().to_owned();
    if have == need { Ok(bytes) } else { Err(TensorError::WrongLength { tensor: name(), have, need }) }
}

fn prefix(file: &mut impl Write, tag: u64, n: u64) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(20);
    encode_varint(tag, &mut bytes);
    encode_varint(n, &mut bytes);
    file.write_all(&bytes)
}
