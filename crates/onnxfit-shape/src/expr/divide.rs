//! Division of expressions, rounded down.

use super::{Atom, Expr, Monomial, Repr, Terms, add_term};

/// `a / b` rounded down; `None` for a zero divisor.
pub(super) fn floor(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    let remainder = a.checked_rem(b)?;
    Some(if remainder != 0 && (remainder < 0) != (b < 0) { quotient - 1 } else { quotient })
}

/// What is left of `a` after division rounded down; it has the divisor's sign.
pub(super) fn modulo(a: i64, b: i64) -> Option<i64> {
    let remainder = a.checked_rem(b)?;
    Some(if remainder != 0 && (remainder < 0) != (b < 0) { remainder + b } else { remainder })
}

impl Expr {
    /// The quotient rounded down. A divisor with symbols counts as positive.
    pub fn floor_div(&self, divisor: &Self) -> Option<Self> {
        match (self.as_constant(), divisor.as_constant()) {
            (_, Some(0)) => return None,
            (_, Some(1)) => return Some(self.clone()),
            (Some(a), Some(b)) => return floor(a, b).map(Self::constant),
            (_, Some(b)) if b < 0 => return self.neg()?.floor_div(&Self::constant(b.checked_neg()?)),
            (_, Some(b)) => return self.floor_div_constant(b),
            (Some(0), None) => return Some(Self::constant(0)),
            (_, None) => {}
        }
        if let Some(quotient) = self.exact_div(divisor) {
            return Some(quotient);
        }
        let (numerator, divisor) = cancel(self, divisor)?;
        if divisor.as_constant().is_some() {
            return numerator.floor_div(&divisor);
        }
        Self::from_atom(Atom::FloorDiv(numerator, divisor))
    }

    /// The quotient rounded up.
    pub fn ceil_div(&self, divisor: &Self) -> Option<Self> {
        match self.exact_div(divisor) {
            Some(quotient) => Some(quotient),
            None => self.add(divisor)?.plus(-1)?.floor_div(divisor),
        }
    }

    /// What is left after [`Self::floor_div`].
    pub fn modulo(&self, divisor: &Self) -> Option<Self> {
        match (self.as_constant(), divisor.as_constant()) {
            (_, Some(0)) => return None,
            (Some(a), Some(b)) => return modulo(a, b).map(Self::constant),
            _ => {}
        }
        if self.exact_div(divisor).is_some() {
            return Some(Self::constant(0));
        }
        let Some(modulus) = divisor.as_constant() else {
            return Self::from_atom(Atom::Mod(self.clone(), divisor.clone()));
        };
        let mut terms = self.terms();
        for coefficient in terms.values_mut() {
            *coefficient = modulo(*coefficient, modulus)?;
        }
        let rest = Self::from_terms(terms)?;
        match (rest.as_constant(), rest.bounds()) {
            (Some(number), _) => modulo(number, modulus).map(Self::constant),
            (_, (Some(min), Some(max))) if min >= 0 && max < modulus => Some(rest),
            _ => Self::from_atom(Atom::Mod(rest, divisor.clone())),
        }
    }

    /// The quotient, if it has no remainder whatever the symbols are.
    pub fn exact_div(&self, divisor: &Self) -> Option<Self> {
        if divisor.is(1) {
            return Some(self.clone());
        }
        let divisor = divisor.terms();
        let (lead, lead_coefficient) = divisor.iter().next_back()?;
        let mut rest = self.terms();
        let mut quotient = Terms::new();
        // Each step removes the leading term, and the order only goes down; the bound is for
        // quotients that nobody would read.
        for _ in 0..2 * super::N_TERMS_MAX {
            let Some((monomial, coefficient)) = rest.iter().next_back() else {
                return Self::from_terms(quotient);
            };
            let factor = monomial.over(lead)?;
            if coefficient.checked_rem(*lead_coefficient)? != 0 {
                return None;
            }
            let times = coefficient.checked_div(*lead_coefficient)?;
            for (monomial, coefficient) in &divisor {
                add_term(&mut rest, monomial.times(&factor)?, coefficient.checked_mul(times)?.checked_neg()?)?;
            }
            rest.retain(|_, coefficient| *coefficient != 0);
            add_term(&mut quotient, factor, times)?;
        }
        None
    }

    /// Takes whole multiples out, so that each quotient has one form: ⌊(3h-1)/2⌋ is
    /// h-1+⌊(h+1)/2⌋.
    fn floor_div_constant(&self, divisor: i64) -> Option<Self> {
        let Repr::Sum(sum) = &self.0 else { return None };
        if sum.terms.last().is_some_and(|(_, coefficient)| *coefficient < 0) {
            // ⌊-x/d⌋ = -⌊(x+d-1)/d⌋
            return self.neg()?.plus(divisor - 1)?.floor_div_constant(divisor)?.neg();
        }
        let (mut whole, mut rest) = (Terms::new(), Terms::new());
        for (monomial, coefficient) in self.terms() {
            whole.insert(monomial.clone(), floor(coefficient, divisor)?);
            rest.insert(monomial, modulo(coefficient, divisor)?);
        }
        let whole = Self::from_terms(whole)?;
        let rest = Self::from_terms(rest)?;
        whole.add(&rest.small_floor_div(divisor)?)
    }

    /// The quotient of a sum whose coefficients are all smaller than the divisor.
    fn small_floor_div(&self, divisor: i64) -> Option<Self> {
        let sum = match &self.0 {
            Repr::Constant(number) => return floor(*number, divisor).map(Self::constant),
            Repr::Sum(sum) => sum,
        };
        if let (Some(min), Some(max)) = self.bounds()
            && min >= 0
            && max < divisor
        {
            return Some(Self::constant(0));
        }
        let common = sum.terms.iter().fold(divisor, |common, (_, coefficient)| gcd(common, *coefficient));
        if common > 1 {
            let mut terms: Terms = sum.terms.iter().map(|(m, coefficient)| (m.clone(), coefficient / common)).collect();
            terms.insert(Monomial::default(), floor(sum.constant, common)?);
            return Self::from_terms(terms)?.floor_div(&Self::constant(divisor / common));
        }
        // ⌊(⌊x/c⌋+r)/d⌋ = ⌊(x+rc)/(cd)⌋
        if let [(Monomial(factors), 1)] = sum.terms.as_slice()
            && let [(Atom::FloorDiv(inner, by), 1)] = factors.as_slice()
            && let Some(by) = by.as_constant()
        {
            let numerator = inner.plus(sum.constant.checked_mul(by)?)?;
            return numerator.floor_div(&Self::constant(by.checked_mul(divisor)?));
        }
        Self::from_atom(Atom::FloorDiv(self.clone(), Self::constant(divisor)))
    }
}

impl Monomial {
    fn over(&self, divisor: &Self) -> Option<Self> {
        let mut rest = Vec::with_capacity(self.0.len());
        let mut n_found = 0;
        for (atom, power) in &self.0 {
            match divisor.0.iter().find(|(other, _)| other == atom) {
                Some((_, less)) => {
                    n_found += 1;
                    let power = power.checked_sub(*less)?;
                    if power > 0 {
                        rest.push((atom.clone(), power));
                    }
                }
                None => rest.push((atom.clone(), *power)),
            }
        }
        (n_found == divisor.0.len()).then_some(Self(rest))
    }

    fn common(&self, other: &Self) -> Self {
        let shared = self.0.iter().filter_map(|(atom, power)| {
            let (_, also) = other.0.iter().find(|(candidate, _)| candidate == atom)?;
            Some((atom.clone(), *power.min(also)))
        });
        Self(shared.collect())
    }
}

/// Takes the largest common factor of all terms out of both.
fn cancel(numerator: &Expr, divisor: &Expr) -> Option<(Expr, Expr)> {
    let (above, below) = (numerator.terms(), divisor.terms());
    let mut common: Option<Monomial> = None;
    let mut number = 0i64;
    for (monomial, coefficient) in above.iter().chain(&below) {
        common = Some(common.map_or_else(|| monomial.clone(), |common| common.common(monomial)));
        number = gcd(number, *coefficient);
    }
    let (common, number) = (common?, number.max(1));
    let reduce = |terms: &Terms| -> Option<Expr> {
        let reduced: Option<Terms> =
            terms.iter().map(|(monomial, coefficient)| Some((monomial.over(&common)?, coefficient / number))).collect();
        Expr::from_terms(reduced?)
    };
    Some((reduce(&above)?, reduce(&below)?))
}

pub(super) fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or(1)
}
