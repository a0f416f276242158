"""Plans a model's activations with onnxsim and prints how long that took, as JSON.

Usage: plan.py MODEL [INPUT:SHAPE | NAME=N]...
"""

import json
import sys
import time

import onnx
import onnxsim

start = time.perf_counter()
model = onnx.load(sys.argv[1], load_external_data=False)
for word in sys.argv[2:]:
    if "=" in word:
        name, size = word.split("=")
        for value in model.graph.input:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param == name:
                    dim.dim_value = int(size)
    else:
        name, shape = word.rsplit(":", 1)
        for value in model.graph.input:
            if value.name == name:
                for dim, size in zip(value.type.tensor_type.shape.dim, shape.split(",")):
                    dim.dim_value = int(size)
loaded = time.perf_counter()
plan = onnxsim.plan_activation_memory(model)
planned = time.perf_counter()
print(
    json.dumps(
        {
            "load_seconds": loaded - start,
            "plan_seconds": planned - loaded,
            "arena_bytes": plan.arena_bytes,
            "n_unplanned": len(plan.unplanned),
        }
    )
)
