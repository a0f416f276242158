//! Optimizers, as a graph: parameters, gradients and states in, new parameters and states out.
//!
//! What changes from step to step is a handful of numbers, computed in double precision beside
//! the graph ([`Optimizer::scalars`]) and fed to it.

use std::collections::BTreeMap;

use onnxfit_graph::{Model, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{ModelProto, OperatorSetIdProto, TypeProto, ValueInfoProto};

use crate::emit::int;
use crate::error::TrainError;
use crate::tape::{Tape, Var};

/// How gradients change parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd {
        /// How much of the last direction is kept.
        momentum: f64,
        /// Looks one step ahead along the direction.
        is_nesterov: bool,
    },
    /// Adam (Kingma and Ba, 2015); weight decay is added to the gradient.
    Adam(Moments),
    /// AdamW (Loshchilov and Hutter, 2019); weights decay on their own.
    AdamW(Moments),
}

/// Settings of Adam.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// How slowly the mean of the gradients changes.
    pub beta1: f64,
    /// How slowly the mean of their squares changes.
    pub beta2: f64,
    /// Added to the root, against division by zero.
    pub epsilon: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

/// An optimizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    /// How gradients change parameters.
    pub rule: Rule,
    /// How much of each weight is taken away, in units of the learning rate.
    pub weight_decay: f64,
    /// The largest norm of all gradients together; larger ones are scaled down to it.
    pub gradient_norm_max: Option<f64>,
    /// Parameters with settings of their own; the first group that fits counts.
    pub groups: Vec<Group>,
}

/// Parameters with settings of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Parameters whose name has one of these texts in it.
    pub name_contains: Vec<String>,
    /// Parameters of at most this rank: 1 for biases and norms.
    pub rank_max: Option<usize>,
    /// The learning rate, as a factor.
    pub rate_factor: Option<f64>,
    /// Weight decay.
    pub weight_decay: Option<f64>,
    /// They do not change.
    pub is_frozen: bool,
}

/// A model that applies gradients.
#[derive(Clone, Debug)]
pub struct Update {
    /// The model.
    pub model: Model,
    /// What belongs to each parameter.
    pub parameters: Vec<ParameterNames>,
    /// The output that is the norm of all gradients together, before it is limited.
    pub gradient_norm: String,
}

/// The inputs and outputs that belong to one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterNames {
    /// The input that is the parameter.
    pub parameter: String,
    /// The input that is its gradient.
    pub gradient: String,
    /// The output that is the parameter after the step.
    pub next: String,
    /// State inputs, zero before the first step, and the outputs after it.
    pub states: Vec<(String, String)>,
}

/// The input with the learning rate.
const RATE: &str = "optimizer/rate";
/// The input with the learning rate over the first correction of Adam.
const STEP_SIZE: &str = "optimizer/step_size";
/// The input with one over the root of the second correction of Adam.
const ROOT_FACTOR: &str = "optimizer/root_factor";
/// The input that all gradients are multiplied by first: one over the loss scale.
const GRADIENT_FACTOR: &str = "optimizer/gradient_factor";
/// The output with the norm of all gradients together.
const GRADIENT_NORM: &str = "optimizer/gradient_norm";

impl Optimizer {
    /// An optimizer without weight decay, clipping or groups.
    pub fn new(rule: Rule) -> Self {
        Self { rule, weight_decay: 0.0, gradient_norm_max: None, groups: Vec::new() }
    }

    /// What the graph is fed besides tensors, at a step counted from 0.
    pub fn scalars(&self, step: u64, rate: f64, gradient_factor: f64) -> BTreeMap<&'static str, f64> {
        let mut scalars = BTreeMap::from([(GRADIENT_FACTOR, gradient_factor), (RATE, rate)]);
        if let Rule::Adam(moments) | Rule::AdamW(moments) = self.rule {
            let count = (step + 1) as f64;
            scalars.insert(STEP_SIZE, rate / (1.0 - moments.beta1.powf(count)));
            scalars.insert(ROOT_FACTOR, 1.0 / (1.0 - moments.beta2.powf(count)).sqrt());
        }
        scalars
    }

    /// The settings of a parameter: rate factor and weight decay; `None` if it is frozen.
    pub fn settings(&self, parameter: &str, rank: usize) -> Option<(f64, f64)> {
        let fits = |group: &&Group| {
            let by_name = group.name_contains.iter().any(|part| parameter.contains(part.as_str()));
            by_name || group.rank_max.is_some_and(|rank_max| rank <= rank_max)
        };
        match self.groups.iter().find(fits) {
            Some(group) if group.is_frozen => None,
            Some(group) => Some((group.rate_factor.unwrap_or(1.0), group.weight_decay.unwrap_or(self.weight_decay))),
            None => Some((1.0, self.weight_decay)),
        }
    }

    fn state_names(&self) -> &'static [&'static str] {
        match self.rule {
            Rule::Sgd { momentum: 0.0, .. } => &[],
            Rule::Sgd { .. } => &["momentum"],
            Rule::Adam(_) | Rule::AdamW(_) => &["first_moment", "second_moment"],
        }
    }

    /// The model that applies gradients: for each parameter its name, its gradient's and its type.
    pub fn update(&self, parameters: &[(String, String, ValueType)]) -> Result<Update, TrainError> {
        let mut tape = Tape::default();
        let mut gradients = Vec::new();
        let mut inputs = Vec::new();
        for (name, gradient, ty) in parameters {
            inputs.push(info(name, ty.to_proto()));
            inputs.push(info(gradient, ty.to_proto()));
            gradients.push((tape.named(name), tape.named(gradient), ty.clone()));
        }
        let written = self.write(&mut tape, &gradients)?;
        inputs.extend(written.inputs);
        let graph = tape.into_graph("update", inputs, written.outputs);
        let opset = OperatorSetIdProto { domain: Some(String::new()), version: Some(18) };
        let proto =
            ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..ModelProto::default() };
        let model = Model::from_proto(&proto)?;
        Ok(Update { model, parameters: written.parameters, gradient_norm: written.gradient_norm })
    }

    /// Writes the update behind gradients that are on the tape already: parameter, gradient, type.
    pub(crate) fn write(&self, tape: &mut Tape, gradients: &[(Var, Var, ValueType)]) -> Result<Written, TrainError> {
        tape.set_scope("optimizer");
        let float = DataType::Float;
        let factor = tape.named(GRADIENT_FACTOR);
        let mut scalars = vec![GRADIENT_FACTOR, RATE];
        if let Rule::Adam(_) | Rule::AdamW(_) = self.rule {
            scalars.extend([STEP_SIZE, ROOT_FACTOR]);
        }
        let scalar = ValueType::tensor(float, Vec::new()).to_proto();
        let mut inputs: Vec<ValueInfoProto> = scalars.iter().map(|name| info(name, scalar.clone())).collect();
        // The norm is that of the gradients as they come, in single precision.
        let mut squares = Vec::new();
        let mut singles = Vec::new();
        for (_, gradient, ty) in gradients {
            let single = if element_type(ty) == float { *gradient } else { tape.cast(*gradient, float) };
            squares.push(tape.op_with("ReduceSumSquare", &[single], vec![int("keepdims", 0)]));
            singles.push(single);
        }
        if squares.is_empty() {
            return Err(TrainError::Setting("there is no parameter to train".to_owned()));
        }
        let total = tape.sum(&squares);
        let root = tape.sqrt(total);
        let norm = tape.mul(root, factor);
        let factor = match self.gradient_norm_max {
            None => factor,
            Some(most) => {
                let (most, little, one) = (tape.number(float, most), tape.number(float, 1e-6), tape.number(float, 1.0));
                let sum = tape.add(norm, little);
                let limit = tape.div(most, sum);
                let limit = tape.op("Min", &[limit, one]);
                tape.mul(factor, limit)
            }
        };
        // The same names whatever else is on the tape.
        let mut renamed = BTreeMap::from([(tape.name(norm).to_owned(), GRADIENT_NORM.to_owned())]);
        let mut outputs = vec![info(GRADIENT_NORM, scalar)];
        let mut parameters = Vec::new();
        for ((parameter, gradient, ty), single) in gradients.iter().zip(singles) {
            let name = tape.name(*parameter).to_owned();
            let rank = ty.as_tensor().and_then(|tensor| tensor.shape.as_ref()).map_or(0, Vec::len);
            let Some((rate_factor, weight_decay)) = self.settings(&name, rank) else { continue };
            tape.set_scope(&name);
            let scaled = tape.mul(single, factor);
            let states: Vec<Var> =
                self.state_names().iter().map(|state| tape.named(&format!("{name}/{state}"))).collect();
            let is_single = element_type(ty) == float;
            let weight = if is_single { *parameter } else { tape.cast(*parameter, float) };
            let (next, next_states) = self.step(tape, weight, scaled, &states, rate_factor, weight_decay);
            let next = if is_single { next } else { tape.cast(next, element_type(ty)) };
            let state_type = with_element_type(ty, float);
            let next_name = format!("{name}/next");
            outputs.push(info(&next_name, ty.to_proto()));
            renamed.insert(tape.name(next).to_owned(), next_name.clone());
            let mut pairs = Vec::new();
            for (state, next) in states.iter().zip(&next_states) {
                inputs.push(info(tape.name(*state), state_type.to_proto()));
                let state_name = tape.name(*state).to_owned();
                let next_name = format!("{state_name}/next");
                outputs.push(info(&next_name, state_type.to_proto()));
                renamed.insert(tape.name(*next).to_owned(), next_name.clone());
                pairs.push((state_name, next_name));
            }
            parameters.push(ParameterNames {
                parameter: name,
                gradient: tape.name(*gradient).to_owned(),
                next: next_name,
                states: pairs,
            });
        }
        tape.rename(&renamed);
        Ok(Written { inputs, outputs, parameters, gradient_norm: GRADIENT_NORM.to_owned() })
    }

    fn step(
        &self,
        tape: &mut Tape,
        weight: Var,
        gradient: Var,
        states: &[Var],
        rate_factor: f64,
        weight_decay: f64,
    ) -> (Var, Vec<Var>) {
        let float = DataType::Float;
        let rate = tape.named(RATE);
        let rate = tape.scale(rate, float, rate_factor);
        let decays_alone = matches!(self.rule, Rule::AdamW(_));
        let gradient = if weight_decay != 0.0 && !decays_alone {
            let decay = tape.scale(weight, float, weight_decay);
            tape.add(gradient, decay)
        } else {
            gradient
        };
        match (self.rule, states) {
            (Rule::Sgd { momentum, is_nesterov }, [state]) => {
                let kept = tape.scale(*state, float, momentum);
                let direction = tape.add(kept, gradient);
                let step = if is_nesterov {
                    let ahead = tape.scale(direction, float, momentum);
                    tape.add(gradient, ahead)
                } else {
                    direction
                };
                let change = tape.mul(step, rate);
                (tape.sub(weight, change), vec![direction])
            }
            (Rule::Adam(moments) | Rule::AdamW(moments), [first, second]) => {
                let kept = tape.scale(*first, float, moments.beta1);
                let new = tape.scale(gradient, float, 1.0 - moments.beta1);
                let first = tape.add(kept, new);
                let kept = tape.scale(*second, float, moments.beta2);
                let square = tape.mul(gradient, gradient);
                let new = tape.scale(square, float, 1.0 - moments.beta2);
                let second = tape.add(kept, new);
                let root = tape.sqrt(second);
                let root_factor = tape.named(ROOT_FACTOR);
                let root = tape.mul(root, root_factor);
                let epsilon = tape.number(float, moments.epsilon);
                let divisor = tape.add(root, epsilon);
                let step_size = tape.named(STEP_SIZE);
                let step_size = tape.scale(step_size, float, rate_factor);
                let direction = tape.div(first, divisor);
                let change = tape.mul(direction, step_size);
                let weight = if decays_alone && weight_decay != 0.0 {
                    let decay = tape.scale(rate, float, weight_decay);
                    let one = tape.number(float, 1.0);
                    let kept = tape.sub(one, decay);
                    tape.mul(weight, kept)
                } else {
                    weight
                };
                (tape.sub(weight, change), vec![first, second])
            }
            _ => {
                let change = tape.mul(gradient, rate);
                (tape.sub(weight, change), Vec::new())
            }
        }
    }
}

/// What was written, and what must be declared for it.
pub(crate) struct Written {
    pub(crate) inputs: Vec<ValueInfoProto>,
    pub(crate) outputs: Vec<ValueInfoProto>,
    pub(crate) parameters: Vec<ParameterNames>,
    pub(crate) gradient_norm: String,
}

fn info(name: &str, ty: TypeProto) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(ty), ..ValueInfoProto::default() }
}

fn element_type(ty: &ValueType) -> DataType {
    ty.as_tensor().and_then(|tensor| tensor.element_type).unwrap_or(DataType::Float)
}

fn with_element_type(ty: &ValueType, element_type: DataType) -> ValueType {
    match ty {
        ValueType::Tensor(tensor) => {
            let mut tensor = tensor.clone();
            tensor.element_type = Some(element_type);
            ValueType::Tensor(tensor)
        }
        other => other.clone(),
    }
}
