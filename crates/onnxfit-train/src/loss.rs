//! Losses, as additions to a graph.
//!
//! Each term of a loss is a sum over items (samples, tokens, elements) and a count of them. The
//! model that comes out computes `Σ scale · sum`, where the scales are inputs: the weight of the
//! term over the count in the *whole* batch. Gradients of parts of a batch then just add up,
//! however uneven the parts are and whatever is masked in each.

use onnxfit_graph::{Dim, Graph, Model, TensorType, ValueType};
use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{GraphProto, ModelProto, ValueInfoProto};
use onnxfit_shape::{Bindings, Expr, Fact, infer};

use crate::emit::{int, text};
use crate::error::TrainError;
use crate::gradient::type_of;
use crate::lift::lift;
use crate::tape::{Tape, Var};

/// What is minimized: a weighted sum of terms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loss {
    /// The terms.
    pub terms: Vec<LossTerm>,
}

/// One term of a loss.
#[derive(Clone, Debug, PartialEq)]
pub struct LossTerm {
    /// What it measures.
    pub kind: LossKind,
    /// The value of the model that it looks at: logits, an output, a feature map.
    pub value: String,
    /// What the value should be: a value of the model, or else the name of a new input.
    pub target: String,
    /// How much it counts.
    pub weight: f64,
    /// What it is averaged over.
    pub per: Per,
}

/// What a term measures.
#[derive(Clone, Debug, PartialEq)]
pub enum LossKind {
    /// Cross entropy with class indices. Labels equal to `ignore_index` do not count.
    CrossEntropy {
        /// The axis of the classes; the last if negative.
        class_axis: i64,
        /// A label that means "no label": padding, masked tokens.
        ignore_index: Option<i64>,
    },
    /// Cross entropy with a probability for each class; classes are on the last axis.
    SoftCrossEntropy,
    /// The squared difference. For feature maps too.
    SquaredError,
    /// Kullback-Leibler divergence from a teacher's logits, both softened by a temperature, times
    /// its square, so that gradients keep their size (Hinton, Vinyals and Dean, 2015). Classes are
    /// on the last axis.
    Divergence {
        /// The temperature.
        temperature: f64,
    },
    /// The value itself, which the model computes as a mean over its samples.
    Mean,
}

/// What a term is averaged over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Per {
    /// Labels, rows or elements, as the kind has them; those that are ignored do not count.
    #[default]
    Item,
    /// Samples of the batch.
    Sample,
}

/// A model with a loss.
#[derive(Clone, Debug)]
pub struct Objective {
    /// The model.
    pub model: Model,
    /// The value to differentiate.
    pub loss: String,
    /// The terms, in the order given.
    pub terms: Vec<TermNames>,
    /// Inputs that the loss added for targets.
    pub targets: Vec<String>,
}

/// Where the parts of a term are.
#[derive(Clone, Debug, PartialEq)]
pub struct TermNames {
    /// The value that is the term's sum.
    pub sum: String,
    /// The value that is the count; `None` if samples are counted.
    pub count: Option<String>,
    /// The input that the sum is multiplied by.
    pub scale: String,
    /// How much the term counts.
    pub weight: f64,
}

impl LossTerm {
    /// A term that counts once, per item.
    pub fn new(kind: LossKind, value: &str, target: &str) -> Self {
        Self { kind, value: value.to_owned(), target: target.to_owned(), weight: 1.0, per: Per::Item }
    }
}

impl Loss {
    /// A loss of one term.
    pub fn of(term: LossTerm) -> Self {
        Self { terms: vec![term] }
    }

    /// Adds the loss to a model.
    pub fn add_to(&self, model: &Model) -> Result<Objective, TrainError> {
        if self.terms.is_empty() {
            return Err(TrainError::Setting("a loss has at least one term".to_owned()));
        }
        let model = &lift(model)?;
        let facts = infer(model, &Bindings::default()).graph;
        let mut proto = model.to_proto();
        let mut graph = proto.graph.take().unwrap_or_default();
        let mut writer =
            Writer { tape: Tape::after(&model.graph), graph: &model.graph, inputs: Vec::new(), facts: &facts };
        let mut terms = Vec::new();
        let mut scaled = Vec::new();
        for (index, term) in self.terms.iter().enumerate() {
            writer.tape.set_scope(&format!("loss/{index}"));
            let (sum, count) = writer.term(term)?;
            let scale = writer.tape.fresh("scale");
            writer.input(scale, ValueType::tensor(DataType::Float, Vec::new()));
            scaled.push(writer.tape.mul(sum, scale));
            terms.push(TermNames {
                sum: writer.tape.name(sum).to_owned(),
                count: count.map(|count| writer.tape.name(count).to_owned()),
                scale: writer.tape.name(scale).to_owned(),
                weight: term.weight,
            });
        }
        writer.tape.set_scope("loss");
        let loss = writer.tape.sum(&scaled);
        let loss = writer.tape.name(loss).to_owned();
        let n_terms = terms.len();
        let targets: Vec<String> = writer
            .inputs
            .iter()
            .map(|info| info.name().to_owned())
            .filter(|name| !terms.iter().any(|term| term.scale == *name))
            .collect();
        graph.input.extend(writer.inputs);
        writer.tape.append_to(&mut graph);
        debug_assert_eq!(n_terms, self.terms.len());
        let model = Model::from_proto(&ModelProto { graph: Some(graph), ..proto })?;
        Ok(Objective { model, loss, terms, targets })
    }
}

impl Objective {
    /// The model that computes nothing but the counts; `None` if samples are counted only.
    pub fn counting(&self) -> Result<Option<Model>, TrainError> {
        let counts: Vec<&String> = self.terms.iter().filter_map(|term| term.count.as_ref()).collect();
        if counts.is_empty() {
            return Ok(None);
        }
        let outputs = counts.iter().map(|name| ValueInfoProto {
            name: Some((*name).clone()),
            r#type: Some(ValueType::tensor(DataType::Float, Vec::new()).to_proto()),
            ..ValueInfoProto::default()
        });
        cut(&self.model, outputs.collect()).map(Some)
    }
}

/// The part of a model that these outputs need.
pub(crate) fn cut(model: &Model, outputs: Vec<ValueInfoProto>) -> Result<Model, TrainError> {
    let mut proto = model.to_proto();
    let graph = proto.graph.take().unwrap_or_default();
    let mut tape = Tape::default();
    graph.node.into_iter().for_each(|node| tape.push(node));
    graph.initializer.into_iter().for_each(|tensor| {
        tape.push_initializer(tensor);
    });
    let mut cut: GraphProto = tape.into_graph(graph.name.as_deref().unwrap_or("graph"), graph.input, outputs);
    let read: std::collections::BTreeSet<&String> = cut.node.iter().flat_map(|node| &node.input).collect();
    let is_read = |info: &ValueInfoProto| {
        read.contains(&info.name().to_owned()) || cut.output.iter().any(|output| output.name() == info.name())
    };
    let kept: Vec<ValueInfoProto> = cut.input.iter().filter(|info| is_read(info)).cloned().collect();
    cut.input = kept;
    Ok(Model::from_proto(&ModelProto { graph: Some(cut), ..proto })?)
}

struct Writer<'a> {
    tape: Tape,
    graph: &'a Graph,
    inputs: Vec<ValueInfoProto>,
    facts: &'a onnxfit_shape::GraphFacts,
}

impl Writer<'_> {
    fn fact(&self, name: &str) -> Result<&Fact, TrainError> {
        let id = self.graph.value_named(name);
        let id = id.ok_or_else(|| TrainError::NoSuchValue { what: "value", name: name.to_owned() })?;
        Ok(self.facts.fact(id))
    }

    fn input(&mut self, var: Var, ty: ValueType) {
        self.inputs.push(ValueInfoProto {
            name: Some(self.tape.name(var).to_owned()),
            r#type: Some(ty.to_proto()),
            ..ValueInfoProto::default()
        });
    }

    /// The target, which becomes an input of this type if the model has no such value.
    fn target(&mut self, name: &str, ty: ValueType) -> (Var, bool) {
        let var = self.tape.named(name);
        let is_known = self.graph.value_named(name).is_some();
        if !is_known && !self.inputs.iter().any(|info| info.name() == name) {
            self.input(var, ty);
        }
        (var, !is_known)
    }

    /// The sum and the count of a term.
    fn term(&mut self, term: &LossTerm) -> Result<(Var, Option<Var>), TrainError> {
        let fact = self.fact(&term.value)?.clone();
        let element_type = fact.element_type.unwrap_or(DataType::Float);
        let value = self.tape.named(&term.value);
        if let LossKind::Mean = term.kind {
            // A mean over samples, times how many there were.
            return self.mean(term, value, element_type);
        }
        // Half precision sums overflow; losses are single precision.
        let value = if element_type == DataType::Float { value } else { self.tape.cast(value, DataType::Float) };
        let float = DataType::Float;
        let (sum, count) = match &term.kind {
            LossKind::Mean => return Err(TrainError::Setting("a mean has no target".to_owned())),
            LossKind::CrossEntropy { class_axis, ignore_index } => {
                return self.cross_entropy(term, value, &fact, *class_axis, *ignore_index);
            }
            LossKind::SquaredError => {
                let (target, is_input) = self.target(&term.target, typed(&fact, float));
                let target = self.as_float(target, &term.target);
                let difference = self.tape.sub(value, target);
                let square = self.tape.mul(difference, difference);
                let count = self.tape.size(target);
                (self.tape.sum_all(square), is_input.then_some(count))
            }
            LossKind::SoftCrossEntropy => {
                let (target, is_input) = self.target(&term.target, typed(&fact, float));
                let logarithm = self.tape.op_with("LogSoftmax", &[value], vec![int("axis", -1)]);
                let weighted = self.tape.mul(target, logarithm);
                let sum = self.tape.sum_all(weighted);
                let count = self.rows(target);
                (self.tape.neg(sum), is_input.then_some(count))
            }
            LossKind::Divergence { temperature } => {
                if *temperature <= 0.0 {
                    return Err(TrainError::Setting(format!("a temperature of {temperature} is not above zero")));
                }
                let (target, is_input) = self.target(&term.target, typed(&fact, float));
                let count = self.rows(target);
                let target = self.as_float(target, &term.target);
                let soften = |tape: &mut Tape, logits| tape.scale(logits, float, 1.0 / temperature);
                let (ours, theirs) = (soften(&mut self.tape, value), soften(&mut self.tape, target));
                let ours = self.tape.op_with("LogSoftmax", &[ours], vec![int("axis", -1)]);
                let theirs = self.tape.op_with("LogSoftmax", &[theirs], vec![int("axis", -1)]);
                let probability = self.tape.exp(theirs);
                let difference = self.tape.sub(theirs, ours);
                let weighted = self.tape.mul(probability, difference);
                let sum = self.tape.sum_all(weighted);
                (self.tape.scale(sum, float, temperature * temperature), is_input.then_some(count))
            }
        };
        let count = match (term.per, count) {
            (Per::Sample, _) => None,
            (Per::Item, Some(count)) => Some(self.tape.cast(count, float)),
            (Per::Item, None) => {
                return Err(TrainError::Setting(format!(
                    "`{}` is computed by the model, so its items cannot be counted before: average per sample",
                    term.target
                )));
            }
        };
        Ok((sum, count))
    }

    fn as_float(&mut self, var: Var, name: &str) -> Var {
        let known = self.graph.value_named(name).and_then(|id| self.facts.fact(id).element_type);
        match known {
            Some(DataType::Float) | None => var,
            Some(_) => self.tape.cast(var, DataType::Float),
        }
    }

    /// How many rows there are along the last axis.
    fn rows(&mut self, value: Var) -> Var {
        let (all, width) = (self.tape.size(value), self.tape.dim(value, -1));
        let width = self.tape.squeeze(width, &[0]);
        self.tape.div(all, width)
    }

    fn cross_entropy(
        &mut self,
        term: &LossTerm,
        logits: Var,
        fact: &Fact,
        class_axis: i64,
        ignore_index: Option<i64>,
    ) -> Result<(Var, Option<Var>), TrainError> {
        let Some(shape) = &fact.shape else {
            return Err(TrainError::NotALoss { name: term.value.clone(), reason: "its rank is unknown".to_owned() });
        };
        let rank = shape.len();
        let axis = if class_axis < 0 { class_axis + rank as i64 } else { class_axis };
        let axis = usize::try_from(axis)
            .ok()
            .filter(|axis| *axis < rank)
            .ok_or_else(|| TrainError::Setting(format!("`{}` has no axis {class_axis} of {rank}", term.value)))?;
        let mut labels_shape: Vec<Dim> = shape.iter().map(dim).collect();
        labels_shape.remove(axis);
        let (labels, is_input) = self.target(&term.target, ValueType::tensor(DataType::Int64, labels_shape));
        let (scores, flat) = if axis == 1 || rank == 1 {
            (logits, labels)
        } else if axis + 1 == rank {
            let width = match shape[axis].as_constant() {
                Some(width) => self.tape.ints(&[-1, width]),
                None => {
                    let (open, width) = (self.tape.ints(&[-1]), self.tape.dim(logits, -1));
                    self.tape.concat(&[open, width], 0)
                }
            };
            (self.tape.reshape(logits, width), self.tape.reshape_to(labels, &[-1]))
        } else {
            return Err(TrainError::Setting("classes are on the second or the last axis".to_owned()));
        };
        let mut attributes = vec![text("reduction", "sum")];
        attributes.extend(ignore_index.map(|index| int("ignore_index", index)));
        let sum = self.tape.op_with("SoftmaxCrossEntropyLoss", &[scores, flat], attributes);
        let count = match (term.per, ignore_index) {
            (Per::Sample, _) => return Ok((sum, None)),
            (Per::Item, _)
                if !is_input
                    && self.graph.value_named(&term.target).is_some_and(|id| !self.graph.value(id).is_input) =>
            {
                return Err(TrainError::Setting(format!("the labels `{}` must be an input", term.target)));
            }
            (Per::Item, None) => {
                let count = self.tape.size(labels);
                self.tape.cast(count, DataType::Float)
            }
            (Per::Item, Some(ignored)) => {
                let labels = self.tape.cast(labels, DataType::Int64);
                let ignored = self.tape.int(ignored);
                let is_ignored = self.tape.equal(labels, ignored);
                let counts = self.tape.op("Not", &[is_ignored]);
                let counts = self.tape.cast(counts, DataType::Float);
                self.tape.sum_all(counts)
            }
        };
        Ok((sum, Some(count)))
    }

    fn mean(&mut self, term: &LossTerm, value: Var, element_type: DataType) -> Result<(Var, Option<Var>), TrainError> {
        let first = self.graph.value_named(&term.target).filter(|id| self.graph.value(*id).is_input);
        if first.is_none() {
            return Err(TrainError::NoSuchValue { what: "input to count samples by", name: term.target.clone() });
        }
        let samples = self.tape.named(&term.target);
        let count = self.tape.dim(samples, 0);
        let count = self.tape.squeeze(count, &[0]);
        let count = self.tape.cast(count, DataType::Float);
        let value = if element_type == DataType::Float { value } else { self.tape.cast(value, DataType::Float) };
        let value = self.tape.sum_all(value);
        Ok((self.tape.mul(value, count), Some(count)))
    }
}

fn dim(expr: &Expr) -> Dim {
    match (expr.as_constant(), expr.as_symbol()) {
        (Some(number), _) => Dim::Known(number),
        (None, Some(name)) => Dim::Symbol(name.to_owned()),
        (None, None) => Dim::Unknown,
    }
}

/// A tensor of this shape and another element type.
fn typed(fact: &Fact, element_type: DataType) -> ValueType {
    match ValueType::from_proto(&type_of(fact)) {
        ValueType::Tensor(tensor) => ValueType::Tensor(TensorType { element_type: Some(element_type), ..tensor }),
        other => other,
    }
}
