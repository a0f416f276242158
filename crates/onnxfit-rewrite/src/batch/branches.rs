//! Bodies: what the rows become in the branches of an `If`.
//!
//! A condition that does not depend on the rows takes the same branch in every piece, so rows that
//! both branches keep apart in the same way stay apart. Which branch that is need not be known.

use onnxfit_graph::{Graph, Node, NodeId};
use onnxfit_shape::GraphFacts;

use super::{Rows, Walk};

/// How a body's output depends on the rows, and the axes along which it is empty.
type Made = (Rows, Vec<usize>);

impl Walk<'_> {
    /// How the outputs of an `If` depend on the rows.
    pub(super) fn branch_rows(&self, id: NodeId, node: &Node) -> Result<Vec<Rows>, String> {
        if node.input(0).is_none_or(|condition| self.rows[condition.index()] != Rows::None) {
            return Err("takes a branch that the rows decide".to_owned());
        }
        let mut agreed: Option<Vec<Made>> = None;
        for attribute in ["then_branch", "else_branch"] {
            let Some(graph) = node.graph(attribute) else { return Err("has a branch that is not there".to_owned()) };
            // Sizes decide already that it is never taken.
            let Some(facts) = self.facts.subgraph(id, attribute, 0) else { continue };
            let made = self.body_rows(graph, facts)?;
            agreed = Some(match agreed {
                None => made,
                Some(others) => others.into_iter().zip(made).map(one_for_both).collect::<Result<_, _>>()?,
            });
        }
        let agreed = agreed.ok_or("has branches whose shapes are not known")?;
        Ok(agreed.into_iter().map(|(rows, _)| rows).collect())
    }

    /// How the outputs of a body depend on the rows that it captures.
    fn body_rows(&self, graph: &Graph, facts: &GraphFacts) -> Result<Vec<Made>, String> {
        let mut rows = vec![Rows::None; graph.n_values()];
        for (id, value) in graph.values().filter(|(_, value)| value.is_captured) {
            let outer = self.graph.value_named(&value.name).ok_or("captures a value that is not there")?;
            rows[id.index()] = self.rows[outer.index()];
        }
        let mut walk = Walk {
            graph,
            facts,
            batch: self.batch,
            fed: self.fed.clone(),
            rows,
            opset: self.opset,
            reasons: std::collections::BTreeMap::new(),
            refusals: Vec::new(),
            strides: std::cell::RefCell::default(),
        };
        walk.all_nodes();
        let of = |id: &onnxfit_graph::ValueId| match walk.rows[id.index()] {
            Rows::Mixed => Err(format!("has a branch in which {}", walk.refusal(*id))),
            // Its strides are the body's.
            Rows::Element { .. } => Err("hands numbers of elements out of a branch".to_owned()),
            rows => {
                let shape = facts.fact(*id).shape.iter().flatten();
                Ok((rows, shape.enumerate().filter(|(_, dim)| dim.is(0)).map(|(axis, _)| axis).collect()))
            }
        };
        graph.outputs().iter().map(of).collect()
    }
}

/// What holds whichever branch is taken. What is empty along the axis of the rows is made of empty
/// pieces, as exporters of decoders leave out what they keep from an earlier call.
fn one_for_both(branches: (Made, Made)) -> Result<Made, String> {
    let ((one, empty_in_one), (other, empty_in_other)) = branches;
    match (one, other) {
        _ if one == other => Ok((one, Vec::new())),
        (Rows::None, Rows::Axis(axis)) if empty_in_one.contains(&axis) => Ok((other, Vec::new())),
        (Rows::Axis(axis), Rows::None) if empty_in_other.contains(&axis) => Ok((one, Vec::new())),
        _ => Err("has branches that treat the rows differently".to_owned()),
    }
}

/// Whether a node or something in its bodies draws random numbers.
pub(super) fn draws(node: &Node) -> bool {
    matches!(
        node.op_type.as_str(),
        "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike" | "Multinomial" | "Bernoulli"
    ) || node.subgraphs().any(|(_, graph)| graph.nodes().any(|(_, node)| draws(node)))
}
