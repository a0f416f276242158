//! Low-rank adapters (Hu and others, 2022): a small product beside a weight that stays as it is.
//!
//! `x W` becomes `x W + s (x A) B`; only `A` and `B` are trained, so gradients and states of the
//! optimizer are those of a few rows. `B` begins as zero, so the first answers are the model's own.
//! In the end the product is added to the weight: the graph that is saved is the one that was read.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::Model;
use onnxfit_onnx::proto::{NodeProto, TensorProto};
use onnxfit_onnx::{DataType, TensorSource};
use onnxfit_runtime::Tensor;

use crate::error::TrainError;

/// What names of adapters begin with.
pub const LORA: &str = "lora/";

/// Which weights get an adapter, and of what size.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// Rows of the small factor.
    pub rank: u64,
    /// What the product is multiplied by, times the rank.
    pub alpha: f64,
    /// Weights whose name has one of these texts in it; all if empty.
    pub name_contains: Vec<String>,
    /// What the first factors are made of.
    pub seed: u64,
}

/// The adapters of a model.
#[derive(Clone, Debug)]
pub struct LoraFactors {
    /// The model with adapters.
    pub model: Model,
    /// The names of what is trained.
    pub parameters: Vec<String>,
    adapted: Vec<Adapted>,
    scale: f64,
}

#[derive(Clone, Debug)]
struct Adapted {
    weight: String,
    is_transposed: bool,
    n_inputs: usize,
    n_outputs: usize,
}

impl Adapted {
    fn factor(&self, letter: char) -> String {
        format!("{LORA}{}/{letter}", self.weight)
    }
}

/// Puts adapters beside the weights of `MatMul` and `Gemm`.
pub fn add_lora(model: &Model, lora: &Lora) -> Result<LoraFactors, TrainError> {
    if lora.rank == 0 {
        return Err(TrainError::Setting("an adapter has at least one row".to_owned()));
    }
    let mut proto = model.to_proto();
    let mut graph = proto.graph.take().unwrap_or_default();
    let weights: BTreeMap<String, (usize, usize)> = graph
        .initializer
        .iter()
        .filter(|tensor| tensor.element_type() == Ok(DataType::Float) && tensor.dims.len() == 2)
        .filter(|tensor| {
            lora.name_contains.is_empty() || lora.name_contains.iter().any(|part| tensor.name().contains(part.as_str()))
        })
        .map(|tensor| (tensor.name().to_owned(), (tensor.dims[0] as usize, tensor.dims[1] as usize)))
        .collect();
    let (mut adapted, mut seen) = (Vec::<Adapted>::new(), BTreeSet::new());
    let scale = lora.alpha / lora.rank as f64;
    let scale_name = format!("{LORA}scale");
    let mut nodes = Vec::with_capacity(graph.node.len());
    for (at, mut node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        let Some(place) = place_of(&node, &weights) else {
            nodes.push(node);
            continue;
        };
        if !seen.insert(place.weight.clone())
            && adapted.iter().any(|other| other.weight == place.weight && other.is_transposed != place.is_transposed)
        {
            // The same weight from its other side, as of an embedding that is also the output.
            nodes.push(node);
            continue;
        }
        let (input, output) = (node.input[0].clone(), node.output[0].clone());
        let name = |what: &str| format!("{LORA}{at}/{what}");
        node.output[0] = name("base");
        nodes.push(node);
        let (first, second) = (place.factor('a'), place.factor('b'));
        nodes.push(binary("MatMul", &input, &first, &name("down")));
        nodes.push(binary("MatMul", &name("down"), &second, &name("up")));
        nodes.push(binary("Mul", &name("up"), &scale_name, &name("scaled")));
        nodes.push(binary("Add", &name("base"), &name("scaled"), &output));
        if !adapted.iter().any(|other| other.weight == place.weight) {
            adapted.push(place);
        }
    }
    if adapted.is_empty() {
        return Err(TrainError::Setting("no MatMul or Gemm has a weight of that name to adapt".to_owned()));
    }
    graph.node = nodes;
    graph.initializer.push(TensorProto::from_f32(&scale_name, &[], &[scale as f32]));
    let mut parameters = Vec::new();
    for (index, place) in adapted.iter().enumerate() {
        let rank = lora.rank as usize;
        let bound = (1.0 / place.n_inputs.max(1) as f64).sqrt();
        let seed = lora.seed.wrapping_add(index as u64 + 1);
        let first: Vec<f32> = noise(seed, place.n_inputs * rank).map(|value| (value * bound) as f32).collect();
        let second = vec![0.0; rank * place.n_outputs];
        let dims = [place.n_inputs as i64, rank as i64, place.n_outputs as i64];
        graph.initializer.push(TensorProto::from_f32(&place.factor('a'), &dims[..2], &first));
        graph.initializer.push(TensorProto::from_f32(&place.factor('b'), &dims[1..], &second));
        parameters.extend([place.factor('a'), place.factor('b')]);
    }
    proto.graph = Some(graph);
    Ok(LoraFactors { model: Model::from_proto(&proto)?, parameters, adapted, scale })
}

impl LoraFactors {
    /// The weights of the model with what was learned added to them; `trained` holds the factors.
    pub fn merged(
        &self,
        trained: &BTreeMap<String, Tensor>,
        weights: &dyn TensorSource,
    ) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut merged = BTreeMap::new();
        for place in &self.adapted {
            let refuse = |reason: String| TrainError::NotTrainable { name: place.weight.clone(), reason };
            let factor = |letter| trained.get(&place.factor(letter)).and_then(Tensor::values);
            let (Some(first), Some(second)) = (factor('a'), factor('b')) else { continue };
            let graph = &self.model.graph;
            let value = graph.value_named(&place.weight).and_then(|id| graph.constant_tensor(id));
            let value = value.ok_or_else(|| refuse("it is gone".to_owned()))?;
            let bytes = weights.tensor_bytes(value).map_err(|error| refuse(error.to_string()))?;
            let mut numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let rank = first.len() / place.n_inputs.max(1);
            for row in 0..place.n_inputs {
                for column in 0..place.n_outputs {
                    let dot: f64 =
                        (0..rank).map(|k| first[row * rank + k] * second[k * place.n_outputs + column]).sum();
                    let at = if place.is_transposed {
                        column * place.n_inputs + row
                    } else {
                        row * place.n_outputs + column
                    };
                    if let Some(number) = numbers.get_mut(at) {
                        *number = (f64::from(*number) + self.scale * dot) as f32;
                    }
                }
            }
            let shape = value.dims.iter().map(|dim| *dim as u64).collect();
            let tensor = Tensor::from_f32(shape, &numbers).map_err(|error| refuse(error.to_string()))?;
            merged.insert(place.weight.clone(), tensor);
        }
        Ok(merged)
    }
}

/// The weight of a node that multiplies by one, if it is among these.
fn place_of(node: &NodeProto, weights: &BTreeMap<String, (usize, usize)>) -> Option<Adapted> {
    let flag = |name: &str| node.attribute.iter().find(|attribute| attribute.name() == name).map_or(0, |a| a.i());
    let is_plain = matches!(node.domain(), "" | "ai.onnx");
    let is_transposed = match node.op_type() {
        "MatMul" => false,
        "Gemm" if flag("transA") == 0 => flag("transB") != 0,
        _ => return None,
    };
    let weight = node.input.get(1).filter(|_| is_plain)?;
    let (rows, columns) = *weights.get(weight)?;
    let (n_inputs, n_outputs) = if is_transposed { (columns, rows) } else { (rows, columns) };
    Some(Adapted { weight: weight.clone(), is_transposed, n_inputs, n_outputs })
}

fn binary(op_type: &str, a: &str, b: &str, output: &str) -> NodeProto {
    NodeProto {
        op_type: Some(op_type.to_owned()),
        name: Some(output.to_owned()),
        input: vec![a.to_owned(), b.to_owned()],
        output: vec![output.to_owned()],
        ..NodeProto::default()
    }
}

/// Numbers between -1 and 1 that look random and are the same everywhere.
pub(crate) fn noise(seed: u64, n: usize) -> impl Iterator<Item = f64> {
    (0..n as u64).map(move |index| {
        let mut z = (seed << 32).wrapping_add(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 11) as f64 / (1u64 << 53) as f64 * 2.0 - 1.0
    })
}
