"""`onnxfit.ray` on a local cluster: a worker is killed half-way, and the dataset is complete and equal.

Needs ``ray[data]`` and ``onnx``; ends with 3 where Ray is not installed.
"""

import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

try:
    import ray
    import ray.data
except ImportError:
    print("no ray")
    sys.exit(3)

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import onnxfit
import onnxfit.ray

FOLDER = Path(tempfile.mkdtemp(prefix="onnxfit-ray-"))
N_ROWS = 3000


def model():
    random = np.random.default_rng(3)
    weight = numpy_helper.from_array(random.standard_normal((32, 16), np.float32), "w")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        "rows",
        [info("x", TensorProto.FLOAT, ["batch", 32])],
        [info("y", TensorProto.FLOAT, ["batch", 16])],
        [weight],
    )
    path = FOLDER / "rows.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


class Mortal(onnxfit.ray.Predictor):
    """Dies once, in the middle of the data."""

    def __init__(self, *arguments, grave, **options):
        super().__init__(*arguments, **options)
        self._grave = Path(grave)

    def __call__(self, batch):
        if batch["id"].max() > N_ROWS // 2 and not self._grave.exists():
            self._grave.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)


def rows(count):
    def make(batch):
        ids = batch["id"]
        values = np.sin(ids[:, None] * 0.37 + np.arange(32)[None, :]).astype(np.float64)
        return {"id": ids, "features": values}

    return ray.data.range(count, override_num_blocks=12).map_batches(make, batch_format="numpy")


def in_order(dataset):
    found = dataset.to_pandas().sort_values("id")
    return found["id"].to_numpy(), np.stack(found["y"].to_list())


path = model()
how = onnxfit.ray.plan(path, on="64MiB", dim={"batch": 256}, provider="cpu")
print(f"plan: {how.rows} rows, options {how.options(2)}")
assert how.rows == 256 and how.options(2)["concurrency"] == 2
gpu = onnxfit.ray.plan(path, on="T4", dim={"batch": 256})
assert gpu.workers_per_gpu > 1 and gpu.num_gpus * gpu.workers_per_gpu <= 1, gpu
try:
    onnxfit.ray.plan(path, on="16MiB", dim={"batch": 256})
except onnxfit.Error as error:
    print("refused:", str(error).splitlines()[0])
else:
    raise AssertionError("no GPU context fits 16 MiB")

ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)
grave = FOLDER / "grave"
answers = rows(N_ROWS).map_batches(
    Mortal,
    fn_constructor_args=[path],
    fn_constructor_kwargs={"columns": {"x": "features"}, "grave": str(grave)},
    batch_format="numpy",
    **how.options(2),
)
ids, killed = in_order(answers)
assert grave.exists(), "nobody was killed"
assert np.array_equal(ids, np.arange(N_ROWS)), "rows are missing or twice there"
plain = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
values = np.sin(np.arange(N_ROWS)[:, None] * 0.37 + np.arange(32)[None, :]).astype(np.float32)
(wanted,) = plain.run(None, {"x": values})
worst = float(np.abs(killed - wanted).max())
assert worst < 1e-5, worst
print(f"a worker was killed; {len(ids)} of {N_ROWS} rows, largest difference {worst:.1e}")

lazily = onnxfit.ray.predict(
    rows(500), path, on="64MiB", dim={"batch": 256}, provider="cpu", workers=1, columns={"x": "features"}
)
ids, again = in_order(lazily)
assert np.array_equal(again, wanted[:500]) or np.abs(again - wanted[:500]).max() < 1e-5
print("predict: complete and equal")
ray.shutdown()
