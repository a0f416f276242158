//! A model that nobody touched is saved as it was, and what onnxfit does not know is noticed.

mod common;

use common::{field, rich_model, zoo};
use onnxfit_onnx::ModelFile;
use onnxfit_onnx::proto::ModelProto;
use proptest::prelude::*;
use prost::Message;

#[test]
fn every_model_of_the_zoo_is_copied_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    for path in zoo() {
        let file = ModelFile::open(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(file.first_unknown_field, None, "{}", path.display());
        let copy = folder.path().join("copy.onnx");
        file.copy_to(&copy).unwrap();
        assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap(), "{}", path.display());
    }
}

#[test]
fn every_model_of_the_zoo_is_encoded_with_everything_it_had() {
    for path in zoo() {
        let file = ModelFile::open(&path).unwrap();
        let encoded = file.proto.encode_to_vec();
        let again = ModelProto::decode(encoded.as_slice()).unwrap();
        assert!(again == file.proto, "{} changes by encoding", path.display());
        // Exporters write fields in the order of their numbers and so do we: then even the bytes
        // are the same, which shows that no field was dropped.
        assert_eq!(encoded.len(), file.bytes().len(), "{}", path.display());
    }
}

#[test]
fn a_model_with_everything_is_decoded_as_it_was_encoded() {
    let model = rich_model();
    let file = ModelFile::from_bytes("model.onnx", model.encode_to_vec()).unwrap();
    assert_eq!(file.proto, model);
    assert_eq!(file.first_unknown_field, None);
}

/// Where an unknown field can hide, with the fields that lead there from the model.
const PLACES: &[(&[u64], &str)] = &[
    (&[], "the model"),
    (&[7], "graph"),
    (&[7, 1], "graph.node[2]"),
    (&[7, 1, 5], "graph.node[2].attribute[0]"),
    (&[7, 1, 5, 6], "graph.node[2].attribute[0].g"),
    (&[7, 1, 5, 6, 1], "graph.node[2].attribute[0].g.node[0]"),
    (&[7, 1, 5, 5], "graph.node[2].attribute[0].t"),
    (&[7, 5], "graph.initializer[4]"),
    (&[7, 5, 13], "graph.initializer[4].external_data[0]"),
    (&[7, 11], "graph.input[3]"),
    (&[7, 11, 2], "graph.input[3].type"),
    (&[7, 11, 2, 1], "graph.input[3].type.tensor_type"),
    (&[7, 11, 2, 1, 2, 1], "graph.input[3].type.tensor_type.shape.dim[0]"),
    (&[7, 15, 1], "graph.sparse_initializer[1].values"),
    (&[8], "opset_import[2]"),
    (&[14], "metadata_props[1]"),
    (&[25], "functions[1]"),
    (&[25, 7], "functions[1].node[0]"),
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_unknown_field_is_found_and_its_place_is_named(
        place in 0..PLACES.len(),
        number in 100u64..2000,
        wire in prop::sample::select(vec![0u64, 1, 2, 5]),
        payload in any::<[u8; 8]>(),
    ) {
        let mut unknown = Vec::new();
        prost::encoding::encode_varint(number << 3 | wire, &mut unknown);
        match wire {
            0 => prost::encoding::encode_varint(u64::from_le_bytes(payload), &mut unknown),
            1 => unknown.extend(payload),
            5 => unknown.extend(&payload[..4]),
            _ => unknown.extend(std::iter::once(8).chain(payload)),
        }
        let (path, name) = PLACES[place];
        let wrapped = path.iter().rev().fold(unknown, |message, number| field(*number, &message));
        // Repeated singular messages are merged, so the wrapped field joins those that are there;
        // the graph comes after everything else.
        let mut model = rich_model();
        let graph = model.graph.take().unwrap().encode_to_vec();
        let (graph, rest) = match path.split_first() {
            Some((7, _)) => ([graph.as_slice(), &wrapped_inside(&wrapped)].concat(), Vec::new()),
            _ => (graph, wrapped),
        };
        let bytes = [model.encode_to_vec(), rest, field(7, &graph)].concat();
        let file = ModelFile::from_bytes("model.onnx", bytes).unwrap();
        prop_assert_eq!(file.first_unknown_field, Some(format!("{name}, field {number}")));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = ModelFile::from_bytes("model.onnx", bytes);
    }

    #[test]
    fn a_model_with_random_damage_never_panics(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = rich_model().encode_to_vec();
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Ok(file) = ModelFile::from_bytes("model.onnx", bytes) {
            let encoded = file.proto.encode_to_vec();
            let again = ModelFile::from_bytes("model.onnx", encoded).unwrap();
            prop_assert_eq!(again.first_unknown_field, None);
        }
    }
}

/// What a field holds, its key and its length taken off.
fn wrapped_inside(mut field: &[u8]) -> Vec<u8> {
    prost::encoding::decode_varint(&mut field).unwrap();
    prost::encoding::decode_varint(&mut field).unwrap();
    field.to_vec()
}
