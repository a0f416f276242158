#!/usr/bin/env python3
"""Runs this folder's model the way it was made to fit.

    pip install @PACKAGE@==@VERSION@ numpy
    python run.py inputs.npz outputs.npz

Everything that makes it fit is in session.json: provider, session and run options, and how many
rows one run may take. A larger batch is cut into pieces that fit, and the answers are joined in
order. Use `open_session` and `run` from your own program in the same way.
"""

import argparse
import json
import pathlib

import numpy as np
import onnxruntime as ort

FOLDER = pathlib.Path(__file__).resolve().parent
CONFIG = json.loads((FOLDER / "session.json").read_text())


def open_session(config=CONFIG, arena_limit_bytes=None):
    """Opens the model with the options of session.json.

    `arena_limit_bytes` caps the arena of the CPU provider, to try on a laptop what happens when
    memory runs out; it can be set once per process.
    """
    settings = config["session_options"]
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, settings["graph_optimization_level"])
    options.enable_mem_pattern = settings["enable_mem_pattern"]
    if settings.get("intra_op_num_threads"):
        options.intra_op_num_threads = settings["intra_op_num_threads"]
    for key, value in settings["config"].items():
        options.add_session_config_entry(key, value)
    arena = dict(config.get("cpu_arena") or {})
    if arena_limit_bytes is not None:
        arena["max_mem"] = arena_limit_bytes
    if arena:
        memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg(arena))
        options.add_session_config_entry("session.use_env_allocators", "1")
    provider = config["provider"]
    providers = [(provider, config["provider_options"])] if config["provider_options"] else [provider]
    return ort.InferenceSession(str(FOLDER / config["model"]), options, providers=providers)


def run_options(config=CONFIG):
    """The run options of session.json."""
    options = ort.RunOptions()
    for key, value in config["run_options"].items():
        options.add_run_config_entry(key, value)
    return options


def run(session, feeds, config=CONFIG):
    """Runs `feeds`, a dict of arrays, in as few pieces as fit; returns a dict of arrays."""
    names = [output.name for output in session.get_outputs()]
    options = run_options(config)
    batch = config.get("batch")
    if not batch:
        return dict(zip(names, session.run(names, feeds, options)))
    axes = batch["inputs"]
    sizes = {name: feeds[name].shape[axis] for name, axis in axes.items() if name in feeds}
    n_rows = max(sizes.values())
    if any(size != n_rows for size in sizes.values()):
        raise ValueError(f"the inputs disagree on the number of rows: {sizes}")
    if n_rows <= batch["max_rows"]:
        return dict(zip(names, session.run(names, feeds, options)))
    n_pieces = -(-n_rows // batch["max_rows"])
    step = -(-n_rows // n_pieces)
    joined = {}
    for start in range(0, n_rows, step):
        part = {name: _rows(array, axes.get(name), start, step) for name, array in feeds.items()}
        answers = dict(zip(names, session.run(names, part, options)))
        for name, answer in answers.items():
            axis = batch["outputs"].get(name)
            if axis is None:
                joined.setdefault(name, answer.copy())
                continue
            if name not in joined:
                shape = list(answer.shape)
                shape[axis] = shape[axis] * n_rows // min(step, n_rows - start)
                joined[name] = np.empty(shape, answer.dtype)
            begin = joined[name].shape[axis] * start // n_rows
            where = [slice(None)] * answer.ndim
            where[axis] = slice(begin, begin + answer.shape[axis])
            joined[name][tuple(where)] = answer
        # The answers lie in the session's arena: held any longer, they would take the room that
        # the next piece needs.
        del answers, answer
    return joined


def _rows(array, axis, start, step):
    if axis is None:
        return array
    stop = min(start + step, array.shape[axis])
    return np.ascontiguousarray(np.take(array, range(start, stop), axis=axis))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", help="an .npz file with one array for each input of the model")
    parser.add_argument("outputs", help="the .npz file to write")
    parser.add_argument("--arena-limit", type=int, metavar="BYTES", help="cap the CPU provider's arena")
    arguments = parser.parse_args()
    with np.load(arguments.inputs) as archive:
        feeds = {name: archive[name] for name in archive.files}
    session = open_session(arena_limit_bytes=arguments.arena_limit)
    outputs = run(session, feeds)
    np.savez(arguments.outputs, **outputs)
    for name, array in outputs.items():
        print(f"{name}: {array.dtype} {list(array.shape)}")


if __name__ == "__main__":
    main()
