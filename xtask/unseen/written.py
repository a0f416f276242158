"""Models that another batch has written already."""

import json
import pathlib
import sys

import numpy


def earlier(batch, names):
    """Path and inputs of each of these models of a batch, as name: (path, variants)."""
    folder = pathlib.Path(sys.argv[1]) / batch
    found = {}
    for line in open(folder / "cases.jsonl", encoding="utf-8"):
        case = json.loads(line)
        if case["name"] in names and "error" not in case:
            variants = [(variant["sizes"], dict(numpy.load(folder / variant["inputs"]))) for variant in case["variants"]]
            found[case["name"]] = (str(folder / case["file"]), variants)
    return found
