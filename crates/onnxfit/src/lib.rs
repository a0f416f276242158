//! Make an ONNX model fit the GPU memory it has.
//!
//! ```no_run
//! use onnxfit::{Model, Provider, Request};
//!
//! let model = Model::open("resnet50.onnx")?;
//! let answer = onnxfit::check(&model, &Request::new(Provider::Cuda).on("g4dn.xlarge")?.dim("batch", 64))?;
//! println!("{:?}: {}", answer.verdict, answer.device_peak_bytes.expected);
//! # Ok::<(), onnxfit::Error>(())
//! ```

mod artifacts;
mod blame;
mod by_choice;
mod chain;
mod changes;
mod check;
mod convert;
mod deploy;
mod error;
mod explain;
mod fix;
mod gate;
mod growth;
mod guard;
mod kept;
mod library;
mod measure;
mod model;
mod options;
mod oracle;
mod predictor;
mod probe;
mod progress;
mod proof;
mod prune;
mod quantize;
mod recommend;
mod request;
mod run;
mod samples;
mod session_graph;
mod session_spec;
mod settings;
mod sizes;
mod split;
mod timeline;
mod train;
mod twin;
mod verify;
mod watch;
mod weights;
mod workplace;

pub use check::check;
pub use convert::{ByteLayout, ByteResize, BytesIn, BytesInOptions, ConvertOptions, HalfFloat, bytes_in, convert};
pub use deploy::{DeployOptions, KubernetesOptions, SagemakerOptions, deploy};
pub use error::Error;
pub use explain::{ExplainContext, explain};
pub use fix::{FixOptions, fix};
pub use gate::{MaxDrop, Metric};
pub use growth::growth;
pub use guard::{GuardPlan, GuardSetup, TwinNeeds, guard, guard_beside_tenant, guard_plan, smallest_sizes};
pub use library::install_runtime;
pub use measure::{
    CalibrateOptions, MeasureOptions, SweepOptions, calibrate, measure, read_calibration, sweep, write_runnable,
};
pub use model::Model;
pub use onnxfit_base::{Bytes, Diagnostic};
pub use onnxfit_data as data;
pub use onnxfit_explain::lint_options;
pub use onnxfit_hardware::PriceList;
pub use onnxfit_memory::arena::ArenaExtendStrategy;
pub use onnxfit_plan::Prefer;
pub use onnxfit_report as report;
pub use onnxfit_runtime as runtime;
pub use onnxfit_train as training;
pub use predictor::{Predicted, Predictor};
pub use progress::{Progress, Quiet, Stage};
pub use prune::{PruneImportance, PruneMeasure, PruneOptions, PruneRecovery, PruneTarget, ZeroPattern, prune};
pub use quantize::{IntType, Level, QuantizeOptions, RangeMethod, Scheme, Symmetry, quantize};
pub use recommend::{RecommendOptions, recommend};
pub use request::{OptimizationLevel, Provider, Request};
pub use run::{RunOptions, run};
pub use serde::Serialize;
pub use session_spec::session_spec;
pub use split::{SplitOptions, split};
pub use train::{DecayChoice, DistillOptions, LossChoice, Recomputing, TeacherPlace, TrainOptions, distill, train};
pub use verify::VerifyInputs;
pub use watch::{GpuReading, Readings, Watch};
