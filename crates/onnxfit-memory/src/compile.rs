//! From a program to a plan, subgraphs included.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::order::{ExecutionOrder, execution_order};
use crate::placement;
use crate::plan::{PlanOptions, plan};
use crate::program::{NodeIdx, Place, Program, ValueIdx};
use crate::schedule;
use crate::simulate::Compiled;
use crate::trace::{Owner, OwnerKind};

/// What a plan depends on besides the program.
#[derive(Clone, Copy, Debug, Default)]
pub struct CompileOptions {
    /// `execution_order`.
    pub order: ExecutionOrder,
    /// Reuse switches.
    pub plan: PlanOptions,
    /// Whether the CUDA provider comes before the CPU provider.
    pub cuda: bool,
}

/// Places and plans a program and its subgraphs.
pub fn compile(program: Program, options: CompileOptions) -> Compiled {
    compile_numbered(program, options, &mut 0)
}

fn compile_numbered(mut program: Program, options: CompileOptions, next_number: &mut usize) -> Compiled {
    let number = *next_number;
    *next_number += 1;
    let mut bodies = BTreeMap::new();
    for (index, node) in program.nodes.iter_mut().enumerate() {
        let captures_are_tensors = node.implicit_inputs.iter().all(|value| program.values[value.index()].is_tensor);
        for (attribute, body) in std::mem::take(&mut node.subgraphs) {
            let mut body = compile_numbered(body, options, next_number);
            body.allows_patterns &= captures_are_tensors;
            bodies.insert((NodeIdx::new(index), attribute), body);
        }
    }
    if options.cuda {
        placement::assign_cuda(&mut program);
    }
    let place = if options.cuda { placement::places(&program) } else { vec![Place::Host; program.values.len()] };
    let planned = execution_order(&program, options.order);
    let streams = schedule::streams(&program, &planned);
    let sequence = schedule::launch_order(&program, &streams);
    let plan = plan(&program, sequence, &streams, place, options.plan);
    Compiled {
        value_names: program.values.iter().map(|value| Rc::from(value.name.as_str())).collect(),
        node_names: program
            .nodes
            .iter()
            .map(|node| (Rc::from(node.name.as_str()), Rc::from(node.op_type.as_str())))
            .collect(),
        producers: program.producers(),
        allows_patterns: program.inputs.iter().all(|input| program.value(*input).is_tensor),
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
