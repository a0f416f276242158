"""Times conversions to half precision beside onnxconverter-common, and converts a model of gigabytes.

    python convert_speed.py OUT.md ONNXFIT [--megabytes 50 100 200 500] [--big GIGABYTES]

Models are chains of matrix products, made up here. Each conversion is a process of its own that
runs nothing (`--no-run`): what is timed is reading, converting and writing. The big one has its
weights in an external file. Files of the smaller ones lie in memory where there is room, so that no
disk is measured: onnxfit waits until what it wrote is on the disk, the other tool does not. All of it
takes about five minutes on two idle cores, and 7 GB of disk.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from child import measure

SIDE = 2048


def chain(path, megabytes, external):
    """A model of about so many megabytes."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper

    n_layers = max(1, round(megabytes * 1e6 / (4 * SIDE * SIDE)))
    rng = np.random.default_rng(1)
    weight = (rng.standard_normal((SIDE, SIDE)) / SIDE**0.5).astype(np.float32)
    nodes, tensors, last = [], [], "x"
    data = open(f"{path}.data", "wb") if external else None
    for index in range(n_layers):
        name, out = f"w{index}", f"h{index}" if index + 1 < n_layers else "y"
        raw = np.roll(weight, index, axis=0).tobytes()
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[SIDE, SIDE])
        if data:
            offset = data.tell()
            data.write(raw)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in [("location", f"{path.name}.data"), ("offset", offset), ("length", len(raw))]:
                tensor.external_data.add(key=key, value=str(value))
        else:
            tensor.raw_data = raw
        tensors.append(tensor)
        nodes.append(helper.make_node("MatMul", [last, name], [out], name=f"layer{index}"))
        last = out
    if data:
        data.close()
    info = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", SIDE])
    graph = helper.make_graph(nodes, "chain", [info("x")], [info("y")], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def size(path):
    return sum(part.stat().st_size for part in [Path(path), Path(f"{path}.data")] if part.exists())


def is_answer_right(before, after):
    """One row through both, where the models are small enough to run."""
    import numpy as np
    import onnxruntime as ort

    x = np.random.default_rng(3).standard_normal((1, SIDE)).astype(np.float32)
    run = lambda path: ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    a, b = run(before), run(after)
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def folder_in_memory(megabytes):
    """Where files are written to no disk, if they fit."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 3e6 * megabytes else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("onnxfit")
    parser.add_argument("--megabytes", nargs="+", type=int, default=[50, 100, 200, 500])
    parser.add_argument("--big", type=float, default=4.3, help="gigabytes of the model with external weights; 0 for none")
    arguments = parser.parse_args()
    text = ["# Conversions: time and memory", "",
            "Made by `cargo xtask convert-speed`: one run on one machine, every conversion a process of its own that runs no",
            "model. Memory is the largest resident set of the process, mapped files included. Files lie in memory where",
            "nothing else is said: no disk is measured.", "",
            "| model | tool | seconds | CPU seconds | resident MB | of the output | times as fast | relative L2 |",
            "|---|---|---:|---:|---:|---:|---:|---:|"]
    for megabytes in arguments.megabytes:
        memory = folder_in_memory(megabytes)
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            model, ours, theirs = (Path(folder) / f"{name}.onnx" for name in ["model", "ours", "theirs"])
            chain(model, megabytes, external=False)
            commands = {"onnxfit": [arguments.onnxfit, "convert", model, ours, "--fp16", "--no-run", "--offline"],
                        "onnxconverter-common": [sys.executable, __file__, "convert", model, theirs]}
            measure(commands["onnxfit"])  # Both read from the page cache afterwards.
            found = {tool: measure(command) for tool, command in commands.items()}
            for tool, (seconds, cpu, resident, why) in found.items():
                out = ours if tool == "onnxfit" else theirs
                faster = found["onnxconverter-common"][0] / seconds
                error = "" if why else f"{is_answer_right(model, out):.1e}"
                where = "" if memory else ", on disk"
                text.append(f"| {size(model) / 1e6:.0f} MB{where} | {tool} | {seconds:.2f} | {cpu:.2f} | {resident / 1e6:.0f} | "
                            f"{resident / max(1, size(out)):.2f} | {faster:.1f} | {why or error} |")
            print("\n".join(text[-2:]), file=sys.stderr, flush=True)
            write(arguments.out, text)
    if arguments.big:
        text += ["", "Weights in an external file, larger than protobuf's 2 GiB:", "",
                 "| model | conversion | seconds | CPU seconds | resident MB | largest weight MB | size |", "|---|---|---:|---:|---:|---:|---:|"]
        with tempfile.TemporaryDirectory() as folder:
            model, out = Path(folder) / "big.onnx", Path(folder) / "out.onnx"
            chain(model, arguments.big * 1000, external=True)
            for name, rest in [("fp16", ["convert", model, out, "--fp16"]), ("bf16", ["convert", model, out, "--bf16"]),
                               ("int8", ["quantize", model, out, "--weights", "int8"]),
                               ("int4", ["quantize", model, out, "--weights", "int4"])]:
                seconds, cpu, resident, why = measure([arguments.onnxfit, *rest, "--no-run", "--offline"])
                text.append(f"| {size(model) / 1e9:.1f} GB | {name} | {seconds:.1f} | {cpu:.1f} | {resident / 1e6:.0f} | "
                            f"{4 * SIDE * SIDE / 1e6:.0f} | {why or f'{size(out) / size(model):.3f}'} |")
                print(text[-1], file=sys.stderr, flush=True)
                write(arguments.out, text)
                for part in [out, Path(f"{out}.data")]:
                    part.unlink(missing_ok=True)


def write(out, text):
    out.parent.mkdir(exist_ok=True)
    out.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["convert"]:
        import onnx
        from onnxconverter_common.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load(sys.argv[2]), keep_io_types=True), sys.argv[3])
    else:
        main()
