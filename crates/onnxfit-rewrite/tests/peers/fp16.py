"""Converts models to FP16 with onnxfit and with four other tools, and says what came out.

    python fp16.py OUT.md ONNXFIT [--zoo FOLDER --sizes FOLDER] [--only PART] [--budget SECONDS]

Models are those inside the packages of this environment (onnx, ddddocr, rapidocr,
rapidocr-onnxruntime, magika, silero-vad) and, with --zoo, NAME.float.onnx files. Each conversion
is a process of its own; its time and its largest resident set are those of the whole process.
Right means: no NaN or infinity that was not there, and max |a-b| <= 1e-2 * max(1, max |a|) for each
output, on ONNX Runtime's CPU provider, with inputs that no tool saw before.
"""

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from child import measure

TOOLS = ["onnxfit", "onnxfit unseen", "onnxconverter-common", "ort.transformers", "onnxslim", "onnxsim"]
# Sizes of dimensions that the models leave open, by a part of the path.
SHAPES = {
    "ddddocr/common.onnx": {"input1": [1, 1, 64, 128]},
    "ddddocr/common_old.onnx": {"input1": [1, 1, 64, 128]},
    "ddddocr/common_det.onnx": {"images": [1, 3, 416, 416]},
    "_det": {"x": [1, 3, 320, 320]},
    "_rec": {"x": [1, 3, 48, 320]},
    "_cls": {"x": [1, 3, 48, 192]},
    "magika": {"bytes": [1, 2048]},
    "silero_vad_16k_sequence": {"input": [4, 576]},
    "silero_vad_half": {"input": [1, 512], "state": [2, 1, 128]},
    "silero_vad_openvino": {},
    "silero_vad": {"input": [1, 512], "state": [2, 1, 128]},
}


def models(only):
    import onnx

    site = Path(onnx.__file__).parent.parent
    folders = ["ddddocr", "rapidocr/models", "rapidocr_onnxruntime/models", "magika/models", "silero_vad/data"]
    found = [path for folder in folders for path in (site / folder).rglob("*.onnx")]
    found += (site / "onnx/backend/test/data/light").glob("light_*.onnx")
    found = [(str(path.relative_to(site)).replace("onnx/backend/test/data/light/", "onnx/"), path) for path in found]
    return sorted(((name, path) for name, path in found if any(part in name for part in only)),
                  key=lambda model: (model[0].startswith("onnx/"), model[1].stat().st_size, model[0]))


def shapes_of(name, path, sizes):
    """The shapes of inputs; for a graph of the zoo with the sizes of its first variant."""
    if name.startswith("zoo/"):
        import onnx

        meta = json.loads((sizes / f"{name.removeprefix('zoo/')}.meta.json").read_text())
        known = meta["variants"][0]
        graph = onnx.load(str(path), load_external_data=False).graph
        return {value.name: [dim.dim_value or known.get(dim.dim_param, 1) for dim in value.type.tensor_type.shape.dim]
                for value in graph.input}
    return next((shapes for part, shapes in SHAPES.items() if part in name), {})


def session(path):
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def inputs(sess, shapes):
    import numpy as np

    feeds = {}
    for value in sess.get_inputs():
        shape = shapes.get(value.name) or [size if isinstance(size, int) else 1 for size in value.shape]
        rng = np.random.default_rng(sum(value.name.encode()) + 20_000)
        if value.type == "tensor(float)":
            feeds[value.name] = rng.standard_normal(shape).astype(np.float32)
        elif value.name == "sr":
            feeds[value.name] = np.full(shape, 16000, np.int64)
        elif "int32" in value.type:
            feeds[value.name] = rng.integers(0, 100, shape).astype(np.int32)
        elif "int64" in value.type:
            ones = "mask" in value.name
            feeds[value.name] = np.ones(shape, np.int64) if ones else rng.integers(0, 100, shape)
        else:
            raise SystemExit(f"no inputs of type {value.type}")
    return feeds


def check(original, converted, shapes):
    """Loads, runs and compares; one JSON line."""
    import numpy as np

    before = session(original)
    feeds = inputs(before, shapes)
    expected = before.run(None, feeds)
    answer = {"loads": False, "runs": False, "right": False, "error": 0.0, "note": ""}
    try:
        after = session(converted)
        answer["loads"] = True
        types = {value.name: value.type for value in after.get_inputs()}
        kept = {name: array for name, array in feeds.items() if name in types}
        half = {name: array.astype(np.float16) if types[name] == "tensor(float16)" else array
                for name, array in kept.items()}
        got = after.run(None, half)
        answer["runs"] = True
        right = len(got) == len(expected)
        for a, b in zip(expected, got):
            if a.shape != b.shape:
                right, answer["note"] = False, f"shape {b.shape} instead of {a.shape}"
                continue
            a, b = a.astype(np.float64), b.astype(np.float64)
            if not np.array_equal(np.isfinite(a), np.isfinite(b)):
                right, answer["note"] = False, "NaN or infinity"
                continue
            a, b = a[np.isfinite(a)], b[np.isfinite(b)]
            error = float(np.abs(a - b).max(initial=0) / max(1.0, float(np.abs(a).max(initial=0))))
            answer["error"] = max(answer["error"], error)
            right &= error <= 1e-2
        answer["right"] = bool(right)
    except Exception as error:  # whatever a tool's output makes of ONNX Runtime is its result
        answer["note"] = " ".join(str(error).split())[:160]
    print(json.dumps(answer))


def convert(tool, path, out):
    import onnx

    if tool == "onnxslim":
        import onnxslim

        onnxslim.slim(str(path), str(out), dtype="fp16")
        return
    if tool == "onnxconverter-common":
        from onnxconverter_common.float16 import convert_float_to_float16
    else:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    onnx.save(convert_float_to_float16(onnx.load(str(path)), keep_io_types=True), str(out))


def command(tool, onnxfit, path, out, shapes):
    if tool.startswith("onnxfit"):
        sizes = [part for name, shape in shapes.items() for part in ("--shape", f"{name}:{','.join(map(str, shape))}")]
        return [onnxfit, "convert", path, out, "--fp16", "--offline", *sizes, *(["--no-run"] if "unseen" in tool else [])]
    if tool == "onnxsim":
        return [Path(sys.executable).parent / "onnxsim", path, out, "--fp16-quantize"]
    return [sys.executable, __file__, "convert", tool, path, out]


def size(path):
    return sum(part.stat().st_size for part in [Path(path), Path(f"{path}.data")] if part.exists())


def float_share(path):
    """How much of a model's files is 32-bit float weights: the rest cannot become half."""
    import onnx

    def floats(graph):
        tensors = [tensor for tensor in graph.initializer]
        own = 0
        for node in graph.node:
            for attribute in node.attribute:
                tensors += [attribute.t] if attribute.type == onnx.AttributeProto.TENSOR else []
                own += floats(attribute.g) if attribute.type == onnx.AttributeProto.GRAPH else 0
        count = lambda tensor: 4 * math.prod(tensor.dims) if tensor.data_type == onnx.TensorProto.FLOAT else 0
        return own + sum(map(count, tensors))

    return floats(onnx.load(str(path), load_external_data=False).graph) / max(1, size(path))


def row(tool, onnxfit, name, path, shapes, folder, timeout):
    out = Path(folder) / f"{tool.replace(' ', '-')}.onnx"
    seconds, _, resident_bytes, why = measure(command(tool, onnxfit, path, out, shapes), timeout)
    found = {"tool": tool, "model": name, "seconds": seconds, "megabytes": resident_bytes / 1e6, "ratio": 0.0,
             "loads": False, "runs": False, "right": False, "error": 0.0, "note": why}
    if out.exists() and not why:
        found["ratio"] = size(out) / size(path)
        run = subprocess.run([sys.executable, __file__, "check", path, out, json.dumps(shapes)],
                             capture_output=True, text=True, timeout=timeout, check=False)
        lines = run.stdout.strip().splitlines()
        found |= json.loads(lines[-1]) if lines else {"note": f"ended with {run.returncode} in ONNX Runtime"}
    out.unlink(missing_ok=True)
    return found


def table(rows, names, left_out):
    import importlib.metadata as metadata

    versions = ["onnxconverter-common", "onnxruntime", "onnxslim", "onnxsim", "onnx"]
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in versions)
    text = ["# FP16, side by side", "",
            "Made by `cargo xtask fp16`: one run on one machine, every conversion a process of its own, all compared on",
            "the CPU provider with inputs that no tool saw. Right: no new NaN or infinity, and no output off by more than",
            f"1e-2 * max(1, its largest number). With {shown}.", "",
            "`onnxfit` measures ranges, runs both models and steps back where answers differ; `onnxfit unseen` is",
            "`--no-run`: it only converts, as the others do.", "",
            f"| tool | models | loads | runs | right | runs but wrong | size <= 0.55 of HEAVY with float weights | "
            "median size | median seconds | most MB |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    heavy = {name for name, path in names if float_share(path) > 0.6}
    text[-2:] = [line.replace("HEAVY", str(len(heavy))) for line in text[-2:]]
    median = lambda numbers: sorted(numbers)[len(numbers) // 2] if numbers else float("nan")
    for tool in TOOLS:
        mine = [found for found in rows if found["tool"] == tool]
        runs = [found for found in mine if found["runs"]]
        small = sum(0 < found["ratio"] <= 0.55 for found in runs if found["model"] in heavy)
        text.append(
            f"| {tool} | {len(mine)} | {sum(found['loads'] for found in mine)} | {len(runs)} | "
            f"{sum(found['right'] for found in mine)} | {sum(not found['right'] for found in runs)} | {small} | "
            f"{median([found['ratio'] for found in runs]):.2f} | {median([found['seconds'] for found in mine]):.2f} | "
            f"{max((found['megabytes'] for found in mine), default=0):.0f} |")
    text += ["", "Each cell: right, or what went wrong; size; seconds.", "",
             "| model | MB | " + " | ".join(TOOLS) + " |", "|---|---:|" + "---|" * len(TOOLS)]
    for name, path in names:
        cells = []
        for tool in TOOLS:
            found = next((found for found in rows if found["tool"] == tool and found["model"] == name), None)
            if found is None:
                cells.append("")
                continue
            said = "right" if found["right"] else "WRONG" if found["runs"] else "does not run" if found["loads"] \
                else "does not load" if found["ratio"] else "no model"
            cells.append(f"{said}, {found['ratio']:.2f}, {found['seconds']:.2f} s")
        text.append(f"| {name} | {size(path) / 1e6:.1f} | " + " | ".join(cells) + " |")
    text += ["", "With float weights: more than 0.6 of the files are 32-bit float weights. The others are the `light_*`",
             "models, whose weights are made by nodes, and what is quantized already."]
    if left_out:
        text += ["", f"Not run, for want of time: {', '.join(left_out)}."]
    failures = [found for found in rows if not found["right"]]
    text += ["", "What went wrong:", ""]
    for found in failures:
        why = re.sub(r"\S*/tmp\S*/", "", found["note"]) or f"off by {found['error']:.2e} of the largest"
        text.append(f"- {found['tool']}, {found['model']}: {why}")
    return "\n".join(text) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("onnxfit")
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--sizes", type=Path, help="folder with NAME.meta.json for each model of the zoo")
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--tools", nargs="+", default=TOOLS)
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("--budget", type=float, default=3600, help="seconds after which no new model is begun")
    arguments = parser.parse_args()
    names = models(arguments.only)
    if arguments.zoo:
        names += [(f"zoo/{path.name.removesuffix('.float.onnx')}", path) for path in sorted(arguments.zoo.glob("*.float.onnx"))]
    rows, done, begun = [], [], time.perf_counter()
    for name, path in names:
        if time.perf_counter() - begun > arguments.budget:
            print(f"the budget is spent before {name}", file=sys.stderr)
            break
        shapes = shapes_of(name, path, arguments.sizes)
        with tempfile.TemporaryDirectory() as folder:
            for tool in arguments.tools:
                found = row(tool, arguments.onnxfit, name, path, shapes, folder, arguments.timeout)
                rows.append(found)
                print(f"{name:60.60} {tool:22} right={found['right']!s:5} {found['ratio']:.2f} {found['seconds']:6.2f} s "
                      f"{found['note'][:80]}", file=sys.stderr)
        done.append((name, path))
        arguments.out.parent.mkdir(exist_ok=True)
        left_out = [name for name, _ in names[len(done):]]
        arguments.out.write_text(table(rows, done, left_out))


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))
    elif sys.argv[1:2] == ["convert"]:
        convert(*sys.argv[2:5])
    else:
        main()
