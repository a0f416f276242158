"""One quantization by onnxruntime.quantization: quantize.py runs it as a process of its own.

    python peer.py MODEL OUTPUT DATA METHOD RANGES

METHOD: minmax, entropy and percentile quantize statically, dynamic dynamically; ranges-minmax, ranges-entropy and
ranges-percentile only measure. RANGES: a JSON file for what was measured.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quantize_dynamic,
    quantize_static,
)

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


class Reader(CalibrationDataReader):
    def __init__(self, folder, names):
        self.files, self.names = iter(sorted(Path(folder).glob("*.npz"))), names

    def get_next(self):
        file = next(self.files, None)
        if file is None:
            return None
        with np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files if name in self.names}


def main():
    model, output, data, method, ranges = sys.argv[1:6]
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    names = {i.name for i in ort.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()}
    if method == "dynamic":
        quantize_dynamic(model, output, weight_type=QuantType.QInt8)
    elif method in METHODS:
        quantize_static(model, output, Reader(data, names), quant_format=QuantFormat.QDQ, per_channel=True,
                        calibrate_method=METHODS[method], activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    else:
        with tempfile.TemporaryDirectory() as folder:
            calibrator = create_calibrator(model, [], f"{folder}/augmented.onnx",
                                           calibrate_method=METHODS[method.removeprefix("ranges-")])
            calibrator.collect_data(Reader(data, names))
            found = calibrator.compute_data()
            pairs = {name: [float(np.ravel(v)[0]) for v in found[name].range_value] for name in found.keys()}
            Path(ranges).write_text(json.dumps(pairs))


if __name__ == "__main__":
    main()
