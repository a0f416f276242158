"""Plans a model's activations with onnxsim and prints how long that took, as JSON.

Usage: plan.py MODEL N_TURNS [INPUT:SHAPE | NAME=N]...

The first call is told apart from the middle of the later ones. Every call does everything again: the
planner keeps nothing.
"""

import json
import sys
import time

import onnx
import onnxsim

start = time.perf_counter()
model = onnx.load(sys.argv[1], load_external_data=False)
n_turns = int(sys.argv[2])
for word in sys.argv[3:]:
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
load_seconds = time.perf_counter() - start
seconds = []
for _ in range(n_turns + 1):
    start = time.perf_counter()
    plan = onnxsim.plan_activation_memory(model)
    seconds.append(time.perf_counter() - start)
later = sorted(seconds[1:]) or seconds
print(
    json.dumps(
        {
            "load_seconds": load_seconds,
            "plan_first_seconds": seconds[0],
            "plan_seconds": later[len(later) // 2],
            "arena_bytes": plan.arena_bytes,
            "n_unplanned": len(plan.unplanned),
        }
    )
)
