//! Attributes: `name = value`, `name: type = value`, `name: type = @reference`.

use bytes::Bytes as Buffer;

use crate::proto::{AttributeProto, TensorProto, TypeProto};

use super::cursor::{Cursor, Literal, TextError};
use super::{model, tensor, types};

/// The names of `AttributeProto.AttributeType`, in the order of their numbers.
pub(super) const TYPE_NAMES: [&str; 15] = [
    "undefined",
    "float",
    "int",
    "string",
    "tensor",
    "graph",
    "floats",
    "ints",
    "strings",
    "tensors",
    "graphs",
    "sparse_tensor",
    "sparse_tensors",
    "type_proto",
    "type_protos",
];

pub(super) const FLOAT: i32 = 1;
pub(super) const INT: i32 = 2;
pub(super) const STRING: i32 = 3;
pub(super) const TENSOR: i32 = 4;
pub(super) const GRAPH: i32 = 5;
/// A list type is this much after the type of its items; types of types are apart.
const LIST_OFFSET: i32 = 5;
pub(super) const FLOATS: i32 = FLOAT + LIST_OFFSET;
pub(super) const INTS: i32 = INT + LIST_OFFSET;
pub(super) const STRINGS: i32 = STRING + LIST_OFFSET;
pub(super) const TENSORS: i32 = TENSOR + LIST_OFFSET;
pub(super) const GRAPHS: i32 = GRAPH + LIST_OFFSET;
const SPARSE_TENSORS: i32 = 12;
pub(super) const TYPE_PROTO: i32 = 13;
pub(super) const TYPE_PROTOS: i32 = 14;

enum Value {
    Float(f32),
    Int(i64),
    String(String),
    Tensor(TensorProto),
    Graph(crate::proto::GraphProto),
    Type(TypeProto),
}

/// `<attribute, …>`.
pub(super) fn parse_list(cursor: &mut Cursor<'_>) -> Result<Vec<AttributeProto>, TextError> {
    let mut attributes = Vec::new();
    cursor.list("<", ">", |cursor| {
        let name = cursor.identifier("the name of an attribute")?;
        attributes.push(parse(cursor, name)?);
        Ok(())
    })?;
    Ok(attributes)
}

/// What follows the name.
pub(super) fn parse(cursor: &mut Cursor<'_>, name: &str) -> Result<AttributeProto, TextError> {
    let mut attribute = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    if cursor.take(":") {
        let word = cursor.peek_identifier();
        let number = TYPE_NAMES.iter().skip(1).position(|name| *name == word).map(|index| index as i32 + 1);
        let number = number.ok_or_else(|| cursor.expected("the type of an attribute"))?;
        cursor.identifier("the type of an attribute")?;
        attribute.r#type = Some(number);
    }
    cursor.expect("=")?;
    if cursor.take("@") {
        attribute.ref_attr_name = Some(cursor.name("the name of an attribute")?);
        return Ok(attribute);
    }
    let annotated = attribute.r#type.take();
    if cursor.peek() != Some('[') {
        let value = single(cursor, annotated == Some(FLOAT))?;
        set_single(&mut attribute, value);
    } else {
        cursor.list("[", "]", |cursor| {
            let value = single(cursor, annotated == Some(FLOATS))?;
            let before = attribute.r#type;
            let number = push(&mut attribute, value);
            if before.is_some_and(|before| before != number) {
                return Err(cursor.error(format!("`{name}` has items of different types")));
            }
            Ok(())
        })?;
        // An empty list is of any list type that was announced.
        let is_list = |number: &i32| matches!(*number, FLOATS..=GRAPHS | SPARSE_TENSORS | TYPE_PROTOS);
        attribute.r#type = attribute.r#type.or(annotated.filter(is_list));
        if attribute.r#type.is_none() {
            return Err(cursor.error(format!("an empty list needs its type: `{name}: ints = []`")));
        }
    }
    let type_name = |number: Option<i32>| TYPE_NAMES[number.unwrap_or(0) as usize];
    if annotated.is_some_and(|annotated| Some(annotated) != attribute.r#type) {
        let (is, said) = (type_name(attribute.r#type), type_name(annotated));
        return Err(cursor.error(format!("`{name}` is announced as {said}, but its value is of type {is}")));
    }
    Ok(attribute)
}

fn single(cursor: &mut Cursor<'_>, wants_float: bool) -> Result<Value, TextError> {
    if cursor.is_at_float_word() {
        return cursor.number().map(Value::Float);
    }
    if types::is_next(cursor) {
        let r#type = types::parse(cursor)?;
        let is_tensor = matches!(cursor.peek(), Some('{' | '=' | '"')) || !cursor.peek_identifier().is_empty();
        if !is_tensor {
            return Ok(Value::Type(r#type));
        }
        let has_name = !matches!(cursor.peek(), Some('{' | '='));
        let name = if has_name { cursor.name("the name of a tensor")? } else { String::new() };
        cursor.take("=");
        return tensor::parse(cursor, &name, &r#type).map(Value::Tensor);
    }
    if !cursor.peek_identifier().is_empty() {
        return cursor.nested(model::graph).map(Value::Graph);
    }
    if wants_float {
        return cursor.number().map(Value::Float);
    }
    Ok(match cursor.literal()? {
        Literal::Int(text) => Value::Int(text.parse().map_err(|_| cursor.error(format!("`{text}` is out of range")))?),
        Literal::Float(text) => {
            Value::Float(text.parse().map_err(|_| cursor.error(format!("`{text}` is out of range")))?)
        }
        Literal::String(text) => Value::String(text),
    })
}

fn set_single(attribute: &mut AttributeProto, value: Value) {
    let number = match value {
        Value::Float(value) => {
            attribute.f = Some(value);
            FLOAT
        }
        Value::Int(value) => {
            attribute.i = Some(value);
            INT
        }
        Value::String(value) => {
            attribute.s = Some(Buffer::from(value));
            STRING
        }
        Value::Tensor(value) => {
            attribute.t = Some(Box::new(value));
            TENSOR
        }
        Value::Graph(value) => {
            attribute.g = Some(Box::new(value));
            GRAPH
        }
        Value::Type(value) => {
            attribute.tp = Some(Box::new(value));
            TYPE_PROTO
        }
    };
    attribute.r#type = Some(number);
}

fn push(attribute: &mut AttributeProto, value: Value) -> i32 {
    let number = match value {
        Value::Float(value) => {
            attribute.floats.push(value);
            FLOATS
        }
        Value::Int(value) => {
            attribute.ints.push(value);
            INTS
        }
        Value::String(value) => {
            attribute.strings.push(Buffer::from(value));
            STRINGS
        }
        Value::Tensor(value) => {
            attribute.tensors.push(value);
            TENSORS
        }
        Value::Graph(value) => {
            attribute.graphs.push(value);
            GRAPHS
        }
        Value::Type(value) => {
            attribute.type_protos.push(value);
            TYPE_PROTOS
        }
    };
    attribute.r#type = Some(number);
    number
}
