//! What a run computes and moves, node by node, and how long a GPU takes for it by its data sheet.
//!
//! An estimate, never a measurement: a node takes as long as its arithmetic or its bytes need,
//! whichever is longer (the roofline), at an assumed share of the data sheet's figures.

use std::collections::BTreeMap;

use onnxfit_graph::{Graph, Node, ValueId};
use onnxfit_hardware::Gpu;
use onnxfit_memory::sizes::{RunSizes, TensorSize};
use onnxfit_onnx::DataType;

/// The share of the peak that kernels reach for arithmetic.
const ARITHMETIC_SHARE: f64 = 0.5;
/// The share of the bandwidth that kernels reach.
const BANDWIDTH_SHARE: f64 = 0.7;
/// What starting a kernel costs.
const LAUNCH_SECONDS: f64 = 5e-6;

/// The assumptions, in words.
pub(crate) const ASSUMPTIONS: &str = "an estimate from the GPU's data sheet, not a measurement: each node takes what \
     its arithmetic or its bytes take, at 50 % of the peak and 70 % of the bandwidth, plus 5 µs to start it; 32-bit \
     floats run as TF32 from Ampere on; a share of a GPU is taken as that share of its speed; copies to and from the \
     host, waiting and other callers are not in it";

/// Which unit multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Single,
    Half,
    Int8,
}

/// One node.
#[derive(Clone, Copy, Debug)]
struct Step {
    operations: f64,
    bytes: f64,
    unit: Unit,
}

/// What one run does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    steps: Vec<Step>,
    /// Nodes with a tensor of unknown size, which are not counted.
    pub(crate) n_unknown: usize,
    /// Loop bodies, counted once.
    pub(crate) n_loops: usize,
}

impl Work {
    /// The work of one run with these sizes.
    pub(crate) fn of(graph: &Graph, sizes: &RunSizes) -> Self {
        let mut work = Self::default();
        work.add(graph, sizes);
        work
    }

    /// Multiplications and additions of one run.
    pub(crate) fn operations(&self) -> f64 {
        self.steps.iter().map(|step| step.operations).sum()
    }

    /// Bytes that nodes read and write in one run.
    pub(crate) fn bytes(&self) -> f64 {
        self.steps.iter().map(|step| step.bytes).sum()
    }

    /// How long one run takes on a GPU, of which one session has `share`; `None` without a data sheet.
    pub(crate) fn seconds_on(&self, gpu: &Gpu, share: f64) -> Option<f64> {
        let bandwidth = gpu.bandwidth_gb_s? * 1e9 * BANDWIDTH_SHARE * share;
        let single = gpu.fp32_tflops?;
        let half = gpu.fp16_tflops.filter(|_| gpu.compute_capability.major >= 7);
        // TF32 runs on the tensor cores at half the speed of half precision, from Ampere on.
        let ampere = gpu.compute_capability.major >= 8;
        let single = half.filter(|_| ampere).map_or(single, |half| (half / 2.0).max(single));
        let peak = |unit: Unit| {
            let tera = match unit {
                Unit::Single => single,
                Unit::Half => half.unwrap_or(single),
                Unit::Int8 => gpu.int8_tops.or(half).unwrap_or(single),
            };
            tera * 1e12 * ARITHMETIC_SHARE * share
        };
        let seconds = |step: &Step| (step.operations / peak(step.unit)).max(step.bytes / bandwidth) + LAUNCH_SECONDS;
        Some(self.steps.iter().map(seconds).sum())
    }

    fn add(&mut self, graph: &Graph, sizes: &RunSizes) {
        let position: BTreeMap<ValueId, usize> =
            graph.values().enumerate().map(|(index, (id, _))| (id, index)).collect();
        let tensor = |id: &ValueId| sizes.tensors.get(*position.get(id)?)?.as_ref();
        for (index, (_, node)) in graph.nodes().filter(|(_, node)| !node.is("Constant")).enumerate() {
            for body in sizes.bodies.iter().filter(|body| body.node.index() == index) {
                self.n_loops += usize::from(!node.is("If"));
                if let Some(inner) = node.graph(&body.attribute) {
                    self.add(inner, &body.sizes);
                }
            }
            let inputs: Vec<Option<&TensorSize>> =
                (0..node.inputs.len()).map(|slot| node.input(slot).and_then(|id| tensor(&id))).collect();
            let outputs: Vec<&TensorSize> =
                (0..node.outputs.len()).filter_map(|slot| node.output(slot).and_then(|id| tensor(&id))).collect();
            if outputs.is_empty() {
                self.n_unknown += usize::from(node.subgraphs().next().is_none());
                continue;
            }
            if let Some(step) = step_of(node, &inputs, &outputs) {
                self.steps.push(step);
            }
        }
    }
}

/// What a node does; `None` for one that only names the same bytes anew, or that the host computes.
fn step_of(node: &Node, inputs: &[Option<&TensorSize>], outputs: &[&TensorSize]) -> Option<Step> {
    const VIEWS: &[&str] =
        &["Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Shape", "Size", "Dropout", "DequantizeLinear"];
    if VIEWS.contains(&node.op_type.as_str()) {
        return None;
    }
    let written: f64 = outputs.iter().map(|tensor| bytes(tensor)).sum();
    let read: f64 = inputs.iter().flatten().map(|tensor| bytes(tensor)).sum();
    // What only picks reads what it writes, not the whole table.
    let picks =
        matches!(node.op_type.as_str(), "Gather" | "GatherND" | "GatherElements" | "Slice" | "Split" | "Expand");
    let elements = outputs.first().map_or(0.0, |tensor| count(tensor));
    // Sums of shapes are the host's, and cost nothing here.
    if elements <= 64.0 && read + written < 4096.0 {
        return None;
    }
    Some(Step {
        operations: operations(node, inputs, elements).unwrap_or(elements),
        bytes: if picks { 2.0 * written } else { read + written },
        unit: match inputs.iter().flatten().next().map(|tensor| tensor.element) {
            Some(DataType::Float16 | DataType::Bfloat16) => Unit::Half,
            Some(DataType::Int8 | DataType::Uint8) => Unit::Int8,
            _ => Unit::Single,
        },
    })
}

/// Multiplications and additions of the operators that do most of them.
fn operations(node: &Node, inputs: &[Option<&TensorSize>], elements: f64) -> Option<f64> {
    let input = |slot: usize| inputs.get(slot).copied().flatten();
    let op = node.op_type.as_str();
    Some(match op {
        "MatMul"
        | "FusedMatMul"
        | "MatMulInteger"
        | "TransposeMatMul"
        | "DynamicQuantizeMatMul"
        | "MatMulNBits"
        | "QLinearMatMul"
        | "MatMulIntegerToFloat"
        | "FusedMatMulActivation" => {
            let left = input(0)?;
            let turned = node.int("transA").unwrap_or(0) != 0 && left.dims.len() >= 2;
            let inner = if turned { left.dims[left.dims.len() - 2] } else { *left.dims.last()? };
            2.0 * elements * inner as f64
        }
        "Gemm" | "FusedGemm" | "QGemm" => {
            let left = input(0)?;
            let inner = if node.int("transA").unwrap_or(0) != 0 { left.dims.first()? } else { left.dims.last()? };
            2.0 * elements * *inner as f64
        }
        "Conv" | "FusedConv" | "NhwcConv" | "NhwcFusedConv" | "ConvInteger" => 2.0 * elements * per_channel(input(1)?)?,
        "QLinearConv" => 2.0 * elements * per_channel(input(3)?)?,
        "ConvTranspose" => 2.0 * count(input(0)?) * per_channel(input(1)?)?,
        "LSTM" | "GRU" | "RNN" => {
            let sequence = input(0)?;
            let steps = sequence.dims.first()? * sequence.dims.get(1)?;
            2.0 * steps as f64 * (count(input(1)?) + count(input(2)?))
        }
        "Attention" | "QAttention" => {
            let [rows, length, width] = input(0)?.dims[..] else { return None };
            let projected = 2.0 * (rows * length) as f64 * count(input(1)?);
            projected + 4.0 * rows as f64 * (length * length) as f64 * width as f64
        }
        "MultiHeadAttention" | "GroupQueryAttention" => {
            let query = input(0)?;
            let keys = input(1).map_or(query.dims.get(1), |keys| keys.dims.get(1))?;
            4.0 * count(query) * *keys as f64
        }
        "Einsum" => 2.0 * einsum(node.string("equation")?, inputs)?,
        "Softmax" | "LayerNormalization" | "SkipLayerNormalization" | "Gelu" | "Erf" | "BiasGelu" | "FastGelu" => {
            8.0 * elements
        }
        _ => return None,
    })
}

/// The product of every label's size.
fn einsum(equation: &str, inputs: &[Option<&TensorSize>]) -> Option<f64> {
    let mut labels: BTreeMap<char, u64> = BTreeMap::new();
    let left = equation.split("->").next()?;
    for (term, tensor) in left.split(',').zip(inputs) {
        let term: Vec<char> = term.chars().filter(|label| label.is_ascii_alphabetic()).collect();
        let dims = &(*tensor)?.dims;
        // With an ellipsis the last labels are the last dimensions.
        for (label, size) in term.iter().rev().zip(dims.iter().rev()) {
            labels.insert(*label, *size);
        }
    }
    Some(labels.values().map(|size| *size as f64).product())
}

/// Elements of a kernel for one of its first dimension.
fn per_channel(weights: &TensorSize) -> Option<f64> {
    let channels = *weights.dims.first()?;
    (channels > 0).then(|| count(weights) / channels as f64)
}

fn count(tensor: &TensorSize) -> f64 {
    tensor.dims.iter().map(|size| *size as f64).product()
}

fn bytes(tensor: &TensorSize) -> f64 {
    count(tensor) * tensor.element_bytes() as f64
}

#[cfg(test)]
mod tests;
