//! Which nodes of a converted model go wrong: both models run with the values inside them as
//! outputs, and a node whose results are further off than what it reads is a suspect.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use onnxfit_graph::{Graph, NodeId};
use onnxfit_runtime::worker::Client;
use onnxfit_runtime::{Tensor, Tensors};

use crate::Error;
use crate::probe::{Probe, groups};
use crate::progress::{Progress, Stage};

/// Two copies of it are in memory.
const GROUP_BYTES_MAX: u64 = 128 << 20;

/// How far each value of the converted model is off, as relative L2; infinite where numbers were
/// lost. `values` with their bytes; `sides` are the original and the converted model, each with its
/// inputs.
pub(crate) fn deviations(
    values: &[(String, u64)],
    sides: [(&Probe, &Tensors); 2],
    client: &mut Client,
    library: &Path,
    progress: &dyn Progress,
) -> Result<BTreeMap<String, f64>, Error> {
    let values: Vec<(&str, u64)> = values.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let mut found = BTreeMap::new();
    for group in groups(&values, GROUP_BYTES_MAX) {
        progress.stage(&Stage::Counted {
            what: "looking for the first node that goes wrong".to_owned(),
            done: found.len() as u64,
            total: values.len() as u64,
        });
        let mut run = |(probe, inputs): (&Probe, &Tensors)| {
            probe.open(client, library, &group)?;
            Probe::run(client, inputs)
        };
        let (left, right) = (run(sides[0])?, run(sides[1])?);
        for name in group {
            if let (Some(a), Some(b)) = (left.get(name), right.get(name)) {
                found.insert(name.to_owned(), deviation(a, b));
            }
        }
    }
    Ok(found)
}

fn deviation(before: &Tensor, after: &Tensor) -> f64 {
    let (Some(before), Some(after)) = (before.values(), after.values()) else { return 0.0 };
    if before.len() != after.len() {
        return f64::INFINITY;
    }
    let (mut distance, mut size) = (0.0, 0.0);
    for (a, b) in before.into_iter().zip(after) {
        match (a.is_finite(), b.is_finite()) {
            (true, true) => {
                distance += (a - b) * (a - b);
                size += a * a;
            }
            (true, false) => return f64::INFINITY,
            // A mask of infinities may become one of large numbers.
            (false, _) => {}
        }
    }
    if distance == 0.0 { 0.0 } else { (distance / f64::max(size, f64::MIN_POSITIVE)).sqrt() }
}

/// The nodes to be kept, first things first: the first one in order that goes wrong, then those that
/// add most. Nodes that are `kept` already are passed by; where one of them goes wrong nevertheless,
/// those that feed it are suspected.
pub(crate) fn suspects(
    graph: &Graph,
    deviations: &BTreeMap<String, f64>,
    kept: &BTreeSet<String>,
    suspicion: f64,
) -> Vec<String> {
    let order = graph.topological_order().unwrap_or_else(|_| graph.nodes().map(|(id, _)| id).collect());
    let of = |name: &str| deviations.get(name).copied();
    let mut first: Option<NodeId> = None;
    let mut others: Vec<(bool, f64, NodeId)> = Vec::new();
    for id in order {
        let node = graph.node(id);
        let outputs = node.outputs.iter().flatten().filter_map(|output| of(&graph.value(*output).name));
        let Some(result) = outputs.reduce(f64::max) else { continue };
        let read = node.inputs.iter().flatten().chain(&node.implicit_inputs);
        let read = read.filter_map(|input| of(&graph.value(*input).name)).fold(0.0, f64::max);
        let goes_wrong = result > suspicion && read <= suspicion;
        if first.is_none() && goes_wrong {
            first = Some(id);
        }
        // Rounding alone is no fault, but where nothing else is, it adds up: those come last.
        const ROUNDING: f64 = 1e-3;
        if result > ROUNDING {
            let stands_out = result > 1.5 * read;
            others.push((stands_out, if read.is_finite() { result - read } else { 0.0 }, id));
        }
    }
    others.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
    let (mut names, mut known) = (Vec::new(), BTreeSet::new());
    for id in first.into_iter().chain(others.into_iter().map(|(_, _, id)| id)) {
        for name in free_nodes(graph, id, kept) {
            if known.insert(name.clone()) {
                names.push(name);
            }
        }
    }
    names
}

/// The node itself, or if it is kept already, the nearest ones before it that are not.
fn free_nodes(graph: &Graph, id: NodeId, kept: &BTreeSet<String>) -> Vec<String> {
    let mut seen = BTreeSet::from([id]);
    let mut waiting = vec![id];
    let mut free = Vec::new();
    while let Some(id) = waiting.pop() {
        let label = graph.node_label(id);
        if !kept.contains(label) {
            free.push(label.to_owned());
            continue;
        }
        for input in graph.node(id).inputs.iter().flatten() {
            if let Some((producer, _)) = graph.producer(*input).filter(|(producer, _)| !seen.contains(producer)) {
                seen.insert(producer);
                waiting.push(producer);
            }
        }
    }
    free
}

#[cfg(test)]
mod tests {
    use onnxfit_graph::Model;

    use super::*;

    fn graph() -> Graph {
        let text = "g (float[2] x) => (float[2] d) { a = Relu(x) b = Exp(a) c = Sub(b, a) d = Tanh(c) }";
        Model::from_proto(&onnxfit_onnx::text::parse(text).unwrap()).unwrap().graph
    }

    fn found(deviations: [(&str, f64); 4], kept: &[&str]) -> Vec<String> {
        let deviations = deviations.map(|(name, number)| (name.to_owned(), number)).into();
        suspects(&graph(), &deviations, &kept.iter().map(|name| (*name).to_owned()).collect(), 1e-2)
    }

    #[test]
    fn the_first_node_that_goes_wrong_comes_before_those_that_add_more() {
        let deviations = [("a", 1e-4), ("b", 2e-2), ("c", 0.5), ("d", 0.5)];
        assert_eq!(found(deviations, &[]), ["b", "c", "d"]);
    }

    #[test]
    fn what_feeds_a_kept_node_is_suspected_in_its_place() {
        let deviations = [("a", 1e-4), ("b", 1e-4), ("c", f64::INFINITY), ("d", f64::INFINITY)];
        assert_eq!(found(deviations, &["c", "b"]), ["a", "d"]);
    }

    #[test]
    fn rounding_alone_is_no_fault() {
        assert!(found([("a", 2e-4), ("b", 5e-4), ("c", 9e-4), ("d", 1e-3)], &[]).is_empty());
    }

    #[test]
    fn lost_numbers_are_as_far_off_as_can_be() {
        let tensor = |numbers: &[f32]| Tensor::from_f32(vec![2], numbers).unwrap();
        assert_eq!(deviation(&tensor(&[3.0, 4.0]), &tensor(&[3.0, 4.5])), 0.1);
        assert_eq!(deviation(&tensor(&[3.0, 4.0]), &tensor(&[3.0, f32::INFINITY])), f64::INFINITY);
        assert_eq!(deviation(&tensor(&[3.0, f32::NEG_INFINITY]), &tensor(&[3.0, -65504.0])), 0.0);
    }
}
