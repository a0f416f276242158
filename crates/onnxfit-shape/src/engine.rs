//! The walk: every node after what it reads, each by its operator's rule.

use std::collections::BTreeMap;

use onnxfit_base::Diagnostic;
use onnxfit_graph::{Constant, Graph, Model, NodeId, ValueId};

use crate::bindings::Bindings;
use crate::constant::fact_of_tensor;
use crate::context::{RuleContext, Scope, SubgraphFacts};
use crate::expr::Expr;
use crate::fact::{Fact, Kind, Value};
use crate::function::run_function;
use crate::inference::{GraphFacts, Inference};
use crate::registry::{self, Rule};
use crate::scalar::Scalar;
use crate::state::State;

/// Integer inputs up to this long get a symbol per element, so that sizes can be formulas of them.
const N_INPUT_SYMBOLS_MAX: i64 = 8;

pub(crate) fn infer_model(model: &Model, bindings: &Bindings) -> Inference {
    let mut state = State::new(model, bindings);
    let inputs: Vec<Fact> = model.graph.inputs().iter().map(|id| input_fact(&mut state, &model.graph, *id)).collect();
    let graph = run_graph(&mut state, &model.graph, &inputs, None, model.opset_imports());
    Inference {
        graph,
        upper_bounds: std::mem::take(&mut state.upper_bounds),
        made_up: std::mem::take(&mut state.made_up).into_iter().collect(),
        diagnostics: state.into_diagnostics(),
    }
}

pub(crate) fn input_fact(state: &mut State<'_>, graph: &Graph, id: ValueId) -> Fact {
    let value = graph.value(id);
    let mut fact = state.fact_of_type(&value.name, &value.ty);
    if let Some(shape) = state.bindings.inputs.get(&value.name) {
        fact.kind = Kind::Tensor;
        fact.shape = Some(shape.iter().map(|dim| Expr::constant(*dim)).collect());
    } else if let Some(tensor) = value.tensor() {
        // A default that the caller may override: what runs unless they do.
        return fact_of_tensor(tensor);
    }
    if fact.kind != Kind::Tensor {
        return fact;
    }
    let is_float = fact.element_type.is_some_and(|element_type| element_type.is_float());
    let scalar = |number: &i64| if is_float { Scalar::Float(*number as f64) } else { Scalar::int(*number) };
    let whole = state.bindings.values.get(&value.name).map(|values| values.iter().map(scalar).collect());
    let floats = || Some(state.bindings.floats.get(&value.name)?.iter().copied().map(Scalar::Float).collect());
    if let Some(values) = whole.or_else(floats) {
        let values: Vec<Scalar> = values;
        let n_elements = fact.n_elements().and_then(|n| n.as_constant());
        if let [one] = values.as_slice() {
            return fact.with_value(Some(Value::Uniform(one.clone())));
        }
        if n_elements == Some(values.len() as i64) {
            return fact.with_elements(values.into_iter().map(Some).collect());
        }
        state.report(Diagnostic::error(
            "shape-contradiction",
            format!("{} values were given for `{}`, which does not hold as many", values.len(), value.name),
        ));
        return fact;
    }
    symbolic_content(&value.name, fact)
}

/// An integer scalar or short vector that a caller feeds: its elements get names.
fn symbolic_content(name: &str, fact: Fact) -> Fact {
    use onnxfit_onnx::DataType::{Int32, Int64};
    let n_elements = fact.n_elements().and_then(|n| n.as_constant());
    match (fact.element_type, n_elements) {
        (Some(Int32 | Int64), Some(n)) if n > 0 && n <= N_INPUT_SYMBOLS_MAX => {
            let element = |at| Some(Scalar::Int(Expr::bounded_symbol(&format!("{name}[{at}]"), i64::MIN, None)));
            fact.with_elements((0..n).map(element).collect())
        }
        _ => fact,
    }
}

/// Infers one graph; `inputs` are facts of its inputs in order, missing ones are taken as declared.
pub(crate) fn run_graph(
    state: &mut State<'_>,
    graph: &Graph,
    inputs: &[Fact],
    outer: Option<Scope<'_>>,
    opsets: &BTreeMap<String, i64>,
) -> GraphFacts {
    let mut result = GraphFacts { facts: vec![Fact::default(); graph.n_values()], subgraphs: BTreeMap::new() };
    for (at, id) in graph.inputs().iter().enumerate() {
        let value = graph.value(*id);
        result.facts[id.index()] = match inputs.get(at) {
            Some(fact) => {
                let mut fact = fact.clone();
                if outer.is_some() {
                    state.refine(&value.name, &mut fact, &value.ty);
                }
                fact
            }
            None => state.fact_of_type(&value.name, &value.ty),
        };
    }
    for (id, value) in graph.values() {
        match &value.constant {
            _ if value.is_captured => {
                if let Some(fact) = outer.and_then(|outer| outer.fact_named(&value.name)) {
                    result.facts[id.index()] = fact.clone();
                }
            }
            _ if value.is_input => {}
            Some(constant) => result.facts[id.index()] = constant_fact(constant),
            None => {}
        }
    }
    let order = graph.topological_order().unwrap_or_else(|_| {
        state.report(Diagnostic::error("cyclic-graph", format!("graph `{}` has a cycle", graph.name())));
        Vec::new()
    });
    let versions = Versions::of(opsets);
    for id in order {
        if !state.may_work() {
            break;
        }
        let node = graph.node(id);
        let (outputs, subgraphs) = run_node(state, graph, versions.call(graph, id), &result.facts, opsets);
        if !subgraphs.is_empty() {
            result.subgraphs.insert(id, subgraphs);
        }
        for (output, fact) in node.outputs.iter().zip(outputs) {
            if let Some(output) = output {
                result.facts[output.index()] = fact;
            }
        }
    }
    // A node that was not reached still has what the file declares.
    for (id, value) in graph.values() {
        let fact = &mut result.facts[id.index()];
        if fact.kind == Kind::Unknown && value.producer.is_some() {
            state.refine(&value.name, fact, &value.ty);
        }
    }
    result
}

/// What an initializer is.
pub(crate) fn constant_fact(constant: &Constant) -> Fact {
    match constant {
        Constant::Dense(tensor) => fact_of_tensor(tensor),
        Constant::Sparse(sparse) => {
            let element_type = sparse.values.as_ref().and_then(|values| values.element_type().ok());
            let shape = sparse.dims.iter().map(|dim| Expr::constant(*dim)).collect();
            Fact::tensor(element_type, Some(shape))
        }
    }
}

/// A node with what is looked up about its operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) id: NodeId,
    pub(crate) rule: Option<Rule>,
    opset: i64,
}

/// The versions of operator sets that a graph's nodes are of.
pub(crate) struct Versions<'a> {
    opsets: &'a BTreeMap<String, i64>,
    standard: i64,
}

impl<'a> Versions<'a> {
    pub(crate) fn of(opsets: &'a BTreeMap<String, i64>) -> Self {
        Self { opsets, standard: opsets.get("").copied().unwrap_or(1) }
    }

    pub(crate) fn call(&self, graph: &Graph, id: NodeId) -> Call {
        let node = graph.node(id);
        let opset = match node.domain.as_str() {
            "" => self.standard,
            domain => self.opsets.get(domain).copied().unwrap_or(1),
        };
        Call { id, rule: registry::rule(&node.domain, &node.op_type), opset }
    }
}

/// Infers what one node makes: the facts of its outputs, and those of its subgraphs.
pub(crate) fn run_node(
    state: &mut State<'_>,
    graph: &Graph,
    call: Call,
    facts: &[Fact],
    opsets: &BTreeMap<String, i64>,
) -> (Vec<Fact>, SubgraphFacts) {
    let node = graph.node(call.id);
    let inputs = node.inputs.iter().map(|input| input.map(|value| &facts[value.index()])).collect();
    let mut context = RuleContext::new(state, Scope { graph, facts }, call.id, inputs, call.opset, opsets);
    match call.rule {
        // A rule that stops early has set what it knew.
        Some(rule) => {
            let _ = rule(&mut context);
        }
        None => {
            if run_function(&mut context).is_none() {
                context.report_unknown_operator();
            }
        }
    }
    let (mut outputs, subgraphs) = context.into_results();
    for (output, fact) in node.outputs.iter().zip(&mut outputs) {
        if let Some(output) = output {
            let value = graph.value(*output);
            state.refine(&value.name, fact, &value.ty);
        }
    }
    (outputs, subgraphs)
}
