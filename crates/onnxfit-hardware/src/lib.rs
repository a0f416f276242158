//! GPUs, AWS instances, prices, and which onnxruntime-gpu release runs where
