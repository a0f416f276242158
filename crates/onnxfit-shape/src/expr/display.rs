//! An expression as people write it: `batch*16`, `floor((height+1)/2) - 3`.

use std::fmt;

use super::{Atom, Expr, Monomial, Repr};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = match &self.0 {
            Repr::Constant(number) => return write!(f, "{number}"),
            Repr::Sum(sum) => sum,
        };
        // Leading terms first, a negative one never first if it can be helped.
        let mut terms: Vec<&(Monomial, i64)> = sum.terms.iter().rev().collect();
        terms.sort_by_key(|(_, coefficient)| *coefficient < 0);
        for (index, (monomial, coefficient)) in terms.into_iter().enumerate() {
            match (index, *coefficient < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            write_product(f, monomial, coefficient.unsigned_abs())?;
        }
        match sum.constant {
            0 => Ok(()),
            constant if constant < 0 => write!(f, " - {}", constant.unsigned_abs()),
            constant => write!(f, " + {constant}"),
        }
    }
}

fn write_product(f: &mut fmt::Formatter<'_>, monomial: &Monomial, coefficient: u64) -> fmt::Result {
    for (index, (atom, power)) in monomial.0.iter().enumerate() {
        if index > 0 {
            f.write_str("*")?;
        }
        write!(f, "{atom}")?;
        for _ in 1..*power {
            write!(f, "*{atom}")?;
        }
    }
    if coefficient != 1 {
        write!(f, "*{coefficient}")?;
    }
    Ok(())
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symbol(symbol) => f.write_str(symbol.name()),
            Self::FloorDiv(a, b) => write!(f, "floor({}/{})", Operand(a), Operand(b)),
            Self::Mod(a, b) => write!(f, "mod({a}, {b})"),
            Self::Min(all) => write_call(f, "min", all),
            Self::Max(all) => write_call(f, "max", all),
        }
    }
}

fn write_call(f: &mut fmt::Formatter<'_>, name: &str, operands: &[Expr]) -> fmt::Result {
    write!(f, "{name}(")?;
    for (index, operand) in operands.iter().enumerate() {
        write!(f, "{}{operand}", if index == 0 { "" } else { ", " })?;
    }
    f.write_str(")")
}

/// An operand of a division: bracketed unless it is one number or name.
struct Operand<'a>(&'a Expr);

impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_single_atom().is_some() || self.0.as_constant().is_some_and(|number| number >= 0) {
            write!(f, "{}", self.0)
        } else {
            write!(f, "({})", self.0)
        }
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
