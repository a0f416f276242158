//! Any bytes are opened or refused, and what is opened can be asked about and written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use onnxfit_onnx::proto::{ModelProto, TensorProto};
use onnxfit_onnx::{ModelFile, text};
use prost::Message;

fuzz_target!(|data: &[u8]| {
    // A path without a folder that has data: looking for external data never leaves it.
    let Ok(file) = ModelFile::from_bytes("no such folder/model.onnx", data.to_vec()) else { return };
    if let Some(graph) = &file.proto.graph {
        graph.initializer.iter().for_each(|tensor| ask(&file, tensor));
        let attributes = graph.node.iter().flat_map(|node| &node.attribute);
        attributes.filter_map(|attribute| attribute.t.as_deref()).for_each(|tensor| ask(&file, tensor));
    }
    let encoded = file.proto.encode_to_vec();
    let again = ModelFile::from_bytes("model.onnx", encoded.clone()).expect("what we write, we read");
    assert_eq!(again.first_unknown_field, None);
    // Bytes, not structs: a NaN is not equal to itself.
    assert_eq!(again.proto.encode_to_vec(), encoded);
    let _ = text::print(&file.proto);
    let _ = ModelProto::decode(encoded.as_slice());
});

fn ask(file: &ModelFile, tensor: &TensorProto) {
    let inline = tensor.inline_bytes();
    if let (Ok(Some(bytes)), Ok(size), Ok(element_type)) = (&inline, tensor.size_bytes(), tensor.element_type()) {
        let is_string = element_type == onnxfit_onnx::DataType::String;
        assert!(is_string || bytes.len() as u64 == size.get());
    }
    let _ = tensor.external_location();
    let checked = file.weights().check(tensor);
    assert!(!(tensor.is_external() && checked.is_ok()) || tensor.size_bytes().is_ok());
}
