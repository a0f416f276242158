//! Types: `float[N, 3, ?]`, `seq(float[])`, `map(int64, string)`, `optional(…)`.

use crate::data_type::DataType;
use crate::proto::{
    DimensionProto, DimensionValue, ElementTypeProto, MapTypeProto, OpaqueTypeProto, TensorShapeProto, TensorTypeProto,
    TypeProto, TypeValue, ValueInfoProto,
};

use super::cursor::{Cursor, TextError};

const CONTAINERS: [&str; 5] = ["seq", "map", "optional", "sparse_tensor", "opaque"];

/// Whether a type is next; a value may be called like one where no type can stand.
pub(super) fn is_next(cursor: &mut Cursor<'_>) -> bool {
    let word = cursor.peek_identifier();
    DataType::from_name(word).is_some() || CONTAINERS.contains(&word)
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<TypeProto, TextError> {
    let word = cursor.peek_identifier();
    if let Some(data_type) = DataType::from_name(word) {
        return tensor_type(cursor, data_type).map(|tensor_type| typed(TypeValue::TensorType(tensor_type)));
    }
    if !CONTAINERS.contains(&word) {
        return Err(cursor.expected("a type"));
    }
    cursor.identifier("a type")?;
    cursor.expect("(")?;
    let value = match word {
        "seq" => TypeValue::SequenceType(Box::new(element(cursor)?)),
        "optional" => TypeValue::OptionalType(Box::new(element(cursor)?)),
        "map" => {
            let key = data_type(cursor)?;
            cursor.expect(",")?;
            let value_type = Some(Box::new(cursor.nested(parse)?));
            TypeValue::MapType(Box::new(MapTypeProto { key_type: Some(key.number()), value_type }))
        }
        "sparse_tensor" => {
            let element = DataType::from_name(cursor.peek_identifier());
            let element = element.ok_or_else(|| cursor.expected("an element type"))?;
            TypeValue::SparseTensorType(tensor_type(cursor, element)?)
        }
        _ => TypeValue::OpaqueType(opaque(cursor)?),
    };
    cursor.expect(")")?;
    Ok(typed(value))
}

/// `type name`; the type may be missing.
pub(super) fn value_info(cursor: &mut Cursor<'_>) -> Result<ValueInfoProto, TextError> {
    let r#type = if is_next(cursor) { Some(parse(cursor)?) } else { None };
    Ok(ValueInfoProto { r#type, name: Some(cursor.name("the name of a value")?), ..ValueInfoProto::default() })
}

fn typed(value: TypeValue) -> TypeProto {
    TypeProto { denotation: None, value: Some(value) }
}

fn element(cursor: &mut Cursor<'_>) -> Result<ElementTypeProto, TextError> {
    Ok(ElementTypeProto { elem_type: Some(Box::new(cursor.nested(parse)?)) })
}

fn data_type(cursor: &mut Cursor<'_>) -> Result<DataType, TextError> {
    match DataType::from_name(cursor.peek_identifier()) {
        Some(data_type) => cursor.identifier("an element type").map(|_| data_type),
        None => Err(cursor.expected("an element type")),
    }
}

/// `float` is a scalar, `float[]` has an unknown rank, `float[2, N]` has this shape.
fn tensor_type(cursor: &mut Cursor<'_>, element: DataType) -> Result<TensorTypeProto, TextError> {
    data_type(cursor)?;
    let mut dim = Vec::new();
    let is_bracketed = cursor.peek() == Some('[');
    if is_bracketed {
        cursor.list("[", "]", |cursor| {
            dim.push(dimension(cursor)?);
            Ok(())
        })?;
    }
    let is_unranked = is_bracketed && dim.is_empty();
    let shape = (!is_unranked).then_some(TensorShapeProto { dim });
    Ok(TensorTypeProto { elem_type: Some(element.number()), shape })
}

fn dimension(cursor: &mut Cursor<'_>) -> Result<DimensionProto, TextError> {
    let value = match cursor.peek() {
        Some('?') => cursor.expect("?").map(|()| None)?,
        Some('-' | '0'..='9') => Some(DimensionValue::DimValue(cursor.int()?)),
        _ => Some(DimensionValue::DimParam(cursor.name("a dimension")?)),
    };
    Ok(DimensionProto { denotation: None, value })
}

/// Nothing, a name, or a dotted domain and a name.
fn opaque(cursor: &mut Cursor<'_>) -> Result<OpaqueTypeProto, TextError> {
    let mut opaque = OpaqueTypeProto::default();
    if cursor.peek() == Some(')') {
        return Ok(opaque);
    }
    let mut word = cursor.identifier("the name of an opaque type")?.to_owned();
    while cursor.take(".") {
        word = format!("{word}.{}", cursor.identifier("the rest of the name")?);
    }
    if cursor.take(",") {
        opaque.domain = Some(word);
        opaque.name = Some(cursor.identifier("the name of an opaque type")?.to_owned());
    } else {
        opaque.name = Some(word);
    }
    Ok(opaque)
}
