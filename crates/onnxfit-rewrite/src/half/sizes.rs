//! About how large each value is: good enough to compare costs, never used for a prediction.

use onnxfit_graph::{Dim, Node, ValueType};
use onnxfit_shape::{Bindings, Fact, GraphFacts, infer};

use super::world::World;

/// What an open dimension is taken for.
const OPEN: u64 = 32;
/// What a value is taken for of which nothing is known.
const UNKNOWN: u64 = 1 << 12;
const LARGE: u64 = 1 << 40;

/// About how many elements each value has, by value number.
pub(super) fn sizes(world: &World<'_>) -> Vec<u64> {
    let inference = infer(world.model, &Bindings::default());
    let mut facts: Vec<Option<&GraphFacts>> = Vec::with_capacity(world.scopes.len());
    for scope in &world.scopes {
        facts.push(match &scope.parent {
            None => Some(&inference.graph),
            Some(parent) => {
                facts[parent.scope].and_then(|around| around.subgraph(parent.node, parent.attribute, parent.index))
            }
        });
    }
    let mut sizes = vec![0u64; world.n_values()];
    for (value, size) in sizes.iter_mut().enumerate() {
        let (scope, id) = world.place(value);
        let entry = world.get(value);
        let tensor = entry.tensor().cloned().or_else(|| world.fixed_tensor(value));
        let inferred = || facts[scope]?.get(id).and_then(inferred);
        *size = match tensor {
            Some(tensor) => tensor.n_elements().unwrap_or(UNKNOWN),
            None => inferred().or_else(|| declared(&entry.ty)).unwrap_or(0),
        };
    }
    for (scope, entry) in world.scopes.iter().enumerate() {
        for input in entry.graph.inputs() {
            let value = world.value(scope, *input);
            sizes[value] = sizes[value].max(1);
        }
        for id in entry.graph.topological_order().unwrap_or_default() {
            let node = entry.graph.node(id);
            let inputs: Vec<u64> = (node.inputs.iter())
                .map(|value| value.map_or(0, |value| sizes[world.definition[world.value(scope, value)]]))
                .collect();
            for output in node.outputs.iter().flatten() {
                let value = world.value(scope, *output);
                if sizes[value] == 0 {
                    sizes[value] = estimate(world, scope, node, &inputs).clamp(1, LARGE);
                }
            }
        }
    }
    sizes
}

/// What shape inference says, with open dimensions taken for [`OPEN`].
fn inferred(fact: &Fact) -> Option<u64> {
    let count = fact.n_elements()?;
    let symbols = count.symbols().into_iter().map(|symbol| (symbol.name().to_owned(), OPEN as i64)).collect();
    u64::try_from(count.eval(&symbols)?).ok().map(|count| count.clamp(1, LARGE))
}

fn declared(ty: &ValueType) -> Option<u64> {
    let shape = ty.as_tensor()?.shape.as_ref()?;
    let dim = |dim: &Dim| match dim {
        Dim::Known(number) => u64::try_from(*number).unwrap_or(OPEN),
        Dim::Symbol(_) | Dim::Unknown => OPEN,
    };
    Some(shape.iter().map(dim).fold(1u64, u64::saturating_mul).clamp(1, LARGE))
}

fn estimate(world: &World<'_>, scope: usize, node: &Node, inputs: &[u64]) -> u64 {
    let first = inputs.first().copied().unwrap_or(UNKNOWN).max(1);
    let weight_dims = |index: usize| {
        let value = node.input(index).map(|value| world.value(scope, value))?;
        let tensor = world.fixed_tensor(value).or_else(|| world.get(world.definition[value]).tensor().cloned())?;
        let dims: Vec<u64> = tensor.dims.iter().map(|dim| u64::try_from(*dim).unwrap_or(1).max(1)).collect();
        Some(dims)
    };
    let ratio = |many: u64, few: u64| (first as u128 * many as u128 / few.max(1) as u128) as u64;
    match node.op_type.as_str() {
        "Shape" | "Size" | "NonZero" | "ArgMax" | "ArgMin" => 4,
        "Constant" => 1,
        "Range" => 128,
        "Conv" => weight_dims(1).filter(|dims| dims.len() > 2).map_or(first, |dims| {
            let groups = node.int("group").and_then(|group| u64::try_from(group).ok()).unwrap_or(1);
            let stride: u64 = node.ints("strides").unwrap_or(&[]).iter().map(|s| s.unsigned_abs().max(1)).product();
            ratio(dims[0], dims[1].saturating_mul(groups)) / stride.max(1)
        }),
        "MatMul" => weight_dims(1).filter(|dims| dims.len() == 2).map_or(first, |dims| ratio(dims[1], dims[0])),
        "Gemm" => weight_dims(1).filter(|dims| dims.len() == 2).map_or(first, |dims| {
            let is_transposed = node.int("transB").unwrap_or(0) != 0;
            if is_transposed { ratio(dims[0], dims[1]) } else { ratio(dims[1], dims[0]) }
        }),
        "GlobalAveragePool" | "GlobalMaxPool" => first / 49,
        "MaxPool" | "AveragePool" => {
            first / node.ints("strides").unwrap_or(&[]).iter().map(|s| s.unsigned_abs().max(1)).product::<u64>().max(1)
        }
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL2" | "ReduceProd" => (first / 64).max(1),
        "Gather" => weight_dims(0)
            .filter(|dims| dims.len() == 2)
            .map_or(first, |dims| inputs.get(1).copied().unwrap_or(1).saturating_mul(dims[1])),
        "Slice" | "Squeeze" | "Unsqueeze" | "Reshape" | "Transpose" | "Flatten" | "Cast" | "TopK" => first,
        "Concat" | "Expand" => inputs.iter().copied().fold(0, u64::saturating_add),
        _ => inputs.iter().copied().max().unwrap_or(UNKNOWN),
    }
}
