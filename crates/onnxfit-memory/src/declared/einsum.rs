//! The shape of an `Einsum`, as ONNX's own rule gives it (`onnx/defs/math/defs.cc`, onnx 1.20).
//!
//! The first operand that has a letter decides its size, name or number. Only what an ellipsis stands
//! for is broadcast, and only a number over a one.

use std::collections::BTreeMap;

/// The result's dimensions; `None` where the equation does not suit the operands.
pub(crate) fn einsum_dims<D: Clone>(
    equation: &str,
    shapes: &[&[D]],
    number: impl Fn(&D) -> Option<i64>,
) -> Option<Vec<D>> {
    let equation: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = inputs.split(',').collect();
    if terms.len() != shapes.len() {
        return None;
    }
    let mut letters: BTreeMap<char, (D, usize)> = BTreeMap::new();
    let mut ellipsis: Option<Vec<D>> = None;
    for (term, shape) in terms.iter().zip(shapes) {
        let n_letters = term.chars().filter(char::is_ascii_alphabetic).count();
        let (before, after) = term.split_once("...").unwrap_or((term, ""));
        let n_between = shape.len().checked_sub(n_letters)?;
        if n_between > 0 && !term.contains("...") {
            return None;
        }
        let mut dims = shape.iter();
        for letter in before.chars() {
            note(&mut letters, letter, dims.next()?);
        }
        let between: Vec<D> = dims.by_ref().take(n_between).cloned().collect();
        for letter in after.chars() {
            note(&mut letters, letter, dims.next()?);
        }
        match &mut ellipsis {
            _ if !term.contains("...") => {}
            None => ellipsis = Some(between),
            Some(first) => {
                for (first, other) in first.iter_mut().zip(&between) {
                    if number(first) == Some(1) && number(other) > Some(1) {
                        first.clone_from(other);
                    }
                }
            }
        }
    }
    let mut result = Vec::new();
    let Some(output) = output else {
        // Letters that occur once, in the order of the alphabet.
        result.extend(ellipsis.into_iter().flatten());
        result.extend(letters.into_values().filter(|(_, times)| *times == 1).map(|(dim, _)| dim));
        return Some(result);
    };
    let (before, after) = output.split_once("...").unwrap_or((output, ""));
    let named = |letter: char| letters.get(&letter).map(|(dim, _)| dim.clone());
    for letter in before.chars() {
        result.push(named(letter)?);
    }
    if output.contains("...") {
        result.extend(ellipsis.into_iter().flatten());
    }
    for letter in after.chars() {
        result.push(named(letter)?);
    }
    Some(result)
}

fn note<D: Clone>(letters: &mut BTreeMap<char, (D, usize)>, letter: char, dim: &D) {
    letters.entry(letter).or_insert_with(|| (dim.clone(), 0)).1 += 1;
}

#[cfg(test)]
mod tests {
    use super::einsum_dims;

    /// Names are names, numbers numbers; as ONNX Runtime 1.31.1 dumps them.
    fn shape(equation: &str, shapes: &[&str]) -> String {
        let shapes: Vec<Vec<&str>> = shapes.iter().map(|shape| shape.split(' ').collect()).collect();
        let shapes: Vec<&[&str]> = shapes.iter().map(Vec::as_slice).collect();
        einsum_dims(equation, &shapes, |dim| dim.parse().ok()).map_or_else(|| "-".to_owned(), |dims| dims.join(" "))
    }

    #[test]
    fn the_first_operand_decides_and_only_an_ellipsis_is_broadcast() {
        assert_eq!(shape("bnhd,hdk->bhnk", &["b n H 8", "4 8 25"]), "b H n 25");
        assert_eq!(shape("ij,ij->ij", &["1 j", "i 5"]), "1 j");
        assert_eq!(shape("...ij,...jk->...ik", &["a 1 3 4", "a 7 4 5"]), "a 7 3 5");
        assert_eq!(shape("b...,b->...", &["a 6 3", "a"]), "6 3");
        assert_eq!(shape("bii->bi", &["a 6 6"]), "a 6");
        assert_eq!(shape("k...i,...j", &["B h w 32", "h w 32"]), "h w 32 32 B");
        assert_eq!(shape("ij,jk", &["3 j", "j 5"]), "3 5");
        assert_eq!(shape("ij->ji", &["3 4 5"]), "-");
    }
}
