//! Models, graphs, nodes and functions.

use std::collections::BTreeSet;

use crate::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};

use super::cursor::{Cursor, TextError};
use super::{attribute, tensor, types};

/// What a model without a header has.
const IR_VERSION_DEFAULT: i64 = 10;
const OPSETS_DEFAULT: [(&str, i64); 2] = [("", 21), ("com.microsoft", 1)];

pub(super) fn parse(text: &str) -> Result<ModelProto, TextError> {
    let mut cursor = Cursor::new(text);
    let cursor = &mut cursor;
    let mut model = header(cursor)?;
    model.ir_version.get_or_insert(IR_VERSION_DEFAULT);
    if model.opset_import.is_empty() {
        model.opset_import = OPSETS_DEFAULT.map(|(domain, version)| opset(domain, version)).to_vec();
    }
    model.graph = Some(graph(cursor)?);
    while !cursor.is_at_end() {
        model.functions.push(function(cursor)?);
    }
    Ok(model)
}

fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) }
}

fn header(cursor: &mut Cursor<'_>) -> Result<ModelProto, TextError> {
    let mut model = ModelProto::default();
    if cursor.peek() != Some('<') {
        return Ok(model);
    }
    cursor.list("<", ">", |cursor| {
        let word = cursor.peek_identifier();
        let unknown = cursor.expected("a field of a model");
        cursor.identifier("a field of a model")?;
        cursor.expect(":")?;
        match word {
            "ir_version" => model.ir_version = Some(cursor.int()?),
            "opset_import" => model.opset_import = opsets(cursor)?,
            "producer_name" => model.producer_name = Some(cursor.string()?),
            "producer_version" => model.producer_version = Some(cursor.string()?),
            "domain" => model.domain = Some(cursor.string()?),
            "model_version" => model.model_version = Some(cursor.int()?),
            "doc_string" => model.doc_string = Some(cursor.string()?),
            "metadata_props" => model.metadata_props = tensor::entries(cursor)?,
            _ => return Err(unknown),
        }
        Ok(())
    })?;
    Ok(model)
}

fn opsets(cursor: &mut Cursor<'_>) -> Result<Vec<OperatorSetIdProto>, TextError> {
    let mut opsets = Vec::new();
    cursor.list("[", "]", |cursor| {
        let domain = cursor.string()?;
        cursor.expect(":")?;
        opsets.push(opset(&domain, cursor.int()?));
        Ok(())
    })?;
    Ok(opsets)
}

pub(super) fn graph(cursor: &mut Cursor<'_>) -> Result<GraphProto, TextError> {
    let mut graph = GraphProto { name: Some(cursor.name("the name of a graph")?), ..GraphProto::default() };
    cursor.list("(", ")", |cursor| {
        let (input, value) = declaration(cursor)?;
        graph.input.push(input);
        graph.initializer.extend(value);
        Ok(())
    })?;
    cursor.expect("=>")?;
    cursor.list("(", ")", |cursor| {
        graph.output.push(types::value_info(cursor)?);
        Ok(())
    })?;
    let mut declared = Vec::new();
    if cursor.peek() == Some('<') {
        cursor.list("<", ">", |cursor| {
            declared.push(declaration(cursor)?);
            Ok(())
        })?;
    }
    graph.node = nodes(cursor)?;
    declare(&mut graph, declared);
    Ok(graph)
}

type Declaration = (ValueInfoProto, Option<TensorProto>);

/// `type name` or `type name = values`.
fn declaration(cursor: &mut Cursor<'_>) -> Result<Declaration, TextError> {
    let info = types::value_info(cursor)?;
    if !cursor.take("=") {
        return Ok((info, None));
    }
    let Some(r#type) = &info.r#type else {
        return Err(cursor.error(format!("`{}` has values but no type", info.name())));
    };
    let value = tensor::parse(cursor, info.name(), r#type)?;
    Ok((info, Some(value)))
}

/// What stands between the outputs and the nodes is initializers and the types of values. One
/// without values that nothing else gives can only be a weight whose bytes are absent.
fn declare(graph: &mut GraphProto, declared: Vec<Declaration>) {
    let mut given: BTreeSet<&str> = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    given.extend(graph.input.iter().map(ValueInfoProto::name));
    let with_values = declared.iter().filter(|(_, value)| value.is_some());
    given.extend(with_values.map(|(info, _)| info.name()));
    let mut initializers = Vec::new();
    let mut infos = Vec::new();
    for (info, value) in &declared {
        let weight = info.r#type.as_ref().filter(|_| !given.contains(info.name()));
        match (value, weight.and_then(|r#type| tensor::of_type(info.name(), r#type))) {
            (Some(value), _) => initializers.push(value.clone()),
            (None, Some(mut weight)) => {
                tensor::make_absent(&mut weight);
                initializers.push(weight);
            }
            (None, None) => infos.push(info.clone()),
        }
    }
    graph.initializer.extend(initializers);
    graph.value_info = infos;
}

fn nodes(cursor: &mut Cursor<'_>) -> Result<Vec<NodeProto>, TextError> {
    let mut nodes = Vec::new();
    cursor.expect("{")?;
    while !cursor.take("}") {
        nodes.push(node(cursor)?);
    }
    Ok(nodes)
}

fn node(cursor: &mut Cursor<'_>) -> Result<NodeProto, TextError> {
    let mut node = NodeProto::default();
    if cursor.take("[") {
        node.name = Some(cursor.name("the name of a node")?);
        cursor.expect("]")?;
    }
    node.output = names(cursor)?;
    cursor.expect("=")?;
    let mut op_type = cursor.identifier("an operator")?.to_owned();
    let mut domain = Vec::new();
    while cursor.take(".") {
        domain.push(std::mem::replace(&mut op_type, cursor.identifier("an operator")?.to_owned()));
    }
    node.domain = Some(domain.join("."));
    node.op_type = Some(op_type);
    if cursor.take(":") {
        node.overload = Some(cursor.identifier("the name of an overload")?.to_owned());
    }
    node.attribute = optional_attributes(cursor)?;
    cursor.expect("(")?;
    node.input = names(cursor)?;
    cursor.expect(")")?;
    if node.attribute.is_empty() {
        node.attribute = optional_attributes(cursor)?;
    }
    Ok(node)
}

fn optional_attributes(cursor: &mut Cursor<'_>) -> Result<Vec<AttributeProto>, TextError> {
    if cursor.peek() == Some('<') { attribute::parse_list(cursor) } else { Ok(Vec::new()) }
}

/// Names between commas. A missing input is `""`, or nothing before a comma.
fn names(cursor: &mut Cursor<'_>) -> Result<Vec<String>, TextError> {
    let mut names = Vec::new();
    loop {
        let is_name = cursor.peek() == Some('"') || !cursor.peek_identifier().is_empty();
        if is_name {
            names.push(cursor.name("a name")?);
        } else if cursor.peek() == Some(',') {
            names.push(String::new());
        } else {
            return Ok(names);
        }
        if !cursor.take(",") {
            return Ok(names);
        }
    }
}

fn function(cursor: &mut Cursor<'_>) -> Result<FunctionProto, TextError> {
    let mut function = FunctionProto::default();
    if cursor.peek() == Some('<') {
        cursor.list("<", ">", |cursor| {
            let word = cursor.peek_identifier();
            let unknown = cursor.expected("a field of a function");
            cursor.identifier("a field of a function")?;
            cursor.expect(":")?;
            match word {
                "opset_import" => function.opset_import = opsets(cursor)?,
                "doc_string" => function.doc_string = Some(cursor.string()?),
                "domain" => function.domain = Some(cursor.string()?),
                "overload" => function.overload = Some(cursor.string()?),
                _ => return Err(unknown),
            }
            Ok(())
        })?;
    }
    function.name = Some(cursor.name("the name of a function")?);
    if cursor.peek() == Some('<') {
        cursor.list("<", ">", |cursor| {
            let name = cursor.name("the name of an attribute")?;
            if matches!(cursor.peek(), Some(':' | '=')) {
                function.attribute_proto.push(attribute::parse(cursor, &name)?);
            } else {
                function.attribute.push(name);
            }
            Ok(())
        })?;
    }
    parameters(cursor, &mut function.input, &mut function.value_info)?;
    cursor.expect("=>")?;
    parameters(cursor, &mut function.output, &mut function.value_info)?;
    if cursor.peek() == Some('<') {
        cursor.list("<", ">", |cursor| {
            function.value_info.push(types::value_info(cursor)?);
            Ok(())
        })?;
    }
    function.node = nodes(cursor)?;
    Ok(function)
}

/// Names with or without their types.
fn parameters(
    cursor: &mut Cursor<'_>,
    names: &mut Vec<String>,
    infos: &mut Vec<ValueInfoProto>,
) -> Result<(), TextError> {
    cursor.list("(", ")", |cursor| {
        let info = types::value_info(cursor)?;
        names.push(info.name().to_owned());
        infos.extend(info.r#type.is_some().then_some(info));
        Ok(())
    })
}
