//! What an expression can be at least and at most.

use super::{Atom, Expr, Repr};

/// A range of numbers; `None` is no bound.
pub(crate) type Bounds = (Option<i64>, Option<i64>);

impl Expr {
    /// The least and the most this can be, as far as its symbols' own bounds tell.
    pub fn bounds(&self) -> (Option<i64>, Option<i64>) {
        self.bounds_with(i64::MIN)
    }

    /// As [`Self::bounds`], with every size taken to be at least one.
    pub(crate) fn bounds_of_full(&self) -> Bounds {
        self.bounds_with(1)
    }

    fn bounds_with(&self, symbol_min: i64) -> Bounds {
        let sum = match &self.0 {
            Repr::Constant(number) => return (Some(*number), Some(*number)),
            Repr::Sum(sum) => sum,
        };
        let mut total: Bounds = (Some(sum.constant), Some(sum.constant));
        for (monomial, coefficient) in &sum.terms {
            let mut product: Bounds = (Some(*coefficient), Some(*coefficient));
            for (atom, power) in &monomial.0 {
                let bounds = atom.bounds_with(symbol_min);
                for _ in 0..*power {
                    product = times(product, bounds);
                }
            }
            total = (plus(total.0, product.0), plus(total.1, product.1));
            if total == (None, None) {
                break;
            }
        }
        total
    }

    /// Whether this can never be below zero.
    pub fn is_never_negative(&self) -> bool {
        self.bounds().0.is_some_and(|min| min >= 0)
    }

    /// Whether two can never be the same number.
    pub fn is_never(&self, other: &Self) -> bool {
        self.sub(other).is_some_and(|difference| match difference.bounds() {
            (Some(min), _) if min > 0 => true,
            (_, Some(max)) => max < 0,
            _ => false,
        })
    }
}

impl Atom {
    fn bounds_with(&self, symbol_min: i64) -> Bounds {
        match self {
            Self::Symbol(symbol) if symbol.min() < 0 => (known(symbol.min()), symbol.max()),
            Self::Symbol(symbol) => (Some(symbol.min().max(symbol_min)), symbol.max()),
            Self::FloorDiv(a, b) => floor_div(a.bounds_with(symbol_min), b.bounds_with(symbol_min)),
            Self::Mod(_, b) => match b.bounds_with(symbol_min) {
                (Some(min), max) if min >= 0 => (Some(0), max.map(|max| max - 1)),
                _ => (None, None),
            },
            Self::Min(all) => {
                let bounds: Vec<Bounds> = all.iter().map(|one| one.bounds_with(symbol_min)).collect();
                let least = bounds.iter().try_fold(i64::MAX, |least, (min, _)| Some(least.min((*min)?)));
                (least, bounds.iter().filter_map(|(_, max)| *max).min())
            }
            Self::Max(all) => {
                let bounds: Vec<Bounds> = all.iter().map(|one| one.bounds_with(symbol_min)).collect();
                let most = bounds.iter().try_fold(i64::MIN, |most, (_, max)| Some(most.max((*max)?)));
                (bounds.iter().filter_map(|(min, _)| *min).max(), most)
            }
        }
    }
}

fn known(number: i64) -> Option<i64> {
    (number != i64::MIN).then_some(number)
}

fn plus(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a?.checked_add(b?)
}

fn times(a: Bounds, b: Bounds) -> Bounds {
    // The common case first: a factor of one sign.
    match (a, b) {
        ((Some(0), Some(0)), _) | (_, (Some(0), Some(0))) => (Some(0), Some(0)),
        ((Some(a0), a1), (Some(b0), b1)) if a0 >= 0 && b0 >= 0 => {
            (a0.checked_mul(b0), a1.zip(b1).and_then(|(x, y)| x.checked_mul(y)))
        }
        ((a0, Some(a1)), (Some(b0), b1)) if a1 <= 0 && b0 >= 0 => {
            (a0.zip(b1).and_then(|(x, y)| x.checked_mul(y)), a1.checked_mul(b0))
        }
        ((Some(b0), b1), (a0, Some(a1))) if a1 <= 0 && b0 >= 0 => {
            (a0.zip(b1).and_then(|(x, y)| x.checked_mul(y)), a1.checked_mul(b0))
        }
        ((Some(a0), Some(a1)), (Some(b0), Some(b1))) => {
            let products = [a0.checked_mul(b0), a0.checked_mul(b1), a1.checked_mul(b0), a1.checked_mul(b1)];
            let all: Option<Vec<i64>> = products.into_iter().collect();
            all.map_or((None, None), |all| (all.iter().min().copied(), all.iter().max().copied()))
        }
        _ => (None, None),
    }
}

fn floor_div(a: Bounds, b: Bounds) -> Bounds {
    let (Some(low), high) = b else { return (None, None) };
    if low < 0 {
        return (None, None);
    }
    // A divisor of zero has no quotient to bound, so it counts as one.
    let low = low.max(1);
    let min = a.0.map(|a| if a >= 0 { high.map_or(0, |high| a / high.max(1)) } else { a.div_euclid(low) });
    let max =
        a.1.and_then(|a| if a >= 0 { Some(a / low) } else { high.map(|high| a.div_euclid(high.max(1))).or(Some(-1)) });
    (min, max)
}
