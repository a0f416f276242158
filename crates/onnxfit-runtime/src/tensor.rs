//! A tensor in host memory: element type, shape, and little-endian bytes.
//!
//! Holds what ONNX Runtime is given and gives back, without `ort` in sight. A [`Tensor`] that
//! exists is consistent: its bytes are exactly what its shape and type need.

mod split;

use crate::ElementType;

/// One tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    element_type: ElementType,
    shape: Vec<u64>,
    data: Data,
}

#[derive(Clone, Debug, PartialEq)]
enum Data {
    Packed(Vec<u8>),
    Strings(Vec<String>),
}

/// A shape, type and data that do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The shape needs another number of bytes.
    #[error("a {element_type} tensor of shape {shape:?} needs {need} bytes, but has {have}")]
    WrongLength {
        /// Element type.
        element_type: ElementType,
        /// Shape.
        shape: Vec<u64>,
        /// Bytes (or strings) that the shape needs.
        need: u64,
        /// Bytes (or strings) that are there.
        have: u64,
    },
    /// The shape's element count leaves 64 bits.
    #[error("a {element_type} tensor of shape {shape:?} is larger than any memory")]
    TooLarge {
        /// Element type.
        element_type: ElementType,
        /// Shape.
        shape: Vec<u64>,
    },
}

/// Number of elements of a shape; `None` past `u64::MAX`.
pub(crate) fn element_count(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim))
}

impl Tensor {
    /// A tensor of anything but strings from packed little-endian bytes.
    pub fn from_bytes(element_type: ElementType, shape: Vec<u64>, bytes: Vec<u8>) -> Result<Self, TensorError> {
        let need = element_count(&shape).and_then(|count| element_type.packed_bytes(count));
        match need {
            None => Err(TensorError::TooLarge { element_type, shape }),
            Some(need) if need != bytes.len() as u64 => {
                Err(TensorError::WrongLength { element_type, shape, need, have: bytes.len() as u64 })
            }
            Some(_) => Ok(Self { element_type, shape, data: Data::Packed(bytes) }),
        }
    }

    /// A tensor of strings.
    pub fn from_strings(shape: Vec<u64>, strings: Vec<String>) -> Result<Self, TensorError> {
        let element_type = ElementType::String;
        match element_count(&shape) {
            None => Err(TensorError::TooLarge { element_type, shape }),
            Some(need) if need != strings.len() as u64 => {
                Err(TensorError::WrongLength { element_type, shape, need, have: strings.len() as u64 })
            }
            Some(_) => Ok(Self { element_type, shape, data: Data::Strings(strings) }),
        }
    }

    /// A `float` tensor.
    pub fn from_f32(shape: Vec<u64>, values: &[f32]) -> Result<Self, TensorError> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::from_bytes(ElementType::Float, shape, bytes)
    }

    /// An `int64` tensor.
    pub fn from_i64(shape: Vec<u64>, values: &[i64]) -> Result<Self, TensorError> {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::from_bytes(ElementType::Int64, shape, bytes)
    }

    /// A tensor whose every element is the nearest that the type has to the `f64` given for it.
    /// `None` for types without such a conversion: strings, complex, 8-bit floats, sub-byte types.
    pub fn from_f64(element_type: ElementType, shape: Vec<u64>, values: &[f64]) -> Option<Result<Self, TensorError>> {
        let mut bytes = Vec::with_capacity(values.len().saturating_mul(element_type.bits() as usize / 8));
        for value in values {
            push_element(element_type, *value, &mut bytes)?;
        }
        Some(Self::from_bytes(element_type, shape, bytes))
    }

    /// Element type.
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// Shape; empty for a scalar.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        element_count(&self.shape).expect("a tensor that exists has a count")
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The packed little-endian bytes; `None` for strings.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Packed(bytes) => Some(bytes),
            Data::Strings(_) => None,
        }
    }

    /// The packed bytes themselves; the tensor again for strings.
    pub fn into_bytes(self) -> Result<Vec<u8>, Self> {
        match self.data {
            Data::Packed(bytes) => Ok(bytes),
            Data::Strings(_) => Err(self),
        }
    }

    /// The strings, of a string tensor.
    pub fn strings(&self) -> Option<&[String]> {
        match &self.data {
            Data::Packed(_) => None,
            Data::Strings(strings) => Some(strings),
        }
    }

    /// Every element as `f64`, widened; `None` where there is no such conversion (strings,
    /// complex, 8-bit floats, sub-byte types). 64-bit integers beyond 2^53 are rounded.
    pub fn values(&self) -> Option<Vec<f64>> {
        let bytes = self.bytes()?;
        read_elements(self.element_type, bytes)
    }

    /// The rows `range` of the first axis, as a tensor of its own. `None` for a scalar, a range
    /// outside the axis, or rows that are no whole bytes.
    pub fn rows(&self, range: std::ops::Range<u64>) -> Option<Self> {
        let rows = *self.shape.first()?;
        if range.start > range.end || range.end > rows {
            return None;
        }
        let mut shape = self.shape.clone();
        shape[0] = range.end - range.start;
        let data = match &self.data {
            Data::Packed(bytes) => {
                let row_bits = element_count(&self.shape[1..])?.checked_mul(self.element_type.bits())?;
                if row_bits % 8 != 0 {
                    return None;
                }
                let row_bytes = usize::try_from(row_bits / 8).ok()?;
                Data::Packed(bytes[range.start as usize * row_bytes..range.end as usize * row_bytes].to_vec())
            }
            Data::Strings(strings) => {
                let row = element_count(&self.shape[1..])? as usize;
                Data::Strings(strings[range.start as usize * row..range.end as usize * row].to_vec())
            }
        };
        Some(Self { element_type: self.element_type, shape, data })
    }
}

fn push_element(element_type: ElementType, value: f64, bytes: &mut Vec<u8>) -> Option<()> {
    use ElementType as E;
    match element_type {
        E::Float => bytes.extend((value as f32).to_le_bytes()),
        E::Double => bytes.extend(value.to_le_bytes()),
        E::Float16 => bytes.extend(half::f16::from_f64(value).to_le_bytes()),
        E::Bfloat16 => bytes.extend(half::bf16::from_f64(value).to_le_bytes()),
        E::Uint8 => bytes.push(value as u8),
        E::Int8 => bytes.push(value as i8 as u8),
        E::Bool => bytes.push(u8::from(value != 0.0)),
        E::Uint16 => bytes.extend((value as u16).to_le_bytes()),
        E::Int16 => bytes.extend((value as i16).to_le_bytes()),
        E::Uint32 => bytes.extend((value as u32).to_le_bytes()),
        E::Int32 => bytes.extend((value as i32).to_le_bytes()),
        E::Uint64 => bytes.extend((value as u64).to_le_bytes()),
        E::Int64 => bytes.extend((value as i64).to_le_bytes()),
        _ => return None,
    }
    Some(())
}

fn read_elements(element_type: ElementType, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Option<Vec<f64>> {
        let (elements, []) = bytes.as_chunks::<N>() else { return None };
        Some(elements.iter().map(|element| read(*element)).collect())
    }
    use ElementType as E;
    match element_type {
        E::Float => each(bytes, |b| f32::from_le_bytes(b).into()),
        E::Double => each(bytes, f64::from_le_bytes),
        E::Float16 => each(bytes, |b| half::f16::from_le_bytes(b).to_f64()),
        E::Bfloat16 => each(bytes, |b| half::bf16::from_le_bytes(b).to_f64()),
        E::Uint8 => each(bytes, |[b]| b.into()),
        E::Bool => each(bytes, |[b]| f64::from(b != 0)),
        E::Int8 => each(bytes, |[b]| (b as i8).into()),
        E::Uint16 => each(bytes, |b| u16::from_le_bytes(b).into()),
        E::Int16 => each(bytes, |b| i16::from_le_bytes(b).into()),
        E::Uint32 => each(bytes, |b| u32::from_le_bytes(b).into()),
        E::Int32 => each(bytes, |b| i32::from_le_bytes(b).into()),
        E::Uint64 => each(bytes, |b| u64::from_le_bytes(b) as f64),
        E::Int64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        _ => None,
    }
}

/// Named tensors in a fixed order, such as a run's inputs or outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensors(Vec<(String, Tensor)>);

impl Tensors {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor, or replaces the one of that name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, place)) => *place = tensor,
            None => self.0.push((name, tensor)),
        }
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    /// Takes the tensor of that name out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(at).1)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for Tensors {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(String, Tensor)> for Tensors {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(pairs: I) -> Self {
        let mut tensors = Self::new();
        for (name, tensor) in pairs {
            tensors.insert(name, tensor);
        }
        tensors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_bytes_that_do_not_fill_the_shape() {
        let short = Tensor::from_bytes(ElementType::Float, vec![2, 3], vec![0; 23]);
        assert_eq!(
            short.map_err(|error| error.to_string()),
            Err("a float tensor of shape [2, 3] needs 24 bytes, but has 23".to_owned())
        );
        let huge = Tensor::from_bytes(ElementType::Int64, vec![1 << 62, 4], vec![]);
        assert!(matches!(huge, Err(TensorError::TooLarge { .. })));
        assert!(Tensor::from_bytes(ElementType::Int64, vec![1 << 62, 4, 0], vec![]).is_ok());
    }

    #[test]
    fn every_numeric_type_keeps_small_whole_numbers() {
        for element_type in ElementType::ALL {
            let Some(tensor) = Tensor::from_f64(*element_type, vec![3], &[0.0, 1.0, 1.0]) else { continue };
            let tensor = tensor.expect("three values fill three elements");
            assert_eq!(tensor.values(), Some(vec![0.0, 1.0, 1.0]), "{element_type}");
        }
    }

    #[test]
    fn rows_cut_the_first_axis() {
        let tensor = Tensor::from_i64(vec![3, 2], &[1, 2, 3, 4, 5, 6]).expect("six values");
        assert_eq!(tensor.rows(1..3), Some(Tensor::from_i64(vec![2, 2], &[3, 4, 5, 6]).expect("four values")));
        assert_eq!(tensor.rows(2..4), None);
        assert_eq!(Tensor::from_i64(vec![], &[7]).expect("a scalar").rows(0..1), None);
    }
}
