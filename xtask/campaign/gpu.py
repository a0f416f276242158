#!/usr/bin/env python3
"""The CUDA campaign: predicted against measured on a real card, in one go.

Needs the built command, a libonnxruntime.so with its CUDA provider, the models that lie beside this
file, and Python 3 without packages. `cargo xtask gpu-campaign` packs it all into one folder.

    python3 gpu.py --library .../onnxruntime/capi/libonnxruntime.so.1.31.1 [--seconds 540]

Every case runs in a process of its own. The arena's own counters come from `onnxfit measure`; what
the card gave the process besides (context, code, handles, workspaces of libraries) is the highest
memory that the driver reports while it runs, less what it reports when idle. The table comes last;
`results.json` holds every figure; `calibration.txt` is what `onnxfit measure --calibrate` found, and
every prediction is made with it.
"""

import argparse
import json
import os
import pathlib
import site
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20


def driver(fields):
    """One line of what the driver says of the first GPU."""
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "--id=0"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    return [part.strip() for part in output.strip().split(",")]


class HighWater(threading.Thread):
    """The most memory that the driver reports while something runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most_mib = 0
        self.done = threading.Event()

    def run(self):
        while not self.done.is_set():
            try:
                self.most_mib = max(self.most_mib, int(driver("memory.used")[0]))
            except (subprocess.SubprocessError, ValueError):
                pass
            self.done.wait(0.05)


def environment(library):
    """The process environment with the CUDA libraries that pip installed on the loader's path."""
    folders = [str(path) for root in site.getsitepackages() for path in pathlib.Path(root).glob("nvidia/*/lib")]
    folders.append(os.environ.get("LD_LIBRARY_PATH", ""))
    path = ":".join(folder for folder in folders if folder)
    return {**os.environ, "ORT_DYLIB_PATH": str(library), "LD_LIBRARY_PATH": path}


def run_case(arguments, case, env, idle_mib, gpu):
    command = [str(arguments.onnxfit), "measure", str(HERE / "models" / case["model"]), "--provider", "cuda"]
    command += ["--on", gpu, "--random-weights", "1", "--runs", "3", "--json"]
    for name, size in case["dims"].items():
        command += ["--dim", f"{name}={size}"]
    watch = HighWater()
    watch.start()
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=arguments.case_seconds)
    except subprocess.TimeoutExpired:
        return {"error": f"longer than {arguments.case_seconds} s"}
    finally:
        watch.done.set()
        watch.join()
    try:
        answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        lines = done.stderr.strip().splitlines() or ["no answer"]
        return {"error": lines[0][:300]}
    return {"answer": answer, "device_bytes": max(watch.most_mib - idle_mib, 0) * MIB}


def row(case, outcome):
    dims = " ".join(f"{name}={size}" for name, size in case["dims"].items())
    name = case["model"].removesuffix(".onnx")
    if "error" in outcome:
        return [name, dims, "", "", "", "", "", outcome["error"]]
    arena = outcome["arena"]
    device = outcome["device"]
    return [
        name,
        dims,
        *(f"{value / MIB:.1f}" for value in (arena["predicted"], arena["measured"])),
        f"{100 * (arena['predicted'] / max(arena['measured'], 1) - 1):+.2f} %",
        *(f"{value / MIB:.0f}" for value in (device["predicted"], device["measured"])),
        f"{100 * (device['predicted'] / max(device['measured'], 1) - 1):+.1f} %",
    ]


def figures(answer, device_bytes, predicted_device):
    """The highest arena total, predicted and measured, and the device's."""
    last = answer["stages"][-1]
    return {
        "arena": {
            "predicted": last["predicted"]["total_bytes"],
            "measured": last["measured"]["total_bytes"],
        },
        "device": {"predicted": predicted_device, "measured": device_bytes},
    }


def predicted_device(arguments, case, env, gpu, calibration):
    command = [str(arguments.onnxfit), "check", str(HERE / "models" / case["model"]), "--on", gpu, "--json"]
    command += calibration
    for name, size in case["dims"].items():
        command += ["--dim", f"{name}={size}"]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, env=env, timeout=60).stdout)
    return answer["device_peak_bytes"]["expected"]


def calibrate(arguments, case, env):
    """Lets the command measure what this card takes besides its arenas; before anything else runs."""
    command = [
        str(arguments.onnxfit), "measure", str(HERE / "models" / case["model"]), "--provider", "cuda", "--random-weights", "7",
        "--offline", "--calibrate", str(HERE / "calibration.txt"),
    ]
    for name, size in case["dims"].items():
        command += ["--dim", f"{name}={size}"]
    ran = subprocess.run(command, capture_output=True, text=True, env=env, timeout=180)
    print(ran.stdout.strip() or ran.stderr.strip(), file=sys.stderr)
    return ["--calibration", str(HERE / "calibration.txt")] if ran.returncode == 0 else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path, required=True, help="libonnxruntime.so of the CUDA wheel")
    parser.add_argument("--onnxfit", type=pathlib.Path, default=HERE / "onnxfit")
    parser.add_argument("--seconds", type=float, default=540, help="begin no case after this time")
    parser.add_argument("--case-seconds", type=float, default=90)
    arguments = parser.parse_args()
    begun = time.monotonic()
    gpu, driver_version, capability, idle = driver("name,driver_version,compute_cap,memory.used")
    idle_mib = int(idle)
    env = environment(arguments.library)
    cases = json.loads((HERE / "cases.json").read_text())
    # Libraries, not the arena, are what is wanted: the first model with products will do.
    calibration = calibrate(arguments, cases[0], env)
    rows, outcomes, version = [], [], "?"
    for index, case in enumerate(cases):
        if time.monotonic() - begun > arguments.seconds:
            print(f"stopped by the time limit after {index} of {len(cases)} cases", file=sys.stderr)
            break
        print(f"{index + 1}/{len(cases)} {case['model']} {case['dims']}", file=sys.stderr, flush=True)
        outcome = run_case(arguments, case, env, idle_mib, gpu)
        if "answer" in outcome:
            version = outcome["answer"].get("ort_version", version)
            try:
                device = predicted_device(arguments, case, env, gpu, calibration)
                outcome.update(figures(outcome["answer"], outcome["device_bytes"], device))
            except (KeyError, IndexError, TypeError, ValueError, subprocess.SubprocessError) as error:
                outcome = {"error": f"the answer lacks {error}"}
        outcomes.append(outcome)
        rows.append(row(case, outcome))
        (HERE / "results.json").write_text(json.dumps([{**case, **o} for case, o in zip(cases, outcomes)], indent=1))
    header = ["model", "sizes", "arena predicted", "measured MiB", "error", "device predicted", "measured MiB", "error"]
    print(f"\n{gpu}, compute capability {capability}, driver {driver_version}, ONNX Runtime {version}\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for cells in rows:
        print("| " + " | ".join(cells) + " |")
    good = [o for o in outcomes if "device" in o]
    under = [o for o in good if o["device"]["predicted"] < 0.98 * o["device"]["measured"]]
    near = [o for o in good if abs(o["device"]["predicted"] / max(o["device"]["measured"], 1) - 1) <= 0.02]
    print(f"\n{len(good)} of {len(rows)} cases ran; device within 2 %: {len(near)}; more than 2 % under: {len(under)}")


if __name__ == "__main__":
    main()
