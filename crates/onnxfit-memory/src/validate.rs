//! Checks an allocation plan without the planner's code: no two live values share bytes unless the
//! plan says why, and the reason holds.
//!
//! The check knows nothing of free lists or use counts. It derives lifetimes from the order alone
//! and compares, value by value, who uses a buffer when.

use crate::plan::{AllocKind, Plan, ReuseKind};
use crate::program::{NodeIdx, Program, ValueIdx};

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A node is missing from the order, or there twice.
    #[error("the order has {have} nodes, the program {need}")]
    WrongOrder {
        /// Nodes in the order.
        have: usize,
        /// Nodes in the program.
        need: usize,
    },
    /// A node runs before what it reads is made.
    #[error("node {node:?} runs before its input `{value}` is made")]
    ReadBeforeMade {
        /// The node.
        node: NodeIdx,
        /// The value.
        value: String,
    },
    /// A buffer is written while an older value in it is still to be read.
    #[error("`{new}` is written over `{old}`, which node {reader:?} still reads")]
    Overwritten {
        /// The value that is written.
        new: String,
        /// The value that is lost.
        old: String,
        /// Who still reads it.
        reader: NodeIdx,
    },
    /// A value's memory is released before its last reader.
    #[error("`{value}` is released after node {released:?}, but node {reader:?} still reads it")]
    ReleasedTooEarly {
        /// The value.
        value: String,
        /// The node after which it is released.
        released: NodeIdx,
        /// Who still reads it.
        reader: NodeIdx,
    },
    /// A buffer is released twice, or one that is not owned is released.
    #[error("the buffer of `{value}` is released wrongly")]
    WrongRelease {
        /// The value.
        value: String,
    },
    /// A value uses the memory of one that does not own any here.
    #[error("`{value}` uses the memory of `{owner}`, which may not be written")]
    WrongOwner {
        /// The value.
        value: String,
        /// The owner.
        owner: String,
    },
}

/// Finds the first thing that is wrong with a plan.
pub fn validate(program: &Program, plan: &Plan) -> Result<(), PlanError> {
    let steps = steps(program, plan)?;
    let made = made_at(program, plan, &steps)?;
    check_sharing(program, plan, &steps, &made)?;
    check_releases(program, plan, &steps)
}

/// The step of each node.
fn steps(program: &Program, plan: &Plan) -> Result<Vec<usize>, PlanError> {
    let wrong = PlanError::WrongOrder { have: plan.order.len(), need: program.nodes.len() };
    let mut steps = vec![usize::MAX; program.nodes.len()];
    for (step, node) in plan.order.iter().enumerate() {
        if std::mem::replace(&mut steps[node.index()], step) != usize::MAX {
            return Err(wrong);
        }
    }
    if steps.contains(&usize::MAX) { Err(wrong) } else { Ok(steps) }
}

/// The step at which each value is made; `None` for what exists before.
fn made_at(program: &Program, plan: &Plan, steps: &[usize]) -> Result<Vec<Option<usize>>, PlanError> {
    let mut made = vec![None; program.values.len()];
    for node in program.node_indices() {
        for output in program.node(node).present_outputs() {
            made[output.index()] = Some(steps[node.index()]);
        }
    }
    for &node in &plan.order {
        for value in program.node(node).reads() {
            if made[value.index()].is_some_and(|step| step >= steps[node.index()]) {
                return Err(PlanError::ReadBeforeMade { node, value: program.value(value).name.to_string() });
            }
        }
    }
    Ok(made)
}

fn check_sharing(program: &Program, plan: &Plan, steps: &[usize], made: &[Option<usize>]) -> Result<(), PlanError> {
    let name = |value: ValueIdx| program.value(value).name.to_string();
    let mut readers: Vec<Vec<NodeIdx>> = vec![Vec::new(); program.values.len()];
    for &node in &plan.order {
        for value in program.node(node).reads() {
            readers[value.index()].push(node);
        }
    }
    let mut sharers: Vec<Vec<ValueIdx>> = vec![Vec::new(); program.values.len()];
    for index in 0..program.values.len() {
        sharers[plan.buffer[index].index()].push(ValueIdx::new(index));
    }
    for group in sharers.iter().filter(|group| group.len() > 1) {
        for &new in group {
            // Only a value that is written over others can hurt; an alias writes nothing.
            let Some(at) = made[new.index()] else { continue };
            if !matches!(plan.reuse[new.index()], Some(ReuseKind::InPlace | ReuseKind::FreeList)) {
                continue;
            }
            let owner = plan.buffer[new.index()];
            if plan.kind[owner.index()] != AllocKind::Allocate {
                return Err(PlanError::WrongOwner { value: name(new), owner: name(owner) });
            }
            for &old in group.iter().filter(|&&old| old != new && made[old.index()].is_none_or(|made| made <= at)) {
                if made[old.index()] == Some(at) {
                    return Err(PlanError::Overwritten { new: name(new), old: name(old), reader: plan.order[at] });
                }
                // In place, the writing node itself is allowed to be the last reader.
                let allowed = usize::from(plan.reuse[new.index()] == Some(ReuseKind::InPlace));
                let late = readers[old.index()].iter().find(|reader| steps[reader.index()] + 1 > at + allowed);
                if let Some(&reader) = late {
                    return Err(PlanError::Overwritten { new: name(new), old: name(old), reader });
                }
            }
        }
    }
    Ok(())
}

fn check_releases(program: &Program, plan: &Plan, steps: &[usize]) -> Result<(), PlanError> {
    let mut released: Vec<Option<NodeIdx>> = vec![None; program.values.len()];
    for &node in &plan.order {
        for &value in &plan.released_after[node.index()] {
            let owned = plan.kind[value.index()] == AllocKind::Allocate && plan.buffer[value.index()] == value;
            if !owned || released[value.index()].replace(node).is_some() {
                return Err(PlanError::WrongRelease { value: program.value(value).name.to_string() });
            }
        }
    }
    for &reader in &plan.order {
        for value in program.node(reader).reads() {
            let at = released[plan.buffer[value.index()].index()];
            if let Some(released) = at.filter(|at| steps[at.index()] < steps[reader.index()]) {
                let value = program.value(value).name.to_string();
                return Err(PlanError::ReleasedTooEarly { value, released, reader });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
