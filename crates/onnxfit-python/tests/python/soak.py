"""``onnxfit.InferenceSession`` while memory runs out: the same trace of requests through the drop-in and
through two ways that halve, in one capped arena beside a session that takes and gives back.

Prints a table; ends with 1 if a request is not answered rightly, or if the drop-in runs more in vain
than either of the others. ``soak.py N`` sends N requests. Needs ``onnx`` to make its models.
"""

import gc
import os
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import onnxfit

LIMIT = 12 << 20
HELD_MAX = 11 << 20
ROWS_MAX = 800
WORDS = [8, 16, 24, 48]
FLAT_FROM = 5000
CPU = ["CPUExecutionProvider"]
GIVES_BACK = "memory.enable_memory_arena_shrinkage"


def save(folder, name, nodes, inputs, outputs, weights):
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        nodes,
        name,
        [info(*value) for value in inputs],
        [info(*value) for value in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    path = os.path.join(folder, f"{name}.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def tagger(folder):
    """Attention over the words of each row."""
    random = np.random.default_rng(7)
    weight = lambda *shape: (random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w"], ["q"], "query"),
        node("MatMul", ["x", "k"], ["p"], "key"),
        node("Transpose", ["p"], ["t"], "turn", perm=[0, 2, 1]),
        node("MatMul", ["q", "t"], ["s"], "scores"),
        node("Softmax", ["s"], ["a"], "weights"),
        node("MatMul", ["a", "q"], ["b"], "mix"),
        node("Relu", ["b"], ["c"], "relu"),
        node("MatMul", ["c", "v"], ["y"], "tag"),
    ]
    weights = {"w": weight(32, 64), "k": weight(32, 64), "v": weight(64, 8)}
    return save(folder, "tagger", nodes, [("x", ["batch", "seq", 32])], [("y", ["batch", "seq", 8])], weights)


class Other:
    """A session that only takes memory: what it returns stays in the arena."""

    def __init__(self, path, options):
        self.session = onnxruntime.InferenceSession(path, options, CPU)
        self.run_options = onnxruntime.RunOptions()
        self.run_options.add_run_config_entry(GIVES_BACK, "cpu:0")
        self.holding = None

    def hold(self, count):
        self.holding = None
        while count >= 256:
            zeros = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(count, np.float32))
            for _ in range(2):
                try:
                    self.holding = self.session.run_with_ort_values(["y"], {"x": zeros}, self.run_options)
                    return
                except Exception as error:
                    assert "vailable memory" in str(error), error
            count //= 2


def trace(n_requests):
    """Small requests are more frequent than large ones; the other session changes its mind often."""
    random = np.random.default_rng(5)
    held = 0
    for _ in range(n_requests):
        changes = random.integers(10) < 6
        if changes:
            held = int(random.integers(HELD_MAX // 4))
        rows = 1 + int(random.integers(ROWS_MAX) * random.integers(ROWS_MAX)) // ROWS_MAX
        yield rows, int(random.choice(WORDS)), held if changes else None


class Halving:
    """Runs rows, and if memory runs out each half of them (vrambatch)."""

    def __init__(self, path, options):
        self.session = onnxruntime.InferenceSession(path, options, CPU)
        self.run_options = onnxruntime.RunOptions()
        # It gives memory back after every run, as such tools empty PyTorch's cache.
        self.run_options.add_run_config_entry(GIVES_BACK, "cpu:0")
        self.runs = self.in_vain = 0

    def try_once(self, x):
        try:
            answer = self.session.run(None, {"x": x}, self.run_options)[0]
            self.runs += 1
            return answer
        except Exception as error:
            assert "vailable memory" in str(error), error
            self.in_vain += 1
            return None

    def run(self, x):
        answer = self.try_once(x)
        if answer is not None or len(x) == 1:
            return answer
        half = len(x) // 2
        parts = [self.run(x[:half]), self.run(x[half:])]
        return None if any(part is None for part in parts) else np.concatenate(parts)


class StartingOver(Halving):
    """Runs all rows in batches, and if memory runs out begins again with half as many (accelerate)."""

    def run(self, x):
        batch = len(x)
        while batch > 0:
            parts = []
            for start in range(0, len(x), batch):
                parts.append(self.try_once(x[start : start + batch]))
                if parts[-1] is None:
                    break
            else:
                return np.concatenate(parts)
            batch //= 2
        return None


class DropIn:
    """onnxfit's own."""

    def __init__(self, path, options):
        self.session = onnxfit.InferenceSession(path, options, CPU, memory_limit=LIMIT)

    def run(self, x):
        return self.session.run(None, {"x": x})[0]

    @property
    def runs(self):
        return self.session.guard_counts["runs"]

    @property
    def in_vain(self):
        return self.session.guard_counts["out_of_memory"]


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main():
    n_requests = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        path = tagger(folder)
        node = helper.make_node("Neg", ["x"], ["y"], "take")
        other_path = save(folder, "other", [node], [("x", ["n"])], [("y", ["n"])], {})
        # Every failure that is wanted here would be written to stderr.
        onnxruntime.set_default_logger_severity(4)
        single = onnxruntime.SessionOptions()
        single.intra_op_num_threads = 1
        reference = onnxruntime.InferenceSession(path, single, CPU)
        config = onnxruntime.OrtArenaCfg({"max_mem": LIMIT, "arena_extend_strategy": 1})
        kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        place = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
        onnxruntime.create_and_register_allocator(place, config)
        shared = onnxruntime.SessionOptions()
        shared.add_session_config_entry("session.use_env_allocators", "1")
        shared.intra_op_num_threads = 1
        shared.log_severity_level = 4
        other = Other(other_path, shared)

        print(
            f"{n_requests} requests of 1 to {ROWS_MAX} rows of {WORDS} words, in a CPU arena of {LIMIT >> 20} MiB that "
            f"another session takes up to {HELD_MAX >> 20} MiB of, changing before six of ten requests. onnxruntime "
            f"{onnxruntime.__version__}, one thread; one way after the other.\n"
        )
        print("| way | equal answers | other answers | unanswered | runs | of them in vain | resident at a quarter, at the end, MiB | seconds |")
        print("|---|---:|---:|---:|---:|---:|---|---:|", flush=True)
        ways = {"onnxfit.InferenceSession": DropIn, "halving what failed (vrambatch)": Halving, "starting over with half (accelerate)": StartingOver}
        in_vain = []
        good = True
        for name, way in ways.items():
            runner = way(path, shared)
            equal = different = unanswered = 0
            seconds = 0.0
            quarter = resident()
            for at, (rows, words, held) in enumerate(trace(n_requests)):
                if at == n_requests // 4:
                    gc.collect()
                    quarter = resident()
                if at % max(1, n_requests // 20) == 0:
                    print(f"{name}: {at * 100 // n_requests} %", file=sys.stderr, flush=True)
                count = rows * words * 32
                x = ((np.arange(count) * 37 % 1013 - 506) / 506).astype(np.float32).reshape(rows, words, 32)
                expected = reference.run(None, {"x": x})[0]
                if held is not None:
                    other.hold(held)
                began = time.perf_counter()
                try:
                    answer = runner.run(x)
                except onnxfit.OutOfMemoryError as error:
                    print(error, file=sys.stderr)
                    answer = None
                seconds += time.perf_counter() - began
                if answer is None:
                    unanswered += 1
                elif np.array_equal(answer, expected):
                    equal += 1
                else:
                    different += 1
            other.hold(0)
            gc.collect()
            end = resident()
            print(
                f"| {name} | {equal} | {different} | {unanswered} | {runner.runs + runner.in_vain} | {runner.in_vain} | "
                f"{quarter:.1f}, {end:.1f} | {seconds:.1f} |",
                flush=True,
            )
            if way is DropIn:
                # A short run still meets sizes that it has not seen; a long one may take slack of
                # allocators more at its end, and no leak.
                good = equal == n_requests and (n_requests < FLAT_FROM or end < quarter * 1.2 + 8)
            in_vain.append(runner.in_vain)
            del runner
    good = good and 0 < in_vain[0] < min(in_vain[1:])
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
