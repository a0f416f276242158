//! ONNX Runtime's own operators that are of no other family (contrib_defs.cc, ORT 1.31).

use onnxfit_onnx::DataType;

use crate::context::{Dims, RuleContext, axis_of};
use crate::expr::Expr;
use crate::registry::Entry;
use crate::rules::MICROSOFT;
use crate::rules::elementwise::same;

pub(super) const TABLE: &[Entry] = &[
    (MICROSOFT, "CDist", distances),
    (MICROSOFT, "ExpandDims", expand_dims),
    (MICROSOFT, "MurmurHash3", hash),
    (MICROSOFT, "SampleOp", same),
    (MICROSOFT, "TorchEmbedding", embedding),
    (MICROSOFT, "WordConvEmbedding", word_embedding),
    (MICROSOFT, "IsAllFinite", is_all_finite),
    (MICROSOFT, "DynamicTimeWarping", time_warping),
    (MICROSOFT, "NGramRepeatBlock", |c| like(c, 1)),
    (MICROSOFT, "BifurcationDetector", bifurcation),
    (MICROSOFT, "GatedRMSNorm", same),
    (MICROSOFT, "GatedAdd", same),
    (MICROSOFT, "MoE", same),
    (MICROSOFT, "QMoE", same),
    (MICROSOFT, "BeamSearch", beam_search),
    (MICROSOFT, "WhisperBeamSearch", beam_search),
    (MICROSOFT, "GreedySearch", greedy_search),
    (MICROSOFT, "Sampling", greedy_search),
    (MICROSOFT, "QuantizeBFP", quantize_blocks),
    (MICROSOFT, "QuantizeWithOrder", quantize_with_order),
    (MICROSOFT, "DequantizeWithOrder", dequantize_with_order),
    (MICROSOFT, "QOrderedMatMul", ordered_product),
    (MICROSOFT, "QOrderedGelu", same),
    (MICROSOFT, "MatMulBlockQuantizedFp4Weight", weight_product),
    (MICROSOFT, "MatMulBlockQuantizedFp8Weight", weight_product),
    (MICROSOFT, "BitmaskBiasDropout", same),
    (MICROSOFT, "ShrunkenGather", shrunken_gather),
    (MICROSOFT, "EPContext", |_| None),
    (MICROSOFT, "NhwcConv", nhwc_convolution),
];

fn like(context: &mut RuleContext<'_, '_>, input: usize) -> Option<()> {
    context.set_like(0, context.element_type(input), input);
    Some(())
}

fn distances(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, context.element_type(0), Some(vec![context.dim(0, 0), context.dim(1, 0)]));
    Some(())
}

fn expand_dims(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let shape = context.shape(0)?;
    context.set(0, element_type, Some(vec![None; shape.len() + 1]));
    let axis = axis_of(context.int_input(1)?.as_constant()?, shape.len() + 1)?;
    let mut dims: Dims = shape.iter().cloned().map(Some).collect();
    dims.insert(axis, Some(Expr::constant(1)));
    context.set(0, element_type, Some(dims));
    Some(())
}

fn hash(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let is_unsigned = context.int("positive", 1) != 0;
    context.set_like(0, Some(if is_unsigned { DataType::Uint32 } else { DataType::Int32 }), 0);
    Some(())
}

fn embedding(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let mut dims: Dims = context.shape(1)?.iter().cloned().map(Some).collect();
    dims.push(context.dim(0, 1));
    context.set(0, element_type, Some(dims));
    Some(())
}

fn word_embedding(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(1);
    context.set(0, element_type, None);
    let words = context.shape(0)?;
    let mut dims: Dims = words.get(..words.len().checked_sub(1)?)?.iter().cloned().map(Some).collect();
    dims.push(context.node.int("embedding_size").map(Expr::constant).or_else(|| context.dim(1, 0)));
    context.set(0, element_type, Some(dims));
    Some(())
}

fn is_all_finite(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::Bool), Some(Vec::new()));
    Some(())
}

fn time_warping(context: &mut RuleContext<'_, '_>) -> Option<()> {
    // A path goes through each row and column once at most.
    let rank = context.rank(0)?;
    let (rows, columns) = (context.dim(0, rank.checked_sub(2)?), context.dim(0, rank - 1));
    let most = rows.zip(columns).and_then(|(rows, columns)| rows.add(&columns)?.plus(-1));
    let length = context.data_dependent_dim(0, 1, most);
    context.set(0, Some(DataType::Int32), Some(vec![Some(Expr::constant(2)), Some(length)]));
    Some(())
}

fn bifurcation(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let most = context.dim(0, 0).zip(context.dim(1, 0)).and_then(|(source, current)| source.add(&current)?.plus(1));
    let length = context.data_dependent_dim(0, 0, most);
    context.set(0, context.element_type(1), Some(vec![Some(length)]));
    context.set_like(1, context.element_type(2), 2);
    Some(())
}

fn beam_search(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let (max_length, n_beams, n_sequences) = (context.int_input(1), context.int_input(3), context.int_input(4));
    // Whisper starts from features, whose type is not that of the sequences.
    let is_whisper = context.node.op_type == "WhisperBeamSearch";
    let sequence_type = if is_whisper { Some(DataType::Int32) } else { context.element_type(0) };
    let score_type = context.element_type(5);
    let batch = context.dim(0, 0);
    context.set(0, sequence_type, Some(vec![batch.clone(), n_sequences.clone(), max_length.clone()]));
    context.set(1, score_type, Some(vec![batch.clone(), n_sequences]));
    let n_steps = max_length.zip(context.dim(0, 1)).and_then(|(most, length)| most.sub(&length));
    let vocabulary = context.node.int("vocab_size").filter(|size| *size > 0).map(Expr::constant);
    context.set(2, score_type, Some(vec![n_steps, batch, n_beams, vocabulary]));
    Some(())
}

fn greedy_search(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, context.element_type(0), Some(vec![context.dim(0, 0), context.int_input(1)]));
    context.set(1, Some(DataType::Float), Some(vec![context.dim(0, 0), None]));
    Some(())
}

fn quantize_blocks(context: &mut RuleContext<'_, '_>) -> Option<()> {
    // How the blocks are padded is the hardware's business.
    context.set(0, Some(DataType::Uint8), Some(vec![None]));
    let rank = i64::try_from(context.rank(0)?).ok()?;
    for output in 1..3 {
        context.set(output, Some(DataType::Int64), Some(vec![Some(Expr::constant(rank))]));
    }
    Some(())
}

fn quantize_with_order(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set_like(0, Some(DataType::Int8), 0);
    Some(())
}

fn dequantize_with_order(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.type_attribute("to").or(context.element_type(1));
    context.set_like(0, element_type, 0);
    Some(())
}

fn ordered_product(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let mut dims: Dims = context.shape(0)?.iter().cloned().map(Some).collect();
    let columns = context.rank(2).and_then(|rank| context.dim(2, rank.checked_sub(1)?));
    *dims.last_mut()? = columns;
    context.set(0, element_type, Some(dims));
    Some(())
}

fn weight_product(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let mut dims: Dims = context.shape(0)?.iter().cloned().map(Some).collect();
    *dims.last_mut()? = context.dim(1, 0);
    context.set(0, element_type, Some(dims));
    Some(())
}

fn shrunken_gather(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element_type = context.element_type(0);
    context.set(0, element_type, None);
    let (data, indices) = (context.shape(0)?, context.shape(1)?);
    let axis = axis_of(context.int("axis", 0), data.len())?;
    let dims = [&data[..axis], indices, &data[axis + 1..]].concat();
    context.set_shape(0, element_type, &dims);
    Some(())
}

fn nhwc_convolution(context: &mut RuleContext<'_, '_>) -> Option<()> {
    crate::rules::convolution::convolution(context, context.element_type(0), 0, 1, true)
}
