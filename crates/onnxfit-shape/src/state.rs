//! What lasts over a whole inference: names given, findings, and the work left.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::Diagnostic;
use onnxfit_graph::{Dim, Model, ValueType};

use crate::bindings::{Bindings, Dims};
use crate::expr::Expr;
use crate::fact::{Fact, Kind, RANK_MAX};

/// Graphs inside graphs, functions included.
const NESTING_MAX: usize = 48;
/// Findings kept; a broken model repeats itself.
const N_DIAGNOSTICS_MAX: usize = 200;

/// What lasts over a whole inference.
pub(crate) struct State<'m> {
    pub(crate) model: &'m Model,
    pub(crate) dims: Dims,
    pub(crate) bindings: &'m Bindings,
    pub(crate) upper_bounds: BTreeMap<String, Expr>,
    pub(crate) made_up: BTreeSet<String>,
    diagnostics: Vec<Diagnostic>,
    /// Where a made-up name is from: the path of subgraphs, each followed by `/`.
    pub(crate) path: String,
    nesting: usize,
    n_nodes_left: usize,
    /// Whether anything of this was asked or changed: then a node's facts follow from more than
    /// those that it reads.
    was_asked: Cell<bool>,
}

impl<'m> State<'m> {
    pub(crate) fn new(model: &'m Model, bindings: &'m Bindings) -> Self {
        Self::of(model, bindings, count_nodes(model))
    }

    /// The same for a model of so many nodes.
    pub(crate) fn of(model: &'m Model, bindings: &'m Bindings, n_nodes: usize) -> Self {
        let mut diagnostics = Vec::new();
        let dims = Dims::new(&model.graph, bindings, &mut diagnostics);
        Self {
            model,
            dims,
            bindings,
            upper_bounds: BTreeMap::new(),
            made_up: BTreeSet::new(),
            diagnostics,
            path: String::new(),
            nesting: 0,
            // Subgraphs are walked several times until a loop is stable, functions once a call.
            n_nodes_left: 20_000 + 32 * n_nodes,
            was_asked: Cell::new(false),
        }
    }

    /// Whether the node since the last call asked or changed anything of this.
    pub(crate) fn take_was_asked(&self) -> bool {
        self.was_asked.take()
    }

    /// Records a finding once.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.was_asked.set(true);
        if self.diagnostics.len() < N_DIAGNOSTICS_MAX && !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// A symbol for a size that nothing names; the same place gives the same symbol.
    pub(crate) fn made_up_dim(&mut self, value: &str, dim_idx: usize) -> Expr {
        self.made_up(format!("{}{value}.dim{dim_idx}", self.path))
    }

    /// A symbol for the length of a sequence.
    pub(crate) fn made_up_length(&mut self, value: &str) -> Expr {
        self.made_up(format!("{}{value}.length", self.path))
    }

    fn made_up(&mut self, name: String) -> Expr {
        self.was_asked.set(true);
        let named = self.dims.named(&name);
        if named.as_constant().is_none() {
            self.made_up.insert(name);
        }
        named
    }

    /// Whether a dimension is one that inference made up.
    pub(crate) fn is_made_up(&self, dim: &Expr) -> bool {
        dim.as_symbol().is_some_and(|name| {
            self.was_asked.set(true);
            self.made_up.contains(name)
        })
    }

    /// Takes the work of one node from what is left.
    pub(crate) fn may_work(&mut self) -> bool {
        match self.n_nodes_left.checked_sub(1) {
            Some(left) => {
                self.n_nodes_left = left;
                true
            }
            None => {
                self.report(Diagnostic::warning(
                    "inference-stopped",
                    "loops and functions of this model repeat too much work; the rest stays unknown",
                ));
                false
            }
        }
    }

    /// Goes into a subgraph or function; `false` if that is too deep.
    pub(crate) fn enter(&mut self) -> bool {
        if self.nesting >= NESTING_MAX {
            return false;
        }
        self.nesting += 1;
        true
    }

    pub(crate) fn leave(&mut self) {
        self.nesting -= 1;
    }

    /// What a declared type says.
    pub(crate) fn fact_of_type(&mut self, name: &str, ty: &ValueType) -> Fact {
        match ty {
            ValueType::Unknown => Fact::default(),
            ValueType::Tensor(tensor) | ValueType::SparseTensor(tensor) => {
                let shape = tensor.shape.as_deref().filter(|shape| shape.len() <= RANK_MAX).map(|shape| {
                    shape.iter().enumerate().map(|(at, dim)| self.declared_dim(name, at, dim)).collect::<Vec<Expr>>()
                });
                let mut fact = Fact::tensor(tensor.element_type, shape);
                if matches!(ty, ValueType::SparseTensor(_)) {
                    fact.kind = Kind::SparseTensor;
                }
                fact
            }
            ValueType::Sequence(inner) => Fact::sequence(self.fact_of_type(&format!("{name}[]"), inner), None, None),
            ValueType::Optional(inner) => {
                Fact { kind: Kind::Optional(Box::new(self.fact_of_type(name, inner))), ..Fact::default() }
            }
            ValueType::Map(..) | ValueType::Opaque(..) => Fact { kind: Kind::Other, ..Fact::default() },
        }
    }

    fn declared_dim(&mut self, name: &str, dim_idx: usize, dim: &Dim) -> Expr {
        match dim {
            Dim::Known(number) => Expr::constant(*number),
            Dim::Symbol(text) if text.starts_with('?') => self.made_up_dim(name, dim_idx),
            Dim::Symbol(text) => {
                self.was_asked.set(true);
                self.dims.named(text)
            }
            Dim::Unknown => self.made_up_dim(name, dim_idx),
        }
    }

    /// Fills what inference left open with what the file declares.
    pub(crate) fn refine(&mut self, name: &str, fact: &mut Fact, ty: &ValueType) {
        if matches!(ty, ValueType::Unknown) {
            return;
        }
        if fact.kind == Kind::Unknown {
            *fact = self.fact_of_type(name, ty);
            return;
        }
        let Some(declared) = ty.as_tensor().filter(|_| fact.kind == Kind::Tensor) else { return };
        fact.element_type = fact.element_type.or(declared.element_type);
        match (&mut fact.shape, &declared.shape) {
            (None, Some(_)) => fact.shape = self.fact_of_type(name, ty).shape,
            (Some(shape), Some(dims)) if shape.len() == dims.len() => {
                for (dim, declared) in shape.iter_mut().zip(dims) {
                    // A size that is one of several is not settled by a declaration: exporters
                    // declare what one branch gives.
                    let is_open = self.is_made_up(dim)
                        && !dim.as_symbol().is_some_and(|name| self.upper_bounds.contains_key(name));
                    let is_better = |declared: &Dim| match declared {
                        Dim::Known(_) => true,
                        Dim::Symbol(name) => self.dims.knows(name),
                        Dim::Unknown => false,
                    };
                    if is_open && is_better(declared) {
                        *dim = self.declared_dim(name, 0, declared);
                    }
                }
            }
            _ => {}
        }
    }
}

pub(crate) fn count_nodes(model: &Model) -> usize {
    fn count(graph: &onnxfit_graph::Graph) -> usize {
        graph.nodes().map(|(_, node)| 1 + node.subgraphs().map(|(_, inner)| count(inner)).sum::<usize>()).sum()
    }
    count(&model.graph) + model.functions().iter().map(|function| function.node.len()).sum::<usize>()
}
