//! Cuts: the model without some of its atoms, and the model in which they are zero.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use onnxfit_base::{Diagnostic, Severity};
use onnxfit_graph::{AttributeValue, Dim, Graph, Model, Patch, ValueId, ValueType};
use onnxfit_onnx::proto::TensorProto;
use onnxfit_shape::{Bindings, infer};

use crate::analysis::Analysis;
use crate::context::Level;
use crate::elements::Axis;
use crate::error::PruneError;
use crate::mend::{Kept, Mender};
use crate::registry::entry;
use crate::source::{Cuts, Selection, ZeroPoint};

/// A model and where its weights come from.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// The model.
    pub model: Model,
    /// Weights that are cut when they are read.
    pub cuts: Cuts,
}

impl Analysis {
    /// The model without these atoms.
    pub fn cut(&self, removed: &[usize]) -> Result<Pruned, PruneError> {
        let gone = self.gone(removed);
        let kept = Kept(
            gone.iter()
                .map(|(axis, gone)| {
                    let size = self.elements.size(*axis).unwrap_or(0);
                    (*axis, (0..size).filter(|index| !gone.contains(index)).collect())
                })
                .collect(),
        );
        let mut cuts = self.cuts.clone();
        let graph = &self.model.graph;
        let mut patch = Patch::new(graph, "prune");
        for value in touched(&gone) {
            let selections: Vec<Selection> = of_value(&gone, value)
                .map(|(axis, _)| (axis.axis, kept.indices(axis).unwrap_or_default().to_vec()))
                .collect();
            self.replace(&mut patch, value, &mut cuts, selections, Vec::new());
            self.declare(&mut patch, value, &kept);
        }
        for (id, node) in graph.nodes() {
            let Some(mend) = entry(&node.domain, &node.op_type).and_then(|entry| entry.mend) else { continue };
            let mut level = Level::Nothing;
            let context = self.look(id, &mut level);
            let mut mender = Mender { kept: &kept, patch: &mut patch };
            mend(&context, &mut mender).ok_or_else(|| PruneError::CannotMend {
                node: graph.node_label(id).to_owned(),
                op_type: node.op_type.clone(),
            })?;
        }
        let mut model = self.model.clone();
        model.graph.apply(&patch)?;
        drop_unread(&mut model.graph)?;
        check_shapes(&model, &self.model)?;
        Ok(Pruned { model, cuts })
    }

    /// The whole model with these atoms' weights set to zero: it answers as the pruned one does.
    pub fn mask(&self, removed: &[usize]) -> Result<Pruned, PruneError> {
        let gone = self.gone(removed);
        let mut cuts = self.cuts.clone();
        let mut patch = Patch::new(&self.model.graph, "mask");
        for value in touched(&gone).into_iter().filter(|value| self.may_be_zero(*value)) {
            let zeroed: Vec<Selection> =
                of_value(&gone, value).map(|(axis, gone)| (axis.axis, gone.iter().copied().collect())).collect();
            self.replace(&mut patch, value, &mut cuts, Vec::new(), zeroed);
        }
        let mut model = self.model.clone();
        model.graph.apply(&patch)?;
        Ok(Pruned { model, cuts })
    }

    fn gone(&self, removed: &[usize]) -> BTreeMap<Axis, BTreeSet<usize>> {
        let mut gone: BTreeMap<Axis, BTreeSet<usize>> = BTreeMap::new();
        for atom in removed {
            for (axis, indices) in &self.atoms[*atom].places {
                gone.entry(*axis).or_default().extend(indices);
            }
        }
        gone
    }

    /// Gives a fixed tensor other bytes; activations have none.
    fn replace(
        &self,
        patch: &mut Patch,
        value: ValueId,
        cuts: &mut Cuts,
        kept: Vec<Selection>,
        zeroed: Vec<Selection>,
    ) {
        let graph = &self.model.graph;
        let Some(original) = graph.constant_tensor(value).cloned() else { return };
        let mut tensor: TensorProto = (*original).clone();
        let zero_point = if zeroed.is_empty() { None } else { self.zero_point(value) };
        cuts.postpone(&mut tensor, &original, kept, zeroed, zero_point);
        match graph.producer(value) {
            // The file keeps attributes inside itself.
            Some((node, _)) => patch.set_attribute(node, "value", AttributeValue::Tensor(Arc::new(tensor))),
            None => patch.set_initializer(value, tensor),
        }
    }

    /// The integer that stands for zero in a weight: what its reader is told.
    fn zero_point(&self, value: ValueId) -> Option<ZeroPoint> {
        let graph = &self.model.graph;
        graph.value(value).uses.iter().find_map(|one| {
            let node = graph.node(one.node);
            let (point, axis) = match (node.op_type.as_str(), one.input?) {
                ("DequantizeLinear", 0) => (2, node.int("axis").unwrap_or(1)),
                ("ConvInteger", 1) => (3, 0),
                ("QLinearConv", 3) => (5, 0),
                ("MatMulInteger", 1) => (3, -1),
                ("QLinearMatMul", 3) => (5, -1),
                _ => return None,
            };
            let n_axes = graph.constant_tensor(value)?.dims.len() as i64;
            let axis = usize::try_from(if axis < 0 { axis + n_axes } else { axis }).ok()?;
            let tensor = graph.constant_tensor((*node.inputs.get(point)?)?)?.clone();
            Some(ZeroPoint { tensor, axis })
        })
    }

    /// Declares a value's new shape, if it was declared.
    fn declare(&self, patch: &mut Patch, value: ValueId, kept: &Kept) {
        let ValueType::Tensor(mut ty) = self.model.graph.value(value).ty.clone() else { return };
        if self.model.graph.value(value).constant.is_some() {
            return;
        }
        for (axis, dim) in ty.shape.iter_mut().flatten().enumerate() {
            if let Some(size) = kept.size(Axis { value, axis }) {
                *dim = Dim::Known(size);
            }
        }
        patch.set_type(value, ValueType::Tensor(ty));
    }

    /// Whether a zero in a weight does no harm: nobody divides by it or takes its logarithm.
    fn may_be_zero(&self, value: ValueId) -> bool {
        let graph = &self.model.graph;
        graph.value(value).uses.iter().all(|one| {
            let node = graph.node(one.node);
            !matches!(
                (node.op_type.as_str(), one.input),
                ("Div", Some(1))
                    | ("Pow" | "Log" | "Sqrt" | "Reciprocal", _)
                    | ("BatchNormalization", Some(4))
                    | ("QuantizeLinear" | "DequantizeLinear", Some(1 | 2))
            )
        })
    }
}

fn touched(gone: &BTreeMap<Axis, BTreeSet<usize>>) -> BTreeSet<ValueId> {
    gone.keys().map(|axis| axis.value).collect()
}

fn of_value(gone: &BTreeMap<Axis, BTreeSet<usize>>, value: ValueId) -> impl Iterator<Item = (Axis, &BTreeSet<usize>)> {
    let (first, last) = (Axis { value, axis: 0 }, Axis { value, axis: usize::MAX });
    gone.range(first..=last).map(|(axis, gone)| (*axis, gone))
}

/// Drops nodes that nobody reads any more, and then initializers.
fn drop_unread(graph: &mut Graph) -> Result<(), PruneError> {
    // Applying the cut found no cycle.
    let order = graph.topological_order().unwrap_or_default();
    let mut patch = Patch::new(graph, "unread");
    let mut unread = BTreeSet::new();
    for id in order.into_iter().rev() {
        let is_read = graph.node(id).outputs.iter().flatten().any(|output| {
            let value = graph.value(*output);
            value.is_output || value.uses.iter().any(|one| !unread.contains(&one.node))
        });
        if !is_read {
            unread.insert(id);
            patch.remove_node(id);
        }
    }
    for id in graph.initializers() {
        let value = graph.value(*id);
        if !value.is_input && !value.is_output && value.uses.iter().all(|one| unread.contains(&one.node)) {
            patch.remove_initializer(*id);
        }
    }
    graph.apply(&patch)?;
    Ok(())
}

/// What shape inference finds wrong in the new model and not in the old one.
fn check_shapes(model: &Model, before: &Model) -> Result<(), PruneError> {
    let errors = |model: &Model| {
        let found = infer(model, &Bindings::default()).diagnostics;
        found.into_iter().filter(|finding| finding.severity == Severity::Error).collect::<Vec<Diagnostic>>()
    };
    let new = errors(model);
    if new.is_empty() {
        return Ok(());
    }
    let old = errors(before);
    match new.into_iter().find(|finding| !old.iter().any(|known| known.id == finding.id)) {
        Some(finding) => Err(PruneError::Shapes(finding)),
        None => Ok(()),
    }
}
