//! The smallest model that the gate lets through: everything small first, then the worst layers
//! step back until it holds.
//!
//! Layers are ranked by what each does alone to the answers, for each byte that stepping back
//! costs. How many steps are needed is found by doubling and halving, so a model of n layers takes
//! n short trials and about 2 log n whole ones.

use std::collections::BTreeMap;

use onnxfit_quantize::{Choice, Layer, Level};

use super::bench::{Bench, Tried};
use super::method::Method;
use crate::Error;
use crate::progress::{Progress, Stage};

/// Layers that are tried alone; those with the most weights, where there are more.
const ALONE_MAX: usize = 256;

/// What the search found.
pub(crate) struct Found {
    pub(crate) choice: Choice,
    pub(crate) tried: Tried,
    /// By layer: its error alone at its smallest level.
    pub(crate) alone: BTreeMap<String, f64>,
    /// By layer that stepped back: from where, and its place in the ranking.
    pub(crate) stepped: BTreeMap<String, Step>,
    pub(crate) curve: Vec<Point>,
    pub(crate) stop: StopReason,
}

/// A step back.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) rank: usize,
    pub(crate) from: Level,
}

/// A model that was tried whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) n_steps: usize,
    pub(crate) size_bytes: u64,
    pub(crate) error: f64,
    pub(crate) agrees: bool,
}

/// Why the search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopReason {
    /// Everything is small and good.
    AtOnce,
    /// As few steps back as were needed.
    SteppedBack,
    /// Not even the model without any integer is good.
    NeverGood,
    /// There is nothing to quantize.
    NoLayer,
}

impl StopReason {
    pub(crate) fn is_good(self) -> bool {
        matches!(self, Self::AtOnce | Self::SteppedBack)
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::AtOnce => "every layer is at its smallest and the gate holds",
            Self::SteppedBack => "the gate holds after the worst layers stepped back",
            Self::NeverGood => "the gate does not hold even with every layer stepped back",
            Self::NoLayer => "no node of the model can be quantized this way",
        }
    }
}

pub(crate) fn search(method: &dyn Method, bench: &Bench<'_>, progress: &dyn Progress) -> Result<Found, Error> {
    let layers = method.layers();
    let smallest: Choice = layers.iter().map(|layer| (layer.name.clone(), layer.levels[0])).collect();
    progress.doing("running the quantized model");
    let mut curve = Vec::new();
    let mut try_at = |choice: &Choice, n_steps: usize| -> Result<Tried, Error> {
        let tried = bench.try_out(&method.build(choice)?, false)?;
        curve.push(Point { n_steps, size_bytes: tried.size_bytes, error: tried.error, agrees: tried.agrees });
        Ok(tried)
    };
    let tried = try_at(&smallest, 0)?;
    let (alone, stepped) = (BTreeMap::new(), BTreeMap::new());
    if tried.agrees || layers.is_empty() {
        let stop = if layers.is_empty() { StopReason::NoLayer } else { StopReason::AtOnce };
        return Ok(Found { choice: smallest, tried, alone, stepped, curve, stop });
    }
    let said = tried.problem.clone().unwrap_or_default();
    progress.said(&format!("{said}; looking for the layers to blame"));
    let alone = try_alone(method, bench, progress)?;
    let moves = ranking(layers, &alone);
    let after = |n_steps: usize| {
        let mut choice = smallest.clone();
        for step in &moves[..n_steps] {
            choice.insert(layers[step.layer].name.clone(), step.to);
        }
        choice
    };
    // Doubling until it holds, then halving between the last that does not and the first that does.
    let (mut bad, mut step) = (0, 1);
    let mut good: Option<(usize, Tried)> = None;
    while good.is_none() && bad < moves.len() {
        let n_steps = step.min(moves.len());
        progress.doing(&format!("stepping back {n_steps} of {} times", moves.len()));
        let tried = try_at(&after(n_steps), n_steps)?;
        if tried.agrees {
            good = Some((n_steps, tried))
        } else {
            bad = n_steps
        }
        step *= 2;
    }
    let Some((mut n_good, mut best)) = good else {
        let stop = StopReason::NeverGood;
        return Ok(Found { choice: after(moves.len()), tried, alone, stepped, curve, stop });
    };
    while n_good - bad > 1 {
        let middle = bad + (n_good - bad) / 2;
        progress.doing(&format!("stepping back {middle} of {} times", moves.len()));
        let tried = try_at(&after(middle), middle)?;
        if tried.agrees { (n_good, best) = (middle, tried) } else { bad = middle }
    }
    let mut stepped = BTreeMap::new();
    for (rank, step) in moves[..n_good].iter().enumerate() {
        stepped.entry(layers[step.layer].name.clone()).or_insert(Step { rank, from: step.from });
    }
    curve.sort_by_key(|point| point.n_steps);
    Ok(Found { choice: after(n_good), tried: best, alone, stepped, curve, stop: StopReason::SteppedBack })
}

/// The error of each layer when it alone is small.
fn try_alone(method: &dyn Method, bench: &Bench<'_>, progress: &dyn Progress) -> Result<BTreeMap<String, f64>, Error> {
    let mut largest: Vec<&Layer> = method.layers().iter().collect();
    if largest.len() > ALONE_MAX {
        largest.sort_by_key(|layer| std::cmp::Reverse(layer.n_weights));
        largest.truncate(ALONE_MAX);
    }
    let total = largest.len() as u64;
    let mut alone = BTreeMap::new();
    for (done, layer) in largest.into_iter().enumerate() {
        let what = "trying each layer alone".to_owned();
        progress.stage(&Stage::Counted { what, done: done as u64, total });
        let choice = [(layer.name.clone(), layer.levels[0])].into_iter().collect();
        // A layer that cannot even run alone is the worst of all.
        let error = match method.build(&choice).and_then(|built| bench.try_out(&built, true)) {
            Ok(tried) => tried.error,
            Err(_) => f64::INFINITY,
        };
        alone.insert(layer.name.clone(), error);
    }
    Ok(alone)
}

/// One layer from one level to the next.
struct Move {
    layer: usize,
    from: Level,
    to: Level,
}

/// All steps back, the one first that takes away most error for each byte that it costs.
fn ranking(layers: &[Layer], alone: &BTreeMap<String, f64>) -> Vec<Move> {
    // A layer without weights costs nothing but speed: count it as a small one.
    let total: u64 = layers.iter().map(|layer| layer.n_weights).sum();
    let floor = (total / 1000).max(1);
    let mut moves: Vec<(f64, Move)> = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let mut error = alone.get(&layer.name).copied().unwrap_or(0.0).min(1e30);
        let mut before = f64::INFINITY;
        for pair in layer.levels.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            // Two bits fewer a step make an error four times as large: 2^-bits.
            let left = match to {
                Level::Float => 0.0,
                _ => error * 2f64.powi(from.bits() as i32 - to.bits() as i32),
            };
            let cost = (to.bits() - from.bits()) * layer.n_weights.max(floor);
            // No step of a layer may come before the one that it follows.
            let worth = ((error * error - left * left) / cost as f64).min(before);
            moves.push((worth, Move { layer: index, from, to }));
            (error, before) = (left, worth);
        }
    }
    // Stable: equals stay in the order of the model, and of levels.
    moves.sort_by(|a, b| b.0.total_cmp(&a.0));
    moves.into_iter().map(|(_, step)| step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, n_weights: u64) -> Layer {
        let levels = vec![Level::Int4, Level::Int8, Level::Float];
        Layer { name: name.to_owned(), op_type: "Conv".to_owned(), n_weights, levels }
    }

    #[test]
    fn the_layer_that_harms_most_for_its_bytes_steps_back_first_and_by_one_level() {
        let layers = [layer("harmless", 1000), layer("bad", 1000), layer("bad-and-large", 100_000)];
        let alone = [("harmless", 0.001), ("bad", 0.1), ("bad-and-large", 0.1)];
        let alone = alone.map(|(name, error)| (name.to_owned(), error)).into_iter().collect();
        let moves = ranking(&layers, &alone);
        let order: Vec<(&str, Level)> = moves.iter().map(|step| (layers[step.layer].name.as_str(), step.to)).collect();
        assert_eq!(order[0], ("bad", Level::Int8));
        assert_eq!(order.len(), 6);
        for layer in &layers {
            let own: Vec<Level> = order.iter().filter(|step| step.0 == layer.name).map(|step| step.1).collect();
            assert_eq!(own, [Level::Int8, Level::Float]);
        }
        assert!(order.iter().position(|step| step.0 == "harmless") > Some(1));
    }
}
