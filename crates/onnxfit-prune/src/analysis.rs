//! What of a model can go: the groups of channels, heads and features that depend on each other.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::{Bytes, Diagnostic};
use onnxfit_graph::{Graph, Model, NodeId, ValueId};
use onnxfit_onnx::DataType;
use onnxfit_shape::{Bindings, GraphFacts, infer};

use crate::context::{Context, Level};
use crate::elements::{Axis, Elements};
use crate::error::PruneError;
use crate::purpose::Purposes;
use crate::registry::entry;
use crate::source::Cuts;
use crate::unshare::unshare;

/// Something that can go: one channel, one head, one feature, with all that hangs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atom {
    /// Every place where it is.
    pub places: Vec<(Axis, Vec<usize>)>,
}

/// Atoms that are in the same axes, and so can be chosen among.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The axes.
    pub axes: Vec<Axis>,
    /// Its atoms, by number.
    pub atoms: Vec<usize>,
}

/// What of a model can go.
#[derive(Clone, Debug)]
pub struct Analysis {
    /// The model, in which no vector is shared any more.
    pub model: Model,
    /// The bytes of its weights, where they are not those of the file.
    pub cuts: Cuts,
    /// All that can go.
    pub atoms: Vec<Atom>,
    /// In order of the graph.
    pub groups: Vec<Group>,
    /// The float weights.
    pub weights: Vec<ValueId>,
    /// Operators that kept their tensors whole.
    pub diagnostics: Vec<Diagnostic>,
    pub(crate) facts: GraphFacts,
    /// Elements, for the size of every axis.
    pub(crate) elements: Elements,
}

impl Analysis {
    /// Finds the groups of a model whose own functions are inlined.
    pub fn of(model: &Model) -> Result<Self, PruneError> {
        let mut cuts = Cuts::default();
        let model = unshare(model, &mut cuts)?;
        let facts = infer(&model, &Bindings::default()).graph;
        let graph = &model.graph;
        let sizes = Elements::of(graph, &facts).ok_or(PruneError::TooLarge)?;
        let mut diagnostics = Vec::new();
        let mut purposes = Purposes::default();
        let mut level = Level::Axes(&mut purposes);
        couple(&model, &facts, &sizes, &mut level, &mut diagnostics);
        purposes.settle();
        let mut elements = sizes.clone();
        let mut level = Level::Elements(&mut elements, &mut purposes);
        couple(&model, &facts, &sizes, &mut level, &mut diagnostics);
        let weights = float_weights(graph);
        let (atoms, groups) = collect(graph, &mut elements, &weights);
        Ok(Self { cuts, atoms, groups, weights, diagnostics, facts, elements: sizes, model })
    }

    /// Bytes of all weights that the file would hold without these atoms.
    pub fn weights_bytes(&self, removed: &[usize]) -> Bytes {
        let mut gone: BTreeMap<Axis, BTreeSet<usize>> = BTreeMap::new();
        for atom in removed {
            for (axis, indices) in &self.atoms[*atom].places {
                gone.entry(*axis).or_default().extend(indices);
            }
        }
        let graph = &self.model.graph;
        let tensors = graph.values().filter_map(|(id, _)| Some((id, graph.constant_tensor(id)?)));
        let bytes = tensors.map(|(value, tensor)| {
            let left = tensor.dims.iter().enumerate().map(|(axis, dim)| {
                let gone = gone.get(&Axis { value, axis }).map_or(0, BTreeSet::len);
                u64::try_from(*dim).unwrap_or(0).saturating_sub(gone as u64)
            });
            let n_elements = left.fold(1u64, u64::saturating_mul);
            tensor.element_type().ok().and_then(|ty| ty.packed_bytes(n_elements)).unwrap_or(0)
        });
        Bytes(bytes.fold(0, u64::saturating_add))
    }

    /// A context in which a node is only looked at.
    pub(crate) fn look<'a, 'b>(&'a self, id: NodeId, level: &'b mut Level<'a>) -> Context<'a, 'b> {
        let (graph, node) = (&self.model.graph, self.model.graph.node(id));
        Context {
            graph,
            node,
            id,
            facts: &self.facts,
            opset: self.model.opset(&node.domain),
            level,
            sizes: &self.elements,
            named: BTreeSet::new(),
        }
    }
}

/// Lets every node say what goes together.
fn couple<'a>(
    model: &'a Model,
    facts: &'a GraphFacts,
    sizes: &'a Elements,
    level: &mut Level<'a>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let graph = &model.graph;
    let mut without_rule: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for (id, node) in graph.nodes() {
        let mut context =
            Context { graph, node, id, facts, opset: model.opset(&node.domain), level, sizes, named: BTreeSet::new() };
        let known = entry(&node.domain, &node.op_type);
        if known.is_some_and(|entry| (entry.rule)(&mut context).is_some()) {
            context.pin_unnamed();
            continue;
        }
        let values: Vec<ValueId> = node.inputs.iter().chain(&node.outputs).copied().flatten().collect();
        let is_float = |id: &ValueId| facts.get(*id).and_then(|fact| fact.element_type).is_none_or(DataType::is_float);
        if values.iter().any(is_float) {
            let label = context.label().to_owned();
            let seen = without_rule.entry(node.op_type.clone()).or_insert((label, 0));
            seen.1 += 1;
        }
        values.into_iter().for_each(|value| context.pin_all(value));
    }
    if matches!(level, Level::Elements(..)) {
        for (op_type, (first, count)) in without_rule {
            let message = format!("{count} nodes `{op_type}`, first `{first}`, keep what they touch whole");
            diagnostics.push(Diagnostic::note("kept-whole", message));
        }
    }
    for (value, info) in graph.values() {
        let enters_body = info.uses.iter().any(|one| one.input.is_none());
        let is_sparse = info.constant.is_some() && info.tensor().is_none();
        // Packed types have no row of whole bytes.
        let is_packed = graph.constant_tensor(value).is_some_and(|tensor| {
            tensor.element_type().map_or(true, |element_type| element_type.bits() % 8 != 0 || element_type.bits() == 0)
        });
        if info.is_input || info.is_output || enters_body || is_sparse || is_packed || info.is_captured {
            for axis in 0..sizes.rank(value) {
                match level {
                    Level::Axes(purposes) => purposes.pin(Axis { value, axis }),
                    Level::Elements(elements, _) => elements.pin_axis(Axis { value, axis }),
                    Level::Nothing => {}
                }
            }
        }
    }
}

fn float_weights(graph: &Graph) -> Vec<ValueId> {
    let is_weight = |id: ValueId| {
        graph.constant_tensor(id).is_some_and(|tensor| {
            let known =
                tensor.element_type().is_ok_and(|ty| ty.is_float() || ty == DataType::Int8 || ty == DataType::Uint8);
            known && !tensor.dims.is_empty()
        })
    };
    graph.values().map(|(id, _)| id).filter(|id| is_weight(*id)).collect()
}

/// The elements that may go, gathered.
fn collect(graph: &Graph, elements: &mut Elements, weights: &[ValueId]) -> (Vec<Atom>, Vec<Group>) {
    let is_weight: BTreeSet<ValueId> = weights.iter().copied().collect();
    let mut number: BTreeMap<usize, usize> = BTreeMap::new();
    let mut atoms: Vec<Atom> = Vec::new();
    let mut has_weight: Vec<bool> = Vec::new();
    for (value, _) in graph.values() {
        for axis in 0..elements.rank(value) {
            let axis = Axis { value, axis };
            for index in 0..elements.size(axis).unwrap_or(0) {
                let Some(element) = elements.at(axis, index) else { continue };
                if elements.is_pinned(element) {
                    continue;
                }
                let root = elements.root(element);
                let atom = *number.entry(root).or_insert(atoms.len());
                if atom == atoms.len() {
                    atoms.push(Atom { places: Vec::new() });
                    has_weight.push(false);
                }
                has_weight[atom] |= is_weight.contains(&value);
                match atoms[atom].places.last_mut() {
                    Some((last, indices)) if *last == axis => indices.push(index),
                    _ => atoms[atom].places.push((axis, vec![index])),
                }
            }
        }
    }
    let mut has_weight = has_weight.into_iter();
    atoms.retain(|_| has_weight.next().unwrap_or(false));
    let mut by_axes: BTreeMap<Vec<Axis>, Vec<usize>> = BTreeMap::new();
    for (atom, known) in atoms.iter().enumerate() {
        by_axes.entry(known.places.iter().map(|(axis, _)| *axis).collect()).or_default().push(atom);
    }
    let mut groups: Vec<Group> = by_axes.into_iter().map(|(axes, atoms)| Group { axes, atoms }).collect();
    groups.retain(|group| group.atoms.len() > 1);
    groups.sort_by_key(|group| group.atoms.first().copied());
    (atoms, groups)
}
