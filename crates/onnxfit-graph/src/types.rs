//! The declared type of a value.

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{
    DimensionProto, DimensionValue, ElementTypeProto, MapTypeProto, OpaqueTypeProto, TensorShapeProto, TensorTypeProto,
    TypeProto, TypeValue,
};

/// One dimension, as a file declares it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    /// A number.
    Known(i64),
    /// A name, such as `batch` or `past_sequence_length + 1`.
    Symbol(String),
    /// Nothing is said.
    Unknown,
}

/// Element type and shape, each as far as declared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The element type.
    pub element_type: Option<DataType>,
    /// The shape; `None` when even the rank is unknown.
    pub shape: Option<Vec<Dim>>,
}

/// The type of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// Nothing is said.
    #[default]
    Unknown,
    /// A dense tensor.
    Tensor(TensorType),
    /// A sparse tensor.
    SparseTensor(TensorType),
    /// A sequence of one type.
    Sequence(Box<ValueType>),
    /// A value that may be absent.
    Optional(Box<ValueType>),
    /// A map.
    Map(Option<DataType>, Box<ValueType>),
    /// A type of some other domain.
    Opaque(String, String),
}

impl ValueType {
    /// A tensor of known element type and shape.
    pub fn tensor(element_type: DataType, shape: Vec<Dim>) -> Self {
        Self::Tensor(TensorType { element_type: Some(element_type), shape: Some(shape) })
    }

    /// The tensor type, for a dense tensor.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Reads a declared type.
    pub fn from_proto(proto: &TypeProto) -> Self {
        let element =
            |element: &ElementTypeProto| Box::new(element.elem_type.as_deref().map_or(Self::Unknown, Self::from_proto));
        match &proto.value {
            None => Self::Unknown,
            Some(TypeValue::TensorType(tensor)) => Self::Tensor(tensor_from_proto(tensor)),
            Some(TypeValue::SparseTensorType(tensor)) => Self::SparseTensor(tensor_from_proto(tensor)),
            Some(TypeValue::SequenceType(sequence)) => Self::Sequence(element(sequence)),
            Some(TypeValue::OptionalType(optional)) => Self::Optional(element(optional)),
            Some(TypeValue::MapType(map)) => Self::Map(
                map.key_type.and_then(DataType::from_number),
                Box::new(map.value_type.as_deref().map_or(Self::Unknown, Self::from_proto)),
            ),
            Some(TypeValue::OpaqueType(opaque)) => Self::Opaque(opaque.domain().to_owned(), opaque.name().to_owned()),
        }
    }

    /// The type as a file declares it.
    pub fn to_proto(&self) -> TypeProto {
        let element = |inner: &Self| Box::new(ElementTypeProto { elem_type: Some(Box::new(inner.to_proto())) });
        let value = match self {
            Self::Unknown => None,
            Self::Tensor(tensor) => Some(TypeValue::TensorType(tensor_to_proto(tensor))),
            Self::SparseTensor(tensor) => Some(TypeValue::SparseTensorType(tensor_to_proto(tensor))),
            Self::Sequence(inner) => Some(TypeValue::SequenceType(element(inner))),
            Self::Optional(inner) => Some(TypeValue::OptionalType(element(inner))),
            Self::Map(key, inner) => Some(TypeValue::MapType(Box::new(MapTypeProto {
                key_type: key.map(DataType::number),
                value_type: Some(Box::new(inner.to_proto())),
            }))),
            Self::Opaque(domain, name) => {
                Some(TypeValue::OpaqueType(OpaqueTypeProto { domain: Some(domain.clone()), name: Some(name.clone()) }))
            }
        };
        TypeProto { denotation: None, value }
    }
}

fn tensor_from_proto(proto: &TensorTypeProto) -> TensorType {
    let dim = |dim: &DimensionProto| match &dim.value {
        // A negative number is how some exporters write "unknown".
        Some(DimensionValue::DimValue(number)) if *number >= 0 => Dim::Known(*number),
        Some(DimensionValue::DimParam(name)) if !name.is_empty() => Dim::Symbol(name.clone()),
        _ => Dim::Unknown,
    };
    TensorType {
        element_type: proto.elem_type.and_then(DataType::from_number),
        shape: proto.shape.as_ref().map(|shape| shape.dim.iter().map(dim).collect()),
    }
}

fn tensor_to_proto(tensor: &TensorType) -> TensorTypeProto {
    let dim = |dim: &Dim| DimensionProto {
        denotation: None,
        value: match dim {
            Dim::Known(number) => Some(DimensionValue::DimValue(*number)),
            Dim::Symbol(name) => Some(DimensionValue::DimParam(name.clone())),
            Dim::Unknown => None,
        },
    };
    TensorTypeProto {
        elem_type: tensor.element_type.map(DataType::number),
        shape: tensor.shape.as_ref().map(|shape| TensorShapeProto { dim: shape.iter().map(dim).collect() }),
    }
}
