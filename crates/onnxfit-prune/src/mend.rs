//! Making nodes right again after their tensors were cut.

use std::collections::BTreeMap;

use onnxfit_graph::{NewNode, NodeId, Patch, Place, ValueId, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use crate::context::Context;
use crate::elements::Axis;

/// What is left of the axes that are cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(pub(crate) BTreeMap<Axis, Vec<usize>>);

impl Kept {
    /// The indices that stay; `None` for an axis that stays whole.
    pub(crate) fn indices(&self, axis: Axis) -> Option<&[usize]> {
        self.0.get(&axis).map(Vec::as_slice)
    }

    /// How many indices are left of an axis that is cut.
    pub(crate) fn size(&self, axis: Axis) -> Option<i64> {
        self.indices(axis).and_then(|kept| i64::try_from(kept.len()).ok())
    }

    /// Whether any axis of a value is cut.
    pub(crate) fn touches(&self, value: ValueId) -> bool {
        let (first, last) = (Axis { value, axis: 0 }, Axis { value, axis: usize::MAX });
        self.0.range(first..=last).next().is_some()
    }
}

/// The change under construction.
pub(crate) struct Mender<'a> {
    pub(crate) kept: &'a Kept,
    pub(crate) patch: &'a mut Patch,
}

impl Mender<'_> {
    /// A new fixed tensor of whole numbers, of the type that another one has.
    pub(crate) fn integers(&mut self, name: &str, like: Option<DataType>, dims: &[i64], values: &[i64]) -> ValueId {
        let tensor = match like {
            Some(DataType::Int32) => {
                let raw: Vec<u8> = values.iter().flat_map(|value| (*value as i32).to_le_bytes()).collect();
                TensorProto::from_raw(name, DataType::Int32, dims, raw)
            }
            _ => TensorProto::from_i64(name, dims, values),
        };
        self.patch.add_initializer(tensor)
    }

    /// `old` with other numbers in some places.
    pub(crate) fn overwrite(&mut self, name: &str, before: NodeId, old: ValueId, new: &[Option<i64>]) -> ValueId {
        self.overwrite_at(name, Place::Before(before), old, new)
    }

    fn overwrite_at(&mut self, name: &str, place: Place, old: ValueId, new: &[Option<i64>]) -> ValueId {
        let n = new.len() as i64;
        let mask: Vec<u8> = new.iter().map(|number| u8::from(number.is_some())).collect();
        let mask = TensorProto::from_raw(&format!("{name}/which"), DataType::Bool, &[n], mask);
        let mask = self.patch.add_initializer(mask);
        let numbers: Vec<i64> = new.iter().map(|number| number.unwrap_or(0)).collect();
        let numbers = self.integers(&format!("{name}/new"), None, &[n], &numbers);
        let ty = ValueType::tensor(DataType::Int64, vec![onnxfit_graph::Dim::Known(n)]);
        let result = self.patch.add_value(&format!("{name}/shape"), ty);
        let node = NewNode::new("Where", name, &[mask, numbers, old], &[result]);
        self.patch.add_node(place, node);
        result
    }

    /// The same, for what `after` gives.
    pub(crate) fn overwrite_after(&mut self, name: &str, after: NodeId, old: ValueId, new: &[Option<i64>]) -> ValueId {
        self.overwrite_at(name, Place::After(after), old, new)
    }

    /// Lets an `Expand` name the shape that its output has now.
    pub(crate) fn retarget_expansion(&mut self, context: &Context<'_, '_>) -> Option<()> {
        self.retarget(context, 1, Some(1), false)
    }

    /// The number that a whole axis has now, if it is fixed.
    pub(crate) fn new_size(&self, context: &Context<'_, '_>, axis: Axis) -> Option<i64> {
        self.kept.size(axis).or_else(|| context.size(axis))
    }

    /// Lets an input that names the output's shape name the one that it has now. `copies` is the
    /// number that stands for "as the input has it", if there is one, `infers` whether one number may be
    /// left open as -1.
    pub(crate) fn retarget(
        &mut self,
        context: &Context<'_, '_>,
        slot: usize,
        copies: Option<i64>,
        infers: bool,
    ) -> Option<()> {
        let (input, output) = (context.node.input(0)?, context.node.output(0)?);
        if !self.kept.touches(output) && !self.kept.touches(input) {
            return Some(());
        }
        let old = context.node.input(slot)?;
        let (before, after) = (context.shape(input)?, context.shape(output)?);
        let known = context.input_fact(slot).and_then(|fact| fact.ints()).unwrap_or_else(|| vec![None; after.len()]);
        let shift = if copies == Some(0) { 0 } else { after.len().saturating_sub(before.len()) };
        let is_longer = known.len() != after.len();
        if is_longer {
            return None;
        }
        let mut fixed: Vec<Option<i64>> = Vec::new();
        for (axis, dim) in after.iter().enumerate() {
            let own = self.new_size(context, Axis { value: output, axis });
            let said = known[axis].as_ref().and_then(|number| number.as_constant());
            let is_copied = axis >= shift && before.get(axis - shift) == Some(dim);
            fixed.push(own.or(match said {
                Some(number) if infers || Some(number) == copies => Some(number),
                _ if is_copied => copies,
                _ => None,
            }));
        }
        let open: Vec<usize> = (0..fixed.len()).filter(|axis| fixed[*axis].is_none()).collect();
        if let ([one], true) = (open.as_slice(), infers && !fixed.contains(&Some(-1))) {
            fixed[*one] = Some(-1);
        }
        let name = format!("{}/pruned", context.label());
        let all: Option<Vec<i64>> = fixed.iter().copied().collect();
        let new = match all {
            Some(numbers) => {
                let dims = [numbers.len() as i64];
                self.integers(&name, context.input_fact(slot).and_then(|fact| fact.element_type), &dims, &numbers)
            }
            None => {
                let changed =
                    (0..fixed.len()).map(|axis| self.kept.size(Axis { value: output, axis })).collect::<Vec<_>>();
                self.overwrite(&name, context.id, old, &changed)
            }
        };
        self.patch.set_input(context.id, slot, Some(new));
        Some(())
    }
}
