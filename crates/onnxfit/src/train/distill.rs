//! `distill`: a student learns what a teacher answers.
//!
//! The teacher runs in a session of its own and its answers are kept on the disk, so that it runs
//! once for all epochs; or it stands beside the student in one graph, which needs no disk.

use std::path::PathBuf;

use onnxfit_data::{Field, Source};
use onnxfit_graph::Model as GraphModel;
use onnxfit_onnx::proto::ValueInfoProto;
use onnxfit_onnx::{SaveOptions, TensorSource, save};
use onnxfit_report::train::TrainView;
use onnxfit_rewrite::half::{HalfOptions, HalfType, to_half};
use onnxfit_runtime::{ElementType, Library, Session, SessionSpec};
use onnxfit_train::{
    Answers, DataInput, Feeds, JoinedWeights, Loss, LossKind, LossTerm, Per, TEACHER, feature_width, join, project,
};

use super::options::TrainOptions;
use super::prepare::{
    self, ANSWERS, Context, chosen, inlined, loss_kind, loss_value, target_input, target_name, train_error,
};
use super::{Job, open_library, run, stopped};
use crate::progress::Progress;
use crate::session_spec::session_spec;
use crate::verify::runtime_error;
use crate::{Error, Model, Request, weights};

/// Samples that the teacher answers at once.
const N_AT_ONCE: u64 = 64;
/// Answers of more bytes are not kept.
const ANSWERS_BYTES_MAX: u64 = 64 << 30;

/// Where the teacher is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TeacherPlace {
    /// On the disk if there is more than one epoch, else beside the student.
    #[default]
    Auto,
    /// Its answers on the disk.
    Disk,
    /// In the student's graph.
    Beside,
}

/// How a student learns from a teacher.
#[derive(Clone, Debug)]
pub struct DistillOptions {
    /// How it is trained; the loss says what labels count, if there are any.
    pub train: TrainOptions,
    /// Softens the answers of both.
    pub temperature: f64,
    /// How much the teacher counts; the rest is for the labels.
    pub share: f64,
    /// Values of the teacher and of the student that are to become alike.
    pub features: Vec<(String, String)>,
    /// How much each pair of features counts.
    pub feature_weight: f64,
    /// The teacher's output; the first if `None`.
    pub teacher_value: Option<String>,
    /// Whether the teacher computes in half precision.
    pub is_half: bool,
    /// Where the teacher is.
    pub place: TeacherPlace,
}

impl DistillOptions {
    /// From the answers alone, at a temperature of 2.
    pub fn new(train: TrainOptions) -> Self {
        Self {
            train,
            temperature: 2.0,
            share: 1.0,
            features: Vec::new(),
            feature_weight: 1.0,
            teacher_value: None,
            is_half: false,
            place: TeacherPlace::default(),
        }
    }
}

/// Trains a student on a teacher's answers and writes it.
pub fn distill(
    teacher: &Model,
    student: &Model,
    request: &Request,
    options: &DistillOptions,
    progress: &dyn Progress,
) -> Result<TrainView, Error> {
    let train = &options.train;
    if !(0.0..=1.0).contains(&options.share) {
        let hint = Some("give a number between 0 and 1".to_owned());
        return Err(Error::Train { message: format!("a share of {} cannot be", options.share), hint });
    }
    let library = open_library(train.offline, progress)?;
    progress.doing("looking at the data");
    let source = prepare::open_source(student.graph(), &train.data, train)?;
    let base = inlined(student)?;
    let is_cached = match options.place {
        TeacherPlace::Disk => true,
        TeacherPlace::Beside => false,
        TeacherPlace::Auto => train.n_epochs > 1,
    };
    progress.doing("deriving gradients");
    let teacher_weights = weights::source(teacher, train.random_weights);
    let student_weights = weights::source(student, train.random_weights);
    let mut loss = Loss::default();
    let value = loss_value(&base, train)?;
    let teacher_value = match &options.teacher_value {
        Some(value) => value.clone(),
        None => loss_value(teacher.graph(), &TrainOptions { value: None, ..train.clone() })?,
    };
    let target = if options.share < 1.0 { Some(target_name(&base, source.schema(), train)?) } else { None };
    let prefix = if is_cached { ANSWERS } else { TEACHER };
    // What stands beside the student cannot be counted before it runs.
    let per = if is_cached { Per::Item } else { Per::Sample };
    let divergence = LossKind::Divergence { temperature: options.temperature };
    loss.terms.push(LossTerm {
        weight: options.share,
        per,
        ..LossTerm::new(divergence, &value, &format!("{prefix}{teacher_value}"))
    });
    let teacher_graph = inlined(teacher)?;
    let mut parameters = chosen(&base, train);
    // The student, with its features made as wide as the teacher's.
    let mut wide = base.clone();
    for (theirs, ours) in &options.features {
        let mut ours = ours.clone();
        if let (Some(wanted), Some(have)) = (feature_width(&teacher_graph, theirs), feature_width(&wide, &ours))
            && wanted != have
        {
            let projected = project(&wide, &ours, wanted, train.seed).map_err(train_error)?;
            (wide, ours) = (projected.model, projected.value);
            parameters.push(projected.parameter);
        }
        loss.terms.push(LossTerm {
            weight: options.feature_weight,
            per,
            ..LossTerm::new(LossKind::SquaredError, &ours, &format!("{prefix}{theirs}"))
        });
    }
    if let Some(target) = &target {
        let kind = loss_kind(&base, &value, train.loss);
        let term = LossTerm::new(kind, &value, &target_input(&base, target));
        loss.terms.push(LossTerm { weight: 1.0 - options.share, ..term });
    }
    let context = |train_graph| Context {
        base: &base,
        train: train_graph,
        loss: loss.clone(),
        target: target.clone(),
        parameters: parameters.clone(),
        options: train,
        source: &source,
    };
    if is_cached {
        let prepared = prepare::plan(context(&wide), student_weights.as_ref())?;
        let names: Vec<String> =
            [teacher_value].into_iter().chain(options.features.iter().map(|pair| pair.0.clone())).collect();
        let teaching = Teaching { library, request, options, source: &source, names };
        let answers = teaching.begin(&teacher_graph, teacher_weights.as_ref())?;
        let job = Job {
            model: student,
            request,
            options: train,
            library,
            source: &source,
            weights: student_weights.as_ref(),
        };
        return run(&job, prepared, Some(answers), progress);
    }
    if options.is_half {
        return Err(Error::Train {
            message: "a teacher in half precision runs in a session of its own".to_owned(),
            hint: Some("add `--teacher-in disk`".to_owned()),
        });
    }
    let joined = join(&teacher_graph, &wide).map_err(train_error)?;
    let both = JoinedWeights { teacher: teacher_weights.as_ref(), student: student_weights.as_ref() };
    let prepared = prepare::plan(context(&joined), &both)?;
    let job = Job { model: student, request, options: train, library, source: &source, weights: &both };
    run(&job, prepared, None, progress)
}

struct Teaching<'a> {
    library: &'static Library,
    request: &'a Request,
    options: &'a DistillOptions,
    source: &'a Source,
    /// Values of the teacher that are asked for.
    names: Vec<String>,
}

impl Teaching<'_> {
    /// The teacher in a session, and what it is fed.
    fn begin(&self, teacher: &GraphModel, weights: &dyn TensorSource) -> Result<(Answers, Feeds), Error> {
        let model = with_outputs(teacher, &self.names)?;
        let folder = Scratch::new()?;
        let path = folder.0.join("teacher.onnx");
        if self.options.is_half {
            let half = to_half(&model, weights, &HalfOptions::new(HalfType::Float16))
                .map_err(|error| Error::Rewrite { message: error.to_string(), hint: None })?;
            save(&half.model.to_proto(), &path, &SaveOptions::new(&half.source(weights)))?;
        } else {
            save(&model.to_proto(), &path, &SaveOptions::new(weights))?;
        }
        let spec: SessionSpec = session_spec(&path, self.request);
        let session = Session::open(self.library, &spec).map_err(runtime_error)?;
        let inputs = data_inputs(&session);
        let schema: Vec<Field> = self.source.schema().to_vec();
        let unlabelled: Vec<Field> =
            schema.iter().filter(|field| Some(&field.name) != self.options.train.target.as_ref()).cloned().collect();
        let feeds = Feeds::of(&unlabelled, &inputs, &self.options.train.map)
            .or_else(|_| Feeds::of(&schema, &inputs, &self.options.train.map))
            .map_err(|error| stopped(error.into(), None))?;
        let answers_bytes = session.outputs().iter().fold(0u64, |sum, info| {
            let row: u64 = info.shape.iter().skip(1).map(|dim| dim.unwrap_or(1)).product();
            sum.saturating_add(row.saturating_mul(4).saturating_mul(self.source.len()))
        });
        if answers_bytes > ANSWERS_BYTES_MAX {
            return Err(Error::Train {
                message: format!("the teacher's answers would take {} on the disk", onnxfit_base::Bytes(answers_bytes)),
                hint: Some("leave the teacher beside the student with `--teacher-in beside`".to_owned()),
            });
        }
        let names = self.names.iter().map(|name| (name.clone(), format!("{ANSWERS}{name}"))).collect();
        Ok((Answers::new(session, names, self.source.len(), N_AT_ONCE), feeds))
    }
}

/// What a session wants to be fed.
pub(super) fn data_inputs(session: &Session) -> Vec<DataInput> {
    let one = |info: &onnxfit_runtime::TensorInfo| DataInput {
        name: info.name.clone(),
        element_type: info.element_type.unwrap_or(ElementType::Float),
        rank: Some(info.shape.len()),
    };
    session.inputs().iter().map(one).collect()
}

/// A model with the values asked for as its outputs.
pub(super) fn with_outputs(model: &GraphModel, names: &[String]) -> Result<GraphModel, Error> {
    let mut proto = model.to_proto();
    let Some(graph) = &mut proto.graph else { return Ok(model.clone()) };
    let mut outputs = Vec::new();
    for name in names {
        let known = graph.output.iter().chain(&graph.value_info).find(|info| info.name() == name);
        if model.graph.value_named(name).is_none() {
            return Err(train_error(onnxfit_train::TrainError::NoSuchValue { what: "value", name: name.clone() }));
        }
        let bare = ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() };
        outputs.push(known.cloned().unwrap_or(bare));
    }
    graph.output = outputs;
    GraphModel::from_proto(&proto).map_err(|error| Error::Predict(error.to_string()))
}

/// A folder that is gone when its owner is.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("onnxfit-teacher-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|source| Error::Io { action: "create", path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left here is nobody's.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
