"""Steps a second of onnxsim's training loop and of onnxfit's fused graph, run by the same program.

    EXPORT=folder cargo test ... (see ../speed.rs), then: python speed.py FOLDER
"""
import sys
import time
import numpy as np
import onnx
from onnx import helper
import onnxruntime as ort


def rate(step, seconds=3.0):
    for _ in range(5):
        step()
    n, started = 0, time.time()
    while time.time() - started < seconds:
        step()
        n += 1
    return n / (time.time() - started)


def ours(path):
    s = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    r = np.random.RandomState(0)
    feed = {i.name: (r.randn(*i.shape) * 0.05).astype(np.float32) if i.shape else np.array(1e-3, np.float32) for i in s.get_inputs()}
    outs = [o.name for o in s.get_outputs()]
    back = {o: o[: -len("/next")] for o in outs if o.endswith("/next")}
    for name in feed:
        if name.endswith("moment"):
            feed[name] = np.zeros_like(feed[name])

    def step():
        for name, value in zip(outs, s.run(outs, feed)):
            if name in back:
                feed[back[name]] = value
    return step


def theirs(path):
    import onnxsim
    m = onnx.load(path)
    for n in m.graph.node:
        if n.op_type == "Flatten":  # which onnxsim 0.8.1 has no rule for
            n.op_type = "Reshape"
            del n.attribute[:]
            n.input.append("flat_shape")
            m.graph.initializer.append(onnx.numpy_helper.from_array(np.array([32, 1568]), "flat_shape"))
    y = m.graph.output[0]
    target = helper.make_tensor_value_info("target", 1, [d.dim_value for d in y.type.tensor_type.shape.dim])
    m.graph.input.append(target)
    axes = onnx.numpy_helper.from_array(np.arange(len(target.type.tensor_type.shape.dim)), "all_axes")
    m.graph.initializer.append(axes)
    m.graph.node.extend([helper.make_node("Sub", [y.name, "target"], ["difference"]), helper.make_node("Mul", ["difference", "difference"], ["square"]),
                         helper.make_node("ReduceMean", ["square"], ["loss"], keepdims=0)])
    m.graph.output.append(helper.make_tensor_value_info("loss", 1, []))
    del m.opset_import[:]
    m.opset_import.append(helper.make_opsetid("", 17))
    params = [t.name for t in m.graph.initializer if t.data_type == 1 and len(t.dims)]
    loop = onnxsim.compile_training_loop(m, "loss", params)
    r = np.random.RandomState(0)
    feed = {i.name: r.randn(*[d.dim_value for d in i.type.tensor_type.shape.dim]).astype(np.float32) for i in m.graph.input}
    return lambda: loop(feed, 1e-3)


for name in ["mlp", "cnn", "transformer"]:
    mine = rate(ours(f"{sys.argv[1]}/{name}.whole.onnx"))
    try:
        other = rate(theirs(f"{sys.argv[1]}/{name}.onnx"))
    except Exception as error:
        print(f"{name}: onnxsim: {type(error).__name__}: {str(error)[:200]}")
        other = 0
    print(f"steps | {name} | {mine:.0f} | {other:.0f} |")
