//! Inputs and outputs of a model as a server declares them.

use std::collections::BTreeMap;

use onnxfit_deploy::triton::Tensor;
use onnxfit_graph::{Model as GraphModel, ValueId};
use onnxfit_rewrite::batch::BatchSplit;
use onnxfit_shape::{Bindings, Expr, GraphFacts, infer};

use crate::request::Request;
use crate::{Error, sizes};

/// Everything that is fed and answered.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    /// What is fed.
    pub(crate) inputs: Vec<Tensor>,
    /// What is answered.
    pub(crate) outputs: Vec<Tensor>,
    /// The first axis of each, by name: what it is called, if it is a name alone.
    first_axes: BTreeMap<String, Option<String>>,
}

impl Signature {
    /// Open sizes from the model itself, predicted ones for these dimensions.
    pub(crate) fn of(model: &GraphModel, request: &Request, dims: &BTreeMap<String, i64>) -> Result<Self, Error> {
        let open = infer(model, &Bindings::default()).graph;
        let bindings = Bindings {
            dims: dims.clone(),
            inputs: request.shapes.clone(),
            values: sizes::known_values(&model.graph, dims),
            ..Bindings::default()
        };
        let bound = infer(model, &bindings).graph;
        let mut first_axes = BTreeMap::new();
        let mut list = |ids: &mut dyn Iterator<Item = ValueId>| -> Result<Vec<Tensor>, Error> {
            ids.map(|id| {
                let tensor = tensor(model, id, &open, &bound)?;
                let first = open.fact(id).shape.as_ref().and_then(|shape| shape.first()).and_then(Expr::as_symbol);
                first_axes.insert(tensor.name.clone(), first.map(str::to_owned));
                Ok(tensor)
            })
            .collect()
        };
        let inputs = list(&mut model.graph.required_inputs())?;
        let outputs = list(&mut model.graph.outputs().iter().copied())?;
        Ok(Self { inputs, outputs, first_axes })
    }

    /// Whether the first axis of every input and output is the rows, and nothing but the rows.
    pub(crate) fn has_rows_first(&self, split: &BatchSplit) -> bool {
        let is_first = |tensor: &Tensor, axes: &BTreeMap<String, usize>| {
            let named = self.first_axes.get(&tensor.name).cloned().flatten();
            axes.get(&tensor.name) == Some(&0) && named.as_ref() == Some(&split.dim)
        };
        self.inputs.iter().all(|input| is_first(input, &split.inputs))
            && self.outputs.iter().all(|output| is_first(output, &split.outputs))
    }
}

fn tensor(model: &GraphModel, id: ValueId, open: &GraphFacts, bound: &GraphFacts) -> Result<Tensor, Error> {
    let name = model.graph.value(id).name.clone();
    let fact = open.fact(id);
    let refused = |what: &str| Error::Binding(format!("`{name}` {what}, which a server must declare"), None);
    let element_type = fact.element_type.ok_or_else(|| refused("has an unknown element type"))?;
    let shape = fact.shape.as_ref().ok_or_else(|| refused("has an unknown number of dimensions"))?;
    let dims = shape.iter().map(|dim| dim.as_constant().unwrap_or(-1)).collect();
    let known = bound.fact(id).concrete().unwrap_or_default();
    let predicted = known.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
    Ok(Tensor { name, element_type, dims, predicted })
}
