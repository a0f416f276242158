//! Puts the outputs of pieces together, each row written once where it belongs.

use std::ops::Range;

use super::cut::Cut;
use crate::session::bound::Fetch;
use crate::{ElementType, RunError, Stage, Tensor, TensorInfo, Tensors};

/// The outputs of a request in the making.
pub(super) struct Assembly<'a> {
    infos: &'a [TensorInfo],
    slots: Vec<Slot>,
}

/// One output in the making.
#[derive(Debug)]
enum Slot {
    /// Nothing is known yet.
    Empty,
    /// All of it, pieces written one after the other: rows lie along the first axis.
    Whole { row: RowShape, n_rows: u64, bytes: Vec<u8> },
    /// Rows along another axis, or of no whole bytes: joined at the end.
    Pieces { axis: usize, pieces: Vec<Tensor> },
    /// The same in every piece.
    Same(Tensor),
}

/// The type and shape of an output of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowShape {
    element_type: ElementType,
    shape: Vec<u64>,
    /// Whether rows lie along the first axis; otherwise it has none.
    has_rows: bool,
    bytes: usize,
}

impl RowShape {
    /// From the output of a piece; `None` when rows do not lie one after the other in its bytes.
    fn of(tensor: &Tensor, axis: Option<usize>, n_rows: u64) -> Option<Self> {
        let n_bytes = tensor.bytes()?.len();
        let mut shape = tensor.shape().to_vec();
        let has_rows = match axis {
            None => false,
            Some(0) if n_rows > 0 && shape[0].is_multiple_of(n_rows) => true,
            Some(_) => return None,
        };
        let mut bytes = n_bytes;
        if has_rows {
            shape[0] /= n_rows;
            let n_rows = usize::try_from(n_rows).ok()?;
            // Of types smaller than a byte only whole bytes can be placed.
            if n_bytes % n_rows != 0 || !tensor.element_type().bits().is_multiple_of(8) {
                return None;
            }
            bytes = n_bytes / n_rows;
        }
        Some(Self { element_type: tensor.element_type(), shape, has_rows, bytes })
    }

    fn shape_of(&self, n_rows: u64) -> Vec<u64> {
        let mut shape = self.shape.clone();
        if self.has_rows {
            shape[0] *= n_rows;
        }
        shape
    }

    fn bytes_of(&self, n_rows: u64) -> Option<usize> {
        if self.has_rows { self.bytes.checked_mul(usize::try_from(n_rows).ok()?) } else { Some(self.bytes) }
    }
}

impl<'a> Assembly<'a> {
    /// Outputs of which nothing is known, or whose shapes of one row are.
    pub(super) fn new(infos: &'a [TensorInfo], known: Option<&[RowShape]>, n_rows: u64) -> Self {
        let whole = |row: &RowShape| {
            let bytes = vec![0; row.bytes_of(n_rows)?];
            Some(Slot::Whole { row: row.clone(), n_rows, bytes })
        };
        let slots = match known {
            Some(rows) => rows.iter().map(|row| whole(row).unwrap_or(Slot::Empty)).collect(),
            None => infos.iter().map(|_| Slot::Empty).collect(),
        };
        Self { infos, slots }
    }

    /// Where the outputs of a piece go; `None` where that is not known yet.
    pub(super) fn fetches(&mut self, rows: &Range<u64>) -> Vec<Option<Fetch<'_>>> {
        let place = |slot: &'_ mut Slot| -> Option<(ElementType, Vec<i64>, Range<usize>)> {
            let Slot::Whole { row, .. } = slot else { return None };
            let shape = crate::session::bound::signed(&row.shape_of(rows.end - rows.start))?;
            let range = if row.has_rows {
                row.bytes * usize::try_from(rows.start).ok()?..row.bytes * usize::try_from(rows.end).ok()?
            } else {
                0..row.bytes
            };
            Some((row.element_type, shape, range))
        };
        self.slots
            .iter_mut()
            .map(|slot| {
                let (element_type, shape, range) = place(slot)?;
                let Slot::Whole { bytes, .. } = slot else { return None };
                Some(Fetch { element_type, shape, bytes: bytes.get_mut(range)? })
            })
            .collect()
    }

    /// Forgets the places that outputs were to be written to.
    pub(super) fn unbind(&mut self, rows: &Range<u64>) {
        for slot in &mut self.slots {
            if rows.start == 0 && matches!(slot, Slot::Whole { .. }) {
                *slot = Slot::Empty;
            }
        }
    }

    /// Takes the outputs of a piece that had no place of their own.
    pub(super) fn take(
        &mut self,
        cut: Option<&Cut>,
        rows: &Range<u64>,
        n_rows: u64,
        made: Vec<Option<Tensor>>,
    ) -> Result<(), RunError> {
        for (at, tensor) in made.into_iter().enumerate() {
            let (Some(tensor), Some(slot)) = (tensor, self.slots.get_mut(at)) else { continue };
            let axis = cut.and_then(|cut| cut.outputs.get(&self.infos[at].name)).copied();
            let n = rows.end - rows.start;
            match slot {
                _ if n == n_rows => *slot = Slot::Same(tensor),
                Slot::Empty => *slot = first(tensor, axis, n, n_rows),
                Slot::Pieces { pieces, .. } => pieces.push(tensor),
                // It is the same as that of the first piece.
                Slot::Same(_) => {}
                Slot::Whole { row, bytes, .. } => {
                    let range = row.bytes * rows.start as usize..row.bytes * rows.end as usize;
                    match (bytes.get_mut(range), tensor.bytes()) {
                        (Some(place), Some(from)) if place.len() == from.len() => place.copy_from_slice(from),
                        _ => return Err(uneven(&self.infos[at].name)),
                    }
                }
            }
        }
        Ok(())
    }

    /// The outputs of the whole request.
    pub(super) fn finish(self) -> Result<Tensors, RunError> {
        let mut outputs = Tensors::new();
        for (info, slot) in self.infos.iter().zip(self.slots) {
            let tensor = match slot {
                // An optional output that the model did not make.
                Slot::Empty => continue,
                Slot::Same(tensor) => tensor,
                Slot::Whole { row, n_rows, bytes } => {
                    Tensor::from_bytes(row.element_type, row.shape_of(n_rows), bytes).map_err(|_| uneven(&info.name))?
                }
                Slot::Pieces { axis, pieces } => {
                    let pieces: Vec<&Tensor> = pieces.iter().collect();
                    Tensor::concatenate(&pieces, axis).ok_or_else(|| uneven(&info.name))?
                }
            };
            outputs.insert(info.name.clone(), tensor);
        }
        Ok(outputs)
    }
}

/// The shapes of one row, of every output; `None` if one of them does not allow it.
pub(super) fn row_shapes(
    infos: &[TensorInfo],
    cut: Option<&Cut>,
    outputs: &Tensors,
    n_rows: u64,
) -> Option<Vec<RowShape>> {
    let row = |info: &TensorInfo| {
        let axis = cut.and_then(|cut| cut.outputs.get(&info.name)).copied();
        RowShape::of(outputs.get(&info.name)?, axis, n_rows)
    };
    infos.iter().map(row).collect()
}

/// The slot of an output whose first piece is there.
fn first(tensor: Tensor, axis: Option<usize>, n: u64, n_rows: u64) -> Slot {
    let Some(axis) = axis else { return Slot::Same(tensor) };
    let whole = RowShape::of(&tensor, Some(axis), n).and_then(|row| {
        let mut bytes = vec![0; row.bytes_of(n_rows)?];
        let piece = tensor.bytes()?;
        bytes.get_mut(..piece.len())?.copy_from_slice(piece);
        Some(Slot::Whole { row, n_rows, bytes })
    });
    whole.unwrap_or_else(|| Slot::Pieces { axis, pieces: vec![tensor] })
}

fn uneven(name: &str) -> RunError {
    RunError::Failed {
        stage: Stage::Run,
        node: None,
        op_type: None,
        message: format!("the pieces of output `{name}` do not join"),
    }
}
