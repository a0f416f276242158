//! How requests of a model are cut into rows, and what of a request counts.

use std::collections::BTreeMap;

use super::BytesNeeded;

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
pub struct Counted {
    /// Rows; 1 where nothing can be cut.
    pub rows: u64,
    /// Whether the rows may be cut apart.
    pub cuttable: bool,
    /// All sizes of all inputs, in the model's order, with one row's size where rows lie.
    pub sizes: Vec<u64>,
}

impl Counted {
    /// Counts a request by the names of the model's inputs and the shapes that they are given in.
    pub fn count<'a>(
        &mut self,
        cut: Option<&Cut>,
        names: impl Iterator<Item = &'a str> + Clone,
        shape: impl Fn(&str) -> Option<&'a [u64]>,
    ) {
        let axis = |name: &str| cut.and_then(|cut| cut.inputs.get(name)).copied();
        let size = |name: &str| shape(name)?.get(axis(name)?).copied();
        let sizes = names.clone().filter_map(size);
        let rows = sizes.clone().min().unwrap_or(1);
        // An input may have several entries for each row, but the same number for all.
        let even = rows > 0 && sizes.clone().all(|size| size % rows == 0);
        let missing = names.clone().any(|name| axis(name).is_some() && size(name).is_none());
        self.cuttable = cut.is_some() && even && !missing;
        self.rows = if self.cuttable { rows } else { 1 };
        self.sizes.clear();
        for name in names {
            let Some(shape) = shape(name) else { continue };
            let axis = axis(name).filter(|_| self.cuttable);
            let sizes = shape.iter().enumerate();
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
