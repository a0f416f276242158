use onnxfit_onnx::DataType;
use proptest::prelude::*;

use super::*;
use crate::order::{ExecutionOrder, execution_order};
use crate::plan::{PlanOptions, plan};
use crate::program::{DeclaredDim, Node, Place, Value};

const OPERATORS: [&str; 6] = ["Relu", "Add", "Reshape", "Softmax", "Concat", "Cast"];
const SHAPES: [u64; 3] = [4, 8, 8];

/// A random graph of operators that alias, overwrite and copy, with few distinct shapes.
fn programs() -> impl Strategy<Value = Program> {
    let node = (any::<usize>(), any::<usize>(), 0..OPERATORS.len(), 0..SHAPES.len(), any::<bool>());
    prop::collection::vec(node, 1..50).prop_map(|nodes| {
        let value = |i: usize, shape: usize| Value {
            name: format!("v{i}").into(),
            element: Some(DataType::Float),
            is_tensor: true,
            declared: Some(vec![DeclaredDim::Value(SHAPES[shape])]),
            ..Value::default()
        };
        let mut program = Program { values: vec![value(0, 0)], inputs: vec![ValueIdx::new(0)], ..Program::default() };
        for (i, (left, right, operator, shape, is_output)) in nodes.into_iter().enumerate() {
            let output = ValueIdx::new(i + 1);
            program.values.push(value(i + 1, shape));
            program.nodes.push(Node {
                name: format!("n{i}").into(),
                op_type: OPERATORS[operator].into(),
                inputs: vec![Some(ValueIdx::new(left % (i + 1))), Some(ValueIdx::new(right % (i + 1)))],
                outputs: vec![Some(output)],
                ..Node::default()
            });
            if is_output && i % 5 == 0 {
                program.outputs.push(output);
            }
        }
        program
    })
}

fn planned(program: &Program, options: PlanOptions) -> Plan {
    let order = execution_order(program, ExecutionOrder::Default);
    let streams = [order.clone()];
    plan(program, order, &streams, vec![Place::Host; program.values.len()], options)
}

proptest! {
    #[test]
    fn every_plan_is_sound(program in programs(), mem_reuse in any::<bool>(), parallel in any::<bool>()) {
        let plan = planned(&program, PlanOptions { mem_reuse, parallel, in_loop: false });
        prop_assert_eq!(validate(&program, &plan), Ok(()));
    }

    /// The checker is worth something: sharing two buffers at random is nearly always caught.
    #[test]
    fn a_buffer_that_is_still_read_may_not_be_taken(program in programs(), seed in any::<usize>()) {
        let mut plan = planned(&program, PlanOptions { mem_reuse: false, parallel: true, in_loop: false });
        let steps: Vec<NodeIdx> = plan.order.clone();
        let victim = steps.iter().find_map(|&node| {
            let read = program.node(node).input(0)?;
            (plan.kind[read.index()] == AllocKind::Allocate).then_some((node, read))
        });
        let Some((reader, read)) = victim else { return Ok(()) };
        let before: Vec<ValueIdx> = steps
            .iter()
            .take_while(|&&node| node != reader)
            .flat_map(|&node| program.node(node).present_outputs())
            .skip_while(|&value| value != read)
            .filter(|&value| value != read && plan.kind[value.index()] == AllocKind::Allocate)
            .collect();
        if before.is_empty() {
            return Ok(());
        }
        let thief = before[seed % before.len()];
        plan.kind[thief.index()] = AllocKind::Reuse;
        plan.buffer[thief.index()] = read;
        plan.reuse[thief.index()] = Some(ReuseKind::FreeList);
        for released in &mut plan.released_after {
            released.retain(|value| *value != thief);
        }
        prop_assert!(validate(&program, &plan).is_err());
    }
}
