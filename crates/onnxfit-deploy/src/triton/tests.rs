use expect_test::expect;

use super::*;

fn tensor(name: &str, element_type: DataType, dims: &[i64], predicted: &[i64]) -> Tensor {
    Tensor { name: name.to_owned(), element_type, dims: dims.to_vec(), predicted: predicted.to_vec() }
}

fn config() -> ModelConfig {
    ModelConfig {
        name: "net".to_owned(),
        comments: vec!["one line\nalways".to_owned()],
        place: Place::EachGpu,
        n_instances: 2,
        inputs: vec![tensor("x", DataType::Float, &[-1, 3], &[8, 3])],
        outputs: vec![tensor("y", DataType::Float16, &[-1], &[8])],
        batching: Some(Batching { rows_max: 8, preferred: vec![4, 8], queue_delay_microseconds: 500 }),
        settings: Settings {
            mem_pattern: false,
            same_as_requested: true,
            device_allocator_for_initializers: true,
            shrink_after_run: false,
            gpu_mem_limit: Some(Bytes::gib(2)),
            level: Level::Extended,
            intra_op_threads: None,
        },
    }
}

#[test]
fn a_model_that_triton_batches() {
    expect![[r#"
        # one line always
        name: "net"
        backend: "onnxruntime"
        max_batch_size: 8
        input {
          name: "x"
          data_type: TYPE_FP32
          dims: [3]
        }
        output {
          name: "y"
          data_type: TYPE_FP16
          dims: [1]
          reshape {
          }
        }
        instance_group {
          count: 2
          kind: KIND_GPU
        }
        dynamic_batching {
          preferred_batch_size: 4
          preferred_batch_size: 8
          max_queue_delay_microseconds: 500
        }
        optimization {
          graph {
            level: 1
          }
        }
        parameters {
          key: "arena_extend_strategy"
          value {
            string_value: "1"
          }
        }
        parameters {
          key: "enable_mem_pattern"
          value {
            string_value: "0"
          }
        }
        parameters {
          key: "gpu_mem_limit"
          value {
            string_value: "2147483648"
          }
        }
        parameters {
          key: "session.use_device_allocator_for_initializers"
          value {
            string_value: "1"
          }
        }
        model_warmup {
          name: "largest request"
          batch_size: 8
          inputs {
            key: "x"
            value {
              data_type: TYPE_FP32
              dims: [3]
              zero_data: true
            }
          }
        }
    "#]]
    .assert_eq(&model_config(&config()).expect("Triton has these types"));
}

#[test]
fn a_model_whose_rows_triton_may_not_touch_has_all_its_sizes() {
    let config = ModelConfig { batching: None, ..config() };
    let text = model_config(&config).expect("Triton has these types");
    assert!(text.contains("max_batch_size: 0") && text.contains("dims: [-1, 3]"), "{text}");
    assert!(!text.contains("dynamic_batching") && !text.contains("batch_size: 8"), "{text}");
}

#[test]
fn element_types_that_triton_lacks_are_refused_by_name() {
    let config = ModelConfig { outputs: vec![tensor("q", DataType::Int4, &[2], &[])], ..config() };
    let refused = model_config(&config).expect_err("there is no such type");
    assert_eq!(refused.to_string(), "Triton has no element type for `q`, which holds int4");
}
