//! Which nodes stay float32 because of the numbers that flow through them.
//!
//! Measured ranges decide where there are some. Where there are none the rules are cautious:
//! squares, powers, exponentials and sums stay, and so does what reads them, until an operator
//! brings the numbers back (a root, a bounded activation, a matrix product with tame weights).

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::Node;
use onnxfit_onnx::{DataType, TensorSource};

use super::HalfOptions;
use super::convert::HalfType;
use super::elements::Element;
use super::numbers::{is_too_large, lost, small_floats};
use super::quirks;
use super::reason::Reason;
use super::slots::Slots;
use super::world::World;

/// Numbers below this mean "never look here".
pub(super) const MASK: f32 = -1e9;

/// What the rules look at.
pub(super) struct Facts<'a, 'm> {
    pub(super) world: &'a World<'m>,
    pub(super) elements: &'a [Element],
    /// About how many elements each value has.
    pub(super) n_elements: &'a [u64],
    pub(super) weights: &'a dyn TensorSource,
    pub(super) options: &'a HalfOptions,
}

/// Marks every node that has to stay.
pub(super) fn keep_islands(facts: &Facts<'_, '_>, slots: &mut Slots) {
    let world = facts.world;
    for (number, _, _) in world.all_nodes() {
        let options = facts.options;
        if [&options.keep_nodes, &options.exact_nodes].iter().any(|names| options.is_named(names, world, number)) {
            slots.keep(number, Reason::Asked);
        }
    }
    for number in 0..world.n_nodes() {
        let Some((scope, id, node)) = world.node(number) else { continue };
        if quirks::must_stay(world.scopes[scope].graph, id, node) {
            slots.keep(number, Reason::RuntimeBug);
        }
    }
    keep_quantized(facts, slots);
    keep_constants(facts, slots);
    keep_whole_numbers_and_phases(facts, slots);
    keep_overflows(facts, slots);
}

impl Facts<'_, '_> {
    fn is_float(&self, value: usize) -> bool {
        self.elements[self.world.definition[value]].is_float()
    }

    /// The float inputs of a node, with their position.
    fn float_inputs(&self, scope: usize, node: &Node) -> Vec<(usize, usize)> {
        let values = node.inputs.iter().enumerate();
        values
            .filter_map(|(index, value)| Some((index, self.world.value(scope, (*value)?))))
            .filter(|(_, value)| self.is_float(*value))
            .collect()
    }

    fn constant(&self, value: usize) -> Option<Vec<f32>> {
        small_floats(self.world, self.weights, value)
    }

    /// The node that makes a value, with its scope.
    fn made_by(&self, value: usize) -> Option<(usize, &Node)> {
        let (number, _) = self.world.producer(value)?;
        self.world.node(number).map(|(scope, _, node)| (scope, node))
    }

    /// The node that makes an input of a node.
    fn input_made_by(&self, scope: usize, node: &Node, index: usize) -> Option<(usize, &Node)> {
        self.made_by(self.world.value(scope, node.input(index)?))
    }
}

/// ONNX Runtime fuses an operator with the DequantizeLinear before and the QuantizeLinear after
/// it only if nothing stands between them. And what is rounded to 8 bits at run time had better not
/// be rounded to 11 before: near the middle between two steps that tips the balance.
fn keep_quantized(facts: &Facts<'_, '_>, slots: &mut Slots) {
    let mut queue = Vec::new();
    for (number, scope, node) in facts.world.all_nodes() {
        let is_border = matches!(node.op_type.as_str(), "DequantizeLinear" | "QuantizeLinear");
        let follows = facts
            .float_inputs(scope, node)
            .iter()
            .any(|(_, value)| facts.made_by(*value).is_some_and(|(_, maker)| maker.op_type == "DequantizeLinear"));
        if is_border || follows {
            slots.keep(number, Reason::Quantized);
        }
        if node.op_type.starts_with("DynamicQuantize") {
            queue.push(number);
        }
    }
    let mut seen = BTreeSet::new();
    while let Some(number) = queue.pop() {
        if !seen.insert(number) {
            continue;
        }
        slots.keep(number, Reason::Quantized);
        let Some((scope, _, node)) = facts.world.node(number) else { continue };
        let makers = facts.float_inputs(scope, node).into_iter().filter_map(|(_, value)| facts.world.producer(value));
        queue.extend(makers.map(|(maker, _)| maker));
    }
}

fn keep_constants(facts: &Facts<'_, '_>, slots: &mut Slots) {
    let target = facts.options.target;
    let mut tiny_sums = BTreeSet::new();
    for (number, scope, node) in facts.world.all_nodes() {
        if !slots.is_open(number) || !node.domain.is_empty() {
            continue;
        }
        for (index, value) in facts.float_inputs(scope, node) {
            let Some(numbers) = facts.constant(value) else { continue };
            let op_type = node.op_type.as_str();
            if let Some(odd) = lost(&numbers, target).filter(|_| is_sensitive(op_type)) {
                slots.keep(number, Reason::Constant(odd));
                if matches!(op_type, "Add" | "Sub" | "Mul") {
                    tiny_sums.extend(node.output(0).map(|value| facts.world.value(scope, value)));
                }
            }
            let large = numbers.iter().copied().find(|constant| is_too_large(*constant, target));
            if let Some(large) = large.filter(|large| !may_clamp(facts, scope, node, index, *large)) {
                slots.keep(number, Reason::Constant(large));
            }
        }
    }
    // `x / (y + 1e-12)`: the sum can be as small as the constant, so who divides by it stays too.
    for (number, scope, node) in facts.world.all_nodes() {
        let reads_tiny = facts.float_inputs(scope, node).iter().any(|(_, value)| tiny_sums.contains(value));
        if reads_tiny && matches!(node.op_type.as_str(), "Sqrt" | "Div" | "Reciprocal" | "Log" | "Pow") {
            slots.keep(number, Reason::Constant(target.min_positive()));
        }
    }
}

/// Whether a constant that is a little off makes the result very much off. Bounds are not: a bound
/// that would become zero is raised to the smallest number instead.
fn is_sensitive(op_type: &str) -> bool {
    matches!(
        op_type,
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual"
    )
}

/// Whether a number past the range means "as far as it goes": the bound of a clip, or the fill of
/// a mask.
fn may_clamp(facts: &Facts<'_, '_>, scope: usize, node: &Node, index: usize, number: f32) -> bool {
    match node.op_type.as_str() {
        "Add" | "Sub" => number < 0.0 || node.op_type == "Sub",
        // `(1 - mask) * -3.4e38`.
        "Mul" => {
            let other = facts.float_inputs(scope, node).into_iter().find(|(position, _)| *position != index);
            number < 0.0 && other.is_some_and(|(_, value)| is_from_mask(facts, value, 0))
        }
        "Div" | "Pow" | "Mod" | "Sqrt" | "Log" | "ReduceSum" | "ReduceMean" | "ReduceProd" | "Range" | "CumSum" => {
            false
        }
        _ => true,
    }
}

/// Whether a float is made of whole numbers or truth values only: a mask.
fn is_from_mask(facts: &Facts<'_, '_>, value: usize, depth: usize) -> bool {
    const DEPTH_MAX: usize = 12;
    if facts.constant(value).is_some() {
        return true;
    }
    let Some((number, _)) = facts.world.producer(value).filter(|_| depth < DEPTH_MAX) else { return false };
    let Some((scope, _, node)) = facts.world.node(number) else { return false };
    if node.is("Cast") {
        let from = node.input(0).map(|id| facts.world.value(scope, id));
        return from.is_some_and(|from| !facts.is_float(from) || is_from_mask(facts, from, depth + 1));
    }
    let copies = [
        "Sub",
        "Add",
        "Mul",
        "Unsqueeze",
        "Squeeze",
        "Reshape",
        "Expand",
        "Identity",
        "Slice",
        "Where",
        "Transpose",
        "Concat",
    ];
    let inputs = facts.float_inputs(scope, node);
    node.domain.is_empty()
        && copies.contains(&node.op_type.as_str())
        && inputs.iter().all(|(_, value)| is_from_mask(facts, *value, depth + 1))
}

/// Operators that a chain of index or phase arithmetic is followed through, backwards.
const ARITHMETIC: [&str; 38] = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Neg",
    "Abs",
    "Floor",
    "Ceil",
    "Round",
    "Mod",
    "Min",
    "Max",
    "Clip",
    "Log",
    "Exp",
    "Sqrt",
    "Pow",
    "Reciprocal",
    "Where",
    "Cast",
    "Identity",
    "Unsqueeze",
    "Squeeze",
    "Reshape",
    "Expand",
    "Concat",
    "Slice",
    "Gather",
    "Transpose",
    "Flatten",
    "Range",
    "CumSum",
    "Tile",
    "Split",
    "Sign",
    "ScatterND",
    "Resize",
    "ConstantOfShape",
];

fn keep_whole_numbers_and_phases(facts: &Facts<'_, '_>, slots: &mut Slots) {
    let mut queue: Vec<(usize, Reason)> = Vec::new();
    for (number, scope, node) in facts.world.all_nodes().filter(|(_, _, node)| node.domain.is_empty()) {
        let inputs = facts.float_inputs(scope, node);
        let is_start = match node.op_type.as_str() {
            "Cast" => {
                let to = node.int("to").and_then(|to| DataType::from_number(to as i32));
                let is_int = to.is_some_and(|to| !to.is_float() && to != DataType::Bool && to != DataType::String);
                is_int.then_some(Reason::WholeNumbers)
            }
            "Floor" | "Ceil" | "Round" => Some(Reason::WholeNumbers),
            "Sin" | "Cos" | "Tan" => Some(Reason::Phase),
            _ => None,
        };
        if let Some(reason) = is_start.filter(|_| !inputs.is_empty()) {
            queue.push((number, reason));
        }
        // A few whole numbers as floats are sizes: cheap to keep, and past 2048 no longer exact.
        if node.is("Cast") && is_from_whole_numbers(facts, scope, node) {
            let small = node.output(0).map(|id| facts.world.value(scope, id));
            if small.is_some_and(|value| facts.is_float(value) && facts.n_elements[value] <= super::numbers::N_SMALL) {
                slots.keep(number, Reason::WholeNumbers);
            }
        }
    }
    let mut seen = BTreeSet::new();
    while let Some((number, reason)) = queue.pop() {
        if !seen.insert(number) {
            continue;
        }
        slots.keep(number, reason.clone());
        let Some((scope, _, node)) = facts.world.node(number) else { continue };
        for (_, value) in facts.float_inputs(scope, node) {
            let Some((maker, _)) = facts.world.producer(value) else { continue };
            let Some((maker_scope, _, maker_node)) = facts.world.node(maker) else { continue };
            let is_small_product = maker_node.is("MatMul")
                && reason == Reason::Phase
                && facts.float_inputs(maker_scope, maker_node).iter().all(|(_, value)| {
                    facts.world.fixed_tensor(*value).is_none_or(|tensor| tensor.n_elements().is_ok_and(|n| n <= 4096))
                });
            if (maker_node.domain.is_empty() && ARITHMETIC.contains(&maker_node.op_type.as_str())) || is_small_product {
                queue.push((maker, reason.clone()));
            }
        }
    }
}

fn is_from_whole_numbers(facts: &Facts<'_, '_>, scope: usize, node: &Node) -> bool {
    let from = node.input(0).map(|id| facts.elements[facts.world.definition[facts.world.value(scope, id)]]);
    matches!(from, Some(Element::Tensor(from)) if !from.is_float() && from != DataType::Bool && from != DataType::String)
}

/// What an operator does to the size of numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Growth {
    /// The result may be far larger than what went in.
    Grows,
    /// The operator must compute in float32, but the result is as tame as what went in.
    Inside,
    /// As large as what went in.
    Passes,
    /// The result is in range whatever went in.
    Bounded,
}

fn growth(facts: &Facts<'_, '_>, scope: usize, node: &Node) -> Growth {
    let input = |index| node.input(index).map(|id| facts.world.value(scope, id));
    match (node.domain.as_str(), node.op_type.as_str()) {
        ("", "Pow") => match input(1).and_then(|value| facts.constant(value)) {
            Some(exponents) if exponents.iter().all(|exponent| exponent.abs() <= 1.0 && *exponent > 0.0) => {
                Growth::Bounded
            }
            _ => Growth::Grows,
        },
        // `exp(x - max(x))`, as in a softmax written out.
        ("", "Exp") if is_minus_max(facts, scope, node) => Growth::Bounded,
        ("", "Exp" | "ReduceSum" | "ReduceSumSquare" | "ReduceProd" | "ReduceL1" | "CumSum" | "Sinh" | "Cosh") => {
            Growth::Grows
        }
        ("", "Mul") if node.inputs.len() == 2 && node.inputs[0] == node.inputs[1] => Growth::Grows,
        // Accumulators of integer products, up to 2^31, until the scale is applied.
        ("", "Cast") if is_integer_product(facts, scope, node) => Growth::Grows,
        ("", "Mul") if (0..2).any(|index| is_scaled_product(facts, scope, node, index)) => Growth::Bounded,
        (
            "",
            "ReduceL2"
            | "ReduceLogSum"
            | "ReduceLogSumExp"
            | "LpNormalization"
            | "LpPool"
            | "GlobalLpPool"
            | "Softplus"
            | "MeanVarianceNormalization",
        )
        | ("com.microsoft", "SimplifiedLayerNormalization" | "SkipSimplifiedLayerNormalization") => Growth::Inside,
        ("", "SimplifiedLayerNormalization" | "RMSNormalization") => Growth::Inside,
        (
            "",
            "Add" | "Sub" | "Mul" | "Neg" | "Abs" | "Identity" | "Reshape" | "Transpose" | "Unsqueeze" | "Squeeze"
            | "Concat" | "Slice" | "Expand" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "Gather" | "Split" | "Tile"
            | "Where" | "Max" | "Dropout" | "Flatten" | "Pad" | "Relu" | "LeakyRelu" | "PRelu" | "Sum" | "Mean"
            | "GatherElements" | "GatherND" | "ScatterND" | "ScatterElements" | "Cast" | "AveragePool" | "MaxPool"
            | "GlobalAveragePool" | "GlobalMaxPool" | "If" | "Loop" | "Scan",
        ) => Growth::Passes,
        _ => Growth::Bounded,
    }
}

/// Whether the input is `x - max(x)`.
fn is_minus_max(facts: &Facts<'_, '_>, scope: usize, node: &Node) -> bool {
    let difference = facts.input_made_by(scope, node, 0).filter(|(_, node)| node.is("Sub"));
    let maximum = difference.and_then(|(scope, node)| facts.input_made_by(scope, node, 1));
    maximum.is_some_and(|(_, node)| node.is("ReduceMax"))
}

fn is_integer_product(facts: &Facts<'_, '_>, scope: usize, cast: &Node) -> bool {
    let product = facts.input_made_by(scope, cast, 0);
    product.is_some_and(|(_, node)| matches!(node.op_type.as_str(), "MatMulInteger" | "ConvInteger"))
}

fn is_scaled_product(facts: &Facts<'_, '_>, scope: usize, node: &Node, index: usize) -> bool {
    let cast = facts.input_made_by(scope, node, index).filter(|(_, node)| node.is("Cast"));
    cast.is_some_and(|(scope, cast)| is_integer_product(facts, scope, cast))
}

fn keep_overflows(facts: &Facts<'_, '_>, slots: &mut Slots) {
    let target = facts.options.target;
    let mut wild: BTreeMap<usize, Reason> = BTreeMap::new();
    for (scope, entry) in facts.world.scopes.iter().enumerate() {
        for id in entry.graph.topological_order().unwrap_or_default() {
            let node = entry.graph.node(id);
            let number = facts.world.node_number(scope, id);
            if node.is("Constant") {
                continue;
            }
            let inputs = facts.float_inputs(scope, node);
            let input = inputs.iter().find_map(|(_, value)| wild.get(&facts.world.definition[*value]).cloned());
            if let Some(reason) = &input {
                slots.keep(number, reason.clone());
            }
            let growth = growth(facts, scope, node);
            let n_wild = inputs.iter().filter(|(_, value)| wild.contains_key(&facts.world.definition[*value])).count();
            for output in node.outputs.iter().flatten() {
                let value = facts.world.value(scope, *output);
                if !facts.is_float(value) {
                    continue;
                }
                let reason = match facts.measured(value) {
                    Some(range) => range.verdict(target),
                    // bfloat16 has the range of float.
                    None if target == HalfType::Bfloat16 => None,
                    None => match growth {
                        Growth::Grows => Some(Reason::MayOverflow),
                        Growth::Inside => {
                            slots.keep(number, Reason::MayOverflow);
                            None
                        }
                        Growth::Passes => input.clone(),
                        Growth::Bounded => None,
                    },
                };
                // A quotient of two large numbers is no large number.
                let is_quotient = node.is("Div") && facts.measured(value).is_none();
                let first_is_wild = inputs.first().is_some_and(|(_, v)| wild.contains_key(&facts.world.definition[*v]));
                let reason = if is_quotient { input.clone().filter(|_| n_wild == 1 && first_is_wild) } else { reason };
                if let Some(reason) = reason {
                    slots.keep(number, reason.clone());
                    wild.insert(value, reason);
                }
            }
        }
    }
}

impl Facts<'_, '_> {
    fn measured(&self, value: usize) -> Option<&super::ValueRange> {
        self.options.ranges.as_ref()?.get(&self.world.get(value).name)
    }
}

impl super::ValueRange {
    /// Why numbers of this range cannot be half, if so. Numbers far below zero are masks.
    fn verdict(&self, target: HalfType) -> Option<Reason> {
        /// A run that was not measured may go a little further.
        const HEADROOM: f32 = 0.75;
        let bound = target.max() * HEADROOM;
        if self.largest > bound {
            Some(Reason::Overflows(self.largest))
        } else if self.smallest < -bound && self.smallest > MASK {
            Some(Reason::Overflows(self.smallest))
        } else if self.share_vanishing > 0.5 {
            Some(Reason::Underflows)
        } else {
            None
        }
    }
}
