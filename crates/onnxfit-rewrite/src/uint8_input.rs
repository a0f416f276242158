//! Lets a model take bytes: turning pixels into floats moves into the graph, so that what is fed
//! is a quarter as large.
//!
//! Exact for a caller that computed `(byte / scale - mean) / deviation` in 32-bit floats: the graph
//! computes the same, in the same order. The transposition is done on the bytes, before they grow.
//!
//! With [`Resize`] pictures of any size are fed: they are scaled to what the model takes, linearly
//! between the centres of pixels, after they became floats and before they are normalized.

use onnxfit_graph::{AttributeValue, Dim, Model, NewNode, Patch, Place, TensorType, ValueId, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use crate::{Exactness, RewriteError};

/// What this change does to the answers.
pub const EXACTNESS: Exactness = Exactness::Exact;

/// Where the channels of the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Behind height and width, as files and cameras have them.
    Nhwc,
    /// Before them, as the model has them.
    Nchw,
}

/// To what size pictures are brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Rows of pixels.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

/// How bytes become what the model takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Uint8Options {
    /// The input; `None` for the only one that holds images.
    pub input: Option<String>,
    /// What bytes are divided by.
    pub scale: f32,
    /// What is subtracted then: one number, or one for each channel.
    pub mean: Vec<f32>,
    /// What is divided by last.
    pub deviation: Vec<f32>,
    /// Where the channels of the bytes are.
    pub layout: Layout,
    /// Pictures of any size come in, and are brought to this one.
    pub resize: Option<Resize>,
}

impl Default for Uint8Options {
    fn default() -> Self {
        Self { input: None, scale: 255.0, mean: vec![0.0], deviation: vec![1.0], layout: Layout::Nchw, resize: None }
    }
}

/// A model that takes bytes.
#[derive(Clone, Debug)]
pub struct Uint8Outcome {
    /// The model.
    pub model: Model,
    /// The input that takes bytes; its name stays.
    pub input: String,
}

/// The first version in which `Resize` takes sizes and says where pixels lie.
const OPSET_WITH_RESIZE: i64 = 13;

/// Changes one float image input, of axes batch, channels, height and width, to bytes.
pub fn uint8_input(model: &Model, options: &Uint8Options) -> Result<Uint8Outcome, RewriteError> {
    let (input, ty) = find_input(model, options.input.as_deref())?;
    let graph = &model.graph;
    let name = graph.value(input).name.clone();
    let refuse = |reason: String| RewriteError::NoByteInput { input: name.clone(), reason };
    let shape = ty.shape.clone().unwrap_or_default();
    for (what, numbers) in [("mean", &options.mean), ("std", &options.deviation)] {
        let fits = match shape[1] {
            Dim::Known(channels) => numbers.len() == 1 || i64::try_from(numbers.len()) == Ok(channels),
            _ => !numbers.is_empty(),
        };
        if !fits || numbers.iter().any(|number| !number.is_finite()) {
            return Err(refuse(format!(
                "`{what}` must be one number, or one for each of the {} channels",
                shown(&shape[1])
            )));
        }
    }
    if !options.scale.is_normal() || options.deviation.iter().any(|number| !number.is_normal()) {
        return Err(refuse("`scale` and `std` must not be zero".to_owned()));
    }

    if let Some(resize) = options.resize {
        if model.opset("") < OPSET_WITH_RESIZE {
            return Err(refuse(format!("resizing needs opset {OPSET_WITH_RESIZE}, the model has {}", model.opset(""))));
        }
        let fits = |dim: &Dim, size: u32| !matches!(dim, Dim::Known(known) if *known != i64::from(size));
        if resize.height == 0 || resize.width == 0 || !fits(&shape[2], resize.height) || !fits(&shape[3], resize.width)
        {
            return Err(refuse(format!(
                "the model takes {} x {} pixels, not {} x {}",
                shown(&shape[2]),
                shown(&shape[3]),
                resize.height,
                resize.width
            )));
        }
    }

    let mut patch = Patch::new(graph, "uint8-input");
    let ready = patch.add_value(&format!("{name}_ready"), ValueType::Unknown);
    patch.replace_uses(input, ready);
    patch.replace_graph_output(input, ready);
    let mut chain = Chain { patch, name: &name, at: input, nodes: Vec::new() };
    let mut shape = shape;
    if options.resize.is_some() {
        shape[2] = Dim::Symbol(format!("{name}_height"));
        shape[3] = Dim::Symbol(format!("{name}_width"));
    }
    let fed = match options.layout {
        Layout::Nchw => shape.clone(),
        Layout::Nhwc => {
            let transpose = NewNode::new("Transpose", &format!("{name}_transpose"), &[], &[]);
            chain.push(transpose.with("perm", AttributeValue::Ints(vec![0, 3, 1, 2])), None);
            vec![shape[0].clone(), shape[2].clone(), shape[3].clone(), shape[1].clone()]
        }
    };
    chain.cast(DataType::Float);
    if let Some(resize) = options.resize {
        chain.resize(resize, &shape);
    }
    // Dividing by one and subtracting zero change nothing.
    if options.scale != 1.0 {
        chain.arithmetic("Div", &[options.scale]);
    }
    if options.mean.iter().any(|number| *number != 0.0) {
        chain.arithmetic("Sub", &options.mean);
    }
    if options.deviation.iter().any(|number| *number != 1.0) {
        chain.arithmetic("Div", &options.deviation);
    }
    if ty.element_type == Some(DataType::Float16) {
        chain.cast(DataType::Float16);
    }
    let mut patch = chain.finish(ready);
    patch.set_type(input, ValueType::tensor(DataType::Uint8, fed));
    let mut changed = model.clone();
    changed.graph.apply(&patch)?;
    Ok(Uint8Outcome { model: changed, input: name })
}

/// Nodes one behind the other.
struct Chain<'a> {
    patch: Patch,
    name: &'a str,
    at: ValueId,
    nodes: Vec<NewNode>,
}

impl Chain<'_> {
    fn push(&mut self, mut node: NewNode, other: Option<ValueId>) {
        let output = self.patch.add_value(&format!("{}_{}", self.name, self.nodes.len()), ValueType::Unknown);
        node.inputs = [Some(self.at), other].into_iter().flatten().map(Some).collect();
        node.outputs = vec![Some(output)];
        self.nodes.push(node);
        self.at = output;
    }

    fn cast(&mut self, to: DataType) {
        let node = NewNode::new("Cast", &format!("{}_cast_{to}", self.name), &[], &[]);
        self.push(node.with("to", AttributeValue::Int(i64::from(to.number()))), None);
    }

    /// To a size, linearly; batch and channels stay, whatever they are.
    fn resize(&mut self, resize: Resize, shape: &[Dim]) {
        let name = self.name;
        let (height, width) = (i64::from(resize.height), i64::from(resize.width));
        let sizes = match (&shape[0], &shape[1]) {
            (Dim::Known(rows), Dim::Known(channels)) => {
                let numbers = [*rows, *channels, height, width];
                self.patch.add_initializer(TensorProto::from_i64(&format!("{name}_sizes"), &[4], &numbers))
            }
            _ => {
                let whole = self.patch.add_value(&format!("{name}_shape"), ValueType::Unknown);
                let mut of = NewNode::new("Shape", &format!("{name}_shape"), &[self.at], &[whole]);
                of.outputs = vec![Some(whole)];
                self.nodes.push(of);
                let numbers = |patch: &mut Patch, what: &str, numbers: &[i64]| {
                    let dims = [numbers.len() as i64];
                    patch.add_initializer(TensorProto::from_i64(&format!("{name}_{what}"), &dims, numbers))
                };
                let [zero, two] = [("zero", 0), ("two", 2)].map(|(what, n)| numbers(&mut self.patch, what, &[n]));
                let target = numbers(&mut self.patch, "target", &[height, width]);
                let first = self.patch.add_value(&format!("{name}_first"), ValueType::Unknown);
                let sizes = self.patch.add_value(&format!("{name}_sizes"), ValueType::Unknown);
                self.nodes.push(NewNode::new("Slice", &format!("{name}_first"), &[whole, zero, two], &[first]));
                let joined = NewNode::new("Concat", &format!("{name}_sizes"), &[first, target], &[sizes]);
                self.nodes.push(joined.with("axis", AttributeValue::Int(0)));
                sizes
            }
        };
        let node = NewNode::new("Resize", &format!("{name}_resize"), &[], &[])
            .with("mode", AttributeValue::String("linear".into()))
            .with("coordinate_transformation_mode", AttributeValue::String("half_pixel".into()));
        self.push(node, None);
        if let Some(node) = self.nodes.last_mut() {
            // Neither a region of interest nor scales.
            node.inputs.extend([None, None, Some(sizes)]);
        }
    }

    fn arithmetic(&mut self, op_type: &str, numbers: &[f32]) {
        let name = format!("{}_{}_{}", self.name, op_type.to_lowercase(), self.nodes.len());
        let dims = if numbers.len() == 1 { vec![] } else { vec![1, numbers.len() as i64, 1, 1] };
        let constant = self.patch.add_initializer(TensorProto::from_f32(&format!("{name}_by"), &dims, numbers));
        self.push(NewNode::new(op_type, &name, &[], &[]), Some(constant));
    }

    /// Adds the nodes before all others; the last one makes `result`.
    fn finish(mut self, result: ValueId) -> Patch {
        if let Some(last) = self.nodes.last_mut() {
            last.outputs = vec![Some(result)];
        }
        for node in self.nodes.into_iter().rev() {
            self.patch.add_node(Place::Start, node);
        }
        self.patch
    }
}

fn find_input<'m>(model: &'m Model, wanted: Option<&str>) -> Result<(ValueId, &'m TensorType), RewriteError> {
    let graph = &model.graph;
    let image = |id: ValueId| {
        let ty = graph.value(id).ty.as_tensor()?;
        let is_float = matches!(ty.element_type, Some(DataType::Float | DataType::Float16));
        (is_float && ty.shape.as_ref()?.len() == 4).then_some((id, ty))
    };
    let refuse = |input: &str, reason: &str| {
        Err(RewriteError::NoByteInput { input: input.to_owned(), reason: reason.to_owned() })
    };
    if let Some(name) = wanted {
        let id = graph.required_inputs().find(|id| graph.value(*id).name == name);
        let Some(id) = id else { return refuse(name, "the model has no such input") };
        return image(id).map_or_else(|| refuse(name, "it is no float tensor of four axes"), Ok);
    }
    let images: Vec<_> = graph.required_inputs().filter_map(image).collect();
    match images.as_slice() {
        [one] => Ok(*one),
        [] => refuse("", "no input is a float tensor of four axes"),
        [(first, _), ..] => {
            refuse(&graph.value(*first).name, "several inputs hold images: say which with `input=NAME`")
        }
    }
}

fn shown(dim: &Dim) -> String {
    match dim {
        Dim::Known(size) => size.to_string(),
        Dim::Symbol(name) => name.clone(),
        Dim::Unknown => "unknown".to_owned(),
    }
}
