//! From a program to a plan, subgraphs included.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::order::{ExecutionOrder, execution_order};
use crate::plan::{PlanOptions, plan};
use crate::program::{NodeIdx, Place, Program, ValueIdx};
use crate::simulate::Compiled;
use crate::trace::{Owner, OwnerKind};

/// Plans a program and its subgraphs for the CPU provider.
pub fn compile(program: Program, order: ExecutionOrder, options: PlanOptions) -> Compiled {
    compile_numbered(program, order, options, &mut 0)
}

fn compile_numbered(
    mut program: Program,
    order: ExecutionOrder,
    options: PlanOptions,
    next_number: &mut usize,
) -> Compiled {
    let number = *next_number;
    *next_number += 1;
    let mut bodies = BTreeMap::new();
    for (index, node) in program.nodes.iter_mut().enumerate() {
        for (attribute, body) in std::mem::take(&mut node.subgraphs) {
            bodies.insert((NodeIdx::new(index), attribute), compile_numbered(body, order, options, next_number));
        }
    }
    let sequence = execution_order(&program, order);
    let place = vec![Place::Host; program.values.len()];
    let streams = [sequence.clone()];
    let plan = plan(&program, sequence, &streams, place, options);
    Compiled {
        value_names: program.values.iter().map(|value| Rc::from(value.name.as_str())).collect(),
        node_names: program
            .nodes
            .iter()
            .map(|node| (Rc::from(node.name.as_str()), Rc::from(node.op_type.as_str())))
            .collect(),
        producers: program.producers(),
        program,
        plan,
        bodies,
        number,
    }
}

impl Compiled {
    /// The owner of a value's memory.
    pub(crate) fn owner(&self, kind: OwnerKind, value: ValueIdx, node: Option<NodeIdx>) -> Owner {
        let (node, op_type) = node.map_or_else(|| ("".into(), "".into()), |node| self.node_names[node.index()].clone());
        Owner { kind, name: self.value_names[value.index()].clone(), node, op_type }
    }
}
