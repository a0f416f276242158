//! Expressions that exporters write into dimension names: `past_sequence_length + 1`.

use std::iter::Peekable;
use std::str::Chars;

use super::Expr;

/// Brackets inside brackets; a dimension name with more is noise.
const NESTING_MAX: usize = 32;

impl Expr {
    /// Reads `+ - * / // %`, brackets, and `floor ceil min max mod` over numbers and names; `None`
    /// if the text is anything else. A plain name is a symbol.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { rest: text.chars().peekable(), n_open: 0 };
        let expr = parser.sum()?;
        parser.skip_space();
        parser.rest.next().is_none().then_some(expr)
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    n_open: usize,
}

impl Parser<'_> {
    fn sum(&mut self) -> Option<Expr> {
        let mut left = self.product()?;
        loop {
            if self.eat('+') {
                left = left.add(&self.product()?)?;
            } else if self.eat('-') {
                left = left.sub(&self.product()?)?;
            } else {
                return Some(left);
            }
        }
    }

    fn product(&mut self) -> Option<Expr> {
        let mut left = self.factor()?;
        loop {
            if self.eat('*') {
                left = left.mul(&self.factor()?)?;
            } else if self.eat('/') {
                self.eat('/');
                left = left.floor_div(&self.factor()?)?;
            } else if self.eat('%') {
                left = left.modulo(&self.factor()?)?;
            } else {
                return Some(left);
            }
        }
    }

    fn factor(&mut self) -> Option<Expr> {
        self.n_open += 1;
        if self.n_open > NESTING_MAX {
            return None;
        }
        let factor = self.factor_inner();
        self.n_open -= 1;
        factor
    }

    fn factor_inner(&mut self) -> Option<Expr> {
        if self.eat('-') {
            return self.factor()?.neg();
        }
        if self.eat('(') {
            let inner = self.sum()?;
            return self.eat(')').then_some(inner);
        }
        let word = self.word();
        let first = word.chars().next()?;
        if first.is_ascii_digit() {
            return word.parse().ok().map(Expr::constant);
        }
        if !self.eat('(') {
            return Some(Expr::symbol(&word));
        }
        let mut operands = vec![self.sum()?];
        while self.eat(',') {
            operands.push(self.sum()?);
        }
        if !self.eat(')') {
            return None;
        }
        match (word.to_ascii_lowercase().as_str(), operands.as_slice()) {
            ("floor" | "int", [one]) => Some(one.clone()),
            ("floordiv", [a, b]) => a.floor_div(b),
            ("ceildiv", [a, b]) => a.ceil_div(b),
            ("mod", [a, b]) => a.modulo(b),
            ("min", [first, rest @ ..]) => rest.iter().try_fold(first.clone(), |least, one| least.smaller(one)),
            ("max", [first, rest @ ..]) => rest.iter().try_fold(first.clone(), |most, one| most.larger(one)),
            _ => None,
        }
    }

    fn word(&mut self) -> String {
        self.skip_space();
        let mut word = String::new();
        while let Some(next) = self.rest.next_if(|next| next.is_alphanumeric() || matches!(next, '_' | '.' | ':' | '$'))
        {
            word.push(next);
        }
        word
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.skip_space();
        self.rest.next_if_eq(&wanted).is_some()
    }

    fn skip_space(&mut self) {
        while self.rest.next_if(|next| next.is_whitespace()).is_some() {}
    }
}
