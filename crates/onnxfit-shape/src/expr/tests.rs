use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Expr;

fn expr(text: &str) -> Expr {
    Expr::parse(text).unwrap()
}

fn shown(text: &str) -> String {
    expr(text).to_string()
}

#[test]
fn one_size_has_one_form() {
    for (a, b) in [
        ("(a+b)*2", "2*b + a*2"),
        ("(batch*seq*768)/(batch*seq*12)", "64"),
        ("(a+b)*(c+1)/(c+1)", "a+b"),
        ("((h-1)/2+1-1)/2+1", "(h-1)/4+1"),
        ("max(a+b, a)", "a+b"),
        ("max(a, min(7, a))", "a"),
        ("max(min(7, a), a)", "a"),
        ("min(a, max(7, a))", "a"),
        ("min(p+s, s)", "s"),
        ("-(-h//2)", "(h+1)/2"),
        ("(6*h)/4", "h + h/2"),
        ("(a*4) % 2", "0"),
        ("max(3, min(1, 2))", "3"),
    ] {
        assert_eq!(expr(a), expr(b), "{a} = {b}");
    }
}

#[test]
fn reads_well() {
    assert_eq!(shown("16*batch"), "batch*16");
    assert_eq!(shown("(height-7)/2+1"), "floor((height + 1)/2) - 3");
    assert_eq!(shown("past + seq - 3"), "past + seq - 3");
    assert_eq!(shown("a*(b+1)"), "a*b + a");
    assert_eq!(shown("max(0, n-1)"), "max(0, n - 1)");
}

#[test]
fn noise_is_no_expression() {
    for text in ["", "a b", "?", "1x", "f(x)", "a +", "(((("] {
        assert_eq!(Expr::parse(text), None, "{text}");
    }
}

#[test]
fn does_not_grow_without_end() {
    let mut grown = Expr::symbol("a");
    let mut n_steps = 0;
    while let Some(next) = grown.plus(1).and_then(|next| next.mul(&Expr::symbol(&format!("s{n_steps}")))) {
        grown = next;
        n_steps += 1;
        assert!(n_steps < 1000);
    }
    assert_eq!(Expr::constant(i64::MAX).plus(1), None);
    assert_eq!(Expr::symbol("a").scale(i64::MAX).and_then(|a| a.scale(2)), None);
}

/// Random expressions beside a plain evaluator of the same operations.
fn operation() -> impl Strategy<Value = (u8, usize, usize)> {
    (0u8..7, 0usize..64, 0usize..64)
}

proptest! {
    #[test]
    fn normal_forms_keep_the_value(steps in prop::collection::vec(operation(), 1..12), a in 1i64..40, b in 1i64..40) {
        let mut built = vec![
            (Expr::symbol("a"), a), (Expr::symbol("b"), b), (Expr::constant(2), 2), (Expr::constant(3), 3), (Expr::constant(-1), -1),
        ];
        for (kind, x, y) in steps {
            let (x, y) = (built[x % built.len()].clone(), built[y % built.len()].clone());
            let next = match kind {
                0 => (x.0.add(&y.0), x.1.checked_add(y.1)),
                1 => (x.0.sub(&y.0), x.1.checked_sub(y.1)),
                2 => (x.0.mul(&y.0), x.1.checked_mul(y.1)),
                3 if y.1 > 0 => (x.0.floor_div(&y.0), Some(x.1.div_euclid(y.1))),
                4 if y.1 > 0 => (x.0.modulo(&y.0), Some(x.1.rem_euclid(y.1))),
                5 => (x.0.smaller(&y.0), Some(x.1.min(y.1))),
                _ => (x.0.larger(&y.0), Some(x.1.max(y.1))),
            };
            if let (Some(expr), Some(value)) = next
                && value.abs() < 1 << 20
            {
                built.push((expr, value));
            }
        }
        let symbols = BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        for (expr, value) in built {
            if let Some(evaluated) = expr.eval(&symbols) {
                prop_assert_eq!(evaluated, value, "{}", expr);
                let (min, max) = expr.bounds();
                prop_assert!(min.is_none_or(|min| min <= value) && max.is_none_or(|max| max >= value), "{}", expr);
            }
        }
    }
}
