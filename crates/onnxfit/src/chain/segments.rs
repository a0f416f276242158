//! A model cut into pieces that run one after the other, each on what those before it left.
//!
//! Together they compute every node once. What a piece gives back is bounded, so that all values of
//! a model can be looked at without all of them being in memory.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_onnx::DataType;
use onnxfit_onnx::proto::{ModelProto, NodeProto, TensorTypeProto, TypeProto, TypeValue, ValueInfoProto};

/// So many are held open at most; where values are larger, pieces are larger.
const N_SEGMENTS_MAX: u64 = 24;

/// A piece.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Gives back the values that are looked at, and those that later pieces read.
    pub(crate) model: ModelProto,
    /// Values, of this piece and earlier ones, that later pieces read.
    pub(crate) kept: BTreeSet<String>,
}

/// Cuts the part of a model that makes `watched`, whose bytes are given, into pieces. `types` says
/// what of the values that nodes make is known to be a tensor, and of what; nothing else crosses a cut.
pub(crate) fn segments(
    model: &ModelProto,
    watched: &[(&str, u64)],
    types: &BTreeMap<String, DataType>,
    most_bytes: u64,
) -> Vec<Segment> {
    let names: Vec<&str> = watched.iter().map(|(name, _)| *name).collect();
    let whole = cut_down(model, &names);
    let Some(graph) = &whole.graph else { return Vec::new() };
    let bytes: BTreeMap<&str, u64> = watched.iter().copied().collect();
    let most_bytes = most_bytes.max(bytes.values().sum::<u64>() / N_SEGMENTS_MAX);
    let reads: Vec<Vec<String>> = graph.node.iter().map(names_read).collect();
    let mut last_read: BTreeMap<&str, usize> = BTreeMap::new();
    let mut made_at: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        last_read.extend(reads[index].iter().map(|name| (name.as_str(), index)));
        made_at.extend(made(node).map(|name| (name, index)));
    }
    let crosses = |cut: usize| -> Vec<&str> {
        let is_read_after = |name: &str| last_read.get(name).is_some_and(|read| *read >= cut);
        made_at.iter().filter(|(name, made)| **made < cut && is_read_after(name)).map(|(name, _)| *name).collect()
    };
    let mut cuts = vec![0];
    let mut taken = 0u64;
    for (index, node) in graph.node.iter().enumerate() {
        let own: u64 = made(node).filter_map(|name| bytes.get(name)).sum();
        let is_full = taken > 0 && taken.saturating_add(own) > most_bytes;
        if is_full && crosses(index).into_iter().all(|name| types.contains_key(name)) {
            cuts.push(index);
            taken = 0;
        }
        taken = taken.saturating_add(own);
    }
    cuts.push(graph.node.len());
    let piece = |start: usize, end: usize| {
        let kept: BTreeSet<String> = crosses(end).into_iter().map(str::to_owned).collect();
        let is_own = |name: &str| made_at.get(name).is_some_and(|made| (start..end).contains(made));
        let read: BTreeSet<&str> = reads[start..end].iter().flatten().map(String::as_str).collect();
        let mut piece = whole.clone();
        if let Some(graph) = &mut piece.graph {
            graph.node = std::mem::take(&mut graph.node).drain(start..end).collect();
            graph.initializer.retain(|tensor| read.contains(tensor.name()));
            graph
                .sparse_initializer
                .retain(|tensor| tensor.values.as_ref().is_some_and(|values| read.contains(values.name())));
            graph.input.retain(|input| read.contains(input.name()));
            let before = read.iter().filter(|name| made_at.get(*name).is_some_and(|made| *made < start));
            graph.input.extend(before.filter_map(|name| Some(tensor_info(name, *types.get(*name)?))));
            graph.output.retain(|output| is_own(output.name()));
            let more = kept.iter().filter(|name| is_own(name) && !bytes.contains_key(name.as_str()));
            graph.output.extend(more.filter_map(|name| Some(tensor_info(name, *types.get(name)?))));
        }
        Segment { model: piece, kept }
    };
    cuts.windows(2).map(|pair| piece(pair[0], pair[1])).filter(|segment| has_outputs(&segment.model)).collect()
}

fn has_outputs(model: &ModelProto) -> bool {
    model.graph.as_ref().is_some_and(|graph| !graph.output.is_empty())
}

fn made(node: &NodeProto) -> impl Iterator<Item = &str> {
    node.output.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// A tensor of any shape.
fn tensor_info(name: &str, element_type: DataType) -> ValueInfoProto {
    let tensor = TensorTypeProto { elem_type: Some(element_type.number()), ..Default::default() };
    let ty = TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(ty), ..Default::default() }
}

/// The model with these values as its outputs, and without the nodes that they do not need.
pub(crate) fn cut_down(model: &ModelProto, values: &[&str]) -> ModelProto {
    let mut cut = model.clone();
    let Some(graph) = &mut cut.graph else { return cut };
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        makers.extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), index)));
    }
    let mut needed = BTreeSet::new();
    let mut stack: Vec<usize> = values.iter().filter_map(|value| makers.get(value).copied()).collect();
    let mut read: BTreeSet<String> = BTreeSet::new();
    while let Some(index) = stack.pop() {
        if needed.insert(index) {
            for name in names_read(&graph.node[index]) {
                stack.extend(makers.get(name.as_str()));
                read.insert(name);
            }
        }
    }
    let declared = std::mem::take(&mut graph.output);
    let info = |name: &str| {
        let known = declared.iter().chain(&graph.value_info).find(|info| info.name() == name).cloned();
        known.unwrap_or_else(|| ValueInfoProto { name: Some(name.to_owned()), ..Default::default() })
    };
    graph.output = values.iter().map(|name| info(name)).collect();
    let mut index = 0;
    graph.node.retain(|_| {
        index += 1;
        needed.contains(&(index - 1))
    });
    graph.initializer.retain(|tensor| read.contains(tensor.name()));
    graph.sparse_initializer.retain(|tensor| tensor.values.as_ref().is_some_and(|values| read.contains(values.name())));
    graph.input.retain(|input| read.contains(input.name()));
    graph.value_info.clear();
    cut
}

/// Everything that a node and its bodies may read from around it; names of bodies' own among it.
fn names_read(node: &NodeProto) -> Vec<String> {
    let mut names: Vec<String> = node.input.iter().filter(|name| !name.is_empty()).cloned().collect();
    for attribute in &node.attribute {
        for body in attribute.g.iter().map(|body| &**body).chain(&attribute.graphs) {
            names.extend(body.node.iter().flat_map(names_read));
            names.extend(body.output.iter().map(|output| output.name().to_owned()));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "g (float[n] x, float[1] w) => (float[n] z) {
        a = Relu(x)
        s = Shape(a)
        b = Exp(a)
        c = Neg(b)
        d = Add(c, a)
        e = Expand(w, s)
        z = Add(d, e)
    }";

    /// Of each piece: its nodes, what it reads, what it gives back, what is kept after it.
    fn cut(watched: &[(&str, u64)], unknown: &str) -> Vec<String> {
        let model = onnxfit_onnx::text::parse(MODEL).unwrap();
        let mut types: BTreeMap<String, DataType> =
            ["a", "b", "c", "d", "e"].map(|name| (name.to_owned(), DataType::Float)).into_iter().collect();
        types.insert("s".to_owned(), DataType::Int64);
        types.remove(unknown);
        let pieces = segments(&model, watched, &types, 10);
        let names = |infos: &[ValueInfoProto]| infos.iter().map(|info| info.name()).collect::<Vec<_>>().join(" ");
        let line = |piece: &Segment| {
            let graph = piece.model.graph.as_ref().unwrap();
            let nodes: Vec<&str> = graph.node.iter().map(|node| node.output[0].as_str()).collect();
            let kept: Vec<&str> = piece.kept.iter().map(String::as_str).collect();
            let (inputs, outputs) = (names(&graph.input), names(&graph.output));
            format!("{}: ({inputs}) => ({outputs}) keeps {}", nodes.join(" "), kept.join(" "))
        };
        pieces.iter().map(line).collect()
    }

    #[test]
    fn every_node_is_in_one_piece_and_reads_what_earlier_ones_left() {
        assert_eq!(
            cut(&[("a", 6), ("b", 6), ("c", 2), ("d", 6), ("z", 2)], ""),
            ["a s: (x) => (a s) keeps a s", "b c: (a) => (b c) keeps a c s", "d e z: (w a c s) => (d z) keeps ",]
        );
    }

    #[test]
    fn what_is_not_known_to_be_a_tensor_crosses_no_cut() {
        assert_eq!(
            cut(&[("a", 9), ("b", 9), ("z", 1)], "s"),
            ["a s b c d e: (x w) => (a b d e) keeps d e", "z: (d e) => (z) keeps "]
        );
    }

    #[test]
    fn nodes_that_nobody_looks_at_are_left_out() {
        assert_eq!(cut(&[("b", 9)], ""), ["a b: (x) => (b) keeps "]);
    }
}
