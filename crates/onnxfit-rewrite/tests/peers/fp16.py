"""Converts models to FP16 with onnxfit and with four other tools, and says what came out.

    python fp16.py OUT.md ONNXFIT [--zoo GRAPHS MAKER] [--only PART…] [--tools TOOL…] [--budget SECONDS]
                   [--again TOOL…] [--table]

Models are those inside the packages of this environment (onnx, ddddocr, rapidocr,
rapidocr-onnxruntime, magika, silero-vad) and, with --zoo, every graph of a folder, its absent
weights made up by the program MAKER; one model is on the disk at a time. Each conversion is a
process of its own; its time and its largest resident set are those of the whole process.

Rows are kept in OUT.jsonl, one as soon as it is made, and none is made twice: a row of onnxfit holds
for the program that made it, a row of another tool for the versions of all packages. So a run that
ends early is gone on with by starting it again, and the table is made of all rows.

Right means: no NaN or infinity that was not there, and max |a-b| <= 1e-2 * max(1, max |a|) for each
output, on ONNX Runtime's CPU provider, with inputs that no tool saw before. See selections.py for
models that select.
"""

import argparse
import hashlib
import importlib.metadata as metadata
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from child import measure

OURS = ["onnxfit", "onnxfit unseen"]
TOOLS = [*OURS, "onnxconverter-common", "ort.transformers", "onnxslim", "onnxsim"]
PACKAGES = ["onnxconverter-common", "onnxruntime", "onnxslim", "onnxsim", "onnx"]
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


def models(zoo):
    """Name and path of every model: those of packages by size, then the others."""
    import onnx

    site = Path(onnx.__file__).parent.parent
    folders = ["ddddocr", "rapidocr/models", "rapidocr_onnxruntime/models", "magika/models", "silero_vad/data"]
    found = [path for folder in folders for path in (site / folder).rglob("*.onnx")]
    light = [(f"onnx/{path.name}", path) for path in (site / "onnx/backend/test/data/light").glob("light_*.onnx")]
    by_size = lambda model: (model[1].stat().st_size, model[0])
    graphs = [(f"zoo/{path.stem}", path) for path in sorted(zoo.glob("*.onnx"))] if zoo else []
    # The light ones are in the zoo as well.
    graphs = [model for model in graphs if not model[1].name.startswith("light_")]
    return sorted(((str(path.relative_to(site)), path) for path in found), key=by_size) + sorted(light, key=by_size) + graphs


def facts_of(name, path):
    """The shapes of inputs and what whole numbers are filled with; of the zoo those of the first variant."""
    if not name.startswith("zoo/"):
        return {"shapes": next((shapes for part, shapes in SHAPES.items() if part in name), {}), "fills": {}}
    import onnx

    meta = json.loads(path.with_suffix(".meta.json").read_text())
    known = meta["variants"][0]
    of = lambda dim: dim if isinstance(dim, int) else known.get(dim) or sum(known.get(part.strip(), 1) for part in dim.split("+"))
    graph = onnx.load(str(path), load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    declared = {value.name: [dim.dim_value or dim.dim_param or 1 for dim in value.type.tensor_type.shape.dim]
                for value in graph.input if value.name not in weights}
    shapes = {name: [of(dim) for dim in meta.get("shapes", {}).get(name, dims)] for name, dims in declared.items()}
    return {"shapes": shapes, "fills": meta.get("fills", {})}


def command(tool, onnxfit, path, out, shapes):
    if tool in OURS:
        sizes = [part for name, shape in shapes.items() if shape
                 for part in ("--shape", f"{name}:{','.join(map(str, shape))}")]
        return [onnxfit, "convert", path, out, "--fp16", "--offline", *sizes, *(["--no-run"] if "unseen" in tool else [])]
    if tool == "onnxsim":
        return [Path(sys.executable).parent / "onnxsim", path, out, "--fp16-quantize"]
    return [sys.executable, __file__, "convert", tool, path, out]


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


def make_row(tool, onnxfit, name, path, facts, folder, timeout):
    out = Path(folder) / f"{tool.replace(' ', '-')}.onnx"
    load = os.getloadavg()[0]
    seconds, cpu, resident_bytes, why = measure(command(tool, onnxfit, path, out, facts["shapes"]), timeout)
    row = {"tool": tool, "model": name, "seconds": seconds, "cpu_seconds": cpu, "megabytes": resident_bytes / 1e6,
           "ratio": 0.0, "loads": False, "runs": False, "right": False, "error": 0.0, "note": why, "load": load}
    if out.exists() and not why:
        row["ratio"] = size(out) / size(path)
        check = [sys.executable, Path(__file__).parent / "selections.py", path, out, json.dumps(facts)]
        try:
            run = subprocess.run(check, capture_output=True, text=True, timeout=4 * timeout, check=False)
            lines = run.stdout.strip().splitlines()
            said = run.stderr.strip().splitlines()[-1:] or [""]
            row |= json.loads(lines[-1]) if lines else {"note": f"ended with {run.returncode} in ONNX Runtime: {said[0][:100]}"}
        except subprocess.TimeoutExpired:
            row["note"] = f"ran longer than {4 * timeout:g} s"
    row["note"] = re.sub(r"\S*/tmp\S*/", "", row["note"])
    for left in [out, Path(f"{out}.data")]:
        left.unlink(missing_ok=True)
    return row


def maker_of(tool, onnxfit):
    """What a row holds for."""
    if tool in OURS:
        return hashlib.sha256(Path(onnxfit).read_bytes()).hexdigest()[:12]
    return ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)


def table(rows, names, build):
    """The committed page; `names` in their order, with size and share of float weights where a row knows them."""
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    known = {row["model"]: row for row in rows.values() if "size" in row}
    names = [name for name in names if name in known]
    heavy = {name for name in names if known[name]["float_share"] > 0.6}
    text = ["# FP16, side by side", "",
            "Made by `cargo xtask fp16`: every conversion a process of its own, all compared on the CPU provider with",
            "inputs that no tool saw. Right: no new NaN or infinity, and no output off by more than",
            f"1e-2 * max(1, its largest number). With {shown}.", "",
            "`onnxfit` measures ranges, runs both models and steps back where answers differ; `onnxfit unseen` is",
            "`--no-run`: it only converts, as the others do.", "",
            f"| tool | models | loads | runs | right | runs but wrong | size <= 0.55 of {len(heavy)} with float weights | "
            "median size | median seconds | most MB |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    median = lambda numbers: sorted(numbers)[len(numbers) // 2] if numbers else float("nan")
    for tool in TOOLS:
        mine = [rows[tool, name] for name in names if (tool, name) in rows]
        runs = [row for row in mine if row["runs"]]
        small = sum(0 < row["ratio"] <= 0.55 and row["right"] for row in runs if row["model"] in heavy)
        text.append(
            f"| {tool} | {len(mine)} | {sum(row['loads'] for row in mine)} | {len(runs)} | "
            f"{sum(row['right'] for row in mine)} | {sum(not row['right'] for row in runs)} | {small} | "
            f"{median([row['ratio'] for row in runs]):.2f} | {median([row['seconds'] for row in mine]):.2f} | "
            f"{max((row['megabytes'] for row in mine if row['megabytes']), default=float('nan')):.0f} |")
    text += ["", "Sizes count only where the model is right. Each cell: right, or what went wrong; size; seconds. `~`: right up to",
             "what its selections choose (`docs/convert.md`).", "",
             "| model | MB | " + " | ".join(TOOLS) + " |", "|---|---:|" + "---|" * len(TOOLS)]
    for name in names:
        cells = []
        for tool in TOOLS:
            row = rows.get((tool, name))
            if row is None:
                cells.append("")
                continue
            said = ("right ~" if row.get("by_selection") else "right") if row["right"] else "WRONG" if row["runs"] \
                else "does not run" if row["loads"] else "does not load" if row["ratio"] else "no model"
            cells.append(f"{said}, {row['ratio']:.2f}, {row['seconds']:.2f} s")
        text.append(f"| {name} | {known[name]['size'] / 1e6:.1f} | " + " | ".join(cells) + " |")
    text += ["", "With float weights: more than 0.6 of the files are 32-bit float weights. The others are the `light_*`",
             "models, whose weights are made by nodes, and what is quantized or half as wide already."]
    older = [row for row in rows.values() if row["tool"] in OURS and row["for"] != build]
    busy = [row for row in rows.values() if row["load"] is None or row["load"] > 1.5]
    if older:
        text += ["", f"{len(older)} rows of onnxfit were made by an earlier build."]
    if busy:
        text += ["", f"{len(busy)} of {len(rows)} rows were taken while other programs ran, or it is not known whether any did: their seconds may be too many."]
    left_out = [f"{tool}: {count}" for tool in TOOLS
                if (count := sum((tool, name) not in rows for name in names))]
    if left_out:
        text += ["", f"Rows that are missing: {', '.join(left_out)}."]
    text += ["", "What went wrong:", ""]
    for name in names:
        for tool in TOOLS:
            row = rows.get((tool, name))
            if row and not row["right"]:
                why = row["note"] or f"off by {row['error']:.2e} of the largest"
                text.append(f"- {tool}, {name}: {why}")
    return "\n".join(text) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("onnxfit")
    parser.add_argument("--zoo", type=Path, nargs=2, metavar=("GRAPHS", "MAKER"),
                        help="a folder with NAME.onnx and NAME.meta.json, and the program that makes weights up")
    parser.add_argument("--only", nargs="+", default=[""], help="models with one of these in their name")
    parser.add_argument("--skip", nargs="+", default=[], help="no models with one of these in their name")
    parser.add_argument("--tools", nargs="+", default=TOOLS)
    parser.add_argument("--again", nargs="+", default=[], metavar="TOOL", help="make the rows of these tools anew")
    parser.add_argument("--timeout", type=float, default=120, help="seconds that a conversion may take")
    parser.add_argument("--budget", type=float, default=3600, help="seconds after which no new row is begun")
    parser.add_argument("--table", action="store_true", help="only write the table of the rows that there are")
    arguments = parser.parse_args()
    store = arguments.out.with_suffix(".jsonl")
    rows = {}
    for line in store.read_text().splitlines() if store.exists() else []:
        row = json.loads(line)
        rows[row["tool"], row["model"]] = row
    everything = models(arguments.zoo[0] if arguments.zoo else None)
    order = [name for name, _ in everything]
    order += sorted({name for _, name in rows} - set(order))
    build = maker_of("onnxfit", arguments.onnxfit)
    names = [(name, path) for name, path in everything if not arguments.table
             and any(part in name for part in arguments.only) and not any(part in name for part in arguments.skip)]
    begun = time.perf_counter()

    def write():
        store.write_text("".join(json.dumps(rows[key]) + "\n" for key in sorted(rows)))
        arguments.out.write_text(table(rows, order, build))

    for name, path in names:
        wanted = []
        for tool in arguments.tools:
            row = rows.get((tool, name))
            is_new = row and row["for"] == maker_of(tool, arguments.onnxfit) and tool not in arguments.again
            wanted += [] if is_new else [tool]
        if not wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            facts = facts_of(name, path)
            for tool in wanted:
                if time.perf_counter() - begun > arguments.budget:
                    print(f"the budget is spent before {tool} {name}", file=sys.stderr)
                    write()
                    return
                if name.startswith("zoo/") and path.suffixes[-2:] != [".float", ".onnx"]:
                    subprocess.run([arguments.zoo[1], "--only-float", folder, path], stdout=subprocess.DEVNULL, check=True)
                    path = Path(folder) / f"{path.stem}.float.onnx"
                row = make_row(tool, arguments.onnxfit, name, path, facts, folder, arguments.timeout)
                row |= {"size": size(path), "float_share": float_share(path), "for": maker_of(tool, arguments.onnxfit)}
                rows[tool, name] = row
                print(f"{name:60.60} {tool:22} right={row['right']!s:5} {row['ratio']:.2f} {row['seconds']:6.2f} s "
                      f"{row['note'][:80]}", file=sys.stderr)
                write()
    write()


if __name__ == "__main__":
    if sys.argv[1:2] == ["convert"]:
        convert(*sys.argv[2:5])
    else:
        main()
