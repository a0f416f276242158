//! How a model is served: what both the server and the worker that it starts must know.

use std::collections::BTreeMap;
use std::path::PathBuf;

use onnxfit::{Bytes, OptimizationLevel, Provider, Request};
use serde::{Deserialize, Serialize};

/// One model to serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSetup {
    /// The name it is served under.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The dimension that the batch is, if its name does not tell.
    pub batch_dim: Option<String>,
}

/// Where and how all models run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionSetup {
    /// An instance type, a GPU or an amount; `None` knows no bound.
    pub on: Option<String>,
    /// Whether on the CUDA provider.
    pub cuda: bool,
    /// Sizes of named dimensions, for what must be known before the first request.
    pub dims: BTreeMap<String, i64>,
    /// `disable`, `basic`, `extended` or `all`.
    pub optimization: String,
    /// The most that all models' arenas may take together.
    pub limit_bytes: Option<u64>,
    /// Intra-op threads of each model.
    pub n_threads: u32,
    /// Install nothing.
    pub offline: bool,
    /// A rehearsal: another session in each arena takes up to so much of it, at random.
    #[serde(default)]
    pub rehearsal_bytes: Option<u64>,
}

impl SessionSetup {
    /// The question to the twin, with this much memory for the arena.
    pub fn request(&self, limit_bytes: Option<u64>) -> Result<Request, onnxfit::Error> {
        let mut request = Request::new(if self.cuda { Provider::Cuda } else { Provider::Cpu });
        if let Some(target) = &self.on {
            request = request.on(target)?;
        }
        request.dims.clone_from(&self.dims);
        request.optimization = match self.optimization.as_str() {
            "disable" => OptimizationLevel::Disable,
            "basic" => OptimizationLevel::Basic,
            "extended" => OptimizationLevel::Extended,
            _ => OptimizationLevel::All,
        };
        request.arena_limit = limit_bytes.map(Bytes);
        request.n_threads = self.n_threads;
        Ok(request)
    }
}
