//! Training from ONNX files on a stock ONNX Runtime.
//!
//! [`differentiate`] turns a model into one that also computes gradients, with standard operators
//! only; [`recompute`] lets it keep fewer activations. A [`Loss`] and an [`Optimizer`] are graphs
//! too, and a [`TrainingPlan`] holds them all. A [`Trainer`] makes steps whose result does not
//! depend on how the batch was cut into parts, and [`fit`] makes them from a source of samples, with
//! checkpoints that survive the process. [`join`] puts a teacher beside a student,
//! and [`project`] makes features of one width.
//!
//! Gradient rules are added by a file in `rules/` and a line in its table of tables. The graphs are
//! made without I/O; only [`SessionRunner`] runs anything, and only [`Checkpoints`] and [`Answers`] write.

mod accumulate;
mod answers;
mod branches;
mod broadcast;
mod checkpoint;
mod distill;
mod emit;
mod error;
mod feeds;
mod fit;
mod forward;
mod gradient;
mod lift;
mod lora;
mod loss;
mod optimizer;
mod order;
mod plan;
mod precision;
mod project;
mod recompute;
mod registry;
mod rename;
mod reverse;
mod rules;
mod runner;
mod schedule;
mod specialize;
mod split;
mod tape;
mod trained;

pub use accumulate::{StepReport, Trainer};
pub use answers::{Answers, AnswersError};
pub use checkpoint::{Checkpoint, CheckpointError, Checkpoints};
pub use distill::{JoinedWeights, TEACHER, join};
pub use error::{MissingGradient, TrainError};
pub use feeds::{FeedError, Feeds};
pub use fit::{Fit, FitError, FitReport, Labels, Observer, StepEvent, Unobserved, fit};
pub use gradient::{BatchNorm, Gradient, GradientOptions, Gradients, Missing, differentiate, trainable_parameters};
pub use lora::{LORA, Lora, LoraFactors, add_lora};
pub use loss::{Loss, LossKind, LossTerm, Objective, Per, TermNames};
pub use optimizer::{Group, Moments, Optimizer, ParameterNames, Rule, Update};
pub use plan::{DataInput, PlanOptions, TrainingPlan};
pub use project::{PROJECTION, Projected, feature_width, project};
pub use recompute::{Recompute, RecomputeReport, recompute};
pub use registry::differentiable_operators;
pub use runner::{Holder, Part, SessionRunner, StepRunner};
pub use schedule::{Decay, Schedule};
pub use specialize::{Specialized, specialize};
pub use trained::{ReplacedWeights, replaced};
