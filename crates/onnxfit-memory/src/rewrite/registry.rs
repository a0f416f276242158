//! The transforms in ONNX Runtime's order, and the loop that runs them.
//!
//! graph_transformer_utils.cc and graph_transformer_mgr.cc (ORT 1.31).

use super::net::{Net, OpId};
use super::{Context, Level, N_STEPS_MAX};

/// A transform: changes the graph and says how often.
pub(super) type Run = fn(&mut Net, &Context<'_>) -> usize;

/// One transform.
pub(super) struct Transform {
    name: &'static str,
    run: Run,
    /// Whether bodies of control-flow nodes are transformed too.
    enters_bodies: bool,
}

const fn transform(name: &'static str, run: Run) -> Transform {
    Transform { name, run, enters_bodies: true }
}

/// Level 1: ONNX operators only, before nodes are placed.
const LEVEL_1: &[Transform] = &[
    transform("Level1_RuleBasedTransformer", super::rules::level_1),
    Transform { name: "ConstantSharing", run: super::constant_sharing::share_constants, enters_bodies: false },
    transform("CommonSubexpressionElimination", super::common_subexpressions::merge_equal_nodes),
    transform("ConstantFolding", super::fold::fold_constants),
];

/// Level 2: ONNX Runtime's own operators, after nodes are placed.
const LEVEL_2: &[Transform] = &[];

/// Runs all that the options ask for.
pub(super) fn run(net: &mut Net, context: &Context<'_>) -> Vec<(&'static str, usize)> {
    let mut applied = Vec::new();
    net.resolve();
    if context.options.level >= Level::Basic {
        run_level(net, context, LEVEL_1, &mut applied);
    }
    if context.options.level >= Level::Extended {
        run_level(net, context, LEVEL_2, &mut applied);
    }
    applied
}

fn run_level(net: &mut Net, context: &Context<'_>, level: &[Transform], applied: &mut Vec<(&'static str, usize)>) {
    for _ in 0..N_STEPS_MAX {
        let mut changed = false;
        for transform in level {
            if context.options.disabled_optimizers.iter().any(|name| name == transform.name) {
                continue;
            }
            let count = if transform.enters_bodies {
                everywhere(net, context, transform.run)
            } else {
                (transform.run)(net, context)
            };
            if count > 0 {
                net.resolve();
                changed = true;
                match applied.iter_mut().find(|(name, _)| *name == transform.name) {
                    Some((_, total)) => *total += count,
                    None => applied.push((transform.name, count)),
                }
            }
        }
        if !changed {
            return;
        }
    }
}

/// Runs a transform on the bodies, then on the graph around them.
fn everywhere(net: &mut Net, context: &Context<'_>, run: Run) -> usize {
    let with_bodies: Vec<OpId> = net.ids().filter(|id| !net.op(*id).bodies.is_empty()).collect();
    let mut count = 0;
    for id in with_bodies {
        let outer = net.outer_of(id);
        let mut bodies = std::mem::take(&mut net.op_mut(id).bodies);
        for body in &mut bodies {
            body.net.enter(&outer);
            count += everywhere(&mut body.net, context, run);
        }
        net.op_mut(id).bodies = bodies;
    }
    count + run(net, context)
}
