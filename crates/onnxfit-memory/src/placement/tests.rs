use onnxfit_onnx::DataType;

use super::*;
use crate::program::{Value, ValueIdx, Weight};
use crate::sizes::TensorSize;

/// Builds a program from lines `out = Op(in, in)`; `x` is fed, `w…` are small integer weights.
fn program(text: &str) -> Program {
    let mut program = Program::default();
    let value = |program: &mut Program, name: &str| {
        if let Some(at) = program.values.iter().position(|value| value.name == name) {
            return ValueIdx::new(at);
        }
        let element = if name.starts_with('i') || name.starts_with('w') { DataType::Int64 } else { DataType::Float };
        program.values.push(Value { name: name.into(), element: Some(element), is_tensor: true, ..Value::default() });
        let index = ValueIdx::new(program.values.len() - 1);
        if name.starts_with('w') {
            let size = TensorSize { element, dims: vec![2] };
            let bytes = size.bytes().unwrap();
            program.weights.push(Weight {
                value: index,
                size: Some(size),
                bytes,
                external: false,
                overridable: false,
                identity: 0,
                values: None,
            });
        }
        if name == "x" {
            program.inputs.push(index);
        }
        index
    };
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (output, call) = line.split_once(" = ").unwrap();
        let (op_type, inputs) = call.trim_end_matches(')').split_once('(').unwrap();
        let inputs = inputs.split(", ").map(|name| Some(value(&mut program, name))).collect();
        let outputs = vec![Some(value(&mut program, output))];
        program.nodes.push(Node {
            name: output.into(),
            op_type: op_type.into(),
            opset: 17,
            inputs,
            outputs,
            ..Node::default()
        });
    }
    program
}

fn placed(text: &str) -> String {
    let mut program = program(text);
    assign_cuda(&mut program);
    let places = places(&program);
    let mut lines = Vec::new();
    for node in &program.nodes {
        let value = |value: ValueIdx| format!("{}@{:?}", program.value(value).name, places[value.index()]);
        let inputs: Vec<String> = node.inputs.iter().flatten().map(|input| value(*input)).collect();
        let output = value(node.output(0).unwrap());
        lines.push(format!("{output} = {:?} {}({})", node.provider, node.op_type, inputs.join(", ")));
    }
    lines.join("\n")
}

#[test]
fn shape_arithmetic_goes_to_the_cpu_and_its_consumers_read_it_there() {
    let text = "
        i0 = Shape(x)
        i1 = Gather(i0, w0)
        i2 = Concat(i1, w1)
        y = Reshape(x, i2)";
    expect_test::expect![[r#"
        i0@Host = Cuda Shape(x@Device)
        i1@Host = Cpu Gather(i0@Host, w0@Host)
        i2@Host = Cpu Concat(i1@Host, w1@Host)
        y@Device = Cuda Reshape(x@Device, i2@Host)"#]]
    .assert_eq(&placed(text));
}

#[test]
fn an_operator_without_a_kernel_gets_copies_on_both_sides() {
    let text = "
        a = Relu(x)
        b = NoCudaKernel(a)
        y = Relu(b)";
    expect_test::expect![[r#"
        a_CUDAExecutionProvider@Device = Cuda Relu(x@Device)
        b@Host = Cpu NoCudaKernel(a@Pinned)
        y@Device = Cuda Relu(b_CUDAExecutionProvider@Device)
        b_CUDAExecutionProvider@Device = Cuda MemcpyFromHost(b@Host)
        a@Pinned = Cuda MemcpyToHost(a_CUDAExecutionProvider@Device)"#]]
    .assert_eq(&placed(text));
}

#[test]
fn a_feed_read_on_both_sides_is_copied_by_a_node() {
    let text = "
        a = Relu(x)
        b = NoCudaKernel(x)";
    expect_test::expect![[r#"
        a@Device = Cuda Relu(x_CUDAExecutionProvider@Device)
        b@Host = Cpu NoCudaKernel(x@Host)
        x_CUDAExecutionProvider@Device = Cuda MemcpyFromHost(x@Host)"#]]
    .assert_eq(&placed(text));
}
