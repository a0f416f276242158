//! The memory twin as an answer in nanoseconds: what each size takes, replayed once and remembered.
//!
//! What was replayed is exact. Between, the next larger size that was replayed bounds it: sizes are
//! rounded up to eight steps for every doubling, so that a bound is at most an eighth too large in
//! each dimension and a service soon has all it needs. A size that only the bound says does not fit
//! is replayed itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use onnxfit_base::Bytes;
use onnxfit_graph::{Dim, Graph, Model as GraphModel};
use onnxfit_plan::Fit;
use onnxfit_runtime::guard::{BytesNeeded, Cut};

use crate::Model;
use crate::request::{Provider, Request};
use crate::session_graph::session_graph;
use crate::twin::{N_RUNS, Twin};

/// Sizes that are remembered; at more, all are forgotten.
const SIZES_MAX: usize = 1 << 14;
/// Nodes replayed to find one size's smallest limit.
const NODES_REPLAYED_MAX: usize = 20_000;
/// Replays to find one size's smallest limit.
const REPLAYS_MAX: usize = 10;
/// The most one doubling of a size is divided into.
const STEPS: u64 = 8;

/// The memory twin of one model, as the guard asks it.
pub struct TwinNeeds {
    graph: GraphModel,
    request: Request,
    slots: Vec<Slot>,
    n_replays: usize,
    known: Mutex<HashMap<Box<[u64]>, Knots>>,
}

/// One dimension of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    /// The input.
    input: String,
    /// Whether its size is open.
    is_open: bool,
    /// Whether rows lie along it.
    has_rows: bool,
}

/// What rows of one size take, by number of rows, ascending.
type Knots = Vec<(u64, Option<Bytes>)>;

impl TwinNeeds {
    /// A model as the session of this request runs it.
    pub fn new(model: &Model, request: &Request, cut: Option<&Cut>) -> Self {
        let graph = session_graph(model.graph(), model.file().weights(), request).model.into_owned();
        let n_nodes = graph.graph.n_nodes().max(1);
        let slots = slots(&model.graph().graph, cut).unwrap_or_default();
        Self {
            slots,
            n_replays: (NODES_REPLAYED_MAX / n_nodes).min(REPLAYS_MAX),
            request: request.clone(),
            known: Mutex::default(),
            graph,
        }
    }

    /// What was replayed for so many rows, or for the next larger number within a step.
    fn look_up(&self, sizes: &[u64], rows: u64, most: u64) -> Option<Option<Bytes>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let knots = known.get(sizes)?;
        let at = knots.partition_point(|(known, _)| *known < rows);
        knots.get(at).filter(|(known, _)| *known <= most).map(|(_, bytes)| *bytes)
    }

    /// Replays a size, and remembers it.
    fn replay(&self, sizes: &[u64], rows: u64) -> Option<Bytes> {
        let bytes = self.smallest_limit(sizes, rows);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= SIZES_MAX {
            known.clear();
        }
        let knots = known.entry(sizes.into()).or_default();
        if let Err(at) = knots.binary_search_by_key(&rows, |(known, _)| *known) {
            knots.insert(at, (rows, bytes));
        }
        bytes
    }

    /// The smallest limit under which the twin says that it runs, searched for as closely as the
    /// size of the model allows.
    fn smallest_limit(&self, sizes: &[u64], rows: u64) -> Option<Bytes> {
        if sizes.len() != self.slots.len() {
            return None;
        }
        let mut request = self.request.clone();
        request.shapes.clear();
        for (slot, size) in self.slots.iter().zip(sizes) {
            let size = if slot.has_rows { size.checked_mul(rows)? } else { *size };
            let shape = request.shapes.entry(slot.input.clone()).or_default();
            shape.push(i64::try_from(size).ok()?);
        }
        let twin = Twin::new(&self.graph, &request);
        let dims = &request.dims;
        let held = twin.held_under(dims, None)?;
        let in_arena = self.request.provider == Provider::Cpu || self.request.arena_limit.is_some();
        let (mut not, mut runs) = if in_arena {
            (held.loaded, held.total)
        } else {
            let runs = vec![dims.clone(); N_RUNS];
            let band = twin.ask_sequence(&runs, twin.request_levers(), None).band;
            (band.high.saturating_sub(held.total - held.loaded), band.high)
        };
        let fits = |limit: Bytes| {
            if in_arena {
                return twin.held_under(dims, Some(limit)).is_some();
            }
            let runs = vec![dims.clone(); N_RUNS];
            twin.ask_sequence(&runs, twin.request_levers(), Some(limit)).fit == Fit::Fits
        };
        for _ in 0..self.n_replays {
            let between = runs.saturating_sub(not);
            if between.get() <= runs.get() / 256 {
                break;
            }
            let middle = not + Bytes(between.get() / 2);
            *(if fits(middle) { &mut runs } else { &mut not }) = middle;
        }
        Some(runs)
    }
}

impl BytesNeeded for TwinNeeds {
    fn bytes_needed(&self, sizes: &[u64], rows: u64) -> Option<Bytes> {
        match self.look_up(sizes, rows, rows) {
            Some(known) => known,
            None => self.replay(sizes, rows),
        }
    }

    fn bytes_bound(&self, sizes: &[u64], rows: u64) -> Option<Bytes> {
        let most = step_up(rows);
        if let Some(known) = self.look_up(sizes, rows, most) {
            return known;
        }
        let rounded: Vec<u64> = self
            .slots
            .iter()
            .zip(sizes)
            .map(|(slot, size)| if slot.is_open && !slot.has_rows { step_up(*size) } else { *size })
            .collect();
        if rounded.len() != sizes.len() {
            return None;
        }
        if let Some(known) = self.look_up(&rounded, rows, most) {
            return known;
        }
        self.replay(&rounded, most).or_else(|| self.replay(sizes, most))
    }
}

/// The next number on a scale of eight steps for every doubling.
fn step_up(size: u64) -> u64 {
    let step = (size.checked_next_power_of_two().unwrap_or(size) / (2 * STEPS)).max(1);
    size.div_ceil(step).saturating_mul(step)
}

/// The dimensions of everything that is fed; `None` if a rank is not declared.
fn slots(graph: &Graph, cut: Option<&Cut>) -> Option<Vec<Slot>> {
    let mut slots = Vec::new();
    for id in graph.required_inputs() {
        let value = graph.value(id);
        let axis = cut.and_then(|cut| cut.inputs.get(&value.name)).copied();
        for (at, dim) in value.ty.as_tensor()?.shape.as_ref()?.iter().enumerate() {
            let is_open = !matches!(dim, Dim::Known(_));
            slots.push(Slot { input: value.name.clone(), is_open, has_rows: axis == Some(at) });
        }
    }
    Some(slots)
}

impl TwinNeeds {
    /// How many sizes were replayed so far.
    pub fn n_replayed(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).values().map(Vec::len).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests;
