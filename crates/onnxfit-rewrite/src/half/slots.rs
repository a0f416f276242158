//! Which float slots of a model change type together: one variable for each type variable of each
//! node, and one for each value that passes the border of a body.

use std::collections::BTreeMap;

use onnxfit_graph::Node;

use super::convert::HalfType;
use super::elements::{Element, body_inputs, body_outputs};
use super::reason::Reason;
use super::world::{World, constant_node_tensor};
use crate::operators::{Slot, Support};

/// Slots that change type together.
#[derive(Clone, Debug, Default)]
pub(super) struct Variable {
    /// The node it belongs to; `None` for the two that stand for the model's own border.
    pub(super) node: Option<usize>,
    /// Why it must stay float32.
    pub(super) stays: Option<Reason>,
    /// Whether it must become half.
    pub(super) must_change: bool,
}

/// The variable of everything that can only be float32.
pub(super) const FLOAT: usize = 0;
/// The variable of the model's float32 inputs and outputs; crossing to it is free.
pub(super) const BORDER: usize = 1;

/// The float slots of a model.
pub(super) struct Slots {
    pub(super) variables: Vec<Variable>,
    /// By node and input: the variable of a float slot.
    pub(super) inputs: BTreeMap<(usize, usize), usize>,
    /// By value (definitions only): the variable of who makes it; `None` for fixed tensors.
    pub(super) makers: BTreeMap<usize, usize>,
    /// By scope and output: the variable of the float that leaves the graph there.
    pub(super) outputs: BTreeMap<(usize, usize), usize>,
    /// By node: its variables.
    pub(super) of_node: BTreeMap<usize, Vec<usize>>,
}

/// Operators whose type variables may differ from one another; all others get one type throughout.
const INDEPENDENT: [&str; 5] = ["Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "Resize"];
/// Operators whose output type is not that of an input, but named in an attribute.
const TYPED_BY_ATTRIBUTE: [&str; 11] = [
    "EyeLike",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Bernoulli",
    "MelWeightMatrix",
    "HannWindow",
    "HammingWindow",
    "BlackmanWindow",
    "Multinomial",
];

pub(super) fn slots(world: &World<'_>, elements: &[Element], target: HalfType, keep_io: bool) -> Slots {
    let border = Variable { must_change: !keep_io, ..Variable::default() };
    let mut slots = Slots {
        variables: vec![Variable { stays: Some(Reason::FloatOnly), ..Variable::default() }, border],
        inputs: BTreeMap::new(),
        makers: BTreeMap::new(),
        outputs: BTreeMap::new(),
        of_node: BTreeMap::new(),
    };
    let is_float = |value: usize| elements[world.definition[value]].is_float();
    let main = world.scopes[0].graph;
    for input in main.inputs() {
        let value = world.value(0, *input);
        if is_float(value) && !is_default_weight(world, value) {
            slots.makers.insert(value, BORDER);
        }
    }
    for (index, output) in main.outputs().iter().enumerate() {
        if is_float(world.value(0, *output)) {
            slots.outputs.insert((0, index), BORDER);
        }
    }
    for (number, scope, node) in world.all_nodes() {
        match (node.domain.as_str(), node.op_type.as_str()) {
            ("", "If" | "Loop" | "Scan") => control_flow(world, elements, target, &mut slots, number, scope, node),
            _ => plain(world, elements, target, &mut slots, number, scope, node),
        }
    }
    // What nobody claimed (the bodies of operators that onnxfit does not know) stays as it is.
    for (scope, entry) in world.scopes.iter().enumerate().skip(1) {
        for input in entry.graph.inputs() {
            let value = world.value(scope, *input);
            if is_float(value) {
                slots.makers.entry(value).or_insert(FLOAT);
            }
        }
        for (index, output) in entry.graph.outputs().iter().enumerate() {
            if is_float(world.value(scope, *output)) {
                slots.outputs.entry((scope, index)).or_insert(FLOAT);
            }
        }
    }
    slots
}

/// Whether an initializer that is an input too is there as a weight: in files of IR version 3 and
/// older every initializer must be an input, and nobody feeds large ones.
pub(super) fn is_default_weight(world: &World<'_>, value: usize) -> bool {
    let entry = world.get(value);
    let Some(tensor) = entry.tensor().filter(|_| entry.is_input) else { return false };
    world.model.ir_version() < 4 || tensor.n_elements().is_ok_and(|n| n >= super::storage::N_ELEMENTS_LARGE)
}

impl Slots {
    fn add(&mut self, node: usize, stays: Option<Reason>) -> usize {
        self.variables.push(Variable { node: Some(node), stays, must_change: false });
        let variable = self.variables.len() - 1;
        self.of_node.entry(node).or_default().push(variable);
        variable
    }

    /// Keeps all of a node in float32; the first reason stands.
    pub(super) fn keep(&mut self, node: usize, reason: Reason) {
        for variable in self.of_node.get(&node).cloned().unwrap_or_default() {
            self.variables[variable].stays.get_or_insert(reason.clone());
        }
    }

    /// Whether any part of the node may still change.
    pub(super) fn is_open(&self, node: usize) -> bool {
        self.of_node
            .get(&node)
            .is_some_and(|variables| variables.iter().any(|variable| self.variables[*variable].stays.is_none()))
    }
}

fn support(target: HalfType, variable: &crate::operators::TypeVariable) -> Support {
    match target {
        HalfType::Float16 => variable.float16,
        HalfType::Bfloat16 => variable.bfloat16,
    }
}

fn plain(
    world: &World<'_>,
    elements: &[Element],
    target: HalfType,
    slots: &mut Slots,
    number: usize,
    scope: usize,
    node: &Node,
) {
    if constant_node_tensor(node).is_some() {
        return;
    }
    let element = |value: &Option<onnxfit_graph::ValueId>| {
        value.map_or(Element::Unknown, |value| elements[world.definition[world.value(scope, value)]])
    };
    let signature = world.signature(node);
    let touches_container =
        node.inputs.iter().chain(&node.outputs).any(|v| matches!(element(v), Element::Container(_)));
    let whole_node = match signature {
        None => Some(Reason::UnknownOperator),
        Some(_) if node.subgraphs().next().is_some() => Some(Reason::ForeignBody),
        Some(_) if touches_container => Some(Reason::Container),
        Some(_) if TYPED_BY_ATTRIBUTE.contains(&node.op_type.as_str()) => Some(Reason::TypedByAttribute),
        // `output_dtype` names the type of the result.
        Some(_) if node.int("output_dtype").is_some_and(|number| number != 0) => Some(Reason::TypedByAttribute),
        Some(_) => None,
    };
    let mut known: BTreeMap<usize, usize> = BTreeMap::new();
    let is_independent = INDEPENDENT.contains(&node.op_type.as_str());
    let mut variable_of = |slots: &mut Slots, slot: Slot| match (slot, signature) {
        (Slot::Variable(index), Some(signature)) => {
            let stays = whole_node.clone().or(match support(target, &signature.variables[index]) {
                Support::No => Some(Reason::NotDefined),
                Support::NoKernel => Some(Reason::NoKernel),
                Support::Yes => None,
            });
            // The region of interest is a handful of numbers that kernels read as float.
            let stays = stays.or((node.op_type == "Resize" && index == 1).then_some(Reason::FloatOnly));
            // One type for the whole node, unless a variable cannot change at all.
            let key = if is_independent || stays.is_some() { index } else { usize::MAX };
            *known.entry(key).or_insert_with(|| slots.add(number, stays))
        }
        _ => *known
            .entry(usize::MAX - 1)
            .or_insert_with(|| slots.add(number, Some(whole_node.clone().unwrap_or(Reason::FloatOnly)))),
    };
    for (index, value) in node.inputs.iter().enumerate().filter(|(_, value)| element(value).is_float()) {
        if value.is_some() {
            let slot = signature.map_or(Slot::Mixed, |signature| signature.input(index));
            let variable = variable_of(slots, slot);
            slots.inputs.insert((number, index), variable);
        }
    }
    for (index, value) in node.outputs.iter().enumerate().filter(|(_, value)| element(value).is_float()) {
        if let Some(value) = value {
            let slot = signature.map_or(Slot::Mixed, |signature| signature.output(index));
            let variable = variable_of(slots, slot);
            slots.makers.insert(world.value(scope, *value), variable);
        }
    }
}

/// `If`, `Loop` and `Scan`: one variable for each thing that goes in or out.
fn control_flow(
    world: &World<'_>,
    elements: &[Element],
    target: HalfType,
    slots: &mut Slots,
    number: usize,
    scope: usize,
    node: &Node,
) {
    let allowed = world.signature(node).and_then(|signature| signature.variables.first()).map(|v| support(target, v));
    let stays = (allowed < Some(Support::NoKernel)).then_some(Reason::NotDefined);
    let is_float = |value: usize| elements[world.definition[value]].is_float();
    // What is carried round a loop has one type on all its ways: the state's input, the body's
    // input and output, and the node's output.
    let mut carried: BTreeMap<usize, usize> = BTreeMap::new();
    for (body, pairs) in body_inputs(world, scope, number, node) {
        for (position, (inner, input)) in pairs.iter().enumerate() {
            let inner = world.value(body, *inner);
            if !is_float(inner) {
                continue;
            }
            let variable = slots.add(number, stays.clone());
            slots.makers.insert(inner, variable);
            slots.inputs.insert((number, *input), variable);
            if let Some(output) = carried_output(world, node, position) {
                carried.insert(output, variable);
            }
        }
    }
    for (output, value) in node.outputs.iter().enumerate() {
        let outer = value.map(|value| world.value(scope, value)).filter(|value| is_float(*value));
        let inner: Vec<(usize, usize)> = body_outputs(world, scope, number, node, output)
            .into_iter()
            .filter(|(body, output)| {
                let graph = world.scopes[*body].graph;
                graph.outputs().get(*output).is_some_and(|id| is_float(world.value(*body, *id)))
            })
            .collect();
        if outer.is_none() && inner.is_empty() {
            continue;
        }
        let variable = carried.get(&output).copied().unwrap_or_else(|| slots.add(number, stays.clone()));
        if let Some(outer) = outer {
            slots.makers.insert(outer, variable);
        }
        slots.outputs.extend(inner.into_iter().map(|place| (place, variable)));
    }
    // Body outputs that nobody takes still have to fit the state they feed.
    if let Some(body) = world.node(number).and_then(|(_, id, _)| world.body(scope, id, "body")) {
        let offset = usize::from(node.op_type == "Loop");
        for (output, variable) in carried {
            let place = (body, output + offset);
            if world.scopes[body].graph.outputs().get(place.1).is_some_and(|id| is_float(world.value(body, *id))) {
                slots.outputs.insert(place, variable);
            }
        }
    }
}

/// The output of a loop that returns what its body's input at `position` carries.
fn carried_output(world: &World<'_>, node: &Node, position: usize) -> Option<usize> {
    if node.op_type == "Loop" {
        return position.checked_sub(2);
    }
    let n_scanned = usize::try_from(node.int("num_scan_inputs").unwrap_or(0)).unwrap_or(0);
    let offset = usize::from(world.model.opset("") < 9);
    let n_states = node.inputs.len().checked_sub(offset + n_scanned)?;
    (position < n_states).then_some(position)
}
