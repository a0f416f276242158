//! Functions of operators that have a kernel, but none for half precision.
//!
//! The bodies are those of ONNX's operator definitions (release 1.21) and of `bert_defs.cc` and
//! `contrib_defs.cc` (ORT 1.31). A body that is written for one opset serves later ones only until an
//! operator in it changes (`OpSchema::GetFunction`); one that is built for each node serves all.

use onnxfit_graph::AttributeValue;
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::TensorProto;

use super::super::net::{ArgId, Net, Op, OpId};
use super::super::{MS, content, kernels};

/// One function.
struct Function {
    domain: &'static str,
    op_type: &'static str,
    /// The opsets of a model that it serves, the last one included.
    opsets: (i64, i64),
    inputs: &'static [&'static str],
    /// A line a value, the result last: `name = number`, `name = @attribute or number`, or
    /// `name = Operator(inputs) key=value`; a number is a float, with `T` one of the input's type.
    body: &'static str,
}

const ALWAYS: i64 = i64::MAX;

const fn function(
    op_type: &'static str,
    opsets: (i64, i64),
    inputs: &'static [&'static str],
    body: &'static str,
) -> Function {
    Function { domain: "", op_type, opsets, inputs, body }
}

const fn contributed(op_type: &'static str, inputs: &'static [&'static str], body: &'static str) -> Function {
    Function { domain: MS, op_type, opsets: (0, ALWAYS), inputs, body }
}

const FUNCTIONS: &[Function] = &[
    function(
        "Softmax",
        (13, 17),
        &["x"],
        "axes = axis; m = ReduceMax(x) keepdims=1 axes; d = Sub(x, m); e = Exp(d); s = ReduceSum(e, axes) keepdims=1; y = Div(e, s)",
    ),
    function(
        "Softmax",
        (18, ALWAYS),
        &["x"],
        "axes = axis; m = ReduceMax(x, axes) keepdims=1; d = Sub(x, m); e = Exp(d); s = ReduceSum(e, axes) keepdims=1; y = Div(e, s)",
    ),
    function(
        "LogSoftmax",
        (13, 17),
        &["x"],
        "axes = axis; m = ReduceMax(x) keepdims=1 axes; d = Sub(x, m); e = Exp(d); s = ReduceSum(e, axes) keepdims=1; l = Log(s); y = Sub(d, l)",
    ),
    function(
        "LogSoftmax",
        (18, ALWAYS),
        &["x"],
        "axes = axis; m = ReduceMax(x, axes) keepdims=1; d = Sub(x, m); e = Exp(d); s = ReduceSum(e, axes) keepdims=1; l = Log(s); y = Sub(d, l)",
    ),
    function("Relu", (18, 18), &["x"], "z = 0; zc = CastLike(z, x); y = Max(x, zc)"),
    function(
        "LeakyRelu",
        (16, 18),
        &["x"],
        "a = @alpha or 0.01; ac = CastLike(a, x); z = 0; zc = CastLike(z, x); l = Less(x, zc); m = Mul(ac, x); y = Where(l, m, x)",
    ),
    function(
        "PRelu",
        (16, 18),
        &["x", "slope"],
        "z = 0; zc = CastLike(z, x); l = Less(x, zc); m = Mul(slope, x); y = Where(l, m, x)",
    ),
    function(
        "Elu",
        (18, 18),
        &["x"],
        "a = @alpha or 1; ac = CastLike(a, x); z = 0; zc = CastLike(z, x); o = 1; oc = CastLike(o, x); l = Less(x, zc); \
         e = Exp(x); s = Sub(e, oc); m = Mul(ac, s); y = Where(l, m, x)",
    ),
    function(
        "Selu",
        (18, 18),
        &["x"],
        "a = @alpha or 1.6732632; ac = CastLike(a, x); g = @gamma or 1.050701; gc = CastLike(g, x); z = 0; zc = CastLike(z, x); \
         e = Exp(x); m = Mul(ac, e); s = Sub(m, ac); n = Mul(gc, s); p = Mul(gc, x); l = Less(x, zc); y = Where(l, n, p)",
    ),
    function(
        "HardSigmoid",
        (18, 18),
        &["x"],
        "a = @alpha or 0.2; ac = CastLike(a, x); b = @beta or 0.5; bc = CastLike(b, x); z = 0; zc = CastLike(z, x); \
         o = 1; oc = CastLike(o, x); m = Mul(x, ac); s = Add(m, bc); n = Min(s, oc); y = Max(n, zc)",
    ),
    function(
        "ThresholdedRelu",
        (18, 18),
        &["x"],
        "a = @alpha or 1; ac = CastLike(a, x); z = 0; zc = CastLike(z, x); l = Less(ac, x); y = Where(l, x, zc)",
    ),
    function("Softplus", (18, 18), &["x"], "e = Exp(x); o = 1; oc = CastLike(o, x); s = Add(e, oc); y = Log(s)"),
    function("Softsign", (18, 18), &["x"], "o = 1; oc = CastLike(o, x); a = Abs(x); s = Add(oc, a); y = Div(x, s)"),
    function(
        "Swish",
        (24, 24),
        &["x"],
        "a = @alpha or 1; ac = CastLike(a, x); m = Mul(ac, x); s = Sigmoid(m); y = Mul(x, s)",
    ),
    function("GreaterOrEqual", (16, 18), &["a", "b"], "o = Greater(a, b); p = Equal(a, b); c = Or(o, p)"),
    function("LessOrEqual", (16, 18), &["a", "b"], "o = Less(a, b); p = Equal(a, b); c = Or(o, p)"),
    function(
        "ReduceL1",
        (18, ALWAYS),
        &["x", "axes"],
        "a = Abs(x); y = ReduceSum(a, axes) keepdims noop_with_empty_axes",
    ),
    function(
        "ReduceL2",
        (18, 18),
        &["x", "axes"],
        "q = Mul(x, x); s = ReduceSum(q, axes) keepdims noop_with_empty_axes; c = Cast(s) to=1; r = Sqrt(c); y = CastLike(r, x)",
    ),
    function(
        "ReduceLogSum",
        (18, 27),
        &["x", "axes"],
        "s = ReduceSum(x, axes) keepdims noop_with_empty_axes; y = Log(s)",
    ),
    function(
        "ReduceLogSumExp",
        (18, 18),
        &["x", "axes"],
        "d = Cast(x) to=11; e = Exp(d); s = ReduceSum(e, axes) keepdims noop_with_empty_axes; l = Log(s); y = CastLike(l, x)",
    ),
    function(
        "ReduceSumSquare",
        (18, ALWAYS),
        &["x", "axes"],
        "q = Mul(x, x); y = ReduceSum(q, axes) keepdims noop_with_empty_axes",
    ),
    function(
        "Gelu",
        (20, ALWAYS),
        &["x"],
        "h = 0.5; hc = CastLike(h, x); o = 1; oc = CastLike(o, x); t = 2; tc = CastLike(t, x); r = Sqrt(tc); d = Div(x, r); \
         e = Erf(d); p = Sum(oc, e); m = Mul(hc, x); y = Mul(m, p)",
    ),
    contributed(
        "Gelu",
        &["x"],
        "h = 0.5 T; o = 1 T; c = 0.70710678 T; m = Mul(c, x); e = Erf(m); s = Add(e, o); p = Mul(s, h); y = Mul(x, p)",
    ),
    contributed("QuickGelu", &["x"], "a = @alpha or 1.702 T; m = Mul(a, x); s = Sigmoid(m); y = Mul(x, s)"),
    contributed(
        "FastGelu",
        &["x", "bias"],
        "a = 0.5 T; b = 0.797885 T; c = 0.035677 T; o = 1 T; xb = Add(x, bias); t1 = Mul(xb, xb); t2 = Mul(c, t1); \
         t3 = Add(b, t2); t4 = Mul(xb, t3); t5 = Tanh(t4); t6 = Add(o, t5); t7 = Mul(xb, t6); y = Mul(a, t7)",
    ),
];

/// Inlines the function of a node without a kernel for its types; false if it has none.
pub(super) fn inline(net: &mut Net, id: OpId) -> bool {
    let op = net.op(id);
    let elems: Option<Vec<DataType>> = op.inputs.iter().flatten().map(|arg| net.arg(*arg).elem).collect();
    let lacks_kernel = elems.is_some_and(|elems| {
        elems.first().is_some_and(|elem| matches!(elem, DataType::Float16 | DataType::Bfloat16))
            && !kernels::cpu_has(&op.domain, &op.op_type, &elems)
    });
    let opset = net.opset();
    let of_this = |function: &&Function| {
        let (first, last) = function.opsets;
        (function.domain, function.op_type) == (op.domain.as_str(), op.op_type.as_str())
            && (first..=last).contains(&opset)
    };
    let Some(function) = FUNCTIONS.iter().find(of_this).filter(|_| lacks_kernel) else { return false };
    // Only the exact form of the standard's is written out.
    if matches!(op.attributes.get("approximate"), Some(AttributeValue::String(kind)) if &kind[..] != b"none") {
        return false;
    }
    Writer::new(net, id, function).write(function.body)
}

/// A function that is being written out.
struct Writer<'a> {
    net: &'a mut Net,
    node: OpId,
    /// Of the node, which has no kernel.
    attributes: Op,
    prefix: String,
    elem: Option<DataType>,
    values: Vec<(&'static str, Option<ArgId>)>,
}

impl<'a> Writer<'a> {
    fn new(net: &'a mut Net, node: OpId, function: &Function) -> Self {
        let op = net.op(node);
        let given = |position: usize| op.inputs.get(position).copied().flatten();
        let values = function.inputs.iter().enumerate().map(|(position, name)| (*name, given(position))).collect();
        let prefix = format!("_inlfunc_{}_", op.op_type);
        let attributes = Op { attributes: op.attributes.clone(), ..Op::default() };
        let elem = net.input_elem(node, 0);
        Self { net, node, attributes, prefix, elem, values }
    }

    fn value(&self, name: &str) -> Option<ArgId> {
        self.values.iter().find(|(known, _)| *known == name).and_then(|(_, arg)| *arg)
    }

    fn write(mut self, body: &'static str) -> bool {
        let mut last = None;
        for line in body.split(';') {
            let Some((name, meaning)) = line.split_once(" = ") else { continue };
            let (name, meaning) = (name.trim(), meaning.trim());
            match meaning.split_once('(') {
                Some((op_type, rest)) => last = self.call(name, op_type, rest),
                None => self.constant(name, meaning),
            }
        }
        let Some(last) = last else { return false };
        let output = self.net.op(self.node).output(0);
        self.net.remove_op(self.node);
        self.net.set_output(last, 0, output);
        true
    }

    /// `axis`, a number, or an attribute with what it is by default.
    fn constant(&mut self, name: &'static str, meaning: &str) {
        let (meaning, typed) = meaning.strip_suffix(" T").map_or((meaning, false), |meaning| (meaning, true));
        let full = format!("{}{name}", self.prefix);
        let tensor = if meaning == "axis" {
            TensorProto::from_i64(&full, &[1], &[self.attributes.int("axis").unwrap_or(-1)])
        } else {
            let (attribute, default) = match meaning.strip_prefix('@').and_then(|named| named.split_once(" or ")) {
                Some((attribute, default)) => (self.attributes.float(attribute), default),
                None => (None, meaning),
            };
            let number = attribute.or_else(|| default.parse().ok()).unwrap_or(0.0);
            match self.elem.filter(|_| typed) {
                Some(elem) if elem == DataType::Float16 => {
                    TensorProto::from_raw(&full, elem, &[], content::float_to_half(number).to_le_bytes().to_vec())
                }
                Some(elem) => {
                    TensorProto::from_raw(&full, elem, &[], ((number.to_bits() >> 16) as u16).to_le_bytes().to_vec())
                }
                None => TensorProto::from_f32(&full, &[], &[number]),
            }
        };
        let arg = self.net.add_constant(tensor);
        self.values.push((name, Some(arg)));
    }

    /// A node: its inputs up to the bracket, then attributes, passed on where they have no value.
    fn call(&mut self, name: &'static str, op_type: &str, rest: &str) -> Option<OpId> {
        let (inputs, attributes) = rest.split_once(')')?;
        let inputs: Vec<Option<ArgId>> = inputs.split(',').map(|input| self.value(input.trim())).collect();
        // A bias that is not there.
        let op_type = if op_type == "Add" && inputs.last() == Some(&None) { "Identity" } else { op_type };
        let inputs: Vec<Option<ArgId>> = inputs.into_iter().filter(|input| input.is_some()).collect();
        let mut op = Op { op_type: op_type.to_owned(), inputs, ..Op::default() };
        for attribute in attributes.split_whitespace() {
            let (key, value) = match attribute.split_once('=') {
                Some((key, value)) => (key, value.parse().ok().map(AttributeValue::Int)),
                None if attribute == "axes" => {
                    (attribute, Some(AttributeValue::Ints(vec![self.attributes.int("axis").unwrap_or(-1)])))
                }
                None => (attribute, self.attributes.attributes.get(attribute).cloned()),
            };
            op.attributes.extend(value.map(|value| (key.to_owned(), value)));
        }
        let elem = self.result_of(&op);
        let id = self.net.add_op(self.node, &format!("{}{op_type}", self.prefix), op);
        let arg = self.net.add_arg(&format!("{}{name}", self.prefix), elem, None);
        self.net.set_output(id, 0, Some(arg));
        self.values.push((name, Some(arg)));
        Some(id)
    }

    fn result_of(&self, op: &Op) -> Option<DataType> {
        let of = |position: usize| op.input(position).and_then(|arg| self.net.arg(arg).elem);
        match op.op_type.as_str() {
            "Less" | "Greater" | "Equal" | "Or" => Some(DataType::Bool),
            "CastLike" | "Where" => of(1),
            "Cast" => op.int("to").and_then(|to| DataType::from_number(i32::try_from(to).ok()?)),
            _ => of(0),
        }
    }
}
