"""Writes ../data/rules.json: for every gradient rule small models and PyTorch's gradients.

    python rules.py        (needs torch, onnx, numpy)

A case is a list of lines of ONNX's text syntax, which make `y` (or several values) from the inputs
`x`, `w`, ...; the loss is the sum of the outputs, each weighted by a random tensor.
"""
import json
import os
import re
import sys
import numpy as np
import onnx.parser
import torch_onnx

rng = np.random.RandomState(7)
CASES = []


def normal(*shape):
    return rng.randn(*shape)


def positive(*shape):
    return np.abs(rng.randn(*shape)) + 0.5


def inside(*shape):
    return rng.uniform(-0.8, 0.8, shape)


def apart(*shape):
    """Distinct values far from each other and from zero, in random order."""
    n = int(np.prod(shape))
    return (rng.permutation(n) - n / 2 + 0.5).reshape(shape) * (4.0 / n)


def ints(values):
    return np.array(values, np.int64)


def case(name, body, inputs, outputs="y", opset=21, train=None, dynamic=(), imports="", batch_norm="frozen"):
    """`dynamic`: inputs whose sizes are only known when the graph runs, as `name: dims`."""
    CASES.append(dict(name=name, body=body, inputs=inputs, outputs=outputs.split(), opset=opset, train=train,
                      dynamic=dict(dynamic), batch_norm=batch_norm))


def declared(name, value, dynamic):
    kind = {"f": "float", "i": "int64", "b": "bool"}[value.dtype.kind]
    dims = dynamic.get(name) or ",".join(map(str, value.shape))
    return f"{kind}[{dims}] {name}" if dims else f"{kind} {name}"


def write(c):
    inputs = {k: np.asarray(v) for k, v in c["inputs"].items()}
    trained = c["train"] or [k for k, v in inputs.items() if v.dtype.kind == "f"]
    # The outputs' shapes are found by running once without a loss.
    header = f'<ir_version: 10, opset_import: ["" : {c["opset"]}, "com.microsoft" : 1]>\n'

    def text(body, outs):
        ins = ", ".join(declared(k, v, c["dynamic"]) for k, v in inputs.items())
        return f"{header}g ({ins}) => ({outs}) {{\n{body}\n}}"

    body = c["body"].strip()
    torch_onnx.TRAINING = c["batch_norm"] == "training"
    model = onnx.parser.parse_model(text(body, "float[?] y".replace("[?]", "")))
    values = torch_onnx.run(model, {k: np.asarray(v) for k, v in inputs.items()})
    terms = []
    for k, out in enumerate(c["outputs"]):
        value = values[out]
        inputs[f"weight{k}"] = np.asarray(normal(*value.shape))
        rank = value.dim()
        open_shape = ", ".join(f"d{k}_{i}" for i in range(rank)) if c["dynamic"] else None
        if open_shape:
            c["dynamic"][f"weight{k}"] = open_shape
        body += f"\n  weighted{k} = Mul({out}, weight{k})\n  sum{k} = ReduceSum<keepdims = 0>(weighted{k})"
        terms.append(f"sum{k}")
    body += f"\n  loss = {'Sum' if len(terms) > 1 else 'Identity'}({', '.join(terms)})"
    source = text(body, "float loss")
    model = onnx.parser.parse_model(source)
    inputs = {k: v.astype(np.float32).astype(np.float64) if v.dtype.kind == "f" else v for k, v in inputs.items()}
    loss, grads = torch_onnx.gradients(model, inputs, "loss", trained)

    def numbers(v):
        v = np.asarray(v).reshape(-1)
        return [float(f"{x:.8g}") for x in v] if v.dtype.kind == "f" else [int(x) for x in v]

    def pack(v):
        return dict(shape=list(v.shape), values=numbers(v))

    return dict(name=c["name"], model=source, batch_norm=c["batch_norm"], loss=float(f"{loss:.8g}"),
                inputs={k: dict(type={"f": "float", "i": "int64", "b": "bool"}[v.dtype.kind], **pack(v)) for k, v in inputs.items()},
                gradients={k: pack(v) for k, v in grads.items()})


def main():
    import cases  # noqa: F401  (fills CASES)
    written = []
    for c in CASES:
        try:
            written.append(write(c))
        except Exception as error:
            raise SystemExit(f"case {c['name']}: {error}") from error
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "rules.json")
    with open(path, "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(c) for c in written) + "\n]\n")
    operators = sorted({m for c in written for m in re.findall(r"= ((?:com\.microsoft\.)?[A-Z]\w*)", c["model"])})
    print(len(written), "cases,", len(operators), "operators,", os.path.getsize(path), "bytes", file=sys.stderr)


if __name__ == "__main__":
    sys.modules["rules"] = sys.modules["__main__"]
    main()
