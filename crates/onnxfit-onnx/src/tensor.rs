//! What a `TensorProto` says of itself: type, shape, size, and where its bytes are.

use bytes::Bytes as Buffer;
use onnxfit_base::Bytes;

use crate::data_type::DataType;
use crate::error::TensorError;
use crate::packing::pack;
use crate::proto::{StringStringEntryProto, TensorProto};

/// Where external bytes lie, as the file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalLocation {
    /// The path, relative to the model's folder.
    pub location: String,
    /// The first byte.
    pub offset: u64,
    /// How many bytes, when the file says so.
    pub length: Option<u64>,
}

/// No memory holds more; a dimension of 2^62 is a broken file, not a big model.
const TENSOR_BYTES_MAX: u64 = 1 << 50;

impl TensorProto {
    /// A tensor of raw little-endian bytes.
    pub fn from_raw(name: &str, data_type: DataType, dims: &[i64], raw: impl Into<Buffer>) -> Self {
        Self {
            name: Some(name.to_owned()),
            data_type: Some(data_type.number()),
            dims: dims.to_vec(),
            raw_data: Some(raw.into()),
            ..Self::default()
        }
    }

    /// A tensor of `int64`, the type of shapes and axes.
    pub fn from_i64(name: &str, dims: &[i64], values: &[i64]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::from_raw(name, DataType::Int64, dims, raw)
    }

    /// A tensor of `float`.
    pub fn from_f32(name: &str, dims: &[i64], values: &[f32]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::from_raw(name, DataType::Float, dims, raw)
    }

    /// The element type.
    pub fn element_type(&self) -> Result<DataType, TensorError> {
        let number = self.data_type.unwrap_or(0);
        DataType::from_number(number).ok_or_else(|| TensorError::UnknownType { tensor: self.name().to_owned(), number })
    }

    /// How many elements the shape holds.
    pub fn n_elements(&self) -> Result<u64, TensorError> {
        let impossible = || TensorError::ImpossibleShape { tensor: self.name().to_owned(), dims: self.dims.clone() };
        let mut n_elements = 1u64;
        for dim in &self.dims {
            let dim = u64::try_from(*dim).map_err(|_| impossible())?;
            n_elements = n_elements.checked_mul(dim).ok_or_else(impossible)?;
        }
        Ok(n_elements)
    }

    /// How many bytes type and shape ask for; strings count as zero.
    pub fn size_bytes(&self) -> Result<Bytes, TensorError> {
        let n_elements = self.n_elements()?;
        let bytes = self.element_type()?.packed_bytes(n_elements).filter(|bytes| *bytes <= TENSOR_BYTES_MAX);
        bytes
            .map(Bytes)
            .ok_or_else(|| TensorError::ImpossibleShape { tensor: self.name().to_owned(), dims: self.dims.clone() })
    }

    /// Whether the bytes are in another file.
    pub fn is_external(&self) -> bool {
        self.data_location == Some(1)
    }

    /// Whether this message holds the bytes itself: they are neither in another file nor stripped.
    pub fn is_inline(&self) -> bool {
        !self.is_external() && !matches!(self.inline_length(), Err(TensorError::Absent { .. }))
    }

    /// Where the bytes are, for a tensor whose bytes are in another file.
    pub fn external_location(&self) -> Result<Option<ExternalLocation>, TensorError> {
        if !self.is_external() {
            return Ok(None);
        }
        let bad = |key, value: &str| TensorError::BadExternalEntry {
            tensor: self.name().to_owned(),
            key,
            value: value.to_owned(),
        };
        let entry = |key: &str| {
            self.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value().trim().to_owned())
        };
        let number = |key: &'static str| -> Result<Option<u64>, TensorError> {
            entry(key).map(|text| text.parse().map_err(|_| bad(key, &text))).transpose()
        };
        let location = entry("location").filter(|text| !text.is_empty()).ok_or_else(|| bad("location", ""))?;
        Ok(Some(ExternalLocation { location, offset: number("offset")?.unwrap_or(0), length: number("length")? }))
    }

    /// Makes the tensor point to bytes in another file.
    pub fn set_external(&mut self, location: &str, offset: u64, length: u64) {
        let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
        self.drop_values();
        self.data_location = Some(1);
        self.external_data = vec![
            entry("location", location.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ];
    }

    /// Makes the tensor hold these little-endian bytes itself.
    pub fn set_raw(&mut self, raw: Buffer) {
        self.drop_values();
        self.raw_data = Some(raw);
    }

    fn drop_values(&mut self) {
        self.raw_data = None;
        self.data_location = None;
        self.external_data.clear();
        self.float_data.clear();
        self.int32_data.clear();
        self.int64_data.clear();
        self.double_data.clear();
        self.uint64_data.clear();
    }

    /// The little-endian bytes that are inside the model file itself; `None` for external ones.
    /// Strings have no such form and give an empty buffer.
    pub fn inline_bytes(&self) -> Result<Option<Buffer>, TensorError> {
        if self.is_external() {
            return Ok(None);
        }
        self.inline_length()?;
        let element_type = self.element_type()?;
        Ok(Some(match &self.raw_data {
            Some(raw) => raw.clone(),
            None => Buffer::from(self.typed_bytes(element_type)),
        }))
    }

    /// How many bytes [`Self::inline_bytes`] gives, found without making them.
    pub(crate) fn inline_length(&self) -> Result<Bytes, TensorError> {
        use DataType::*;
        let need = self.size_bytes()?;
        let have = match (&self.raw_data, self.element_type()?) {
            (_, String) => return Ok(need),
            (Some(raw), _) => raw.len(),
            (None, Float | Complex64) => 4 * self.float_data.len(),
            (None, Double | Complex128) => 8 * self.double_data.len(),
            (None, Int64) => 8 * self.int64_data.len(),
            (None, Uint64) => 8 * self.uint64_data.len(),
            (None, Uint32) => 4 * self.uint64_data.len(),
            (None, Int32) => 4 * self.int32_data.len(),
            (None, Int16 | Uint16 | Float16 | Bfloat16) => 2 * self.int32_data.len(),
            (None, Float6E2M3 | Float6E3M2) if self.int32_data.len() as u64 == self.n_elements()? => return Ok(need),
            (None, _) => self.int32_data.len(),
        } as u64;
        let name = || self.name().to_owned();
        match have {
            have if have == need.get() => Ok(need),
            // A stripped tensor: somebody took the bytes out and left the description.
            0 => Err(TensorError::Absent { tensor: name(), location: "the model file".to_owned(), bytes: need }),
            have => Err(TensorError::WrongLength { tensor: name(), have: Bytes(have), need }),
        }
    }

    /// The typed repeated fields as the bytes that `raw_data` would hold (onnx.proto says which
    /// field serves which type).
    fn typed_bytes(&self, element_type: DataType) -> Vec<u8> {
        use DataType::*;
        match element_type {
            Float | Complex64 => self.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Double | Complex128 => self.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Int64 => self.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Uint64 => self.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Uint32 => self.uint64_data.iter().flat_map(|v| (*v as u32).to_le_bytes()).collect(),
            Int32 => self.int32_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Int16 | Uint16 | Float16 | Bfloat16 => {
                self.int32_data.iter().flat_map(|v| (*v as u16).to_le_bytes()).collect()
            }
            String => Vec::new(),
            Float6E2M3 | Float6E3M2 => pack(6, self.int32_data.iter().map(|v| *v as u8)),
            _ => self.int32_data.iter().map(|v| *v as u8).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_fields_and_raw_bytes_say_the_same() {
        let typed =
            TensorProto { data_type: Some(10), dims: vec![2], int32_data: vec![0x3c00, 0xc000], ..Default::default() };
        assert_eq!(typed.inline_bytes().unwrap().unwrap().as_ref(), [0x00, 0x3c, 0x00, 0xc0]);
        let six_bits =
            TensorProto { data_type: Some(27), dims: vec![4], int32_data: vec![8, 16, 1, 31], ..Default::default() };
        assert_eq!(six_bits.inline_bytes().unwrap().unwrap().as_ref(), [0x08, 0x14, 0x7c]);
        let packed =
            TensorProto { data_type: Some(22), dims: vec![3], int32_data: vec![0x21, 0x3], ..Default::default() };
        assert_eq!(packed.size_bytes().unwrap(), Bytes(2));
        assert_eq!(packed.inline_bytes().unwrap().unwrap().as_ref(), [0x21, 0x03]);
    }

    #[test]
    fn refuses_shapes_that_no_memory_holds() {
        for dims in [vec![1i64 << 62], vec![-1, 2], vec![1 << 40, 1 << 40]] {
            let tensor = TensorProto { name: Some("w".into()), data_type: Some(1), dims, ..Default::default() };
            assert!(matches!(tensor.size_bytes(), Err(TensorError::ImpossibleShape { .. })), "{tensor:?}");
        }
    }
}
