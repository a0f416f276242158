use super::*;

/// Prints what is known of every value after rewriting, for comparison with a dump.
#[test]
fn prints_types_of_a_model_named_by_the_environment() {
    let Some(path) = std::env::var_os("ONNXFIT_TYPES_OF") else { return };
    let file = onnxfit_onnx::ModelFile::open(std::path::Path::new(&path)).expect("the model opens");
    let model = Model::from_proto(&file.proto).expect("the model is sound");
    let options = RewriteOptions { level: Level::Basic, ..RewriteOptions::default() };
    let opsets = Arc::new(model.opset_imports().clone());
    let mut net = Net::from_graph(&model.graph, &opsets, model.ir_version() >= 4);
    registry::run(&mut net, &Context { options: &options });
    for id in net.arg_ids() {
        let arg = net.arg(id);
        let shape = arg.shape.as_ref().map(|shape| {
            let dims = shape.iter().map(|dim| match dim {
                onnxfit_graph::Dim::Known(value) => value.to_string(),
                onnxfit_graph::Dim::Symbol(name) => name.clone(),
                onnxfit_graph::Dim::Unknown => "?".to_owned(),
            });
            dims.collect::<Vec<_>>().join(",")
        });
        println!(
            "TYPE\t{}\t{:?}\t{}",
            arg.name,
            arg.elem,
            shape.map_or("none".to_owned(), |shape| format!("[{shape}]"))
        );
    }
}
