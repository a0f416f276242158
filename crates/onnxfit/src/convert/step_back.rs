//! Which nodes step back next, when the answers of a converted model differ.
//!
//! First the worst compute in float, a few, then four times as many, in the end all; their weights
//! stay half as wide all the while, so the file stays small. If that is not enough, weights stay
//! float: those of the worst nodes first, by bytes. Once the answers agree, what the last step kept
//! is halved for as long as they still do.

use std::collections::BTreeMap;

use onnxfit_graph::Model;
use onnxfit_rewrite::half::HalfOptions;

use super::halve::Round;

/// Steps in which nodes come to compute in float; the last one takes all.
const STEPS_COMPUTING: usize = 5;
/// Shares of the weight bytes that stay float, step by step. With the first the file is still below
/// 0.55 of what it was.
const SHARES: [f64; 4] = [0.05, 0.15, 0.4, 1.0];
/// How often what the last step kept is halved.
const STEPS_NARROWING: usize = 3;

/// What a step keeps in float.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kept {
    /// These nodes compute in float.
    Computing(Vec<String>),
    /// The weights of these nodes stay float.
    Weights(Vec<String>),
}

impl Kept {
    pub(super) fn nodes(&self) -> &[String] {
        let (Self::Computing(nodes) | Self::Weights(nodes)) = self;
        nodes
    }

    pub(super) fn is_weights(&self) -> bool {
        matches!(self, Self::Weights(_))
    }

    pub(super) fn text(&self) -> String {
        let nodes = self.nodes();
        let more = if nodes.len() > 5 { format!(" and {} more", nodes.len() - 5) } else { String::new() };
        let first = nodes.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let what = if self.is_weights() { "keeping the weights of" } else { "computing in float:" };
        format!("{what} {first}{more}")
    }
}

/// The state of the search.
#[derive(Debug, Default)]
pub(super) struct StepBack {
    pub(super) rounds: Vec<Round>,
    /// Nodes to blame, worst first.
    ranking: Vec<String>,
    /// Nodes with weights, worst first, and the bytes of those weights.
    weights: Vec<(String, u64)>,
    n_computing: usize,
    n_weights: usize,
    /// All nodes, for the step that takes all.
    all: Vec<String>,
    narrowing: Option<Narrowing>,
    /// Options before the last step, to narrow it.
    last: Option<(HalfOptions, Kept)>,
}

#[derive(Debug)]
struct Narrowing {
    /// So many of the last step's nodes are enough.
    enough: usize,
    /// So many are not.
    too_few: usize,
    tried: usize,
    n_steps: usize,
}

impl StepBack {
    /// Whether the nodes to blame are to be looked for before the next step.
    pub(super) fn wants_ranking(&self) -> bool {
        // At first, when a few that stand out are kept, and when only weights are left to blame.
        self.n_weights == 0 && [0, 2, STEPS_COMPUTING].contains(&self.n_computing)
    }

    /// Takes the nodes to blame, worst first.
    pub(super) fn rank(&mut self, ranking: Vec<String>, model: &Model) {
        let graph = &model.graph;
        if self.all.is_empty() {
            self.all = graph.nodes().map(|(id, _)| graph.node_label(id).to_owned()).collect();
            self.ranking = ranking;
        } else {
            // A second look knows more of what is left, but not of what was kept before.
            let known: std::collections::BTreeSet<String> = ranking.iter().cloned().collect();
            let rest = std::mem::take(&mut self.ranking).into_iter().filter(|node| !known.contains(node));
            let rest: Vec<String> = rest.collect();
            self.ranking = ranking.into_iter().chain(rest).collect();
        }
        self.weights = by_weight(model, &self.ranking);
    }

    /// The next step back; `None` when all have stepped back.
    pub(super) fn next(&mut self) -> Option<Kept> {
        while self.n_computing < STEPS_COMPUTING {
            self.n_computing += 1;
            let n = 1usize << (2 * (self.n_computing - 1));
            let nodes = if self.n_computing == STEPS_COMPUTING {
                self.all.clone()
            } else {
                let n_before = if self.n_computing == 1 { 0 } else { n / 4 };
                self.ranking.iter().skip(n_before).take(n).cloned().collect()
            };
            if !nodes.is_empty() {
                return Some(Kept::Computing(nodes));
            }
        }
        let total: u64 = self.weights.iter().map(|(_, bytes)| bytes).sum();
        while self.n_weights < SHARES.len() {
            let most = (SHARES[self.n_weights] * total as f64) as u64;
            self.n_weights += 1;
            let mut taken = 0;
            let mut nodes = Vec::new();
            // Small weights first where they fit: the share is bytes, not nodes.
            for (node, bytes) in &self.weights {
                if taken + bytes <= most {
                    taken += bytes;
                    nodes.push(node.clone());
                }
            }
            if !nodes.is_empty() {
                return Some(Kept::Weights(nodes));
            }
        }
        None
    }

    /// Takes a step into the options.
    pub(super) fn apply(&mut self, kept: Kept, options: &mut HalfOptions) {
        if let Some((before, _)) = self.last.as_ref().filter(|_| self.narrowing.is_some()) {
            *options = before.clone();
        } else {
            self.last = Some((options.clone(), kept.clone()));
        }
        match kept {
            Kept::Computing(nodes) => options.keep_nodes.extend(nodes),
            Kept::Weights(nodes) => options.exact_nodes.extend(nodes),
        }
    }

    /// Fewer nodes of the last step, now that the last try agreed or not; `None` to leave it.
    pub(super) fn narrow(&mut self, agreed: bool) -> Option<Kept> {
        let (_, kept) = self.last.as_ref()?;
        let n = kept.nodes().len();
        match &mut self.narrowing {
            None => {
                self.narrowing = Some(Narrowing { enough: n, too_few: 0, tried: n, n_steps: 0 });
            }
            Some(narrowing) if agreed => narrowing.enough = narrowing.tried,
            Some(narrowing) => narrowing.too_few = narrowing.tried,
        }
        let narrowing = self.narrowing.as_mut()?;
        let middle = narrowing.too_few + (narrowing.enough - narrowing.too_few) / 2;
        // A handful of nodes is an island, not worth a run.
        const HANDFUL: usize = 4;
        if narrowing.n_steps == STEPS_NARROWING || narrowing.enough - narrowing.too_few <= HANDFUL {
            return None;
        }
        narrowing.n_steps += 1;
        narrowing.tried = middle;
        let nodes = kept.nodes()[..middle].to_vec();
        Some(if kept.is_weights() { Kept::Weights(nodes) } else { Kept::Computing(nodes) })
    }
}

/// Nodes that read weights, those of the ranking first, with the bytes of the weights.
fn by_weight(model: &Model, ranking: &[String]) -> Vec<(String, u64)> {
    const WEIGHT_BYTES_MIN: u64 = 1024;
    let graph = &model.graph;
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut order: Vec<&str> = ranking.iter().map(String::as_str).collect();
    for (id, node) in graph.nodes() {
        let read = node.inputs.iter().flatten().filter_map(|value| graph.constant_tensor(*value));
        let size: u64 = read.filter_map(|tensor| tensor.size_bytes().ok()).map(onnxfit_base::Bytes::get).sum();
        if size >= WEIGHT_BYTES_MIN {
            bytes.insert(graph.node_label(id), size);
            order.push(graph.node_label(id));
        }
    }
    order.into_iter().filter_map(|node| Some((node.to_owned(), bytes.remove(node)?))).collect()
}

#[cfg(test)]
mod tests {
    use onnxfit_rewrite::half::HalfType;

    use super::*;

    fn chain(n: usize) -> Model {
        let nodes: String = (0..n).map(|at| format!("v{} = Relu(v{at})\n", at + 1)).collect();
        let text = format!("g (float[2] v0) => (float[2] v{n}) {{ {nodes} }}");
        Model::from_proto(&onnxfit_onnx::text::parse(&text).unwrap()).unwrap()
    }

    fn ranked(n: usize) -> StepBack {
        let mut back = StepBack::default();
        assert!(back.wants_ranking());
        back.rank((1..=n).map(|at| format!("v{at}")).collect(), &chain(n));
        back
    }

    #[test]
    fn each_step_takes_more_and_the_last_takes_all() {
        let mut back = ranked(100);
        let sizes: Vec<usize> = std::iter::from_fn(|| back.next()).map(|kept| kept.nodes().len()).collect();
        assert_eq!(sizes, [1, 4, 16, 64, 100]);
    }

    #[test]
    fn what_the_last_step_kept_is_narrowed_to_what_is_needed() {
        let mut back = ranked(100);
        let mut options = HalfOptions::new(HalfType::Float16);
        for _ in 0..4 {
            let kept = back.next().unwrap();
            back.apply(kept, &mut options);
        }
        // Of the 64 nodes of the last step the first 20 are needed.
        let mut agreed = true;
        let mut tried = Vec::new();
        while let Some(kept) = back.narrow(agreed) {
            tried.push(kept.nodes().len());
            agreed = kept.nodes().len() >= 20;
            back.apply(kept, &mut options);
        }
        assert_eq!(tried, [32, 16, 24]);
        assert_eq!(options.keep_nodes.len(), 16 + 24);
    }
}
