//! A model for the sizes of the data: every dimension of its inputs is known but that of the batch.

use std::collections::BTreeMap;

use onnxfit_graph::Model;
use onnxfit_onnx::proto::{DimensionValue as DimValue, TypeProto, TypeValue, ValueInfoProto};

use crate::error::TrainError;

/// The name of the batch where the model gives it none.
const BATCH: &str = "batch";

/// A model for the sizes of the data.
#[derive(Clone, Debug)]
pub struct Specialized {
    /// The model.
    pub model: Model,
    /// The name of the batch's dimension.
    pub batch_dim: String,
    /// The batch that the model is made for, if it takes no other.
    pub fixed_batch: Option<u64>,
}

/// Puts the shapes of samples, by input, in place of open dimensions.
pub fn specialize(model: &Model, samples: &BTreeMap<String, Vec<u64>>) -> Result<Specialized, TrainError> {
    let mut proto = model.to_proto();
    let Some(graph) = &mut proto.graph else { return Err(TrainError::Model("it has no graph".to_owned())) };
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    let mut batch_names: Vec<String> = Vec::new();
    let mut fixed_batch = None;
    let mut has_open_batch = false;
    for info in &mut graph.input {
        let Some(shape) = samples.get(info.name()) else { continue };
        let name = info.name().to_owned();
        let Some(mut dims) = dims_mut(info) else { continue };
        if dims.len() != shape.len() + 1 {
            return Err(TrainError::Batch(format!(
                "samples of `{name}` are {shape:?}, but the model's input has {} dimensions with that of the batch",
                dims.len()
            )));
        }
        match &*dims[0] {
            Some(DimValue::DimParam(name)) if !name.is_empty() => batch_names.push(name.clone()),
            Some(DimValue::DimValue(size)) => fixed_batch = u64::try_from(*size).ok(),
            _ => has_open_batch = true,
        }
        for (place, (dim, size)) in dims[1..].iter_mut().zip(shape).enumerate() {
            match &**dim {
                Some(DimValue::DimParam(name)) if !name.is_empty() => {
                    if let Some(other) = sizes.insert(name.clone(), *size)
                        && other != *size
                    {
                        return Err(TrainError::Batch(format!("`{name}` is {other} and {size} in the data")));
                    }
                }
                Some(DimValue::DimValue(want)) if u64::try_from(*want) != Ok(*size) => {
                    return Err(TrainError::Batch(format!(
                        "samples of `{name}` are {shape:?}, but the model wants {want} in dimension {}",
                        place + 1
                    )));
                }
                _ => {}
            }
            **dim = Some(DimValue::DimValue(*size as i64));
        }
    }
    let batch_dim = batch_names.first().cloned().unwrap_or_else(|| BATCH.to_owned());
    if !batch_names.is_empty() || has_open_batch {
        fixed_batch = None;
    }
    if fixed_batch.is_none() {
        for info in graph.input.iter_mut().filter(|info| samples.contains_key(info.name())) {
            if let Some(first) = dims_mut(info).and_then(|dims| dims.into_iter().next()) {
                *first = Some(DimValue::DimParam(batch_dim.clone()));
            }
        }
    }
    let infos = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    for info in infos {
        for dim in dims_mut(info).into_iter().flatten() {
            let Some(DimValue::DimParam(name)) = dim else { continue };
            if batch_names.contains(name) {
                name.clone_from(&batch_dim);
            } else if let Some(size) = sizes.get(name) {
                *dim = Some(DimValue::DimValue(*size as i64));
            }
        }
    }
    Ok(Specialized { model: Model::from_proto(&proto)?, batch_dim, fixed_batch })
}

/// The dimensions of a declared tensor.
fn dims_mut(info: &mut ValueInfoProto) -> Option<Vec<&mut Option<DimValue>>> {
    let TypeProto { value: Some(TypeValue::TensorType(tensor)), .. } = info.r#type.as_mut()? else { return None };
    Some(tensor.shape.as_mut()?.dim.iter_mut().map(|dim| &mut dim.value).collect())
}
