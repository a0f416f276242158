"""Runs an ONNX graph with PyTorch, so that autograd gives reference gradients.

Independent of onnxfit: every operator is written with PyTorch's own functions. Needs torch >= 1.13
and onnx; float64 throughout.
"""
import math
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper

D = torch.float64
OPS = {}


def op(*names):
    def add(f):
        for name in names:
            OPS[name] = f
        return f
    return add


def unary(name, f):
    OPS[name] = lambda n, a, x: f(x)


for name, f in {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin, "Asinh": torch.asinh,
    "Atan": torch.atan, "Atanh": torch.atanh, "Cos": torch.cos, "Cosh": torch.cosh, "Erf": torch.erf,
    "Exp": torch.exp, "Identity": lambda x: x, "Log": torch.log, "Neg": torch.neg, "Reciprocal": torch.reciprocal,
    "Sin": torch.sin, "Sinh": torch.sinh, "Sqrt": torch.sqrt, "Tan": torch.tan, "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid, "Relu": torch.relu, "Softplus": F.softplus, "Softsign": F.softsign,
    "HardSwish": F.hardswish, "Mish": F.mish, "Floor": torch.floor, "Ceil": torch.ceil, "Sign": torch.sign,
    "Not": torch.logical_not, "Round": torch.round, "GlobalAveragePool": lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True),
    "GlobalMaxPool": lambda x: x.amax(tuple(range(2, x.dim())), keepdim=True), "Shape": None, "Size": None,
}.items():
    unary(name, f)

for name, f in {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "MatMul": torch.matmul, "Equal": torch.eq,
    "Greater": torch.gt, "Less": torch.lt, "GreaterOrEqual": torch.ge, "LessOrEqual": torch.le,
    "And": torch.logical_and, "Or": torch.logical_or, "Mod": torch.remainder,
}.items():
    OPS[name] = lambda n, a, x, y, f=f: f(x, y)


@op("Div")
def _(n, a, x, y):
    if not x.is_floating_point():
        return torch.div(x, y, rounding_mode="trunc")
    return x / y


@op("Pow")
def _(n, a, x, y):
    return torch.pow(x, y.to(x.dtype))


@op("Max")
def _(n, a, *xs):
    y = xs[0]
    for x in xs[1:]:
        y = torch.maximum(y, x)
    return y


@op("Min")
def _(n, a, *xs):
    y = xs[0]
    for x in xs[1:]:
        y = torch.minimum(y, x)
    return y


@op("Sum")
def _(n, a, *xs):
    return sum(xs[1:], xs[0])


@op("Mean")
def _(n, a, *xs):
    return sum(xs[1:], xs[0]) / len(xs)


@op("Celu")
def _(n, a, x):
    return F.celu(x, a.get("alpha", 1.0))


@op("Elu")
def _(n, a, x):
    return F.elu(x, a.get("alpha", 1.0))


@op("Selu")
def _(n, a, x):
    return F.selu(x)


@op("LeakyRelu")
def _(n, a, x):
    return F.leaky_relu(x, a.get("alpha", 0.01))


@op("PRelu")
def _(n, a, x, s):
    return torch.where(x > 0, x, x * s)


@op("ThresholdedRelu")
def _(n, a, x):
    return torch.where(x > a.get("alpha", 1.0), x, torch.zeros_like(x))


@op("HardSigmoid")
def _(n, a, x):
    return torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1)


@op("Gelu", "com.microsoft.Gelu")
def _(n, a, x):
    return F.gelu(x, approximate=a.get("approximate", b"none").decode())


@op("com.microsoft.FastGelu")
def _(n, a, x, b=None):
    return F.gelu(x if b is None else x + b, approximate="tanh")


@op("com.microsoft.BiasGelu")
def _(n, a, x, b):
    return F.gelu(x + b)


@op("com.microsoft.QuickGelu", "Swish")
def _(n, a, x):
    return x * torch.sigmoid(a.get("alpha", 1.702 if n.op_type == "QuickGelu" else 1.0) * x)


TYPES = {1: D, 11: D, 10: D, 16: D, 7: torch.int64, 6: torch.int32, 9: torch.bool, 2: torch.uint8, 3: torch.int8}


@op("Cast")
def _(n, a, x):
    return x.to(TYPES[a["to"]])


@op("CastLike")
def _(n, a, x, y):
    return x.to(y.dtype)


@op("Dropout")
def _(n, a, x, *rest):
    return x


@op("Clip")
def _(n, a, x, lo=None, hi=None):
    return torch.clamp(x, None if lo is None else lo.item(), None if hi is None else hi.item())


@op("Where")
def _(n, a, c, x, y):
    return torch.where(c, x, y)


@op("Trilu")
def _(n, a, x, k=None):
    k = 0 if k is None else int(k)
    return torch.triu(x, k) if a.get("upper", 1) else torch.tril(x, k)


@op("TopK")
def _(n, a, x, k):
    return torch.topk(x, int(k.reshape(-1)[0]), a.get("axis", -1), bool(a.get("largest", 1)), bool(a.get("sorted", 1)))


def axes_of(a, axes, x):
    if axes is None:
        axes = a.get("axes")
    if axes is None:
        return tuple(range(x.dim()))
    return tuple(int(i) for i in (axes.tolist() if torch.is_tensor(axes) else axes))


def reduction(f):
    def run(n, a, x, axes=None):
        return f(x, axes_of(a, axes, x), bool(a.get("keepdims", 1)))
    return run


OPS["ReduceSum"] = reduction(lambda x, d, k: x.sum(d, keepdim=k))
OPS["ReduceMean"] = reduction(lambda x, d, k: x.mean(d, keepdim=k))
OPS["ReduceMax"] = reduction(lambda x, d, k: x.amax(d, keepdim=k))
OPS["ReduceMin"] = reduction(lambda x, d, k: x.amin(d, keepdim=k))
OPS["ReduceL1"] = reduction(lambda x, d, k: x.abs().sum(d, keepdim=k))
OPS["ReduceL2"] = reduction(lambda x, d, k: (x * x).sum(d, keepdim=k).sqrt())
OPS["ReduceLogSum"] = reduction(lambda x, d, k: x.sum(d, keepdim=k).log())
OPS["ReduceLogSumExp"] = reduction(lambda x, d, k: torch.logsumexp(x, d, keepdim=k))
OPS["ReduceSumSquare"] = reduction(lambda x, d, k: (x * x).sum(d, keepdim=k))


@op("ReduceProd")
def _(n, a, x, axes=None):
    for d in sorted(axes_of(a, axes, x), reverse=True):
        x = x.prod(d, keepdim=bool(a.get("keepdims", 1)))
    return x


@op("CumSum")
def _(n, a, x, axis):
    d = int(axis)
    y = torch.flip(x, [d]) if a.get("reverse", 0) else x
    s = torch.cumsum(y, d)
    if a.get("exclusive", 0):
        s = s - y
    return torch.flip(s, [d]) if a.get("reverse", 0) else s


@op("Softmax")
def _(n, a, x):
    return torch.softmax(x, a.get("axis", -1))


@op("LogSoftmax")
def _(n, a, x):
    return torch.log_softmax(x, a.get("axis", -1))


@op("Gemm")
def _(n, a, x, y, z=None):
    x = x.t() if a.get("transA", 0) else x
    y = y.t() if a.get("transB", 0) else y
    r = a.get("alpha", 1.0) * (x @ y)
    return r if z is None else r + a.get("beta", 1.0) * z


@op("com.microsoft.FusedMatMul")
def _(n, a, x, y):
    x = x.transpose(-1, -2) if a.get("transA", 0) else x
    y = y.transpose(-1, -2) if a.get("transB", 0) else y
    return a.get("alpha", 1.0) * (x @ y)


@op("Einsum")
def _(n, a, *xs):
    return torch.einsum(a["equation"].decode(), *xs)


@op("Reshape")
def _(n, a, x, s):
    dims = s.tolist()
    if not a.get("allowzero", 0):
        dims = [x.shape[i] if d == 0 else d for i, d in enumerate(dims)]
    return x.reshape(dims)


@op("Flatten")
def _(n, a, x):
    k = a.get("axis", 1)
    k = k + x.dim() if k < 0 else k
    return x.reshape(int(np.prod(x.shape[:k])), -1)


@op("Squeeze")
def _(n, a, x, axes=None):
    if axes is None and "axes" not in a:
        return x.squeeze()
    for d in sorted((d % x.dim() for d in axes_of(a, axes, x)), reverse=True):
        x = x.squeeze(d)
    return x


@op("Unsqueeze")
def _(n, a, x, axes=None):
    d = axes_of(a, axes, x)
    rank = x.dim() + len(d)
    for i in sorted(i % rank for i in d):
        x = x.unsqueeze(i)
    return x


@op("Transpose")
def _(n, a, x):
    return x.permute(a.get("perm", list(range(x.dim()))[::-1]))


@op("Expand")
def _(n, a, x, s):
    return x * torch.ones(s.tolist(), dtype=x.dtype) if x.is_floating_point() else torch.broadcast_to(x, np.broadcast_shapes(tuple(x.shape), tuple(s.tolist())))


@op("Tile")
def _(n, a, x, r):
    return x.repeat(r.tolist())


@op("DepthToSpace")
def _(n, a, x):
    b = a["blocksize"]
    N, C, H, W = x.shape
    if a.get("mode", b"DCR") == b"CRD":
        return x.reshape(N, C // b**2, b, b, H, W).permute(0, 1, 4, 2, 5, 3).reshape(N, C // b**2, H * b, W * b)
    return x.reshape(N, b, b, C // b**2, H, W).permute(0, 3, 4, 1, 5, 2).reshape(N, C // b**2, H * b, W * b)


@op("SpaceToDepth")
def _(n, a, x):
    b = a["blocksize"]
    N, C, H, W = x.shape
    return x.reshape(N, C, H // b, b, W // b, b).permute(0, 3, 5, 1, 2, 4).reshape(N, C * b * b, H // b, W // b)


@op("Concat")
def _(n, a, *xs):
    return torch.cat(xs, a["axis"])


@op("Split")
def _(n, a, x, s=None):
    axis = a.get("axis", 0)
    if s is None:
        k = len(n.output)
        each = -(-x.shape[axis] // k)
        s = [each] * (k - 1) + [x.shape[axis] - each * (k - 1)]
    else:
        s = s.tolist()
    return torch.split(x, s, axis)


@op("Slice")
def _(n, a, x, starts=None, ends=None, axes=None, steps=None):
    if starts is None:
        starts, ends, axes = (torch.tensor(a[k]) for k in ("starts", "ends", "axes"))
    starts, ends = starts.tolist(), ends.tolist()
    axes = list(range(len(starts))) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    for s, e, d, k in zip(starts, ends, axes, steps):
        x = x.index_select(d, torch.tensor(list(range(x.shape[d]))[slice(s, None if (k < 0 and e < -x.shape[d]) else e, k)], dtype=torch.int64))
    return x


@op("Pad")
def _(n, a, x, pads=None, value=None, axes=None):
    pads = a["pads"] if pads is None else pads.tolist()
    axes = list(range(x.dim())) if axes is None else axes.tolist()
    k = len(axes)
    mode = a.get("mode", b"constant").decode()
    for i, d in enumerate(axes):
        size, (p, q) = x.shape[d], (pads[i], pads[i + k])
        if mode == "constant":
            v = 0.0 if value is None else value.item()
            x = x.narrow(d, max(-p, 0), size - max(-p, 0) - max(-q, 0))
            p, q = max(p, 0), max(q, 0)
            shape = list(x.shape)
            shape[d] = p
            first = torch.full(shape, v, dtype=x.dtype)
            shape[d] = q
            x = torch.cat([first, x, torch.full(shape, v, dtype=x.dtype)], d)
        else:
            x = x.index_select(d, torch.tensor(np.pad(np.arange(size), (p, q), mode={"edge": "edge", "reflect": "reflect", "wrap": "wrap"}[mode])))
    return x


@op("Gather")
def _(n, a, x, i):
    d = a.get("axis", 0) % x.dim()
    i = torch.where(i < 0, i + x.shape[d], i).long()
    y = x.index_select(d, i.reshape(-1))
    return y.reshape(list(x.shape[:d]) + list(i.shape) + list(x.shape[d + 1:]))


@op("GatherElements")
def _(n, a, x, i):
    return torch.gather(x, a.get("axis", 0), i)


@op("GatherND")
def _(n, a, x, i):
    k = i.shape[-1]
    y = x[tuple(i.reshape(-1, k).t())]
    return y.reshape(list(i.shape[:-1]) + list(x.shape[k:]))


@op("ScatterElements")
def _(n, a, x, i, u):
    d = a.get("axis", 0)
    return x.scatter_add(d, i, u) if a.get("reduction", b"none") == b"add" else x.scatter(d, i, u)


@op("ScatterND")
def _(n, a, x, i, u):
    k = i.shape[-1]
    return x.index_put(tuple(i.reshape(-1, k).t()), u.reshape([-1] + list(x.shape[k:])), accumulate=a.get("reduction", b"none") == b"add")


def pads_of(a, x, k, s, d):
    nd = len(k)
    auto = a.get("auto_pad", b"NOTSET").decode()
    if auto in ("NOTSET", ""):
        return a.get("pads", [0] * (2 * nd))
    if auto == "VALID":
        return [0] * (2 * nd)
    begin, end = [], []
    for i in range(nd):
        total = max((-(-x.shape[2 + i] // s[i]) - 1) * s[i] + (k[i] - 1) * d[i] + 1 - x.shape[2 + i], 0)
        lo = total // 2 if auto == "SAME_UPPER" else total - total // 2
        begin.append(lo)
        end.append(total - lo)
    return begin + end


def padded(x, pads, value=0.0):
    nd = len(pads) // 2
    flat = []
    for i in reversed(range(nd)):
        flat += [pads[i], pads[i + nd]]
    return F.pad(x, flat, value=value)


@op("Conv")
def _(n, a, x, w, b=None):
    nd = x.dim() - 2
    k, s, d = list(w.shape[2:]), a.get("strides", [1] * nd), a.get("dilations", [1] * nd)
    x = padded(x, pads_of(a, x, k, s, d))
    return [F.conv1d, F.conv2d, F.conv3d][nd - 1](x, w, b, stride=s, dilation=d, groups=a.get("group", 1))


@op("ConvTranspose")
def _(n, a, x, w, b=None):
    nd = x.dim() - 2
    s, d = a.get("strides", [1] * nd), a.get("dilations", [1] * nd)
    p, o = a.get("pads", [0] * (2 * nd)), a.get("output_padding", [0] * nd)
    y = [F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d][nd - 1](
        x, w, b, stride=s, dilation=d, groups=a.get("group", 1), output_padding=o)
    for i in range(nd):
        y = y.narrow(2 + i, p[i], y.shape[2 + i] - p[i] - p[i + nd])
    return y


def windows(x, k, s, d, pads, fill, ceil):
    """[.., positions.., kernel..] of a padded tensor; the overhang of the last window is padding."""
    nd = len(k)
    out = []
    pads = list(pads)
    for i in range(nd):
        reach = (k[i] - 1) * d[i] + 1
        space = x.shape[2 + i] + pads[i] + pads[i + nd] - reach
        steps = (-(-space // s[i]) if ceil else space // s[i]) + 1
        if ceil and (steps - 1) * s[i] >= x.shape[2 + i] + pads[i]:
            steps -= 1
        pads[i + nd] += max(0, (steps - 1) * s[i] + reach - (x.shape[2 + i] + pads[i] + pads[i + nd]))
        out.append(steps)
    y = padded(x, pads, fill)
    for i in range(nd):
        index = torch.arange(out[i])[:, None] * s[i] + torch.arange(k[i])[None, :] * d[i]
        dim = 2 + 2 * i
        y = y.index_select(dim, index.reshape(-1))
        y = y.reshape(list(y.shape[:dim]) + [out[i], k[i]] + list(y.shape[dim + 1:]))
    perm = [0, 1] + [2 + 2 * i for i in range(nd)] + [3 + 2 * i for i in range(nd)]
    return y.permute(perm)


def pool_setting(a, x):
    k = a["kernel_shape"]
    nd = len(k)
    s, d = a.get("strides", [1] * nd), a.get("dilations", [1] * nd)
    return k, s, d, pads_of(a, x, k, s, d)


@op("MaxPool")
def _(n, a, x):
    k, s, d, p = pool_setting(a, x)
    w = windows(x, k, s, d, p, -math.inf, a.get("ceil_mode", 0))
    return w.reshape(list(w.shape[:2 + len(k)]) + [-1]).max(-1).values


@op("AveragePool")
def _(n, a, x):
    k, s, d, p = pool_setting(a, x)
    ceil = a.get("ceil_mode", 0)
    total = windows(x, k, s, d, p, 0.0, ceil).flatten(2 + len(k)).sum(-1)
    ones = torch.ones_like(x)
    if a.get("count_include_pad", 0):
        ones = padded(ones, p, 1.0)
        extra = windows(ones, k, s, d, [0] * len(p), 0.0, ceil)
        count = extra.flatten(2 + len(k)).sum(-1)[(slice(None), slice(None)) + tuple(slice(0, m) for m in total.shape[2:])]
    else:
        count = windows(ones, k, s, d, p, 0.0, ceil).flatten(2 + len(k)).sum(-1)
    return total / count


def channels(v, rank):
    return v.reshape([-1] + [1] * (rank - 2))


@op("BatchNormalization")
def _(n, a, x, g, b, m, v):
    r = x.dim()
    if a.get("training_mode", 0) or TRAINING:
        d = [0] + list(range(2, r))
        m, v = x.mean(d), x.var(d, unbiased=False)
    return (x - channels(m, r)) / torch.sqrt(channels(v, r) + a.get("epsilon", 1e-5)) * channels(g, r) + channels(b, r)


TRAINING = False


@op("LayerNormalization")
def _(n, a, x, g, b=None):
    axis = a.get("axis", -1) % x.dim()
    d = list(range(axis, x.dim()))
    m, v = x.mean(d, keepdim=True), x.var(d, unbiased=False, keepdim=True)
    y = (x - m) / torch.sqrt(v + a.get("epsilon", 1e-5)) * g
    return y if b is None else y + b


@op("RMSNormalization")
def _(n, a, x, g):
    d = list(range(a.get("axis", -1) % x.dim(), x.dim()))
    return x / torch.sqrt((x * x).mean(d, keepdim=True) + a.get("epsilon", 1e-5)) * g


@op("InstanceNormalization")
def _(n, a, x, g, b):
    d = list(range(2, x.dim()))
    m, v = x.mean(d, keepdim=True), x.var(d, unbiased=False, keepdim=True)
    return (x - m) / torch.sqrt(v + a.get("epsilon", 1e-5)) * channels(g, x.dim()) + channels(b, x.dim())


@op("GroupNormalization")
def _(n, a, x, g, b):
    k = a["num_groups"]
    y = x.reshape(x.shape[0], k, -1)
    m, v = y.mean(2, keepdim=True), y.var(2, unbiased=False, keepdim=True)
    y = ((y - m) / torch.sqrt(v + a.get("epsilon", 1e-5))).reshape(x.shape)
    if g.numel() == k != x.shape[1]:
        g, b = g.repeat_interleave(x.shape[1] // k), b.repeat_interleave(x.shape[1] // k)
    return y * channels(g, x.dim()) + channels(b, x.dim())


@op("LpNormalization")
def _(n, a, x):
    return x / torch.linalg.vector_norm(x, a.get("p", 2), a.get("axis", -1), keepdim=True)


@op("MeanVarianceNormalization")
def _(n, a, x):
    d = a.get("axes", [0, 2, 3])
    m, v = x.mean(d, keepdim=True), x.var(d, unbiased=False, keepdim=True)
    return (x - m) / torch.sqrt(v + 1e-9)


@op("LRN")
def _(n, a, x):
    size, C = a["size"], x.shape[1]
    total = torch.stack([(x[:, max(0, c - (size - 1) // 2):min(C, c + size // 2 + 1)] ** 2).sum(1) for c in range(C)], 1)
    return x / (a.get("bias", 1.0) + a.get("alpha", 1e-4) / size * total) ** a.get("beta", 0.75)


@op("Resize")
def _(n, a, x, roi=None, scales=None, sizes=None):
    mode, coord = a.get("mode", b"nearest").decode(), a.get("coordinate_transformation_mode", b"half_pixel").decode()
    near = a.get("nearest_mode", b"round_prefer_floor").decode()
    axes = a.get("axes", list(range(x.dim())))
    for i, d in enumerate(axes):
        size = x.shape[d]
        scale = None if scales is None or scales.numel() == 0 else float(scales[i])
        out = int(sizes[i]) if scale is None else int(math.floor(size * scale))
        scale = out / size if scale is None else scale
        if out == size and scale == 1:
            continue
        M = np.zeros((out, size))
        for o in range(out):
            p = {"half_pixel": (o + 0.5) / scale - 0.5, "asymmetric": o / scale,
                 "pytorch_half_pixel": (o + 0.5) / scale - 0.5 if out > 1 else 0.0,
                 "align_corners": o * (size - 1) / (out - 1) if out > 1 else 0.0}[coord]
            if mode == "nearest":
                j = {"round_prefer_floor": math.ceil(p - 0.5), "round_prefer_ceil": math.floor(p + 0.5),
                     "floor": math.floor(p), "ceil": math.ceil(p)}[near]
                M[o, min(max(j, 0), size - 1)] += 1
            elif mode == "linear":
                p = min(max(p, 0), size - 1)
                j = min(int(math.floor(p)), size - 1)
                M[o, j] += 1 - (p - j)
                M[o, min(j + 1, size - 1)] += p - j
            else:
                A = a.get("cubic_coeff_a", -0.75)
                j, t = int(math.floor(p)), p - math.floor(p)
                for off in range(-1, 3):
                    z = abs(off - t)
                    c = ((A + 2) * z - (A + 3)) * z * z + 1 if z <= 1 else ((A * z - 5 * A) * z + 8 * A) * z - 4 * A
                    M[o, min(max(j + off, 0), size - 1)] += c
        x = torch.tensordot(x, torch.tensor(M, dtype=x.dtype), dims=([d], [1])).movedim(-1, d)
    return x


def cell(kind, a, x, W, R, B, h, c, reverse):
    H = R.shape[1]
    Wb, Rb = (B[:W.shape[0]], B[W.shape[0]:]) if B is not None else (0, 0)
    ys = []
    for t in (reversed(range(x.shape[0])) if reverse else range(x.shape[0])):
        if kind == "LSTM":
            i, o, f, g = (x[t] @ W.t() + h @ R.t() + Wb + Rb).split(H, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        elif kind == "GRU":
            xz, xr, xh = (x[t] @ W.t() + Wb).split(H, 1)
            rb = torch.zeros(3 * H, dtype=D) if B is None else Rb
            z = torch.sigmoid(xz + h @ R[:H].t() + rb[:H])
            r = torch.sigmoid(xr + h @ R[H:2 * H].t() + rb[H:2 * H])
            if a.get("linear_before_reset", 0):
                m = torch.tanh(xh + r * (h @ R[2 * H:].t() + rb[2 * H:]))
            else:
                m = torch.tanh(xh + (r * h) @ R[2 * H:].t() + rb[2 * H:])
            h = (1 - z) * m + z * h
        else:
            act = torch.relu if a.get("activations", [b"Tanh"])[0] == b"Relu" else torch.tanh
            h = act(x[t] @ W.t() + h @ R.t() + Wb + Rb)
        ys.append(h)
    return torch.stack(ys[::-1] if reverse else ys), h, c


@op("LSTM", "GRU", "RNN")
def _(n, a, x, W, R, B=None, lens=None, h0=None, c0=None, *rest):
    d = a.get("direction", b"forward").decode()
    kinds = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[d]
    ys, hs, cs = [], [], []
    for k, rev in enumerate(kinds):
        zero = torch.zeros(x.shape[1], R.shape[2], dtype=D)
        y, h, c = cell(n.op_type, a, x, W[k], R[k], None if B is None else B[k], zero if h0 is None else h0[k],
                       zero if c0 is None else c0[k], rev)
        ys.append(y), hs.append(h), cs.append(c)
    return torch.stack(ys, 1), torch.stack(hs), torch.stack(cs)


@op("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss")
def _(n, a, x, y, w=None):
    lp = torch.log_softmax(x, 1) if n.op_type.startswith("Softmax") else x
    return F.nll_loss(lp, y.long(), weight=w, ignore_index=a.get("ignore_index", -100), reduction=a.get("reduction", b"mean").decode()), lp


@op("Constant")
def _(n, a):
    if "value" in a:
        return tensor(a["value"])
    if "value_float" in a:
        return torch.tensor(a["value_float"], dtype=D)
    if "value_int" in a:
        return torch.tensor(a["value_int"])
    return torch.tensor(a.get("value_ints", a.get("value_floats")))


@op("ConstantOfShape")
def _(n, a, s):
    v = tensor(a["value"]) if "value" in a else torch.zeros(1, dtype=D)
    return torch.full(s.tolist(), v.reshape(-1)[0].item(), dtype=v.dtype)


OPS["Shape"] = lambda n, a, x: torch.tensor(list(x.shape)[a.get("start", 0):a.get("end")], dtype=torch.int64)
OPS["Size"] = lambda n, a, x: torch.tensor(x.numel())
OPS["Range"] = lambda n, a, s, e, d: torch.arange(s.item(), e.item(), d.item(), dtype=s.dtype)
OPS["NonZero"] = lambda n, a, x: torch.stack(torch.nonzero(x, as_tuple=True))
OPS["ArgMax"] = lambda n, a, x: x.argmax(a.get("axis", 0), keepdim=bool(a.get("keepdims", 1)))
OPS["EyeLike"] = lambda n, a, x: torch.eye(*x.shape, dtype=TYPES.get(a.get("dtype", 1), D))


def tensor(proto):
    v = numpy_helper.to_array(proto)
    t = torch.from_numpy(np.array(v))
    return t.to(D) if t.is_floating_point() else t


def run(model, feeds, leaves=()):
    """Runs a model; `leaves` are tracked by autograd. Returns every value by name."""
    values = {"": None}
    for proto in model.graph.initializer:
        values[proto.name] = tensor(proto)
    for name, v in feeds.items():
        t = torch.from_numpy(np.array(v)) if not torch.is_tensor(v) else v
        values[name] = t.to(D) if t.is_floating_point() else t
    for name in leaves:
        values[name] = values[name].clone().requires_grad_(True)
    for node in model.graph.node:
        attributes = {at.name: helper.get_attribute_value(at) for at in node.attribute}
        key = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        inputs = [values[name] for name in node.input]
        made = OPS[key](node, attributes, *inputs)
        made = made if isinstance(made, (tuple, list)) else (made,)
        for name, value in zip(node.output, made):
            values[name] = value
    return values


def gradients(model, feeds, loss, leaves):
    values = run(model, feeds, leaves)
    grads = torch.autograd.grad(values[loss].sum(), [values[name] for name in leaves], allow_unused=True)
    return values[loss].item(), {k: None if g is None else g.numpy() for k, g in zip(leaves, grads)}
