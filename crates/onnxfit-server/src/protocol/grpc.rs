//! The protocol's messages, as `grpc_predict_v2.proto` numbers them.
//!
//! Fields that this server neither reads nor writes are left out; protobuf skips them.

use std::collections::HashMap;

use onnxfit::runtime::{ElementType, Tensor, Tensors};
use prost::Message;

use super::{Question, datatype, raw};
use crate::refusal::Refusal;

/// Nothing, or nothing that matters.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Empty {}

/// `ServerLiveResponse`, `ServerReadyResponse`, `ModelReadyResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Yes {
    #[prost(bool, tag = "1")]
    pub(crate) yes: bool,
}

/// `ModelReadyRequest`, `ModelMetadataRequest`, `ModelConfigRequest`, `ModelStatisticsRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelName {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
}

/// `ServerMetadataResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServerMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(string, repeated, tag = "3")]
    pub(crate) extensions: Vec<String>,
}

/// `ModelMetadataResponse.TensorMetadata`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) shape: Vec<i64>,
}

/// `ModelMetadataResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelMetadata {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) versions: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) platform: String,
    #[prost(message, repeated, tag = "4")]
    pub(crate) inputs: Vec<TensorMetadata>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) outputs: Vec<TensorMetadata>,
}

/// `InferParameter`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Parameter {
    #[prost(oneof = "Choice", tags = "1, 2, 3, 4, 5")]
    pub(crate) choice: Option<Choice>,
}

/// What a parameter holds.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Choice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Int(i64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(uint64, tag = "5")]
    Uint(u64),
}

/// `InferTensorContents`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Contents {
    #[prost(bool, repeated, tag = "1")]
    pub(crate) bools: Vec<bool>,
    #[prost(int32, repeated, tag = "2")]
    pub(crate) ints: Vec<i32>,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) longs: Vec<i64>,
    #[prost(uint32, repeated, tag = "4")]
    pub(crate) uints: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    pub(crate) ulongs: Vec<u64>,
    #[prost(float, repeated, tag = "6")]
    pub(crate) floats: Vec<f32>,
    #[prost(double, repeated, tag = "7")]
    pub(crate) doubles: Vec<f64>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub(crate) texts: Vec<Vec<u8>>,
}

/// `ModelInferRequest.InferInputTensor`, and `ModelInferResponse.InferOutputTensor`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferTensor {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(crate) shape: Vec<i64>,
    #[prost(map = "string, message", tag = "4")]
    pub(crate) parameters: HashMap<String, Parameter>,
    #[prost(message, optional, tag = "5")]
    pub(crate) contents: Option<Contents>,
}

/// `ModelInferRequest.InferRequestedOutputTensor`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Wanted {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
}

/// `ModelInferRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferRequest {
    #[prost(string, tag = "1")]
    pub(crate) model_name: String,
    #[prost(string, tag = "2")]
    pub(crate) model_version: String,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(map = "string, message", tag = "4")]
    pub(crate) parameters: HashMap<String, Parameter>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) inputs: Vec<InferTensor>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) outputs: Vec<Wanted>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    pub(crate) raw_inputs: Vec<bytes::Bytes>,
}

/// `ModelInferResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferResponse {
    #[prost(string, tag = "1")]
    pub(crate) model_name: String,
    #[prost(string, tag = "2")]
    pub(crate) model_version: String,
    #[prost(string, tag = "3")]
    pub(crate) id: String,
    #[prost(message, repeated, tag = "5")]
    pub(crate) outputs: Vec<InferTensor>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(crate) raw_outputs: Vec<bytes::Bytes>,
}

/// `RepositoryIndexRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct IndexRequest {
    #[prost(string, tag = "1")]
    pub(crate) repository_name: String,
    #[prost(bool, tag = "2")]
    pub(crate) ready: bool,
}

/// `RepositoryIndexResponse.ModelIndex`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct IndexEntry {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) version: String,
    #[prost(string, tag = "3")]
    pub(crate) state: String,
    #[prost(string, tag = "4")]
    pub(crate) reason: String,
}

/// `RepositoryIndexResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Index {
    #[prost(message, repeated, tag = "1")]
    pub(crate) models: Vec<IndexEntry>,
}

/// `RepositoryModelLoadRequest`, `RepositoryModelUnloadRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LoadRequest {
    #[prost(string, tag = "1")]
    pub(crate) repository_name: String,
    #[prost(string, tag = "2")]
    pub(crate) model_name: String,
}

impl InferRequest {
    /// What it asks.
    pub(crate) fn question(self) -> Result<Question, Refusal> {
        let n_inputs = self.inputs.len();
        let is_raw = !self.raw_inputs.is_empty();
        if is_raw && self.raw_inputs.len() != n_inputs {
            let n_raw = self.raw_inputs.len();
            return Err(Refusal::bad(format!("{n_inputs} inputs, but raw contents for {n_raw}")));
        }
        let mut inputs = Tensors::new();
        for (at, input) in self.inputs.into_iter().enumerate() {
            let name = input.name.clone();
            let refuse = |reason: String| Refusal::bad(format!("input `{name}`: {reason}"));
            let element_type = datatype::element_type(&input.datatype)
                .ok_or_else(|| refuse(format!("there is no datatype `{}`", input.datatype)))?;
            let shape: Result<Vec<u64>, _> = input.shape.iter().map(|dim| u64::try_from(*dim)).collect();
            let shape = shape.map_err(|_| refuse(format!("a shape cannot be {:?}", input.shape)))?;
            if inputs.get(&name).is_some() {
                return Err(refuse("it is given twice".to_owned()));
            }
            let tensor = match (is_raw, input.contents) {
                (true, None) => raw::read(&name, element_type, shape, &self.raw_inputs[at])?,
                (true, Some(_)) => return Err(refuse("it has both contents and raw contents".to_owned())),
                (false, contents) => contents.unwrap_or_default().tensor(&name, element_type, shape)?,
            };
            inputs.insert(name, tensor);
        }
        let timeout = match self.parameters.get("timeout").and_then(|parameter| parameter.choice.as_ref()) {
            Some(Choice::Int(micros)) => u64::try_from(*micros).ok(),
            Some(Choice::Uint(micros)) => Some(*micros),
            _ => None,
        };
        Ok(Question {
            id: self.id,
            inputs,
            outputs: self.outputs.into_iter().map(|output| output.name).collect(),
            timeout: timeout.map(std::time::Duration::from_micros),
            trace_parent: None,
        })
    }
}

impl Contents {
    fn tensor(self, name: &str, element_type: ElementType, shape: Vec<u64>) -> Result<Tensor, Refusal> {
        use ElementType as E;
        let refuse = |reason: String| Refusal::bad(format!("input `{name}`: {reason}"));
        let narrow = |reason: &str| refuse(format!("an element is outside the range of {reason}"));
        macro_rules! packed {
            ($values:expr) => {
                $values.iter().flat_map(|value| value.to_le_bytes()).collect()
            };
            ($values:expr, $kind:ty) => {{
                let values: Result<Vec<$kind>, _> = $values.iter().map(|value| <$kind>::try_from(*value)).collect();
                packed!(values.map_err(|_| narrow(element_type.as_str()))?)
            }};
        }
        let bytes: Vec<u8> = match element_type {
            E::Bool => self.bools.iter().map(|value| u8::from(*value)).collect(),
            E::Int8 => packed!(self.ints, i8),
            E::Int16 => packed!(self.ints, i16),
            E::Int32 => packed!(self.ints),
            E::Int64 => packed!(self.longs),
            E::Uint8 => packed!(self.uints, u8),
            E::Uint16 => packed!(self.uints, u16),
            E::Uint32 => packed!(self.uints),
            E::Uint64 => packed!(self.ulongs),
            E::Float => packed!(self.floats),
            E::Double => packed!(self.doubles),
            E::String => {
                let texts: Result<Vec<String>, _> = self.texts.into_iter().map(String::from_utf8).collect();
                let texts = texts.map_err(|_| refuse("a BYTES element is no UTF-8".to_owned()))?;
                return Tensor::from_strings(shape, texts).map_err(|error| refuse(error.to_string()));
            }
            _ => return Err(refuse(format!("{element_type} travels as raw contents only"))),
        };
        Tensor::from_bytes(element_type, shape, bytes).map_err(|error| refuse(error.to_string()))
    }
}

/// An answer as the protocol's message; every tensor raw.
pub(crate) fn answer(model: &str, id: String, outputs: Tensors) -> Result<InferResponse, Refusal> {
    let mut response = InferResponse {
        model_name: model.to_owned(),
        model_version: "1".to_owned(),
        id,
        outputs: Vec::new(),
        raw_outputs: Vec::new(),
    };
    for (name, tensor) in outputs {
        let datatype = datatype::datatype(tensor.element_type())
            .ok_or_else(|| Refusal::bad(format!("output `{name}`: the protocol has no name for its element type")))?;
        response.outputs.push(InferTensor {
            name,
            datatype: datatype.to_owned(),
            shape: tensor.shape().iter().map(|dim| *dim as i64).collect(),
            ..InferTensor::default()
        });
        let bytes = tensor.into_bytes().unwrap_or_else(|texts| raw::write(&texts).into_owned());
        response.raw_outputs.push(bytes.into());
    }
    Ok(response)
}
