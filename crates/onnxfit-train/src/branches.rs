//! `If` nodes whose condition is known before anything runs give way to the branch that is taken.
//!
//! Exporters leave them where a model asks whether two of its own shapes differ. Gradients flow
//! through what stands in the graph itself, so the branch is written there; the model computes the
//! same bits.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::Model;
use onnxfit_onnx::proto::{GraphProto, NodeProto};
use onnxfit_shape::{Bindings, GraphFacts, infer};

use crate::error::TrainError;
use crate::rename::rename;

/// Branches within branches.
const N_ROUNDS_MAX: usize = 16;

/// The model without the `If` nodes that always decide the same.
pub(crate) fn take_known_branches(mut model: Model) -> Result<Model, TrainError> {
    for _ in 0..N_ROUNDS_MAX {
        if !model.graph.nodes().any(|(_, node)| node.is("If")) {
            break;
        }
        let decided = decided(&model, &infer(&model, &Bindings::default()).graph);
        if decided.is_empty() {
            break;
        }
        let mut proto = model.to_proto();
        if let Some(graph) = &mut proto.graph {
            inline(graph, &decided)?;
        }
        model = Model::from_proto(&proto)?;
    }
    Ok(model)
}

/// What the conditions are, by the name of the node's first output.
fn decided(model: &Model, facts: &GraphFacts) -> BTreeMap<String, bool> {
    let graph = &model.graph;
    let known = graph.nodes().filter(|(_, node)| node.is("If")).filter_map(|(_, node)| {
        let condition = facts.fact(node.input(0)?).known_ints()?;
        let [condition] = condition.as_slice() else { return None };
        Some((graph.value(node.output(0)?).name.clone(), *condition != 0))
    });
    known.collect()
}

fn inline(graph: &mut GraphProto, decided: &BTreeMap<String, bool>) -> Result<(), TrainError> {
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        let condition = node.output.first().and_then(|name| decided.get(name)).filter(|_| node.op_type() == "If");
        let name = condition.map(|is_true| if *is_true { "then_branch" } else { "else_branch" });
        let at = name.and_then(|name| node.attribute.iter().position(|attribute| attribute.name() == name));
        let Some(branch) = at.and_then(|at| node.attribute.swap_remove(at).g) else {
            nodes.push(node);
            continue;
        };
        let scope = node.output.first().cloned().unwrap_or_default();
        let branch = spliced(*branch, &scope, &node.output)?;
        graph.initializer.extend(branch.initializer);
        graph.sparse_initializer.extend(branch.sparse_initializer);
        graph.value_info.extend(branch.value_info);
        nodes.extend(branch.node);
    }
    graph.node = nodes;
    Ok(())
}

/// A branch with names of its own, ending in the outputs of the node that it stands for.
fn spliced(mut branch: GraphProto, scope: &str, outputs: &[String]) -> Result<GraphProto, TrainError> {
    let mut own: BTreeSet<String> = branch.initializer.iter().map(|tensor| tensor.name().to_owned()).collect();
    own.extend(branch.sparse_initializer.iter().filter_map(|tensor| tensor.values.as_ref()?.name.clone()));
    own.extend(branch.node.iter().flat_map(|node| &node.output).filter(|name| !name.is_empty()).cloned());
    rename(&mut branch, &|name: &mut String| {
        if own.contains(name) {
            *name = format!("{scope}/{name}");
        }
    })?;
    let given: Vec<String> = branch.output.iter().map(|info| info.name().to_owned()).collect();
    for (from, to) in given.iter().zip(outputs).filter(|(_, to)| !to.is_empty()) {
        branch.node.push(NodeProto {
            input: vec![from.clone()],
            output: vec![to.clone()],
            name: Some(to.clone()),
            op_type: Some("Identity".to_owned()),
            ..NodeProto::default()
        });
    }
    Ok(branch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> String {
        let text = format!("<ir_version: 8, opset_import: [\"\" : 18]> {text}");
        let proto = onnxfit_onnx::text::parse(&text).expect("a model");
        let model = take_known_branches(Model::from_proto(&proto).expect("a graph")).expect("it stays a model");
        let ops: Vec<String> = model.graph.nodes().map(|(_, node)| node.op_type.clone()).collect();
        ops.join(" ")
    }

    /// An `If` over a condition, with a branch that squares and one that hands on.
    fn branching(condition: &str) -> String {
        format!(
            "g (float[N,4] x, bool c) => (float[N,4] y) <float[4,4] w> {{
                h = MatMul(x, w) a = Shape(x) b = Shape(h) {condition}
                t = If(k) <then_branch = square () => (float[N,4] r) {{ q = Mul(h, h) r = Neg(q) }},
                           else_branch = as_is () => (float[N,4] s) {{ s = Identity(h) }}>
                y = Relu(t) }}"
        )
    }

    #[test]
    fn a_condition_on_shapes_that_are_the_same_decides() {
        let condition = "e = Equal(a, b) z = Cast<to = 6>(e) m = ReduceMin<keepdims = 0>(z) k = Cast<to = 9>(m)";
        assert_eq!(taken(&branching(condition)), "MatMul Shape Shape Equal Cast ReduceMin Cast Mul Neg Identity Relu");
        let condition =
            "i = Constant<value = int64 {1}>() p = Gather(a, i) q = Gather(b, i) e = Equal(p, q) k = Not(e)";
        assert_eq!(
            taken(&branching(condition)),
            "MatMul Shape Shape Constant Gather Gather Equal Not Identity Identity Relu"
        );
    }

    #[test]
    fn a_condition_that_is_fed_stays() {
        assert_eq!(taken(&branching("k = Identity(c)")), "MatMul Shape Shape Identity If Relu");
    }
}
