//! Operators that move elements without changing them.

use crate::emit::{int, text};
use crate::registry::Entry;
use crate::reverse::{Reverse, RuleResult, Unsupported, unsupported};
use crate::tape::Var;

pub(crate) const TABLE: &[Entry] = &[
    ("", "DepthToSpace", depth_to_space),
    ("", "Expand", |c| {
        let dy = c.dy()?;
        c.give_reduced(0, dy)
    }),
    ("", "Flatten", same_elements),
    ("", "Reshape", same_elements),
    ("", "SpaceToDepth", space_to_depth),
    ("", "Squeeze", same_elements),
    ("", "Tile", tile),
    ("", "Transpose", transpose),
    ("", "Unsqueeze", same_elements),
];

fn same_elements(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    // `Unsqueeze` at known axes is undone without asking for sizes.
    if c.node.is("Unsqueeze") && c.has(1) {
        let axes = c.x(1)?;
        let gradient = c.op("Squeeze", &[dy, axes]);
        c.give(0, gradient);
        return Ok(());
    }
    if c.node.is("Squeeze") && c.has(1) {
        let axes = c.x(1)?;
        let gradient = c.op("Unsqueeze", &[dy, axes]);
        c.give(0, gradient);
        return Ok(());
    }
    let gradient = c.reshape_like(dy, 0)?;
    c.give(0, gradient);
    Ok(())
}

fn transpose(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let gradient = match c.node.ints("perm") {
        // Without `perm` the axes are reversed, which is its own inverse.
        None => c.op("Transpose", &[dy]),
        Some(perm) => {
            let mut inverse = vec![0i64; perm.len()];
            for (to, from) in perm.iter().enumerate() {
                let Some(place) = usize::try_from(*from).ok().and_then(|from| inverse.get_mut(from)) else {
                    return unsupported("has a permutation that is none");
                };
                *place = to as i64;
            }
            c.transpose(dy, &inverse)
        }
    };
    c.give(0, gradient);
    Ok(())
}

/// Each repetition becomes an axis of its own, over which the gradient is summed.
fn tile(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let rank = c.rank(0)?;
    let repeats = c.x(1)?;
    let shape = c.shape_vector(0)?;
    let (repeats, shape) = (c.unsqueeze(repeats, &[1]), c.unsqueeze(shape, &[1]));
    let pairs = c.concat(&[repeats, shape], 1);
    let apart = c.reshape_to(pairs, &[-1]);
    let apart = c.reshape(dy, apart);
    let axes: Vec<i64> = (0..rank as i64).map(|axis| 2 * axis).collect();
    let gradient = c.reduce_sum(apart, &axes, false);
    c.give(0, gradient);
    Ok(())
}

fn depth_to_space(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let block = c.int_or("blocksize", 1);
    let gradient = c.op_with("SpaceToDepth", &[dy], vec![int("blocksize", block)]);
    let is_crd = c.node.string("mode") == Some("CRD");
    // SpaceToDepth puts the block's places before the channels; CRD has them behind.
    let gradient = if is_crd { swap_block(c, gradient, block)? } else { gradient };
    c.give(0, gradient);
    Ok(())
}

fn space_to_depth(c: &mut Reverse<'_>) -> RuleResult {
    let dy = c.dy()?;
    let block = c.int_or("blocksize", 1);
    let gradient = c.op_with("DepthToSpace", &[dy], vec![int("blocksize", block), text("mode", "DCR")]);
    c.give(0, gradient);
    Ok(())
}

/// `[N, b*b*C, H, W]` to `[N, C*b*b, H, W]`.
fn swap_block(c: &mut Reverse<'_>, value: Var, block: i64) -> Result<Var, Unsupported> {
    let Some(depth) = c.known_dim(0, 1) else { return unsupported("has an unknown number of channels") };
    let channels = depth / (block * block).max(1);
    let split = c.ints(&[0, block * block, channels, -1]);
    let apart = c.reshape(value, split);
    let swapped = c.transpose(apart, &[0, 2, 1, 3]);
    c.reshape_like(swapped, 0)
}
