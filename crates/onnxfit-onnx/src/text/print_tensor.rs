//! Tensors as text.

use crate::data_type::DataType;
use crate::packing::unpack;
use crate::proto::TensorProto;

use super::ABSENT_LOCATION;
use super::print::{Printer, float_text, type_name};

/// `type[dims] name = {values}`; outside the list of initializers, name and `=` may be missing.
pub(super) fn tensor(printer: &mut Printer, tensor: &TensorProto, is_initializer: bool) {
    if is_initializer {
        declaration(printer, tensor);
    } else {
        tensor_type(printer, tensor);
        if !tensor.name().is_empty() {
            printer.push(" ");
            printer.name(tensor.name());
        }
    }
    if tensor.is_external() && !is_absent(tensor) {
        printer.push(" = ");
        return printer.entries(&tensor.external_data);
    }
    printer.push(if is_initializer { " = " } else { " " });
    if is_absent(tensor) {
        return printer.push("{...}");
    }
    let is_short = tensor.n_elements().is_ok_and(|n_elements| n_elements <= printer.options.elements_max);
    match (is_short, tensor.element_type()) {
        (true, Ok(DataType::String)) => printer.list("{", "}", &tensor.string_data, |printer, value| {
            printer.quoted(&String::from_utf8_lossy(value));
        }),
        (true, Ok(data_type)) => match tensor.inline_bytes() {
            Ok(Some(bytes)) => numbers(printer, tensor, data_type, &bytes),
            _ => printer.push("{...}"),
        },
        _ => printer.push("{...}"),
    }
}

/// `type[dims] name`.
pub(super) fn declaration(printer: &mut Printer, tensor: &TensorProto) {
    tensor_type(printer, tensor);
    printer.push(" ");
    printer.name(tensor.name());
}

fn tensor_type(printer: &mut Printer, tensor: &TensorProto) {
    printer.push(type_name(tensor.data_type.unwrap_or(0)));
    if !tensor.dims.is_empty() {
        printer.list("[", "]", &tensor.dims, |printer, size| printer.push(&size.to_string()));
    }
}

/// Whether the tensor is what reading makes of a weight without values.
pub(super) fn is_absent(tensor: &TensorProto) -> bool {
    tensor.is_external()
        && matches!(tensor.external_data.as_slice(), [only] if only.key() == "location" && only.value() == ABSENT_LOCATION)
}

fn numbers(printer: &mut Printer, tensor: &TensorProto, data_type: DataType, bytes: &[u8]) {
    use DataType::*;
    match data_type {
        Float | Complex64 => each(printer, bytes, |b| float_text(format!("{:?}", f32::from_le_bytes(b)))),
        Double | Complex128 => each(printer, bytes, |b| float_text(format!("{:?}", f64::from_le_bytes(b)))),
        Int64 => each(printer, bytes, |b| i64::from_le_bytes(b).to_string()),
        Uint64 => each(printer, bytes, |b| u64::from_le_bytes(b).to_string()),
        Int32 => each(printer, bytes, |b| i32::from_le_bytes(b).to_string()),
        Uint32 => each(printer, bytes, |b| u32::from_le_bytes(b).to_string()),
        Int16 => each(printer, bytes, |b| i16::from_le_bytes(b).to_string()),
        Uint16 | Float16 | Bfloat16 => each(printer, bytes, |b| u16::from_le_bytes(b).to_string()),
        Int8 => each(printer, bytes, |b| i8::from_le_bytes(b).to_string()),
        Int4 | Int2 | Uint4 | Uint2 | Float4E2M1 | Float6E2M3 | Float6E3M2 => {
            let is_signed = matches!(data_type, Int4 | Int2);
            let n_elements = tensor.n_elements().unwrap_or(0) as usize;
            let bits = data_type.bits() as u32;
            let values = (0..n_elements).map(|index| {
                let value = i16::from(unpack(bits, bytes, index));
                if is_signed && value >> (bits - 1) == 1 { value - (1 << bits) } else { value }
            });
            printer.list("{", "}", values, |printer, value| printer.push(&value.to_string()));
        }
        _ => each(printer, bytes, |b: [u8; 1]| b[0].to_string()),
    }
}

fn each<const N: usize>(printer: &mut Printer, bytes: &[u8], text: impl Fn([u8; N]) -> String) {
    let (values, _) = bytes.as_chunks::<N>();
    printer.list("{", "}", values, |printer, value| printer.push(&text(*value)));
}
