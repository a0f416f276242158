"""Quantizes models with onnxfit and with onnxruntime.quantization, and says what came out.

    python quantize.py OUT.md ONNXFIT [--only PART] [--samples 4,64,256] [--minutes MOST] [--parts PART,PART]

Models are those inside the packages of this environment. Inputs look like the task (task_data.py):
those that ranges are measured on come from one seed, those that answers are compared on from
another. Every quantization is a process of its own: seconds and largest resident set are those of
the process (of onnxfit, of the larger of it and its worker); all of it takes about half an hour on
two idle cores. Comparison is on ONNX Runtime's CPU
provider: relative L2 over all outputs, the worst one told.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from task_data import write as write_samples

HERE = Path(__file__).resolve().parent
FOLDERS = ["ddddocr", "rapidocr/models", "rapidocr_onnxruntime/models", "magika/models", "silero_vad/data"]
ENTROPY = "entropy"
# What onnxfit does beyond what the other tool does.
NOT_THEIRS = ["float model", "trials", "looking at the result"]


def models(only):
    import onnx

    site = Path(onnx.__file__).parent.parent
    found = [path for folder in FOLDERS for path in (site / folder).rglob("*.onnx")]
    found = [(str(path.relative_to(site)), path) for path in found]
    return sorted((model for model in found if any(part in model[0] for part in only)), key=lambda m: m[1].stat().st_size)


# ---- a process that is measured -------------------------------------------------------------

def measured(command, budget):
    """Runs a command: exit code, seconds, largest MB of any of its processes, the output's tail."""
    code = (
        "import json,resource,subprocess,sys,time\n"
        "start=time.time()\n"
        "try:\n"
        f"  done=subprocess.run({command!r},capture_output=True,text=True,timeout={budget})\n"
        "  rc,out,err=done.returncode,done.stdout,done.stderr\n"
        "except subprocess.TimeoutExpired:\n"
        "  rc,out,err=-1,'','took too long'\n"
        "most=resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([rc,time.time()-start,most.ru_utime+most.ru_stime,most.ru_maxrss/1024,out,err[-2000:]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return json.loads(done.stdout)


def by_onnxfit(binary, model, output, data, arguments, budget):
    command = [str(binary), "quantize", str(model), str(output), "--json", *arguments]
    if data is not None:
        command += ["--calib", str(data)]
    rc, seconds, cpu, most, out, err = measured(command, budget)
    view = json.loads(out) if out.strip() else {}
    return {"ok": rc == 0, "seconds": seconds, "cpu": cpu, "mb": most, "view": view, "said": err.strip().splitlines()[-1:]}


def by_peer(model, output, data, method, budget):
    ranges = str(output) + ".json"
    command = [sys.executable, str(HERE / "peer.py"), str(model), str(output), str(data or ""), method, ranges]
    rc, seconds, cpu, most, _, err = measured(command, budget)
    found = json.loads(Path(ranges).read_text()) if Path(ranges).exists() else {}
    return {"ok": rc == 0, "seconds": seconds, "cpu": cpu, "mb": most, "ranges": found, "said": err.strip().splitlines()[-1:]}


# ---- comparisons ----------------------------------------------------------------------------

def answers(model, data):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = []
    for path in sorted(Path(data).glob("*.npz")):
        with np.load(path) as arrays:
            fed = {i.name: arrays[i.name] for i in session.get_inputs()}
        found.append(dict(zip(names, session.run(None, fed))))
    return found


def distance(before, after):
    """The worst relative L2 of an output over all samples, and the share of equal largest places."""
    worst, equal, total = 0.0, 0, 0
    for name in before[0]:
        a = np.concatenate([np.asarray(sample[name], np.float64).ravel() for sample in before])
        b = np.concatenate([np.asarray(sample[name], np.float64).ravel() for sample in after])
        if a.shape != b.shape or not np.isfinite(b).all():
            return float("inf"), 0.0
        worst = max(worst, float(np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-12)))
        for x, y in zip(before, after):
            x, y = np.asarray(x[name]), np.asarray(y[name])
            if x.ndim >= 2 and x.shape[-1] >= 2:
                equal += int((x.argmax(-1) == y.argmax(-1)).sum())
                total += x.argmax(-1).size
    return worst, equal / max(total, 1)


def judged(model, output, evaluation):
    try:
        off, top1 = distance(answers(model, evaluation), answers(output, evaluation))
    except Exception as error:  # whatever the runtime refuses
        return {"loads": False, "why": str(error).splitlines()[0][:90]}
    size = output.stat().st_size + sum(p.stat().st_size for p in output.parent.glob(output.name + ".data"))
    return {"loads": True, "off": off, "top1": top1, "size": size / model.stat().st_size}


def shown(judgement, run):
    if not run["ok"] and not judgement:
        if run.get("view"):
            return "no model: " + run["view"]["stop_reason"]
        return "no model: " + " ".join(run["said"])[:60].replace("|", "/")
    if not judgement.get("loads"):
        return "does not run: " + judgement.get("why", "")[:60].replace("|", "/")
    return f"{judgement['off']:.3f}, top-1 {judgement['top1']:.2f}, size {judgement['size']:.2f}, {run['seconds']:.1f} s"


# ---- the tables -----------------------------------------------------------------------------

def accuracy(binary, work, only, budget, table):
    """Static and dynamic, ours and theirs, on every model."""
    ways = ["onnxfit static", "ort static", "onnxfit dynamic", "ort dynamic"]
    rows, counts, worst_range, n_ranges, n_different = [], {way: [0, 0, 0] for way in ways}, 0.0, 0, 0
    for name, path in models(only):
        if table.is_late():
            table.left_out.append(name)
            continue
        folder = work / name.replace("/", "_")
        data, evaluation = folder / "data", folder / "evaluation"
        write_samples(path, data, 16, 1)
        write_samples(path, evaluation, 8, 2)
        cells = []
        for way in ways:
            output = folder / (way.replace(" ", "-") + ".onnx")
            print(f"{name}: {way}", file=sys.stderr, flush=True)
            tool, scheme = way.split()
            if tool == "onnxfit":
                run = by_onnxfit(binary, path, output, data, [f"--{scheme}"], budget)
            else:
                run = by_peer(path, output, data, "minmax" if scheme == "static" else "dynamic", budget)
            judgement = judged(path, output, evaluation) if run["ok"] and output.exists() else {}
            cells.append(shown(judgement, run))
            good = judgement.get("loads", False)
            counts[way][0] += good
            counts[way][1] += good and judgement["off"] < 0.1
            counts[way][2] += good and judgement["off"] < 0.1 and judgement["size"] <= 0.7
        # Ranges without what we fold first: the same values of the same model.
        off, n, different = ranges_apart(binary, path, folder, data, budget)
        worst_range, n_ranges, n_different = max(worst_range, off), n_ranges + n, n_different + different
        rows.append(f"| {name} | {path.stat().st_size / 1e6:.1f} | " + " | ".join(cells) + " |")
        table.show(accuracy_lines(ways, counts, rows, n_ranges, worst_range, n_different))
    table.keep()


def accuracy_lines(ways, counts, rows, n_ranges, worst_range, n_different):
    n_models = len(rows)
    lines = ["## Accuracy and size", "",
              "16 samples to measure on, 8 others to compare on. Each cell: relative L2, top-1 agreement, size against",
              "the original, seconds. `onnxfit` steps layers back until its gate (relative L2 10 %) holds on the samples",
              "that it was given; `ort` is `quantize_static` (QDQ, MinMax, per channel) and `quantize_dynamic` (int8).", "",
              "| way | models | load and run | relative L2 < 10 % | that, and size <= 0.7 |", "|---|---:|---:|---:|---:|"]
    lines += [f"| {way} | {n_models} | {c[0]} | {c[1]} | {c[2]} |" for way, c in counts.items()]
    lines += ["", "| model | MB | " + " | ".join(ways) + " |", "|---|---:|---|---|---|---|", *rows, ""]
    lines += ["## MinMax ranges", "",
              f"{n_ranges} values with a range from both tools at the equal method, on the same samples: the largest",
              f"difference is {worst_range:.1e} of the range; {n_different} of them differ by more than 1e-6.", ""]
    return lines


def ranges_apart(binary, model, folder, data, budget):
    """Ranges of the values that both tools measured."""
    theirs = by_peer(model, folder / "ranges-peer.onnx", data, "ranges-minmax", budget)["ranges"]
    run = by_onnxfit(binary, model, folder / "ranges.onnx", data, ["--static", "--max-drop", "relative-l2=1e9"], budget)
    ours = {r["value"]: (r["lowest"], r["highest"]) for r in (run["view"].get("calibration") or {}).get("ranges", [])}
    worst, n, different = 0.0, 0, 0
    for value, (low, high) in theirs.items():
        if value in ours:
            # Both measure 32-bit floats; ours are told with as many digits as name them.
            span = max(high - low, 1e-6)
            off = max(abs(float(np.float32(a)) - b) for a, b in zip(ours[value], (low, high))) / span
            worst, n, different = max(worst, off), n + 1, different + (off > 1e-6)
    return worst, n, different


def memory_and_time(binary, work, counts, peer_most, budget, table):
    lines = []
    name, path = models(["common_det"])[0]
    lines += ["## Memory and time of calibration", "",
              f"`{name}` (20 MB, 416x416), all values. MB: the largest resident set of any process. Seconds: wall, CPU",
              "in brackets. Equal work is reading, ranges, and the quantized model written: the parts of `onnxfit` that do",
              "that, and `quantize_static` (QDQ, per channel). The whole of `onnxfit` also runs the float model and the",
              "quantized one, compares them, and looks at kernels and memory; its gate is open, so nothing steps back.", "",
              "| samples | method | onnxfit MB | onnxfit, equal work s | onnxfit, whole s | ort MB | ort s | times as fast |",
              "|---:|---|---:|---:|---:|---:|---:|---:|"]
    for n in counts:
        data = work / f"det-{n}"
        write_samples(path, data, n, 3)
        for method in ["minmax", ENTROPY, "percentile"]:
            if table.is_late():
                table.left_out.append(f"{n} samples, {method}")
                continue
            print(f"calibration: {n} samples, {method}", file=sys.stderr, flush=True)
            open_gate = ["--static", "--ranges", method, "--max-drop", "relative-l2=1e9"]
            ours = by_onnxfit(binary, path, work / "det.onnx", data, open_gate, budget)
            # Theirs keeps every value of every sample: 9.6 GB for 64 of them.
            heavy = method != "minmax" and n > peer_most
            theirs = None if heavy else by_peer(path, work / "det-peer.onnx", data, method, budget)
            whole = lambda run: f"{run['seconds']:.1f} ({run['cpu']:.1f})"
            if ours["ok"]:
                equal = ours["seconds"] - sum(part["seconds"] for part in ours["view"]["spent"] if part["what"] in NOT_THEIRS)
                cells = [f"{ours['mb']:.0f}", f"{equal:.1f}", whole(ours)]
            else:
                cells = ["-"] * 3
            if theirs and theirs["ok"]:
                cells += [f"{theirs['mb']:.0f}", whole(theirs), f"{theirs['seconds'] / equal:.1f}" if ours["ok"] else "-"]
            else:
                cells += ["not tried" if theirs is None else "-"] * 2 + ["-"]
            lines.append(f"| {n} | {method} | " + " | ".join(cells) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
            table.show([*lines, ""])
    table.keep()


def divergences(binary, work, budget, table):
    """Kullback-Leibler of both tools' Entropy ranges, measured alike on the values themselves."""
    import onnx
    import onnxruntime as ort

    lines = ["## Entropy", "",
              "Divergence of what 256 integers of each range leave of a value from the value itself (4096 bins over all",
              "of it, outliers moved to the ends), 8 samples. At least as good: not more than 1 % worse.", "",
              "| model | values | onnxfit at least as good | mean onnxfit | mean ort |", "|---|---:|---:|---:|---:|"]
    for part in ["common_det", "v2.0_cls_infer"]:
        name, path = models([part])[0]
        folder = work / ("kl-" + part)
        data = folder / "data"
        write_samples(path, data, 8, 4)
        print(f"entropy: {name}", file=sys.stderr, flush=True)
        theirs = by_peer(path, folder / "peer.onnx", data, f"ranges-{ENTROPY}", budget)["ranges"]
        run = by_onnxfit(binary, path, folder / "ours.onnx", data,
                         ["--static", "--ranges", ENTROPY, "--max-drop", "relative-l2=1e9"], budget)
        ours = {r["value"]: (r["lowest"], r["highest"]) for r in (run["view"].get("calibration") or {}).get("ranges", [])}
        both = [value for value in theirs if value in ours]
        model = onnx.load(str(path))
        inputs = {i.name for i in model.graph.input}
        both = [value for value in both if value not in inputs][:80]
        del model.graph.output[:]
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(value) for value in both)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        values = {value: [] for value in both}
        for file in sorted(data.glob("*.npz")):
            with np.load(file) as arrays:
                fed = {i.name: arrays[i.name] for i in session.get_inputs()}
            for value, array in zip(both, session.run(None, fed)):
                values[value].append(np.asarray(array, np.float32).ravel())
        pairs = []
        for value in both:
            numbers = np.concatenate(values[value])
            if numbers.size >= 256 and numbers.max() > numbers.min():
                pairs.append((divergence(numbers, ours[value]), divergence(numbers, theirs[value])))
        good = sum(a <= b * 1.01 + 1e-9 for a, b in pairs)
        means = np.mean(np.array(pairs), axis=0) if pairs else (0, 0)
        lines.append(f"| {name} | {len(pairs)} | {good} | {means[0]:.4f} | {means[1]:.4f} |")
        table.show([*lines, ""])
    table.keep()


def divergence(numbers, bounds):
    low, high = min(bounds[0], 0.0), max(bounds[1], 0.0)
    most = np.abs(numbers).max()
    counts, edges = np.histogram(numbers, bins=4096, range=(-most, most))
    middles = (edges[:-1] + edges[1:]) / 2
    step = (high - low) / 255
    if step <= 0:
        return float("inf")
    inside = (middles >= low - step / 2) & (middles <= high + step / 2) & (counts > 0)
    if not inside.any():
        return float("inf")
    p = counts[inside].astype(np.float64)
    p[0] += counts[middles < low - step / 2].sum()
    p[-1] += counts[middles > high + step / 2].sum()
    level = np.clip(np.round((middles[inside] - low) / step), 0, 255).astype(int)
    total, filled = np.bincount(level, counts[inside], 256), np.bincount(level, minlength=256)
    q = np.maximum(total[level] / np.maximum(filled[level], 1), 1e-4)
    p, q = p / p.sum(), q / counts[inside].sum()
    return float((p * np.log(p / q)).sum())


def memory_falls(binary, work, budget, table):
    """Arena peaks on the CPU provider, measured, beside the twin's word before."""
    lines = ["## Memory really falls, or it was said that it does not", "",
              "Arena peak of the CPU provider, measured by `onnxfit measure` before and after, and what the tool said",
              "when it quantized: predicted peaks on the CPU provider and on CUDA.", "",
              "| model | way | CPU measured, before -> after MB | CPU predicted | CUDA predicted | direction agrees |",
              "|---|---|---:|---:|---:|---|"]
    cases = [("ddddocr/common.onnx", "--dynamic"), ("common_det", "--static"), ("silero_vad_half", "--dynamic"),
             ("v2.0_cls_infer", "--static"), ("magika", "--dynamic"), ("silero_vad_16k_sequence", "--dynamic")]
    for part, scheme in cases:
        name, path = models([part])[0]
        folder = work / ("falls-" + part.replace("/", "_"))
        data, output = folder / "data", folder / "small.onnx"
        write_samples(path, data, 4, 5)
        print(f"memory: {name}", file=sys.stderr, flush=True)
        run = by_onnxfit(binary, path, output, data, [scheme, "--max-drop", "relative-l2=1e9"], budget)
        if not run["ok"]:
            lines.append(f"| {name} | {scheme[2:]} | no model: {run['view'].get('stop_reason') or ' '.join(run['said'])[:60]} | | | |")
            continue
        with np.load(data / "0000.npz") as arrays:
            shapes = [f"{n}:{','.join(map(str, arrays[n].shape))}" for n in arrays.files if arrays[n].ndim > 0]
        peaks = [peak(binary, model, shapes) for model in (path, output)]
        said = {memory["provider"]: memory for memory in run["view"]["memory"]}
        text = lambda memory: f"{memory['before_peak_bytes'] / 1e6:.2f} -> {memory['after_peak_bytes'] / 1e6:.2f}" if memory else "-"
        cpu = said.get("CPU")
        if None in peaks or cpu is None:
            agrees = "not measured"
        else:
            agrees = "yes" if (peaks[1] < peaks[0]) == cpu["falls"] else "NO"
            agrees += ": falls" if cpu["falls"] else ": said before that it does not fall"
        have = " -> ".join("-" if p is None else f"{p / 1e6:.2f}" for p in peaks)
        lines.append(f"| {name} | {scheme[2:]} | {have} | {text(cpu)} | {text(said.get('CUDA'))} | {agrees} |")
        print(lines[-1], file=sys.stderr, flush=True)
        table.show([*lines, ""])
    table.keep()


def peak(binary, model, shapes):
    arguments = [argument for shape in shapes for argument in ("--shape", shape)]
    done = subprocess.run([str(binary), "measure", str(model), "--provider", "cpu", "--json", *arguments],
                          capture_output=True, text=True)
    try:
        view = json.loads(done.stdout)
    except json.JSONDecodeError:
        return None
    return find_peak(view)


def find_peak(view):
    """The highest measured peak of any run."""
    stages = [stage["measured"] for stage in view.get("stages", []) if stage.get("measured")]
    return max((stage["peak_in_use_bytes"] for stage in stages), default=None)


class Table:
    """The file, written anew with every row."""

    def __init__(self, out, lines, minutes):
        self.out, self.done, self.part, self.left_out = out, lines, [], []
        self.end = time.time() + 60 * minutes

    def is_late(self):
        return time.time() > self.end

    def show(self, lines):
        self.part = lines
        missing = ["Not run, for want of time: " + ", ".join(self.left_out) + ".", ""] if self.left_out else []
        part = self.out.with_suffix(".part")
        part.write_text("\n".join([*self.done, *lines, *missing]))
        os.replace(part, self.out)

    def keep(self):
        self.show(self.part)
        self.done, self.part = self.done + self.part, []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--only", action="append")
    parser.add_argument("--samples", default="4,64,256")
    parser.add_argument("--peer-samples-max", type=int, default=64, help="more samples are not tried with Entropy by the peer")
    parser.add_argument("--budget", type=float, default=900)
    parser.add_argument("--minutes", type=float, default=60, help="after these nothing new is begun, and that is said")
    parser.add_argument("--parts", default="accuracy,memory,entropy,falls")
    given = parser.parse_args()
    import onnxruntime

    lines = ["# Quantization, side by side", "",
             "Made by `cargo xtask quantize`: one run on one machine, every quantization a process of its own, with inputs",
             f"that look like the task. With onnxruntime {onnxruntime.__version__} (onnxruntime.quantization).", ""]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        parts = given.parts.split(",")
        table = Table(given.out, lines, given.minutes)
        if "falls" in parts:
            memory_falls(given.binary, work, given.budget, table)
        if "entropy" in parts:
            divergences(given.binary, work, given.budget, table)
        if "accuracy" in parts:
            accuracy(given.binary, work, given.only or ["/"], given.budget, table)
        if "memory" in parts:
            memory_and_time(given.binary, work, [int(n) for n in given.samples.split(",")], given.peer_samples_max, given.budget, table)


if __name__ == "__main__":
    main()
