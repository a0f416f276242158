"""Small models, one for each rewrite, and what ONNX Runtime makes of them.

Writes tests/data/patterns/NAME.onnx and the table tests/data/patterns.txt (format: dump.py).

    python patterns.py --folder ../data
"""

import argparse
import os
import sys
import tempfile

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

sys.path.insert(0, os.path.dirname(__file__))
import dump

W = "float[64, 64] w, float[64] b, float[64] g"
LAYER_NORM = """
    m = ReduceMean<axes = [-1]>(x)
    d = Sub(x, m)
    p = Pow(d, two)
    v = ReduceMean<axes = [-1]>(p)
    e = Add(v, eps)
    s = Sqrt(e)
    q = Div(d, s)
    k = Mul(q, g)
"""
SCALARS = "float two = {2.0}, float eps = {1e-5}, float half = {0.5}, float one = {1.0}, float root = {1.4142135}"

# name: (opset, inputs, outputs, initializers, body)
PATTERNS = {
    "layer_norm": (13, "float[N, 8, 64] x", "float[N, 8, 64] y", f"{W}, {SCALARS}", LAYER_NORM + "y = Add(k, b)"),
    "layer_norm_twin": (
        11, "float[N, 8, 64] x", "float[N, 8, 64] y", f"{W}, {SCALARS}",
        LAYER_NORM.replace("p = Pow(d, two)", "d2 = Sub(x, m)\n p = Pow(d2, two)") + "y = Add(k, b)",
    ),
    "layer_norm_17": (17, "float[N, 8, 64] x", "float[N, 8, 64] y", f"{W}, {SCALARS}", LAYER_NORM + "y = Add(k, b)"),
    "skip_layer_norm": (
        13, "float[N, 8, 64] a, float[N, 8, 64] c", "float[N, 8, 64] y", f"{W}, {SCALARS}",
        "x = Add(a, c)" + LAYER_NORM + "y = Add(k, b)",
    ),
    "skip_layer_norm_bias": (
        13, "float[N, 8, 64] a, float[N, 8, 64] c", "float[N, 8, 64] y", f"{W}, {SCALARS}",
        "h = MatMul(a, w)\n f = Add(h, b)\n x = Add(f, c)" + LAYER_NORM + "y = Add(k, b)",
    ),
    "skip_layer_norm_bias_right": (
        13, "float[N, 8, 64] a, float[N, 8, 64] c", "float[N, 8, 64] y", f"{W}, {SCALARS}",
        "h = MatMul(a, w)\n f = Add(b, h)\n x = Add(c, f)" + LAYER_NORM + "y = Add(k, b)",
    ),
    "gelu": (
        13, "float[N, 64] a", "float[N, 64] y", f"{W}, {SCALARS}",
        "h = MatMul(a, w)\n x = Add(h, b)\n d = Div(x, root)\n e = Erf(d)\n f = Add(e, one)\n m = Mul(x, f)\n y = Mul(m, half)",
    ),
    "gelu_other": (
        13, "float[N, 3, 64] x", "float[N, 3, 64] y", SCALARS,
        "h = Mul(x, half)\n d = Div(x, root)\n e = Erf(d)\n f = Add(e, one)\n y = Mul(h, f)",
    ),
    "gelu_20": (
        20, "float[N, 3, 64] a", "float[N, 3, 64] y", f"{W}, {SCALARS}",
        "t = MatMul(a, w)\n x = Add(t, b)\n d = Div(x, root)\n e = Erf(d)\n f = Add(e, one)\n m = Mul(x, f)\n y = Mul(m, half)",
    ),
    "fast_gelu": (
        13, "float[N, 3, 64] x", "float[N, 3, 64] y", f"{SCALARS}, float c = {{0.044715}}, float s = {{0.7978845834732056}}",
        "m1 = Mul(x, c)\n m2 = Mul(m1, x)\n a = Add(m2, one)\n m4 = Mul(x, s)\n m3 = Mul(m4, a)\n t = Tanh(m3)\n"
        "u = Add(t, one)\n h = Mul(x, half)\n z = Mul(h, u)\n y = Neg(z)",
    ),
    "fast_gelu_pow": (
        13, "float[N, 3, 64] a", "float[N, 3, 64] y",
        f"{W}, {SCALARS}, float c = {{0.044714998453855515}}, float s = {{0.7978845834732056}}, float three = {{3.0}}",
        "r = MatMul(a, w)\n x = Add(r, b)\n p = Pow(x, three)\n m = Mul(p, c)\n f = Add(x, m)\n q = Mul(f, s)\n t = Tanh(q)\n"
        "u = Add(t, one)\n h = Mul(x, half)\n z = Mul(h, u)\n y = Neg(z)",
    ),
    "quick_gelu": (
        13, "float[N, 64] x", "float[N, 64] y", "float c = {1.702}",
        "a = Mul(x, c)\n s = Sigmoid(a)\n y = Mul(x, s)",
    ),
    "matmul_add": (13, "float[N, 64] x", "float[N, 64] y", W, "h = MatMul(x, w)\n y = Add(h, b)"),
    "matmul_add_3d": (13, "float[2, 8, 64] x", "float[2, 8, 64] y", W, "h = MatMul(x, w)\n y = Add(b, h)"),
    "matmul_scale": (
        13, "float[N, 8, 64] x, float[N, 64, 8] z", "float[N, 8, 8] y", "float c = {0.125}",
        "a = Mul(x, c)\n h = MatMul(a, z)\n y = Div(h, c)",
    ),
    "matmul_transposes": (
        13, "float[N, 64, 8] x, float[N, 8, 64] z", "float[N, 8, 8] y", "",
        "a = Transpose<perm = [0, 2, 1]>(x)\n c = Transpose<perm = [0, 2, 1]>(z)\n y = MatMul(a, c)",
    ),
    "matmul_transpose_cast": (
        13, "double[N, 64, 8] x, float[N, 64, 8] z", "float[N, 8, 8] y", "",
        "a = Transpose<perm = [0, 2, 1]>(x)\n c = Cast<to = 1>(a)\n y = MatMul(c, z)",
    ),
    "reshape_chain": (
        13, "float[2, 3, 4] x", "float[24] y", "int64[2] s = {6, 4}, int64[1] f = {-1}, int64[1] z = {0}",
        "a = Reshape(x, s)\n c = Unsqueeze(a, z)\n d = Reshape(c, f)\n y = Relu(d)",
    ),
    "gather_to_slice": (
        13, "float[N, 8] x, int64 n", "float[M, 8] y", "int64 z = {0}, int64 o = {1}",
        "r = Range(z, n, o)\n y = Gather(x, r)",
    ),
    "gather_to_split": (
        13, "float[N, 3, 8] x", "float[N, 8] y", "int64 z = {0}, int64 o = {1}, int64 t = {2}",
        "q = Relu(x)\n a = Gather<axis = 1>(q, z)\n c = Gather<axis = 1>(q, o)\n d = Gather<axis = 1>(q, t)\n e = Add(a, c)\n y = Add(e, d)",
    ),
    "not_where": (
        13, "float[N] x, float[N] z, bool[N] c", "float[N] y", "",
        "n = Not(c)\n y = Where(n, x, z)",
    ),
    "pad_conv": (
        13, "float[N, 3, 8, 8] x", "float[N, 4, 8, 8] y", "float[4, 3, 3, 3] w, int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}, float v = {0.0}",
        "a = Pad(x, p, v)\n y = Conv(a, w)",
    ),
    "relu_clip": (
        13, "float[N, 3] x", "float[N, 3] y", "float lo = {-1.0}, float hi = {6.0}",
        "a = Relu(x)\n y = Clip(a, lo, hi)",
    ),
    "gemm_sum": (
        13, "float[N, 64] x, float[N, 64] c", "float[N, 64] y", W,
        "a = Gemm(x, w)\n y = Sum(a, c)",
    ),
    "gemm_transposes": (
        13, "float[64, 8] x", "float[64, 8] y", W,
        "a = Transpose<perm = [1, 0]>(x)\n g2 = Gemm(a, w)\n y = Transpose<perm = [1, 0]>(g2)",
    ),
    "gemm_relu": (13, "float[N, 64] x", "float[N, 64] y", W, "a = Gemm(x, w, b)\n y = Relu(a)"),
    "matmul_batch_norm": (
        13, "float[N, 64] x", "float[N, 64] y", "float[64, 64] w, float[64] s, float[64] b, float[64] m, float[64] v",
        "h = MatMul(x, w)\n y = BatchNormalization<epsilon = 1e-5>(h, s, b, m, v)",
    ),
    "div_mul": (13, "float[N, 3] x, float[N, 3] z", "float[N, 3] y", SCALARS, "d = Div(one, x)\n y = Mul(d, z)"),
    "conv_chain": (
        13, "float[N, 3, 8, 8] x", "float[N, 4, 8, 8] y",
        "float[4, 3, 1, 1] w, float[4, 1, 1] a, float[1, 4, 1, 1] f, float[4] s, float[4] b, float[4] m, float[4] v",
        "c = Conv(x, w)\n d = Add(c, a)\n e = Mul(d, f)\n n = BatchNormalization(e, s, b, m, v)\n y = LeakyRelu<alpha = 0.1>(n)",
    ),
    "dropout_identity": (
        13, "float[N, 3] x", "float[N, 3] y", "",
        "a = Dropout(x)\n c = Identity(a)\n d = Relu(c)\n y = Identity(d)",
    ),
    "slice_expand_cast": (
        13, "float[2, 3] x", "float[2, 3] y",
        "int64[1] s = {0}, int64[1] e = {9223372036854775807}, int64[1] ax = {1}, int64[2] sh = {1, 3}",
        "r = Relu(x)\n a = Slice(r, s, e, ax)\n c = Expand(a, sh)\n d = Cast<to = 1>(c)\n y = Neg(d)",
    ),
    "unsqueeze_11": (11, "float[N, 3, 8, 8] x", "float[N, 3, 8, 8] y", "float[3, 1] w", "a = Unsqueeze<axes = [2]>(w)\n y = Mul(x, a)"),
    "casts": (
        13, "int64[N] x", "float[N] y", "",
        "a = Cast<to = 6>(x)\n c = Cast<to = 7>(a)\n d = Cast<to = 1>(c)\n e = Cast<to = 11>(d)\n f = Cast<to = 1>(e)\n y = Neg(f)",
    ),
    "shape_folds": (
        13, "float[2, 3, 4] x", "float[6, 4] y", "int64 z = {0}, int64 o = {1}, int64[1] zz = {0}, int64[1] m = {-1}",
        "s = Shape(x)\n a = Gather(s, z)\n c = Gather(s, o)\n p = Mul(a, c)\n u = Unsqueeze(p, zz)\n t = Concat<axis = 0>(u, m)\n y = Reshape(x, t)",
    ),
    "shape_of_batch": (
        17, "float[N, 8, 64] x", "float[N, 8, 4, 16] y", "int64 z = {0}, int64 o = {1}, int64[1] zz = {0}, int64[1] h = {4}, int64[1] d = {16}",
        "s = Shape(x)\n a = Gather(s, z)\n s2 = Shape(x)\n c = Gather(s2, o)\n u = Unsqueeze(a, zz)\n v = Unsqueeze(c, zz)\n"
        "t = Concat<axis = 0>(u, v, h, d)\n y = Reshape(x, t)",
    ),
    "transposes_cancel": (
        13, "float[N, 3, 8, 8] x", "float[N, 3, 8, 8] y", "float[3] b",
        "a = Transpose<perm = [0, 2, 3, 1]>(x)\n c = Add(a, b)\n d = Relu(c)\n y = Transpose<perm = [0, 3, 1, 2]>(d)",
    ),
    "transposes_reduce": (
        13, "float[N, 3, 8, 8] x", "float[N, 8, 8, 1] y", "",
        "a = Transpose<perm = [0, 2, 3, 1]>(x)\n c = ReduceMean<axes = [3], keepdims = 1>(a)\n d = Sigmoid(c)\n"
        "t = Transpose<perm = [0, 3, 1, 2]>(d)\n u = Relu(t)\n y = Transpose<perm = [0, 2, 3, 1]>(u)",
    ),
    "transposes_concat_split": (
        13, "float[N, 4, 8, 8] x, float[N, 4, 8, 8] z", "float[N, 2, 8, 8] p, float[N, 6, 8, 8] q", "int64[2] s = {2, 6}",
        "a = Transpose<perm = [0, 2, 3, 1]>(x)\n c = Transpose<perm = [0, 2, 3, 1]>(z)\n d = Concat<axis = 3>(a, c)\n"
        "e, f = Split<axis = 3>(d, s)\n p = Transpose<perm = [0, 3, 1, 2]>(e)\n q = Transpose<perm = [0, 3, 1, 2]>(f)",
    ),
    "transposes_nhwc_net": (
        13, "float[N, 8, 8, 3] x", "float[N, 8, 8, 4] y", "float[4, 3, 1, 1] w, float[4, 4, 1, 1] w2, int64[8] p = {0, 1, 1, 0, 0, 1, 1, 0}",
        "a = Transpose<perm = [0, 3, 1, 2]>(x)\n c = Conv(a, w)\n d = Transpose<perm = [0, 2, 3, 1]>(c)\n e = Pad(d, p)\n"
        "r = LeakyRelu(e)\n f = Transpose<perm = [0, 3, 1, 2]>(r)\n g2 = Conv(f, w2)\n h = MaxPool<kernel_shape = [3, 3]>(g2)\n"
        "y = Transpose<perm = [0, 2, 3, 1]>(h)",
    ),
    "transposes_squeeze_gather": (
        13, "float[1, 4, 8, 8] x", "float[8, 4] y", "int64[1] ax = {0}, int64 i = {2}",
        "a = Transpose<perm = [0, 2, 3, 1]>(x)\n c = Squeeze(a, ax)\n d = Gather<axis = 1>(c, i)\n e = Transpose<perm = [1, 0]>(d)\n"
        "f = Relu(e)\n y = Transpose<perm = [1, 0]>(f)",
    ),
    "hard_swish": (14, "float[N, 3, 8, 8] x", "float[N, 4, 8, 8] y", "float[4, 3, 1, 1] w", "c = Conv(x, w)\n y = HardSwish(c)"),
    "conv_clip": (
        13, "float[N, 3, 8, 8] x", "float[N, 4, 8, 8] y", "float[4, 3, 1, 1] w, float lo = {0.0}, float hi = {6.0}",
        "c = Conv(x, w)\n y = Clip(c, lo, hi)",
    ),
    "rms_norm": (
        13, "float[N, 8, 64] x", "float[N, 8, 64] y", f"{W}, {SCALARS}",
        "p = Pow(x, two)\n m = ReduceMean<axes = [-1]>(p)\n e = Add(m, eps)\n s = Sqrt(e)\n d = Div(x, s)\n y = Mul(g, d)",
    ),
    "qdq_where_number": (
        17, "uint8[N, 6] x, bool[N, 6] c", "uint8[N, 6] y, uint8[N, 6] v", "float s = {0.1}, uint8 z = {128}, float low = {-9.0}",
        "a = DequantizeLinear(x, s, z)\n w = Where(c, a, low)\n q = QuantizeLinear(w, s, z)\n d = DequantizeLinear(q, s, z)\n"
        "p = Where(c, low, d)\n y = QuantizeLinear(p, s, z)\n e = DequantizeLinear(x, s, z)\n f = DequantizeLinear(y, s, z)\n"
        "t = Where(c, e, f)\n v = QuantizeLinear(t, s, z)",
    ),
    "qdq_split_largest": (
        13, "uint8[N, 6] x", "uint8[N, 3] y, uint8[N, 3] v, int64[N, 1] i", "float s = {0.1}, uint8 z = {128}, int64[2] parts = {3, 3}",
        "a = DequantizeLinear(x, s, z)\n b, c = Split<axis = 1>(a, parts)\n y = QuantizeLinear(b, s, z)\n v = QuantizeLinear(c, s, z)\n"
        "d = DequantizeLinear(y, s, z)\n i = ArgMax<axis = 1>(d)",
    ),
    "qdq_double": (
        13, "float[N, 6] x", "float[N, 6] y", "float s = {0.1}, uint8 z = {128}, float t = {0.2}, uint8 u = {100}",
        "q = QuantizeLinear(x, s, z)\n a = DequantizeLinear(q, s, z)\n i = Identity(a)\n p = QuantizeLinear(i, t, u)\n"
        "b = DequantizeLinear(p, t, u)\n y = Exp(b)",
    ),
    "qdq_empty": (
        13, "float[N, 6] x, uint8[N, 6] w", "float[N, 6] y", "float s = {0.1}, uint8 z = {128}",
        "a = DequantizeLinear(w, s, z)\n i = Identity(a)\n p = QuantizeLinear(i, s, z)\n b = DequantizeLinear(p, s, z)\n y = Add(x, b)",
    ),
    "qdq_transpose_end": (
        13, "uint8[N, 6, 4] x, float[N, 4, 6] w", "float[N, 4, 6] y, uint8[N, 6, 4] v", "float s = {0.1}, uint8 z = {128}",
        "a = DequantizeLinear(x, s, z)\n t = Transpose<perm = [0, 2, 1]>(a)\n y = Softmax<axis = 2>(t)\n"
        "r = Softmax<axis = 1>(w)\n u = Transpose<perm = [0, 2, 1]>(r)\n v = QuantizeLinear(u, s, z)",
    ),
    "qdq_gemm_weight": (
        17, "float[N, 64] x", "float[N, 32] y", "int8[64, 32] w, float s = {0.1}, int8 z = {0}, float[32] b",
        "d = DequantizeLinear(w, s, z)\n g = Gemm(x, d, b)\n y = Exp(g)",
    ),
    "qdq_before_relu": (
        17, "uint8[N, 64] x", "float[N, 32] y", "int8[64, 32] w, float s = {0.1}, uint8 z = {128}, int8 k = {0}",
        "a = DequantizeLinear(x, s, z)\n d = DequantizeLinear(w, s, k)\n g = MatMul(a, d)\n r = Relu(g)\n y = Exp(r)",
    ),
    "qlinear_reshape": (
        17, "uint8[N, S, 8] x, uint8[8] k", "uint8[N, S, 2, 4] y", "float s = {0.1}, uint8 z = {128}, int64 zero = {0}, int64 one = {1}, "
        "int64[1] front = {0}, int64[1] two = {2}, int64[1] four = {4}",
        "a = com.microsoft.QLinearAdd(x, s, z, k, s, z, s, z)\n d = DequantizeLinear(a, s, z)\n h = Shape(d)\n n = Gather(h, zero)\n"
        "m = Gather(h, one)\n nu = Unsqueeze(n, front)\n mu = Unsqueeze(m, front)\n c = Concat<axis = 0>(nu, mu, two, four)\n"
        "y = Reshape(a, c)",
    ),
    "half_functions_13": (
        13, "float16[N, 6] x", "float16[N, 6] y", "", "s = Softmax(x)\n l = LogSoftmax<axis = 0>(s)\n r = Relu(l)\n y = LeakyRelu(r)",
    ),
    "half_functions_16": (
        16, "float16[N, 6] x, float16[6] slope", "float16[N, 6] y, bool[N, 6] c", "",
        "p = PRelu(x, slope)\n l = LeakyRelu<alpha = 0.3>(p)\n c = GreaterOrEqual(l, x)\n y = Elu(l)",
    ),
    "half_functions_18": (
        18, "float16[N, 6] x", "float16[N, 6] y, float16[N, 1] q, float16[N, 1] p", "int64[1] axes = {1}",
        "a = Softmax(x)\n b = Relu(a)\n c = Elu(b)\n d = Selu(c)\n e = HardSigmoid(d)\n f = Softplus(e)\n g = Softsign(f)\n"
        "h = ThresholdedRelu(g)\n y = LogSoftmax(h)\n q = ReduceL2(y, axes)\n p = ReduceLogSumExp(y, axes)",
    ),
    "half_functions_20": (
        20, "float16[N, 6] x", "float16[N, 6] y, float16[N, 1] q", "int64[1] axes = {1}",
        "a = Softmax(x)\n b = Relu(a)\n c = Gelu(b)\n y = HardSwish(c)\n q = ReduceL1(y, axes)",
    ),
    "half_fast_gelu": (
        17, "float16[N, 6] x", "float16[N, 6] y", "float16[6] b",
        "a = com.microsoft.FastGelu(x, b)\n c = com.microsoft.Gelu(a)\n d = com.microsoft.FastGelu(c)\n y = com.microsoft.QuickGelu(d)",
    ),
    "half_on_cpu": (
        13, "float16[N, 3, 8, 8] x", "float16[N, 4, 8, 8] y", "float16[4, 3, 1, 1] w, float16[4, 4, 1, 1] w2",
        "c = Conv(x, w)\n r = Relu(c)\n t = Transpose<perm = [0, 1, 3, 2]>(r)\n d = Conv(t, w2)\n u = Unsqueeze_(d)\n y = Sigmoid(d)".replace(
            "u = Unsqueeze_(d)\n ", ""
        ),
    ),
    "equal_nodes": (
        13, "float[N, 3] x", "float[N, 3] y", "",
        "a = Relu(x)\n c = Relu(x)\n d = Exp(a)\n e = Exp(c)\n y = Add(d, e)",
    ),
    "constant_if": (
        13, "float[N, 3] x", "float[N, 3] y", "bool c = {1}, float[3] k",
        "r = Relu(x)\n i = If(c)<then_branch = t () => (float[N, 3] o) { o = Add(r, k) }, else_branch = e () => (float[N, 3] o2) { o2 = Mul(r, k) }>\n y = Neg(i)",
    ),
    "qdq_conv": (
        13, "float[N, 3, 8, 8] x", "float[N, 4, 4, 4] y",
        "int8[4, 3, 1, 1] w, float s = {0.02}, int8 z = {0}, float ws = {0.03}, int8 wz = {0}, int32[4] b, float bs = {0.0006}, int32 bz = {0}",
        "q = QuantizeLinear(x, s, z)\n d = DequantizeLinear(q, s, z)\n dw = DequantizeLinear(w, ws, wz)\n db = DequantizeLinear(b, bs, bz)\n"
        "c = Conv(d, dw, db)\n q2 = QuantizeLinear(c, s, z)\n d2 = DequantizeLinear(q2, s, z)\n m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(d2)\n"
        "q3 = QuantizeLinear(m, s, z)\n y = DequantizeLinear(q3, s, z)",
    ),
    "qdq_matmul_add": (
        13, "float[N, 64] x", "float[N, 64] y",
        "uint8[64, 64] w, float s = {0.02}, uint8 z = {128}, float ws = {0.03}, uint8 wz = {128}",
        "q = QuantizeLinear(x, s, z)\n d = DequantizeLinear(q, s, z)\n dw = DequantizeLinear(w, ws, wz)\n c = MatMul(d, dw)\n"
        "q2 = QuantizeLinear(c, s, z)\n d2 = DequantizeLinear(q2, s, z)\n e = DequantizeLinear(q, s, z)\n a = Add(d2, e)\n"
        "q3 = QuantizeLinear(a, s, z)\n y = DequantizeLinear(q3, s, z)",
    ),
    "qdq_gemm_concat": (
        13, "float[N, 64] x", "float[N, 128] y",
        "uint8[64, 64] w, float s = {0.02}, uint8 z = {128}, float ws = {0.03}, uint8 wz = {128}",
        "q = QuantizeLinear(x, s, z)\n d = DequantizeLinear(q, s, z)\n dw = DequantizeLinear(w, ws, wz)\n c = Gemm(d, dw)\n"
        "q2 = QuantizeLinear(c, s, z)\n d2 = DequantizeLinear(q2, s, z)\n e = DequantizeLinear(q, s, z)\n a = Concat<axis = 1>(d2, e)\n"
        "q3 = QuantizeLinear(a, s, z)\n y = DequantizeLinear(q3, s, z)",
    ),
    "qdq_matmul_float_out": (
        13, "float[N, 64] x", "float[N, 64] y",
        "uint8[64, 64] w, float s = {0.02}, uint8 z = {128}, float ws = {0.03}, uint8 wz = {128}",
        "q = QuantizeLinear(x, s, z)\n d = DequantizeLinear(q, s, z)\n dw = DequantizeLinear(w, ws, wz)\n y = MatMul(d, dw)",
    ),
    "dynamic_quantize_bias": (
        13, "float[N, 64] x", "float[N, 64] y", "uint8[64, 64] w, float ws = {0.03}, uint8 wz = {128}, float[64] b",
        "q, s, z = DynamicQuantizeLinear(x)\n m = MatMulInteger(q, w, z, wz)\n f = Cast<to = 1>(m)\n k = Mul(s, ws)\n u = Mul(f, k)\n y = Add(u, b)",
    ),
    "qdq_spreads_back": (
        13, "float[N, 4, 8] x", "float[N, 8, 4] y", "float s = {0.02}, uint8 z = {128}",
        "a = Sigmoid(x)\n r = Transpose<perm = [0, 2, 1]>(a)\n q = QuantizeLinear(r, s, z)\n y = DequantizeLinear(q, s, z)",
    ),
    "qdq_spreads_forward": (
        13, "float[N, 4, 8] x", "float[N, 8, 4] y", "float s = {0.02}, uint8 z = {128}, int64[3] sh = {0, 4, 8}",
        "q = QuantizeLinear(x, s, z)\n d = DequantizeLinear(q, s, z)\n r = Reshape(d, sh)\n t = Transpose<perm = [0, 2, 1]>(r)\n y = Sigmoid(t)",
    ),
    "qdq_spreads_to_output": (
        13, "float[N, 4, 8] x", "float[N, 8, 4] y", "float s = {0.02}, uint8 z = {128}",
        "q = QuantizeLinear(x, s, z)\n d = DequantizeLinear(q, s, z)\n y = Transpose<perm = [0, 2, 1]>(d)",
    ),
    "yolo_focus": (
        12, "float[1, 3, 64, 64] x", "float[1, 16, 32, 32] y",
        "float[16, 12, 3, 3] w, int64[1] o = {0}, int64[1] i = {1}, int64[1] e = {9223372036854775807}, int64[1] h = {2}, int64[1] v = {3}, int64[1] t = {2}",
        "a0 = Slice(x, o, e, h, t)\n a = Slice(a0, o, e, v, t)\n b0 = Slice(x, i, e, h, t)\n b = Slice(b0, o, e, v, t)\n"
        "c0 = Slice(x, o, e, h, t)\n c = Slice(c0, i, e, v, t)\n d0 = Slice(x, i, e, h, t)\n d = Slice(d0, i, e, v, t)\n"
        "f = Concat<axis = 1>(a, b, c, d)\n g = Conv<pads = [1, 1, 1, 1]>(f, w)\n s = Sigmoid(g)\n y = Mul(g, s)",
    ),
    "gpt_block": (
        13, "float[N, S, 64] a, float[N, S, 64] c", "float[N, S, 64] y",
        f"{W}, {SCALARS}, float c1 = {{0.044715}}, float s1 = {{0.7978845834732056}}, float three = {{3.0}}, int64[2] flat = {{-1, 64}}, int64 z = {{0}}, int64 o = {{1}}, int64[1] zz = {{0}}, int64[1] last = {{64}}",
        "x = Add(a, c)" + LAYER_NORM + "n = Add(k, b)\n sh = Shape(n)\n i0 = Gather(sh, z)\n i1 = Gather(sh, o)\n u0 = Unsqueeze(i0, zz)\n"
        "u1 = Unsqueeze(i1, zz)\n t = Concat<axis = 0>(u0, u1, last)\n r = Reshape(n, flat)\n h = Gemm(r, w, b)\n l = Reshape(h, t)\n"
        "p3 = Pow(l, three)\n q3 = Mul(p3, c1)\n f3 = Add(l, q3)\n g3 = Mul(f3, s1)\n t3 = Tanh(g3)\n u3 = Add(t3, one)\n h3 = Mul(l, half)\n"
        "y3 = Mul(h3, u3)\n y = Add(x, y3)",
    ),
    "group_norm_18": (
        18, "float[N, 8, 4, 4] x", "float[N, 8, 4, 4] y", "float[2] s, float[2] b",
        "r = Relu(x)\n g = GroupNormalization<num_groups = 2, epsilon = 1e-5>(r, s, b)\n y = Sigmoid(g)",
    ),
    "group_norm_21": (
        21, "float[N, 8, 4, 4] x", "float[N, 8, 4, 4] y", "float[8] s, float[8] b, float[8, 8, 1, 1] w",
        "c = Conv(x, w)\n g = GroupNormalization<num_groups = 2, epsilon = 1e-5>(c, s, b)\n g2 = Sigmoid(g)\n y = Mul(g, g2)",
    ),
    "mish_cast_like": (18, "float[N, 8] x, double[N] z", "double[N, 8] y", "", "m = Mish(x)\n n = Mish(m)\n y = CastLike(n, z)"),
    "int4_weights": (
        21, "float[N, 64] x", "float[N, 32] y", "int4[64, 32] w, float[2, 32] s",
        "d = DequantizeLinear<axis = 0, block_size = 32>(w, s)\n y = MatMul(x, d)",
    ),
    "space_to_depth": (
        13, "float[N, 3, 8, 8] x", "float[N, 12, 4, 4] y",
        "int64[2] a = {0, 0}, int64[2] b = {1, 0}, int64[2] c = {0, 1}, int64[2] d = {1, 1}, int64[2] e = {9223372036854775807, 9223372036854775807}, int64[2] ax = {2, 3}, int64[2] st = {2, 2}",
        "p = Slice(x, a, e, ax, st)\n q = Slice(x, b, e, ax, st)\n r = Slice(x, c, e, ax, st)\n s = Slice(x, d, e, ax, st)\n y = Concat<axis = 1>(p, q, r, s)",
    ),
    "transpose_stops_at_output": (
        17, "float[2, 3, 4, 5] x", "float[2, 4, 5, 3] z, float[2, 3, 4, 5] y", "",
        "t = Transpose<perm = [0, 2, 3, 1]>(x)\n z = Relu(t)\n y = Transpose<perm = [0, 3, 1, 2]>(z)",
    ),
    "transpose_output_ahead": (
        17, "float[2, 3, 4, 5] x", "float[2, 4, 5, 3] z, float[2, 3, 4, 5] y, float[2, 4, 5, 3] w", "",
        "t = Transpose<perm = [0, 2, 3, 1]>(x)\n r = Relu(t)\n z = Neg(r)\n y = Transpose<perm = [0, 3, 1, 2]>(z)\n w = Abs(r)",
    ),
    "transpose_one_reader_twice": (
        17, "float[2, 3, 4, 5] x", "float[2, 5, 4, 3] y", "",
        "t = Transpose<perm = [0, 2, 3, 1]>(x)\n r = Relu(t)\n n = Mul(r, r)\n y = Transpose<perm = [0, 2, 1, 3]>(n)",
    ),
    "transpose_shared_scale": (
        17, "float[N, 8, 6, 6] x", "float[N, 8, 6, 6] y", "float[8] g, float[8] b, float[8, 8, 1, 1] k, float half = {0.5}",
        "\n".join(
            f"t{i} = Transpose<perm = [0, 2, 3, 1]>({v})\n m{i} = ReduceMean<axes = [-1]>(t{i})\n d{i} = Sub(t{i}, m{i})\n"
            f"s{i} = Mul(d{i}, g)\n a{i} = Add(s{i}, b)\n u{i} = Transpose<perm = [0, 3, 1, 2]>(a{i})\n c{i} = Conv(u{i}, k, b)"
            for i, v in ((0, "x"), (1, "c0"), (2, "c1"))
        )
        + "\ny = Relu(c2)",
    ),
    "transpose_split_of_unknown": (
        14, "float[N, M, 60] x", "float[P, Q, R, S] y", "int64 i0 = {0}, int64 i1 = {1}, int64[1] zero = {0}, int64[3] tail = {3, 4, 5}, int64[3] ones = {1, 1, 1}, float scale = {0.25}",
        "s = Shape(x)\n n = Gather(s, i0)\n m = Gather(s, i1)\n nu = Unsqueeze(n, zero)\n mu = Unsqueeze(m, zero)\n"
        "c = Concat<axis = 0>(nu, mu, tail)\n r = Reshape(x, c)\n t = Transpose<perm = [2, 0, 3, 1, 4]>(r)\n"
        "q5, k5, v5 = Split<axis = 0>(t, ones)\n q = Squeeze(q5, zero)\n k = Squeeze(k5, zero)\n v = Squeeze(v5, zero)\n"
        "qs = Mul(q, scale)\n kt = Transpose<perm = [0, 1, 3, 2]>(k)\n a = MatMul(qs, kt)\n p = Softmax<axis = -1>(a)\n y = MatMul(p, v)",
    ),
    "batch_norm_of_weights": (
        15, "float[N, 4, 8, 8] x", "float[N, 6, 8, 8] y", "float[1, 6, 36] w, float[6] g, float[6] z, float[6] m, float[6] v, int64[4] s = {6, 4, 3, 3}",
        "n, rm, rv = BatchNormalization<training_mode = 1>(w, g, z, m, v)\n k = Reshape(n, s)\n y = Conv<pads = [1, 1, 1, 1]>(x, k)",
    ),
    "loss_plain": (13, "float[3, 5, 2] x, int64[3, 2] t", "float l", "", "l = NegativeLogLikelihoodLoss(x, t)"),
    "loss_weights_ignored": (
        13, "float[3, 5, 2] x, int64[3, 2] t", "float l", "float[5] w",
        "l = NegativeLogLikelihoodLoss<ignore_index = 1, reduction = \"sum\">(x, t, w)",
    ),
    "loss_entropy": (
        13, "float[3, 5, 2] x, int64[3, 2] t", "float[3, 2] l, float[3, 5, 2] p", "",
        "l, p = SoftmaxCrossEntropyLoss<ignore_index = 2, reduction = \"none\">(x, t)",
    ),
    "n_bits_bias": (
        17, "float[N, 32] x", "float[N, 16] y", "uint8[16, 1, 16] w, float[16] s, float[16] b",
        "p = com.microsoft.MatMulNBits<K = 32, N = 16, bits = 4, block_size = 32>(x, w, s)\n q = Add(b, p)\n y = Relu(q)",
    ),
    "n_bits_transpose": (
        17, "float[N, 4, 32] x, float[N, 4, 16] z", "float[N, 4, 4] y", "uint8[16, 1, 16] w, float[16] s, float c = {0.5}",
        "p = com.microsoft.MatMulNBits<K = 32, N = 16, bits = 4, block_size = 32>(x, w, s)\n t = Transpose<perm = [0, 2, 1]>(p)\n m = MatMul(z, t)\n y = Mul(m, c)",
    ),
    "half_limits": (13, "float16[N, 8] x, float16[N, 8] z", "float16[N, 8] y", "", "a = Max(x, z)\n b = Sign(a)\n c = Min(b, z)\n y = Round(c)"),
}


def build(name):
    opset, inputs, outputs, initializers, body = PATTERNS[name]
    known, unknown = [], []
    for entry in filter(None, (part.strip() for part in split(initializers))):
        (known if "=" in entry else unknown).append(entry)
    text = f'<ir_version: 8, opset_import: ["" : {opset}]>\n{name} ({inputs}) => ({outputs})\n'
    declared = ", ".join(known + [entry for entry in unknown])
    if declared:
        text += f"<{', '.join(known)}>\n" if known else ""
    text += "{\n" + body + "\n}"
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(3)
    for entry in unknown:
        kind, tensor = entry.rsplit(" ", 1)
        base, _, dims = kind.partition("[")
        shape = [int(size) for size in dims.rstrip("]").split(",")]
        number = onnx.TensorProto.DataType.Value(base.upper())
        if base == "int4":
            raw = random.integers(0, 256, int(np.prod(shape)) // 2, dtype=np.uint8)
            value = onnx.helper.make_tensor(tensor, number, shape, raw.tobytes(), raw=True)
        else:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(number)
            value = numpy_helper.from_array(random.uniform(0.5, 1.5, shape).astype(dtype), tensor)
        model.graph.initializer.append(value)
    return model


def split(text):
    depth, part, parts = 0, "", []
    for char in text:
        depth += char in "[{"
        depth -= char in "]}"
        if char == "," and depth == 0:
            parts.append(part)
            part = ""
        else:
            part += char
    return parts + [part]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    arguments = parser.parse_args()
    os.makedirs(os.path.join(arguments.folder, "patterns"), exist_ok=True)
    rows = []
    for name in sorted(PATTERNS):
        try:
            model = build(name)
        except Exception as error:
            print(name, "not built:", str(error)[:300], file=sys.stderr)
            continue
        path = os.path.join(arguments.folder, "patterns", name + ".onnx")
        onnx.save(model, path)
        for level in dump.LEVELS:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    graph = dump.dumped(path, level, folder, []).graph
                except Exception as error:
                    print(name, level, "not loaded:", str(error)[:300], file=sys.stderr)
                    continue
                rows.append(f"{name} {level} {dump.row(graph)}")
    with open(os.path.join(arguments.folder, "patterns.txt"), "w") as table:
        table.write(f"# onnxruntime {dump.ort.__version__}, CPU provider; written by tests/reference/patterns.py\n")
        table.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
