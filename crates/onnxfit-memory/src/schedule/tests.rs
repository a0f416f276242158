use proptest::prelude::*;

use super::*;
use crate::order::{ExecutionOrder, execution_order};
use crate::program::{Node, Value, ValueIdx};

/// A random two-device graph: node `i` makes value `i + 1` from earlier values.
fn graphs() -> impl Strategy<Value = Program> {
    prop::collection::vec((any::<usize>(), any::<usize>(), any::<bool>()), 1..60).prop_map(|nodes| {
        let values = (0..=nodes.len()).map(|i| Value { name: format!("v{i}").into(), ..Value::default() }).collect();
        let nodes = nodes
            .into_iter()
            .enumerate()
            .map(|(i, (left, right, cuda))| Node {
                op_type: "Add".into(),
                inputs: vec![Some(ValueIdx::new(left % (i + 1))), Some(ValueIdx::new(right % (i + 1)))],
                outputs: vec![Some(ValueIdx::new(i + 1))],
                provider: if cuda { NodeProvider::Cuda } else { NodeProvider::Cpu },
                ..Node::default()
            })
            .collect();
        Program { values, nodes, inputs: vec![ValueIdx::new(0)], ..Program::default() }
    })
}

proptest! {
    #[test]
    fn every_node_is_launched_once_and_after_what_it_reads(program in graphs()) {
        let order = execution_order(&program, ExecutionOrder::Default);
        let launched = launch_order(&program, &streams(&program, &order));
        let mut sorted = launched.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, program.node_indices().collect::<Vec<_>>());
        let producers = program.producers();
        let mut done = vec![false; program.nodes.len()];
        for node in launched {
            for value in program.node(node).reads() {
                prop_assert!(producers[value.index()].is_none_or(|producer| done[producer.index()]));
            }
            done[node.index()] = true;
        }
    }
}
