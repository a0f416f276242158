"""``onnxfit.InferenceSession`` beside ``onnxruntime.InferenceSession``: each use, and whether the two agree.

Prints a table; ends with 1 if any use differs. Needs ``onnx`` to make its models.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import onnxfit

# Where sessions say to `onnxfit watch` how they are.
os.environ["ONNXFIT_LIVE_DIR"] = tempfile.mkdtemp(prefix="onnxfit-live-")

FOLDER = Path(tempfile.mkdtemp(prefix="onnxfit-drop-in-"))
ROWS: list[tuple[str, str]] = []
LIMIT = 2 << 20


def model(name, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, list(initializers))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = FOLDER / f"{name}.onnx"
    onnx.save(made, path)
    return str(path)


def rows_model():
    random = np.random.default_rng(7)
    weight = numpy_helper.from_array(random.standard_normal((64, 64), np.float32) / 8, "w")
    info = helper.make_tensor_value_info
    return model(
        "rows",
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], "project"),
            helper.make_node("Relu", ["h"], ["r"], "relu"),
            helper.make_node("Exp", ["x"], ["e"], "exp"),
            helper.make_node("Mul", ["e", "r"], ["y"], "product"),
            helper.make_node("ReduceMax", ["y"], ["z"], "widest", axes=[1], keepdims=0),
        ],
        [info("x", TensorProto.FLOAT, ["batch", 64])],
        [info("y", TensorProto.FLOAT, ["batch", 64]), info("z", TensorProto.FLOAT, ["batch"])],
        [weight],
    )


def use(name):
    def run(function):
        try:
            function()
            ROWS.append((name, "as onnxruntime"))
        except Exception as error:  # the table says what, the exit code that
            import traceback

            traceback.print_exc()
            ROWS.append((name, f"DIFFERS: {type(error).__name__}: {error}".replace("\n", " ")[:200]))

    return run


def same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right):
        one, other = np.asarray(one), np.asarray(other)
        assert one.dtype == other.dtype and one.shape == other.shape, (one.dtype, one.shape, other.dtype, other.shape)
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name_of_difference(one, other)


def name_of_difference(one, other):
    return f"{(one != other).sum()} of {one.size} differ"


PATH = rows_model()
CPU = ["CPUExecutionProvider"]
theirs = onnxruntime.InferenceSession(PATH, providers=CPU)
ours = onnxfit.InferenceSession(PATH, providers=CPU)
X = np.random.default_rng(1).standard_normal((33, 64)).astype(np.float32)


@use("is an onnxruntime.InferenceSession")
def _():
    assert isinstance(ours, onnxruntime.InferenceSession)


@use("constructor: path, bytes, os.PathLike")
def _():
    for source in (PATH, Path(PATH).read_bytes(), Path(PATH)):
        same(onnxfit.InferenceSession(source, providers=CPU).run(None, {"x": X}), theirs.run(None, {"x": X}))


@use("constructor: session options, providers with options, provider_options")
def _():
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.enable_mem_pattern = False
    options.intra_op_num_threads = 1
    session = onnxfit.InferenceSession(PATH, options, [("CPUExecutionProvider", {})])
    same(session.run(None, {"x": X}), theirs.run(None, {"x": X}))
    session = onnxfit.InferenceSession(PATH, options, CPU, [{}])
    same(session.run(None, {"x": X}), theirs.run(None, {"x": X}))


@use("get_inputs, get_outputs: names, types, shapes")
def _():
    for one, other in zip(ours.get_inputs() + ours.get_outputs(), theirs.get_inputs() + theirs.get_outputs()):
        assert (one.name, one.type, one.shape) == (other.name, other.type, other.shape)


@use("get_providers, get_provider_options, get_modelmeta, get_session_options")
def _():
    assert ours.get_providers() == theirs.get_providers()
    assert ours.get_provider_options() == theirs.get_provider_options()
    assert ours.get_modelmeta().graph_name == theirs.get_modelmeta().graph_name
    assert ours.get_session_options() is not None


@use("run: all outputs, some outputs, in another order")
def _():
    for names in (None, [], ["z"], ["z", "y"]):
        same(ours.run(names, {"x": X}), theirs.run(names, {"x": X}))


@use("run: one row, no rows, arrays that are not contiguous")
def _():
    for x in (X[:1], X[:0], X[::2], np.asfortranarray(X)):
        same(ours.run(None, {"x": x}), theirs.run(None, {"x": x}))


@use("run: run options, logging severity, tag")
def _():
    options = onnxruntime.RunOptions()
    options.log_severity_level = 3
    options.logid = "mine"
    same(ours.run(None, {"x": X}, options), theirs.run(None, {"x": X}, options))


@use("run: terminate raises as before")
def _():
    options = onnxruntime.RunOptions()
    options.terminate = True
    errors = []
    for session in (ours, theirs):
        try:
            session.run(None, {"x": X}, options)
        except Exception as error:
            errors.append((type(error), str(error)))
    assert len(errors) == 2 and errors[0] == errors[1], errors


@use("run: a missing, an unknown, a wrong input raise as before")
def _():
    for feed in ({}, {"y": X}, {"x": X.astype(np.float64)}, {"x": X[:, :3]}):
        errors = []
        for session in (ours, theirs):
            try:
                session.run(None, feed)
            except Exception as error:
                errors.append((type(error), str(error)))
        assert len(errors) == 2 and errors[0] == errors[1], errors


@use("run: OrtValue as input")
def _():
    value = onnxruntime.OrtValue.ortvalue_from_numpy(X)
    same(ours.run(None, {"x": value}), theirs.run(None, {"x": value}))


@use("every element type: floats, integers, bool, strings")
def _():
    types = {
        TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.FLOAT16: np.float16,
        TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8, TensorProto.INT16: np.int16,
        TensorProto.UINT16: np.uint16, TensorProto.INT32: np.int32, TensorProto.UINT32: np.uint32,
        TensorProto.INT64: np.int64, TensorProto.UINT64: np.uint64, TensorProto.BOOL: np.bool_,
        TensorProto.STRING: object,
    }  # fmt: skip
    for kind, dtype in types.items():
        info = helper.make_tensor_value_info
        path = model(
            f"identity{kind}", [helper.make_node("Identity", ["x"], ["y"])], [info("x", kind, ["n", 2])], [info("y", kind, ["n", 2])]
        )
        x = np.array([["a", "b"], ["c", "d"]], object) if dtype is object else np.ones((3, 2), dtype)
        one, other = (kind_of(path, providers=CPU) for kind_of in (onnxfit.InferenceSession, onnxruntime.InferenceSession))
        same(one.run(None, {"x": x}), other.run(None, {"x": x}))


@use("IO binding: inputs and outputs on the host, to a device, copied back")
def _():
    answers = []
    for session in (ours, theirs):
        binding = session.io_binding()
        binding.bind_cpu_input("x", X)
        binding.bind_output("y")
        z = np.empty(33, np.float32)
        binding.bind_output("z", "cpu", 0, np.float32, [33], z.ctypes.data)
        session.run_with_iobinding(binding)
        answers.append(binding.copy_outputs_to_cpu() + [z])
    same(*answers)


@use("run_with_ort_values")
def _():
    feed = {"x": onnxruntime.OrtValue.ortvalue_from_numpy(X)}
    same(
        [value.numpy() for value in ours.run_with_ort_values(["y"], feed)],
        [value.numpy() for value in theirs.run_with_ort_values(["y"], feed)],
    )


@use("run_async")
def _():
    done = threading.Event()
    answer = []

    def finished(results, _, error):
        answer.append((results, error))
        done.set()

    ours.run_async(None, {"x": X}, finished, None)
    assert done.wait(30) and not answer[0][1]
    same(answer[0][0], theirs.run(None, {"x": X}))


@use("runs from several threads at once")
def _():
    want = theirs.run(None, {"x": X})
    wrong = []

    def work():
        for _ in range(50):
            try:
                same(ours.run(None, {"x": X}), want)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]


@use("end_profiling")
def _():
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(FOLDER / "profile")
    session = onnxfit.InferenceSession(PATH, options, CPU)
    session.run(None, {"x": X})
    assert Path(session.end_profiling()).is_file()


@use("`onnxfit watch` sees the session: its model, its runs, what the last was predicted to take")
def _():
    session = onnxfit.InferenceSession(PATH, providers=CPU, memory_limit=64 << 20)
    session.run(None, {"x": X})
    command = os.path.join(os.path.dirname(sys.executable), "onnxfit")
    said = subprocess.run([command, "watch", "--once", "--json"], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    seen = [one for one in json.loads(said.stdout)["host_sessions"] if one["limit_bytes"] == 64 << 20]
    assert len(seen) == 1 and seen[0]["pid"] == os.getpid() and seen[0]["model"] == "rows.onnx", seen
    assert seen[0]["n_runs"] == 1 and seen[0]["predicted_bytes"] > 0 and seen[0]["held_bytes"] is None, seen
    del session


# From here on in a capped arena, where onnxruntime itself fails.
config = onnxruntime.OrtArenaCfg({"max_mem": LIMIT, "arena_extend_strategy": 1})
place = onnxruntime.OrtMemoryInfo("Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT)
onnxruntime.create_and_register_allocator(place, config)
shared = onnxruntime.SessionOptions()
shared.add_session_config_entry("session.use_env_allocators", "1")
shared.intra_op_num_threads = 1
capped = onnxruntime.InferenceSession(PATH, shared, CPU)
LARGE = np.random.default_rng(2).standard_normal((9001, 64)).astype(np.float32)


@use("what onnxruntime cannot run under a limit is answered in pieces, and equal")
def _():
    try:
        capped.run(None, {"x": LARGE})
        raise AssertionError("onnxruntime ran it")
    except Exception as error:
        assert "Available memory" in str(error), error
    guarded = onnxfit.InferenceSession(PATH, shared, CPU, memory_limit=LIMIT)
    same(guarded.run(None, {"x": LARGE}), theirs.run(None, {"x": LARGE}))
    same(guarded.run(["z"], {"x": LARGE}), theirs.run(["z"], {"x": LARGE}))
    counts = guarded.guard_counts
    assert counts["cut_requests"] == 2, counts


@use("the same without being told the limit: learned from the error")
def _():
    guarded = onnxfit.InferenceSession(PATH, shared, CPU)
    for count in (9001, 300, 7000, 1):
        same(guarded.run(None, {"x": LARGE[:count]}), theirs.run(None, {"x": LARGE[:count]}))
    counts = guarded.guard_counts
    assert 0 < counts["out_of_memory"] < 6, counts


@use("300 requests of random sizes in a capped arena: all equal, few in vain")
def _():
    guarded = onnxfit.InferenceSession(PATH, shared, CPU)
    random = np.random.default_rng(3)
    for _ in range(300):
        x = LARGE[: random.integers(1, 9001)]
        same(guarded.run(None, {"x": x}), theirs.run(None, {"x": x}))
    counts = guarded.guard_counts
    assert counts["requests"] == 300 and counts["out_of_memory"] < 30, counts


@use("what cannot be cut raises onnxfit.OutOfMemoryError, a MemoryError, with node and bytes")
def _():
    info = helper.make_tensor_value_info
    path = model(
        "mixes",
        [
            helper.make_node("Concat", ["x", "x"], ["d"], "double", axis=0),
            helper.make_node("Softmax", ["d"], ["y"], "over_rows", axis=0),
        ],
        [info("x", TensorProto.FLOAT, ["batch", 64])],
        [info("y", TensorProto.FLOAT, None)],
    )
    guarded = onnxfit.InferenceSession(path, shared, CPU)
    assert guarded.guard_refusal
    for kind in (onnxfit.OutOfMemoryError, MemoryError, onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException):
        try:
            guarded.run(None, {"x": LARGE})
            raise AssertionError("it ran")
        except kind as error:
            assert error.node and error.requested_bytes > LIMIT, vars(error)
    assert guarded.run(None, {"x": X})[0].shape == (66, 64), "the session is still good"


@use("explained() explains onnxruntime's own error, and lets others pass")
def _():
    try:
        with onnxfit.explained():
            capped.run(None, {"x": LARGE})
    except onnxfit.OutOfMemoryError as error:
        assert error.available_bytes is not None and error.explanation["schema"].startswith("onnxfit.explain/"), error
        assert error.__cause__ is not None
    try:
        with onnxfit.explained():
            raise KeyError("x")
    except KeyError:
        pass


@use("the verbs answer as objects: check, explain; errors have hints")
def _():
    answer = onnxfit.check(PATH, on="T4", dim={"batch": 8})
    assert answer and answer.verdict == "fits" and answer.device_peak_bytes.expected > 0, answer
    assert "<pre" in answer._repr_html_() and "fits" in str(answer).lower()
    assert not onnxfit.check(PATH, on="1MiB", dim={"batch": 1 << 22})
    told = onnxfit.explain("Available memory of 1 is smaller than requested bytes of 256")
    assert told.is_oom is True and told.exit_code == 0
    try:
        onnxfit.check(PATH, on="no such place")
        raise AssertionError("it was answered")
    except onnxfit.Error as error:
        assert error.hint


print("| use | onnxfit.InferenceSession |\n|---|---|")
for name, verdict in ROWS:
    print(f"| {name} | {verdict} |")
sys.exit(any(verdict != "as onnxruntime" for _, verdict in ROWS))
