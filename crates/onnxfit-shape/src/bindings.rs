//! What the user says about a model's inputs.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::Diagnostic;
use onnxfit_graph::{Dim, Graph, ValueType};

use crate::expr::Expr;

/// What the user says about a model's inputs; empty leaves every named size a symbol.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bindings {
    /// Sizes by name: `batch` is 8.
    pub dims: BTreeMap<String, i64>,
    /// Whole shapes by input name; they bind the names in the input's declared shape too.
    pub inputs: BTreeMap<String, Vec<i64>>,
    /// The content of integer inputs, where it decides sizes: a sampling rate, a length.
    pub values: BTreeMap<String, Vec<i64>>,
    /// The same of floating-point inputs: scales of a resize, limits of a range.
    pub floats: BTreeMap<String, Vec<f64>>,
}

/// The meaning of every dimension name of a model.
#[derive(Debug, Default)]
pub(crate) struct Dims {
    numbers: BTreeMap<String, i64>,
    /// Names that stand for a size of their own; others may be expressions of these.
    names: BTreeSet<String>,
}

impl Dims {
    /// Reads the names of a graph's inputs, binds them, and reports what does not agree.
    pub(crate) fn new(graph: &Graph, bindings: &Bindings, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut dims = Self { numbers: bindings.dims.clone(), names: BTreeSet::new() };
        dims.names.extend(bindings.dims.keys().cloned());
        let is_plain = |name: &str| Expr::parse(name).is_some_and(|expr| expr.as_symbol() == Some(name));
        for id in graph.inputs() {
            for dim in declared(&graph.value(*id).ty) {
                if let Dim::Symbol(name) = dim
                    && is_plain(name)
                {
                    dims.names.insert(name.clone());
                }
            }
        }
        dims.check_names(graph, bindings, diagnostics);
        // Twice: an expression may need a name that a later input binds.
        for is_last in [false, true] {
            for id in graph.inputs() {
                let value = graph.value(*id);
                if let Some(shape) = bindings.inputs.get(&value.name) {
                    dims.bind_shape(&value.name, declared(&value.ty), shape, is_last, diagnostics);
                }
            }
        }
        dims
    }

    /// What a declared dimension is; `None` when nothing is declared.
    fn expr(&self, dim: &Dim) -> Option<Expr> {
        match dim {
            Dim::Known(number) => Some(Expr::constant(*number)),
            Dim::Unknown => None,
            Dim::Symbol(name) => Some(self.named(name)),
        }
    }

    /// What a dimension's name stands for.
    pub(crate) fn named(&self, name: &str) -> Expr {
        if let Some(number) = self.numbers.get(name) {
            return Expr::constant(*number);
        }
        if self.names.contains(name) {
            return Expr::symbol(name);
        }
        match Expr::parse(name) {
            Some(expr) if expr.symbols().iter().all(|symbol| self.names.contains(symbol.name())) => {
                self.substitute(name).unwrap_or(expr)
            }
            _ => Expr::symbol(name),
        }
    }

    /// Whether a name stands for a size that an input has, or is made of such names.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let is_known = |name: &str| self.names.contains(name) || self.numbers.contains_key(name);
        is_known(name) || Expr::parse(name).is_some_and(|expr| expr.symbols().iter().all(|one| is_known(one.name())))
    }

    /// What the text says, with bound names replaced.
    fn substitute(&self, text: &str) -> Option<Expr> {
        Expr::parse(text)?.substitute(&|name| self.numbers.get(name).copied().map(Expr::constant))
    }

    fn bind_shape(
        &mut self,
        input: &str,
        declared: &[Dim],
        shape: &[i64],
        is_last: bool,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        if !declared.is_empty() && declared.len() != shape.len() {
            if is_last {
                diagnostics.push(Diagnostic::error(
                    "shape-contradiction",
                    format!("`{input}` has {} dimensions, but {shape:?} has {}", declared.len(), shape.len()),
                ));
            }
            return;
        }
        for (dim, number) in declared.iter().zip(shape) {
            let Some(expr) = self.expr(dim) else { continue };
            match expr.as_constant() {
                Some(known) if known != *number && is_last => diagnostics.push(Diagnostic::error(
                    "shape-contradiction",
                    format!("a dimension of `{input}` is {number} in {shape:?}, but {known} elsewhere"),
                )),
                Some(_) => {}
                None => {
                    if let Some((constant, factor, name)) = expr.as_linear()
                        && let Some(rest) = number.checked_sub(constant)
                        && rest.checked_rem(factor) == Some(0)
                    {
                        self.numbers.insert(name.to_owned(), rest / factor);
                        self.names.insert(name.to_owned());
                    }
                }
            }
        }
    }

    fn check_names(&self, graph: &Graph, bindings: &Bindings, diagnostics: &mut Vec<Diagnostic>) {
        for name in bindings.inputs.keys().chain(bindings.values.keys()) {
            let is_input = graph.value_named(name).is_some_and(|id| graph.value(id).is_input);
            if !is_input {
                let known: Vec<&str> = graph.inputs().iter().map(|id| graph.value(*id).name.as_str()).collect();
                diagnostics.push(
                    Diagnostic::warning("unknown-input", format!("the model has no input `{name}`"))
                        .with_hint(format!("its inputs are {}", known.join(", "))),
                );
            }
        }
        for (name, number) in bindings.dims.iter().filter(|(_, number)| **number < 0) {
            diagnostics.push(Diagnostic::error("shape-contradiction", format!("`{name}` cannot be {number}")));
        }
    }
}

fn declared(ty: &ValueType) -> &[Dim] {
    ty.as_tensor().and_then(|tensor| tensor.shape.as_deref()).unwrap_or_default()
}
