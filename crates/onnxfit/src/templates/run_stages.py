"""Runs a model in stages, each on a device of its own. Written by onnxfit.

    python run.py inputs.npz outputs.npz [--provider cpu|cuda]

Or from a program: `Stages("this folder").run({"input": array})`. Needs numpy and onnxruntime
(onnxruntime-gpu for CUDA).
"""

import argparse
import json
import pathlib

import numpy
import onnxruntime


class Stages:
    """All stages loaded, the first on device 0, the second on device 1, and so on."""

    def __init__(self, folder, provider=None):
        self.folder = pathlib.Path(folder)
        plan = json.loads((self.folder / "stages.json").read_text())
        provider = provider or plan["target"]["provider"]
        self.sessions = []
        for device, stage in enumerate(plan["stages"]):
            if provider == "cuda":
                providers = [("CUDAExecutionProvider", {"device_id": device}), "CPUExecutionProvider"]
            else:
                providers = ["CPUExecutionProvider"]
            model = self.folder / stage["name"] / "1" / "model.onnx"
            self.sessions.append(onnxruntime.InferenceSession(str(model), providers=providers))
        self.outputs = [out["name"] for stage in plan["stages"] for out in stage["outputs"] if out["is_answer"]]

    def run(self, inputs):
        """Answers by name, for inputs by name."""
        known = dict(inputs)
        for at, session in enumerate(self.sessions):
            wanted = [one.name for one in session.get_outputs()]
            made = session.run(wanted, {one.name: known[one.name] for one in session.get_inputs()})
            known.update(zip(wanted, made))
            # What no later stage reads is let go.
            needed = {one.name for later in self.sessions[at + 1 :] for one in later.get_inputs()}
            known = {name: value for name, value in known.items() if name in needed or name in self.outputs}
        return {name: known[name] for name in self.outputs}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs")
    parser.add_argument("outputs")
    parser.add_argument("--provider", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    stages = Stages(pathlib.Path(__file__).parent, arguments.provider)
    with numpy.load(arguments.inputs) as inputs:
        numpy.savez(arguments.outputs, **stages.run(dict(inputs)))
