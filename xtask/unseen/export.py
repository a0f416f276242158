"""Writes models that nobody tuned the twin for: `export.py FOLDER BATCH...`.

Each batch is a module of this folder with a function `cases()` that yields name, model (a proto, or
a function that writes the file it is given) and variants: `(sizes by name, arrays or None)` each.
Beside the models lies `BATCH.jsonl`, a line a model, with the reason where one could not be written.
"""

import importlib
import json
import pathlib
import sys
import traceback
import warnings

import numpy
import onnx


def write(folder, name, model, variants):
    """One model and its inputs; the line that says so."""
    path = folder / f"{name}.onnx"
    if callable(model):
        model(str(path))
    else:
        onnx.save(model, path)
    if not isinstance(variants, list):
        variants = [({}, variants)]
    told = []
    for index, (sizes, arrays) in enumerate(variants):
        inputs = None
        if arrays is not None:
            inputs = f"{name}.{index}.npz"
            numpy.savez(folder / inputs, **{key: numpy.asarray(array) for key, array in arrays.items()})
            shapes = {key: list(numpy.asarray(array).shape) for key, array in arrays.items()}
        else:
            shapes = {}
        told.append({"sizes": sizes, "inputs": inputs, "shapes": shapes})
    graph = onnx.load(path, load_external_data=False)
    opset = max((given.version for given in graph.opset_import if given.domain in ("", "ai.onnx")), default=0)
    return {"name": name, "file": path.name, "opset": opset, "n_nodes": len(graph.graph.node), "variants": told}


def main(out, batches):
    warnings.simplefilter("ignore")
    for batch in batches:
        folder = pathlib.Path(out) / batch
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "cases.jsonl", "a", encoding="utf-8") as lines:
            known = set()
            for line in open(folder / "cases.jsonl", encoding="utf-8"):
                known.add(json.loads(line)["name"])
            for name, model, variants in importlib.import_module(batch).cases():
                if name in known:
                    continue
                try:
                    told = write(folder, name, model, variants)
                except Exception as error:  # An exporter may fail in any way; the next model is tried all the same.
                    last = traceback.extract_tb(error.__traceback__)[-1]
                    told = {"name": name, "error": f"{type(error).__name__}: {error}"[:300], "at": f"{last.name}"}
                lines.write(json.dumps(told) + "\n")
                lines.flush()
                print(batch, name, told.get("error", "written"), file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
