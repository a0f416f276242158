//! Symbolic shapes and types of ONNX graphs
