"""Runs a model three times under an arena limit of the CPU provider and says how it went, as JSON.

    python limited.py MODEL LEVEL LIMIT_BYTES THREADS NAME=SIZE...
"""

import json
import sys

import numpy as np
import onnxruntime as ort

TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}


def feed(value, sizes, random):
    shape = [dim if isinstance(dim, int) else sizes[dim] for dim in value.shape]
    kind = TYPES[value.type]
    if "mask" in value.name:
        return np.ones(shape, kind)
    if kind is np.float32:
        return random.standard_normal(shape).astype(kind)
    return random.integers(0, 50, shape).astype(kind)


def main():
    model, level, limit, threads, *dims = sys.argv[1:]
    sizes = {name: int(size) for name, size in (dim.split("=") for dim in dims)}
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": int(limit)}))
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.intra_op_num_threads = int(threads)
    options.log_severity_level = 4
    options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        random = np.random.default_rng(0)
        feeds = {value.name: feed(value, sizes, random) for value in session.get_inputs()}
        for _ in range(3):
            # Not kept: an answer that is held takes its room in the arena.
            session.run(None, feeds)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        print(json.dumps({"runs": False, "message": str(error)}))
        return
    print(json.dumps({"runs": True, "message": ""}))


if __name__ == "__main__":
    main()
