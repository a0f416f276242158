"""One model an operator: the test cases that the `onnx` package makes for its own backends."""

import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

# Cases whose answer is chance, or whose inputs have no array form.
SKIPPED_WORDS = ("sequence", "optional", "string", "bernoulli", "training_dropout", "tfidf", "strnorm")


def cases():
    """Yields name, model, inputs; functions are written out, as a second case of their own."""
    for case in collect_testcases(None):
        if case.kind != "node" or any(word in case.name for word in SKIPPED_WORDS):
            continue
        if not case.data_sets:
            continue
        names = [value.name for value in case.model.graph.input]
        arrays = {}
        for name, given in zip(names, case.data_sets[0][0]):
            if isinstance(given, onnx.TensorProto):
                given = numpy_helper.to_array(given)
            arrays[name] = given
        if any(getattr(array, "dtype", None) is None or array.dtype.kind not in "fiub" for array in arrays.values()):
            continue
        yield case.name.removeprefix("test_"), case.model, arrays
