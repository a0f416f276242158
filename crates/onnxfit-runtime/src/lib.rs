//! ONNX Runtime behind a small interface: find, install, run, measure, verify
