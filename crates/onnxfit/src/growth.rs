//! What each dimension does to the memory: a formula where there is one, and where the target's
//! limit lies.
//!
//! Every number is a replay; nothing is extrapolated. The number of replays is bounded by the size
//! of the model, so a large one may get a range instead of the exact crossing point.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::{Bytes, Severity};
use onnxfit_graph::{Dim, Graph};
use onnxfit_memory::program::Place;
use onnxfit_memory::trace::{Event, OwnerKind, Trace};
use onnxfit_plan::Fit;
use onnxfit_report::blame::{FormulaView, GrowthPointView, GrowthView};

use crate::request::{Provider, Request};
use crate::session_graph::session_graph;
use crate::twin::Twin;
use crate::{Error, Model};

/// Replays of one dimension, times nodes.
const NODES_REPLAYED_MAX: usize = 40_000;
/// No dimension is tried past this.
const SIZE_MAX: i64 = 1 << 24;
/// Dimensions that are looked at.
const DIMS_MAX: usize = 4;

/// Replays a model at several sizes of each dimension of its inputs that the request binds.
pub fn growth(model: &Model, request: &Request) -> Result<Vec<GrowthView>, Error> {
    let graph = session_graph(model.graph(), model.file().weights(), request);
    let names = input_dims(&graph.model.graph);
    let asked = names.iter().filter_map(|name| Some((name, *request.dims.get(name)?)));
    let n_nodes = graph.model.graph.nodes().filter(|(_, node)| !node.is("Constant")).count();
    let n_replays_max = (NODES_REPLAYED_MAX / n_nodes.max(1)).clamp(8, 40);
    let twin = Twin::new(&graph.model, request);
    let known = findings(&twin.ask().diagnostics);
    let views = asked.filter(|(_, size)| *size > 0).take(DIMS_MAX).map(|(name, size)| {
        let mut probe = Probe {
            replay: |size: i64| {
                let mut dims = request.dims.clone();
                dims.insert(name.clone(), size);
                let answer = twin.ask_at(&dims, &request.shapes);
                // What the model has to say only at this size says that it was not made for it.
                if !findings(&answer.diagnostics).is_subset(&known) {
                    return None;
                }
                let prediction = &answer.judgement.prediction;
                let bounded = request.budget().or(request.limit()).is_some();
                Some(GrowthPointView {
                    size,
                    tensors_bytes: tensors_bytes(&prediction.trace, request.provider).into(),
                    device_peak_bytes: answer.judgement.band.expected.into(),
                    fits: bounded.then_some(answer.judgement.fit == Fit::Fits),
                })
            },
            points: BTreeMap::new(),
            refused: None,
            n_left: n_replays_max,
        };
        probe.explore(name, size)
    });
    Ok(views.collect())
}

/// The names of the dimensions of everything that is fed.
fn input_dims(graph: &Graph) -> BTreeSet<String> {
    let types = graph.required_inputs().filter_map(|input| graph.value(input).ty.as_tensor());
    let dims = types.flat_map(|ty| ty.shape.iter().flatten());
    dims.filter_map(|dim| if let Dim::Symbol(name) = dim { Some(name.clone()) } else { None }).collect()
}

fn findings(diagnostics: &[onnxfit_base::Diagnostic]) -> BTreeSet<&'static str> {
    diagnostics.iter().filter(|finding| finding.severity != Severity::Note).map(|finding| finding.id).collect()
}

/// Most bytes that were asked for at once before there is a memory pattern.
fn tensors_bytes(trace: &Trace, provider: Provider) -> Bytes {
    let place = if provider == Provider::Cuda { Place::Device } else { Place::Host };
    let mut sizes = BTreeMap::new();
    let (mut now, mut most) = (Bytes::ZERO, Bytes::ZERO);
    for event in &trace.events {
        match event {
            Event::Alloc { id, place: where_, requested_bytes, owner, .. }
                if *where_ == place && owner.kind != OwnerKind::PatternBlock =>
            {
                sizes.insert(*id, *requested_bytes);
                now += *requested_bytes;
                most = most.max(now);
            }
            Event::Free { id, .. } => now -= sizes.remove(id).unwrap_or_default(),
            Event::RunEnds => break,
            _ => {}
        }
    }
    most
}

/// A dimension being tried.
struct Probe<F> {
    replay: F,
    points: BTreeMap<i64, GrowthPointView>,
    /// The smallest size that the model refuses.
    refused: Option<i64>,
    n_left: usize,
}

impl<F: FnMut(i64) -> Option<GrowthPointView>> Probe<F> {
    fn explore(&mut self, name: &str, size: i64) -> GrowthView {
        let mut near = near(size);
        self.all(&near);
        let mut formula = self.formula();
        if formula.is_none() {
            // Another tensor may take over on the way: closer together, they may be on one side.
            near.extend(nearer(size));
            near.sort_unstable();
            near.dedup();
            self.all(&near);
            formula = self.formula();
        }
        let asked = self.at(size).and_then(|point| point.fits);
        let (fits, not) = match asked {
            Some(true) => self.upwards(size),
            Some(false) => self.downwards(size),
            None => (None, None),
        };
        GrowthView {
            dim: name.to_owned(),
            size,
            points: near.iter().filter_map(|size| self.points.get(size).copied()).collect(),
            formula,
            largest_that_fits: fits,
            smallest_that_does_not: not,
            refused_by_model: self.refused,
        }
    }

    /// Replays some sizes.
    fn all(&mut self, sizes: &[i64]) {
        for &size in sizes {
            self.at(size);
        }
    }

    /// The replay of a size; `None` if the model refuses it or there were too many.
    fn at(&mut self, size: i64) -> Option<GrowthPointView> {
        if let Some(point) = self.points.get(&size) {
            return Some(*point);
        }
        if self.n_left == 0 || self.refused.is_some_and(|refused| size >= refused) {
            return None;
        }
        self.n_left -= 1;
        match (self.replay)(size) {
            Some(point) => {
                self.points.insert(size, point);
                Some(point)
            }
            None => {
                self.refused = Some(size);
                None
            }
        }
    }

    /// From a size that fits: twice as many until one does not, then between the two.
    fn upwards(&mut self, size: i64) -> (Option<i64>, Option<i64>) {
        let mut fits = size;
        while fits < SIZE_MAX {
            match self.at(fits * 2).and_then(|point| point.fits) {
                Some(true) => fits *= 2,
                Some(false) => return self.between(fits, fits * 2),
                None => break,
            }
        }
        (Some(fits), None)
    }

    /// From a size that does not fit: half as many until one does.
    fn downwards(&mut self, size: i64) -> (Option<i64>, Option<i64>) {
        let mut not = size;
        while not > 1 {
            match self.at(not / 2).and_then(|point| point.fits) {
                Some(true) => return self.between(not / 2, not),
                Some(false) => not /= 2,
                None => break,
            }
        }
        (None, Some(not))
    }

    fn between(&mut self, mut fits: i64, mut not: i64) -> (Option<i64>, Option<i64>) {
        while not - fits > 1 {
            let middle = fits + (not - fits) / 2;
            match self.at(middle).and_then(|point| point.fits) {
                Some(true) => fits = middle,
                Some(false) => not = middle,
                None => break,
            }
        }
        (Some(fits), Some(not))
    }

    /// The polynomial through the longest stretch of at least four points that lie on one.
    fn formula(&self) -> Option<FormulaView> {
        let points: Vec<(i64, i64)> = self
            .points
            .values()
            .filter_map(|point| Some((point.size, i64::try_from(point.tensors_bytes.0.get()).ok()?)))
            .collect();
        (4..=points.len()).rev().find_map(|n| points.windows(n).rev().find_map(polynomial))
    }
}

/// Four points and one farther away: enough to see a line or a parabola, and to check it.
fn near(size: i64) -> Vec<i64> {
    let mut sizes = if size % 4 == 0 {
        vec![size / 4, size / 2, size / 4 * 3, size, size * 2]
    } else {
        vec![size, size * 2, size * 3, size * 4]
    };
    sizes.retain(|&size| (1..=SIZE_MAX).contains(&size));
    sizes
}

/// Sizes at and below this one, closer together.
fn nearer(size: i64) -> Vec<i64> {
    if size % 8 == 0 { vec![size / 8 * 5, size / 8 * 6, size / 8 * 7, size] } else { Vec::new() }
}

/// The polynomial of degree two or less with whole coefficients on which all points lie.
fn polynomial(points: &[(i64, i64)]) -> Option<FormulaView> {
    let [(x0, y0), (x1, y1), (x2, y2)] =
        [points.first()?, points.get(1)?, points.get(2)?].map(|&(x, y)| (i128::from(x), i128::from(y)));
    let slope = |(x0, y0): (i128, i128), (x1, y1): (i128, i128)| divide(y1 - y0, x1 - x0);
    // Divided differences; a slope between whole points of a whole polynomial is whole.
    let (first, second) = (slope((x0, y0), (x1, y1))?, slope((x1, y1), (x2, y2))?);
    let quadratic = divide(second - first, x2 - x0)?;
    let linear = first - quadratic * (x0 + x1);
    let constant = y0 - linear * x0 - quadratic * x0 * x0;
    let on_it = |&(x, y): &(i64, i64)| {
        let x = i128::from(x);
        constant + linear * x + quadratic * x * x == i128::from(y)
    };
    if !points.iter().all(on_it) {
        return None;
    }
    Some(FormulaView {
        constant_bytes: constant.try_into().ok()?,
        linear_bytes: linear.try_into().ok()?,
        quadratic_bytes: quadratic.try_into().ok()?,
        from: points.first()?.0,
        to: points.last()?.0,
    })
}

fn divide(dividend: i128, divisor: i128) -> Option<i128> {
    (divisor != 0 && dividend % divisor == 0).then(|| dividend / divisor)
}

#[cfg(test)]
mod tests;
