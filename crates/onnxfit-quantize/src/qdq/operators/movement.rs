//! Operators that move numbers and leave them what they are: integers pass through, with the
//! parameters they have.

use onnxfit_graph::{Model, Node};

use super::{Made, Role, Roles, Rule};
use crate::constants::float_dims;

pub(super) const RULES: &[Rule] = &[
    ("Reshape", |_, _| passes("Reshape")),
    ("Flatten", |_, _| passes("Flatten")),
    ("Squeeze", |_, _| passes("Squeeze")),
    ("Unsqueeze", |_, _| passes("Unsqueeze")),
    ("Transpose", |_, _| passes("Transpose")),
    ("Slice", |_, _| passes("Slice")),
    ("Expand", |_, _| passes("Expand")),
    ("Tile", |_, _| passes("Tile")),
    ("Split", |_, _| passes("Split")),
    ("DepthToSpace", |_, _| passes("DepthToSpace")),
    ("GatherElements", |_, _| passes("GatherElements")),
    ("Gather", gather),
    ("Resize", resize),
];

fn passes(kernel: &'static str) -> Option<Roles> {
    Some(Roles::follower(1, Made::AsInput, kernel))
}

/// Rows of a weight are a layer; rows of a value pass.
fn gather(model: &Model, node: &Node) -> Option<Roles> {
    let graph = &model.graph;
    let data = node.input(0)?;
    match float_dims(graph, data) {
        Some(dims) if graph.value(data).is_fixed() && dims.len() == 2 => {
            Some(Roles { inputs: vec![Role::Table], made: Made::Floats, is_layer: true, kernel: "Gather" })
        }
        Some(_) => None,
        None => passes("Gather"),
    }
}

fn resize(model: &Model, node: &Node) -> Option<Roles> {
    // Others compute between numbers (`DropQDQNodeGroupSelector`, qdq_selectors.cc, 1.31).
    let is_copy = node.string("mode").unwrap_or("nearest") == "nearest";
    let is_inside = node.string("coordinate_transformation_mode") != Some("tf_crop_and_resize");
    if is_copy && is_inside && model.opset("") >= 11 { passes("Resize") } else { None }
}
