//! Values of tensors: `{1, 2, 3}`, `{...}`, `["location": "w.data"]`, or none at all.

use crate::data_type::DataType;
use crate::packing::pack;
use crate::proto::{DimensionValue, StringStringEntryProto, TensorProto, TypeProto, TypeValue};

use super::ABSENT_LOCATION;
use super::cursor::{Cursor, Literal, TextError};

/// A tensor of this type without its values; `None` if the type has no fixed shape.
pub(super) fn of_type(name: &str, r#type: &TypeProto) -> Option<TensorProto> {
    let Some(TypeValue::TensorType(tensor_type)) = &r#type.value else { return None };
    let dims = tensor_type.shape.as_ref()?.dim.iter().map(|dim| match dim.value {
        Some(DimensionValue::DimValue(size)) => Some(size),
        _ => None,
    });
    let name = (!name.is_empty()).then(|| name.to_owned());
    Some(TensorProto {
        name,
        data_type: tensor_type.elem_type,
        dims: dims.collect::<Option<_>>()?,
        ..Default::default()
    })
}

/// Lets the bytes of `tensor` be in a file that is not there.
pub(super) fn make_absent(tensor: &mut TensorProto) {
    tensor.data_location = Some(1);
    tensor.external_data =
        vec![StringStringEntryProto { key: Some("location".to_owned()), value: Some(ABSENT_LOCATION.to_owned()) }];
}

/// The values after the type, the name and `=`.
pub(super) fn parse(cursor: &mut Cursor<'_>, name: &str, r#type: &TypeProto) -> Result<TensorProto, TextError> {
    let Some(mut tensor) = of_type(name, r#type) else {
        return Err(cursor.error(format!("tensor `{name}` has values but no fixed shape")));
    };
    match cursor.peek() {
        Some('[') => {
            tensor.data_location = Some(1);
            tensor.external_data = entries(cursor)?;
        }
        Some('{') => values(cursor, &mut tensor)?,
        _ => return Err(cursor.expected("the values of a tensor")),
    }
    Ok(tensor)
}

/// `["key": "value", …]`.
pub(super) fn entries(cursor: &mut Cursor<'_>) -> Result<Vec<StringStringEntryProto>, TextError> {
    let mut entries = Vec::new();
    cursor.list("[", "]", |cursor| {
        let key = cursor.string()?;
        cursor.expect(":")?;
        entries.push(StringStringEntryProto { key: Some(key), value: Some(cursor.string()?) });
        Ok(())
    })?;
    Ok(entries)
}

fn values(cursor: &mut Cursor<'_>, tensor: &mut TensorProto) -> Result<(), TextError> {
    use DataType::*;
    let name = tensor.name().to_owned();
    let data_type = tensor.element_type().map_err(|error| cursor.error(error.to_string()))?;
    let mut n_values = 0u64;
    let mut small = Vec::new();
    let mut is_elided = false;
    cursor.list("{", "}", |cursor| {
        if n_values == 0 && cursor.take("...") {
            is_elided = true;
            return if cursor.peek() == Some('}') { Ok(()) } else { Err(cursor.expected("`}`")) };
        }
        n_values += 1;
        match data_type {
            Float | Complex64 => tensor.float_data.push(cursor.number()?),
            Double | Complex128 => tensor.double_data.push(cursor.number()?),
            Int64 => tensor.int64_data.push(cursor.int()?),
            Uint64 => tensor.uint64_data.push(cursor.int()?),
            Uint32 => tensor.uint64_data.push(cursor.int::<u32>()?.into()),
            String => tensor.string_data.push(cursor.string()?.into()),
            Int32 => tensor.int32_data.push(cursor.int()?),
            Int16 => tensor.int32_data.push(cursor.int::<i16>()?.into()),
            Int8 => tensor.int32_data.push(cursor.int::<i8>()?.into()),
            Uint16 => tensor.int32_data.push(cursor.int::<u16>()?.into()),
            Float16 | Bfloat16 => tensor.int32_data.push(half_bits(cursor, data_type)?.into()),
            Int4 | Int2 => small.push(signed(cursor, data_type)?),
            Uint4 | Uint2 | Float4E2M1 => small.push(unsigned(cursor, data_type)?),
            // Of six bits, the typed field holds one per element (onnx.proto).
            Float6E2M3 | Float6E3M2 => tensor.int32_data.push(unsigned(cursor, data_type)?.into()),
            Bool | Uint8 | Float8E4M3FN | Float8E4M3FNUZ | Float8E5M2 | Float8E5M2FNUZ | Float8E8M0 => {
                tensor.int32_data.push(cursor.int::<u8>()?.into());
            }
        }
        Ok(())
    })?;
    if is_elided {
        make_absent(tensor);
        return Ok(());
    }
    tensor.int32_data.extend(pack(data_type.bits() as u32, small).into_iter().map(i32::from));
    let per_element = if matches!(data_type, Complex64 | Complex128) { 2 } else { 1 };
    let need = tensor.n_elements().ok().and_then(|n_elements| n_elements.checked_mul(per_element));
    if need != Some(n_values) {
        let dims = &tensor.dims;
        return Err(cursor.error(format!("tensor `{name}` of shape {dims:?} has {n_values} values")));
    }
    Ok(())
}

/// A number with a point is a value; one without is the bit pattern, as in onnx.
fn half_bits(cursor: &mut Cursor<'_>, data_type: DataType) -> Result<u16, TextError> {
    match cursor.literal()? {
        Literal::Int(text) => text.parse().map_err(|_| cursor.error(format!("`{text}` is out of range"))),
        Literal::Float(text) => {
            let value: f32 = text.parse().map_err(|_| cursor.error(format!("`{text}` is out of range")))?;
            Ok(if data_type == DataType::Float16 {
                half::f16::from_f32(value).to_bits()
            } else {
                half::bf16::from_f32(value).to_bits()
            })
        }
        Literal::String(_) => Err(cursor.error("expected a number, found a string")),
    }
}

fn signed(cursor: &mut Cursor<'_>, data_type: DataType) -> Result<u8, TextError> {
    let value: i8 = cursor.int()?;
    let half_range = 1i8 << (data_type.bits() - 1);
    if (-half_range..half_range).contains(&value) {
        Ok(value as u8 & ((1u8 << data_type.bits()) - 1))
    } else {
        Err(cursor.error(format!("`{value}` is out of range")))
    }
}

fn unsigned(cursor: &mut Cursor<'_>, data_type: DataType) -> Result<u8, TextError> {
    let value: u8 = cursor.int()?;
    if u64::from(value) >> data_type.bits() == 0 {
        Ok(value)
    } else {
        Err(cursor.error(format!("`{value}` is out of range")))
    }
}
