//! The smaller and the larger of expressions.

use super::{Atom, Expr};

/// Extremes inside extremes that are looked into; deeper ones are compared by their bounds alone.
const NESTING_MAX: u8 = 2;

impl Expr {
    /// The smaller of two.
    pub fn smaller(&self, other: &Self) -> Option<Self> {
        Self::extremum(self, other, true)
    }

    /// The larger of two.
    pub fn larger(&self, other: &Self) -> Option<Self> {
        Self::extremum(self, other, false)
    }

    fn extremum(a: &Self, b: &Self, least: bool) -> Option<Self> {
        let mut kept: Vec<Self> = Vec::new();
        for candidate in a.parts(least).into_iter().chain(b.parts(least)) {
            let mut is_beaten = false;
            kept.retain(|one| {
                if is_beaten {
                    return true;
                }
                let is_at_most = is_at_most(one, &candidate, NESTING_MAX)
                    // Equal parts answer one way only, so a part of the other decides from its side.
                    .or_else(|| is_at_most(&candidate, one, NESTING_MAX).map(|is_at_most| !is_at_most));
                match is_at_most {
                    // `one` ≤ `candidate`: the minimum keeps `one`, the maximum the candidate.
                    Some(true) if least => {
                        is_beaten = true;
                        true
                    }
                    Some(true) => false,
                    Some(false) if least => false,
                    Some(false) => {
                        is_beaten = true;
                        true
                    }
                    None => true,
                }
            });
            if !is_beaten {
                kept.push(candidate);
            }
        }
        if kept.len() > 16 {
            return None;
        }
        kept.sort();
        match kept.as_slice() {
            [one] => Some(one.clone()),
            _ if least => Self::from_atom(Atom::Min(kept.into())),
            _ => Self::from_atom(Atom::Max(kept.into())),
        }
    }

    fn parts(&self, least: bool) -> Vec<Self> {
        match self.as_single_atom() {
            Some(Atom::Min(all)) if least => all.to_vec(),
            Some(Atom::Max(all)) if !least => all.to_vec(),
            _ => vec![self.clone()],
        }
    }
}

/// Whether `a ≤ b` always (true), `a ≥ b` always (false), or neither can be said.
fn is_at_most(a: &Expr, b: &Expr, nesting: u8) -> Option<bool> {
    let verdict = |left: &Expr, right: &Expr| is_at_most(left, right, nesting.checked_sub(1)?);
    // A maximum is at most what all its parts are, a minimum at least what all its parts are.
    match (a.as_single_atom(), b.as_single_atom()) {
        (Some(Atom::Max(all)), _) if all.iter().all(|one| verdict(one, b) == Some(true)) => return Some(true),
        (Some(Atom::Max(all)), _) if all.iter().any(|one| verdict(one, b) == Some(false)) => return Some(false),
        (Some(Atom::Min(all)), _) if all.iter().any(|one| verdict(one, b) == Some(true)) => return Some(true),
        (Some(Atom::Min(all)), _) if all.iter().all(|one| verdict(one, b) == Some(false)) => return Some(false),
        (_, Some(Atom::Max(all))) if all.iter().any(|one| verdict(a, one) == Some(true)) => return Some(true),
        (_, Some(Atom::Min(all))) if all.iter().any(|one| verdict(a, one) == Some(false)) => return Some(false),
        _ => {}
    }
    match a.sub(b)?.bounds() {
        (_, Some(max)) if max <= 0 => Some(true),
        (Some(min), _) if min >= 0 => Some(false),
        _ => None,
    }
}
