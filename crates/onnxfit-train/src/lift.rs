//! Brings a model of an older operator set to version 18, where gradients can be written.
//!
//! Before 16 there is no scatter that adds; before 18 the reductions take their axes as attributes.
//! Models of 18 and later stay as they are. Exact: the lifted model computes the same bits.

use onnxfit_graph::Model;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};

use crate::branches::take_known_branches;
use crate::emit::{int, text};
use crate::error::TrainError;
use crate::tape::tensor_of;

/// The version that gradients are written for.
const TARGET: i64 = 18;
/// Broadcasting and most signatures changed here; older files are not read.
const OLDEST: i64 = 7;
/// The file format that goes with version 18.
const IR_VERSION: i64 = 8;
/// Subgraphs within subgraphs.
const DEPTH_MAX: usize = 32;

/// The model in operator set 18 or later, without branches that are never taken.
pub(crate) fn lift(model: &Model) -> Result<Model, TrainError> {
    take_known_branches(to_target(model)?)
}

fn to_target(model: &Model) -> Result<Model, TrainError> {
    let from = model.opset("");
    if !model.functions().is_empty() {
        return Err(TrainError::Model("it defines operators of its own; inline its functions first".to_owned()));
    }
    if from >= TARGET {
        return Ok(model.clone());
    }
    if from < OLDEST {
        return Err(TrainError::Model(format!("its operator set is version {from}; at least {OLDEST} is needed")));
    }
    let mut proto = model.to_proto();
    proto.ir_version = Some(proto.ir_version().max(IR_VERSION));
    for import in &mut proto.opset_import {
        if matches!(import.domain(), "" | "ai.onnx") {
            import.version = Some(TARGET);
        }
    }
    let mut lifter = Lifter { from, n_new: 0 };
    if let Some(graph) = &mut proto.graph {
        lifter.graph(graph, 0)?;
    }
    Ok(Model::from_proto(&proto)?)
}

struct Lifter {
    from: i64,
    n_new: usize,
}

impl Lifter {
    fn graph(&mut self, graph: &mut GraphProto, depth: usize) -> Result<(), TrainError> {
        if depth > DEPTH_MAX {
            return Err(TrainError::Model(format!("its subgraphs are nested more than {DEPTH_MAX} deep")));
        }
        // Before version 4 of the format an initializer had to be an input as well; a training
        // graph needs to tell the two apart.
        let mut nodes = Vec::with_capacity(graph.node.len());
        for mut node in std::mem::take(&mut graph.node) {
            for attribute in &mut node.attribute {
                let inner = attribute.g.iter_mut().map(|graph| &mut **graph).chain(&mut attribute.graphs);
                for graph in inner {
                    self.graph(graph, depth + 1)?;
                }
            }
            if node.domain().is_empty() || node.domain() == "ai.onnx" {
                self.node(node, &mut nodes, &mut graph.initializer)?;
            } else {
                nodes.push(node);
            }
        }
        graph.node = nodes;
        Ok(())
    }

    fn node(
        &mut self,
        mut node: NodeProto,
        nodes: &mut Vec<NodeProto>,
        initializers: &mut Vec<TensorProto>,
    ) -> Result<(), TrainError> {
        let from = self.from;
        let op_type = node.op_type().to_owned();
        let label = node.output.first().cloned().unwrap_or_default();
        let refuse = |what: &str| Err(TrainError::Model(format!("`{label}` ({op_type}) {what}")));
        match op_type.as_str() {
            "Squeeze" | "Unsqueeze" | "ReduceSum" if from < 13 => {
                self.attribute_to_input(&mut node, "axes", 1, initializers);
            }
            "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1" | "ReduceL2" | "ReduceLogSum"
            | "ReduceLogSumExp" | "ReduceSumSquare" => self.attribute_to_input(&mut node, "axes", 1, initializers),
            "Softmax" | "LogSoftmax" | "Hardmax" if from < 13 => return self.softmax(node, nodes),
            "Dropout" if from < 12 => {
                if node.output.len() > 1 && !node.output[1].is_empty() {
                    return refuse("asks for the mask of a dropout that does nothing");
                }
                node.op_type = Some("Identity".to_owned());
                node.attribute.clear();
                node.output.truncate(1);
            }
            "BatchNormalization" => {
                if take(&mut node, "spatial").is_some_and(|spatial| spatial.i() == 0) {
                    return refuse("normalizes each place apart, which newer operator sets cannot say");
                }
                if from < 14 {
                    node.output.truncate(1);
                }
            }
            "Clip" if from < 11 => {
                for (slot, name) in [(1, "min"), (2, "max")] {
                    if let Some(bound) = take(&mut node, name) {
                        let tensor = tensor_of(DataType::Float, &[], &[bound.f().into()]);
                        self.set_input(&mut node, slot, tensor, initializers);
                    }
                }
            }
            "Pad" if from < 11 => {
                self.attribute_to_input(&mut node, "pads", 1, initializers);
                let value = take(&mut node, "value").map_or(0.0, |value| value.f());
                if value != 0.0 {
                    self.set_input(&mut node, 2, tensor_of(DataType::Float, &[], &[value.into()]), initializers);
                }
            }
            "Slice" if from < 10 => {
                let n_axes = node.attribute.iter().find(|one| one.name() == "starts").map_or(0, |one| one.ints.len());
                for (slot, name) in [(1, "starts"), (2, "ends"), (3, "axes")] {
                    let default: Vec<i64> = (0..n_axes as i64).collect();
                    let values = take(&mut node, name).map_or(default, |values| values.ints);
                    let tensor = TensorProto::from_i64("", &[values.len() as i64], &values);
                    self.set_input(&mut node, slot, tensor, initializers);
                }
            }
            "TopK" if from < 10 => {
                let k = take(&mut node, "k").map_or(1, |k| k.i());
                self.set_input(&mut node, 1, TensorProto::from_i64("", &[1], &[k]), initializers);
            }
            "Split" => {
                let n_parts = node.output.len() as i64;
                if from < 13 {
                    self.attribute_to_input(&mut node, "split", 1, initializers);
                }
                if node.input.get(1).is_none_or(String::is_empty) {
                    node.attribute.push(int("num_outputs", n_parts));
                }
            }
            "Upsample" => {
                if let Some(scales) = take(&mut node, "scales") {
                    let values: Vec<f64> = scales.floats.iter().map(|scale| f64::from(*scale)).collect();
                    let tensor = tensor_of(DataType::Float, &[values.len() as i64], &values);
                    self.set_input(&mut node, 1, tensor, initializers);
                }
                as_resize(&mut node);
            }
            "Resize" if from < 11 => as_resize(&mut node),
            "Scatter" => node.op_type = Some("ScatterElements".to_owned()),
            _ => {}
        }
        nodes.push(node);
        Ok(())
    }

    /// Before 13 the operator saw a matrix: everything from `axis` on was one row.
    fn softmax(&mut self, mut node: NodeProto, nodes: &mut Vec<NodeProto>) -> Result<(), TrainError> {
        let axis = take(&mut node, "axis").map_or(1, |axis| axis.i());
        let (Some(x), Some(y)) = (node.input.first().cloned(), node.output.first().cloned()) else {
            return Err(TrainError::Model(format!("`{}` has no input", node.name())));
        };
        let names: Vec<String> = ["flat", "rows", "shape"].iter().map(|part| self.name(&y, part)).collect();
        let make = |op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>| NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(op_type.to_owned()),
            attribute,
            ..NodeProto::default()
        };
        if axis == -1 {
            node.attribute.push(int("axis", -1));
            nodes.push(node);
            return Ok(());
        }
        nodes.push(make("Flatten", &[&x], &names[0], vec![int("axis", axis)]));
        nodes.push(make(node.op_type(), &[&names[0]], &names[1], vec![int("axis", -1)]));
        nodes.push(make("Shape", &[&x], &names[2], Vec::new()));
        nodes.push(make("Reshape", &[&names[1], &names[2]], &y, Vec::new()));
        Ok(())
    }

    fn attribute_to_input(
        &mut self,
        node: &mut NodeProto,
        name: &str,
        slot: usize,
        initializers: &mut Vec<TensorProto>,
    ) {
        if let Some(attribute) = take(node, name) {
            let tensor = TensorProto::from_i64("", &[attribute.ints.len() as i64], &attribute.ints);
            self.set_input(node, slot, tensor, initializers);
        }
    }

    fn set_input(
        &mut self,
        node: &mut NodeProto,
        slot: usize,
        mut tensor: TensorProto,
        initializers: &mut Vec<TensorProto>,
    ) {
        let stem = node.output.first().cloned().unwrap_or_default();
        let name = self.name(&stem, &format!("input{slot}"));
        node.input.resize(node.input.len().max(slot + 1), String::new());
        node.input[slot] = name.clone();
        tensor.name = Some(name);
        initializers.push(tensor);
    }

    fn name(&mut self, stem: &str, part: &str) -> String {
        self.n_new += 1;
        format!("{stem}/lifted/{part}_{}", self.n_new)
    }
}

/// What `Resize` did before it could be told how: it repeated, or interpolated from the corner.
fn as_resize(node: &mut NodeProto) {
    node.op_type = Some("Resize".to_owned());
    let mode =
        take(node, "mode").map_or_else(|| "nearest".to_owned(), |mode| String::from_utf8_lossy(mode.s()).into_owned());
    if node.input.len() == 2 {
        node.input.insert(1, String::new());
    }
    node.attribute.push(text("mode", &mode));
    node.attribute.push(text("coordinate_transformation_mode", "asymmetric"));
    if mode == "nearest" {
        node.attribute.push(text("nearest_mode", "floor"));
    }
}

fn take(node: &mut NodeProto, name: &str) -> Option<AttributeProto> {
    let at = node.attribute.iter().position(|attribute| attribute.name() == name)?;
    Some(node.attribute.remove(at))
}
