//! Make an ONNX model fit the GPU memory it has
