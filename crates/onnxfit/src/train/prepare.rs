//! From model, data and wishes to the graphs of a training.

use std::collections::BTreeMap;
use std::path::Path;

use onnxfit_base::Diagnostic;
use onnxfit_data::{Field, OpenOptions, Source};
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::TensorSource;
use onnxfit_rewrite::half::HalfOutcome;
use onnxfit_rewrite::inline::inline_functions;
use onnxfit_rewrite::uint8_input::{Uint8Options, uint8_input};
use onnxfit_runtime::{ElementType, Tensor};
use onnxfit_shape::{Bindings, infer};
use onnxfit_train::{
    Feeds, FitError, GradientOptions, Labels, Lora, LoraFactors, Loss, LossKind, LossTerm, PROJECTION, PlanOptions,
    TrainError, TrainingPlan, add_lora, specialize, trainable_parameters,
};

use super::mixed::{LOSS_SCALE, mixed};
use super::options::{LossChoice, TrainOptions};
use super::stopped;
use crate::{Error, Model};

/// The dimension that counts samples.
pub(super) struct BatchDim {
    pub(super) name: String,
    /// The only size that the model takes.
    pub(super) fixed: Option<u64>,
}

/// Everything that a run needs.
pub(super) struct Prepared {
    pub(super) plan: TrainingPlan,
    pub(super) feeds: Feeds,
    pub(super) batch: BatchDim,
    pub(super) result: ResultModel,
    /// Inputs that take numbers of classes.
    pub(super) labels: Vec<Labels>,
    /// The conversion to half precision, whose source has the bytes of the graphs' weights.
    pub(super) half: Option<HalfOutcome>,
    /// What must be the same for a checkpoint to fit.
    pub(super) fingerprint: String,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// The model that trained weights are put into.
pub(super) struct ResultModel {
    pub(super) model: GraphModel,
    lora: Option<LoraFactors>,
}

impl ResultModel {
    /// The weights of the model, adapters merged into them.
    pub(super) fn weights(
        &self,
        trained: &BTreeMap<String, Tensor>,
        weights: &dyn TensorSource,
    ) -> Result<BTreeMap<String, Tensor>, Error> {
        match &self.lora {
            Some(lora) => lora.merged(trained, weights).map_err(train_error),
            None => {
                // A projection of features was there for the loss alone.
                let own = trained.iter().filter(|(name, _)| !name.starts_with(PROJECTION));
                Ok(own.map(|(name, tensor)| (name.clone(), tensor.clone())).collect())
            }
        }
    }
}

pub(super) fn train_error(error: TrainError) -> Error {
    stopped(FitError::Train(error), None)
}

/// Opens the samples, told apart by what the model's inputs look like.
pub(super) fn open_source(model: &GraphModel, path: &Path, options: &TrainOptions) -> Result<Source, Error> {
    let graph = &model.graph;
    let ranks = graph.required_inputs().filter_map(|id| {
        let value = graph.value(id);
        let rank = value.ty.as_tensor()?.shape.as_ref()?.len();
        let field = options.map.get(&value.name).unwrap_or(&value.name);
        Some((field.clone(), rank))
    });
    let open = OpenOptions { ranks: ranks.collect(), ..options.open.clone() };
    Source::open_with(path, &open).map_err(|error| stopped(FitError::Data(error), None))
}

/// The model without functions of its own.
pub(super) fn inlined(model: &Model) -> Result<GraphModel, Error> {
    let inlined =
        inline_functions(model.graph()).map_err(|error| Error::Rewrite { message: error.to_string(), hint: None })?;
    Ok(inlined.unwrap_or_else(|| model.graph().clone()))
}

/// Plans the training of a model on samples.
pub(super) fn prepare(
    model: &Model,
    weights: &dyn TensorSource,
    options: &TrainOptions,
    source: &Source,
) -> Result<Prepared, Error> {
    let base = inlined(model)?;
    let target = target_name(&base, source.schema(), options)?;
    let loss = loss_of(&base, options, &target)?;
    let parameters = chosen(&base, options);
    let context = Context { base: &base, train: &base, loss, target: Some(target), parameters, options, source };
    plan(context, weights)
}

/// What a plan is made of.
pub(super) struct Context<'a> {
    /// The model that is trained and written.
    pub(super) base: &'a GraphModel,
    /// The model that is differentiated: the same, or with a teacher beside it.
    pub(super) train: &'a GraphModel,
    pub(super) loss: Loss,
    /// The field with the targets.
    pub(super) target: Option<String>,
    pub(super) parameters: Vec<String>,
    pub(super) options: &'a TrainOptions,
    pub(super) source: &'a Source,
}

/// Plans a training.
pub(super) fn plan(context: Context<'_>, weights: &dyn TensorSource) -> Result<Prepared, Error> {
    let Context { base, train, loss, target, mut parameters, options, source } = context;
    let mut diagnostics = Vec::new();
    let mut lora = None;
    let mut train = train.clone();
    if let Some(rank) = options.lora_rank {
        let wanted = Lora { rank, alpha: 2.0 * rank as f64, name_contains: options.only.clone(), seed: options.seed };
        let factors = add_lora(&train, &wanted).map_err(train_error)?;
        parameters.retain(|name| name.starts_with(PROJECTION));
        parameters.extend(factors.parameters.iter().cloned());
        train = factors.model.clone();
        lora = Some(factors);
    }
    let mut half = None;
    if options.mixed {
        let (model, outcome) = mixed(&train, weights, &parameters)?;
        train = model;
        half = Some(outcome);
    }
    let mut map = options.map.clone();
    map.extend(target.iter().map(|target| (target_input(&train, target), target.clone())));
    train = with_bytes(train, source.schema(), &map, &options.pixels)?;
    let samples = sample_shapes(&train, source.schema(), &map);
    let specialized = specialize(&train, &samples).map_err(train_error)?;
    let labels = labels(&specialized.model, &loss);
    let plan_options = PlanOptions {
        parameters,
        gradient: GradientOptions { batch_norm: options.batch_norm, ..GradientOptions::default() },
        loss_scale: half.as_ref().map(|_| LOSS_SCALE),
        ..PlanOptions::default()
    };
    let half_weights = half.as_ref().map(|half| half.source(weights));
    let bytes: &dyn TensorSource = half_weights.as_ref().map_or(weights, |source| source);
    let plan = TrainingPlan::new(&specialized.model, &loss, &options.optimizer(), bytes, &plan_options)
        .map_err(train_error)?;
    if let Some(first) = plan.gradients.unreached.first() {
        let n_unreached = plan.gradients.unreached.len();
        let message = format!("the loss does not depend on {n_unreached} parameters, first `{first}`: they stay");
        diagnostics.push(Diagnostic::note("unreached-parameters", message));
    }
    let inputs = plan.data_inputs().into_iter().filter(|input| !input.name.starts_with(ANSWERS));
    let inputs: Vec<_> = inputs.collect();
    let feeds = Feeds::of(source.schema(), &inputs, &map).map_err(|error| stopped(error.into(), None))?;
    if let Some(fixed) = specialized.fixed_batch {
        if !options.batch.is_multiple_of(fixed) {
            return Err(Error::Train {
                message: format!(
                    "the model takes {fixed} samples at once, and a batch of {} is no multiple",
                    options.batch
                ),
                hint: Some(format!("give `--batch {}`", options.batch.div_ceil(fixed) * fixed)),
            });
        }
        let message = format!("the model is made for {fixed} samples at once: the batch is made of such parts");
        diagnostics.push(Diagnostic::note("fixed-batch", message));
    }
    let fingerprint = format!(
        "{} parameters of `{}`, {} samples, batch {}, loss {:?}, rule {:?}, rate {}, seed {}",
        plan.parameters().len(),
        base.graph.name(),
        source.len(),
        options.batch,
        options.loss,
        options.rule,
        options.rate,
        options.seed,
    );
    Ok(Prepared {
        plan,
        feeds,
        batch: BatchDim { name: specialized.batch_dim, fixed: specialized.fixed_batch },
        result: ResultModel { model: base.clone(), lora },
        labels,
        half,
        fingerprint,
        diagnostics,
    })
}

/// The inputs of a loss that take numbers of classes, where it is known how many there are.
fn labels(model: &GraphModel, loss: &Loss) -> Vec<Labels> {
    let facts = infer(model, &Bindings::default()).graph;
    let of = |term: &LossTerm| {
        let LossKind::CrossEntropy { class_axis, ignore_index } = term.kind else { return None };
        let shape = facts.fact(model.graph.value_named(&term.value)?).shape.as_ref()?;
        let axis = if class_axis < 0 { shape.len().checked_sub(1)? } else { usize::try_from(class_axis).ok()? };
        let n_classes = u64::try_from(shape.get(axis)?.as_constant()?).ok()?;
        Some(Labels { input: term.target.clone(), n_classes, ignore_index })
    };
    loss.terms.iter().filter_map(of).collect()
}

/// What names of a teacher's answers begin with.
pub(super) const ANSWERS: &str = "answers/";

/// The parameters that are to change.
pub(super) fn chosen(model: &GraphModel, options: &TrainOptions) -> Vec<String> {
    let all = trainable_parameters(model);
    if options.only.is_empty() {
        return all;
    }
    all.into_iter().filter(|name| options.only.iter().any(|part| name.contains(part.as_str()))).collect()
}

/// The field with the targets: the one asked for, or the one that feeds no input.
pub(super) fn target_name(model: &GraphModel, schema: &[Field], options: &TrainOptions) -> Result<String, Error> {
    if let Some(target) = &options.target {
        return Ok(target.clone());
    }
    let graph = &model.graph;
    let inputs: Vec<&str> = graph.required_inputs().map(|id| graph.value(id).name.as_str()).collect();
    let is_free = |field: &&Field| {
        !inputs.contains(&field.name.as_str()) && !options.map.values().any(|taken| *taken == field.name)
    };
    let free: Vec<&Field> = schema.iter().filter(is_free).collect();
    let known = free.iter().find(|field| field.is_named_as_target());
    match (known, free.as_slice()) {
        (Some(field), _) | (None, [field]) => Ok(field.name.clone()),
        (None, _) => {
            let names: Vec<String> = free.iter().map(|field| format!("`{}`", field.name)).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(Error::Train {
                message: format!("which field of the data has the targets? Those that feed no input: {names}"),
                hint: Some("name it with `--target FIELD`".to_owned()),
            })
        }
    }
}

/// The name of the input that takes the targets.
pub(super) fn target_input(model: &GraphModel, target: &str) -> String {
    if model.graph.value_named(target).is_some() { format!("loss/{target}") } else { target.to_owned() }
}

/// The value that the loss looks at.
pub(super) fn loss_value(model: &GraphModel, options: &TrainOptions) -> Result<String, Error> {
    let graph = &model.graph;
    if let Some(value) = &options.value {
        return Ok(value.clone());
    }
    let first = graph.outputs().first().map(|id| graph.value(*id).name.clone());
    first.ok_or_else(|| Error::Train { message: "the model has no output".to_owned(), hint: None })
}

pub(super) fn loss_kind(model: &GraphModel, value: &str, choice: LossChoice) -> LossKind {
    let graph = &model.graph;
    let rank = graph.value_named(value).and_then(|id| Some(graph.value(id).ty.as_tensor()?.shape.as_ref()?.len()));
    match choice {
        // Images with a class for each pixel have the classes second, tokens have them last.
        LossChoice::CrossEntropy { ignore_index } => {
            LossKind::CrossEntropy { class_axis: if rank == Some(4) { 1 } else { -1 }, ignore_index }
        }
        LossChoice::SquaredError => LossKind::SquaredError,
        LossChoice::Divergence { temperature } => LossKind::Divergence { temperature },
    }
}

pub(super) fn loss_of(model: &GraphModel, options: &TrainOptions, target: &str) -> Result<Loss, Error> {
    let value = loss_value(model, options)?;
    let kind = loss_kind(model, &value, options.loss);
    Ok(Loss::of(LossTerm::new(kind, &value, &target_input(model, target))))
}

/// Floats that are fed with bytes become inputs of bytes: they are made floats on the card.
pub(super) fn with_bytes(
    model: GraphModel,
    schema: &[Field],
    map: &BTreeMap<String, String>,
    pixels: &Uint8Options,
) -> Result<GraphModel, Error> {
    let graph = &model.graph;
    let is_image = |field: &&Field| field.element_type == ElementType::Uint8 && field.shape.len() == 3;
    let float_inputs: Vec<(String, usize)> = graph
        .required_inputs()
        .filter_map(|id| {
            let ty = graph.value(id).ty.as_tensor()?;
            let is_float = ty.element_type == Some(onnxfit_onnx::DataType::Float);
            is_float.then(|| Some((graph.value(id).name.clone(), ty.shape.as_ref()?.len())))?
        })
        .collect();
    let mut images = schema.iter().filter(is_image);
    let (Some(image), None) = (images.next(), images.next()) else { return Ok(model) };
    let by_name = float_inputs.iter().find(|(name, _)| map.get(name).unwrap_or(name) == &image.name);
    let only = if let [only] = float_inputs.as_slice() { Some(only) } else { None };
    let Some((input, 4)) = by_name.or(only) else { return Ok(model) };
    let options = Uint8Options { input: Some(input.clone()), ..pixels.clone() };
    let outcome =
        uint8_input(&model, &options).map_err(|error| Error::Rewrite { message: error.to_string(), hint: None })?;
    Ok(outcome.model)
}

/// The shapes of samples, by the input that they feed.
pub(super) fn sample_shapes(
    model: &GraphModel,
    schema: &[Field],
    map: &BTreeMap<String, String>,
) -> BTreeMap<String, Vec<u64>> {
    let graph = &model.graph;
    let inputs: Vec<&String> = graph.required_inputs().map(|id| &graph.value(id).name).collect();
    let field_of = |input: &String| schema.iter().find(|field| field.name == *map.get(input).unwrap_or(input));
    let mut shapes = BTreeMap::new();
    let mut open = Vec::new();
    for input in &inputs {
        match field_of(input) {
            Some(field) => drop(shapes.insert((*input).clone(), field.shape.clone())),
            None => open.push(*input),
        }
    }
    let is_taken = |field: &&Field| {
        inputs.iter().any(|input| field_of(input).is_some_and(|taken| taken.name == field.name))
            || map.values().any(|taken| *taken == field.name)
    };
    let left: Vec<&Field> = schema.iter().filter(|field| !is_taken(field)).collect();
    if let ([input], [field]) = (open.as_slice(), left.as_slice()) {
        shapes.insert((*input).clone(), field.shape.clone());
    }
    shapes
}
