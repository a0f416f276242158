//! Sampling of images: grids, regions, columns.

use onnxfit_onnx::DataType;

use crate::context::{Dims, RuleContext};
use crate::expr::Expr;
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::rules::generate::shape_input;

pub(super) const TABLE: &[Entry] = &[
    ("", "GridSample", grid_sample),
    (MICROSOFT, "GridSample", grid_sample),
    ("", "RoiAlign", roi_align),
    ("", "AffineGrid", affine_grid),
    ("", "Col2Im", columns_to_image),
    ("", "ImageDecoder", decode_image),
    (MICROSOFT, "CropAndResize", crop_and_resize),
    (MICROSOFT, "UnfoldTensor", unfold),
];

fn grid_sample(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let grid = context.shape(1)?;
    let space = grid.get(1..grid.len().checked_sub(1)?)?;
    let mut dims = vec![context.dim(0, 0), context.dim(0, 1)];
    dims.extend(space.iter().cloned().map(Some));
    context.set(0, element_type, Some(dims));
    Some(())
}

fn roi_align(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let size = |name: &str| Some(Expr::constant(context.int(name, 1)));
    let dims = vec![context.dim(1, 0), context.dim(0, 1), size("output_height"), size("output_width")];
    context.set(0, context.element_type(0), Some(dims));
    Some(())
}

fn affine_grid(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let mut dims = shape_input(context, 1)?;
    if dims.len() < 3 {
        return None;
    }
    dims.remove(1);
    let n_space = i64::try_from(dims.len()).ok()? - 1;
    dims.push(Some(Expr::constant(n_space)));
    context.set(0, element_type, Some(dims));
    Some(())
}

fn columns_to_image(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let image = shape_input(context, 1)?;
    let block = context.ints(2).and_then(|sizes| sizes.into_iter().collect::<Option<Vec<Expr>>>());
    let channels = block.and_then(|block| context.dim(0, 1)?.floor_div(&Expr::product(&block)?));
    let mut dims: Dims = vec![context.dim(0, 0), channels];
    dims.extend(image);
    context.set(0, element_type, Some(dims));
    Some(())
}

fn decode_image(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let n_channels = match context.node.string("pixel_format") {
        Some("Grayscale") => 1,
        _ => 3,
    };
    context.set(0, Some(DataType::Uint8), Some(vec![None, None, Some(Expr::constant(n_channels))]));
    Some(())
}

fn crop_and_resize(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let mut dims = vec![context.dim(1, 0), context.dim(0, 1)];
    dims.extend(context.ints(3).filter(|sizes| sizes.len() == 2).unwrap_or_else(|| vec![None; 2]));
    context.set(0, context.element_type(0), Some(dims));
    Some(())
}

fn unfold(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    let axis = crate::context::axis_of(context.int("dim", -1), shape.len())?;
    let size = Expr::constant(context.node.int("size")?);
    let step = Expr::constant(context.node.int("step").filter(|step| *step > 0)?);
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    dims[axis] = shape[axis].sub(&size).and_then(|rest| rest.floor_div(&step)?.plus(1));
    dims.push(Some(size));
    context.set(0, element_type, Some(dims));
    Some(())
}
