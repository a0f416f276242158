//! Which operator takes half-width floats where: the table that `data/operators.py` writes.
//!
//! Facts only: signatures from onnx 1.23.2 and onnxruntime 1.31.1, kernels from ONNX Runtime's own
//! `OperatorKernels.md`. The table is read once; a row that cannot be read is left out, and the
//! test counts them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a slot of an operator may hold, as far as floats are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The type variable with this index.
    Variable(usize),
    /// Always `float`.
    Float,
    /// Never `float`.
    Other,
    /// A list whose members may differ in type.
    Mixed,
}

/// A type variable that may be `float`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypeVariable {
    /// Its name in the operator's definition.
    pub(crate) name: String,
    /// Whether it may be `float16`, and whether ONNX Runtime has a kernel for that.
    pub(crate) float16: Support,
    /// The same for `bfloat16`.
    pub(crate) bfloat16: Support,
}

/// How far a type is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Support {
    /// The operator's definition forbids it.
    No,
    /// Defined, but no kernel of ONNX Runtime runs it where it would run `float`.
    NoKernel,
    /// Defined and implemented.
    Yes,
}

/// The float side of an operator's signature from one version on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// The first operator set version with this signature.
    pub(crate) since: i64,
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    repeats_input: bool,
    repeats_output: bool,
    /// The type variables that slots refer to.
    pub(crate) variables: Vec<TypeVariable>,
}

impl Signature {
    /// What the input at `index` may hold.
    pub(crate) fn input(&self, index: usize) -> Slot {
        slot(&self.inputs, self.repeats_input, index)
    }

    /// What the output at `index` may hold.
    pub(crate) fn output(&self, index: usize) -> Slot {
        slot(&self.outputs, self.repeats_output, index)
    }
}

fn slot(slots: &[Slot], repeats: bool, index: usize) -> Slot {
    let last = if repeats { slots.last().copied() } else { None };
    slots.get(index).copied().or(last).unwrap_or(Slot::Other)
}

/// By domain, operator and rising version.
type Table = BTreeMap<&'static str, BTreeMap<&'static str, Vec<Signature>>>;

static TEXT: &str = include_str!("../data/operators.csv");

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new();
    for line in TEXT.lines() {
        if let Some(((domain, name), signature)) = row(line) {
            table.entry(domain).or_default().entry(name).or_default().push(signature);
        }
    }
    table
        .values_mut()
        .flat_map(BTreeMap::values_mut)
        .for_each(|signatures| signatures.sort_by_key(|signature| signature.since));
    table
});

/// The signature of an operator in a version of its operator set; `None` for one that nobody knows.
pub(crate) fn signature(domain: &str, op_type: &str, opset: i64) -> Option<&'static Signature> {
    let signatures = TABLE.get(domain)?.get(op_type)?;
    signatures.iter().rev().find(|signature| signature.since <= opset)
}

fn row(line: &'static str) -> Option<((&'static str, &'static str), Signature)> {
    let cells: Vec<&'static str> = line.split(',').collect();
    let [domain, name, since, inputs, outputs, types] = cells[..] else { return None };
    let mut variables = Vec::new();
    for entry in types.split(';').filter(|entry| !entry.is_empty()) {
        let (name, letters) = entry.split_once('=')?;
        let support =
            |defined: char, implemented: char| match (letters.contains(defined), letters.contains(implemented)) {
                (false, _) => Support::No,
                (true, false) => Support::NoKernel,
                (true, true) => Support::Yes,
            };
        variables.push(TypeVariable { name: name.to_owned(), float16: support('h', 'H'), bfloat16: support('b', 'B') });
    }
    let (inputs, repeats_input) = slots(inputs, &variables)?;
    let (outputs, repeats_output) = slots(outputs, &variables)?;
    let since = since.parse().ok()?;
    Some(((domain, name), Signature { since, inputs, outputs, repeats_input, repeats_output, variables }))
}

fn slots(cell: &str, variables: &[TypeVariable]) -> Option<(Vec<Slot>, bool)> {
    let mut slots = Vec::new();
    for token in cell.split(' ').filter(|token| !token.is_empty()) {
        let name = token.trim_end_matches(['*', '~']);
        slots.push(match name {
            _ if token.ends_with('~') => Slot::Mixed,
            "-" => Slot::Other,
            "float" => Slot::Float,
            _ => Slot::Variable(variables.iter().position(|variable| variable.name == name)?),
        });
    }
    Some((slots, cell.ends_with(['*', '~'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_read() {
        let n_rows: usize = TABLE.values().flat_map(BTreeMap::values).map(Vec::len).sum();
        assert_eq!(n_rows, TEXT.lines().count());
    }

    #[test]
    fn the_version_that_a_model_imports_decides() {
        let support = |opset| signature("", "CumSum", opset).map(|found| found.variables[0].float16);
        assert_eq!((support(10), support(11), support(14)), (None, Some(Support::No), Some(Support::Yes)));
    }

    #[test]
    fn resize_takes_half_data_but_float_scales() {
        let resize = signature("", "Resize", 19).unwrap();
        assert_eq!((resize.input(0), resize.input(2), resize.input(3)), (Slot::Variable(0), Slot::Float, Slot::Other));
    }
}
