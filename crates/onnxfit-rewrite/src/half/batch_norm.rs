//! Batch normalizations whose statistics the half type cannot hold, brought to ones that it can.
//!
//! A channel that is nearly dead has a variance of 1e-8 or less: below what half precision has, so
//! its scale would explode. Scale and shift are worked out here, in double precision, and the
//! statistics become 0 and 1.

use onnxfit_graph::{Graph, Model, Node, Patch, ValueId};
use onnxfit_onnx::TensorSource;
use onnxfit_onnx::proto::TensorProto;

use super::convert::HalfType;
use crate::RewriteError;

/// The model with such normalizations folded; `None` if there is none.
pub(super) fn fold(model: &Model, weights: &dyn TensorSource, target: HalfType) -> Result<Option<Model>, RewriteError> {
    if target != HalfType::Float16 {
        return Ok(None);
    }
    let mut patch = Patch::new(&model.graph, "fold-statistics");
    for (id, node) in model.graph.nodes() {
        let Some(folded) = folded(&model.graph, node, weights, target) else { continue };
        for (index, numbers) in folded.iter().enumerate() {
            let input = node.input(index + 1).map(|value| model.graph.value(value).name.as_str()).unwrap_or_default();
            let name = format!("{input}_folded_{}", id.index());
            let tensor = TensorProto::from_f32(&name, &[numbers.len() as i64], numbers);
            let value = patch.add_initializer(tensor);
            patch.set_input(id, index + 1, Some(value));
            let old = node.input(index + 1).map(|value| (value, model.graph.value(value)));
            if let Some((old, _)) =
                old.filter(|(_, old)| old.uses.len() == 1 && !old.is_output && old.tensor().is_some())
            {
                patch.remove_initializer(old);
            }
        }
    }
    if patch.is_empty() {
        return Ok(None);
    }
    let mut folded = model.clone();
    folded.graph.apply(&patch)?;
    Ok(Some(folded))
}

/// Scale, shift, mean and variance of a normalization that has to change.
fn folded(graph: &Graph, node: &Node, weights: &dyn TensorSource, target: HalfType) -> Option<[Vec<f32>; 4]> {
    let is_inference = node.int("training_mode").unwrap_or(0) == 0 && node.outputs.iter().flatten().count() == 1;
    if !node.is("BatchNormalization") || !is_inference {
        return None;
    }
    let read = |index: usize| numbers(graph, node.input(index)?, weights);
    let (scale, shift, mean, variance) = (read(1)?, read(2)?, read(3)?, read(4)?);
    let n = variance.len();
    // Below the smallest normal number there are fewer and fewer bits.
    const SMALLEST_NORMAL: f32 = 6.103_515_6e-5;
    let is_lost = |number: &f32| *number < SMALLEST_NORMAL || *number > target.max();
    if [&scale, &shift, &mean].iter().any(|other| other.len() != n) || !variance.iter().any(is_lost) {
        return None;
    }
    let epsilon = f64::from(node.float("epsilon").unwrap_or(1e-5));
    let mut result = [Vec::new(), Vec::new(), vec![0.0; n], vec![(1.0 - epsilon) as f32; n]];
    for channel in 0..n {
        let factor = f64::from(scale[channel]) / (f64::from(variance[channel]) + epsilon).sqrt();
        result[0].push(factor as f32);
        result[1].push((f64::from(shift[channel]) - f64::from(mean[channel]) * factor) as f32);
    }
    let fits = |number: &f32| number.is_finite() && number.abs() <= target.max();
    result[..2].iter().flatten().all(fits).then_some(result)
}

fn numbers(graph: &Graph, value: ValueId, weights: &dyn TensorSource) -> Option<Vec<f32>> {
    /// More channels than any model has.
    const N_CHANNELS_MAX: u64 = 1 << 20;
    let tensor = graph.constant_tensor(value)?;
    if tensor.n_elements().ok()? > N_CHANNELS_MAX || tensor.element_type() != Ok(onnxfit_onnx::DataType::Float) {
        return None;
    }
    let bytes = weights.tensor_bytes(tensor).ok()?;
    Some(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
