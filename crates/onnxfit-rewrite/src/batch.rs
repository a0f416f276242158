//! Whether a request may be cut along its batch, proved from the graph.
//!
//! Every value is followed: it is the same in every piece ([`Rows::None`]), or its rows lie along
//! one axis ([`Rows::Axis`]), or it counts the rows ([`Rows::Count`]). A model may be cut when
//! every output has its rows along one axis, or is the same in every piece, and every operator on
//! the way to it keeps each row to itself. Then the answers of the pieces, joined along that axis,
//! are the answers of the whole. What is not known to keep rows apart is taken to mix them
//! ([`Rows::Mixed`]); nothing but sizes may be read from a value that is mixed.

mod branches;
mod data;
mod layout;
mod neural;
mod numbers;
mod rules;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::{Dim, Graph, Model, Node, NodeId, ValueId};
use onnxfit_shape::{Bindings, Expr, Fact, GraphFacts, Scalar, Value, infer};

/// How a value depends on the rows of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Not at all: it is the same in every piece.
    None,
    /// Its rows lie along this axis: piece after piece makes the whole.
    Axis(usize),
    /// It is computed from the number of rows, such as a shape.
    Count,
    /// Along this axis, which is as long as there are rows, it is each row's number.
    Number(usize),
    /// Its last axis holds tuples, of which one element is the number of the row along `axis`; the
    /// other elements are the row's own.
    Tuples {
        /// The axis of the rows.
        axis: usize,
        /// Which element of a tuple is the number.
        element: usize,
    },
    /// Along this axis, which is as long as there are rows, it is the number of one of each row's own
    /// elements, counted over rows of equally many that lie one behind the other.
    Element {
        /// The axis of the rows.
        axis: usize,
        /// Which of the walk's strides says how many elements a row has.
        stride: usize,
        /// Whether the element is chosen already; until then it is the first.
        is_chosen: bool,
    },
    /// Rows may have met in it.
    Mixed,
}

/// How to cut a request and join the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSplit {
    /// The name of the batch's dimension.
    pub dim: String,
    /// The axis of the rows, for each input that has them.
    pub inputs: BTreeMap<String, usize>,
    /// The axis of the rows, for each output that has them.
    pub outputs: BTreeMap<String, usize>,
}

/// Why a request may not be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    /// No input has a dimension that could be a batch.
    #[error("no input has a named dimension that could be a batch")]
    NoBatch,
    /// The dimension that was named is no input's.
    #[error("no input has a dimension `{0}`")]
    NoSuchDim(String),
    /// An operator that lets one row see another, or is not known not to.
    #[error("`{node}` ({op_type}) {reason}")]
    Mixes {
        /// The node.
        node: String,
        /// Its operator.
        op_type: String,
        /// What it does, as the rest of a sentence.
        reason: String,
    },
    /// An output that is no list of rows.
    #[error("output `{0}` counts the rows of the whole batch")]
    Counts(String),
}

/// Proves that a model may be cut along `dim`, or along the dimension that looks like a batch.
pub fn batch_split(model: &Model, dim: Option<&str>) -> Result<BatchSplit, BatchRefusal> {
    let graph = &model.graph;
    let dim = match dim {
        Some(dim) => dim.to_owned(),
        None => guess_dim(graph).ok_or(BatchRefusal::NoBatch)?,
    };
    let facts = infer(model, &Bindings::default()).graph;
    let batch = Expr::symbol(&dim);
    let mut rows = vec![Rows::None; graph.n_values()];
    let mut inputs = BTreeMap::new();
    for id in graph.required_inputs() {
        if let Some(axis) = row_axis(&batch, facts.fact(id)) {
            rows[id.index()] = Rows::Axis(axis);
            inputs.insert(graph.value(id).name.clone(), axis);
        }
    }
    if inputs.is_empty() {
        return Err(BatchRefusal::NoSuchDim(dim));
    }
    let fed = graph.required_inputs().filter_map(|id| facts.fact(id).shape.as_ref()).flatten();
    let fed = fed.flat_map(Expr::symbols).map(|symbol| symbol.name().to_owned()).collect();
    let opset = model.opset("");
    let mut walk = Walk {
        graph,
        facts: &facts,
        batch: &batch,
        fed,
        rows,
        opset,
        reasons: BTreeMap::new(),
        refusals: Vec::new(),
        strides: RefCell::default(),
    };
    walk.all_nodes();
    let mut outputs = BTreeMap::new();
    for id in graph.outputs() {
        match walk.rows[id.index()] {
            Rows::Axis(axis) => {
                outputs.insert(graph.value(*id).name.clone(), axis);
            }
            Rows::None => {}
            Rows::Count | Rows::Number(_) | Rows::Tuples { .. } | Rows::Element { .. } => {
                return Err(BatchRefusal::Counts(graph.value(*id).name.clone()));
            }
            Rows::Mixed => return Err(walk.refusal(*id)),
        }
    }
    Ok(BatchSplit { dim, inputs, outputs })
}

/// The dimension that looks most like a batch: by its name, else the first one of the first input.
fn guess_dim(graph: &Graph) -> Option<String> {
    let mut first_axes = Vec::new();
    let mut all = Vec::new();
    for id in graph.required_inputs() {
        let shape = graph.value(id).ty.as_tensor().and_then(|tensor| tensor.shape.as_ref());
        for (axis, dim) in shape.into_iter().flatten().enumerate() {
            if let Dim::Symbol(name) = dim {
                all.push(name.clone());
                if axis == 0 {
                    first_axes.push(name.clone());
                }
            }
        }
    }
    let named = |name: &&String| {
        let lower = name.to_lowercase();
        lower.contains("batch") || matches!(lower.as_str(), "n" | "b" | "bs")
    };
    all.iter().find(named).or(first_axes.first()).cloned()
}

/// The axis whose size is the batch, or begins with it.
fn row_axis(batch: &Expr, fact: &Fact) -> Option<usize> {
    fact.shape.as_ref()?.iter().position(|dim| counts(batch, dim))
}

/// Whether an expression depends on the number of rows.
fn counts(batch: &Expr, expr: &Expr) -> bool {
    let name = batch.as_symbol();
    expr.symbols().iter().any(|symbol| Some(symbol.name()) == name)
}

/// One pass over the nodes.
struct Walk<'a> {
    graph: &'a Graph,
    facts: &'a GraphFacts,
    batch: &'a Expr,
    /// The symbols that the inputs' shapes are made of: whoever knows the request knows them.
    fed: BTreeSet<String>,
    rows: Vec<Rows>,
    opset: i64,
    /// Why values are mixed: which of the refusals.
    reasons: BTreeMap<usize, usize>,
    refusals: Vec<BatchRefusal>,
    /// How many elements a row has where elements of rows are numbered.
    strides: RefCell<Vec<Expr>>,
}

impl Walk<'_> {
    fn all_nodes(&mut self) {
        let sorted = self.graph.topological_order().unwrap_or_default();
        for id in sorted {
            let node = self.graph.node(id);
            let made = match self.node_rows(id, node) {
                Ok(made) => made,
                Err(reason) => {
                    let reason = self.reason(id, node, reason);
                    for output in node.outputs.iter().flatten() {
                        self.reasons.insert(output.index(), reason);
                    }
                    vec![Rows::Mixed; node.outputs.len()]
                }
            };
            for (output, rows) in node.outputs.iter().zip(made) {
                if let Some(output) = output {
                    self.rows[output.index()] = rows;
                }
            }
        }
    }

    /// Which refusal it is that a node's outputs are mixed for: the one of what it reads, or its own.
    fn reason(&mut self, id: NodeId, node: &Node, reason: String) -> usize {
        let earlier = node.inputs.iter().flatten().chain(&node.implicit_inputs);
        if let Some(earlier) = earlier.filter_map(|value| self.reasons.get(&value.index())).next() {
            return *earlier;
        }
        self.refusals.push(BatchRefusal::Mixes {
            node: self.graph.node_label(id).to_owned(),
            op_type: node.op_type.clone(),
            reason,
        });
        self.refusals.len() - 1
    }

    fn refusal(&self, value: ValueId) -> BatchRefusal {
        let reason = self.reasons.get(&value.index()).and_then(|at| self.refusals.get(*at));
        reason.cloned().unwrap_or_else(|| BatchRefusal::Counts(self.graph.value(value).name.clone()))
    }

    fn node_rows(&self, id: NodeId, node: &Node) -> Result<Vec<Rows>, String> {
        let view = View { walk: self, node };
        let reads = node.inputs.iter().flatten().chain(&node.implicit_inputs).map(|value| self.rows[value.index()]);
        let (mut any, mut any_number, mut any_mixed) = (false, false, false);
        for rows in reads {
            any |= rows != Rows::None;
            any_number |= matches!(rows, Rows::Number(_) | Rows::Tuples { .. } | Rows::Element { .. });
            any_mixed |= rows == Rows::Mixed;
        }
        if !any {
            // A source that is the same in every piece makes the same in every piece.
            return match branches::draws(node) {
                true => Err("draws random numbers, so no two runs agree".to_owned()),
                false => Ok(vec![Rows::None; node.outputs.len()]),
            };
        }
        // What is known in full, element by element, is arithmetic on sizes.
        if let Some(made) = view.all_known(any_mixed) {
            return Ok(made);
        }
        if any_mixed {
            return Err("reads rows that have met".to_owned());
        }
        if node.is("If") {
            return self.branch_rows(id, node);
        }
        if !node.implicit_inputs.is_empty() || node.subgraphs().next().is_some() {
            return Err("has a body that reads rows; its rows are not followed there".to_owned());
        }
        let rule = if any_number || node.op_type == "Range" { rules::number_rule(node) } else { rules::rule(node) };
        match rule {
            Some(rule) => {
                let made = rule(&view)?;
                view.confirm(&made)?;
                Ok(made)
            }
            None if any_number && matches!(node.op_type.as_str(), "Shape" | "Size") => {
                Ok(vec![Rows::Count; node.outputs.len()])
            }
            None if any_number => Err("computes with the numbers of rows".to_owned()),
            None => Err("is not known to keep rows apart".to_owned()),
        }
    }
}

/// A node as its rule sees it.
struct View<'a> {
    walk: &'a Walk<'a>,
    node: &'a Node,
}

impl View<'_> {
    /// How an input depends on the rows; an absent one does not.
    fn rows(&self, input: usize) -> Rows {
        self.node.input(input).map_or(Rows::None, |value| self.walk.rows[value.index()])
    }

    /// The axis of the rows of an input.
    fn axis(&self, input: usize) -> Option<usize> {
        match self.rows(input) {
            Rows::Axis(axis) => Some(axis),
            _ => None,
        }
    }

    fn fact_of(&self, value: ValueId) -> &Fact {
        self.walk.facts.fact(value)
    }

    /// The shape of an input.
    fn shape(&self, input: usize) -> Result<&[Expr], String> {
        let shape = self.node.input(input).and_then(|value| self.fact_of(value).shape.as_deref());
        shape.ok_or_else(|| format!("reads a value of unknown rank at input {input}"))
    }

    /// The shape of an output.
    fn out_shape(&self, output: usize) -> Result<&[Expr], String> {
        let shape = self.node.output(output).and_then(|value| self.fact_of(value).shape.as_deref());
        shape.ok_or_else(|| format!("makes a value of unknown rank at output {output}"))
    }

    /// The shape of an output, if it follows from the request's sizes alone: a size that is not known
    /// may count the rows without saying so.
    fn sized_by_request(&self, output: usize) -> Result<&[Expr], String> {
        let shape = self.out_shape(output)?;
        let is_fed = |expr: &Expr| expr.symbols().iter().all(|symbol| self.walk.fed.contains(symbol.name()));
        match shape.iter().all(is_fed) {
            true => Ok(shape),
            false => Err("makes a value whose sizes do not follow from the request's".to_owned()),
        }
    }

    /// The content of a small integer input.
    fn ints(&self, input: usize) -> Option<Vec<i64>> {
        match self.fact_of(self.node.input(input)?).value.as_ref()? {
            Value::Elements(elements) => elements
                .iter()
                .map(|element| match element {
                    Some(Scalar::Int(expr)) => expr.as_constant(),
                    _ => None,
                })
                .collect(),
            Value::Uniform(_) => None,
        }
    }

    /// The same for every output.
    fn every_output(&self, rows: Rows) -> Vec<Rows> {
        vec![rows; self.node.outputs.len()]
    }

    /// When every output is known element by element, whether it counts rows. Of values whose rows
    /// have met only what the request's own sizes say is taken: others are decided by all rows.
    fn all_known(&self, only_fed: bool) -> Option<Vec<Rows>> {
        let is_fed = |expr: &Expr| expr.symbols().iter().all(|symbol| self.walk.fed.contains(symbol.name()));
        let known = |value: &Option<ValueId>| {
            let Some(value) = value else { return Some(Rows::None) };
            let fact = self.fact_of(*value);
            if fact.shape.as_ref()?.iter().any(|dim| counts(self.walk.batch, dim)) {
                return None;
            }
            let count = |scalar: &Scalar| match scalar {
                Scalar::Int(expr) | Scalar::Ratio(expr, _) if only_fed && !is_fed(expr) => None,
                Scalar::Int(expr) | Scalar::Ratio(expr, _) => Some(counts(self.walk.batch, expr)),
                Scalar::Float(_) => Some(false),
            };
            if only_fed && !fact.shape.as_ref()?.iter().all(is_fed) {
                return None;
            }
            let mut any = false;
            match fact.value.as_ref()? {
                Value::Uniform(scalar) => any = count(scalar)?,
                Value::Elements(elements) => {
                    for element in elements.iter() {
                        any |= count(element.as_ref()?)?;
                    }
                }
            }
            Some(if any { Rows::Count } else { Rows::None })
        };
        self.node.outputs.iter().map(known).collect()
    }

    /// Holds a rule's claim against the inferred shapes: rows lie where the batch is in the shape.
    fn confirm(&self, made: &[Rows]) -> Result<(), String> {
        for (output, rows) in self.node.outputs.iter().zip(made) {
            let Some(shape) = output.and_then(|value| self.fact_of(value).shape.as_deref()) else { continue };
            let claimed = match rows {
                Rows::Axis(axis) | Rows::Number(axis) | Rows::Tuples { axis, .. } | Rows::Element { axis, .. } => {
                    Some(*axis)
                }
                _ => None,
            };
            for (axis, dim) in shape.iter().enumerate() {
                if counts(self.walk.batch, dim) != (claimed == Some(axis)) {
                    return Err(format!("makes a value whose size along axis {axis} is {dim}, which is no row"));
                }
            }
            if claimed.is_some_and(|axis| axis >= shape.len() || shape[axis].exact_div(self.walk.batch).is_none()) {
                return Err("makes a value whose rows are no whole multiple of the batch".to_owned());
            }
        }
        Ok(())
    }
}
