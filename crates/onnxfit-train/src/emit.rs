//! Short names for the operators that gradients are made of.
//!
//! Every operator here has CPU and CUDA kernels in the stock wheels at opset 18
//! (cuda_execution_provider.cc, ORT 1.31).

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::AttributeProto;

use crate::tape::{Tape, Var};

/// A whole-number attribute.
pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(2), i: Some(value), ..AttributeProto::default() }
}

/// A number attribute.
pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(1), f: Some(value), ..AttributeProto::default() }
}

/// An attribute that lists whole numbers.
pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(7), ints: values.to_vec(), ..AttributeProto::default() }
}

/// A text attribute.
pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(3),
        s: Some(value.as_bytes().to_vec().into()),
        ..AttributeProto::default()
    }
}

macro_rules! binary {
    ($($name:ident = $op_type:literal),* $(,)?) => {
        impl Tape {
            $(pub(crate) fn $name(&mut self, a: Var, b: Var) -> Var {
                self.op($op_type, &[a, b])
            })*
        }
    };
}

macro_rules! unary {
    ($($name:ident = $op_type:literal),* $(,)?) => {
        impl Tape {
            $(pub(crate) fn $name(&mut self, x: Var) -> Var {
                self.op($op_type, &[x])
            })*
        }
    };
}

binary! {
    add = "Add", sub = "Sub", mul = "Mul", div = "Div", pow = "Pow", matmul = "MatMul", greater = "Greater",
    less = "Less", equal = "Equal", and = "And", greater_or_equal = "GreaterOrEqual", less_or_equal = "LessOrEqual",
    expand = "Expand", reshape = "Reshape", maximum = "Max",
}

unary! {
    neg = "Neg", exp = "Exp", log = "Log", sqrt = "Sqrt", reciprocal = "Reciprocal", sigmoid = "Sigmoid",
    tanh = "Tanh", erf = "Erf", sign = "Sign", shape = "Shape", size = "Size", cos = "Cos", sin = "Sin",
}

impl Tape {
    pub(crate) fn cast(&mut self, x: Var, to: DataType) -> Var {
        self.op_with("Cast", &[x], vec![int("to", to.number().into())])
    }

    pub(crate) fn select(&mut self, condition: Var, yes: Var, no: Var) -> Var {
        self.op("Where", &[condition, yes, no])
    }

    pub(crate) fn transpose(&mut self, x: Var, perm: &[i64]) -> Var {
        if perm.iter().enumerate().all(|(at, axis)| at as i64 == *axis) {
            return x;
        }
        self.op_with("Transpose", &[x], vec![ints("perm", perm)])
    }

    pub(crate) fn reshape_to(&mut self, x: Var, dims: &[i64]) -> Var {
        let dims = self.ints(dims);
        self.reshape(x, dims)
    }

    pub(crate) fn reduce(&mut self, op_type: &str, x: Var, axes: &[i64], keepdims: bool) -> Var {
        let axes = self.ints(axes);
        self.op_with(op_type, &[x, axes], vec![int("keepdims", keepdims.into())])
    }

    pub(crate) fn reduce_sum(&mut self, x: Var, axes: &[i64], keepdims: bool) -> Var {
        self.reduce("ReduceSum", x, axes, keepdims)
    }

    pub(crate) fn reduce_mean(&mut self, x: Var, axes: &[i64], keepdims: bool) -> Var {
        self.reduce("ReduceMean", x, axes, keepdims)
    }

    /// The sum of all elements, as a scalar.
    pub(crate) fn sum_all(&mut self, x: Var) -> Var {
        self.op_with("ReduceSum", &[x], vec![int("keepdims", 0)])
    }

    pub(crate) fn unsqueeze(&mut self, x: Var, axes: &[i64]) -> Var {
        let axes = self.ints(axes);
        self.op("Unsqueeze", &[x, axes])
    }

    pub(crate) fn squeeze(&mut self, x: Var, axes: &[i64]) -> Var {
        let axes = self.ints(axes);
        self.op("Squeeze", &[x, axes])
    }

    pub(crate) fn concat(&mut self, parts: &[Var], axis: i64) -> Var {
        if let [only] = parts {
            return *only;
        }
        self.op_with("Concat", parts, vec![int("axis", axis)])
    }

    /// `x[.., start..end, ..]` with constant bounds.
    pub(crate) fn slice(&mut self, x: Var, axis: i64, start: i64, end: i64) -> Var {
        let (starts, ends, axes) = (self.ints(&[start]), self.ints(&[end]), self.ints(&[axis]));
        self.op("Slice", &[x, starts, ends, axes])
    }

    /// One dimension of `x`, as a vector of one.
    pub(crate) fn dim(&mut self, x: Var, axis: i64) -> Var {
        let end = if axis == -1 { i64::MAX } else { axis + 1 };
        let mut attributes = vec![int("start", axis)];
        if end != i64::MAX {
            attributes.push(int("end", end));
        }
        self.op_with("Shape", &[x], attributes)
    }

    /// Dimensions `start..end` of `x`; an open end reaches to the last.
    pub(crate) fn dims(&mut self, x: Var, start: i64, end: Option<i64>) -> Var {
        let mut attributes = vec![int("start", start)];
        attributes.extend(end.map(|end| int("end", end)));
        self.op_with("Shape", &[x], attributes)
    }

    /// Zeros of a shape that is known when the graph runs.
    pub(crate) fn zeros(&mut self, shape: Var, element_type: DataType) -> Var {
        self.filled(shape, element_type, 0.0)
    }

    /// A tensor of one number, of a shape that is known when the graph runs.
    pub(crate) fn filled(&mut self, shape: Var, element_type: DataType, value: f64) -> Var {
        let tensor = crate::tape::tensor_of(element_type, &[1], &[value]);
        let value = AttributeProto {
            name: Some("value".to_owned()),
            r#type: Some(4),
            t: Some(Box::new(tensor)),
            ..AttributeProto::default()
        };
        self.op_with("ConstantOfShape", &[shape], vec![value])
    }

    pub(crate) fn gemm(&mut self, a: Var, b: Var, transpose_a: bool, transpose_b: bool) -> Var {
        let mut attributes = Vec::new();
        if transpose_a {
            attributes.push(int("transA", 1));
        }
        if transpose_b {
            attributes.push(int("transB", 1));
        }
        self.op_with("Gemm", &[a, b], attributes)
    }

    /// The sum of several values of one shape.
    pub(crate) fn sum(&mut self, parts: &[Var]) -> Var {
        match parts {
            [only] => *only,
            [a, b] => self.add(*a, *b),
            _ => self.op("Sum", parts),
        }
    }

    /// `0, 1, .., n-1` for a scalar `n`.
    pub(crate) fn range(&mut self, n: Var) -> Var {
        let (zero, one) = (self.int(0), self.int(1));
        self.op("Range", &[zero, n, one])
    }

    /// `x` times a number.
    pub(crate) fn scale(&mut self, x: Var, element_type: DataType, factor: f64) -> Var {
        if factor == 1.0 {
            return x;
        }
        let factor = self.number(element_type, factor);
        self.mul(x, factor)
    }
}
