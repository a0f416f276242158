//! Reading at indices: the gradient is added back where it was read.

use onnxfit_onnx::DataType;

use crate::emit::{int, text};
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, unsupported};

pub(crate) const TABLE: &[Entry] =
    &[("", "Gather", gather), ("", "GatherElements", gather_elements), ("", "GatherND", gather_nd)];

fn gather(c: &mut Reverse<'_>) -> RuleResult {
    let (indices, dy) = (c.x(1)?, c.dy()?);
    let (rank, indices_rank) = (c.rank(0)?, c.rank(1)?);
    let axis = c.axis_or("axis", 0, rank)?;
    // One fixed place: zeros around it.
    if indices_rank == 0
        && let Some([index]) = c.known_ints(1).as_deref()
    {
        return one_place(c, *index, axis, rank);
    }
    // The gathered axes come first, so that each piece read is one block.
    let n_places = indices_rank as i64;
    let n_rest = rank as i64 - 1;
    let mut perm: Vec<i64> = (axis as i64..axis as i64 + n_places).collect();
    perm.extend((0..n_places + n_rest).filter(|other| !(axis as i64..axis as i64 + n_places).contains(other)));
    let pieces = c.transpose(dy, &perm);
    let mut order: Vec<i64> = (0..rank as i64).filter(|other| *other != axis as i64).collect();
    order.insert(0, axis as i64);
    let element_type = c.element_type();
    let shape = match (c.known_dims(0), axis) {
        (Some(dims), _) if dims.iter().all(Option::is_some) => {
            let dims: Vec<i64> = order.iter().filter_map(|from| dims[*from as usize]).collect();
            c.ints(&dims)
        }
        (_, 0) => c.shape_vector(0)?,
        _ => {
            let full = c.shape_vector(0)?;
            let order = c.ints(&order);
            c.op("Gather", &[full, order])
        }
    };
    let zeros = c.zeros(shape, element_type);
    let indices = if c.element_type_of(1) == DataType::Int64 { indices } else { c.cast(indices, DataType::Int64) };
    let indices = c.unsqueeze(indices, &[-1]);
    let sum = c.op_with("ScatterND", &[zeros, indices, pieces], vec![text("reduction", "add")]);
    let mut inverse = vec![0i64; rank];
    order.iter().enumerate().for_each(|(to, from)| inverse[*from as usize] = to as i64);
    let gradient = c.transpose(sum, &inverse);
    c.give(0, gradient);
    Ok(())
}

fn one_place(c: &mut Reverse<'_>, index: i64, axis: usize, rank: usize) -> RuleResult {
    let dy = c.dy()?;
    let pieces = c.unsqueeze(dy, &[axis as i64]);
    let mut pads = vec![0i64; 2 * rank];
    let pads = match (c.known_dim(0, axis), index) {
        (Some(size), index) => {
            let place = if index < 0 { index + size } else { index };
            pads[axis] = place;
            pads[rank + axis] = size - place - 1;
            c.ints(&pads)
        }
        (None, index) => {
            let x = c.x(0)?;
            let size = c.dim(x, axis as i64);
            let (fixed, is_from_end) = if index < 0 { (-index - 1, true) } else { (index, false) };
            let used = c.ints(&[fixed + 1]);
            let open = c.sub(size, used);
            let fixed = c.ints(&[fixed]);
            let (before, after) = if is_from_end { (open, fixed) } else { (fixed, open) };
            let front = c.ints(&vec![0; axis]);
            let middle = c.ints(&vec![0; rank - 1]);
            let back = c.ints(&vec![0; rank - 1 - axis]);
            c.concat(&[front, before, middle, after, back], 0)
        }
    };
    let gradient = c.op("Pad", &[pieces, pads]);
    c.give(0, gradient);
    Ok(())
}

fn gather_elements(c: &mut Reverse<'_>) -> RuleResult {
    let (indices, dy) = (c.x(1)?, c.dy()?);
    let axis = c.int_or("axis", 0);
    let zeros = c.zeros_like(0)?;
    let attributes = vec![int("axis", axis), text("reduction", "add")];
    let gradient = c.op_with("ScatterElements", &[zeros, indices, dy], attributes);
    c.give(0, gradient);
    Ok(())
}

fn gather_nd(c: &mut Reverse<'_>) -> RuleResult {
    let (indices, dy) = (c.x(1)?, c.dy()?);
    if c.int_or("batch_dims", 0) != 0 {
        return unsupported("has batch dimensions");
    }
    let zeros = c.zeros_like(0)?;
    let gradient = c.op_with("ScatterND", &[zeros, indices, dy], vec![text("reduction", "add")]);
    c.give(0, gradient);
    Ok(())
}
