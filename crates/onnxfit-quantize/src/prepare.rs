//! Makes a model ready to be quantized, its answers unchanged: weights stand where they are read.
//!
//! Weights that come from `Constant` nodes, through `Identity` or a `Transpose`, or that are
//! defaults of inputs become plain initializers, in bodies too.

use std::collections::BTreeSet;

use onnxfit_graph::{Graph, Model, Patch, ValueId};
use onnxfit_onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto};
use onnxfit_onnx::{DataType, TensorSource};

use crate::QuantizeError;
use crate::constants::{float_dims, float_tensor, floats, sweep};

/// A file of this version may have initializers that are no inputs.
const IR_VERSION_MIN: i64 = 4;
/// A default of so many elements is a weight, not a knob that a caller turns.
const N_ELEMENTS_WEIGHT: u64 = 64;

/// A model whose weights stand where they are read.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The model.
    pub model: Model,
    /// Inputs that had a default weight and can be fed no more.
    pub closed_inputs: Vec<String>,
}

/// Moves weights to where they are read.
pub fn prepare(model: &Model, source: &dyn TensorSource) -> Result<Prepared, QuantizeError> {
    let mut proto = model.to_proto();
    let closed_inputs = close_inputs(&mut proto);
    if let Some(graph) = &mut proto.graph {
        move_constants(graph);
    }
    let mut model = Model::from_proto(&proto)?;
    // A chain of them needs a round each.
    const ROUNDS_MAX: usize = 16;
    for _ in 0..ROUNDS_MAX {
        let outer = BTreeSet::new();
        let patch = pass_through(&model.graph, &outer, source)?;
        if patch.is_empty() {
            break;
        }
        model.graph.apply(&patch)?;
    }
    sweep(&mut model)?;
    Ok(Prepared { model, closed_inputs })
}

/// Inputs with a default weight become plain initializers. Before version 4 of the format every
/// initializer had to be an input.
fn close_inputs(proto: &mut ModelProto) -> Vec<String> {
    let is_old = proto.ir_version() < IR_VERSION_MIN;
    let Some(graph) = &mut proto.graph else { return Vec::new() };
    let is_weight = |tensor: &TensorProto| {
        let is_float = tensor.element_type().is_ok_and(|element_type| element_type == DataType::Float);
        is_old || (is_float && tensor.n_elements().is_ok_and(|n| n >= N_ELEMENTS_WEIGHT))
    };
    let weights: BTreeSet<&str> =
        graph.initializer.iter().filter(|tensor| is_weight(tensor)).map(|tensor| tensor.name()).collect();
    let closed: Vec<String> =
        graph.input.iter().map(|input| input.name().to_owned()).filter(|name| weights.contains(&**name)).collect();
    graph.input.retain(|input| !weights.contains(input.name()));
    if is_old && !closed.is_empty() {
        proto.ir_version = Some(IR_VERSION_MIN);
    }
    closed
}

/// `Constant` nodes become initializers, but for those that are an output themselves.
fn move_constants(graph: &mut GraphProto) {
    let outputs: BTreeSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    let mut kept = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        match constant(&node).filter(|tensor| !outputs.contains(tensor.name())) {
            Some(tensor) => graph.initializer.push(tensor),
            None => {
                node.attribute.iter_mut().for_each(move_in_bodies);
                kept.push(node);
            }
        }
    }
    graph.node = kept;
}

fn move_in_bodies(attribute: &mut AttributeProto) {
    if let Some(body) = &mut attribute.g {
        move_constants(body);
    }
    attribute.graphs.iter_mut().for_each(move_constants);
}

fn constant(node: &NodeProto) -> Option<TensorProto> {
    if node.op_type() != "Constant" || !matches!(node.domain(), "" | "ai.onnx") {
        return None;
    }
    let (name, attribute) = (node.output.first()?, node.attribute.first()?);
    match attribute.name() {
        "value" => {
            let mut tensor = attribute.t.as_deref()?.clone();
            // A string tensor has no raw form that a reader could want.
            if tensor.element_type().ok()? == DataType::String {
                return None;
            }
            tensor.name = Some(name.clone());
            Some(tensor)
        }
        "value_float" => Some(TensorProto::from_f32(name, &[], &[attribute.f?])),
        "value_floats" => Some(TensorProto::from_f32(name, &[attribute.floats.len() as i64], &attribute.floats)),
        "value_int" => Some(TensorProto::from_i64(name, &[], &[attribute.i?])),
        "value_ints" => Some(TensorProto::from_i64(name, &[attribute.ints.len() as i64], &attribute.ints)),
        _ => None,
    }
}

/// Takes `Identity` and `Transpose` away from fixed tensors; `outer` are the fixed ones around.
fn pass_through(graph: &Graph, outer: &BTreeSet<String>, source: &dyn TensorSource) -> Result<Patch, QuantizeError> {
    let mut patch = Patch::new(graph, "pass-through");
    let mut fixed = outer.clone();
    fixed.extend(graph.initializers().iter().filter(|id| graph.value(**id).is_fixed()).map(|id| name(graph, *id)));
    for (id, node) in graph.nodes() {
        let mut seen: Vec<&str> = Vec::new();
        for (attribute, body) in node.subgraphs() {
            let index = seen.iter().filter(|name| **name == attribute).count();
            seen.push(attribute);
            let inner = pass_through(body, &fixed, source)?;
            if !inner.is_empty() {
                patch.subgraph(id, attribute, index, inner);
            }
        }
        let (Some(input), Some(output)) = (node.input(0), node.output(0)) else { continue };
        let value = graph.value(input);
        let is_fixed = value.is_fixed() || (value.is_captured && fixed.contains(&value.name));
        if !is_fixed || graph.value(output).is_output {
            continue;
        }
        if node.is("Identity") {
            patch.replace_uses(output, input);
            patch.remove_node(id);
        } else if node.is("Transpose")
            && let Some(dims) = float_dims(graph, input)
            && let Some(permutation) = permutation(node.ints("perm"), dims.len())
            && let Some(tensor) = graph.constant_tensor(input)
        {
            let (dims, numbers) = transposed(&floats(tensor, source)?, &dims, &permutation);
            let turned = patch.add_initializer(float_tensor(&name(graph, output), &dims, &numbers));
            patch.replace_uses(output, turned);
            patch.remove_node(id);
        }
    }
    Ok(patch)
}

fn name(graph: &Graph, id: ValueId) -> String {
    graph.value(id).name.clone()
}

fn permutation(given: Option<&[i64]>, rank: usize) -> Option<Vec<usize>> {
    let permutation: Vec<usize> = match given {
        None => (0..rank).rev().collect(),
        Some(axes) => axes.iter().map(|axis| usize::try_from(*axis).ok()).collect::<Option<_>>()?,
    };
    let axes: BTreeSet<usize> = permutation.iter().copied().collect();
    (permutation.len() == rank && axes.len() == rank && axes.iter().all(|axis| *axis < rank)).then_some(permutation)
}

/// The same numbers with their axes in another order.
pub(crate) fn transposed(numbers: &[f32], dims: &[usize], permutation: &[usize]) -> (Vec<usize>, Vec<f32>) {
    let mut strides = vec![1usize; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    let new_dims: Vec<usize> = permutation.iter().map(|axis| dims[*axis]).collect();
    let new_strides: Vec<usize> = permutation.iter().map(|axis| strides[*axis]).collect();
    let mut turned = Vec::with_capacity(numbers.len());
    let mut at = vec![0usize; dims.len()];
    for _ in 0..numbers.len() {
        turned.push(numbers[at.iter().zip(&new_strides).map(|(index, stride)| index * stride).sum::<usize>()]);
        for axis in (0..at.len()).rev() {
            at[axis] += 1;
            if at[axis] < new_dims[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    (new_dims, turned)
}
