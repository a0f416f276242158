//! Values that may be absent.

use onnxfit_graph::ValueType;
use onnxfit_onnx::DataType;

use crate::context::RuleContext;
use crate::fact::{Fact, Kind};
use crate::registry::Entry;
use crate::scalar::Scalar;

pub(super) const TABLE: &[Entry] =
    &[("", "Optional", optional), ("", "OptionalHasElement", has_element), ("", "OptionalGetElement", get_element)];

fn optional(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let element = match context.input(0) {
        Some(fact) => fact.clone(),
        None => {
            let node = context.node;
            let ty = node.attributes.iter().find(|attribute| attribute.name == "type")?.as_type()?;
            context.state.fact_of_type("", &ValueType::from_proto(ty))
        }
    };
    context.set_fact(0, Fact { kind: Kind::Optional(Box::new(element)), ..Fact::default() });
    Some(())
}

fn has_element(context: &mut RuleContext<'_, '_>) -> Option<()> {
    context.set(0, Some(DataType::Bool), Some(Vec::new()));
    // Absent for sure without an input, there for sure if it is no optional at all.
    let has_element = match context.input(0).map(|fact| &fact.kind) {
        None => false,
        Some(Kind::Tensor | Kind::Sequence(_)) => true,
        Some(_) => return None,
    };
    context.set_elements(0, vec![Some(Scalar::truth(has_element))]);
    Some(())
}

fn get_element(context: &mut RuleContext<'_, '_>) -> Option<()> {
    let fact = context.input(0)?;
    let element = match &fact.kind {
        Kind::Optional(element) => (**element).clone(),
        _ => fact.clone(),
    };
    context.set_fact(0, element);
    Some(())
}
