use std::collections::BTreeMap;

use super::{RandomWeights, WeightRole};
use crate::external::TensorSource;
use crate::proto::TensorProto;
use crate::{DataType, WeightStore, text};

fn absent(declaration: &str) -> TensorProto {
    text::parse(&format!("g () => () <{declaration}> {{}}")).unwrap().graph.unwrap().initializer.remove(0)
}

fn bytes(declaration: &str, seed: u64, role: Option<WeightRole>) -> Vec<u8> {
    let tensor = absent(declaration);
    let inner = WeightStore::new("no such folder");
    let roles = role.map(|role| (tensor.name().to_owned(), role)).into_iter().collect();
    let weights = RandomWeights::new(&inner, seed, roles);
    weights.check(&tensor).unwrap();
    weights.tensor_bytes(&tensor).unwrap().to_vec()
}

fn floats(declaration: &str, role: WeightRole) -> Vec<f32> {
    bytes(declaration, 1, Some(role)).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn a_tensor_depends_on_seed_and_name_alone() {
    let first = bytes("float[100] a", 1, None);
    assert_eq!(first, bytes("float[100] a", 1, None));
    assert_ne!(first, bytes("float[100] b", 1, None));
    assert_ne!(first, bytes("float[100] a", 2, None));
    assert_eq!(first, bytes("float[200] a", 1, None)[..400]);
}

#[test]
fn roles_decide_the_values() {
    let normal = floats("float[40000] w", WeightRole::Normal { std: 0.5 });
    let mean = normal.iter().sum::<f32>() / 40000.0;
    let std = (normal.iter().map(|value| value * value).sum::<f32>() / 40000.0).sqrt();
    assert!(mean.abs() < 0.01 && (std - 0.5).abs() < 0.01, "{mean} {std}");
    let uniform = floats("float[40000] w", WeightRole::Uniform { low: 2.0, high: 3.0 });
    assert!(uniform.iter().all(|value| (2.0..3.0).contains(value)));
    assert!((uniform.iter().sum::<f32>() / 40000.0 - 2.5).abs() < 0.01);
    assert_eq!(floats("float[2] w", WeightRole::Ones), [1.0, 1.0]);
    assert_eq!(floats("float[2] w", WeightRole::Zeros), [0.0, 0.0]);
    let mut integers = floats("float[1000] w", WeightRole::Integers { low: -1, high: 1 });
    integers.sort_by(f32::total_cmp);
    integers.dedup();
    assert_eq!(integers, [-1.0, 0.0, 1.0]);
}

#[test]
fn every_type_gets_the_bytes_that_its_shape_needs() {
    for data_type in DataType::ALL.iter().filter(|data_type| **data_type != DataType::String) {
        for role in [WeightRole::Ones, WeightRole::Normal { std: 1.0 }, WeightRole::Integers { low: -300, high: 300 }] {
            let bytes = bytes(&format!("{data_type}[3, 5] w"), 3, Some(role));
            assert_eq!(bytes.len() as u64, data_type.packed_bytes(15).unwrap(), "{data_type}");
        }
    }
    assert_eq!(bytes("int4[3] w", 1, Some(WeightRole::Ones)), [0x11, 0x01]);
    assert_eq!(bytes("float16[2] w", 1, Some(WeightRole::Ones)), [0, 0x3c, 0, 0x3c]);
    assert_eq!(bytes("bfloat16[1] w", 1, Some(WeightRole::Ones)), [0x80, 0x3f]);
    assert_eq!(bytes("float8e8m0[1] w", 1, Some(WeightRole::Ones)), [127]);
    assert_eq!(bytes("int64[1] w", 1, Some(WeightRole::Ones)), 1i64.to_le_bytes());
    assert_eq!(bytes("bool[1] w", 1, Some(WeightRole::Ones)), [1]);
}

#[test]
fn weights_that_are_there_stay_and_impossible_ones_are_errors() {
    let inner = WeightStore::new("no such folder");
    let weights = RandomWeights::new(&inner, 1, BTreeMap::new());
    assert_eq!(weights.tensor_bytes(&absent("int8[2] w = {4, 5}")).unwrap().as_ref(), [4, 5]);
    let mut tensor = absent("float[2] w");
    tensor.dims = vec![1 << 47];
    assert!(weights.tensor_bytes(&tensor).unwrap_err().to_string().contains("no memory for 512"));
    tensor.external_data[0].value = Some("../w.bin".to_owned());
    assert!(weights.tensor_bytes(&tensor).unwrap_err().to_string().contains("leaves the model's folder"));
}
