//! The graphs of one training step: counting, gradients of a part of the batch, the update.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::{Constant, Model, ValueType};
use onnxfit_onnx::TensorSource;
use onnxfit_onnx::proto::{GraphProto, ModelProto};
use onnxfit_runtime::{ElementType, Tensor};
use onnxfit_shape::Bindings;

use crate::error::TrainError;
use crate::gradient::{Gradient, GradientOptions, Gradients, differentiate, trainable_parameters};
use crate::loss::{Loss, TermNames};
use crate::optimizer::{Optimizer, ParameterNames, Update};
use crate::recompute::{Recompute, RecomputeReport, recompute};
use crate::tape::Tape;

/// How a training step is made.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// The parameters to train; all that training usually changes if empty.
    pub parameters: Vec<String>,
    /// How the model is differentiated.
    pub gradient: GradientOptions,
    /// Which axis of an input counts samples, where it is not the first; inputs that are the same
    /// for all samples have none.
    pub batch_axes: BTreeMap<String, Option<usize>>,
    /// What the loss is multiplied by at first, where gradients are in half precision; it is
    /// adapted from step to step.
    pub loss_scale: Option<f64>,
}

/// The input that the loss is multiplied by.
pub(crate) const LOSS_SCALE: &str = "loss/precision_scale";

/// An input that a batch must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataInput {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub element_type: ElementType,
    /// Its rank, the axis of samples included.
    pub rank: Option<usize>,
}

/// The graphs of one training step, and what their inputs and outputs mean.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// Counts what the loss is averaged over; `None` if that is the samples.
    pub counting: Option<Model>,
    /// Adds the gradients of a part of the batch to sums.
    pub gradients: Gradients,
    /// Changes the parameters.
    pub update: Update,
    /// Everything at once, for a batch that needs no parts.
    pub whole: Model,
    /// The gradients of a whole batch, which `whole` is made from.
    at_once: Gradients,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The terms of the loss.
    pub terms: Vec<TermNames>,
    /// The parameters as the model has them, by name.
    pub initial: BTreeMap<String, Tensor>,
    /// Which axis of an input counts samples.
    pub batch_axes: BTreeMap<String, Option<usize>>,
    /// What the loss is multiplied by at first.
    pub loss_scale: Option<f64>,
}

impl TrainingPlan {
    /// Plans the training of a model. `weights` has the bytes of its parameters.
    pub fn new(
        model: &Model,
        loss: &Loss,
        optimizer: &Optimizer,
        weights: &dyn TensorSource,
        options: &PlanOptions,
    ) -> Result<Self, TrainError> {
        let objective = loss.add_to(model)?;
        let asked =
            if options.parameters.is_empty() { trainable_parameters(model) } else { options.parameters.clone() };
        let is_frozen = |name: &String| {
            let rank = model.graph.value_named(name).and_then(|id| Some(model.graph.value(id).tensor()?.dims.len()));
            optimizer.settings(name, rank.unwrap_or(0)).is_none()
        };
        let names: Vec<&str> = asked.iter().filter(|name| !is_frozen(name)).map(String::as_str).collect();
        let loss_scale = options.loss_scale.map(|_| LOSS_SCALE.to_owned());
        let at_once = GradientOptions { accumulates: false, loss_scale, ..options.gradient.clone() };
        let in_parts = GradientOptions { accumulates: true, ..at_once.clone() };
        let gradients = differentiate(&objective.model, &objective.loss, &names, &in_parts)?;
        let all = differentiate(&objective.model, &objective.loss, &names, &at_once)?;
        let types = parameter_types(&gradients);
        let update = optimizer.update(&types)?;
        let whole = fuse(&all, optimizer, &types)?;
        let mut initial = BTreeMap::new();
        for gradient in gradients.gradients.iter().chain(&gradients.statistics) {
            let tensor = initial_value(&objective.model, &gradient.parameter, weights)?;
            initial.insert(gradient.parameter.clone(), tensor);
        }
        Ok(Self {
            counting: objective.counting()?,
            gradients,
            update,
            whole,
            at_once: all,
            optimizer: optimizer.clone(),
            terms: objective.terms,
            initial,
            batch_axes: options.batch_axes.clone(),
            loss_scale: options.loss_scale,
        })
    }

    /// The states of the optimizer before the first step: all zero.
    pub fn initial_states(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut states = BTreeMap::new();
        for names in &self.update.parameters {
            let Some(parameter) = self.initial.get(&names.parameter) else { continue };
            for (state, _) in &names.states {
                states.insert(state.clone(), zeros(ElementType::Float, parameter.shape())?);
            }
        }
        Ok(states)
    }

    /// The same plan with fewer activations kept, chosen for these sizes; `None` if nothing is gained.
    pub fn recomputed(
        &self,
        sizes: &Bindings,
        wanted: Recompute,
    ) -> Result<Option<(Self, RecomputeReport)>, TrainError> {
        let Some((gradients, report)) = recompute(&self.gradients, sizes, wanted)? else { return Ok(None) };
        let at_once = recompute(&self.at_once, sizes, wanted)?.map_or_else(|| self.at_once.clone(), |(again, _)| again);
        let whole = fuse(&at_once, &self.optimizer, &parameter_types(&gradients))?;
        Ok(Some((Self { gradients, at_once, whole, ..self.clone() }, report)))
    }

    /// The inputs that a batch must have: those of the model, and targets of the loss.
    pub fn data_inputs(&self) -> Vec<DataInput> {
        let graph = &self.gradients.model.graph;
        let parameters = self.gradients.gradients.iter().chain(&self.gradients.statistics).map(|one| &one.parameter);
        let own: BTreeSet<&str> = parameters
            .chain(&self.gradients.sums)
            .chain(self.terms.iter().map(|term| &term.scale))
            .map(String::as_str)
            .chain([LOSS_SCALE])
            .collect();
        let inputs =
            graph.required_inputs().map(|id| graph.value(id)).filter(|value| !own.contains(value.name.as_str()));
        let input = |value: &onnxfit_graph::Value| {
            let ty = value.ty.as_tensor();
            let element_type = ty.and_then(|ty| ElementType::from_onnx(ty.element_type?.number()));
            DataInput {
                name: value.name.clone(),
                element_type: element_type.unwrap_or(ElementType::Float),
                rank: ty.and_then(|ty| ty.shape.as_ref()).map(Vec::len),
            }
        };
        inputs.map(input).collect()
    }

    /// What belongs to each trained parameter.
    pub fn parameters(&self) -> &[ParameterNames] {
        &self.update.parameters
    }
}

/// A tensor of zeros.
pub(crate) fn zeros(element_type: ElementType, shape: &[u64]) -> Result<Tensor, TrainError> {
    let too_large = || TrainError::Batch(format!("a tensor of shape {shape:?} is larger than any memory"));
    let n_elements = shape.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim)).ok_or_else(too_large)?;
    let n_bytes = n_elements.checked_mul(element_type.bits()).ok_or_else(too_large)? / 8;
    let n_bytes = usize::try_from(n_bytes).map_err(|_| too_large())?;
    Tensor::from_bytes(element_type, shape.to_vec(), vec![0; n_bytes])
        .map_err(|error| TrainError::Batch(error.to_string()))
}

fn parameter_types(gradients: &Gradients) -> Vec<(String, String, ValueType)> {
    let graph = &gradients.model.graph;
    let one = |gradient: &Gradient| {
        let ty = graph.value_named(&gradient.parameter).map(|id| graph.value(id).ty.clone());
        (gradient.parameter.clone(), gradient.output.clone(), ty.unwrap_or_default())
    };
    gradients.gradients.iter().map(one).collect()
}

fn initial_value(model: &Model, name: &str, weights: &dyn TensorSource) -> Result<Tensor, TrainError> {
    let refuse = |reason: String| TrainError::NotTrainable { name: name.to_owned(), reason };
    let value = model.graph.value_named(name).map(|id| model.graph.value(id));
    let Some(Constant::Dense(tensor)) = value.and_then(|value| value.constant.as_ref()) else {
        return Err(refuse("it has no stored value".to_owned()));
    };
    let bytes = weights.tensor_bytes(tensor).map_err(|error| refuse(error.to_string()))?;
    let element_type = tensor.data_type.and_then(ElementType::from_onnx);
    let element_type = element_type.ok_or_else(|| refuse("its type is unknown".to_owned()))?;
    let shape = tensor.dims.iter().map(|dim| u64::try_from(*dim).unwrap_or(0)).collect();
    Tensor::from_bytes(element_type, shape, bytes.to_vec()).map_err(|error| refuse(error.to_string()))
}

/// Gradients and update in one graph; the gradients themselves are no outputs.
fn fuse(
    gradients: &Gradients,
    optimizer: &Optimizer,
    types: &[(String, String, ValueType)],
) -> Result<Model, TrainError> {
    let mut proto = gradients.model.to_proto();
    let graph: GraphProto = proto.graph.take().unwrap_or_default();
    let mut tape = Tape::after(&gradients.model.graph);
    graph.node.into_iter().for_each(|node| tape.push(node));
    graph.initializer.into_iter().for_each(|tensor| {
        tape.push_initializer(tensor);
    });
    let mut pairs = Vec::new();
    for (gradient, (_, _, ty)) in gradients.gradients.iter().zip(types) {
        let vars = (tape.named(&gradient.parameter), tape.named(&gradient.output));
        pairs.push((vars.0, vars.1, ty.clone()));
    }
    let written = optimizer.write(&mut tape, &pairs)?;
    let dropped: BTreeSet<&str> = gradients.gradients.iter().map(|gradient| gradient.output.as_str()).collect();
    let mut inputs = graph.input;
    inputs.extend(written.inputs);
    let mut outputs = graph.output;
    outputs.retain(|info| !dropped.contains(info.name()));
    outputs.extend(written.outputs);
    let fused = tape.into_graph("step", inputs, outputs);
    Ok(Model::from_proto(&ModelProto { graph: Some(fused), ..proto })?)
}
