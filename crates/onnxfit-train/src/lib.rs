//! Training from ONNX files on a stock ONNX Runtime.
//!
//! [`differentiate`] turns a model into one that also computes gradients, with standard operators
//! only. Gradient rules are added by a file in `rules/` and a line in its table of tables.

mod accumulate;
mod broadcast;
mod distill;
mod emit;
mod error;
mod forward;
mod gradient;
mod lift;
mod loss;
mod optimizer;
mod order;
mod plan;
mod recompute;
mod registry;
mod reverse;
mod rules;
mod runner;
mod schedule;
mod split;
mod tape;

pub use accumulate::{StepReport, Trainer};
pub use distill::{JoinedWeights, TEACHER, join};
pub use error::{MissingGradient, TrainError};
pub use gradient::{BatchNorm, Gradient, GradientOptions, Gradients, Missing, differentiate, trainable_parameters};
pub use loss::{Loss, LossKind, LossTerm, Objective, Per, TermNames};
pub use optimizer::{Group, Moments, Optimizer, ParameterNames, Rule, Update};
pub use plan::{PlanOptions, TrainingPlan};
pub use recompute::{Recompute, RecomputeReport, recompute};
pub use registry::differentiable_operators;
pub use runner::{Part, SessionRunner, StepRunner};
pub use schedule::{Decay, Schedule};
