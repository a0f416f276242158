//! Einsum on the CPU: operands brought into one order of labels, then multiplied pair by pair.
//!
//! `core/providers/cpu/math/einsum_utils/{einsum_compute_preprocessor,einsum_typed_compute_processor}.h`
//! (ORT 1.31).

use onnxfit_base::Bytes;

use super::{Call, Step};

/// The script of a call; `None` for an equation that does not suit its operands.
pub(super) fn cpu(call: &Call<'_>) -> Option<Vec<Step>> {
    let mut labels = Labels::read(call)?;
    let mut work = Work { steps: Vec::new(), n_scratch: 0, element: call.input(0)?.element_bytes() };
    let n_operands = call.node.inputs.len();
    let mut operands = Vec::new();
    for position in 0..n_operands {
        operands.push(labels.bring_in_order(&mut work, position, &call.input(position)?.dims)?);
    }
    if (0..n_operands).any(|position| call.input(position).is_some_and(|input| input.n_elements() == Some(0))) {
        work.steps.push(Step::Output(0));
        return Some(work.steps);
    }
    let mut operands = operands.into_iter();
    let mut result = operands.next()?;
    let reduced = labels.last_seen_in(0);
    if !reduced.is_empty() {
        // What the first operand was brought into stays to the end.
        result = work.reduce(&result, &reduced)?;
    }
    if n_operands == 1 {
        let order: Vec<usize> = (0..labels.sizes.len()).collect();
        work.finish(&labels, &result.dims, &order)?;
        return Some(work.steps);
    }
    for (position, right) in operands.enumerate() {
        let reduced = labels.last_seen_in(position + 1);
        let product = work.multiply(&labels, &result, &right, &reduced, position + 2 == n_operands)?;
        // The operand's own tensor is freed with the kernel; an earlier product now.
        work.give(&result);
        result = product;
    }
    Some(work.steps)
}

/// A tensor on the way: its scratch, if it has any, and its dimensions.
#[derive(Clone, Debug)]
struct Operand {
    scratch: Option<usize>,
    dims: Vec<u64>,
}

/// What the equation says.
struct Labels {
    /// The label of each axis of each operand.
    of_inputs: Vec<Vec<usize>>,
    /// The size of each label.
    sizes: Vec<u64>,
    /// Position in the output; `None` for what is summed.
    in_output: Vec<Option<usize>>,
    /// The last operand that has a label that is summed.
    last_input: Vec<usize>,
    n_output: usize,
}

impl Labels {
    fn read(call: &Call<'_>) -> Option<Self> {
        let equation: String = call.node.text("equation", "").split_whitespace().collect();
        let (left, right) = match equation.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (equation.as_str(), None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != call.node.inputs.len() {
            return None;
        }
        let mut n_ellipsis = 0;
        for (position, term) in terms.iter().enumerate() {
            if term.contains("...") {
                n_ellipsis = n_ellipsis.max((call.input(position)?.dims.len() + 3).checked_sub(term.len())?);
            }
        }
        let mut letters: Vec<char> = Vec::new();
        let mut read = Self {
            of_inputs: Vec::new(),
            sizes: vec![1; n_ellipsis],
            in_output: Vec::new(),
            last_input: vec![0; n_ellipsis],
            n_output: 0,
        };
        let mut count: Vec<usize> = Vec::new();
        for (position, term) in terms.iter().enumerate() {
            let dims = &call.input(position)?.dims;
            let mut axes = Vec::new();
            for (index, part) in term.split("...").enumerate() {
                if index == 1 {
                    axes.extend(0..n_ellipsis);
                }
                for letter in part.chars() {
                    let found = letters.iter().position(|known| *known == letter).unwrap_or_else(|| {
                        letters.push(letter);
                        read.sizes.push(1);
                        read.last_input.push(position);
                        count.push(0);
                        letters.len() - 1
                    });
                    count[found] += 1;
                    axes.push(n_ellipsis + found);
                }
            }
            if axes.len() != dims.len() {
                return None;
            }
            for (&label, &size) in axes.iter().zip(dims) {
                read.last_input[label] = position;
                if read.sizes[label] == 1 {
                    read.sizes[label] = size;
                }
            }
            read.of_inputs.push(axes);
        }
        read.in_output = vec![None; read.sizes.len()];
        let mut output: Vec<usize> = Vec::new();
        match right {
            Some(text) => {
                for (index, part) in text.split("...").enumerate() {
                    if index == 1 {
                        output.extend(0..n_ellipsis);
                    }
                    for letter in part.chars() {
                        output.push(n_ellipsis + letters.iter().position(|known| *known == letter)?);
                    }
                }
            }
            None => {
                // Without an arrow: the letters that are there once, capitals first... by the alphabet.
                output.extend(0..n_ellipsis);
                let mut single: Vec<usize> = (0..letters.len()).filter(|&index| count[index] == 1).collect();
                single.sort_by_key(|&index| (letters[index].is_uppercase(), letters[index]));
                output.extend(single.into_iter().map(|index| n_ellipsis + index));
            }
        }
        read.n_output = output.len();
        for (position, label) in output.into_iter().enumerate() {
            read.in_output[label] = Some(position);
        }
        Some(read)
    }

    /// Labels that are summed once this operand is in.
    fn last_seen_in(&self, position: usize) -> Vec<usize> {
        (0..self.sizes.len())
            .filter(|&label| self.in_output[label].is_none() && self.last_input[label] == position)
            .collect()
    }

    /// Diagonals are taken and axes sorted by label; labels that are not there count one.
    fn bring_in_order(&mut self, work: &mut Work, position: usize, dims: &[u64]) -> Option<Operand> {
        let mut own = Operand { scratch: None, dims: dims.to_vec() };
        let mut seen: Vec<usize> = Vec::new();
        for &label in &self.of_inputs[position] {
            match seen.iter().position(|known| *known == label) {
                None => seen.push(label),
                Some(first) => own = work.diagonal(own, first, seen.len())?,
            }
        }
        let mut order: Vec<usize> = (0..seen.len()).collect();
        order.sort_by_key(|&axis| seen[axis]);
        own = work.permute(own, &order)?;
        let mut whole = vec![1; self.sizes.len()];
        for (&axis, &size) in order.iter().zip(&own.dims) {
            whole[seen[axis]] = size;
        }
        own.dims = whole;
        Some(own)
    }
}

/// The steps so far.
struct Work {
    steps: Vec<Step>,
    n_scratch: usize,
    element: u64,
}

impl Work {
    fn take(&mut self, what: &'static str, dims: Vec<u64>) -> Option<Operand> {
        let bytes = dims.iter().try_fold(self.element, |product, &dim| product.checked_mul(dim))?;
        self.steps.push(Step::Scratch { what, bytes: Bytes(bytes) });
        self.n_scratch += 1;
        Some(Operand { scratch: Some(self.n_scratch - 1), dims })
    }

    fn give(&mut self, operand: &Operand) {
        self.steps.extend(operand.scratch.map(Step::Give));
    }

    /// The operand with its axes in this order; the old one is freed when the new one is done.
    fn permute(&mut self, operand: Operand, order: &[usize]) -> Option<Operand> {
        if order.iter().enumerate().all(|(position, &axis)| position == axis) {
            return Some(operand);
        }
        let new = self.take("transposed operand", order.iter().map(|&axis| operand.dims[axis]).collect())?;
        self.give(&operand);
        Some(new)
    }

    fn reduce(&mut self, operand: &Operand, axes: &[usize]) -> Option<Operand> {
        let mut dims = operand.dims.clone();
        for &axis in axes {
            dims[axis] = 1;
        }
        self.take("summed operand", dims)
    }

    /// The diagonal of two axes, which stays at the first.
    fn diagonal(&mut self, operand: Operand, first: usize, second: usize) -> Option<Operand> {
        let rank = operand.dims.len();
        let mut dims = operand.dims.clone();
        dims.remove(second);
        if rank == 2 || (first + 2 == rank && second + 1 == rank) {
            let new = self.take("diagonal", dims)?;
            self.give(&operand);
            return Some(new);
        }
        let moved = self.take("transposed operand", operand.dims.clone())?;
        let inner = self.take("diagonal", dims.clone())?;
        let new = self.take("diagonal", dims)?;
        self.give(&inner);
        self.give(&moved);
        self.give(&operand);
        Some(new)
    }

    /// One product of two operands; `result` of the last pair is written out.
    fn multiply(
        &mut self,
        labels: &Labels,
        left: &Operand,
        right: &Operand,
        reduced: &[usize],
        is_last: bool,
    ) -> Option<Operand> {
        let (mut both, mut left_only, mut right_only) = (Vec::new(), Vec::new(), Vec::new());
        // What is made here on the way is freed here; what came in is not.
        let (mut own_left, mut own_right): (Option<Operand>, Option<Operand>) = (None, None);
        let (left_dims, right_dims) = (left.dims.clone(), right.dims.clone());
        for label in 0..labels.sizes.len() {
            let (in_left, in_right) = (left_dims[label] > 1, right_dims[label] > 1);
            if reduced.contains(&label) {
                let (side, made) = match (in_left, in_right) {
                    (true, false) => (left, &mut own_left),
                    (false, true) => (right, &mut own_right),
                    _ => continue,
                };
                let new = self.reduce(made.as_ref().unwrap_or(side), &[label])?;
                if let Some(old) = made.replace(new) {
                    self.give(&old);
                }
            } else if in_left && in_right {
                both.push(label);
            } else if in_left {
                left_only.push(label);
            } else {
                right_only.push(label);
            }
        }
        let left_order = [&both[..], &left_only, reduced, &right_only].concat();
        let right_order = [&both[..], reduced, &right_only, &left_only].concat();
        self.arrange(left, &mut own_left, &left_order)?;
        self.arrange(right, &mut own_right, &right_order)?;
        let order = left_order;
        let dims: Vec<u64> = order
            .iter()
            .map(|label| if reduced.contains(label) { 1 } else { left_dims[*label].max(right_dims[*label]) })
            .collect();
        let mut product = self.take("product", dims)?;
        if is_last {
            self.finish(labels, &product.dims, &order)?;
        } else {
            let mut back = vec![0; order.len()];
            for (position, &label) in order.iter().enumerate() {
                back[label] = position;
            }
            if is_plain_move(&back, &product.dims) {
                product.dims = back.iter().map(|&axis| product.dims[axis]).collect();
            } else {
                product = self.permute(product, &back)?;
            }
        }
        for own in [own_right, own_left].into_iter().flatten() {
            self.give(&own);
        }
        Some(product)
    }

    /// Transposes a side of a product unless only its ones move in a tensor of its own.
    fn arrange(&mut self, side: &Operand, made: &mut Option<Operand>, order: &[usize]) -> Option<()> {
        if order.iter().enumerate().all(|(position, &axis)| position == axis) {
            return Some(());
        }
        let dims = &made.as_ref().unwrap_or(side).dims;
        let new_dims: Vec<u64> = order.iter().map(|&axis| dims[axis]).collect();
        if let Some(own) = made.as_mut().filter(|own| is_plain_move(order, &own.dims)) {
            own.dims = new_dims;
            return Some(());
        }
        let new = self.take("transposed operand", new_dims)?;
        if let Some(old) = made.replace(new) {
            self.give(&old);
        }
        Some(())
    }

    /// The output, by way of one more transpose where its order asks for it.
    fn finish(&mut self, labels: &Labels, dims: &[u64], order: &[usize]) -> Option<()> {
        self.steps.push(Step::Output(0));
        let kept: Vec<usize> = order.iter().filter_map(|&label| labels.in_output[label]).collect();
        if kept.iter().enumerate().any(|(position, &place)| position != place) {
            let new = self.take("transposed result", dims.to_vec())?;
            self.give(&new);
        }
        Some(())
    }
}

/// Whether only axes of size one change places.
fn is_plain_move(order: &[usize], dims: &[u64]) -> bool {
    order.iter().filter(|&&axis| dims[axis] != 1).is_sorted()
}
