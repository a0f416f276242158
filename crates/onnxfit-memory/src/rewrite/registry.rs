//! The transforms in ONNX Runtime's order, and the loop that runs them.
//!
//! graph_transformer_utils.cc and graph_transformer_mgr.cc (ORT 1.31).

use super::net::{Net, OpId};
use super::{Context, Level, N_STEPS_MAX, fusion, placement};

/// A transform: changes the graph and says how often.
pub(super) type Run = fn(&mut Net, &Context<'_>) -> usize;

/// One transform.
pub(super) struct Transform {
    name: &'static str,
    run: Run,
    /// Whether bodies of control-flow nodes are transformed too.
    enters_bodies: bool,
    /// Whether it runs in the first round only.
    once: bool,
}

const fn transform(name: &'static str, run: Run) -> Transform {
    Transform { name, run, enters_bodies: true, once: false }
}

/// What every session does before optimizing.
const BEFORE: &[Transform] =
    &[transform("EnsureUniqueDQForNodeUnit", super::unique_dequantize::duplicate_dequantizations)];

/// Done while nodes are placed.
const PLACING: &[Transform] = &[transform("InlineFunctions", super::functions::inline_functions)];

/// Level 1: ONNX operators only, before nodes are placed.
const LEVEL_1: &[Transform] = &[
    transform("Level1_RuleBasedTransformer", super::rules::level_1),
    transform("DoubleQDQPairsRemover", super::double_pairs::merge_pairs),
    Transform {
        name: "ConstantSharing",
        run: super::constant_sharing::share_constants,
        enters_bodies: false,
        once: true,
    },
    transform("CommonSubexpressionElimination", super::common_subexpressions::merge_equal_nodes),
    transform("ConstantFolding", super::fold::fold_constants),
    transform("MatMulAddFusion", fusion::matmul_add::level_1),
    transform("ReshapeFusion", fusion::reshape::reshape),
    transform("SliceConcatToSpaceToDepthFusion", fusion::space_to_depth::space_to_depth),
    transform("GeluFusionL1", fusion::gelu::level_1),
    transform("LayerNormFusionL1", fusion::layer_norm::level_1),
    transform("QDQPropagationTransformer", super::quantize_propagation::propagate),
    transform("WeightBiasQuantization", super::weight_bias::quantize_weights),
    transform("EnsureUniqueDQForNodeUnit", super::unique_dequantize::duplicate_dequantizations),
    transform("WhereDummyDq", super::where_dummy::dequantize_numbers),
    Transform { name: "TransposeOptimizer", run: super::transpose::level_1, enters_bodies: true, once: true },
];

/// Level 2: ONNX Runtime's own operators, after nodes are placed.
const LEVEL_2: &[Transform] = &[
    transform("Level2_RuleBasedTransformer", super::rules::level_2),
    Transform { name: "TransposeOptimizer", run: super::transpose::level_2, enters_bodies: true, once: true },
    transform("QDQS8ToU8Transformer", super::quantized::signed_to_unsigned),
    transform("QDQSelectorActionTransformer", super::quantized::replace_units),
    transform("GemmActivationFusion", fusion::activation::gemm),
    transform("MatMulIntegerToFloatFusion", fusion::matmul_integer::matmul_integer),
    transform("DynamicQuantizeMatMulFusion", fusion::dynamic_quantize_matmul::dynamic_quantize_matmul),
    transform("ConvActivationFusion", fusion::activation::conv),
    transform("GeluFusionL2", fusion::gelu::level_2),
    transform("LayerNormFusionL2", fusion::layer_norm::level_2),
    transform("SimplifiedLayerNormFusion", fusion::simplified_layer_norm::simplified_layer_norm),
    transform("GatherSliceToSplitFusion", fusion::gather_to_split::gather_to_split),
    transform("GatherToSliceFusion", fusion::gather_to_slice::gather_to_slice),
    transform("MatmulTransposeFusion", fusion::matmul_transpose::matmul_transpose),
    transform("BiasGeluFusion", fusion::bias_gelu::bias_gelu),
    transform("MatMulAddFusion", fusion::matmul_add::level_2),
    transform("SkipLayerNormFusion", fusion::skip_layer_norm::skip_layer_norm),
    transform("BiasSkipLayerNormFusion", fusion::skip_layer_norm::bias_skip_layer_norm),
    transform("FastGeluFusion", fusion::fast_gelu::fast_gelu),
    transform("QuickGeluFusion", fusion::quick_gelu::quick_gelu),
    transform("BiasSoftmaxFusion", fusion::bias_softmax::bias_softmax),
    transform("MatMulScaleFusion", fusion::matmul_scale::matmul_scale),
    transform("MatMulNBitsFusion", fusion::n_bits_bias::n_bits_bias),
];

/// What every session does after optimizing.
const AFTER: &[Transform] = &[
    transform("CastFloat16Transformer", super::insert_cast::insert_casts),
    transform("RemoveDuplicateCastTransformer", super::insert_cast::remove_duplicate_casts),
];

/// Runs all that the options ask for.
pub(super) fn run(net: &mut Net, context: &Context<'_>) -> Vec<(&'static str, usize)> {
    let mut applied = Vec::new();
    net.resolve();
    if context.has_functions {
        // Then the operators' own functions are inlined early as well (InlineFunctionsAOT).
        run_once(net, context, PLACING, &mut applied);
    }
    run_once(net, context, BEFORE, &mut applied);
    if context.options.level >= Level::Basic {
        run_level(net, context, LEVEL_1, &mut applied);
    }
    run_once(net, context, PLACING, &mut applied);
    placement::place(net, context);
    if context.options.level >= Level::Extended {
        run_level(net, context, LEVEL_2, &mut applied);
    }
    run_once(net, context, AFTER, &mut applied);
    applied
}

fn run_once(net: &mut Net, context: &Context<'_>, list: &[Transform], applied: &mut Vec<(&'static str, usize)>) {
    for transform in list {
        apply(net, context, transform, applied);
    }
}

/// Runs one transform; whether it changed something.
fn apply(
    net: &mut Net,
    context: &Context<'_>,
    transform: &Transform,
    applied: &mut Vec<(&'static str, usize)>,
) -> bool {
    if context.options.disabled_optimizers.iter().any(|name| name == transform.name) {
        return false;
    }
    let count =
        if transform.enters_bodies { everywhere(net, context, transform.run) } else { (transform.run)(net, context) };
    if count > 0 {
        net.resolve();
        match applied.iter_mut().find(|(name, _)| *name == transform.name) {
            Some((_, total)) => *total += count,
            None => applied.push((transform.name, count)),
        }
    }
    count > 0
}

fn run_level(net: &mut Net, context: &Context<'_>, level: &[Transform], applied: &mut Vec<(&'static str, usize)>) {
    for step in 0..N_STEPS_MAX {
        let mut changed = false;
        for transform in level.iter().filter(|transform| step == 0 || !transform.once) {
            changed |= apply(net, context, transform, applied);
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
