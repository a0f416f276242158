//! What exporters write on nodes for people: stack traces, module paths, comments. No runtime reads
//! them, and in a small model they are most of the file.

use onnxfit_base::Bytes;

use crate::proto::{GraphProto, ModelProto, NodeProto};

/// Takes the notes off every node, in bodies and functions too; gives how many bytes they were.
pub fn strip_notes(model: &mut ModelProto) -> Bytes {
    let mut bytes = 0;
    for function in &mut model.functions {
        strip_nodes(&mut function.node, &mut bytes);
    }
    if let Some(graph) = &mut model.graph {
        strip_graph(graph, &mut bytes);
    }
    Bytes(bytes)
}

// As deep as subgraphs nest, which the first walk over the file has bounded.
fn strip_graph(graph: &mut GraphProto, bytes: &mut u64) {
    strip_nodes(&mut graph.node, bytes);
}

fn strip_nodes(nodes: &mut [NodeProto], bytes: &mut u64) {
    for node in nodes {
        let comment = node.doc_string.take().unwrap_or_default();
        let entries = std::mem::take(&mut node.metadata_props);
        *bytes += comment.len() as u64;
        *bytes += entries.iter().map(|entry| entry.key().len() + entry.value().len()).sum::<usize>() as u64;
        for attribute in &mut node.attribute {
            let bodies = attribute.g.iter_mut().map(|graph| &mut **graph);
            bodies.for_each(|graph| strip_graph(graph, bytes));
            attribute.graphs.iter_mut().for_each(|graph| strip_graph(graph, bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::StringStringEntryProto;

    #[test]
    fn notes_go_from_nodes_and_from_the_nodes_of_bodies() {
        let text = "g (bool c) => (float y) { y = If <then_branch = t () => (float a) { a = Constant <value_float = 1.0> () }, \
                    else_branch = e () => (float b) { b = Constant <value_float = 2.0> () }> (c) }";
        let plain = crate::text::parse(text).unwrap();
        let mut model = plain.clone();
        let node = &mut model.graph.as_mut().unwrap().node[0];
        node.doc_string = Some("hello".to_owned());
        let body = node.attribute[0].g.as_mut().unwrap();
        let entry = StringStringEntryProto { key: Some("trace".to_owned()), value: Some("a.py:1".to_owned()) };
        body.node[0].metadata_props.push(entry);
        assert_eq!(strip_notes(&mut model), Bytes(16));
        assert_eq!(model, plain);
    }
}
