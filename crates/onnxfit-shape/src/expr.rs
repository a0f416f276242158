//! A whole number that may depend on named sizes.
//!
//! An [`Expr`] is kept as a sum of products, so that two ways of writing one size compare equal:
//! `(a+b)*2` and `2*b + 2*a` are the same value of the same type. Symbols stand for sizes: they
//! are never negative unless made with [`Expr::bounded_symbol`]. Arithmetic that leaves `i64`, or
//! that would make an expression too big to be of use, gives `None`.

mod bounds;
mod display;
mod divide;
mod extremum;
mod parse;
mod symbol;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use symbol::Symbol;

/// Terms of one sum; past this nobody reads the formula.
const N_TERMS_MAX: usize = 160;
/// Parts of one expression, nested ones included.
const SIZE_MAX: u32 = 1500;
/// Expressions inside one another.
const DEPTH_MAX: u32 = 48;

/// A whole number that may depend on named sizes; cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expr(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Constant(i64),
    Sum(Arc<Sum>),
}

/// `constant + Σ coefficient · monomial`; at least one term, none with coefficient zero.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Sum {
    terms: Vec<(Monomial, i64)>,
    constant: i64,
    size: u32,
    depth: u32,
}

/// A product of powers, sorted by atom; empty for the constant term.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct Monomial(Vec<(Atom, u32)>);

/// What cannot be taken apart into sums and products.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Atom {
    Symbol(Symbol),
    FloorDiv(Expr, Expr),
    Mod(Expr, Expr),
    Min(Arc<[Expr]>),
    Max(Arc<[Expr]>),
}

/// A sum under construction.
type Terms = BTreeMap<Monomial, i64>;

impl Expr {
    /// A number.
    pub const fn constant(number: i64) -> Self {
        Self(Repr::Constant(number))
    }

    /// A named size, zero or more.
    pub fn symbol(name: &str) -> Self {
        Self::from_symbol(Symbol::new(name, 0, None))
    }

    /// A named number of which more is known; one name must always come with the same bounds.
    pub fn bounded_symbol(name: &str, min: i64, max: Option<i64>) -> Self {
        Self::from_symbol(Symbol::new(name, min, max))
    }

    fn from_symbol(symbol: Symbol) -> Self {
        Self::from_atom(Atom::Symbol(symbol)).unwrap_or(Self::constant(0))
    }

    fn from_atom(atom: Atom) -> Option<Self> {
        Self::from_terms(Terms::from([(Monomial(vec![(atom, 1)]), 1)]))
    }

    /// The number, if this is one.
    pub fn as_constant(&self) -> Option<i64> {
        match &self.0 {
            Repr::Constant(number) => Some(*number),
            Repr::Sum(_) => None,
        }
    }

    /// The name, if this is a symbol and nothing else.
    pub fn as_symbol(&self) -> Option<&str> {
        match self.as_single_atom() {
            Some(Atom::Symbol(symbol)) => Some(symbol.name()),
            _ => None,
        }
    }

    /// Whether this is exactly `number`.
    pub fn is(&self, number: i64) -> bool {
        self.as_constant() == Some(number)
    }

    fn as_single_atom(&self) -> Option<&Atom> {
        match &self.0 {
            Repr::Sum(sum) if sum.constant == 0 && sum.terms.len() == 1 && sum.terms[0].1 == 1 => {
                match sum.terms[0].0.0.as_slice() {
                    [(atom, 1)] => Some(atom),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The sum of two.
    pub fn add(&self, other: &Self) -> Option<Self> {
        if let (Some(a), Some(b)) = (self.as_constant(), other.as_constant()) {
            return a.checked_add(b).map(Self::constant);
        }
        let mut terms = self.terms();
        for (monomial, coefficient) in other.terms() {
            add_term(&mut terms, monomial, coefficient)?;
        }
        Self::from_terms(terms)
    }

    /// The difference of two.
    pub fn sub(&self, other: &Self) -> Option<Self> {
        self.add(&other.neg()?)
    }

    /// The negative.
    pub fn neg(&self) -> Option<Self> {
        self.scale(-1)
    }

    /// The product of two.
    pub fn mul(&self, other: &Self) -> Option<Self> {
        match (self.as_constant(), other.as_constant()) {
            (Some(a), Some(b)) => return a.checked_mul(b).map(Self::constant),
            (Some(a), None) => return other.scale(a),
            (None, Some(b)) => return self.scale(b),
            (None, None) => {}
        }
        let (left, right) = (self.terms(), other.terms());
        if left.len() * right.len() > 4 * N_TERMS_MAX {
            return None;
        }
        let mut terms = Terms::new();
        for (a, m) in &left {
            for (b, n) in &right {
                add_term(&mut terms, a.times(b)?, m.checked_mul(*n)?)?;
            }
        }
        Self::from_terms(terms)
    }

    /// The product of all; 1 for none.
    pub fn product<'a>(factors: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        factors.into_iter().try_fold(Self::constant(1), |product, factor| product.mul(factor))
    }

    /// The sum of all; 0 for none.
    pub fn sum<'a>(terms: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        terms.into_iter().try_fold(Self::constant(0), |sum, term| sum.add(term))
    }

    /// This many more.
    pub fn plus(&self, number: i64) -> Option<Self> {
        self.add(&Self::constant(number))
    }

    /// This many times as much.
    pub fn scale(&self, factor: i64) -> Option<Self> {
        if let Some(number) = self.as_constant() {
            return number.checked_mul(factor).map(Self::constant);
        }
        let mut terms = self.terms();
        for coefficient in terms.values_mut() {
            *coefficient = coefficient.checked_mul(factor)?;
        }
        Self::from_terms(terms)
    }

    /// The value for given symbols; `None` if one is missing, a divisor is zero, or a number
    /// leaves `i64`.
    pub fn eval(&self, symbols: &BTreeMap<String, i64>) -> Option<i64> {
        let sum = match &self.0 {
            Repr::Constant(number) => return Some(*number),
            Repr::Sum(sum) => sum,
        };
        let mut total = sum.constant;
        for (monomial, coefficient) in &sum.terms {
            let mut product = *coefficient;
            for (atom, power) in &monomial.0 {
                let value = atom.eval(symbols)?;
                product = product.checked_mul(value.checked_pow(*power)?)?;
            }
            total = total.checked_add(product)?;
        }
        Some(total)
    }

    /// The expression with some symbols replaced; `None` if the result is no number.
    pub fn substitute(&self, replace: &dyn Fn(&str) -> Option<Self>) -> Option<Self> {
        let Repr::Sum(sum) = &self.0 else { return Some(self.clone()) };
        let mut total = Self::constant(sum.constant);
        for (monomial, coefficient) in &sum.terms {
            let mut product = Self::constant(*coefficient);
            for (atom, power) in &monomial.0 {
                let value = atom.substitute(replace)?;
                for _ in 0..*power {
                    product = product.mul(&value)?;
                }
            }
            total = total.add(&product)?;
        }
        Some(total)
    }

    /// The symbols in it, sorted, each once.
    pub fn symbols(&self) -> Vec<Symbol> {
        let mut found = std::collections::BTreeSet::new();
        self.collect_symbols(&mut found);
        found.into_iter().collect()
    }

    fn collect_symbols(&self, found: &mut std::collections::BTreeSet<Symbol>) {
        let Repr::Sum(sum) = &self.0 else { return };
        for (atom, _) in sum.terms.iter().flat_map(|(monomial, _)| &monomial.0) {
            match atom {
                Atom::Symbol(symbol) => {
                    found.insert(symbol.clone());
                }
                _ => atom.operands().iter().for_each(|operand| operand.collect_symbols(found)),
            }
        }
    }

    /// For `constant + factor·symbol`: the three parts.
    pub(crate) fn as_linear(&self) -> Option<(i64, i64, &str)> {
        match &self.0 {
            Repr::Sum(sum) => match sum.terms.as_slice() {
                [(Monomial(factors), coefficient)] => match factors.as_slice() {
                    [(Atom::Symbol(symbol), 1)] => Some((sum.constant, *coefficient, symbol.name())),
                    _ => None,
                },
                _ => None,
            },
            Repr::Constant(_) => None,
        }
    }

    fn terms(&self) -> Terms {
        match &self.0 {
            Repr::Constant(0) => Terms::new(),
            Repr::Constant(number) => Terms::from([(Monomial::default(), *number)]),
            Repr::Sum(sum) => {
                let mut terms: Terms = sum.terms.iter().cloned().collect();
                if sum.constant != 0 {
                    terms.insert(Monomial::default(), sum.constant);
                }
                terms
            }
        }
    }

    fn from_terms(mut terms: Terms) -> Option<Self> {
        let constant = terms.remove(&Monomial::default()).unwrap_or(0);
        terms.retain(|_, coefficient| *coefficient != 0);
        if terms.is_empty() {
            return Some(Self::constant(constant));
        }
        let atoms = || terms.keys().flat_map(|monomial| monomial.0.iter().map(|(atom, _)| atom));
        let size = atoms().map(Atom::size).sum::<u32>() + terms.len() as u32;
        let depth = atoms().map(Atom::depth).max().unwrap_or(0) + 1;
        if terms.len() > N_TERMS_MAX || size > SIZE_MAX || depth > DEPTH_MAX {
            return None;
        }
        Some(Self(Repr::Sum(Arc::new(Sum { terms: terms.into_iter().collect(), constant, size, depth }))))
    }
}

fn add_term(terms: &mut Terms, monomial: Monomial, coefficient: i64) -> Option<()> {
    let sum = terms.entry(monomial).or_insert(0);
    *sum = sum.checked_add(coefficient)?;
    Some(())
}

impl From<i64> for Expr {
    fn from(number: i64) -> Self {
        Self::constant(number)
    }
}

impl Monomial {
    fn times(&self, other: &Self) -> Option<Self> {
        let mut powers: BTreeMap<Atom, u32> = self.0.iter().cloned().collect();
        for (atom, power) in &other.0 {
            let sum = powers.entry(atom.clone()).or_insert(0);
            *sum = sum.checked_add(*power).filter(|power| *power <= 16)?;
        }
        Some(Self(powers.into_iter().collect()))
    }
}

/// Lexicographic by power of the first atom on which they differ: an order that products keep,
/// which long division needs.
impl Ord for Monomial {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (mut left, mut right) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            match (left.peek(), right.peek()) {
                (None, None) => return std::cmp::Ordering::Equal,
                (Some(_), None) => return std::cmp::Ordering::Greater,
                (None, Some(_)) => return std::cmp::Ordering::Less,
                (Some((a, m)), Some((b, n))) => match a.cmp(b) {
                    std::cmp::Ordering::Less => return std::cmp::Ordering::Greater,
                    std::cmp::Ordering::Greater => return std::cmp::Ordering::Less,
                    std::cmp::Ordering::Equal if m != n => return m.cmp(n),
                    std::cmp::Ordering::Equal => {}
                },
            }
            left.next();
            right.next();
        }
    }
}

impl PartialOrd for Monomial {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Atom {
    fn operands(&self) -> Vec<&Expr> {
        match self {
            Self::Symbol(_) => Vec::new(),
            Self::FloorDiv(a, b) | Self::Mod(a, b) => vec![a, b],
            Self::Min(all) | Self::Max(all) => all.iter().collect(),
        }
    }

    fn size(&self) -> u32 {
        1 + self.operands().iter().map(|operand| operand.size()).sum::<u32>()
    }

    fn depth(&self) -> u32 {
        self.operands().iter().map(|operand| operand.depth()).max().unwrap_or(0)
    }

    fn substitute(&self, replace: &dyn Fn(&str) -> Option<Expr>) -> Option<Expr> {
        match self {
            Self::Symbol(symbol) => Some(replace(symbol.name()).unwrap_or_else(|| Expr::from_symbol(symbol.clone()))),
            Self::FloorDiv(a, b) => a.substitute(replace)?.floor_div(&b.substitute(replace)?),
            Self::Mod(a, b) => a.substitute(replace)?.modulo(&b.substitute(replace)?),
            Self::Min(all) | Self::Max(all) => {
                let (first, rest) = all.split_first()?;
                rest.iter().try_fold(first.substitute(replace)?, |so_far, one| {
                    let one = one.substitute(replace)?;
                    if matches!(self, Self::Min(_)) { so_far.smaller(&one) } else { so_far.larger(&one) }
                })
            }
        }
    }

    fn eval(&self, symbols: &BTreeMap<String, i64>) -> Option<i64> {
        match self {
            Self::Symbol(symbol) => symbols.get(symbol.name()).copied(),
            Self::FloorDiv(a, b) => divide::floor(a.eval(symbols)?, b.eval(symbols)?),
            Self::Mod(a, b) => divide::modulo(a.eval(symbols)?, b.eval(symbols)?),
            Self::Min(all) => all.iter().map(|one| one.eval(symbols)).try_fold(i64::MAX, |m, v| Some(m.min(v?))),
            Self::Max(all) => all.iter().map(|one| one.eval(symbols)).try_fold(i64::MIN, |m, v| Some(m.max(v?))),
        }
    }
}

impl Expr {
    fn size(&self) -> u32 {
        match &self.0 {
            Repr::Constant(_) => 1,
            Repr::Sum(sum) => sum.size,
        }
    }

    fn depth(&self) -> u32 {
        match &self.0 {
            Repr::Constant(_) => 0,
            Repr::Sum(sum) => sum.depth,
        }
    }
}

#[cfg(test)]
mod tests;
