//! ONNX files, losslessly: memory-mapped, external data, atomic writes
