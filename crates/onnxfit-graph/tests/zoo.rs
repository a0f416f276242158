//! Every real architecture at hand goes through the graph and comes back as it was.

use std::path::PathBuf;

use onnxfit_graph::Model;
use onnxfit_onnx::ModelFile;

fn zoo(folder: &str) -> Vec<PathBuf> {
    let shared = std::env::var_os("ONNXFIT_SHARED").map_or_else(|| PathBuf::from("../../../shared"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(shared.join("zoo").join(folder)) else {
        eprintln!("skipped: no zoo beside the repository");
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn graphs_come_back_as_they_were() {
    for path in zoo("graphs").into_iter().chain(zoo("optimized")) {
        let file = ModelFile::open(&path).unwrap();
        assert_eq!(file.first_unknown_field, None, "{}", path.display());
        let model = Model::from_proto(&file.proto).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let back = model.to_proto();
        // Not assert_eq: a whole model is no message.
        assert!(file.proto == back, "{} changed on its way through", path.display());
    }
}
