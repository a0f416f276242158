//! How requests of a model are cut into rows, and what of a request counts.

use std::collections::BTreeMap;

use super::BytesNeeded;
use crate::{TensorInfo, Tensors};

/// How requests of a model may be cut along their batch, as was proven from the graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The name of the batch's dimension.
    pub dim: String,
    /// The axis of the rows, for each input that has them.
    pub inputs: BTreeMap<String, usize>,
    /// The axis of the rows, for each output that has them.
    pub outputs: BTreeMap<String, usize>,
    /// Whether the shape of every output follows from the shapes of the inputs.
    pub shapes_follow: bool,
}

/// A request as it is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Rows; 1 where nothing can be cut.
    pub(super) rows: u64,
    pub(super) cuttable: bool,
    /// All sizes of all inputs, in the model's order, with one row's size where rows lie.
    pub(super) sizes: Vec<u64>,
}

impl Counted {
    /// Counts a request that was checked against the model's inputs.
    pub(super) fn count(&mut self, cut: Option<&Cut>, infos: &[TensorInfo], inputs: &Tensors) {
        let axis = |name: &str| cut.and_then(|cut| cut.inputs.get(name)).copied();
        let size = |info: &TensorInfo| {
            let axis = axis(&info.name)?;
            inputs.get(&info.name)?.shape().get(axis).copied()
        };
        let rows = infos.iter().filter_map(size).min().unwrap_or(1);
        // An input may have several entries for each row, but the same number for all.
        let even = rows > 0 && infos.iter().filter_map(size).all(|size| size % rows == 0);
        let missing = infos.iter().any(|info| axis(&info.name).is_some() && size(info).is_none());
        self.cuttable = cut.is_some() && even && !missing;
        self.rows = if self.cuttable { rows } else { 1 };
        self.sizes.clear();
        for info in infos {
            let Some(tensor) = inputs.get(&info.name) else { continue };
            let axis = axis(&info.name).filter(|_| self.cuttable);
            let sizes = tensor.shape().iter().enumerate();
            self.sizes.extend(sizes.map(|(at, dim)| if axis == Some(at) { dim / rows } else { *dim }));
        }
    }
}

/// A request's needs, as the planner asks for them.
pub(super) struct Asked<'a, R> {
    pub(super) needs: &'a dyn BytesNeeded,
    pub(super) sizes: &'a [u64],
    pub(super) room: R,
}

impl<R: FnMut() -> Option<onnxfit_base::Bytes>> super::Situation for Asked<'_, R> {
    fn need(&mut self, rows: u64) -> Option<onnxfit_base::Bytes> {
        self.needs.bytes_needed(self.sizes, rows)
    }

    fn need_at_most(&mut self, rows: u64) -> Option<onnxfit_base::Bytes> {
        self.needs.bytes_bound(self.sizes, rows)
    }

    fn room(&mut self) -> Option<onnxfit_base::Bytes> {
        (self.room)()
    }
}
