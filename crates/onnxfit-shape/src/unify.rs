//! One shape out of several.

use crate::context::{Dims, RuleContext};
use crate::expr::Expr;
use crate::fact::{Fact, Kind, Sequence};

impl RuleContext<'_, '_> {
    /// The shape that several shapes broadcast to. Sizes that nothing relates are taken to agree
    /// or to be one, which their larger says for every size but zero.
    pub(crate) fn broadcast(&mut self, shapes: &[&[Expr]]) -> Dims {
        let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
        let mut dims = Dims::with_capacity(rank);
        for at in 0..rank {
            let mut dim = Some(Expr::constant(1));
            for shape in shapes {
                let skip = rank - shape.len();
                if at >= skip
                    && let Some(so_far) = dim
                {
                    dim = self.broadcast_dim(&so_far, &shape[at - skip]);
                }
            }
            dims.push(dim);
        }
        dims
    }

    pub(crate) fn broadcast_dim(&mut self, a: &Expr, b: &Expr) -> Option<Expr> {
        if a == b || b.is(1) {
            return Some(a.clone());
        }
        if a.is(1) {
            return Some(b.clone());
        }
        match (a.as_constant(), b.as_constant()) {
            (Some(_), Some(_)) => {
                self.contradict(format_args!("{a} and {b} do not broadcast"));
                None
            }
            (Some(_), None) => Some(a.clone()),
            (None, Some(_)) => Some(b.clone()),
            (None, None) => {
                self.assume(format_args!("{a} and {b} are equal or one of them is 1"));
                a.larger(b)
            }
        }
    }

    /// One size of which two things are said; the better known one.
    pub(crate) fn same_dim(&mut self, a: &Expr, b: &Expr) -> Expr {
        if a == b {
            return a.clone();
        }
        match (a.as_constant(), b.as_constant()) {
            (Some(_), Some(_)) => {
                self.contradict(format_args!("{a} and {b} should be the same"));
                a.clone()
            }
            (None, Some(_)) => b.clone(),
            (None, None) if self.state.is_made_up(a) && !self.state.is_made_up(b) => b.clone(),
            _ => a.clone(),
        }
    }

    /// What holds for a value that is one of two; `output` names the sizes that differ.
    pub(crate) fn either(&mut self, output: usize, a: &Fact, b: &Fact) -> Fact {
        if a == b {
            return a.clone();
        }
        match (&a.kind, &b.kind) {
            (Kind::Unknown, _) | (_, Kind::Unknown) => return Fact::default(),
            (Kind::Sequence(a), Kind::Sequence(b)) => {
                let is_empty = |sequence: &Sequence| sequence.length.as_ref().is_some_and(|length| length.is(0));
                let element = match (is_empty(a), is_empty(b)) {
                    (true, false) => b.element.clone(),
                    (false, true) => a.element.clone(),
                    _ => Box::new(self.either(output, &a.element, &b.element)),
                };
                let length = if a.length == b.length { a.length.clone() } else { Some(self.made_up_length(output)) };
                return Fact { kind: Kind::Sequence(Sequence { element, length, items: None }), ..Fact::default() };
            }
            (Kind::Optional(a), Kind::Optional(b)) => {
                return Fact { kind: Kind::Optional(Box::new(self.either(output, a, b))), ..Fact::default() };
            }
            (a, b) if a != b => return Fact::default(),
            _ => {}
        }
        let shape = match (&a.shape, &b.shape) {
            (Some(a), Some(b)) if a.len() == b.len() => {
                Some(a.iter().zip(b).enumerate().map(|(at, (a, b))| self.either_dim(output, at, a, b)).collect())
            }
            _ => None,
        };
        let element_type = if a.element_type == b.element_type { a.element_type } else { None };
        let value = if a.value == b.value && a.shape == b.shape { a.value.clone() } else { None };
        Fact { kind: a.kind.clone(), element_type, shape, value }
    }

    fn either_dim(&mut self, output: usize, dim_idx: usize, a: &Expr, b: &Expr) -> Expr {
        if a == b {
            return a.clone();
        }
        let most = a.larger(b);
        self.data_dependent_dim(output, dim_idx, most)
    }
}
