//! Models as text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::data_type::DataType;
use crate::proto::{
    AttributeProto, DimensionValue, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, TypeValue, ValueInfoProto,
};

use super::attribute::{self, TYPE_NAMES};
use super::{print_tensor, tensor};

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintOptions {
    /// Tensors with more elements are printed as `{...}`.
    pub elements_max: u64,
}

impl Default for PrintOptions {
    fn default() -> Self {
        Self { elements_max: u64::MAX }
    }
}

/// The whole model, every value of every weight included.
pub fn print(model: &ModelProto) -> String {
    print_with(model, &PrintOptions::default())
}

/// The model, with as many values as `options` allow.
pub fn print_with(model: &ModelProto, options: &PrintOptions) -> String {
    let mut printer = Printer { text: String::new(), options: *options };
    printer.model(model);
    printer.text
}

pub(super) struct Printer {
    pub(super) text: String,
    pub(super) options: PrintOptions,
}

impl Printer {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    pub(super) fn name(&mut self, name: &str) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_identifier = name.chars().all(is_part) && name.starts_with(|c: char| !c.is_ascii_digit());
        if is_identifier { self.push(name) } else { self.quoted(name) }
    }

    pub(super) fn quoted(&mut self, value: &str) {
        self.text.push('"');
        for c in value.chars() {
            if matches!(c, '"' | '\\') {
                self.text.push('\\');
            }
            self.text.push(c);
        }
        self.text.push('"');
    }

    pub(super) fn list<T>(
        &mut self,
        open: &str,
        close: &str,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.push(open);
        for (index, value) in items.into_iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            item(self, value);
        }
        self.push(close);
    }

    pub(super) fn entries(&mut self, entries: &[StringStringEntryProto]) {
        self.list("[", "]", entries, |printer, entry| {
            printer.quoted(entry.key());
            printer.push(": ");
            printer.quoted(entry.value());
        });
    }

    fn model(&mut self, model: &ModelProto) {
        let _ = write!(self.text, "<\n   ir_version: {},\n   opset_import: ", model.ir_version());
        self.opsets(&model.opset_import);
        let strings = [
            ("producer_name", &model.producer_name),
            ("producer_version", &model.producer_version),
            ("domain", &model.domain),
            ("doc_string", &model.doc_string),
        ];
        for (key, value) in strings {
            if let Some(value) = value {
                let _ = write!(self.text, ",\n   {key}: ");
                self.quoted(value);
            }
        }
        if let Some(version) = model.model_version {
            let _ = write!(self.text, ",\n   model_version: {version}");
        }
        if !model.metadata_props.is_empty() {
            self.push(",\n   metadata_props: ");
            self.entries(&model.metadata_props);
        }
        self.push("\n>\n");
        self.graph(model.graph.as_ref().unwrap_or(&GraphProto::default()), 0);
        self.push("\n");
        for function in &model.functions {
            self.function(function);
        }
    }

    fn opsets(&mut self, opsets: &[OperatorSetIdProto]) {
        self.list("[", "]", opsets, |printer, opset| {
            printer.quoted(opset.domain());
            let _ = write!(printer.text, " : {}", opset.version());
        });
    }

    fn graph(&mut self, graph: &GraphProto, depth: usize) {
        self.name(graph.name());
        self.list(" (", ") => ", &graph.input, Self::value_info);
        self.list("(", ")", &graph.output, Self::value_info);
        // The type of a value that nothing here gives would be read as a weight without values.
        let mut given: BTreeSet<&str> = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        given.extend(graph.input.iter().map(ValueInfoProto::name));
        given.extend(graph.initializer.iter().filter(|tensor| !print_tensor::is_absent(tensor)).map(TensorProto::name));
        let is_fixed = |r#type: &TypeProto| tensor::of_type("", r#type).is_some();
        let infos = graph.value_info.iter();
        let infos = infos.filter(|info| given.contains(info.name()) || !info.r#type.as_ref().is_some_and(is_fixed));
        let infos: Vec<&ValueInfoProto> = infos.collect();
        if !graph.initializer.is_empty() || !infos.is_empty() {
            let _ = write!(self.text, "\n{}<", indent(depth));
            self.list("", "", &graph.initializer, |printer, tensor| {
                // Bare, a weight that an input or a node shares its name with would read as a type.
                match print_tensor::is_absent(tensor) && !given.contains(tensor.name()) {
                    true => print_tensor::declaration(printer, tensor),
                    false => print_tensor::tensor(printer, tensor, true),
                }
            });
            let separator = if graph.initializer.is_empty() { "" } else { ", " };
            self.list(if infos.is_empty() { "" } else { separator }, ">\n", infos, Self::value_info);
            self.push(&"   ".repeat(depth));
        } else {
            self.push(" ");
        }
        self.nodes(&graph.node, depth);
    }

    fn nodes(&mut self, nodes: &[NodeProto], depth: usize) {
        self.push("{\n");
        nodes.iter().for_each(|node| self.node(node, depth));
        self.push(&"   ".repeat(depth));
        self.push("}");
    }

    fn node(&mut self, node: &NodeProto, depth: usize) {
        self.push(&indent(depth));
        if let Some(name) = &node.name {
            self.push("[");
            self.name(name);
            self.push("] ");
        }
        self.list("", " = ", &node.output, |printer, name| printer.name(name));
        if !node.domain().is_empty() {
            self.push(node.domain());
            self.push(".");
        }
        self.push(node.op_type());
        if !node.overload().is_empty() {
            self.push(":");
            self.push(node.overload());
        }
        // A subgraph is read after the inputs that it captures.
        let has_graph = node.attribute.iter().any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty());
        if !has_graph {
            self.attributes(&node.attribute, depth);
        }
        self.list(" (", ")", &node.input, |printer, name| printer.name(name));
        if has_graph {
            self.attributes(&node.attribute, depth);
        }
        self.push("\n");
    }

    fn attributes(&mut self, attributes: &[AttributeProto], depth: usize) {
        if !attributes.is_empty() {
            self.list(" <", ">", attributes, |printer, attribute| printer.attribute(attribute, depth));
        }
    }

    fn attribute(&mut self, attribute: &AttributeProto, depth: usize) {
        self.push(attribute.name());
        let number = attribute.r#type.unwrap_or_else(|| type_of(attribute));
        if let Some(name) = usize::try_from(number).ok().filter(|number| *number > 0).and_then(|n| TYPE_NAMES.get(n)) {
            let _ = write!(self.text, ": {name}");
        }
        self.push(" = ");
        if let Some(reference) = attribute.ref_attr_name.as_ref().filter(|name| !name.is_empty()) {
            self.push("@");
            return self.name(reference);
        }
        match number {
            attribute::FLOAT => self.float(attribute.f()),
            attribute::INT => self.push(&attribute.i().to_string()),
            attribute::STRING => self.quoted(&String::from_utf8_lossy(attribute.s())),
            attribute::TENSOR => {
                attribute.t.iter().for_each(|tensor| print_tensor::tensor(self, tensor, false));
            }
            attribute::GRAPH => attribute.g.iter().for_each(|graph| self.graph(graph, depth + 1)),
            attribute::FLOATS => self.list("[", "]", &attribute.floats, |printer, value| printer.float(*value)),
            attribute::INTS => {
                self.list("[", "]", &attribute.ints, |printer, value| printer.push(&value.to_string()));
            }
            attribute::STRINGS => self.list("[", "]", &attribute.strings, |printer, value| {
                printer.quoted(&String::from_utf8_lossy(value));
            }),
            attribute::TENSORS => {
                self.list("[", "]", &attribute.tensors, |printer, tensor| print_tensor::tensor(printer, tensor, false));
            }
            attribute::GRAPHS => {
                self.list("[", "]", &attribute.graphs, |printer, graph| printer.graph(graph, depth + 1));
            }
            attribute::TYPE_PROTO => attribute.tp.iter().for_each(|r#type| self.r#type(r#type)),
            attribute::TYPE_PROTOS => self.list("[", "]", &attribute.type_protos, Self::r#type),
            // Sparse tensors have no syntax.
            _ => self.push("?"),
        }
    }

    /// The shortest text that reads back as the same number, always with a point or an exponent.
    pub(super) fn float(&mut self, value: f32) {
        let _ = write!(self.text, "{}", float_text(format!("{value:?}")));
    }

    fn value_info(&mut self, info: &ValueInfoProto) {
        if let Some(r#type) = info.r#type.as_ref().filter(|r#type| r#type.value.is_some()) {
            self.r#type(r#type);
            self.push(" ");
        }
        self.name(info.name());
    }

    fn r#type(&mut self, r#type: &TypeProto) {
        let Some(value) = &r#type.value else { return };
        match value {
            TypeValue::TensorType(tensor) => self.tensor_type(tensor),
            TypeValue::SparseTensorType(tensor) => {
                self.push("sparse_tensor(");
                self.tensor_type(tensor);
                self.push(")");
            }
            TypeValue::SequenceType(element) => self.container("seq(", element.elem_type.as_deref()),
            TypeValue::OptionalType(element) => self.container("optional(", element.elem_type.as_deref()),
            TypeValue::MapType(map) => {
                let key = type_name(map.key_type.unwrap_or(0));
                self.container(&format!("map({key}, "), map.value_type.as_deref());
            }
            TypeValue::OpaqueType(opaque) => {
                let parts = [&opaque.domain, &opaque.name].map(|part| part.as_deref().unwrap_or(""));
                self.list("opaque(", ")", parts.iter().filter(|part| !part.is_empty()), |printer, part| {
                    printer.push(part);
                });
            }
        }
    }

    fn container(&mut self, open: &str, element: Option<&TypeProto>) {
        self.push(open);
        element.iter().for_each(|element| self.r#type(element));
        self.push(")");
    }

    fn tensor_type(&mut self, tensor: &TensorTypeProto) {
        self.push(type_name(tensor.elem_type.unwrap_or(0)));
        match &tensor.shape {
            None => self.push("[]"),
            Some(shape) if shape.dim.is_empty() => {}
            Some(shape) => self.shape(shape),
        }
    }

    fn shape(&mut self, shape: &TensorShapeProto) {
        self.list("[", "]", &shape.dim, |printer, dim| match &dim.value {
            None => printer.push("?"),
            Some(DimensionValue::DimValue(size)) => printer.push(&size.to_string()),
            Some(DimensionValue::DimParam(name)) => printer.name(name),
        });
    }

    fn function(&mut self, function: &FunctionProto) {
        self.push("\n<\n   domain: ");
        self.quoted(function.domain.as_deref().unwrap_or(""));
        for (key, value) in [("overload", &function.overload), ("doc_string", &function.doc_string)] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                let _ = write!(self.text, ",\n   {key}: ");
                self.quoted(value);
            }
        }
        self.push(",\n   opset_import: ");
        self.opsets(&function.opset_import);
        self.push("\n>\n");
        self.name(function.name.as_deref().unwrap_or(""));
        self.push(" ");
        if !function.attribute.is_empty() || !function.attribute_proto.is_empty() {
            self.list("<", "", &function.attribute, |printer, name| printer.name(name));
            let separator =
                if function.attribute.is_empty() || function.attribute_proto.is_empty() { "" } else { ", " };
            self.list(separator, "> ", &function.attribute_proto, |printer, attribute| printer.attribute(attribute, 0));
        }
        self.list("(", ") => ", &function.input, |printer, name| printer.name(name));
        self.list("(", ")\n", &function.output, |printer, name| printer.name(name));
        if !function.value_info.is_empty() {
            self.list("<", ">\n", &function.value_info, Self::value_info);
        }
        self.nodes(&function.node, 0);
        self.push("\n");
    }
}

fn indent(depth: usize) -> String {
    "   ".repeat(depth + 1)
}

pub(super) fn type_name(number: i32) -> &'static str {
    DataType::from_number(number).map_or("undefined", DataType::name)
}

/// Rust writes `NaN`, which ONNX reads in any case; its printer writes it small.
pub(super) fn float_text(text: String) -> String {
    if text == "NaN" { "nan".to_owned() } else { text }
}

/// The type of an attribute that does not say it (IR versions before 3 could leave it out).
fn type_of(attribute: &AttributeProto) -> i32 {
    let present = [
        (attribute.f.is_some(), attribute::FLOAT),
        (attribute.i.is_some(), attribute::INT),
        (attribute.s.is_some(), attribute::STRING),
        (attribute.t.is_some(), attribute::TENSOR),
        (attribute.g.is_some(), attribute::GRAPH),
        (!attribute.floats.is_empty(), attribute::FLOATS),
        (!attribute.ints.is_empty(), attribute::INTS),
        (!attribute.strings.is_empty(), attribute::STRINGS),
        (!attribute.tensors.is_empty(), attribute::TENSORS),
        (!attribute.graphs.is_empty(), attribute::GRAPHS),
    ];
    present.iter().find(|(is_present, _)| *is_present).map_or(0, |(_, number)| *number)
}
