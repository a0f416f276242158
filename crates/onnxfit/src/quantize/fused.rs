//! What ONNX Runtime really makes of a quantized model: the kernels in the graph that it runs.

use std::collections::BTreeMap;
use std::path::Path;

use onnxfit_graph::{Graph, Model as GraphModel};
use onnxfit_onnx::ModelFile;
use onnxfit_runtime::SessionSpec;
use onnxfit_runtime::worker::Client;

use super::bench::Bench;
use crate::Error;
use crate::verify::runtime_error;

/// Parts of the names of kernels that compute on integers, or that stand between them and floats.
const TELLING: [&str; 5] = ["QLinear", "QGemm", "Integer", "Quantize", "NBits"];

/// The kernels on integers, and those between integers and floats, by name.
pub(crate) fn kernels(bench: &Bench<'_>, model: &Path) -> Result<BTreeMap<String, usize>, Error> {
    let path = bench.desk.join("optimized.onnx");
    let spec = SessionSpec { optimized_model: Some(path.clone()), ..SessionSpec::new(model) };
    bench.with_client(|client: &mut Client| client.open(bench.library, &spec).map_err(runtime_error).map(drop))?;
    let file = ModelFile::open(&path)?;
    let optimized = GraphModel::from_proto(&file.proto)
        .map_err(|source| Error::Graph { path: path.clone(), source: Box::new(source) })?;
    let mut kernels = BTreeMap::new();
    count(&optimized.graph, &mut kernels);
    Ok(kernels)
}

/// As deep as bodies nest, which reading has bounded.
fn count(graph: &Graph, kernels: &mut BTreeMap<String, usize>) {
    for (_, node) in graph.nodes() {
        if TELLING.iter().any(|part| node.op_type.contains(part)) {
            *kernels.entry(node.op_type.clone()).or_default() += 1;
        }
        node.subgraphs().for_each(|(_, body)| count(body, kernels));
    }
}
