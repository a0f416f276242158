"""Whether a converted model's answers are right: `python selections.py FLOAT CONVERTED FACTS`, one JSON line.

Right: no new NaN or infinity, and no output off by more than 1e-2 * max(1, its largest number).

A model that selects (the best boxes, those above a threshold) turns floats into whole numbers or truth
values, and a rounding error then selects another box where two were about equal. So where the answers
differ and the model selects, the converted one is run again with the choices of the float one in place
of its own, and the branches that the float one takes: every number that goes into a choice, and every answer made from equal choices, must be
right. What is wrong before, between or behind the choices shows as it does in any model.
"""

import json
import sys
from pathlib import Path

# Operators that make whole numbers or truth values of floats, and the outputs that are such.
CHOOSE = {"TopK": 1, "NonMaxSuppression": 0, "ArgMax": 0, "ArgMin": 0, "NonZero": 0, "Greater": 0, "GreaterOrEqual": 0,
          "Less": 0, "LessOrEqual": 0, "Equal": 0, "Cast": 0}


def session(path):
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(int32)": "int32",
         "tensor(int64)": "int64", "tensor(uint8)": "uint8", "tensor(bool)": "bool"}


def inputs(sess, facts):
    import numpy as np

    feeds = {}
    for value in sess.get_inputs():
        shape = facts["shapes"].get(value.name)
        shape = shape if shape is not None else [size if isinstance(size, int) else 1 for size in value.shape]
        kind = TYPES.get(value.type)
        if kind is None:
            raise SystemExit(f"no inputs of type {value.type}")
        rng = np.random.default_rng(sum(value.name.encode()) + 20_000)
        fill = facts["fills"].get(value.name) or {"sr": "const:16000"}.get(value.name)
        if fill and fill.startswith("const:"):
            array = np.full(shape, float(fill.removeprefix("const:")))
        elif fill and fill.startswith("range:"):
            array = rng.integers(0, int(fill.removeprefix("range:")), shape)
        elif "float" in kind:
            array = rng.standard_normal(shape)
        else:
            array = np.ones(shape) if "mask" in value.name or kind == "bool" else rng.integers(0, 100, shape)
        feeds[value.name] = array.astype(kind)
    return feeds


def run(path, feeds):
    """Outputs by name; floats are fed in the width that the model takes."""
    sess = session(path)
    types = {value.name: value.type for value in sess.get_inputs()}
    fed = {name: array.astype("float16") if types[name] == "tensor(float16)" else array
           for name, array in feeds.items() if name in types}
    return dict(zip([value.name for value in sess.get_outputs()], sess.run(None, fed)))


def compare(expected, got):
    """The largest error as a share of the largest number (of 1 where all are smaller), and what is wrong."""
    import numpy as np

    worst = 0.0
    for name, a in expected.items():
        b = got.get(name)
        if b is None:
            return worst, f"`{name}` is missing"
        if a.shape != b.shape:
            return worst, f"shape {b.shape} instead of {a.shape}"
        a, b = a.astype(np.float64), b.astype(np.float64)
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return worst, "NaN or infinity"
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        worst = max(worst, float(np.abs(a - b).max(initial=0) / max(1.0, float(np.abs(a).max(initial=0)))))
    return worst, "" if worst <= 1e-2 else f"off by {worst:.2e} of the largest"


def choosing(model):
    """The nodes that choose, by the name of what they choose."""
    from onnx import TensorProto

    def chooses(node):
        if node.op_type != "Cast":
            return node.op_type in CHOOSE
        return node.attribute[0].i not in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)

    return {node.output[CHOOSE[node.op_type]]: node for node in model.graph.node if not node.domain and chooses(node)}


def watched(model, names, into, pin):
    """Adds what goes into the choices as outputs `into/CHOICE/INPUT`; with `pin` the choices become inputs, else outputs."""
    from onnx import TensorProto, helper

    nodes = choosing(model)
    integer = lambda node: TensorProto.BOOL if node.op_type in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal") \
        else node.attribute[0].i if node.op_type == "Cast" else TensorProto.INT64
    given = {value.name for value in model.graph.output}
    kept = []
    for node in model.graph.node:
        choice = next((name for name in node.output if name in names), None)
        if choice is None or nodes.get(choice) is not node:
            kept.append(node)
            continue
        for position, name in enumerate(node.input):
            if name:
                told = f"{into}/{choice}/{position}"
                kept.append(helper.make_node("Identity", [name], [told]))
                model.graph.output.append(helper.make_empty_tensor_value_info(told))
        if not pin:
            kept.append(node)
            if choice not in given:
                model.graph.output.append(helper.make_empty_tensor_value_info(choice))
            continue
        model.graph.input.append(helper.make_tensor_value_info(choice, integer(node), None))
        if node.op_type == "TopK" and node.output[0]:
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)
            kept.append(helper.make_node("GatherElements", [node.input[0], choice], [node.output[0]], axis=axis))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    if pin:
        still = [value for value in model.graph.output if value.name not in names]
        del model.graph.output[:]
        model.graph.output.extend(still)
    return model


def conditions(model):
    """The `If`s of the main graph with a known first output, each with its condition told as an output."""
    from onnx import helper

    kept, asked = [], {}
    for node in model.graph.node:
        if node.op_type == "If" and not node.domain:
            asked[f"condition/{node.output[0]}"] = node.output[0]
            kept.append(helper.make_node("Identity", [node.input[0]], [f"condition/{node.output[0]}"]))
            model.graph.output.append(helper.make_empty_tensor_value_info(f"condition/{node.output[0]}"))
        kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return asked


def resolve(model, taken):
    """Puts the branch that is taken in the place of each `If`, until none of those that are known is left."""
    from onnx import helper

    while any(node.op_type == "If" and node.output[0] in taken for node in model.graph.node):
        kept = []
        for node in model.graph.node:
            if node.op_type != "If" or node.output[0] not in taken:
                kept.append(node)
                continue
            name = "then_branch" if taken[node.output[0]] else "else_branch"
            body = next(attribute.g for attribute in node.attribute if attribute.name == name)
            own = {output for inner in body.node for output in inner.output if output} | {t.name for t in body.initializer}
            rename = lambda old: f"{node.output[0]}/in/{old}" if old in own else old

            def walk(graph):
                for inner in graph.node:
                    for names in (inner.input, inner.output):
                        names[:] = [rename(old) for old in names]
                    for attribute in inner.attribute:
                        for nested in [attribute.g, *attribute.graphs]:
                            walk(nested)
                for output in graph.output:
                    output.name = rename(output.name)

            for tensor in body.initializer:
                tensor.name = rename(tensor.name)
            walk(body)
            kept.extend(body.node)
            model.graph.initializer.extend(body.initializer)
            kept += [helper.make_node("Identity", [inner.name], [outer])
                     for inner, outer in zip(body.output, node.output) if outer]
        del model.graph.node[:]
        model.graph.node.extend(kept)


def branches(path, model, feeds):
    """Resolves the `If`s of the float model by running it, and tells which branch each takes."""
    import copy

    import onnx

    taken = {}
    for _ in range(8):
        asking = copy.deepcopy(model)
        asked = conditions(asking)
        if not asked:
            break
        onnx.save(asking, str(path))
        answers = run(path, feeds)
        new = {node: bool(answers[told].reshape(-1)[0]) for told, node in asked.items()}
        resolve(model, new)
        taken |= new
    return taken


def by_selection(original, converted, feeds):
    """Compares with the float model's choices in both; `None` where that cannot be done."""
    import onnx

    before, after = (onnx.load(str(path), load_external_data=False) for path in (original, converted))
    # Beside the models, for their external data lies there.
    paths = [Path(path).with_suffix(".watched.onnx") for path in (original, converted)]
    resolve(after, branches(paths[0], before, feeds))
    mine, theirs = choosing(before), choosing(after)
    shared = lambda a, b: a.op_type == b.op_type and [x for x in a.attribute] == [x for x in b.attribute]
    names = {name for name, node in mine.items() if name in theirs and shared(node, theirs[name])}
    # What a model chooses in its own way it has to answer for.
    if not mine or len(names) < len(mine):
        return None
    into = "into"
    outputs = [value.name for value in before.graph.output]
    try:
        onnx.save(watched(before, names, into, pin=False), str(paths[0]))
        expected = run(paths[0], feeds)
        onnx.save(watched(after, names, into, pin=True), str(paths[1]))
        got = run(paths[1], feeds | {name: expected[name] for name in names})
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
    expected = {name: array for name, array in expected.items()
                if name.startswith(f"{into}/") or name in outputs and name not in names}
    return compare(expected, got)


def check(original, converted, facts):
    feeds = inputs(session(original), facts)
    expected = run(original, feeds)
    answer = {"loads": False, "runs": False, "right": False, "error": 0.0, "note": ""}
    try:
        session(converted)
        answer["loads"] = True
        got = run(converted, feeds)
        answer["runs"] = True
        answer["error"], answer["note"] = compare(expected, got)
        if answer["note"]:
            again = by_selection(original, converted, feeds)
            if again is not None and not again[1]:
                answer |= {"error": again[0], "note": "", "by_selection": True}
            elif again is not None:
                answer["note"] += f"; with equal choices {again[1]}"
        answer["right"] = not answer["note"]
    except Exception as error:  # whatever a tool's output makes of ONNX Runtime is its result
        answer["note"] = " ".join(str(error).split())[:160]
    print(json.dumps(answer))


if __name__ == "__main__":
    check(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
