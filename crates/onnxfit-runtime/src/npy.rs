//! NumPy's `.npy`: one array with a short text header.
//!
//! Reads versions 1 to 3, either byte order, C and Fortran order; writes version 1 in C order and
//! little-endian. `bfloat16` is what NumPy sees as two bytes without meaning (`V2`), as written by
//! ml_dtypes. Nothing is allocated before the header's size was checked against the data's.

use crate::{ElementType, Tensor, TensorError, tensor::element_count};

/// Why bytes are no array that ONNX could take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
    /// No `.npy` at all.
    #[error("is no .npy array: it does not begin with NumPy's mark")]
    NotNpy,
    /// The file ends early.
    #[error("is cut off: {need} bytes are needed, {have} are there")]
    Truncated {
        /// Bytes that must be there.
        need: u64,
        /// Bytes that are.
        have: u64,
    },
    /// There is more than the array.
    #[error("has {0} bytes after its array")]
    Trailing(u64),
    /// The header is not one that NumPy writes.
    #[error("has a header that cannot be read: {0}")]
    Header(String),
    /// An element type that ONNX does not have or NumPy cannot write.
    #[error("has elements of type `{0}`, which no ONNX input takes")]
    Type(String),
    /// The header and the data disagree.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

const MARK: &[u8; 6] = b"\x93NUMPY";
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Where the elements of an array are in its file, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Element type.
    pub element_type: ElementType,
    /// Shape.
    pub shape: Vec<u64>,
    /// Bytes before the first element.
    pub start: u64,
    /// Whether the bytes are those of a [`Tensor`]: little-endian, last axis contiguous, no text.
    pub is_plain: bool,
}

/// Most bytes that hold an array's mark and header.
pub const PREFIX_BYTES_MAX: usize = HEADER_BYTES_MAX + 12;

/// Reads the header alone, of a file or of its beginning.
pub fn layout(bytes: &[u8]) -> Result<Layout, NpyError> {
    let (header, start) = header(bytes)?;
    let (element_type, _) = header.element()?;
    let is_plain = element_type != ElementType::String
        && !header.descr.starts_with('>')
        && (!header.fortran_order || header.shape.len() < 2);
    Ok(Layout { element_type, shape: header.shape, start: start as u64, is_plain })
}

/// Reads one array.
pub fn read(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let (header, start) = header(bytes)?;
    header.tensor(&bytes[start..])
}

/// The header, and where the data begins.
fn header(bytes: &[u8]) -> Result<(Header, usize), NpyError> {
    let truncated = |need: usize| NpyError::Truncated { need: need as u64, have: bytes.len() as u64 };
    if bytes.len() < MARK.len() && MARK.starts_with(bytes) {
        return Err(truncated(10));
    }
    let rest = bytes.strip_prefix(MARK).ok_or(NpyError::NotNpy)?;
    let (start, length) = match rest {
        [1, _, low, high, ..] => (10, usize::from(u16::from_le_bytes([*low, *high]))),
        [2 | 3, _, a, b, c, d, ..] => (12, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
        [major, ..] if !matches!(major, 1..=3) => return Err(NpyError::Header(format!("format version {major}"))),
        _ => return Err(truncated(12)),
    };
    if length > HEADER_BYTES_MAX {
        return Err(NpyError::Header(format!("it is {length} bytes long")));
    }
    let header = bytes.get(start..start + length).ok_or_else(|| truncated(start + length))?;
    let header = std::str::from_utf8(header).map_err(|_| NpyError::Header("it is no text".to_owned()))?;
    Ok((Header::parse(header)?, start + length))
}

/// Writes one array; 8-bit floats and sub-byte types have no NumPy type.
pub fn write(tensor: &Tensor) -> Result<Vec<u8>, NpyError> {
    let (descr, data) = match (tensor.strings(), tensor.bytes()) {
        (Some(strings), _) => unicode(strings),
        (None, bytes) => (descr(tensor.element_type())?.to_owned(), bytes.unwrap_or_default().to_vec()),
    };
    let mut file = header_of(&descr, tensor.shape())?;
    file.extend_from_slice(&data);
    Ok(file)
}

/// The mark and header that the packed bytes of an array follow in its file.
pub fn write_header(element_type: ElementType, shape: &[u64]) -> Result<Vec<u8>, NpyError> {
    header_of(&descr(element_type)?, shape)
}

fn header_of(descr: &str, shape: &[u64]) -> Result<Vec<u8>, NpyError> {
    let n_dims = shape.len();
    let shape: String = shape.iter().map(|dim| format!("{dim}, ")).collect();
    // A tuple of one keeps its comma, a longer one drops it.
    let shape = if n_dims > 1 { shape.trim_end_matches(", ") } else { shape.trim_end() };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The data begins at a multiple of 64, the newline included.
    header.push_str(&" ".repeat((64 - (10 + header.len() + 1) % 64) % 64));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| NpyError::Header("the shape is too long".to_owned()))?;
    let mut file = Vec::with_capacity(10 + header.len());
    file.extend_from_slice(MARK);
    file.extend_from_slice(&[1, 0]);
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    Ok(file)
}

/// ONNX's types by NumPy's letter and width.
const TYPES: &[(&str, ElementType)] = &[
    ("b1", ElementType::Bool),
    ("i1", ElementType::Int8),
    ("u1", ElementType::Uint8),
    ("i2", ElementType::Int16),
    ("u2", ElementType::Uint16),
    ("f2", ElementType::Float16),
    ("V2", ElementType::Bfloat16),
    ("i4", ElementType::Int32),
    ("u4", ElementType::Uint32),
    ("f4", ElementType::Float),
    ("i8", ElementType::Int64),
    ("u8", ElementType::Uint64),
    ("f8", ElementType::Double),
    ("c8", ElementType::Complex64),
    ("c16", ElementType::Complex128),
];

fn descr(element_type: ElementType) -> Result<String, NpyError> {
    let (code, _) = TYPES
        .iter()
        .find(|(_, known)| *known == element_type)
        .ok_or_else(|| NpyError::Type(element_type.to_string()))?;
    let order = if element_type.bits() == 8 || code.starts_with('V') { '|' } else { '<' };
    Ok(format!("{order}{code}"))
}

fn unicode(strings: &[String]) -> (String, Vec<u8>) {
    let width = strings.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    let mut data = Vec::with_capacity(strings.len() * width * 4);
    for text in strings {
        let characters = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
        data.extend(characters.flat_map(u32::to_le_bytes));
    }
    (format!("<U{width}"), data)
}

struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

impl Header {
    /// Reads the dictionary that NumPy writes as a Python literal.
    fn parse(text: &str) -> Result<Self, NpyError> {
        let fail = |what: &str| NpyError::Header(format!("no {what} in `{}`", text.trim()));
        let value = |key: &str| {
            let after = &text[text.find(&format!("'{key}'"))? + key.len() + 2..];
            Some(after.trim_start().strip_prefix(':')?.trim_start())
        };
        let descr = value("descr").ok_or_else(|| fail("descr"))?;
        if descr.starts_with('[') {
            return Err(NpyError::Type("structured".to_owned()));
        }
        let descr = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).ok_or_else(|| fail("descr"))?.0;
        let order = value("fortran_order").ok_or_else(|| fail("fortran_order"))?;
        let fortran_order = order.starts_with("True");
        if !fortran_order && !order.starts_with("False") {
            return Err(fail("fortran_order"));
        }
        let shape =
            value("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')')).ok_or_else(|| fail("shape"))?.0;
        let dims = shape.split(',').map(str::trim).filter(|dim| !dim.is_empty());
        let shape = dims
            .map(|dim| dim.trim_end_matches('L').parse().map_err(|_| fail("shape")))
            .collect::<Result<Vec<u64>, _>>()?;
        Ok(Self { descr: descr.to_owned(), fortran_order, shape })
    }

    /// ONNX's type of the elements, and their bytes in the file.
    fn element(&self) -> Result<(ElementType, u64), NpyError> {
        let code = self.descr.trim_start_matches(['<', '>', '|', '=']);
        let unknown = || NpyError::Type(self.descr.clone());
        let text_width = |letter: char| code.strip_prefix(letter).and_then(|width| width.parse::<u64>().ok());
        if let Some(width) = text_width('U') {
            return Ok((ElementType::String, width.checked_mul(4).ok_or_else(unknown)?));
        }
        if let Some(width) = text_width('S') {
            return Ok((ElementType::String, width));
        }
        let (_, known) = TYPES.iter().find(|(known, _)| *known == code).ok_or_else(unknown)?;
        Ok((*known, known.bits() / 8))
    }

    fn tensor(self, data: &[u8]) -> Result<Tensor, NpyError> {
        let (element_type, element_bytes) = self.element()?;
        let big_endian = self.descr.starts_with('>');
        let code = self.descr.trim_start_matches(['<', '>', '|', '=']);
        let unknown = || NpyError::Type(self.descr.clone());
        let need = element_count(&self.shape)
            .and_then(|count| count.checked_mul(element_bytes))
            .ok_or(TensorError::TooLarge { element_type, shape: self.shape.clone() })?;
        let have = data.len() as u64;
        if have < need {
            return Err(NpyError::Truncated { need, have });
        }
        if have > need {
            return Err(NpyError::Trailing(have - need));
        }
        let mut data = data.to_vec();
        let width = element_bytes as usize;
        if big_endian {
            let part = match element_type {
                ElementType::Complex64 | ElementType::Complex128 => width / 2,
                ElementType::String => 4,
                _ => width,
            };
            data.chunks_exact_mut(part.max(1)).for_each(<[u8]>::reverse);
        }
        if self.fortran_order && self.shape.len() > 1 {
            data = row_major(&data, &self.shape, width);
        }
        if element_type != ElementType::String {
            return Ok(Tensor::from_bytes(element_type, self.shape, data)?);
        }
        let count = element_count(&self.shape).unwrap_or(0);
        // A width of zero is an array of empty texts.
        let strings = match width {
            0 if count > HEADER_BYTES_MAX as u64 => return Err(unknown()),
            0 => vec![String::new(); count as usize],
            width => data.chunks_exact(width).map(|element| text(element, code.starts_with('U'))).collect(),
        };
        Ok(Tensor::from_strings(self.shape, strings)?)
    }
}

fn text(element: &[u8], wide: bool) -> String {
    let text: String = if wide {
        let (characters, _) = element.as_chunks::<4>();
        characters
            .iter()
            .map(|c| char::from_u32(u32::from_le_bytes(*c)).unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    } else {
        String::from_utf8_lossy(element).into_owned()
    };
    text.trim_end_matches('\0').to_owned()
}

/// The same array with its last axis contiguous instead of its first.
fn row_major(data: &[u8], shape: &[u64], width: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len());
    let strides: Vec<usize> = shape
        .iter()
        .scan(width, |stride, dim| {
            let this = *stride;
            *stride *= *dim as usize;
            Some(this)
        })
        .collect();
    let mut index = vec![0u64; shape.len()];
    while out.len() < data.len() {
        let at: usize = index.iter().zip(&strides).map(|(index, stride)| *index as usize * stride).sum();
        out.extend_from_slice(&data[at..at + width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests;
