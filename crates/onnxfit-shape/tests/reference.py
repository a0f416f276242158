"""What shapes really are, for the tests that compare them with what onnxfit infers.

    reference.py operators FOLDER             every operator test case of the `onnx` package
    reference.py graph MODEL META FOLDER      one graph of the zoo, run by ONNX Runtime

Both write MODEL files and beside each a NAME.json with the true types and shapes of values:
    {"dims": {}, "inputs": {name: shape}, "values": {name: [ints]}, "truth": {name: [type, shape]}}
Needs onnx, numpy, and for `graph` onnxruntime.
"""

import json
import pathlib
import sys

import numpy
import onnx
from onnx import helper, numpy_helper

SMALL = 4096


def shape_of(array):
    """Type and shape of what a test case or a run gives; None for what is no tensor."""
    if isinstance(array, (list, dict)) or array is None:
        return None
    array = numpy.asarray(array)
    if array.dtype.kind in "OUS":
        return ["string", list(array.shape)]
    try:
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    except (KeyError, ValueError):
        return None
    return [onnx.TensorProto.DataType.Name(kind).lower(), list(array.shape)]


def is_tensor(info):
    return info.type.HasField("tensor_type")


def write(folder, name, model, bindings, truth):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    (folder / f"{name}.json").write_text(json.dumps({**bindings, "truth": truth}))


def operators(folder):
    """Each case twice: with small inputs after the first as constants, and with all inputs fed."""
    import contextlib
    import io
    import warnings

    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    for case in cases:
        if not case.data_sets:
            continue
        inputs, outputs = case.data_sets[0]
        model = case.model
        truth = {}
        for info, array in zip(model.graph.output, outputs):
            if isinstance(array, onnx.TensorProto):
                array = numpy_helper.to_array(array)
            known = shape_of(array) if is_tensor(info) else None
            if known is not None:
                truth[info.name] = known
        given, constants = {}, []
        for position, (info, array) in enumerate(zip(model.graph.input, inputs)):
            if isinstance(array, onnx.TensorProto):
                tensor = onnx.TensorProto()
                tensor.CopyFrom(array)
                tensor.name = info.name
                given[info.name] = list(array.dims)
                if position > 0:
                    constants.append(tensor)
            elif is_tensor(info) and not isinstance(array, list):
                array = numpy.asarray(array)
                given[info.name] = list(array.shape)
                if array.size <= SMALL and array.dtype.kind in "biuf" and (position > 0 or array.dtype.kind in "iu"):
                    try:
                        constants.append(numpy_helper.from_array(array, info.name))
                    except (KeyError, ValueError, TypeError):
                        pass
        bindings = {"dims": {}, "inputs": given, "values": {}}
        for info in list(model.graph.output) + list(model.graph.value_info):
            if is_tensor(info):
                info.type.tensor_type.ClearField("shape")
        for info in model.graph.input:
            # Some cases declare symbols that contradict their data.
            if info.name in given:
                info.type.tensor_type.ClearField("shape")
        write(folder, case.name + ".fed", model, bindings, truth)
        fixed = onnx.ModelProto()
        fixed.CopyFrom(model)
        names = {tensor.name for tensor in constants}
        kept = [info for info in fixed.graph.input if info.name not in names]
        del fixed.graph.input[:]
        fixed.graph.input.extend(kept)
        fixed.graph.initializer.extend(constants)
        bindings = {**bindings, "inputs": {name: shape for name, shape in given.items() if name not in names}}
        write(folder, case.name + ".fixed", fixed, bindings, truth)


def fill(rule, shape, dtype, generator):
    if rule and rule.startswith("const:"):
        return numpy.full(shape, float(rule[6:])).astype(dtype)
    if rule and rule.startswith("range:"):
        return generator.integers(0, int(rule[6:]), shape).astype(dtype)
    if dtype.kind == "f":
        return generator.random(shape).astype(dtype)
    return numpy.ones(shape, dtype)


def graph(path, meta_path, folder):
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    generator = numpy.random.default_rng(1)
    model = onnx.load(path, load_external_data=False)
    meta = json.loads(pathlib.Path(meta_path).read_text())
    variant = {name: value for name, value in meta["variants"][0].items() if isinstance(value, int)}
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
            values = generator.standard_normal(tuple(tensor.dims), dtype=numpy.float32) * 0.02
            tensor.CopyFrom(numpy_helper.from_array(values.astype(dtype), tensor.name))
    weights = {tensor.name for tensor in model.graph.initializer}
    feeds, given, values = {}, {}, {}
    for info in model.graph.input:
        if info.name in weights:
            continue
        named = meta.get("shapes", {}).get(info.name)
        dims = named or [dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim]
        shape = [dim if isinstance(dim, int) else eval(dim, {}, variant) for dim in dims]
        dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        rule = meta.get("fills", {}).get(info.name)
        feeds[info.name] = fill(rule, shape, numpy.dtype(dtype), generator)
        given[info.name] = shape
        if rule and rule.startswith("const:"):
            values[info.name] = [int(float(rule[6:]))]
    declared = {info.name for info in model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name]
    original = onnx.load(path, load_external_data=False)
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in made if name not in declared)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    truth = {name: shape_of(array) for name, array in zip(names, session.run(names, feeds))}
    truth = {name: known for name, known in truth.items() if known}
    bindings = {"dims": variant if "shapes" not in meta else {}, "inputs": given, "values": values}
    write(folder, pathlib.Path(path).stem, original, bindings, truth)


if __name__ == "__main__":
    if sys.argv[1:2] == ["operators"]:
        operators(pathlib.Path(sys.argv[2]))
    elif sys.argv[1:2] == ["graph"]:
        graph(sys.argv[2], sys.argv[3], pathlib.Path(sys.argv[4]))
    else:
        sys.exit(__doc__)
