"""Makes ONNX Runtime dump the graphs it would run, and writes them as a compact table.

For each zoo graph and each level (disable, basic, extended; CPU provider) one line in the table:

    MODEL LEVEL ORDER OP:COUNT OP:COUNT ...

ORDER is the FNV-1a hash of the operators in the order of the dumped file (the runtime's own
topological order), separated by spaces; a body of a control-flow node follows it in brackets,
`If[else_branch:...|then_branch:...]`. The counts include the nodes of bodies.

Weights are not in the zoo: external data is filled with reproducible pseudo-random numbers in a
temporary folder (whole numbers stay small, so that indices are in range).

    python dump.py --graphs ../shared/zoo/graphs --out rewrites.txt [--keep FOLDER] [MODEL ...]
"""

import argparse
import os
import shutil
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort

LEVELS = {
    "disable": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
}


def op_name(node):
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def sequence(graph, counts):
    words = []
    for node in graph.node:
        word = op_name(node)
        # A dumped body repeats its Constant nodes beside the initializers they became.
        if word == "Constant":
            continue
        counts[word] = counts.get(word, 0) + 1
        bodies = []
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                bodies.append(attribute.name + ":" + " ".join(sequence(attribute.g, counts)))
        if bodies:
            word += "[" + "|".join(sorted(bodies)) + "]"
        words.append(word)
    return words


def row(graph):
    counts = {}
    words = sequence(graph, counts)
    order = 0xCBF29CE484222325
    for byte in " ".join(words).encode():
        order = ((order ^ byte) * 0x100000001B3) % (1 << 64)
    return f"{order:016x} " + " ".join(f"{name}:{count}" for name, count in sorted(counts.items()))


def tensors(graph):
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from tensors(attribute.g)


def fill(model, folder, pool):
    """Points all external tensors at one file of pseudo-random numbers."""
    at = 0
    with open(os.path.join(folder, "weights.bin"), "wb") as out:
        for tensor in tensors(model.graph):
            if tensor.data_location != onnx.TensorProto.EXTERNAL:
                continue
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            n = int(np.prod(tensor.dims, dtype=np.int64))
            length = n * dtype.itemsize
            if np.issubdtype(dtype, np.integer) and dtype.itemsize > 1:
                values = np.arange(n, dtype=np.int64) % 2
                out.write(values.astype(dtype).tobytes())
            elif dtype == np.bool_:
                out.write((np.arange(n) % 2).astype(dtype).tobytes())
            elif dtype.itemsize == 1:
                out.write((np.arange(n) % 113).astype(np.uint8).tobytes())
            else:
                source = pool.astype(dtype) if dtype != np.float32 else pool
                left, start = n, (at // 7) % 1000
                while left > 0:
                    piece = source[start : start + left]
                    out.write(piece.tobytes())
                    left -= len(piece)
                    start = 0
            del tensor.external_data[:]
            for key, value in (("location", "weights.bin"), ("offset", str(at)), ("length", str(length))):
                tensor.external_data.add(key=key, value=value)
            at += length
            padding = -at % 4096
            out.write(b"\0" * padding)
            at += padding


def dumped(path, level, folder, disabled):
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = 1
    options.log_severity_level = int(os.environ.get("DUMP_LOG_SEVERITY", "3"))
    target = os.path.join(folder, "dumped.onnx")
    options.optimized_model_filepath = target
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "dumped.bin")
    options.add_session_config_entry("session.disable_prepacking", "1")
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)
    return onnx.load(target, load_external_data=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--graphs", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--keep", help="also leave the dumped graphs here, without large weights")
    parser.add_argument("models", nargs="*")
    arguments = parser.parse_args()
    pool = np.random.default_rng(7).standard_normal(4 << 20, dtype=np.float32)
    names = arguments.models or sorted(
        name[: -len(".onnx")] for name in os.listdir(arguments.graphs) if name.endswith(".onnx")
    )
    lines = {}
    if os.path.exists(arguments.out):
        with open(arguments.out) as table:
            for line in table:
                if not line.startswith("#"):
                    model, level, ops = line.rstrip("\n").split(" ", 2)
                    lines[model, level] = ops
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            model = onnx.load(os.path.join(arguments.graphs, name + ".onnx"), load_external_data=False)
            fill(model, folder, pool)
            path = os.path.join(folder, "model.onnx")
            onnx.save(model, path)
            for level in LEVELS:
                print(f"== {name} {level}", file=sys.stderr, flush=True)
                try:
                    result = dumped(path, level, folder, [])
                except Exception as error:  # the table says what could not be loaded
                    lines[name, level] = "!" + str(error).replace("\n", " ")[:200]
                    print(lines[name, level], file=sys.stderr)
                    continue
                lines[name, level] = row(result.graph)
                if arguments.keep:
                    shutil.copy(os.path.join(folder, "dumped.onnx"), os.path.join(arguments.keep, f"{name}.{level}.onnx"))
        with open(arguments.out, "w") as table:
            table.write(f"# onnxruntime {ort.__version__}, CPU provider; written by tests/reference/dump.py\n")
            for (model, level), ops in sorted(lines.items()):
                table.write(f"{model} {level} {ops}\n")


if __name__ == "__main__":
    main()
