//! A training step in parts: gradients of micro-batches add up, then the parameters change once.
//!
//! The result does not depend on how the batch was cut. Nothing is kept until the whole batch has
//! gone through, so a step that runs out of memory is redone with parts of half the size, and no
//! sample is lost or counted twice.

use std::collections::BTreeMap;

use onnxfit_runtime::{ElementType, Tensor, Tensors};

use crate::error::TrainError;
use crate::plan::{LOSS_SCALE, TrainingPlan, zeros};
use crate::precision::LossScaler;
use crate::runner::{Part, StepRunner};
use crate::split::{n_samples, part};

/// A model in training.
pub struct Trainer<R> {
    plan: TrainingPlan,
    runner: R,
    parameters: BTreeMap<String, Tensor>,
    states: BTreeMap<String, Tensor>,
    zeros: BTreeMap<String, Tensor>,
    step: u64,
    micro_batch: u64,
    scaler: Option<LossScaler>,
    /// The runner's memory has newer parameters and states than this.
    is_held: bool,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The step, counted from 0.
    pub step: u64,
    /// The loss over the whole batch, before the parameters changed.
    pub loss: f64,
    /// The norm of all gradients together.
    pub gradient_norm: f64,
    /// Samples in the batch.
    pub n_samples: u64,
    /// Samples in each part but the last.
    pub micro_batch: u64,
    /// How often the step ran out of memory, or out of half precision's range, and was redone.
    pub n_retries: u32,
}

/// What went through before the parameters change.
struct Pending {
    loss: f64,
    gradients: BTreeMap<String, Tensor>,
    statistics: BTreeMap<String, Tensor>,
}

impl<R: StepRunner> Trainer<R> {
    /// Starts from the model's own parameters. `micro_batch` is the most samples that go through
    /// at once.
    pub fn new(plan: TrainingPlan, runner: R, micro_batch: u64) -> Result<Self, TrainError> {
        if micro_batch == 0 {
            return Err(TrainError::Setting("a micro-batch has at least one sample".to_owned()));
        }
        let mut zero_sums = BTreeMap::new();
        for (gradient, sum) in plan.gradients.gradients.iter().zip(&plan.gradients.sums) {
            if let Some(parameter) = plan.initial.get(&gradient.parameter) {
                zero_sums.insert(sum.clone(), zeros(parameter.element_type(), parameter.shape())?);
            }
        }
        let scaler = plan.loss_scale.map(LossScaler::new);
        let (parameters, states) = (plan.initial.clone(), plan.initial_states()?);
        Ok(Self { plan, runner, parameters, states, zeros: zero_sums, step: 0, micro_batch, scaler, is_held: false })
    }

    /// Brings what the runner holds in its own memory into [`Trainer::parameters`] and
    /// [`Trainer::states`]; nothing to do unless it was told to hold.
    pub fn sync(&mut self) -> Result<(), TrainError> {
        if !self.is_held {
            return Ok(());
        }
        let Some(holder) = self.runner.holder() else { return Ok(()) };
        for (name, tensor) in holder.fetch()?.iter() {
            let place = if self.parameters.contains_key(name) { &mut self.parameters } else { &mut self.states };
            place.insert(name.to_owned(), tensor.clone());
        }
        Ok(())
    }

    /// The same, and lets the runner hold them no more: steps in parts need them here.
    fn release(&mut self) -> Result<(), TrainError> {
        self.sync()?;
        self.is_held = false;
        Ok(())
    }

    /// The parameters, and the stored statistics of normalizations, as they are now.
    pub fn parameters(&self) -> &BTreeMap<String, Tensor> {
        &self.parameters
    }

    /// The states of the optimizer as they are now.
    pub fn states(&self) -> &BTreeMap<String, Tensor> {
        &self.states
    }

    /// Goes on from saved parameters and states.
    pub fn restore(&mut self, step: u64, parameters: BTreeMap<String, Tensor>, states: BTreeMap<String, Tensor>) {
        self.parameters.extend(parameters);
        self.states.extend(states);
        self.step = step;
        self.is_held = false;
    }

    /// Takes this many samples at once from now on.
    pub fn set_micro_batch(&mut self, micro_batch: u64) {
        self.micro_batch = micro_batch.max(1);
    }

    /// What the loss is multiplied by, and the steps that went well with it; `None` without scaling.
    pub fn loss_scale_state(&self) -> Option<(f64, u32)> {
        self.scaler.as_ref().map(LossScaler::state)
    }

    /// Goes on with a scale of the loss that was kept.
    pub fn restore_loss_scale(&mut self, state: (f64, u32)) {
        if let Some(scaler) = &mut self.scaler {
            *scaler = LossScaler::of_state(state);
        }
    }

    /// How many steps were made.
    pub fn n_steps(&self) -> u64 {
        self.step
    }

    /// The most samples that go through at once; smaller after memory ran out.
    pub fn micro_batch(&self) -> u64 {
        self.micro_batch
    }

    /// Who runs the graphs.
    pub fn runner(&mut self) -> &mut R {
        &mut self.runner
    }

    /// The plan.
    pub fn plan(&self) -> &TrainingPlan {
        &self.plan
    }

    /// Makes one step on a batch with this learning rate.
    pub fn step(&mut self, batch: &Tensors, rate: f64) -> Result<StepReport, TrainError> {
        let n_samples = self.n_samples(batch)?;
        let scales = self.scales(batch, n_samples)?;
        let mut n_retries = 0;
        loop {
            let micro_batch = self.micro_batch.min(n_samples);
            let tried = if micro_batch == n_samples {
                self.at_once(batch, &scales, rate)
            } else {
                self.release()?;
                self.in_parts(batch, &scales, rate, n_samples, micro_batch)
            };
            match tried {
                Ok((loss, gradient_norm)) => {
                    let report = StepReport { step: self.step, loss, gradient_norm, n_samples, micro_batch, n_retries };
                    self.step += 1;
                    self.scaler.iter_mut().for_each(LossScaler::grow);
                    return Ok(report);
                }
                Err(TrainError::NotFinite { what: "gradient", .. })
                    if self.scaler.as_mut().is_some_and(LossScaler::shrink) =>
                {
                    n_retries += 1;
                }
                Err(TrainError::Run(error)) if error.is_out_of_memory() && micro_batch > 1 => {
                    self.micro_batch = micro_batch.div_ceil(2);
                    n_retries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn axis(&self, name: &str) -> Option<usize> {
        self.plan.batch_axes.get(name).copied().unwrap_or(Some(0))
    }

    fn n_samples(&self, batch: &Tensors) -> Result<u64, TrainError> {
        let mut found: Option<(&str, u64)> = None;
        for (name, tensor) in batch.iter() {
            let Some(axis) = self.axis(name) else { continue };
            let n = n_samples(name, tensor, axis)?;
            match found {
                Some((first, count)) if count != n => {
                    return Err(TrainError::Batch(format!("`{first}` has {count} samples, `{name}` has {n}")));
                }
                _ => found = Some((name, n)),
            }
        }
        match found {
            Some((_, n)) if n > 0 => Ok(n),
            _ => Err(TrainError::Batch("it has no samples".to_owned())),
        }
    }

    /// What each term of the loss is multiplied by: its weight over the count in the whole batch.
    fn scales(&mut self, batch: &Tensors, n_samples: u64) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let counted = match &self.plan.counting {
            None => Tensors::new(),
            Some(model) => {
                let graph = &model.graph;
                let is_read = |name: &str| graph.value_named(name).is_some_and(|id| graph.value(id).is_input);
                let inputs: Vec<(&str, &Tensor)> = batch.iter().filter(|(name, _)| is_read(name)).collect();
                self.runner.run(Part::Count, &inputs)?
            }
        };
        let mut scales = BTreeMap::new();
        for term in &self.plan.terms {
            let count = match &term.count {
                None => n_samples as f64,
                Some(name) => number(&counted, name)?,
            };
            // A batch whose labels are all masked teaches nothing, which is no error.
            let scale = if count > 0.0 { term.weight / count } else { 0.0 };
            scales.insert(term.scale.clone(), scalar(scale)?);
        }
        Ok(scales)
    }

    /// The whole batch in one run.
    fn at_once(
        &mut self,
        batch: &Tensors,
        scales: &BTreeMap<String, Tensor>,
        rate: f64,
    ) -> Result<(f64, f64), TrainError> {
        let (scalars, loss_scale) = (self.scalars(rate)?, self.loss_scale()?);
        let mut inputs: Vec<(&str, &Tensor)> = batch.iter().collect();
        inputs.extend(loss_scale.iter().map(|scale| (LOSS_SCALE, scale)));
        if self.runner.holder().is_some() {
            inputs.extend(scales.iter().map(|(name, tensor)| (name.as_str(), tensor)));
            inputs.extend(scalars.iter().map(|(name, tensor)| (name.as_str(), tensor)));
            return self.at_once_held(&inputs);
        }
        let own = self.parameters.iter().chain(&self.states).chain(scales).chain(&scalars);
        inputs.extend(own.map(|(name, tensor)| (name.as_str(), tensor)));
        let mut outputs = self.runner.run(Part::Whole, &inputs)?;
        let loss = number(&outputs, &self.plan.gradients.loss)?;
        let norm = number(&outputs, &self.plan.update.gradient_norm)?;
        self.check_finite(loss, norm)?;
        let mut statistics = BTreeMap::new();
        for one in &self.plan.gradients.statistics {
            statistics.insert(one.parameter.clone(), take(&mut outputs, &one.output)?);
        }
        self.commit(outputs, statistics)?;
        Ok((loss, norm))
    }

    /// The same, with weights and states in the runner's memory.
    fn at_once_held(&mut self, inputs: &[(&str, &Tensor)]) -> Result<(f64, f64), TrainError> {
        let missing = || TrainError::Setting("the runner holds nothing".to_owned());
        if !self.is_held {
            let mut values: Vec<(&str, &str, &Tensor)> = Vec::new();
            for names in self.plan.parameters() {
                let parameter = self.parameters.get(&names.parameter);
                values.extend(parameter.map(|tensor| (names.parameter.as_str(), names.next.as_str(), tensor)));
                for (state, next) in &names.states {
                    values.extend(self.states.get(state).map(|tensor| (state.as_str(), next.as_str(), tensor)));
                }
            }
            for one in &self.plan.gradients.statistics {
                let tensor = self.parameters.get(&one.parameter);
                values.extend(tensor.map(|tensor| (one.parameter.as_str(), one.output.as_str(), tensor)));
            }
            self.runner.holder().ok_or_else(missing)?.take(&values)?;
            self.is_held = true;
        }
        let outputs = self.runner.holder().ok_or_else(missing)?.run(inputs)?;
        let loss = number(&outputs, &self.plan.gradients.loss)?;
        let norm = number(&outputs, &self.plan.update.gradient_norm)?;
        self.check_finite(loss, norm)?;
        self.runner.holder().ok_or_else(missing)?.commit()?;
        Ok((loss, norm))
    }

    fn in_parts(
        &mut self,
        batch: &Tensors,
        scales: &BTreeMap<String, Tensor>,
        rate: f64,
        n_samples: u64,
        micro_batch: u64,
    ) -> Result<(f64, f64), TrainError> {
        let mut pending: Option<Pending> = None;
        let mut start = 0;
        while start < n_samples {
            let end = (start + micro_batch).min(n_samples);
            pending = Some(self.one_part(batch, scales, (start, end), pending)?);
            start = end;
        }
        let Some(pending) = pending else { return Err(TrainError::Batch("it has no samples".to_owned())) };
        let scalars = self.scalars(rate)?;
        let mut inputs: Vec<(&str, &Tensor)> = Vec::new();
        for names in self.plan.parameters() {
            inputs.extend(self.parameters.get(&names.parameter).map(|tensor| (names.parameter.as_str(), tensor)));
        }
        let own = pending.gradients.iter().chain(&self.states).chain(&scalars);
        inputs.extend(own.map(|(name, tensor)| (name.as_str(), tensor)));
        let outputs = self.runner.run(Part::Update, &inputs)?;
        let norm = number(&outputs, &self.plan.update.gradient_norm)?;
        self.check_finite(pending.loss, norm)?;
        self.commit(outputs, pending.statistics)?;
        Ok((pending.loss, norm))
    }

    /// Adds the gradients of samples `start..end` to what came before.
    fn one_part(
        &mut self,
        batch: &Tensors,
        scales: &BTreeMap<String, Tensor>,
        (start, end): (u64, u64),
        before: Option<Pending>,
    ) -> Result<Pending, TrainError> {
        let mut parts = Vec::new();
        for (name, tensor) in batch.iter() {
            let cut = match self.axis(name) {
                Some(axis) => Some(part(name, tensor, axis, start, end)?),
                None => None,
            };
            parts.push((name, tensor, cut));
        }
        let mut inputs: Vec<(&str, &Tensor)> =
            parts.iter().map(|(name, tensor, cut)| (*name, cut.as_ref().unwrap_or(tensor))).collect();
        let gradients = &self.plan.gradients;
        for (name, tensor) in &self.parameters {
            let moved = before.as_ref().and_then(|pending| pending.statistics.get(name));
            inputs.push((name.as_str(), moved.unwrap_or(tensor)));
        }
        for (gradient, sum) in gradients.gradients.iter().zip(&gradients.sums) {
            let so_far = before.as_ref().and_then(|pending| pending.gradients.get(&gradient.output));
            let Some(tensor) = so_far.or_else(|| self.zeros.get(sum)) else { continue };
            inputs.push((sum.as_str(), tensor));
        }
        inputs.extend(scales.iter().map(|(name, tensor)| (name.as_str(), tensor)));
        let loss_scale = self.loss_scale()?;
        inputs.extend(loss_scale.iter().map(|scale| (LOSS_SCALE, scale)));
        let mut outputs = self.runner.run(Part::Gradients, &inputs)?;
        let mut pending = Pending {
            loss: before.map_or(0.0, |pending| pending.loss) + number(&outputs, &gradients.loss)?,
            gradients: BTreeMap::new(),
            statistics: BTreeMap::new(),
        };
        for gradient in &gradients.gradients {
            pending.gradients.insert(gradient.output.clone(), take(&mut outputs, &gradient.output)?);
        }
        for one in &gradients.statistics {
            pending.statistics.insert(one.parameter.clone(), take(&mut outputs, &one.output)?);
        }
        Ok(pending)
    }

    fn scalars(&self, rate: f64) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let scalars =
            self.plan.optimizer.scalars(self.step, rate, 1.0 / self.scaler.as_ref().map_or(1.0, |scaler| scaler.scale));
        scalars.into_iter().map(|(name, value)| Ok((name.to_owned(), scalar(value)?))).collect()
    }

    fn loss_scale(&self) -> Result<Option<Tensor>, TrainError> {
        self.scaler.as_ref().map(|scaler| scalar(scaler.scale)).transpose()
    }

    fn check_finite(&self, loss: f64, norm: f64) -> Result<(), TrainError> {
        for (what, value) in [("loss", loss), ("gradient", norm)] {
            if !value.is_finite() {
                return Err(TrainError::NotFinite { what, step: self.step, value: value.to_string() });
            }
        }
        Ok(())
    }

    /// Takes over new parameters and states, all of them or none.
    fn commit(&mut self, mut outputs: Tensors, statistics: BTreeMap<String, Tensor>) -> Result<(), TrainError> {
        let (mut parameters, mut states) = (statistics, BTreeMap::new());
        for names in self.plan.parameters() {
            parameters.insert(names.parameter.clone(), take(&mut outputs, &names.next)?);
            for (state, next) in &names.states {
                states.insert(state.clone(), take(&mut outputs, next)?);
            }
        }
        self.parameters.extend(parameters);
        self.states.extend(states);
        Ok(())
    }
}

fn scalar(value: f64) -> Result<Tensor, TrainError> {
    match Tensor::from_f64(ElementType::Float, Vec::new(), &[value]) {
        Some(Ok(tensor)) => Ok(tensor),
        _ => Err(TrainError::Batch("a number could not be made a tensor".to_owned())),
    }
}

fn number(outputs: &Tensors, name: &str) -> Result<f64, TrainError> {
    let values = outputs.get(name).and_then(Tensor::values);
    match values.as_deref() {
        Some([value]) => Ok(*value),
        _ => Err(TrainError::Batch(format!("the run gave no number `{name}`"))),
    }
}

fn take(outputs: &mut Tensors, name: &str) -> Result<Tensor, TrainError> {
    outputs.get(name).cloned().ok_or_else(|| TrainError::Batch(format!("the run gave no `{name}`")))
}
