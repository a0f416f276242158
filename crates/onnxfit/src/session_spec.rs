//! A request as a session of ONNX Runtime's.

use std::path::Path;

use onnxfit_memory::arena::ArenaExtendStrategy;
use onnxfit_runtime::{ArenaConfig, ArenaExtend, Provider as RuntimeProvider, SessionSpec};

use crate::artifacts;
use crate::request::{Provider, Request};

/// The session of ONNX Runtime that a request describes.
pub fn session_spec(model: &Path, request: &Request) -> SessionSpec {
    let mut spec = SessionSpec::new(model);
    spec.optimization = request.optimization.into();
    spec.mem_pattern = request.mem_pattern;
    spec.intra_op_threads = Some(request.n_threads);
    if request.device_allocator_for_initializers {
        spec.config.insert("session.use_device_allocator_for_initializers".to_owned(), "1".to_owned());
    }
    let same = request.arena_extend_strategy == ArenaExtendStrategy::SameAsRequested;
    if request.shrink_after_run {
        spec.run_config.extend([artifacts::shrinkage(request.provider)]);
    }
    match request.provider {
        Provider::Cpu => {
            let arena = ArenaConfig {
                limit: request.limit(),
                extend: same.then_some(ArenaExtend::Same),
                initial_chunk: request.initial_chunk,
                dead_per_chunk_max: request.dead_per_chunk_max,
                ..ArenaConfig::default()
            };
            spec.cpu_arena = (arena != ArenaConfig::default()).then_some(arena);
        }
        Provider::Cuda => {
            let mut options = std::collections::BTreeMap::new();
            if let Some(limit) = request.limit() {
                options.insert("gpu_mem_limit".to_owned(), limit.get().to_string());
            }
            if same {
                options.insert("arena_extend_strategy".to_owned(), "kSameAsRequested".to_owned());
            }
            spec.provider = RuntimeProvider::Cuda { options };
        }
    }
    spec
}
