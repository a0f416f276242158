//! Writes small ONNX models as bytes: the helper session's, and the tests'.
//!
//! A dozen lines of protobuf instead of a dependency on the format crate, which knows far more
//! than this needs.

/// Wire bytes of a protobuf message under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn number(mut self, field: u32, value: u64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    pub(crate) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn message(self, field: u32, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    pub(crate) fn text(self, field: u32, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// `ValueInfoProto` of a tensor; a negative dimension is left open.
pub(crate) fn value_info(name: &str, element_type: i32, shape: &[i64]) -> Message {
    let dims = shape.iter().fold(Message::default(), |dims, size| {
        let dim = match u64::try_from(*size) {
            Ok(size) => Message::default().number(1, size),
            Err(_) => Message::default().text(2, "n"),
        };
        dims.message(1, &dim)
    });
    let tensor = Message::default().number(1, element_type as u64).message(2, &dims);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// `NodeProto` without attributes.
pub(crate) fn node(op_type: &str, name: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let message = inputs.iter().fold(Message::default(), |message, input| message.text(1, input));
    let message = outputs.iter().fold(message, |message, output| message.text(2, output));
    message.text(3, name).text(4, op_type)
}

/// `ModelProto` of opset 17 from the parts of its graph.
pub(crate) fn model(nodes: &[Message], initializers: &[Message], inputs: &[Message], outputs: &[Message]) -> Vec<u8> {
    let graph = nodes.iter().fold(Message::default(), |graph, node| graph.message(1, node)).text(2, "g");
    let graph = initializers.iter().fold(graph, |graph, tensor| graph.message(5, tensor));
    let graph = inputs.iter().fold(graph, |graph, input| graph.message(11, input));
    let graph = outputs.iter().fold(graph, |graph, output| graph.message(12, output));
    let opset = Message::default().text(1, "").number(2, 17);
    Message::default().number(1, 8).message(7, &graph).message(8, &opset).into_bytes()
}

/// `y = Identity(x)` on one float.
pub(crate) fn identity() -> Vec<u8> {
    model(
        &[node("Identity", "identity", &["x"], &["y"])],
        &[],
        &[value_info("x", 1, &[1])],
        &[value_info("y", 1, &[1])],
    )
}
