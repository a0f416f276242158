//! A first walk over the wire format, before anything is allocated for it.
//!
//! It bounds what decoding will cost (an empty node is two bytes in the file and hundreds in
//! memory), stops at deep nesting, finds fields that onnxfit does not know, and says of a broken
//! file *where* it breaks. Lengths are skipped, so no weight byte is read.

use onnxfit_base::{Bytes, Limits};

/// A message of `onnx.proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Segment,
    Sparse,
    ValueInfo,
    Type,
    TensorType,
    ElementType,
    MapType,
    OpaqueType,
    Shape,
    Dimension,
    OpsetId,
    Entry,
    Annotation,
    Function,
    Training,
    Device,
    NodeDevice,
    Sharding,
    IntIntList,
    ShardedDim,
    SimpleShardedDim,
}

/// What a field holds.
enum Field {
    /// A message, with the field's name for the place in errors.
    Message(Kind, &'static str),
    /// Anything whose decoded size is about its size in the file.
    Plain,
    /// A packed list of varints of this decoded width.
    Packed(u64),
}

fn field(kind: Kind, number: u64) -> Option<Field> {
    use Field::{Message, Packed, Plain};
    Some(match (kind, number) {
        (Kind::Model, 1..=6) => Plain,
        (Kind::Model, 7) => Message(Kind::Graph, "graph"),
        (Kind::Model, 8) => Message(Kind::OpsetId, "opset_import"),
        (Kind::Model, 14) => Message(Kind::Entry, "metadata_props"),
        (Kind::Model, 20) => Message(Kind::Training, "training_info"),
        (Kind::Model, 25) => Message(Kind::Function, "functions"),
        (Kind::Model, 26) => Message(Kind::Device, "configuration"),
        (Kind::Graph, 1) => Message(Kind::Node, "node"),
        (Kind::Graph, 2 | 10) => Plain,
        (Kind::Graph, 5) => Message(Kind::Tensor, "initializer"),
        (Kind::Graph, 11) => Message(Kind::ValueInfo, "input"),
        (Kind::Graph, 12) => Message(Kind::ValueInfo, "output"),
        (Kind::Graph, 13) => Message(Kind::ValueInfo, "value_info"),
        (Kind::Graph, 14) => Message(Kind::Annotation, "quantization_annotation"),
        (Kind::Graph, 15) => Message(Kind::Sparse, "sparse_initializer"),
        (Kind::Graph, 16) => Message(Kind::Entry, "metadata_props"),
        (Kind::Node, 1..=4 | 6..=8) => Plain,
        (Kind::Node, 5) => Message(Kind::Attribute, "attribute"),
        (Kind::Node, 9) => Message(Kind::Entry, "metadata_props"),
        (Kind::Node, 10) => Message(Kind::NodeDevice, "device_configurations"),
        (Kind::Attribute, 1..=4 | 7 | 9 | 13 | 20 | 21) => Plain,
        (Kind::Attribute, 8) => Packed(8),
        (Kind::Attribute, 5) => Message(Kind::Tensor, "t"),
        (Kind::Attribute, 6) => Message(Kind::Graph, "g"),
        (Kind::Attribute, 10) => Message(Kind::Tensor, "tensors"),
        (Kind::Attribute, 11) => Message(Kind::Graph, "graphs"),
        (Kind::Attribute, 14) => Message(Kind::Type, "tp"),
        (Kind::Attribute, 15) => Message(Kind::Type, "type_protos"),
        (Kind::Attribute, 22) => Message(Kind::Sparse, "sparse_tensor"),
        (Kind::Attribute, 23) => Message(Kind::Sparse, "sparse_tensors"),
        (Kind::Tensor, 1) => Packed(8),
        (Kind::Tensor, 2 | 6 | 8 | 9 | 12 | 14) => Plain,
        (Kind::Tensor, 3) => Message(Kind::Segment, "segment"),
        (Kind::Tensor, 4 | 5) => Packed(4),
        (Kind::Tensor, 7 | 10 | 11) => Packed(8),
        (Kind::Tensor, 13) => Message(Kind::Entry, "external_data"),
        (Kind::Tensor, 16) => Message(Kind::Entry, "metadata_props"),
        (Kind::Segment, 1 | 2) => Plain,
        (Kind::Sparse, 1) => Message(Kind::Tensor, "values"),
        (Kind::Sparse, 2) => Message(Kind::Tensor, "indices"),
        (Kind::Sparse, 3) => Packed(8),
        (Kind::ValueInfo, 1 | 3) => Plain,
        (Kind::ValueInfo, 2) => Message(Kind::Type, "type"),
        (Kind::ValueInfo, 4) => Message(Kind::Entry, "metadata_props"),
        (Kind::Type, 1) => Message(Kind::TensorType, "tensor_type"),
        (Kind::Type, 4) => Message(Kind::ElementType, "sequence_type"),
        (Kind::Type, 5) => Message(Kind::MapType, "map_type"),
        (Kind::Type, 6) => Plain,
        (Kind::Type, 7) => Message(Kind::OpaqueType, "opaque_type"),
        (Kind::Type, 8) => Message(Kind::TensorType, "sparse_tensor_type"),
        (Kind::Type, 9) => Message(Kind::ElementType, "optional_type"),
        (Kind::TensorType, 1) => Plain,
        (Kind::TensorType, 2) => Message(Kind::Shape, "shape"),
        (Kind::ElementType, 1) => Message(Kind::Type, "elem_type"),
        (Kind::MapType, 1) => Plain,
        (Kind::MapType, 2) => Message(Kind::Type, "value_type"),
        (Kind::OpaqueType, 1 | 2) => Plain,
        (Kind::Shape, 1) => Message(Kind::Dimension, "dim"),
        (Kind::Dimension, 1..=3) => Plain,
        (Kind::OpsetId | Kind::Entry, 1 | 2) => Plain,
        (Kind::Annotation, 1) => Plain,
        (Kind::Annotation, 2) => Message(Kind::Entry, "quant_parameter_tensor_names"),
        (Kind::Function, 1 | 4 | 5 | 6 | 8 | 10 | 13) => Plain,
        (Kind::Function, 7) => Message(Kind::Node, "node"),
        (Kind::Function, 9) => Message(Kind::OpsetId, "opset_import"),
        (Kind::Function, 11) => Message(Kind::Attribute, "attribute_proto"),
        (Kind::Function, 12) => Message(Kind::ValueInfo, "value_info"),
        (Kind::Function, 14) => Message(Kind::Entry, "metadata_props"),
        (Kind::Training, 1) => Message(Kind::Graph, "initialization"),
        (Kind::Training, 2) => Message(Kind::Graph, "algorithm"),
        (Kind::Training, 3 | 4) => Message(Kind::Entry, "binding"),
        (Kind::Device, 1..=3) => Plain,
        (Kind::NodeDevice, 1 | 3) => Plain,
        (Kind::NodeDevice, 2) => Message(Kind::Sharding, "sharding_spec"),
        (Kind::Sharding, 1) => Plain,
        (Kind::Sharding, 2) => Packed(8),
        (Kind::Sharding, 3) => Message(Kind::IntIntList, "index_to_device_group_map"),
        (Kind::Sharding, 4) => Message(Kind::ShardedDim, "sharded_dim"),
        (Kind::IntIntList, 1) => Plain,
        (Kind::IntIntList, 2) => Packed(8),
        (Kind::ShardedDim, 1) => Plain,
        (Kind::ShardedDim, 2) => Message(Kind::SimpleShardedDim, "simple_sharding"),
        (Kind::SimpleShardedDim, 1..=3) => Plain,
        _ => return None,
    })
}

/// What one decoded message costs in memory, lists and strings not counted.
fn message_bytes(kind: Kind) -> u64 {
    use crate::proto::*;
    (match kind {
        Kind::Model => size_of::<ModelProto>(),
        Kind::Graph => size_of::<GraphProto>(),
        Kind::Node => size_of::<NodeProto>(),
        Kind::Attribute => size_of::<AttributeProto>(),
        Kind::Tensor => size_of::<TensorProto>(),
        Kind::ValueInfo => size_of::<ValueInfoProto>(),
        Kind::Function => size_of::<FunctionProto>(),
        Kind::Type | Kind::TensorType => size_of::<TypeProto>(),
        _ => 96,
    }) as u64
}

/// What the walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The first field that onnxfit does not know, as `graph.node[3], field 99`.
    pub(crate) first_unknown: Option<String>,
}

/// Why the walk stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScanFailure {
    pub(crate) kind: ScanFailureKind,
    pub(crate) offset: u64,
    pub(crate) place: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScanFailureKind {
    Malformed(String),
    TooLarge(Bytes),
    TooDeep(usize),
}

struct Frame {
    kind: Kind,
    end: usize,
    name: &'static str,
    index: usize,
    // How often each field was seen, for the index in places.
    seen: [u32; FIELD_NUMBER_MAX as usize + 1],
}

/// The highest field number of `onnx.proto`.
const FIELD_NUMBER_MAX: u64 = 26;

impl Frame {
    fn new(kind: Kind, end: usize, name: &'static str, index: usize) -> Self {
        Self { kind, end, name, index, seen: [0; FIELD_NUMBER_MAX as usize + 1] }
    }
}

/// Fields of messages that are there once at most, and need no index in places.
const SINGULAR: [&str; 20] = [
    "graph",
    "g",
    "t",
    "tp",
    "type",
    "tensor_type",
    "sequence_type",
    "map_type",
    "opaque_type",
    "sparse_tensor_type",
    "optional_type",
    "elem_type",
    "value_type",
    "shape",
    "segment",
    "sparse_tensor",
    "values",
    "indices",
    "initialization",
    "algorithm",
];

/// Walks a `ModelProto`.
pub(crate) fn scan(data: &[u8], limits: &Limits) -> Result<Scan, ScanFailure> {
    let mut walker = Walker { data, at: 0, stack: Vec::new(), cost_bytes: 0, n_graphs: 0, limits };
    walker.stack.push(Frame::new(Kind::Model, data.len(), "model", 0));
    let mut scan = Scan::default();
    while let Some(frame) = walker.stack.last() {
        if walker.at == frame.end {
            if frame.kind == Kind::Graph {
                walker.n_graphs -= 1;
            }
            walker.stack.pop();
            continue;
        }
        walker.step(&mut scan)?;
    }
    Ok(scan)
}

struct Walker<'a> {
    data: &'a [u8],
    at: usize,
    stack: Vec<Frame>,
    cost_bytes: u64,
    n_graphs: usize,
    limits: &'a Limits,
}

impl Walker<'_> {
    fn step(&mut self, scan: &mut Scan) -> Result<(), ScanFailure> {
        let key = self.varint()?;
        let (number, wire) = (key >> 3, key & 7);
        let frame = self.stack.last_mut().expect("the walk has a message open");
        let mut index = 0;
        if let Some(seen) = frame.seen.get_mut(number.min(FIELD_NUMBER_MAX + 1) as usize) {
            index = *seen as usize;
            *seen = seen.saturating_add(1);
        }
        let (kind, end) = (frame.kind, frame.end);
        if number == 0 {
            return Err(self.malformed("a field with number 0"));
        }
        let known = field(kind, number);
        if known.is_none() && scan.first_unknown.is_none() {
            scan.first_unknown = Some(format!("{}, field {number}", self.place()));
        }
        match wire {
            0 => {
                self.varint()?;
                self.spend(8)
            }
            1 => self.skip(8, end),
            5 => self.skip(4, end),
            2 => {
                let length = self.varint()?;
                let start = self.at;
                match usize::try_from(length)
                    .ok()
                    .and_then(|length| start.checked_add(length))
                    .filter(|stop| *stop <= end)
                {
                    None => Err(self.malformed(format!("a field of {length} bytes where {} are left", end - start))),
                    Some(stop) => match known {
                        Some(Field::Message(child, name)) => self.enter(child, name, index, stop),
                        Some(Field::Packed(width)) => {
                            self.at = stop;
                            self.spend(length.saturating_mul(width))
                        }
                        _ => {
                            self.at = stop;
                            self.spend(32)
                        }
                    },
                }
            }
            _ => Err(self.malformed(format!("wire type {wire}, which ONNX files do not use"))),
        }
    }

    fn enter(&mut self, kind: Kind, name: &'static str, index: usize, end: usize) -> Result<(), ScanFailure> {
        if kind == Kind::Graph {
            self.n_graphs += 1;
        }
        // Types nest too (sequence of sequence of …); no real file comes near the same bound.
        if self.n_graphs > self.limits.nesting_max + 1 || self.stack.len() > 4 * self.limits.nesting_max {
            return Err(self.failure(ScanFailureKind::TooDeep(self.limits.nesting_max)));
        }
        self.spend(message_bytes(kind))?;
        self.stack.push(Frame::new(kind, end, name, index));
        Ok(())
    }

    fn spend(&mut self, bytes: u64) -> Result<(), ScanFailure> {
        self.cost_bytes = self.cost_bytes.saturating_add(bytes);
        if self.cost_bytes > self.limits.structure_bytes_max.get() {
            return Err(self.failure(ScanFailureKind::TooLarge(self.limits.structure_bytes_max)));
        }
        Ok(())
    }

    fn skip(&mut self, length: usize, end: usize) -> Result<(), ScanFailure> {
        if end - self.at < length {
            return Err(self.malformed("a number that is cut short"));
        }
        self.at += length;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, ScanFailure> {
        let end = self.stack.last().map_or(self.data.len(), |frame| frame.end);
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            if self.at >= end {
                return Err(self.malformed("the file ends inside a field"));
            }
            let byte = self.data[self.at];
            self.at += 1;
            if shift < 64 {
                value |= u64::from(byte & 0x7f) << shift;
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number longer than 10 bytes"))
    }

    fn malformed(&self, problem: impl Into<String>) -> ScanFailure {
        self.failure(ScanFailureKind::Malformed(problem.into()))
    }

    fn failure(&self, kind: ScanFailureKind) -> ScanFailure {
        ScanFailure { kind, offset: self.at as u64, place: self.place() }
    }

    /// The place as `graph.node[3].attribute[0].g`; the middle of a deep one is left out.
    fn place(&self) -> String {
        let parts: Vec<String> = self.stack[1..]
            .iter()
            .map(|frame| match SINGULAR.contains(&frame.name) {
                true => frame.name.to_owned(),
                false => format!("{}[{}]", frame.name, frame.index),
            })
            .collect();
        match parts.len() {
            0 => "the model".to_owned(),
            1..=12 => parts.join("."),
            n => format!("{}. … .{}", parts[..6].join("."), parts[n - 4..].join(".")),
        }
    }
}
