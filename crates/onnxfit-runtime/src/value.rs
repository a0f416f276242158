//! Between [`Tensor`] and ONNX Runtime's values.
#![allow(unsafe_code)] // Reads and fills a tensor's buffer through its pointer: ort has no typed view for every element type.

use ort::memory::Allocator;
use ort::value::{DynTensor, DynTensorValueType, DynValue, TensorElementType, ValueType};

use crate::{ElementType, RunError, Stage, Tensor};

/// A value that ONNX Runtime can be fed with; its memory is the host's, never the arena's.
pub(crate) fn to_value(name: &str, tensor: &Tensor) -> Result<DynValue, RunError> {
    let refuse = |error: ort::Error| RunError::Input { name: name.to_owned(), reason: format!("is refused: {error}") };
    let shape: Vec<i64> = tensor
        .shape()
        .iter()
        .map(|dim| i64::try_from(*dim))
        .collect::<Result<_, _>>()
        .map_err(|_| RunError::Input { name: name.to_owned(), reason: "is larger than any memory".to_owned() })?;
    let Some(bytes) = tensor.bytes() else {
        let strings = tensor.strings().unwrap_or_default();
        return Ok(ort::value::Tensor::from_string_array((shape, strings)).map_err(refuse)?.into_dyn());
    };
    let mut value = DynTensor::new(&Allocator::default(), to_ort(tensor.element_type()), shape).map_err(refuse)?;
    if !bytes.is_empty() {
        // SAFETY: the value was just made on the host with this type and shape, so its buffer holds
        // exactly the packed bytes that `Tensor` promises; nobody else has the pointer.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.data_ptr_mut().cast::<u8>(), bytes.len()) };
    }
    Ok(value.into_dyn())
}

/// A copy of what ONNX Runtime gave back.
pub(crate) fn from_value(name: &str, value: &DynValue) -> Result<Tensor, RunError> {
    let refuse = |reason: String| RunError::Failed {
        stage: Stage::Run,
        node: None,
        op_type: None,
        message: format!("output `{name}` {reason}"),
    };
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(refuse(format!("is a {}, not a tensor", value.dtype())));
    };
    let element_type = from_ort(*ty).ok_or_else(|| refuse(format!("has the unknown element type {ty}")))?;
    if element_type == ElementType::String {
        let shape = shape.iter().map(|dim| u64::try_from(*dim).unwrap_or(0)).collect();
        let (_, strings) = value.try_extract_strings().map_err(|error| refuse(error.to_string()))?;
        return Tensor::from_strings(shape, strings).map_err(|error| refuse(error.to_string()));
    }
    let view = value.view();
    let tensor = view.downcast::<DynTensorValueType>().map_err(|error| refuse(error.to_string()))?;
    from_tensor(name, &tensor)
}

/// A copy of a tensor in host memory.
pub(crate) fn from_tensor(name: &str, tensor: &DynTensor) -> Result<Tensor, RunError> {
    let refuse = |reason: String| RunError::Failed {
        stage: Stage::Run,
        node: None,
        op_type: None,
        message: format!("output `{name}` {reason}"),
    };
    let element_type = from_ort(*tensor.data_type()).ok_or_else(|| refuse("has an unknown element type".to_owned()))?;
    let shape: Vec<u64> = tensor
        .shape()
        .iter()
        .map(|dim| u64::try_from(*dim))
        .collect::<Result<_, _>>()
        .map_err(|_| refuse("has a negative dimension".to_owned()))?;
    if !tensor.memory_info().is_cpu_accessible() {
        return Err(refuse("is not in host memory".to_owned()));
    }
    let need = crate::tensor::element_count(&shape).and_then(|count| element_type.packed_bytes(count)).unwrap_or(0);
    let bytes = if need == 0 {
        Vec::new()
    } else {
        // SAFETY: the value is a host tensor of this type and shape and outlives the borrow; ONNX
        // Runtime's buffer for it holds at least the packed bytes.
        unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<u8>(), need as usize) }.to_vec()
    };
    Tensor::from_bytes(element_type, shape, bytes).map_err(|error| refuse(error.to_string()))
}

macro_rules! pairs {
    ($($ours:ident = $theirs:ident),* $(,)?) => {
        /// ONNX Runtime's type of one of ours.
        pub(crate) fn to_ort(element_type: ElementType) -> TensorElementType {
            match element_type { $(ElementType::$ours => TensorElementType::$theirs,)* }
        }

        /// The ONNX type of one of ONNX Runtime's; the two number them differently.
        pub(crate) fn from_ort(element_type: TensorElementType) -> Option<ElementType> {
            match element_type {
                $(TensorElementType::$theirs => Some(ElementType::$ours),)*
                _ => None,
            }
        }
    };
}

pairs! {
    Float = Float32, Uint8 = Uint8, Int8 = Int8, Uint16 = Uint16, Int16 = Int16, Int32 = Int32, Int64 = Int64,
    String = String, Bool = Bool, Float16 = Float16, Double = Float64, Uint32 = Uint32, Uint64 = Uint64,
    Complex64 = Complex64, Complex128 = Complex128, Bfloat16 = Bfloat16, Float8e4m3fn = Float8E4M3FN,
    Float8e4m3fnuz = Float8E4M3FNUZ, Float8e5m2 = Float8E5M2, Float8e5m2fnuz = Float8E5M2FNUZ, Uint4 = Uint4,
    Int4 = Int4, Float4e2m1 = Float4E2M1, Float8e8m0 = Float8E8M0, Uint2 = Uint2, Int2 = Int2,
}
