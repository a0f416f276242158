//! Reverse mode over an ONNX graph: the gradients become nodes of the graph.
//!
//! The result is a plain ONNX model. It computes the loss and, for each parameter asked for, the
//! gradient; parameters are inputs of it, so that an optimizer may change them between runs. Only
//! standard operators with CPU and CUDA kernels are emitted, named sizes stay named, and what the
//! loss does not need is left out.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_graph::{Graph, Model, NodeId, ValueId, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto};
use onnxfit_shape::{Bindings, GraphFacts, infer};

use crate::error::{MissingGradient, TrainError};
use crate::forward::{Forward, forward_hook};
use crate::lift::lift;
use crate::registry::{Rule, is_stop, rule};
use crate::reverse::{Reverse, Unsupported};
use crate::tape::{Tape, Var};

/// How a model is differentiated.
#[derive(Clone, Debug, Default)]
pub struct GradientOptions {
    /// What `BatchNormalization` does.
    pub batch_norm: BatchNorm,
    /// What happens to parameters behind operators without a gradient.
    pub missing: Missing,
    /// Values of the model that the result gives too, besides the loss.
    pub keep: Vec<String>,
    /// What is known of the inputs' sizes; the graph is for these sizes only.
    pub bindings: Bindings,
    /// The name of an input that the loss is multiplied by before it is differentiated, for mixed
    /// precision: the gradients come out as much larger.
    pub loss_scale: Option<String>,
    /// Adds each gradient to an input, so that a batch may come in parts.
    pub accumulates: bool,
}

/// What `BatchNormalization` does while training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchNorm {
    /// It uses the stored mean and variance, as in inference.
    #[default]
    Frozen,
    /// It uses the batch's own, and the stored ones follow.
    Training,
}

/// What happens to parameters behind operators without a gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// [`TrainError::NoGradient`] names them.
    #[default]
    Refuse,
    /// They are left as they are, and [`Gradients::cut_off`] names them.
    Freeze,
}

/// A model that computes gradients.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// The model: the inputs of the given one and the parameters in, the loss and the gradients out.
    pub model: Model,
    /// The output that is the loss.
    pub loss: String,
    /// The parameters and their gradients' outputs, in the order asked for.
    pub gradients: Vec<Gradient>,
    /// Stored statistics of `BatchNormalization` and the outputs with their next values.
    pub statistics: Vec<Gradient>,
    /// The inputs that the gradients are added to, if they accumulate; one for each gradient.
    pub sums: Vec<String>,
    /// The gradient of each value on the way, by the value's name.
    pub(crate) value_gradients: BTreeMap<String, String>,
    /// Parameters that the loss does not depend on.
    pub unreached: Vec<String>,
    /// Operators without a gradient, with the parameters that were frozen for them.
    pub cut_off: Vec<MissingGradient>,
}

/// A parameter and the output that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gradient {
    /// The parameter's name: an input of the model.
    pub parameter: String,
    /// The output's name.
    pub output: String,
}

/// Passes over the graph, each of which may find one more operator that must be left out.
const N_PASSES_MAX: usize = 256;

/// Builds the model that computes `loss` and its gradient with respect to `parameters`.
pub fn differentiate(
    model: &Model,
    loss: &str,
    parameters: &[&str],
    options: &GradientOptions,
) -> Result<Gradients, TrainError> {
    let model = lift(model)?;
    let inference = infer(&model, &options.bindings);
    let facts = &inference.graph;
    let graph = &model.graph;
    let loss_value = find(graph, "value", loss)?;
    check_loss(facts, loss_value, loss)?;
    let mut asked = Vec::new();
    for name in parameters {
        let id = find(graph, "parameter", name)?;
        check_parameter(graph, facts, id, name)?;
        asked.push(id);
    }
    let order = graph.topological_order().map_err(|_| TrainError::Model("it has a cycle".to_owned()))?;
    let mut blocked: BTreeMap<NodeId, String> = BTreeMap::new();
    let mut frozen: BTreeSet<ValueId> = BTreeSet::new();
    let mut cut_off = Vec::new();
    for _ in 0..N_PASSES_MAX {
        let trained: Vec<ValueId> = asked.iter().copied().filter(|id| !frozen.contains(id)).collect();
        let activity = Activity::of(graph, facts, &order, loss_value, &trained);
        let missing = activity.missing(graph, &order, &trained, &blocked);
        if !missing.is_empty() {
            if options.missing == Missing::Refuse {
                return Err(TrainError::NoGradient(missing));
            }
            frozen.extend(missing.iter().flat_map(|one| &one.parameters).filter_map(|name| graph.value_named(name)));
            cut_off.extend(missing);
            continue;
        }
        let pass = Pass { model: &model, facts, order: &order, activity: &activity, options, loss: loss_value };
        match pass.run(&trained) {
            Ok(mut gradients) => {
                let is_reached = |name: &str| gradients.gradients.iter().any(|one| one.parameter == name);
                let unreached: Vec<String> =
                    trained.iter().map(|id| graph.value(*id).name.clone()).filter(|name| !is_reached(name)).collect();
                gradients.unreached = unreached;
                gradients.cut_off = cut_off;
                return Ok(gradients);
            }
            Err(Stopped::At(node, reason)) => {
                blocked.insert(node, reason);
            }
            Err(Stopped::Error(error)) => return Err(error),
        }
    }
    Err(TrainError::Model(format!("more than {N_PASSES_MAX} operators have no gradient")))
}

/// The parameters that training usually changes: floating-point weights that are neither stored
/// statistics nor settings of an operator.
pub fn trainable_parameters(model: &Model) -> Vec<String> {
    let graph = &model.graph;
    let is_setting = |id: ValueId| {
        graph.value(id).uses.iter().all(|one| {
            let node = graph.node(one.node);
            let Some(input) = one.input else { return true };
            match node.op_type.as_str() {
                "BatchNormalization" => input >= 3,
                "Resize" | "Upsample" | "Clip" | "Pad" | "Dropout" | "QuantizeLinear" | "DequantizeLinear"
                | "OneHot" | "Range" => input >= 1,
                _ => is_stop(&node.domain, &node.op_type),
            }
        })
    };
    let is_weight = |id: &ValueId| {
        let value = graph.value(*id);
        let tensor = value.tensor();
        tensor.is_some_and(|tensor| {
            let is_float = tensor.element_type().is_ok_and(is_trainable_type);
            is_float && !tensor.dims.is_empty() && tensor.dims.iter().product::<i64>() > 0
        }) && !is_setting(*id)
    };
    graph.initializers().iter().filter(|id| is_weight(id)).map(|id| graph.value(*id).name.clone()).collect()
}

fn is_trainable_type(element_type: DataType) -> bool {
    matches!(element_type, DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
}

fn find(graph: &Graph, what: &'static str, name: &str) -> Result<ValueId, TrainError> {
    graph.value_named(name).ok_or_else(|| TrainError::NoSuchValue { what, name: name.to_owned() })
}

fn check_loss(facts: &GraphFacts, loss: ValueId, name: &str) -> Result<(), TrainError> {
    let fact = facts.fact(loss);
    let refuse = |reason: String| Err(TrainError::NotALoss { name: name.to_owned(), reason });
    if let Some(element_type) = fact.element_type
        && !is_trainable_type(element_type)
    {
        return refuse(format!("it is {element_type}"));
    }
    match fact.n_elements().and_then(|n| n.as_constant()) {
        Some(1) => Ok(()),
        Some(n) => refuse(format!("it has {n} elements; a loss is one number")),
        None if fact.rank().is_some() => refuse("its size depends on the inputs; a loss is one number".to_owned()),
        None => Ok(()),
    }
}

fn check_parameter(graph: &Graph, facts: &GraphFacts, id: ValueId, name: &str) -> Result<(), TrainError> {
    let value = graph.value(id);
    let refuse = |reason: String| Err(TrainError::NotTrainable { name: name.to_owned(), reason });
    if !value.is_input && value.constant.is_none() {
        return refuse("it is computed, not stored".to_owned());
    }
    match facts.fact(id).element_type {
        Some(element_type) if is_trainable_type(element_type) => Ok(()),
        Some(element_type) => refuse(format!("it is {element_type}")),
        None => refuse("its type is unknown".to_owned()),
    }
}

/// Which values lie between the parameters and the loss.
struct Activity {
    /// The value depends on a parameter in a differentiable way, and the loss on the value.
    is_active: Vec<bool>,
}

impl Activity {
    fn of(graph: &Graph, facts: &GraphFacts, order: &[NodeId], loss: ValueId, parameters: &[ValueId]) -> Self {
        let mut depends = vec![false; graph.n_values()];
        parameters.iter().for_each(|id| depends[id.index()] = true);
        for id in order {
            let node = graph.node(*id);
            let reads = node.inputs.iter().flatten().chain(&node.implicit_inputs).any(|value| depends[value.index()]);
            if reads && !is_stop(&node.domain, &node.op_type) {
                for output in node.outputs.iter().flatten() {
                    let element_type = facts.fact(*output).element_type;
                    depends[output.index()] = element_type.is_none_or(DataType::is_float);
                }
            }
        }
        let mut leads = vec![false; graph.n_values()];
        leads[loss.index()] = true;
        for id in order.iter().rev() {
            let node = graph.node(*id);
            if node.outputs.iter().flatten().any(|value| leads[value.index()] && depends[value.index()]) {
                node.inputs.iter().flatten().chain(&node.implicit_inputs).for_each(|value| leads[value.index()] = true);
            }
        }
        Self { is_active: depends.iter().zip(&leads).map(|(depends, leads)| *depends && *leads).collect() }
    }

    fn active(&self, id: ValueId) -> bool {
        self.is_active[id.index()]
    }

    fn is_on_the_way(&self, graph: &Graph, id: NodeId) -> bool {
        let node = graph.node(id);
        node.outputs.iter().flatten().any(|value| self.active(*value))
            && node.inputs.iter().flatten().chain(&node.implicit_inputs).any(|value| self.active(*value))
    }

    /// The operators on the way that have no rule, or were found not to be supported.
    fn missing(
        &self,
        graph: &Graph,
        order: &[NodeId],
        parameters: &[ValueId],
        blocked: &BTreeMap<NodeId, String>,
    ) -> Vec<MissingGradient> {
        let mut grouped: BTreeMap<(String, String), Vec<NodeId>> = BTreeMap::new();
        for id in order.iter().filter(|id| self.is_on_the_way(graph, **id)) {
            let node = graph.node(*id);
            let captures = node.implicit_inputs.iter().any(|value| self.active(*value));
            let reason = match (blocked.get(id), rule(&node.domain, &node.op_type)) {
                (Some(reason), _) => reason.clone(),
                (None, None) => "has no rule".to_owned(),
                (None, Some(_)) if captures => "reads trained values inside its subgraph".to_owned(),
                (None, Some(_)) => continue,
            };
            let operator =
                if node.domain.is_empty() { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
            grouped.entry((operator, reason)).or_default().push(*id);
        }
        let found = grouped.into_iter().map(|((operator, reason), ids)| MissingGradient {
            operator,
            reason,
            nodes: ids.iter().map(|id| graph.node_label(*id).to_owned()).collect(),
            parameters: self.behind(graph, order, parameters, &ids),
        });
        found.filter(|one| !one.parameters.is_empty()).collect()
    }

    /// The parameters that these nodes depend on.
    fn behind(&self, graph: &Graph, order: &[NodeId], parameters: &[ValueId], nodes: &[NodeId]) -> Vec<String> {
        let mut leads = vec![false; graph.n_values()];
        for id in order.iter().rev() {
            let node = graph.node(*id);
            let is_start = nodes.contains(id);
            if is_start || node.outputs.iter().flatten().any(|value| leads[value.index()]) {
                let read = node.inputs.iter().flatten().chain(&node.implicit_inputs);
                read.filter(|value| self.active(**value)).for_each(|value| leads[value.index()] = true);
            }
        }
        let reached = parameters.iter().filter(|id| leads[id.index()]);
        reached.map(|id| graph.value(*id).name.clone()).collect()
    }
}

enum Stopped {
    /// A rule does not apply to a node.
    At(NodeId, String),
    Error(TrainError),
}

impl From<TrainError> for Stopped {
    fn from(error: TrainError) -> Self {
        Self::Error(error)
    }
}

/// One attempt to write the whole graph.
struct Pass<'a> {
    model: &'a Model,
    facts: &'a GraphFacts,
    order: &'a [NodeId],
    activity: &'a Activity,
    options: &'a GradientOptions,
    loss: ValueId,
}

impl Pass<'_> {
    fn run(&self, parameters: &[ValueId]) -> Result<Gradients, Stopped> {
        let graph = &self.model.graph;
        let proto = self.model.to_proto();
        let written = proto.graph.clone().unwrap_or_default();
        // Every name of the given model is taken before the first new one is made.
        let mut tape = Tape::after(graph);
        let statistics = self.write_forward(&mut tape, &written)?;
        let seed = self.seed(&mut tape);
        let mut parts: BTreeMap<ValueId, Vec<Var>> = BTreeMap::from([(self.loss, vec![seed])]);
        for id in self.order.iter().rev().filter(|id| self.activity.is_on_the_way(graph, **id)) {
            self.write_backward(&mut tape, *id, &mut parts)?;
        }
        let named = |(id, parts): (&ValueId, &Vec<Var>)| match parts.as_slice() {
            [only] => Some((graph.value(*id).name.clone(), tape.name(*only).to_owned())),
            _ => None,
        };
        let value_gradients: BTreeMap<String, String> = parts.iter().filter_map(named).collect();
        let mut gradients = Vec::new();
        let mut sums = Vec::new();
        let mut renamed = BTreeMap::new();
        let mut infos = vec![self.info(self.loss)];
        for name in &self.options.keep {
            let id = find(graph, "value", name)?;
            if id != self.loss {
                infos.push(self.info(id));
            }
        }
        tape.set_scope("");
        for id in parameters {
            let Some(parts) = parts.get(id) else { continue };
            let mut sum = tape.sum(parts);
            if self.options.accumulates {
                let before = tape.fresh(&format!("{}/sum", graph.value(*id).name));
                sums.push(tape.name(before).to_owned());
                sum = tape.add(before, sum);
            }
            let output = tape.fresh(&format!("{}/gradient", graph.value(*id).name));
            let (from, to) = (tape.name(sum).to_owned(), tape.name(output).to_owned());
            // A value that is something else already, or the gradient of another parameter too, is
            // copied; all others just get the name.
            if tape.is_made(sum) && graph.value_named(&from).is_none() && !renamed.contains_key(&from) {
                renamed.insert(from, to.clone());
            } else {
                let input = renamed.get(&from).cloned().unwrap_or(from);
                tape.push(NodeProto {
                    input: vec![input],
                    output: vec![to.clone()],
                    name: Some(to.clone()),
                    op_type: Some("Identity".to_owned()),
                    ..NodeProto::default()
                });
            }
            let mut info = self.info(*id);
            info.name = Some(to.clone());
            infos.push(info);
            gradients.push(Gradient { parameter: graph.value(*id).name.clone(), output: to });
        }
        for one in &statistics {
            let id = find(graph, "value", &one.parameter)?;
            let mut info = self.info(id);
            info.name = Some(one.output.clone());
            infos.push(info);
        }
        tape.rename(&renamed);
        // What the loss does not depend on keeps its stored value.
        let reached: Vec<ValueId> =
            gradients.iter().filter_map(|one: &Gradient| graph.value_named(&one.parameter)).collect();
        let mut inputs = self.inputs(&reached, &statistics);
        for (sum, gradient) in sums.iter().zip(&gradients) {
            let mut info = self.info(find(graph, "parameter", &gradient.parameter)?);
            info.name = Some(sum.clone());
            inputs.push(info);
        }
        let name = written.name().to_owned();
        let graph_proto = tape.into_graph(&name, inputs, infos);
        let model = finish(proto, graph_proto)?;
        let loss = graph.value(self.loss).name.clone();
        Ok(Gradients {
            model,
            loss,
            gradients,
            statistics,
            sums,
            value_gradients,
            unreached: Vec::new(),
            cut_off: Vec::new(),
        })
    }

    /// Copies what the loss and the kept values need, with nodes replaced where training differs.
    fn write_forward(&self, tape: &mut Tape, written: &GraphProto) -> Result<Vec<Gradient>, Stopped> {
        let graph = &self.model.graph;
        for tensor in &written.initializer {
            tape.push_initializer(tensor.clone());
        }
        let protos: BTreeMap<NodeId, &NodeProto> = graph.nodes().map(|(id, _)| id).zip(&written.node).collect();
        let mut statistics = Vec::new();
        for id in self.order {
            let Some(proto) = protos.get(id) else { continue };
            let node = graph.node(*id);
            let hook = forward_hook(&node.domain, &node.op_type);
            if let Some(hook) = hook {
                tape.set_scope(graph.node_label(*id));
                let mut forward = Forward {
                    tape,
                    node,
                    graph,
                    facts: self.facts,
                    options: self.options,
                    statistics: &mut statistics,
                };
                if hook(&mut forward).map_err(|Unsupported(reason)| Stopped::At(*id, reason))? {
                    continue;
                }
            }
            tape.push((*proto).clone());
        }
        Ok(statistics)
    }

    fn seed(&self, tape: &mut Tape) -> Var {
        tape.set_scope("loss");
        let fact = self.facts.fact(self.loss);
        let element_type = fact.element_type.unwrap_or(DataType::Float);
        let dims = vec![1; fact.rank().unwrap_or(0)];
        match &self.options.loss_scale {
            None => tape.numbers(element_type, &dims, &[1.0]),
            Some(name) => {
                let scale = tape.named(name);
                let scale = tape.cast(scale, element_type);
                if dims.is_empty() { scale } else { tape.reshape_to(scale, &dims) }
            }
        }
    }

    fn write_backward(
        &self,
        tape: &mut Tape,
        id: NodeId,
        parts: &mut BTreeMap<ValueId, Vec<Var>>,
    ) -> Result<(), Stopped> {
        let graph = &self.model.graph;
        let node = graph.node(id);
        tape.set_scope(&format!("{}/backward", graph.node_label(id)));
        let output_gradients: Vec<Option<Var>> = node
            .outputs
            .iter()
            .map(|output| output.and_then(|output| parts.get(&output)).map(|parts| tape.sum(parts)))
            .collect();
        if output_gradients.iter().all(Option::is_none) {
            return Ok(());
        }
        for (output, gradient) in node.outputs.iter().zip(&output_gradients) {
            // Summed once, for the parameters that are outputs of nothing it is the last word.
            if let (Some(output), Some(gradient)) = (output, gradient) {
                parts.insert(*output, vec![*gradient]);
            }
        }
        let vars = |tape: &mut Tape, ids: &[Option<ValueId>]| -> Vec<Option<Var>> {
            ids.iter().map(|id| id.map(|id| tape.named(&graph.value(id).name))).collect()
        };
        let (inputs, outputs) = (vars(tape, &node.inputs), vars(tape, &node.outputs));
        let wanted: Vec<bool> =
            node.inputs.iter().map(|input| input.is_some_and(|input| self.activity.active(input))).collect();
        let rule: Rule = rule(&node.domain, &node.op_type).ok_or_else(|| Stopped::At(id, "has no rule".to_owned()))?;
        let mut reverse = Reverse {
            tape,
            node,
            facts: self.facts,
            options: self.options,
            opset: self.model.opset(""),
            given: vec![None; inputs.len()],
            inputs,
            outputs,
            wanted,
            output_gradients,
        };
        rule(&mut reverse).map_err(|Unsupported(reason)| Stopped::At(id, reason))?;
        let (given, wanted) = (reverse.given, reverse.wanted);
        for (index, input) in node.inputs.iter().enumerate() {
            let Some(input) = input else { continue };
            match given[index] {
                Some(gradient) if wanted[index] => parts.entry(*input).or_default().push(gradient),
                None if wanted[index] => {
                    return Err(Stopped::At(id, format!("has no gradient towards its input {index}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn info(&self, id: ValueId) -> ValueInfoProto {
        let value = self.model.graph.value(id);
        let declared = match &value.ty {
            ValueType::Unknown => None,
            ty => Some(ty.to_proto()),
        };
        let fact = self.facts.fact(id);
        ValueInfoProto {
            name: Some(value.name.clone()),
            r#type: Some(declared.unwrap_or_else(|| type_of(fact))),
            ..ValueInfoProto::default()
        }
    }

    fn inputs(&self, parameters: &[ValueId], statistics: &[Gradient]) -> Vec<ValueInfoProto> {
        let graph = &self.model.graph;
        let mut ids: Vec<ValueId> = graph.required_inputs().collect();
        let stored = statistics.iter().filter_map(|one| graph.value_named(&one.parameter));
        for id in parameters.iter().copied().chain(stored) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let mut infos: Vec<ValueInfoProto> = ids.into_iter().map(|id| self.info(id)).collect();
        if let Some(name) = &self.options.loss_scale {
            let ty = ValueType::tensor(DataType::Float, Vec::new()).to_proto();
            infos.push(ValueInfoProto { name: Some(name.clone()), r#type: Some(ty), ..ValueInfoProto::default() });
        }
        infos
    }
}

/// A tensor type from what was inferred; a size that is no plain name stays open.
pub(crate) fn type_of(fact: &onnxfit_shape::Fact) -> TypeProto {
    use onnxfit_graph::{Dim, TensorType};
    let dim = |dim: &onnxfit_shape::Expr| match (dim.as_constant(), dim.as_symbol()) {
        (Some(number), _) => Dim::Known(number),
        (None, Some(name)) => Dim::Symbol(name.to_owned()),
        (None, None) => Dim::Unknown,
    };
    let shape = fact.shape.as_ref().map(|shape| shape.iter().map(dim).collect());
    let element_type = Some(fact.element_type.unwrap_or(DataType::Float));
    ValueType::Tensor(TensorType { element_type, shape }).to_proto()
}

/// Puts the graph into the header of the model it came from, and checks it.
fn finish(header: ModelProto, mut graph: GraphProto) -> Result<Model, TrainError> {
    // What is an input is fed: a stored value would be a default that somebody may forget to feed.
    let inputs: BTreeSet<String> = graph.input.iter().map(|info| info.name().to_owned()).collect();
    graph.initializer.retain(|tensor| !inputs.contains(tensor.name()));
    Ok(Model::from_proto(&ModelProto { graph: Some(graph), ..header })?)
}
