//! A request's options as Triton is told them.

use onnxfit_deploy::triton::{Level, Settings};
use onnxfit_plan::Levers;

use crate::request::{OptimizationLevel, Provider, Request};

/// The settings of one session, with these levers in place of the request's own.
pub(crate) fn settings(request: &Request, levers: &Levers) -> Settings {
    Settings {
        mem_pattern: levers.mem_pattern,
        same_as_requested: levers.same_as_requested,
        device_allocator_for_initializers: levers.device_allocator_for_initializers,
        shrink_after_run: levers.shrink_after_run,
        gpu_mem_limit: request.arena_limit,
        level: match request.optimization {
            OptimizationLevel::Disable => Level::Disable,
            OptimizationLevel::Basic => Level::Basic,
            OptimizationLevel::Extended => Level::Extended,
            OptimizationLevel::All => Level::All,
        },
        intra_op_threads: (request.provider == Provider::Cpu).then_some(request.n_threads),
    }
}
