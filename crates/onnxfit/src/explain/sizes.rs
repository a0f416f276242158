//! Which sizes of a model's inputs give the number that a failing node asked for.
//!
//! A tensor's dimensions are expressions of the named sizes: rows are solved for, the others are
//! tried at the sizes that models are run at, images as squares. Several fit often, and all are
//! shown: which one was run is for the reader to say.

use std::collections::{BTreeMap, BTreeSet};

use onnxfit_base::Bytes;
use onnxfit_explain::SizeReading;
use onnxfit_graph::Graph;
use onnxfit_shape::{Expr, GraphFacts};

/// The arena rounds every request up to this (bfc_arena.h, kMinAllocationSize).
const ROUNDING: u64 = 256;
const READINGS_MAX: usize = 6;
/// More rows than this in one run are possible and rare.
const ROWS_USUAL: u64 = 4096;
/// Lengths and sides of images that models are run at.
const SIZES: &[i64] = &[
    16, 24, 32, 40, 48, 64, 77, 80, 96, 112, 128, 160, 192, 197, 224, 240, 256, 288, 299, 300, 320, 336, 384, 416, 448,
    480, 512, 577, 600, 640, 720, 768, 800, 1024, 1280, 1500, 1536, 2048, 3000, 4000, 4096, 8000, 8192, 16000, 16384,
    32000, 32768, 48000, 80000, 160_000, 480_000,
];

/// The sizes at which an output of this node takes `requested`.
pub(super) fn of_node(graph: &Graph, facts: &GraphFacts, name: &str, requested: Bytes) -> Vec<SizeReading> {
    let mut readings = Vec::new();
    for (_, node) in graph.nodes().filter(|(_, node)| node.name == name) {
        for output in node.outputs.iter().flatten() {
            let fact = facts.fact(*output);
            let (Some(element_type), Some(shape)) = (fact.element_type, &fact.shape) else { continue };
            let element_bytes = element_type.bits().div_ceil(8);
            for (dims, sizes) in solve(shape, element_bytes, requested.get()) {
                readings.push(SizeReading {
                    product: product(&sizes, element_bytes),
                    tensor: Some(graph.value(*output).name.clone()),
                    node: Some(name.to_owned()),
                    dims: dims.into_iter().map(|(dim, size)| (dim, size.unsigned_abs())).collect(),
                    is_failing_node: true,
                });
            }
        }
    }
    readings.truncate(READINGS_MAX);
    readings
}

type Assignment = BTreeMap<String, i64>;

/// Assignments of the names that give the size, and the dimensions that follow; few rows first.
fn solve(shape: &[Expr], element_bytes: u64, requested: u64) -> Vec<(Assignment, Vec<u64>)> {
    let names: BTreeSet<String> =
        shape.iter().flat_map(|dim| dim.symbols()).map(|symbol| symbol.name().to_owned()).collect();
    let rows = shape.first().and_then(Expr::as_symbol).filter(|rows| names.contains(*rows)).map(str::to_owned);
    let others: Vec<&String> = names.iter().filter(|name| Some(*name) != rows.as_ref()).collect();
    let tried = if others.is_empty() { &SIZES[..1] } else { SIZES };
    let mut found = Vec::new();
    for size in tried {
        let mut dims: Assignment = others.iter().map(|name| ((*name).clone(), *size)).collect();
        if let Some(rows) = &rows {
            dims.insert(rows.clone(), 1);
            let Some(one) = bytes_of(shape, element_bytes, &dims).filter(|(bytes, _)| *bytes > 0) else { continue };
            let Ok(near) = i64::try_from(requested / one.0) else { continue };
            dims.insert(rows.clone(), near.max(1));
        }
        if let Some((bytes, sizes)) = bytes_of(shape, element_bytes, &dims)
            && bytes > 0
            && bytes.checked_next_multiple_of(ROUNDING) == Some(requested.next_multiple_of(ROUNDING))
        {
            let n_rows = rows.as_ref().and_then(|rows| dims.get(rows)).map_or(1, |rows| rows.unsigned_abs());
            found.push((n_rows > ROWS_USUAL, bytes != requested, n_rows, dims, sizes));
        }
    }
    found.sort_by_key(|(many, padded, n_rows, ..)| (*many, *padded, *n_rows));
    found.into_iter().map(|(.., dims, sizes)| (dims, sizes)).collect()
}

fn bytes_of(shape: &[Expr], element_bytes: u64, dims: &Assignment) -> Option<(u64, Vec<u64>)> {
    let sizes: Vec<u64> =
        shape.iter().map(|dim| dim.eval(dims).and_then(|size| u64::try_from(size).ok())).collect::<Option<_>>()?;
    let bytes = sizes.iter().try_fold(element_bytes, |product, size| product.checked_mul(*size))?;
    Some((bytes, sizes))
}

/// `2 x 64 x 48^2 x 4`.
fn product(sizes: &[u64], element_bytes: u64) -> String {
    let mut factors: Vec<(u64, u32)> = Vec::new();
    for size in sizes {
        match factors.last_mut() {
            Some((last, power)) if last == size => *power += 1,
            _ => factors.push((*size, 1)),
        }
    }
    factors.push((element_bytes, 1));
    let text = |(size, power): &(u64, u32)| if *power == 1 { size.to_string() } else { format!("{size}^{power}") };
    factors.iter().map(text).collect::<Vec<_>>().join(" x ")
}

#[cfg(test)]
mod tests {
    use onnxfit_shape::Expr;

    use super::solve;

    fn answers(shape: &[&str], requested: u64) -> Vec<String> {
        let shape: Vec<Expr> = shape.iter().map(|dim| Expr::parse(dim).expect("an expression")).collect();
        let found = solve(&shape, 4, requested).into_iter();
        found.map(|(dims, sizes)| format!("{dims:?} {}", super::product(&sizes, 4))).collect()
    }

    #[test]
    fn finds_the_square_image_behind_a_halved_one() {
        let shape = ["batch", "64", "(height - 1) / 2 + 1", "(width - 1) / 2 + 1"];
        let found = answers(&shape, 2 * 64 * 48 * 48 * 4);
        assert!(found.iter().any(|one| one.contains("2 x 64 x 48^2 x 4") && one.contains("96")), "{found:?}");
    }

    #[test]
    fn finds_rows_and_length_and_says_all_that_fit() {
        let found = answers(&["batch", "12", "length", "length"], 512 * 12 * 512 * 512 * 4);
        assert!(found.iter().any(|one| one.contains("512 x 12 x 512^2 x 4")), "{found:?}");
    }

    #[test]
    fn finds_nothing_for_a_number_that_no_size_gives() {
        assert!(answers(&["batch", "64", "h", "w"], 1000).is_empty());
        assert!(answers(&["2", "3"], 4096).is_empty());
        assert_eq!(answers(&["2", "64"], 512).len(), 1);
    }
}
