//! Folds batch normalization into the convolution before it, as ONNX Runtime does on loading
//! (conv_bn_fusion.cc, 1.31): a quantized model must have the weights that will run.
//!
//! Rounding differs.

use onnxfit_graph::{Graph, Model, Node, NodeId, Patch};
use onnxfit_onnx::TensorSource;

use crate::QuantizeError;
use crate::constants::{float_dims, float_tensor, floats, sweep};

/// The model with every batch normalization that follows a convolution of its own folded; the
/// number of them.
pub fn fold_normalizations(model: &Model, source: &dyn TensorSource) -> Result<(Model, usize), QuantizeError> {
    let mut folded = model.clone();
    let mut patch = Patch::new(&model.graph, "fold-normalizations");
    let mut n_folded = 0;
    for (id, node) in model.graph.nodes() {
        if let Some((convolution, fold)) = fold_of(&model.graph, node, source)? {
            fold.write(&model.graph, convolution, id, node, &mut patch);
            n_folded += 1;
        }
    }
    folded.graph.apply(&patch)?;
    sweep(&mut folded)?;
    Ok((folded, n_folded))
}

/// What a convolution becomes.
struct Fold {
    dims: Vec<usize>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

fn fold_of(graph: &Graph, node: &Node, source: &dyn TensorSource) -> Result<Option<(NodeId, Fold)>, QuantizeError> {
    let trains = node.int("training_mode").unwrap_or(0) != 0 || node.outputs.iter().skip(1).flatten().next().is_some();
    if !node.is("BatchNormalization") || trains {
        return Ok(None);
    }
    let Some(input) = node.input(0) else { return Ok(None) };
    let value = graph.value(input);
    let Some((id, convolution)) = graph.producer(input) else { return Ok(None) };
    if !convolution.is("Conv") || value.is_output || value.uses.len() != 1 {
        return Ok(None);
    }
    let Some(weight) = convolution.input(1).filter(|weight| graph.value(*weight).is_fixed()) else { return Ok(None) };
    let Some(dims) = float_dims(graph, weight).filter(|dims| dims.len() >= 3) else { return Ok(None) };
    let read = |value| -> Result<Option<Vec<f32>>, QuantizeError> {
        match graph
            .constant_tensor(value)
            .filter(|_| graph.value(value).is_fixed() && float_dims(graph, value).is_some())
        {
            Some(tensor) => Ok(Some(floats(tensor, source)?)),
            None => Ok(None),
        }
    };
    let mut statistics = Vec::new();
    for index in 1..5 {
        let Some(input) = node.input(index) else { return Ok(None) };
        match read(input)? {
            Some(numbers) if numbers.len() == dims[0] => statistics.push(numbers),
            _ => return Ok(None),
        }
    }
    let Some(mut weights) = read(weight)? else { return Ok(None) };
    let mut bias = match convolution.input(2) {
        None => vec![0.0; dims[0]],
        Some(bias) => match read(bias)? {
            Some(bias) if bias.len() == dims[0] => bias,
            _ => return Ok(None),
        },
    };
    let epsilon = f64::from(node.float("epsilon").unwrap_or(1e-5));
    let per_channel = weights.len() / dims[0].max(1);
    for channel in 0..dims[0] {
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|which: usize| f64::from(statistics[which][channel]));
        let factor = scale / (variance + epsilon).sqrt();
        for weight in &mut weights[channel * per_channel..(channel + 1) * per_channel] {
            *weight = (f64::from(*weight) * factor) as f32;
        }
        bias[channel] = ((f64::from(bias[channel]) - mean) * factor + shift) as f32;
    }
    if weights.iter().chain(&bias).any(|number| !number.is_finite()) {
        return Ok(None);
    }
    Ok(Some((id, Fold { dims, weights, bias })))
}

impl Fold {
    fn write(&self, graph: &Graph, convolution: NodeId, normalization: NodeId, node: &Node, patch: &mut Patch) {
        let label = graph.node_label(convolution);
        let weights = float_tensor(&format!("{label}_folded_weight"), &self.dims, &self.weights);
        let bias = float_tensor(&format!("{label}_folded_bias"), &[self.bias.len()], &self.bias);
        let (weights, bias) = (patch.add_initializer(weights), patch.add_initializer(bias));
        patch.set_input(convolution, 1, Some(weights));
        patch.set_input(convolution, 2, Some(bias));
        patch.remove_node(normalization);
        patch.set_output(convolution, 0, node.output(0));
    }
}
