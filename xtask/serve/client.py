"""Asks `onnxfit serve` what its users ask, and what they should not.

Run by the tests with few requests and by `cargo xtask serve` with many. Prints one line of JSON for
each thing that was found; ends with exit code 1 if a promise did not hold.
"""

import argparse
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

WIDE = 4096
# A short soak still meets sizes that it has not seen.
FLAT_FROM = 2000
# Looks at the memory of server and worker during a soak.
SAMPLES = 500


def mlp(path, seed):
    """Rows do not mix: 64 -> WIDE -> 8, so that a row takes 16 KiB and more in the middle."""
    rng = np.random.default_rng(seed)
    first = rng.standard_normal((64, WIDE)).astype(np.float32) / 8
    second = rng.standard_normal((WIDE, 8)).astype(np.float32) / 64
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["wide"], name="widen"),
        helper.make_node("Tanh", ["wide"], ["bent"], name="bend"),
        helper.make_node("MatMul", ["bent", "second"], ["y"], name="narrow"),
    ]
    save(path, nodes, [("x", ["batch", 64])], [("y", ["batch", 8])], {"first": first, "second": second})


def summing(path):
    """Rows mix: the batch cannot be cut."""
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["y"], name="sum", keepdims=0)]
    save(path, nodes, [("x", ["batch", 64])], [("y", [64])], {"axes": np.array([0], np.int64)})


def save(path, nodes, inputs, outputs, weights):
    info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        nodes,
        "g",
        [info(*each) for each in inputs],
        [info(*each) for each in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


class Server:
    def __init__(self, program, models, *arguments, trusted=None):
        command = [program, "serve", *models, "--provider", "cpu", "--http-port", "0", "--grpc-port", "0", *arguments]
        self.program = program
        self.context = None if trusted is None else ssl.create_default_context(cafile=trusted)
        self.live = tempfile.TemporaryDirectory()
        environment = {**os.environ, "ONNXFIT_LIVE_DIR": self.live.name}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines = []
        self.ready = threading.Event()
        self.address = threading.Event()
        threading.Thread(target=self.read, daemon=True).start()
        if not self.address.wait(60) or not self.ready.wait(120):
            raise SystemExit("the server did not start:\n" + "\n".join(self.lines))

    def read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            found = re.search(r"HTTP on https?://([\d.:]+), gRPC on ([\d.:]+);", line)
            if found:
                self.http, self.grpc = found.groups()
                self.address.set()
            if line.strip() == "ready":
                self.ready.set()
        self.ready.set()

    def ask(self, method, path, body=None, headers=None, timeout=120):
        host, port = self.http.split(":")
        if self.context is None:
            connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        else:
            connection = http.client.HTTPSConnection(host, int(port), timeout=timeout, context=self.context)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def metrics(self):
        text = self.ask("GET", "/metrics")[2].decode()
        found = re.findall(r'^(\w+)\{model="([^"]*)"(?:,outcome="([^"]*)")?\} (\S+)$', text, re.M)
        return {(name, model, outcome): float(value) for name, model, outcome, value in found}

    def watched(self):
        """What `onnxfit watch` sees on the host; nothing where it has nothing to show."""
        environment = {**os.environ, "ONNXFIT_LIVE_DIR": self.live.name}
        said = subprocess.run([self.program, "watch", "--once", "--json"], capture_output=True, text=True, env=environment)
        return json.loads(said.stdout)["host_sessions"] if said.returncode == 0 else []

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)


BROKEN = []


def promise(holds, what, **facts):
    """Says what was found; what did not hold ends the script with 1 when the rest has been asked."""
    print(json.dumps({"promise": what, "holds": bool(holds), **facts}), flush=True)
    if not holds:
        BROKEN.append(what)


def body_of(x, name="x"):
    return json.dumps({"inputs": [{"name": name, "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}]})


def infer(server, model, x, timeout=120):
    """By hand, with raw tensors: what the load is made of."""
    header = json.dumps(
        {
            "inputs": [{"name": "x", "shape": list(x.shape), "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    status, answered, body = server.ask("POST", f"/v2/models/{model}/infer", header + x.tobytes(), headers, timeout)
    if status != 200:
        return status, answered, body
    length = int(answered.get("Inference-Header-Content-Length") or answered["inference-header-content-length"])
    shape = json.loads(body[:length])["outputs"][0]["shape"]
    return status, answered, np.frombuffer(body[length:], np.float32).reshape(shape)


def with_triton(server, reference):
    """NVIDIA's client, unchanged."""
    try:
        import tritonclient.grpc as over_grpc
        import tritonclient.http as over_http
    except ImportError:
        print(json.dumps({"skipped": "tritonclient is not installed"}), flush=True)
        return
    x = np.random.default_rng(1).standard_normal((5, 64)).astype(np.float32)
    for name, module, address in [("http", over_http, server.http), ("grpc", over_grpc, server.grpc)]:
        client = module.InferenceServerClient(address)
        promise(client.is_server_live() and client.is_server_ready() and client.is_model_ready("mlp"), f"{name}: health")
        metadata = client.get_model_metadata("mlp")
        shape = metadata["inputs"][0]["shape"] if name == "http" else list(metadata.inputs[0].shape)
        promise([int(dim) for dim in shape] == [-1, 64], f"{name}: metadata")
        client.get_server_metadata()
        client.get_model_repository_index()
        for binary in [True, False] if name == "http" else [None]:
            wanted = {} if binary is None else {"binary_data": binary}
            given = module.InferInput("x", list(x.shape), "FP32")
            given.set_data_from_numpy(x, **wanted)
            answer = client.infer("mlp", [given], outputs=[module.InferRequestedOutput("y", **wanted)], request_id="a")
            right = np.allclose(answer.as_numpy("y"), reference["mlp"].run(None, {"x": x})[0], atol=1e-5)
            promise(right, f"{name}: infer" + ("" if binary is None else f", binary={binary}"))
        given = module.InferInput("x", [5, 64], "FP64")
        given.set_data_from_numpy(x.astype(np.float64))
        try:
            client.infer("mlp", [given])
            promise(False, f"{name}: a wrong type is refused")
        except Exception as error:
            promise("double" in str(error), f"{name}: a wrong type is refused", said=str(error)[:120])
        client.unload_model("other")
        promise(not client.is_model_ready("other"), f"{name}: unload")
        client.load_model("other")
        promise(client.is_model_ready("other"), f"{name}: load")
        client.close()


def with_watch(server):
    """The workers say what their arenas hold, and `onnxfit watch` shows it."""
    infer(server, "mlp", np.ones((300, 64), np.float32))
    time.sleep(0.2)
    infer(server, "mlp", np.ones((300, 64), np.float32))
    seen = {session["model"]: session for session in server.watched()}
    mine = seen.get("mlp.onnx", {})
    # Three hundred rows of WIDE floats, at the least.
    right = mine.get("pid") == worker_id(server, "mlp") and mine["n_runs"] >= 2 and mine["peak_used_bytes"] > 300 * WIDE * 4
    promise(right, "watch shows the workers' arenas", sessions=sorted(seen), n_runs=mine.get("n_runs"), peak_used_bytes=mine.get("peak_used_bytes"))


def with_bad_bodies(server):
    x = np.ones((2, 64), np.float32)
    good = body_of(x)
    path = "/v2/models/mlp/infer"
    cases = {
        "truncated": (path, good[: len(good) // 2], {}, 400),
        "empty": (path, "", {}, 400),
        "no JSON": (path, b"\xff\xfe\x00", {}, 400),
        "deep": (path, '{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":' + "[" * 100000 + "]" * 100000 + "}]}", {}, 400),
        "deep parameters": (path, '{"parameters":{"a":' + "[" * 100000 + "]" * 100000 + '},"inputs":[]}', {}, 400),
        "wrong type": (path, good.replace("FP32", "INT64").replace("1.0", "1"), {}, 400),
        "unknown type": (path, good.replace("FP32", "FP99"), {}, 400),
        "wrong shape": (path, good.replace("[2, 64]", "[64, 2]"), {}, 400),
        "huge shape": (path, good.replace("[2, 64]", "[9223372036854775807, 64]"), {}, 400),
        "negative shape": (path, good.replace("[2, 64]", "[-2, 64]"), {}, 400),
        "unknown input": (path, good.replace('"x"', '"z"'), {}, 400),
        "no inputs": (path, '{"inputs":[]}', {}, 400),
        "header beyond the body": (path, good, {"Inference-Header-Content-Length": "99999999"}, 400),
        "header no number": (path, good, {"Inference-Header-Content-Length": "-1"}, 400),
        "unknown model": ("/v2/models/nobody/infer", good, {}, 404),
        "unknown version": ("/v2/models/mlp/versions/7/infer", good, {}, 404),
        "unknown path": ("/v3/models", good, {}, 404),
        "binary too short": (path, '{"inputs":[{"name":"x","shape":[2,64],"datatype":"FP32","parameters":{"binary_data_size":512}}]}abc', {"Inference-Header-Content-Length": "96"}, 400),
    }
    for what, (where, body, headers, expected) in cases.items():
        status, _, said = server.ask("POST", where, body, headers)
        promise(status == expected and b"error" in said, f"bad body: {what}", status=status, said=said[:100].decode(errors="replace"))
    host, port = server.http.split(":")
    # It says ten gigabytes and sends none: refused by what it says.
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000000\r\n\r\n".encode())
        status = raw.recv(200).split(b" ")[1]
        promise(status == b"413", "bad body: ten gigabytes announced", status=status.decode())
    promise(infer(server, "mlp", x)[0] == 200, "the server still answers")


def worker_id(server, model):
    return int(server.metrics().get(("onnxfit_worker_pid", model, ""), 0))


def rss(process):
    with open(f"/proc/{process}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def soak(server, reference, n_requests, n_kills, n_threads, rows_max):
    """Requests of random sizes, workers that are killed, clients that are slow."""
    host, port = server.http.split(":")
    slow = []
    for _ in range(8):
        connection = socket.create_connection((host, int(port)))
        connection.sendall(b"POST /v2/models/mlp/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n{")
        slow.append(connection)
    numbers = iter(range(n_requests))
    lock = threading.Lock()
    found = {"answered": 0, "refused": 0, "wrong": 0, "worst": 0.0}
    seconds = []
    # All in the first half: the second is the life of one worker, whose memory has time to grow.
    kill_at = {(at + 1) * n_requests // (2 * n_kills + 1) for at in range(n_kills)}
    memory = []

    def work():
        while True:
            with lock:
                at = next(numbers, None)
            if at is None:
                return
            rng = np.random.default_rng(at)
            rows = int(np.exp(rng.uniform(0, np.log(rows_max))))
            x = rng.standard_normal((rows, 64)).astype(np.float32)
            if at in kill_at:
                try:
                    os.kill(worker_id(server, "mlp"), signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass
            if at % max(1, n_requests // SAMPLES) == 0:
                try:
                    with lock:
                        memory.append((at, rss(server.process.pid), rss(worker_id(server, "mlp"))))
                except (FileNotFoundError, ProcessLookupError):
                    pass
            start = time.perf_counter()
            while True:
                status, headers, answer = infer(server, "mlp", x)
                if status not in (429, 503):
                    break
                with lock:
                    found["refused"] += 1
                time.sleep(0.05)
            took = time.perf_counter() - start
            expected = reference["mlp"].run(None, {"x": x})[0]
            with lock:
                seconds.append(took)
                if status == 200:
                    found["answered"] += 1
                    worst = float(np.abs(answer - expected).max())
                    found["worst"] = max(found["worst"], worst)
                    found["wrong"] += worst > 1e-4
                else:
                    print(json.dumps({"status": status, "said": answer[:300].decode(errors="replace")}), flush=True)

    start = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - start
    for connection in slow:
        connection.close()
    metrics = server.metrics()
    of = lambda name: metrics.get((name, "mlp", ""), 0)
    quantiles = dict(zip(["p50", "p90", "p99"], np.quantile(seconds, [0.5, 0.9, 0.99]).round(4).tolist()))
    promise(
        of("onnxfit_retries_total") > n_requests / 50,
        "soak: memory really runs out, again and again",
        out_of_memory=of("onnxfit_retries_total"),
    )
    promise(
        found["answered"] == n_requests and found["wrong"] == 0,
        "soak: every request answered, every answer right",
        requests=n_requests,
        requests_per_second=round(n_requests / took, 1),
        **found,
        **quantiles,
        split=of("onnxfit_splits_total"),
        batches=of("onnxfit_batches_total"),
        worker_deaths=of("onnxfit_worker_deaths_total"),
    )
    memory.sort()
    half = len(memory) // 2
    largest = lambda of, part: max((sample[of] for sample in part), default=0)
    slack = 16 << 20
    flat = all(largest(of, memory[half:]) <= 1.2 * largest(of, memory[:half]) + slack for of in (1, 2))
    mib = lambda bytes: round(bytes / 2**20, 1)
    tenths = [memory[at * len(memory) // 10 : (at + 1) * len(memory) // 10] for at in range(10)]
    promise(
        flat or n_requests < FLAT_FROM,
        "soak: memory stays flat",
        server_mib=[mib(largest(1, part)) for part in (memory[:half], memory[half:])],
        worker_mib=[mib(largest(2, part)) for part in (memory[:half], memory[half:])],
        worker_mib_by_tenth=[mib(largest(2, part)) for part in tenths],
    )
    return metrics


def drained(server, n_threads):
    """Told to stop with requests under way: each is answered, or refused by name."""
    answers = []

    def work(at):
        x = np.ones((64 + at, 64), np.float32)
        try:
            answers.append(infer(server, "mlp", x)[0])
        except OSError as error:
            answers.append(type(error).__name__)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(n_threads)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    code = server.stop()
    for thread in threads:
        thread.join()
    allowed = {200, 503, "ConnectionRefusedError"}
    promise(code == 0 and set(answers) <= allowed and 200 in answers, "a server that is told to stop answers what waits", answers=sorted(map(str, answers)))


def evicting(program, folder):
    """Two models, memory for one: they take turns."""
    models = [os.path.join(folder, name) for name in ("mlp.onnx", "other.onnx")]
    server = Server(program, models, "--arena-limit", "2MiB", "--max-batch-rows", "64")
    x = np.ones((3, 64), np.float32)
    turns = ["mlp", "other", "mlp", "other"]
    statuses = [infer(server, model, x)[0] for model in turns]
    metrics = server.metrics()
    loaded = sum(metrics[("onnxfit_model_loaded", model, "")] for model in ("mlp", "other"))
    starts = sum(metrics[("onnxfit_worker_starts_total", model, "")] for model in ("mlp", "other"))
    server.stop()
    promise(statuses == [200] * 4 and loaded == 1 and starts >= 4, "two models take turns where there is room for one", starts=starts)


def reloaded(program, folder, reference):
    """A file that changes is loaded anew, a broken one is not, and no request in between goes without answer."""
    path = os.path.join(folder, "changing.onnx")
    shutil.copy(os.path.join(folder, "mlp.onnx"), path)
    server = Server(program, [path], "--reload-every", "1")
    x = np.random.default_rng(4).standard_normal((6, 64)).astype(np.float32)
    answers = {name: reference[name].run(None, {"x": x})[0] for name in ("mlp", "other")}
    statuses, seen = set(), []

    def ask():
        status, _, answer = infer(server, "changing", x)
        statuses.add(status)
        of = [name for name, expected in answers.items() if status == 200 and np.allclose(answer, expected, atol=1e-4)]
        if of and seen[-1:] != of:
            seen.extend(of)

    def replace(content):
        beside = os.path.join(folder, "beside")
        with open(beside, "wb") as file:
            file.write(content)
        os.replace(beside, path)

    ask()
    with open(os.path.join(folder, "other.onnx"), "rb") as file:
        replace(file.read())
    until = time.time() + 60
    while seen[-1:] != ["other"] and time.time() < until:
        ask()
        time.sleep(0.02)
    replace(b"no model")
    until = time.time() + 60
    while not any("cannot be loaded" in line for line in server.lines) and time.time() < until:
        ask()
        time.sleep(0.05)
    ask()
    told = [line for line in server.lines if "changed" in line]
    server.stop()
    right = seen == ["mlp", "other"] and statuses == {200} and len(told) == 2
    promise(right, "a file that changes is loaded anew, a broken one is not", models=seen, statuses=sorted(statuses), said=told[-1][:100] if told else "")


def with_token_over_grpc(server):
    try:
        import tritonclient.grpc as over_grpc
    except ImportError:
        return
    client = over_grpc.InferenceServerClient(server.grpc)
    try:
        client.get_model_metadata("mlp")
        said = "answered"
    except Exception as error:
        said = str(error)
    right = client.get_model_metadata("mlp", headers={"authorization": "Bearer secret"}).name == "mlp"
    promise("UNAUTHENTICATED" in said and right and client.is_server_live(), "grpc: no token, no answer", said=said[:80])
    client.close()


def traced(server, spans):
    """A caller's trace goes on in a span of OTLP JSON."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"Authorization": "Bearer secret", "traceparent": parent}
    before = time.time_ns()
    status = server.ask("POST", "/v2/models/mlp/infer", body_of(np.ones((3, 64), np.float32)), headers)[0]
    with open(spans) as file:
        found = [json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for line in file]
    mine = [span for span in found if span["traceId"] == parent.split("-")[1] and span["parentSpanId"] == parent.split("-")[2]]
    inside = len(mine) == 1 and before <= int(mine[0]["startTimeUnixNano"]) <= int(mine[0]["endTimeUnixNano"]) <= time.time_ns()
    promise(status == 200 and inside and mine[0]["status"] == {"code": 1}, "a caller's trace goes on in an OTLP span", spans=len(found))


def crowded(program, folder):
    """A queue for two, asked by many: refused with a time to come again, and nobody is lost."""
    token = os.path.join(folder, "token")
    with open(token, "w") as file:
        file.write("secret\n")
    spans = os.path.join(folder, "spans.jsonl")
    arguments = ["--queue", "2", "--batch-delay-ms", "400", "--token-file", token, "--trace-file", spans]
    server = Server(program, [os.path.join(folder, "mlp.onnx")], *arguments)
    statuses = [server.ask("GET", "/v2/models/mlp", headers=headers)[0] for headers in ({}, {"Authorization": "Bearer wrong!"}, {"Authorization": "Bearer secret"})]
    promise(statuses == [401, 401, 200], "http: no token, no answer", statuses=statuses)
    with_token_over_grpc(server)
    traced(server, spans)
    body = body_of(np.ones((256, 64), np.float32))
    answers = []

    def work():
        status, headers, _ = server.ask("POST", "/v2/models/mlp/infer", body, {"Authorization": "Bearer secret"})
        lower = {key.lower(): value for key, value in headers.items()}
        answers.append((status, "retry-after" in lower))

    threads = [threading.Thread(target=work) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.stop()
    refused = [told for status, told in answers if status == 429]
    right = {status for status, _ in answers} == {200, 429} and all(refused)
    promise(right, "a full queue refuses with a time to come again", refused=len(refused), answered=24 - len(refused))


def encrypted(program, folder, certificate, key, reference):
    """The same over TLS, for callers who trust the certificate and for those who do not."""
    options = ["--tls-cert", certificate, "--tls-key", key]
    server = Server(program, [os.path.join(folder, "mlp.onnx")], *options, trusted=certificate)
    x = np.random.default_rng(3).standard_normal((5, 64)).astype(np.float32)
    expected = reference["mlp"].run(None, {"x": x})[0]
    status, _, answer = infer(server, "mlp", x)
    promise(status == 200 and np.allclose(answer, expected, atol=1e-5), "tls: http, infer")
    host, port = server.http.split(":")
    said = []
    for ask in (
        lambda: http.client.HTTPSConnection(host, int(port), timeout=20, context=ssl.create_default_context()),
        lambda: http.client.HTTPConnection(host, int(port), timeout=20),
    ):
        connection = ask()
        try:
            connection.request("GET", "/v2/health/live")
            said.append(str(connection.getresponse().status))
        except (ssl.SSLError, http.client.HTTPException, OSError) as error:
            said.append(type(error).__name__)
        finally:
            connection.close()
    promise("200" not in said, "tls: nothing for who does not trust it, nothing in plain text", said=said)
    with_triton_encrypted(server, certificate, x, expected)
    server.stop()


def with_triton_encrypted(server, certificate, x, expected):
    try:
        import gevent.ssl
        import tritonclient.grpc as over_grpc
        import tritonclient.http as over_http
    except ImportError:
        return
    context = lambda: gevent.ssl.create_default_context(cafile=certificate)
    clients = [
        ("http", over_http, over_http.InferenceServerClient(server.http, ssl=True, ssl_context_factory=context)),
        ("grpc", over_grpc, over_grpc.InferenceServerClient(server.grpc, ssl=True, root_certificates=certificate)),
    ]
    for name, module, client in clients:
        given = module.InferInput("x", list(x.shape), "FP32")
        given.set_data_from_numpy(x)
        answer = client.infer("mlp", [given]).as_numpy("y")
        promise(client.is_server_live() and np.allclose(answer, expected, atol=1e-5), f"tls: tritonclient over {name}")
        client.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--rows-max", type=int, default=2000)
    parser.add_argument("--arena-limit", default="12MiB")
    parser.add_argument("--others", default="8MiB")
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    arguments = parser.parse_args()
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: os.path.join(folder, f"{name}.onnx") for name in ("mlp", "other", "summing")}
        mlp(paths["mlp"], 0)
        mlp(paths["other"], 1)
        summing(paths["summing"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        reference = {name: onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"]) for name, path in paths.items()}

        server = Server(arguments.program, list(paths.values()))
        with_triton(server, reference)
        with_bad_bodies(server)
        with_watch(server)
        x = np.random.default_rng(5).standard_normal((7, 64)).astype(np.float32)
        right = np.allclose(infer(server, "summing", x)[2], reference["summing"].run(None, {"x": x})[0], atol=1e-4)
        promise(right, "a model whose rows mix is never batched or cut")
        drained(server, 8)

        evicting(arguments.program, folder)
        crowded(arguments.program, folder)
        reloaded(arguments.program, folder, reference)
        if arguments.tls_cert:
            encrypted(arguments.program, folder, arguments.tls_cert, arguments.tls_key, reference)
        else:
            print(json.dumps({"skipped": "TLS: no certificate was given"}), flush=True)

        # The memory that the server believes in is there only at times: a rehearsal of a card that
        # others share.
        limited = ["--arena-limit", arguments.arena_limit, "--rehearse-others", arguments.others]
        server = Server(arguments.program, [paths["mlp"]], *limited)
        soak(server, reference, arguments.requests, arguments.kills, arguments.threads, arguments.rows_max)
        drained(server, 8)
    sys.exit(1 if BROKEN else 0)


if __name__ == "__main__":
    main()
