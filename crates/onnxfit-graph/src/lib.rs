//! The graph onnxfit reasons on: nodes, values, subgraphs; changed only through a patch
