//! ONNX Runtime's memory as arithmetic
