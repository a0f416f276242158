"""The cases of rules.py, by family."""
from rules import apart, case, inside, ints, normal, positive
import numpy as np

for op in ["Abs", "Atan", "Asinh", "Cos", "Cosh", "Erf", "Exp", "Identity", "Neg", "Sin", "Sinh", "Tanh", "Sigmoid",
           "Relu", "Softplus", "Softsign", "HardSwish", "Mish", "Celu", "Elu", "Selu", "LeakyRelu", "HardSigmoid"]:
    case(op.lower(), f"y = {op}(x)", dict(x=apart(3, 8)))
case("gelu", "y = Gelu(x)", dict(x=normal(3, 8)), opset=20)
case("gelu_tanh", 'y = Gelu<approximate = "tanh">(x)', dict(x=normal(3, 8)), opset=20)
case("swish", "y = Swish(x)", dict(x=normal(3, 8)), opset=24)
for op in ["Gelu", "QuickGelu", "FastGelu"]:
    case("microsoft_" + op.lower(), f"y = com.microsoft.{op}(x)", dict(x=normal(3, 8)))
case("bias_gelu", "y = com.microsoft.BiasGelu(x, b)", dict(x=normal(3, 8), b=normal(8)))
case("fast_gelu_bias", "y = com.microsoft.FastGelu(x, b)", dict(x=normal(3, 8), b=normal(8)))
case("celu_alpha", "y = Celu<alpha = 0.5>(x)", dict(x=apart(3, 8)))
case("elu_alpha", "y = Elu<alpha = 0.5>(x)", dict(x=apart(3, 8)))
case("leaky_relu_alpha", "y = LeakyRelu<alpha = 0.3>(x)", dict(x=apart(3, 8)))
case("hard_sigmoid_torch", "y = HardSigmoid<alpha = 0.1666667, beta = 0.5>(x)", dict(x=apart(3, 8) * 3))
case("thresholded_relu", "y = ThresholdedRelu<alpha = 0.4>(x)", dict(x=apart(3, 8)))
case("prelu", "y = PRelu(x, s)", dict(x=apart(2, 3, 4), s=positive(3, 1)))
for op in ["Log", "Sqrt", "Reciprocal", "Acosh"]:
    case(op.lower(), f"y = {op}(x)", dict(x=positive(3, 8) + 1))
for op in ["Acos", "Asin", "Atanh", "Tan"]:
    case(op.lower(), f"y = {op}(x)", dict(x=inside(3, 8)))
case("cast", "a = Cast<to = 1>(x) y = Mul(a, a)", dict(x=normal(3, 4)))
case("dropout_off", "y = Dropout(x)", dict(x=normal(3, 4)))
case("clip", "lo = Constant<value = float {-0.5}>() hi = Constant<value = float {0.7}>() y = Clip(x, lo, hi)", dict(x=apart(3, 8)))
case("clip_low", "lo = Constant<value = float {-0.5}>() y = Clip(x, lo)", dict(x=apart(3, 8)))
case("floor_stops", "a = Floor(x) y = Mul(a, x)", dict(x=apart(3, 8)))

# Arithmetic and broadcasting.
for op in ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"]:
    case(op.lower(), f"y = {op}(a, b)", dict(a=apart(2, 3, 4), b=positive(2, 3, 4)))
    case(op.lower() + "_broadcast", f"y = {op}(a, b)", dict(a=apart(3, 1), b=positive(2, 1, 4)))
    case(op.lower() + "_dynamic", f"y = {op}(a, b)", dict(a=apart(3, 1), b=positive(2, 1, 4)), dynamic={"a": "P,Q", "b": "R,S,T"})
case("add_scalar", "y = Add(a, b)", dict(a=normal(2, 3), b=np.array(0.7)))
case("mul_bias", "y = Mul(a, b)", dict(a=normal(2, 5, 3), b=normal(3)), dynamic={"a": "N,S,3"})
case("max_three", "y = Max(a, b, c)", dict(a=apart(2, 3), b=apart(2, 3) + 0.1, c=apart(1, 3) - 0.1))
case("mod", "two = Constant<value = float {2.0}>() y = Mod<fmod = 1>(a, two)", dict(a=positive(2, 3)))
for e in ["2.0", "3.0", "0.5", "1.0", "-1.5"]:
    case("pow_" + e, f"e = Constant<value = float {{{e}}}>() y = Pow(x, e)", dict(x=positive(2, 3)))
case("pow_int", "e = Constant<value = int64 {4}>() y = Pow(x, e)", dict(x=positive(2, 3)))
case("pow_trained", "y = Pow(x, e)", dict(x=positive(2, 3), e=positive(3)))

# Choosing.
case("where", "y = Where(c, a, b)", dict(c=np.array([[True, False, True], [False, False, True]]), a=normal(2, 3), b=normal(3)))
case("trilu_upper", "y = Trilu(x)", dict(x=normal(2, 4, 4)))
case("trilu_lower", "k = Constant<value = int64 {-1}>() y = Trilu<upper = 0>(x, k)", dict(x=normal(2, 4, 4)))
case("top_k", "k = Constant<value = int64[1] {2}>() y, i = TopK(x, k)", dict(x=apart(3, 5)))
case("top_k_smallest", "k = Constant<value = int64[1] {2}>() y, i = TopK<axis = 0, largest = 0>(x, k)", dict(x=apart(4, 3)))

# Reductions.
for op in ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]:
    x = positive(2, 3, 4) if op in ("LogSum", "Prod") else apart(2, 3, 4)
    case(f"reduce_{op.lower()}", f"a = Constant<value = int64[2] {{0, -1}}>() y = Reduce{op}(x, a)", dict(x=x))
    case(f"reduce_{op.lower()}_flat", f"a = Constant<value = int64[1] {{1}}>() y = Reduce{op}<keepdims = 0>(x, a)", dict(x=x), dynamic={"x": "N,M,K"})
    case(f"reduce_{op.lower()}_all", f"y = Reduce{op}<keepdims = 0>(x)", dict(x=x))
case("reduce_mean_opset13", "y = ReduceMean<axes = [1], keepdims = 0>(x)", dict(x=normal(2, 3, 4)), opset=13)
case("reduce_sum_ties", "a = Constant<value = int64[1] {1}>() y = ReduceMax(x, a)", dict(x=np.array([[1.0, 1.0, 0.0], [2.0, 3.0, 3.0]])))
for attributes in ["", "<reverse = 1>", "<exclusive = 1>", "<exclusive = 1, reverse = 1>"]:
    case("cumsum" + "".join(ch for ch in attributes if ch.isalpha()), f"a = Constant<value = int64 {{1}}>() y = CumSum{attributes}(x, a)", dict(x=normal(2, 5)))
for axis in [-1, 1]:
    case(f"softmax{axis}", f"y = Softmax<axis = {axis}>(x)", dict(x=normal(2, 3, 4)))
    case(f"log_softmax{axis}", f"y = LogSoftmax<axis = {axis}>(x)", dict(x=normal(2, 3, 4)))
case("softmax_opset11", "y = Softmax<axis = 2>(x)", dict(x=normal(2, 3, 4)), opset=11)

# Products.
for name, a, b in [("2d", (3, 4), (4, 5)), ("3d_2d", (2, 3, 4), (4, 5)), ("batched", (2, 3, 4), (2, 4, 5)),
                   ("broadcast_left", (3, 4), (2, 4, 5)), ("broadcast_batches", (2, 1, 3, 4), (3, 4, 5)),
                   ("vector_vector", (4,), (4,)), ("vector_matrix", (4,), (4, 5)), ("matrix_vector", (3, 4), (4,)),
                   ("vector_batched", (4,), (2, 4, 5)), ("batched_vector", (2, 3, 4), (4,))]:
    case("matmul_" + name, "y = MatMul(a, b)", dict(a=normal(*a), b=normal(*b)))
case("matmul_dynamic", "y = MatMul(a, b)", dict(a=normal(2, 3, 4), b=normal(4, 5)), dynamic={"a": "B,S,4"})
case("matmul_attention", "t = Transpose<perm = [0, 1, 3, 2]>(k) y = MatMul(q, t)", dict(q=normal(2, 2, 3, 4), k=normal(2, 2, 5, 4)), dynamic={"q": "B,H,S,4", "k": "B,H,T,4"})
for ta in (0, 1):
    for tb in (0, 1):
        a, b = ((4, 3) if ta else (3, 4)), ((5, 4) if tb else (4, 5))
        case(f"gemm_{ta}{tb}", f"y = Gemm<transA = {ta}, transB = {tb}, alpha = 0.5, beta = 2.0>(a, b, c)", dict(a=normal(*a), b=normal(*b), c=normal(5)))
        case(f"fused_matmul_{ta}{tb}", f"y = com.microsoft.FusedMatMul<transA = {ta}, transB = {tb}, alpha = 0.5>(a, b)", dict(a=normal(2, *a), b=normal(2, *b)))
for equation, shapes in [("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]), ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
                         ("ij,j->i", [(3, 4), (4,)]), ("ijk->ik", [(2, 3, 4)]), ("bi,i,bi->b", [(2, 3), (3,), (2, 3)]), ("ij->ji", [(2, 3)])]:
    names = "abc"[:len(shapes)]
    case("einsum_" + equation.replace(",", "_").replace("->", "_to_"), f'y = Einsum<equation = "{equation}">({", ".join(names)})', {n: normal(*s) for n, s in zip(names, shapes)})

# Moving.
case("reshape", "s = Constant<value = int64[2] {4, 6}>() y = Reshape(x, s)", dict(x=normal(2, 3, 4)), dynamic={"x": "N,M,4"})
case("flatten", "y = Flatten<axis = 1>(x)", dict(x=normal(2, 3, 4)), dynamic={"x": "N,3,4"})
case("squeeze", "a = Constant<value = int64[1] {1}>() y = Squeeze(x, a)", dict(x=normal(2, 1, 4)))
case("squeeze_all", "y = Squeeze(x)", dict(x=normal(2, 1, 4)))
case("unsqueeze_opset11", "y = Unsqueeze<axes = [0, 2]>(x)", dict(x=normal(2, 4)), opset=11)
case("transpose", "y = Transpose<perm = [2, 0, 1]>(x)", dict(x=normal(2, 3, 4)))
case("transpose_reverse", "y = Transpose(x)", dict(x=normal(2, 3, 4)))
case("expand", "s = Constant<value = int64[3] {2, 3, 4}>() y = Expand(x, s)", dict(x=normal(3, 1)))
case("expand_dynamic", "y = Expand(x, s)", dict(x=normal(1, 4), s=ints([3, 4])), dynamic={"x": "A,B"})
case("tile", "r = Constant<value = int64[2] {2, 3}>() y = Tile(x, r)", dict(x=normal(2, 4)), dynamic={"x": "N,4"})
case("depth_to_space", "y = DepthToSpace<blocksize = 2>(x)", dict(x=normal(2, 8, 2, 3)))
case("depth_to_space_crd", 'y = DepthToSpace<blocksize = 2, mode = "CRD">(x)', dict(x=normal(2, 8, 2, 3)))
case("space_to_depth", "y = SpaceToDepth<blocksize = 2>(x)", dict(x=normal(2, 3, 4, 6)))
case("concat", "y = Concat<axis = 1>(a, b, a)", dict(a=normal(2, 3), b=normal(2, 2)))
case("concat_one", "y = Concat<axis = 1>(a, b)", dict(a=normal(2, 3), b=normal(2, 2)), train=["b"])
case("concat_dynamic", "y = Concat<axis = 0>(a, b)", dict(a=normal(2, 3), b=normal(4, 3)), dynamic={"a": "N,3", "b": "M,3"})
case("split", "s = Constant<value = int64[3] {1, 2, 3}>() y, z, u = Split<axis = 1>(x, s)", dict(x=normal(2, 6)), outputs="y u")
case("split_opset13", "y, z = Split<axis = 1>(x)", dict(x=normal(2, 6)), outputs="y z", opset=13)
const = lambda name, values: f"{name} = Constant<value = int64[{len(values)}] {{{', '.join(map(str, values))}}}>() "
case("slice", const("s", [1]) + const("e", [3]) + const("a", [1]) + "y = Slice(x, s, e, a)", dict(x=normal(2, 5)))
case("slice_open", const("s", [1, -3]) + const("e", [100, -1]) + "y = Slice(x, s, e)", dict(x=normal(3, 5)), dynamic={"x": "N,M"})
case("slice_steps", const("s", [0, 4]) + const("e", [5, -100]) + const("a", [0, 1]) + const("k", [2, -2]) + "y = Slice(x, s, e, a, k)", dict(x=normal(5, 5)))
case("slice_inputs", const("a", [1]) + "y = Slice(x, s, e, a)", dict(x=normal(2, 5), s=ints([-4]), e=ints([4])), dynamic={"x": "N,M"})
case("slice_opset9", "y = Slice<starts = [1], ends = [3], axes = [1]>(x)", dict(x=normal(2, 5)), opset=9)
case("pad", const("p", [0, 1, 2, 0]) + "y = Pad(x, p)", dict(x=normal(2, 3)))
case("pad_axes", const("p", [1, 2]) + const("a", [-1]) + "v = Constant<value = float {3.0}>() y = Pad(x, p, v, a)", dict(x=normal(2, 3)))
case("pad_input", "y = Pad(x, p)", dict(x=normal(2, 3), p=ints([0, 1, 2, 0])), dynamic={"x": "N,M"})
for mode in ["reflect", "edge"]:
    case("pad_" + mode, const("p", [0, 1, 0, 2, 0, 1]) + f'y = Pad<mode = "{mode}">(x, p)', dict(x=normal(3, 4, 2)))
case("pad_opset9", "y = Pad<pads = [0, 1, 2, 0]>(x)", dict(x=normal(2, 3)), opset=9)

# Indices.
case("gather_embedding", "y = Gather(w, i)", dict(w=normal(7, 3), i=ints([[1, 5, 1], [0, -1, 6]])), dynamic={"i": "B,S"})
case("gather_axis1", "y = Gather<axis = 1>(x, i)", dict(x=normal(2, 4, 3), i=ints([3, 0, 3])), dynamic={"x": "N,4,3"})
case("gather_matrix_axis1", "y = Gather<axis = 1>(x, i)", dict(x=normal(2, 4, 3), i=ints([[3, 0], [1, 3]])))
for index in ["0", "-1", "2"]:
    case("gather_place" + index, f"i = Constant<value = int64 {{{index}}}>() y = Gather<axis = 1>(x, i)", dict(x=normal(2, 4, 3)))
    case("gather_place_dynamic" + index, f"i = Constant<value = int64 {{{index}}}>() y = Gather<axis = 1>(x, i)", dict(x=normal(2, 4, 3)), dynamic={"x": "N,S,3"})
case("gather_elements", "y = GatherElements<axis = 1>(x, i)", dict(x=normal(2, 4), i=ints([[3, 3, 0], [1, 2, 1]])))
case("gather_nd", "y = GatherND(x, i)", dict(x=normal(3, 4, 2), i=ints([[0, 1], [2, 3], [0, 1]])))
case("scatter_elements", "y = ScatterElements<axis = 1>(x, i, u)", dict(x=normal(2, 4), i=ints([[3, 0], [1, 2]]), u=normal(2, 2)))
case("scatter_elements_add", 'y = ScatterElements<axis = 1, reduction = "add">(x, i, u)', dict(x=normal(2, 4), i=ints([[3, 3], [1, 2]]), u=normal(2, 2)))
case("scatter_nd", "y = ScatterND(x, i, u)", dict(x=normal(4, 3), i=ints([[1], [3]]), u=normal(2, 3)))
case("scatter_nd_add", 'y = ScatterND<reduction = "add">(x, i, u)', dict(x=normal(4, 3), i=ints([[1], [1]]), u=normal(2, 3)))

# Convolutions: (name, input, weight, attributes, dynamic).
convs = [
    ("plain", (2, 3, 6, 5), (4, 3, 3, 3), "", None), ("same", (2, 3, 6, 5), (4, 3, 3, 3), "pads = [1, 1, 1, 1]", None),
    ("one_by_one", (2, 3, 4, 5), (4, 3, 1, 1), "", "N,3,H,W"), ("stride", (2, 3, 7, 6), (4, 3, 3, 3), "pads = [1, 1, 1, 1], strides = [2, 2]", None),
    ("stride_dynamic", (2, 3, 7, 6), (4, 3, 3, 3), "pads = [1, 1, 1, 1], strides = [2, 2]", "N,3,H,W"),
    ("stride_one_by_one", (2, 3, 7, 6), (4, 3, 1, 1), "strides = [2, 2]", "N,3,H,W"),
    ("stem", (1, 3, 11, 10), (4, 3, 7, 7), "pads = [3, 3, 3, 3], strides = [2, 2]", "N,3,H,W"),
    ("dilated", (2, 3, 9, 8), (4, 3, 3, 3), "pads = [2, 2, 2, 2], dilations = [2, 2]", None),
    ("dilated_stride", (2, 3, 10, 9), (4, 3, 3, 3), "pads = [2, 2, 2, 2], dilations = [2, 2], strides = [2, 3]", "N,3,H,W"),
    ("asymmetric", (2, 3, 6, 6), (4, 3, 3, 2), "pads = [0, 1, 1, 0], strides = [2, 1]", None),
    ("grouped", (2, 6, 6, 5), (4, 3, 3, 3), "group = 2, pads = [1, 1, 1, 1]", None),
    ("grouped_dynamic", (2, 6, 6, 5), (4, 3, 3, 3), "group = 2, pads = [1, 1, 1, 1], strides = [2, 1]", "N,6,H,W"),
    ("depthwise", (2, 4, 6, 5), (4, 1, 3, 3), "group = 4, pads = [1, 1, 1, 1], strides = [2, 2]", None),
    ("depthwise_dynamic", (2, 4, 6, 5), (8, 1, 3, 3), "group = 4, pads = [1, 1, 1, 1], strides = [2, 2]", "N,4,H,W"),
    ("same_upper", (2, 3, 6, 5), (4, 3, 3, 3), 'auto_pad = "SAME_UPPER", strides = [2, 2]', None),
    ("1d", (2, 3, 9), (4, 3, 3), "pads = [1, 1], strides = [2]", "N,3,T"), ("3d", (1, 2, 4, 5, 4), (3, 2, 2, 3, 2), "strides = [1, 2, 1]", None),
]
for name, x, w, attributes, dynamic in convs:
    case("conv_" + name, f"y = Conv<{attributes}>(x, w, b)".replace("<>", ""), dict(x=normal(*x), w=normal(*w), b=normal(w[0])), dynamic={"x": dynamic} if dynamic else {})
transposed = [
    ("plain", (2, 3, 4, 5), (3, 4, 2, 2), "strides = [2, 2]", None), ("padded", (2, 3, 4, 5), (3, 4, 3, 3), "strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]", None),
    ("dynamic", (2, 3, 4, 5), (3, 4, 3, 3), "strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]", "N,3,H,W"),
    ("grouped", (2, 4, 4, 3), (4, 3, 3, 3), "group = 2, strides = [2, 1]", None), ("1d", (2, 3, 5), (3, 2, 4), "strides = [2], pads = [1, 1]", None),
]
for name, x, w, attributes, dynamic in transposed:
    group = 2 if "group" in attributes else 1
    case("conv_transpose_" + name, f"y = ConvTranspose<{attributes}>(x, w, b)", dict(x=normal(*x), w=normal(*w), b=normal(w[1] * group)), dynamic={"x": dynamic} if dynamic else {})

# Pooling.
pools = [("plain", "kernel_shape = [2, 2], strides = [2, 2]", None), ("overlap", "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]", "N,C,H,W"),
         ("dense", "kernel_shape = [3, 3], pads = [1, 1, 1, 1]", None), ("ceil", "kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1", None)]
for name, attributes, dynamic in pools:
    case("max_pool_" + name, f"y = MaxPool<{attributes}>(x)", dict(x=apart(2, 3, 8, 6)), dynamic={"x": dynamic} if dynamic else {})
    for include in (0, 1):
        case(f"average_pool_{name}_{include}", f"y = AveragePool<{attributes}, count_include_pad = {include}>(x)", dict(x=normal(2, 3, 8, 6)), dynamic={"x": dynamic} if dynamic else {})
case("max_pool_1d", "y = MaxPool<kernel_shape = [3], strides = [2]>(x)", dict(x=apart(2, 3, 9)))
case("global_average_pool", "y = GlobalAveragePool(x)", dict(x=normal(2, 3, 4, 5)), dynamic={"x": "N,3,H,W"})
case("global_max_pool", "y = GlobalMaxPool(x)", dict(x=apart(2, 3, 4, 5)))

# Normalizations.
bn = dict(x=normal(3, 4, 3, 2), g=positive(4), b=normal(4), m=normal(4), v=positive(4))
for mode in ["frozen", "training"]:
    case("batch_norm_" + mode, "y = BatchNormalization(x, g, b, m, v)", bn, train=["x", "g", "b"], batch_norm=mode)
    case("batch_norm_2d_" + mode, "y = BatchNormalization(x, g, b, m, v)", {**bn, "x": normal(5, 4)}, train=["x", "g", "b"], batch_norm=mode)
case("batch_norm_statistics", "y = BatchNormalization<epsilon = 0.01>(x, g, b, m, v)", bn)
case("layer_norm", "y = LayerNormalization(x, g, b)", dict(x=normal(2, 3, 8), g=positive(8), b=normal(8)), dynamic={"x": "B,S,8"})
case("layer_norm_axis1", "y = LayerNormalization<axis = 1, epsilon = 0.01>(x, g)", dict(x=normal(2, 3, 4), g=positive(3, 4)))
case("rms_norm", "y = RMSNormalization(x, g)", dict(x=normal(2, 3, 8), g=positive(8)), opset=23)
case("instance_norm", "y = InstanceNormalization(x, g, b)", dict(x=normal(2, 3, 4, 5), g=positive(3), b=normal(3)), dynamic={"x": "N,3,H,W"})
case("group_norm_18", "y = GroupNormalization<num_groups = 2>(x, g, b)", dict(x=normal(2, 6, 3, 2), g=positive(2), b=normal(2)), opset=18)
case("group_norm_21", "y = GroupNormalization<num_groups = 2>(x, g, b)", dict(x=normal(2, 6, 3, 2), g=positive(6), b=normal(6)))
case("lp_norm_2", "y = LpNormalization<axis = 1>(x)", dict(x=normal(2, 3, 4)))
case("lp_norm_1", "y = LpNormalization<p = 1>(x)", dict(x=normal(2, 3, 4)))
case("mean_variance", "y = MeanVarianceNormalization(x)", dict(x=normal(2, 3, 4, 5)))
case("lrn", "y = LRN<size = 3, alpha = 0.3, beta = 0.6, bias = 1.5>(x)", dict(x=normal(2, 5, 3, 2)))

# Resizing.
scales = lambda *s: f"s = Constant<value = float[{len(s)}] {{{', '.join(map(str, s))}}}>() "
sizes = lambda *s: f"s = Constant<value = int64[{len(s)}] {{{', '.join(map(str, s))}}}>() "
for name, setting, sig, at in [
    ("nearest", scales(1.0, 1.0, 2.0, 3.0), ', s', 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'),
    ("nearest_half_pixel", scales(1.0, 1.0, 2.0, 2.0), ', s', 'mode = "nearest"'),
    ("nearest_odd", sizes(1, 2, 7, 5), ', , s', 'mode = "nearest"'),
    ("linear", scales(1.0, 1.0, 2.0, 2.0), ', s', 'mode = "linear"'),
    ("linear_align", sizes(1, 2, 7, 9), ', , s', 'mode = "linear", coordinate_transformation_mode = "align_corners"'),
    ("linear_down", scales(1.0, 1.0, 0.5, 0.6), ', s', 'mode = "linear", coordinate_transformation_mode = "pytorch_half_pixel"'),
    ("cubic", scales(1.0, 1.0, 2.0, 2.0), ', s', 'mode = "cubic"'),
]:
    for dynamic in [None, "N,C,H,W"]:
        if dynamic and "int64" in setting:
            dynamic = "N,2,H,W"
        case("resize_" + name + ("_dynamic" if dynamic else ""), setting + f"y = Resize<{at}>(x, {sig})", dict(x=normal(1, 2, 4, 5)), dynamic={"x": dynamic} if dynamic else {})

# Recurrent networks: steps 4, batch 2, input 3, hidden 5.
T, B, I, H = 4, 2, 3, 5
for kind, gates in [("LSTM", 4), ("GRU", 3), ("RNN", 1)]:
    for direction, n in [("forward", 1), ("reverse", 1), ("bidirectional", 2)]:
        ins = dict(x=normal(T, B, I), w=normal(n, gates * H, I) * 0.5, r=normal(n, gates * H, H) * 0.5, b=normal(n, 2 * gates * H))
        case(f"{kind.lower()}_{direction}", f'y, h = {kind}<hidden_size = {H}, direction = "{direction}">(x, w, r, b)', ins, outputs="y h", dynamic={"x": "T,B,3"})
        ins = {**ins, "h0": normal(n, B, H)}
        if kind == "LSTM":
            ins["c0"] = normal(n, B, H)
        outs, states = ("y, h, c", 'h0, c0') if kind == "LSTM" else ("y, h", "h0")
        case(f"{kind.lower()}_{direction}_states", f'{outs} = {kind}<hidden_size = {H}, direction = "{direction}">(x, w, r, b, , {states})', ins, outputs=outs.replace(",", ""))
    case(f"{kind.lower()}_last", f'y, h = {kind}<hidden_size = {H}>(x, w, r)', {k: ins[k][:1] if k != "x" else ins[k] for k in "xwr"}, outputs="h")
case("gru_linear", f'y, h = GRU<hidden_size = {H}, linear_before_reset = 1, direction = "bidirectional">(x, w, r, b, , h0)',
     dict(x=normal(T, B, I), w=normal(2, 3 * H, I) * 0.5, r=normal(2, 3 * H, H) * 0.5, b=normal(2, 6 * H), h0=normal(2, B, H)), outputs="y h")
case("rnn_relu", f'y, h = RNN<hidden_size = {H}, activations = ["Relu"]>(x, w, r, b)', dict(x=normal(T, B, I), w=normal(1, H, I), r=normal(1, H, H), b=normal(1, 2 * H)), outputs="y h")

# Losses.
for reduction in ["mean", "sum", "none"]:
    case("cross_entropy_" + reduction, f'y = SoftmaxCrossEntropyLoss<reduction = "{reduction}">(x, l)', dict(x=normal(4, 5), l=ints([0, 3, 4, 3])))
    case("cross_entropy_ignore_" + reduction, f'y = SoftmaxCrossEntropyLoss<reduction = "{reduction}", ignore_index = -100>(x, l)', dict(x=normal(4, 5), l=ints([0, -100, 4, -100])))
    case("cross_entropy_pixels_" + reduction, f'y = SoftmaxCrossEntropyLoss<reduction = "{reduction}", ignore_index = 2>(x, l)', dict(x=normal(2, 3, 2, 2), l=ints([[[0, 1], [2, 2]], [[1, 1], [0, 2]]])))
    case("nll_" + reduction, f'y = NegativeLogLikelihoodLoss<reduction = "{reduction}">(x, l)', dict(x=normal(4, 5), l=ints([0, 3, 4, 3])))
case("cross_entropy_weights", 'y = SoftmaxCrossEntropyLoss<ignore_index = 1>(x, l, w)', dict(x=normal(4, 5), l=ints([0, 3, 1, 3]), w=positive(5)), train=["x"])
case("nll_weights", 'y = NegativeLogLikelihoodLoss(x, l, w)', dict(x=normal(4, 5), l=ints([0, 3, 1, 3]), w=positive(5)), train=["x"])

# Added later, so that the random numbers before stay the same.
case("pad_negative", const("p", [0, -1, 2, 1]) + "y = Pad(x, p)", dict(x=normal(2, 3)))
case("pad_negative_input", "y = Pad(x, p)", dict(x=normal(3, 4), p=ints([0, -1, 1, -2])), dynamic={"x": "N,M"})
case("batch_norm_of_weights", "m = ReduceMean<keepdims = 0>(w, a) v = Constant<value = float[4] {1.0,1.0,1.0,1.0}>() y = BatchNormalization<training_mode = 1>(w, g, b, m, v)",
     dict(w=normal(1, 4, 6), g=positive(4), b=normal(4), a=ints([0, 2])), train=["w", "g", "b"])
