//! The shapes that ONNX Runtime itself knows once a model is loaded.
//!
//! The planner compares these, and only these, when it decides what may share memory; knowing more
//! here than the runtime does would predict reuse that never happens. So this is no shape inference
//! of ours but a replay of `Graph::InferAndVerifyTypeMatch` (`core/graph/graph.cc`, ORT 1.31): the
//! operators' own rules on numbers, names and unknowns, merged into what the file declares.

mod contents;
mod control;
mod einsum;
mod merge;
mod query;
mod rules;

use std::sync::Arc;

use hashbrown::HashMap;
use onnxfit_graph::Dim;

use crate::order::{ExecutionOrder, execution_order};
use crate::program::{DeclaredDim, KnownIntegers, NodeIdx, Program, ValueIdx, WeightValues};
use crate::sizes::TensorSize;
pub(crate) use einsum::einsum_dims;
use query::{Inferred, Query};

/// A shape as the runtime knows it.
pub(crate) type Shape = Vec<DeclaredDim>;

/// The names of dimensions, each once.
#[derive(Default)]
pub(crate) struct Symbols<'a> {
    /// The first few, which are most of what is asked for.
    few: Vec<(&'a str, Arc<str>)>,
    others: HashMap<&'a str, Arc<str>>,
}

impl<'a> Symbols<'a> {
    const FEW: usize = 8;

    fn get(&mut self, name: &'a str) -> Arc<str> {
        if let Some((_, known)) = self.few.iter().find(|(own, _)| *own == name) {
            return Arc::clone(known);
        }
        if self.few.len() < Self::FEW {
            let known: Arc<str> = name.into();
            self.few.push((name, Arc::clone(&known)));
            return known;
        }
        Arc::clone(self.others.entry(name).or_insert_with(|| name.into()))
    }
}

/// A declared shape in the planner's words.
pub(crate) fn from_dims<'a>(dims: &'a [Dim], symbols: &mut Symbols<'a>) -> Shape {
    dims.iter()
        .map(|dim| match dim {
            Dim::Known(number) => u64::try_from(*number).map_or(DeclaredDim::Unknown, DeclaredDim::Value),
            Dim::Symbol(name) => DeclaredDim::Symbol(symbols.get(name)),
            Dim::Unknown => DeclaredDim::Unknown,
        })
        .collect()
}

/// Fills in what the runtime infers at load, subgraphs included, and returns the order in which it
/// went: the default one.
pub(crate) fn infer(program: &mut Program) -> Vec<NodeIdx> {
    infer_with(program, Constants::of(program))
}

fn infer_with(program: &mut Program, constants: Constants) -> Vec<NodeIdx> {
    let order = execution_order(program, ExecutionOrder::Default);
    for index in &order {
        infer_node(program, *index, &constants);
    }
    order
}

fn infer_node(program: &mut Program, index: NodeIdx, constants: &Constants) {
    let inferred = if program.node(index).subgraphs.is_empty() {
        rules::apply(&Query::new(program, index, constants))
    } else {
        control::infer(program, index, constants)
    };
    note_sequences(program, index);
    let mut contents = contents::propagate(&Query::new(program, index, constants));
    let mut inferred = inferred.into_iter();
    for (position, output) in program.nodes[index.index()].outputs.iter().enumerate() {
        let inferred = inferred.next();
        let Some(output) = output else { continue };
        let value = &mut program.values[output.index()];
        if let Some(Inferred { element, shape }) = inferred {
            value.element = value.element.or(element);
            if let Some(shape) = shape {
                value.declared = match value.declared.take() {
                    Some(declared) => merge::merge(&shape, declared),
                    None => Some(shape),
                };
            }
        }
        if position == 0 && contents.is_some() {
            value.known_integers = contents.take();
        }
    }
}

/// Outputs that are sequences, also where the file does not say so.
fn note_sequences(program: &mut Program, index: NodeIdx) {
    let node = program.node(index);
    let is_sequence = |input: Option<ValueIdx>| input.is_some_and(|input| !program.value(input).is_tensor);
    let carried = match node.op_type.as_str() {
        _ if !node.domain.is_empty() => return,
        "SequenceEmpty" | "SequenceConstruct" | "SequenceInsert" | "SequenceErase" | "SplitToSequence" => vec![true],
        "Identity" => vec![is_sequence(node.input(0))],
        "Loop" => node.inputs.iter().skip(2).map(|input| is_sequence(*input)).collect(),
        _ => return,
    };
    let outputs: Vec<ValueIdx> =
        node.outputs.iter().zip(carried).filter(|(_, is)| *is).filter_map(|(at, _)| *at).collect();
    for output in outputs {
        program.values[output.index()].is_tensor = false;
    }
}

/// What the weights of a program hold, by value, as far as shapes depend on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constants {
    integers: Vec<Option<KnownIntegers>>,
    floats: Vec<Option<Vec<f32>>>,
}

impl Constants {
    fn of(program: &Program) -> Self {
        let n_values = program.values.len();
        let mut constants = Self { integers: vec![None; n_values], floats: vec![None; n_values] };
        for weight in program.weights.iter().filter(|weight| !weight.overridable) {
            let at = weight.value.index();
            let is_scalar = weight.size.as_ref().is_some_and(|TensorSize { dims, .. }| dims.is_empty());
            match &weight.values {
                Some(WeightValues::Integers(elements)) => {
                    constants.integers[at] = Some(KnownIntegers { is_scalar, elements: elements.clone() });
                }
                Some(WeightValues::Floats(elements)) => constants.floats[at] = Some(elements.clone()),
                None => {}
            }
        }
        constants
    }
}

#[cfg(test)]
mod tests;
