//! The bytes of one row of a column: a number, a list of numbers, lists of lists, or an image.

use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, GenericListArray, OffsetSizeTrait};
use arrow_schema::{DataType, Field as Column};
use onnxfit_runtime::ElementType;

use crate::error::DataError;
use crate::pixels::{Pixels, decode};
use crate::source::{Field, OpenOptions};

/// The part of a structure that holds an image's file, as the `datasets` library writes it.
const IMAGE_BYTES: &str = "bytes";
/// What PNG and JPEG files begin with.
const IMAGE_MAGICS: [&[u8]; 2] = [b"\x89PNG", b"\xff\xd8\xff"];

/// How the bytes of a field are found in its column.
#[derive(Clone, Debug)]
pub(crate) enum Cells {
    /// Numbers, or lists of numbers of one length.
    Numbers,
    /// Image files.
    Images(Pixels),
}

/// Why a cell is no sample.
enum Fault {
    Null,
    Shape(Vec<u64>),
    Other,
}

impl Cells {
    /// What the cells of a column are, told from its first ones; `None` if they are neither numbers
    /// nor images.
    pub(super) fn of(
        column: &Column,
        arrays: &[ArrayRef],
        options: &OpenOptions,
        path: &Path,
    ) -> Result<Option<(Self, Field)>, DataError> {
        let name = column.name().clone();
        let rows = || arrays.iter().flat_map(|array| (0..array.len()).map(move |row| (array, row)));
        if let Some(element_type) = element_type(column.data_type()) {
            let shape = rows().find_map(|(array, row)| shape(array.as_ref(), row));
            let Some(shape) = shape else {
                let reason = format!("`{name}` is null in every row of the first block");
                return Err(DataError::Damaged { path: path.to_owned(), reason });
            };
            return Ok(Some((Self::Numbers, Field { name, element_type, shape })));
        }
        let image = rows().find_map(|(array, row)| encoded(array.as_ref(), row));
        let Some(image) = image.filter(|bytes| IMAGE_MAGICS.iter().any(|magic| bytes.starts_with(magic))) else {
            return Ok(None);
        };
        let size = match options.image_size {
            Some(size) => size,
            None => {
                let image = decode(Cursor::new(image), path)?;
                (image.height(), image.width())
            }
        };
        let pixels = Pixels::new(size, options);
        let field = Field { name, element_type: ElementType::Uint8, shape: pixels.shape() };
        Ok(Some((Self::Images(pixels), field)))
    }

    pub(super) const fn is_image(&self) -> bool {
        matches!(self, Self::Images(_))
    }

    /// Whether another file's column of this type can be the same field.
    pub(super) fn can_be(&self, data_type: &DataType, wanted: ElementType) -> bool {
        match self {
            Self::Numbers => element_type(data_type) == Some(wanted),
            Self::Images(_) => element_type(data_type).is_none(),
        }
    }

    /// The bytes of one cell.
    pub(super) fn read(&self, array: &ArrayRef, row: usize, field: &Field, path: &Path) -> Result<Vec<u8>, DataError> {
        let path_of = || path.to_owned();
        let is_null = || DataError::Damaged { path: path_of(), reason: format!("`{}` is null in a row", field.name) };
        match self {
            Self::Images(pixels) => {
                let bytes = encoded(array.as_ref(), row).ok_or_else(is_null)?;
                pixels.of(decode(Cursor::new(bytes), path)?, path, &field.name)
            }
            Self::Numbers => {
                let mut bytes = Vec::with_capacity(field.sample_bytes() as usize);
                append(array.as_ref(), row..row + 1, &field.shape, &mut bytes).map_err(|fault| match fault {
                    Fault::Null => is_null(),
                    Fault::Shape(have) => {
                        DataError::Shape { path: path_of(), key: field.name.clone(), want: field.shape.clone(), have }
                    }
                    Fault::Other => DataError::Damaged {
                        path: path_of(),
                        reason: format!("`{}` holds {} where numbers were before", field.name, array.data_type()),
                    },
                })?;
                Ok(bytes)
            }
        }
    }
}

/// What the numbers of a column are, lists looked through.
fn element_type(data_type: &DataType) -> Option<ElementType> {
    Some(match data_type {
        DataType::Boolean => ElementType::Bool,
        DataType::Int8 => ElementType::Int8,
        DataType::Int16 => ElementType::Int16,
        DataType::Int32 => ElementType::Int32,
        DataType::Int64 => ElementType::Int64,
        DataType::UInt8 => ElementType::Uint8,
        DataType::UInt16 => ElementType::Uint16,
        DataType::UInt32 => ElementType::Uint32,
        DataType::UInt64 => ElementType::Uint64,
        DataType::Float16 => ElementType::Float16,
        DataType::Float32 => ElementType::Float,
        DataType::Float64 => ElementType::Double,
        DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) => {
            return element_type(inner.data_type());
        }
        _ => return None,
    })
}

/// The rows of the inner array that a row of a list is; `None` if it is null or no list.
fn span(array: &dyn Array, row: usize) -> Option<(&ArrayRef, Range<usize>)> {
    fn of_list<Offset: OffsetSizeTrait>(
        list: &GenericListArray<Offset>,
        row: usize,
    ) -> Option<(&ArrayRef, Range<usize>)> {
        let offsets = list.value_offsets();
        Some((list.values(), offsets.get(row)?.as_usize()..offsets.get(row + 1)?.as_usize()))
    }
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::List(_) => of_list(array.as_list::<i32>(), row),
        DataType::LargeList(_) => of_list(array.as_list::<i64>(), row),
        DataType::FixedSizeList(_, _) => {
            let list = array.as_fixed_size_list();
            let length = usize::try_from(list.value_length()).ok()?;
            let start = list.value_offset_at(row);
            Some((list.values(), start..start + length))
        }
        _ => None,
    }
}

/// The shape of one cell; `None` if it is null.
fn shape(array: &dyn Array, row: usize) -> Option<Vec<u64>> {
    if array.is_null(row) {
        return None;
    }
    let Some((values, rows)) = span(array, row) else { return Some(Vec::new()) };
    let mut found = vec![rows.len() as u64];
    if !rows.is_empty() {
        found.extend(shape(values.as_ref(), rows.start)?);
    }
    Some(found)
}

/// Appends the bytes of rows that all have a shape.
fn append(array: &dyn Array, rows: Range<usize>, want: &[u64], bytes: &mut Vec<u8>) -> Result<(), Fault> {
    if array.null_count() > 0 && rows.clone().any(|row| array.is_null(row)) {
        return Err(Fault::Null);
    }
    let [length, inner @ ..] = want else { return append_numbers(array, rows, bytes) };
    for row in rows {
        let (values, span) = span(array, row).ok_or(Fault::Other)?;
        if span.len() as u64 != *length {
            return Err(Fault::Shape(shape(array, row).unwrap_or_default()));
        }
        append(values.as_ref(), span, inner, bytes)?;
    }
    Ok(())
}

fn append_numbers(array: &dyn Array, rows: Range<usize>, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    if let Some(bits) = array.as_boolean_opt() {
        bytes.extend(rows.map(|row| u8::from(bits.value(row))));
        return Ok(());
    }
    let width = array.data_type().primitive_width().ok_or(Fault::Other)?;
    let data = array.to_data();
    let (from, to) = ((data.offset() + rows.start) * width, (data.offset() + rows.end) * width);
    let found = data.buffers().first().and_then(|buffer| buffer.as_slice().get(from..to));
    bytes.extend_from_slice(found.ok_or(Fault::Other)?);
    Ok(())
}

/// The bytes of a cell that may be an image file.
fn encoded(array: &dyn Array, row: usize) -> Option<&[u8]> {
    if array.is_null(row) {
        return None;
    }
    match array.data_type() {
        DataType::Binary => Some(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(array.as_binary_view().value(row)),
        DataType::Struct(_) => {
            let inner = array.as_struct().column_by_name(IMAGE_BYTES)?;
            if matches!(inner.data_type(), DataType::Struct(_)) { None } else { encoded(inner.as_ref(), row) }
        }
        _ => None,
    }
}
