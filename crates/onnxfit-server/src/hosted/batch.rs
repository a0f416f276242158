//! Several requests as one, and their answers apart again.

use onnxfit::runtime::guard::Cut;
use onnxfit::runtime::{Tensor, Tensors};

/// The inputs of several requests in one; `None` if they cannot be put together.
pub(crate) fn together(cut: &Cut, requests: &[&Tensors]) -> Option<Tensors> {
    let first = requests.first()?;
    let mut all = Tensors::new();
    for (name, tensor) in first.iter() {
        let tensor = match cut.inputs.get(name) {
            None => tensor.clone(),
            Some(axis) => {
                let pieces: Option<Vec<&Tensor>> = requests.iter().map(|inputs| inputs.get(name)).collect();
                Tensor::concatenate(&pieces?, *axis)?
            }
        };
        all.insert(name, tensor);
    }
    Some(all)
}

/// The answers of requests with so many rows each; `None` if an output has other rows.
pub(crate) fn apart(cut: &Cut, outputs: Tensors, rows: &[u64]) -> Option<Vec<Tensors>> {
    if rows.len() == 1 {
        return Some(vec![outputs]);
    }
    let n_rows: u64 = rows.iter().sum();
    let mut answers = vec![Tensors::new(); rows.len()];
    for (name, tensor) in outputs.iter() {
        match cut.outputs.get(name) {
            None => answers.iter_mut().for_each(|answer| answer.insert(name, tensor.clone())),
            Some(axis) => {
                let size = *tensor.shape().get(*axis)?;
                if n_rows == 0 || size % n_rows != 0 {
                    return None;
                }
                let each = size / n_rows;
                let mut start = 0;
                for (answer, rows) in answers.iter_mut().zip(rows) {
                    answer.insert(name, tensor.slice(*axis, start..start + rows * each)?);
                    start += rows * each;
                }
            }
        }
    }
    Some(answers)
}
