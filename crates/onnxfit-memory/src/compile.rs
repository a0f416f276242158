//! From a program to a plan, subgraphs included.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::order::{ExecutionOrder, execution_order};
use crate::placement;
use crate::plan::{PlanOptions, plan};
use crate::program::{NodeIdx, Place, Program, ValueIdx};
use crate::schedule;
use crate::simulate::{Compiled, Kernel, Maker};
use crate::trace::{NameRef, NodeRef, OwnerKind, OwnerRef};
use crate::weights::WeightIndex;
use crate::workspace;

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
    compile_numbered(program, None, options, &mut 0)
}

/// The same where the default order of the program's nodes is known already.
pub(crate) fn compile_ordered(program: Program, order: Vec<NodeIdx>, options: CompileOptions) -> Compiled {
    // The CUDA provider adds nodes.
    let order = Some(order).filter(|_| !options.cuda && options.order == ExecutionOrder::Default);
    compile_numbered(program, order, options, &mut 0)
}

fn compile_numbered(
    mut program: Program,
    order: Option<Vec<NodeIdx>>,
    options: CompileOptions,
    next_number: &mut usize,
) -> Compiled {
    let number = *next_number;
    *next_number += 1;
    let mut bodies = BTreeMap::new();
    for (index, node) in program.nodes.iter_mut().enumerate() {
        let captures_are_tensors = node.implicit_inputs.iter().all(|value| program.values[value.index()].is_tensor);
        let mut inner = options;
        inner.plan.in_loop = node.op_type.as_str() == "Loop";
        for (attribute, body) in std::mem::take(&mut node.subgraphs) {
            let mut body = compile_numbered(body, None, inner, next_number);
            body.allows_patterns &= captures_are_tensors;
            bodies.insert((NodeIdx::new(index), attribute), body);
        }
    }
    if options.cuda {
        placement::assign_cuda(&mut program);
    }
    let place = if options.cuda { placement::places(&program) } else { vec![Place::Host; program.values.len()] };
    let planned = order.unwrap_or_else(|| execution_order(&program, options.order));
    let streams = schedule::streams(&program, &planned);
    let sequence = schedule::launch_order(&program, &streams);
    let plan = plan(&program, sequence, &streams, place, options.plan);
    let kernels = program.nodes.iter().enumerate().map(|(index, node)| {
        let has_body = bodies.range((NodeIdx::new(index), String::new())..).next();
        let script = workspace::script_of(node);
        Kernel {
            script,
            is_modelled: script.is_some() || workspace::needs_no_scratch(node),
            maker: Maker::of(node),
            has_body: has_body.is_some_and(|((owner, _), _)| owner.index() == index),
        }
    });
    let mut is_output = vec![false; program.values.len()];
    for output in &program.outputs {
        is_output[output.index()] = true;
    }
    Compiled {
        kernels: kernels.collect(),
        weights: WeightIndex::of(&program),
        is_output,
        producers: program.producers(),
        allows_patterns: program.inputs.iter().all(|input| program.value(*input).is_tensor),
        program: Arc::new(program),
        loaded: OnceLock::new(),
        plan,
        bodies,
        number,
    }
}

impl Compiled {
    /// The owner of a value's memory.
    pub(crate) fn owner(&self, kind: OwnerKind, value: ValueIdx, node: Option<NodeIdx>) -> OwnerRef {
        let name = NameRef::Value(self.number as u32, value);
        OwnerRef { kind, name, node: node.map(|node| self.node_ref(node)) }
    }

    /// The owner of what a kernel takes for itself.
    pub(crate) fn owner_of_scratch(&self, kind: OwnerKind, what: &'static str, node: NodeIdx) -> OwnerRef {
        OwnerRef { kind, name: NameRef::What(what), node: Some(self.node_ref(node)) }
    }

    pub(crate) fn node_ref(&self, node: NodeIdx) -> NodeRef {
        NodeRef { program: self.number as u32, node }
    }

    pub(crate) fn is_output(&self, value: ValueIdx) -> bool {
        self.is_output[value.index()]
    }

    /// This program and those of all bodies, each at its number.
    pub(crate) fn all_programs(&self) -> Vec<Arc<Program>> {
        let mut numbered = BTreeMap::new();
        let mut stack = vec![self];
        while let Some(compiled) = stack.pop() {
            numbered.insert(compiled.number, Arc::clone(&compiled.program));
            stack.extend(compiled.bodies.values());
        }
        numbered.into_values().collect()
    }
}
