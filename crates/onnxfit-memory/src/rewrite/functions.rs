//! Operators without a kernel give way to the function that ONNX defines them by.
//!
//! graph_partitioner.cc (ORT 1.31): after level 1, while nodes are placed, so that the rewrites of
//! level 1 do not see them; before everything else if the model defines functions of its own. The
//! functions are those of ONNX's operator definitions. The CPU provider lacks all of these, CUDA
//! only some; others it has, but not for half precision. Functions that a model defines itself are not inlined.

mod losses;
mod narrow;

use hashbrown::HashMap;
use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::net::{ArgId, Net, Op, OpId};
use super::{Context, Provider};

/// Functions inside functions inside functions.
const NESTING_MAX: usize = 8;

/// Whether an operator of this name may give way to its function.
pub(super) fn is_function(op_type: &str) -> bool {
    matches!(
        op_type,
        "HardSwish"
            | "Mish"
            | "CastLike"
            | "GroupNormalization"
            | "NegativeLogLikelihoodLoss"
            | "SoftmaxCrossEntropyLoss"
    )
}

/// Inlines what the provider has no kernel for; returns how many nodes went.
pub(super) fn inline_functions(net: &mut Net, context: &Context<'_>) -> usize {
    let rounds = (0..NESTING_MAX).map(|_| inline_once(net, context));
    rounds.take_while(|n_inlined| *n_inlined > 0).sum()
}

fn inline_once(net: &mut Net, context: &Context<'_>) -> usize {
    let on_cpu = context.options.provider == Provider::Cpu;
    let mut n_inlined = 0;
    for id in net.ids().collect::<Vec<_>>() {
        if on_cpu && narrow::inline(net, id) {
            n_inlined += 1;
            continue;
        }
        let op = net.op(id);
        if !op.domain.is_empty() {
            continue;
        }
        let done = match op.op_type.as_str() {
            "HardSwish" if on_cpu => hard_swish(net, id),
            "Mish" => mish(net, id),
            "CastLike" => cast_like(net, id),
            "NegativeLogLikelihoodLoss" => losses::negative_log_likelihood(net, id),
            "SoftmaxCrossEntropyLoss" => losses::softmax_cross_entropy(net, id),
            "GroupNormalization" => group_normalization(net, id).is_some(),
            _ => false,
        };
        n_inlined += usize::from(done);
    }
    n_inlined
}

/// A function under construction: names inside it, and the values they stand for.
struct Body<'a> {
    net: &'a mut Net,
    node: OpId,
    prefix: String,
    values: HashMap<&'static str, ArgId>,
}

impl<'a> Body<'a> {
    fn new(net: &'a mut Net, node: OpId, inputs: &[&'static str]) -> Self {
        let op = net.op(node);
        let values = inputs.iter().zip(&op.inputs).filter_map(|(name, arg)| Some((*name, (*arg)?))).collect();
        let prefix = format!("_inlfunc_{}_", op.op_type);
        Self { net, node, prefix, values }
    }

    fn constant(&mut self, name: &'static str, mut tensor: TensorProto) {
        tensor.name = Some(format!("{}{name}", self.prefix));
        let arg = self.net.add_constant(tensor);
        self.values.insert(name, arg);
    }

    fn add(&mut self, output: &'static str, op_type: &str, inputs: &[&str]) -> OpId {
        let inputs = inputs.iter().map(|name| self.values.get(name).copied()).collect();
        let name = format!("{}{op_type}", self.prefix);
        let id = self.net.add_op(self.node, &name, Op { op_type: op_type.to_owned(), inputs, ..Op::default() });
        let arg = self.net.add_arg(&format!("{}{output}", self.prefix), None, None);
        self.net.set_output(id, 0, Some(arg));
        self.values.insert(output, arg);
        id
    }

    fn add_with(&mut self, output: &'static str, op_type: &str, inputs: &[&str], attributes: &[(&str, i64)]) {
        let id = self.add(output, op_type, inputs);
        for (name, value) in attributes {
            self.net.op_mut(id).attributes.insert((*name).to_owned(), AttributeValue::Int(*value));
        }
    }

    /// Whether there is a value of this name.
    fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The last node takes the output of the node that is replaced.
    fn finish(self, last: OpId) -> bool {
        self.finish_in(last);
        true
    }

    /// The same; other outputs are left to give.
    fn finish_in(self, last: OpId) -> &'a mut Net {
        let output = self.net.op(self.node).output(0);
        self.net.remove_op(self.node);
        self.net.set_output(last, 0, output);
        self.net
    }
}

/// `x * HardSigmoid(x)` with 1/6 and 1/2.
fn hard_swish(net: &mut Net, id: OpId) -> bool {
    let mut body = Body::new(net, id, &["X"]);
    let sigmoid = body.add("HS_X", "HardSigmoid", &["X"]);
    let attributes = &mut body.net.op_mut(sigmoid).attributes;
    attributes.insert("alpha".to_owned(), AttributeValue::Float(1.0 / 6.0));
    attributes.insert("beta".to_owned(), AttributeValue::Float(0.5));
    let last = body.add("Y", "Mul", &["X", "HS_X"]);
    body.finish(last)
}

/// `x * tanh(softplus(x))`.
fn mish(net: &mut Net, id: OpId) -> bool {
    let mut body = Body::new(net, id, &["X"]);
    body.add("Softplus_X", "Softplus", &["X"]);
    body.add("TanHSoftplusX", "Tanh", &["Softplus_X"]);
    let last = body.add("Y", "Mul", &["X", "TanHSoftplusX"]);
    body.finish(last)
}

fn cast_like(net: &mut Net, id: OpId) -> bool {
    let Some(to) = net.input_elem(id, 1) else { return false };
    let mut body = Body::new(net, id, &["X"]);
    let last = body.add("Y", "Cast", &["X"]);
    body.net.op_mut(last).attributes.insert("to".to_owned(), AttributeValue::Int(i64::from(to.number())));
    body.finish(last)
}

/// Group normalization by mean and variance of a reshaped input (opset 18, and 21 with its casts).
fn group_normalization(net: &mut Net, id: OpId) -> Option<()> {
    let casts = net.opset() >= 21;
    let op = net.op(id);
    let number = |elem: DataType| i64::from(elem.number());
    let elem = number(net.input_elem(id, 0)?);
    let stash = if casts { op.int("stash_type").unwrap_or(number(DataType::Float)) } else { elem };
    let (epsilon, groups) = (op.float("epsilon").unwrap_or(1e-5), op.int("num_groups")?);
    let mut body = Body::new(net, id, &["X", "scale", "bias"]);
    let x = if casts { "XU" } else { "X" };
    body.constant("FloatEpsilon", TensorProto::from_f32("", &[1], &[epsilon]));
    body.add_with("Epsilon", "Cast", &["FloatEpsilon"], &[("to", stash)]);
    if casts {
        body.add_with("XU", "Cast", &["X"], &[("to", stash)]);
    }
    body.add("XShape", "Shape", &[x]);
    body.add_with("C", "Shape", &["X"], &[("start", 1), ("end", 2)]);
    body.constant("NumGroups", TensorProto::from_i64("", &[1], &[groups]));
    body.add("GroupSize", "Div", &["C", "NumGroups"]);
    body.add_with("N", "Shape", &["X"], &[("start", 0), ("end", 1)]);
    body.add_with("InstanceShape", "Shape", &["X"], &[("start", 2)]);
    body.add_with("NewShape", "Concat", &["N", "NumGroups", "GroupSize", "InstanceShape"], &[("axis", 0)]);
    body.add("XReshaped", "Reshape", &[x, "NewShape"]);
    body.constant("Shape3D", TensorProto::from_i64("", &[3], &[0, 0, -1]));
    body.add("X3D", "Reshape", &["XReshaped", "Shape3D"]);
    body.constant("Axes2", TensorProto::from_i64("", &[1], &[2]));
    body.add("Mean", "ReduceMean", &["X3D", "Axes2"]);
    body.add("Square", "Mul", &["X3D", "X3D"]);
    body.add("MeanOfSquare", "ReduceMean", &["Square", "Axes2"]);
    body.add("SquareOfMean", "Mul", &["Mean", "Mean"]);
    body.add("Var", "Sub", &["MeanOfSquare", "SquareOfMean"]);
    body.add("VarPlusEpsilon", "Add", &["Var", "Epsilon"]);
    body.add("StdDev", "Sqrt", &["VarPlusEpsilon"]);
    body.add("Deviation", "Sub", &["X3D", "Mean"]);
    body.add("Normalized", "Div", &["Deviation", "StdDev"]);
    let mut normalized = "Normalized";
    if casts {
        body.add("NormalizedOriginalShape", "Reshape", &["Normalized", "XShape"]);
        body.add("NormalizedNC", "Reshape", &["NormalizedOriginalShape", "Shape3D"]);
        body.add_with("NormalizedT", "Cast", &["NormalizedNC"], &[("to", elem)]);
        normalized = "NormalizedT";
    }
    body.constant("ScaleShape", TensorProto::from_i64("", &[3], &[1, -1, 1]));
    body.add_with("ScaleT", "Cast", &["scale"], &[("to", elem)]);
    body.add_with("BiasT", "Cast", &["bias"], &[("to", elem)]);
    body.add("ScaleReshaped", "Reshape", &["ScaleT", "ScaleShape"]);
    body.add("BiasReshaped", "Reshape", &["BiasT", "ScaleShape"]);
    body.add("Scaled", "Mul", &["ScaleReshaped", normalized]);
    body.add("Biased", "Add", &["Scaled", "BiasReshaped"]);
    let last = body.add("Y", "Reshape", &["Biased", "XShape"]);
    body.finish(last).then_some(())
}
