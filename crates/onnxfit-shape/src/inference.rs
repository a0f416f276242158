//! The answer: facts of every value, and what had to be said along the way.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use onnxfit_base::Diagnostic;
use onnxfit_graph::{Model, NodeId, ValueId};

use crate::bindings::Bindings;
use crate::engine::infer_model;
use crate::expr::Expr;
use crate::fact::Fact;

/// What is known of a model's values.
#[derive(Clone, Debug, Default)]
pub struct Inference {
    /// The values of the main graph.
    pub graph: GraphFacts,
    /// Operators without a rule (each once), assumptions, contradictions.
    pub diagnostics: Vec<Diagnostic>,
    /// The most that a size which depends on data can be, by its symbol's name.
    pub upper_bounds: BTreeMap<String, Expr>,
    /// Symbols that inference made up for sizes nobody named, in no file and no binding.
    pub made_up: Vec<String>,
}

/// What is known of one graph's values.
#[derive(Clone, Debug, Default)]
pub struct GraphFacts {
    pub(crate) facts: Vec<Fact>,
    pub(crate) subgraphs: BTreeMap<NodeId, Vec<(String, usize, GraphFacts)>>,
}

/// Bounds of bounds that are followed; a size that depends on a size that depends on data...
const NESTING_MAX: usize = 32;

impl Inference {
    /// The most that an expression can be for these sizes, with every size that depends on data at
    /// its worst; `None` if some size is neither given nor bounded.
    pub fn most(&self, expr: &Expr, sizes: &BTreeMap<String, i64>) -> Option<i64> {
        self.most_for(sizes).of(expr)
    }

    /// The same for many expressions: what was found once is remembered.
    pub fn most_for<'a>(&'a self, sizes: &'a BTreeMap<String, i64>) -> Most<'a> {
        Most { inference: self, sizes, exprs: HashMap::new(), symbols: RefCell::default() }
    }
}

/// The most that expressions can be for some sizes; [`Inference::most_for`] makes it.
#[derive(Debug)]
pub struct Most<'a> {
    inference: &'a Inference,
    sizes: &'a BTreeMap<String, i64>,
    exprs: HashMap<Expr, Option<i64>>,
    /// Of sizes that depend on data, by how deep they may nest.
    symbols: RefCell<BTreeMap<(usize, &'a str), Option<i64>>>,
}

impl Most<'_> {
    /// The most that an expression can be; `None` if some size is neither given nor bounded.
    pub fn of(&mut self, expr: &Expr) -> Option<i64> {
        if let Some(number) = expr.as_constant() {
            return Some(number);
        }
        if let Some(known) = self.exprs.get(expr) {
            return *known;
        }
        let most = self.within(expr, NESTING_MAX);
        self.exprs.insert(expr.clone(), most);
        most
    }

    fn within(&self, expr: &Expr, nesting: usize) -> Option<i64> {
        if let Some(number) = expr.eval(self.sizes) {
            return Some(number);
        }
        let nesting = nesting.checked_sub(1)?;
        let ranged = expr.substitute(&|name| match self.sizes.get(name) {
            Some(number) => Some(Expr::constant(*number)),
            None => Some(Expr::bounded_symbol(name, 0, Some(self.symbol(name, nesting)?))),
        })?;
        ranged.bounds().1
    }

    /// The most that a size which depends on data can be.
    fn symbol(&self, name: &str, nesting: usize) -> Option<i64> {
        let (name, bound) = self.inference.upper_bounds.get_key_value(name)?;
        let place = (nesting, name.as_str());
        if let Some(known) = self.symbols.borrow().get(&place) {
            return *known;
        }
        let most = self.within(bound, nesting);
        self.symbols.borrow_mut().insert(place, most);
        most
    }
}

impl GraphFacts {
    /// What is known of a value.
    ///
    /// # Panics
    /// If the value is of another graph, or was made after the inference.
    pub fn fact(&self, value: ValueId) -> &Fact {
        &self.facts[value.index()]
    }

    /// What is known of a value; `None` if it was made after the inference.
    pub fn get(&self, value: ValueId) -> Option<&Fact> {
        self.facts.get(value.index())
    }

    /// Whether every value, those of subgraphs included, is a tensor of a known size.
    pub(crate) fn are_concrete(&self) -> bool {
        let inner = self.subgraphs.values().flatten();
        self.facts.iter().all(Fact::is_concrete) && inner.into_iter().all(|(_, _, facts)| facts.are_concrete())
    }

    /// The facts of a node's subgraph: `index` counts the rounds of a loop whose rounds differ, and is
    /// zero everywhere else. `None` if that branch is never taken.
    pub fn subgraph(&self, node: NodeId, attribute: &str, index: usize) -> Option<&Self> {
        let found = self.subgraphs.get(&node)?.iter().find(|(name, at, _)| name == attribute && *at == index);
        found.map(|(_, _, facts)| facts)
    }
}

/// Infers types and shapes of everything in a model.
pub fn infer(model: &Model, bindings: &Bindings) -> Inference {
    infer_model(model, bindings)
}
