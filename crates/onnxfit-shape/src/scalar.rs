//! One element of a small tensor whose content matters for shapes.
//!
//! Detection models compute sizes in floating point (cast, multiply by a scale, floor, cast
//! back), so numbers are computed as the runtime would, rounded to the element type after each
//! step; sizes that are still symbols are kept as exact fractions.

use std::cmp::Ordering;

use onnxfit_onnx::DataType;

use crate::expr::Expr;

/// A known element. Truth values are the integers 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// A whole number.
    Int(Expr),
    /// A floating-point number.
    Float(f64),
    /// A floating-point number that is this expression over this divisor, which is positive.
    Ratio(Expr, i64),
}

/// A binary operation on numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    /// The remainder with the divisor's sign.
    Mod,
    /// The remainder with the dividend's sign.
    Fmod,
    Pow,
    BitAnd,
    BitOr,
    BitXor,
}

/// How floating-point numbers become whole ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Down,
    Up,
    HalfToEven,
    TowardZero,
}

impl Scalar {
    /// A whole number.
    pub(crate) const fn int(number: i64) -> Self {
        Self::Int(Expr::constant(number))
    }

    /// A truth value.
    pub(crate) const fn truth(is_true: bool) -> Self {
        Self::int(is_true as i64)
    }

    /// The whole number, if it is one and known.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(expr) => expr.as_constant(),
            _ => None,
        }
    }

    /// The number, if it is known.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Int(expr) => expr.as_constant().map(|number| number as f64),
            Self::Float(number) => Some(*number),
            Self::Ratio(..) => None,
        }
    }

    /// The expression, for a whole number.
    pub fn as_expr(&self) -> Option<&Expr> {
        match self {
            Self::Int(expr) => Some(expr),
            _ => None,
        }
    }

    /// Whether it counts as true; `None` if that depends.
    pub(crate) fn is_true(&self) -> Option<bool> {
        match self {
            Self::Int(expr) => match expr.as_constant() {
                Some(number) => Some(number != 0),
                None => expr.is_never(&Expr::constant(0)).then_some(true),
            },
            Self::Float(number) => Some(*number != 0.0),
            Self::Ratio(expr, _) => expr.is_never(&Expr::constant(0)).then_some(true),
        }
    }

    /// `self` as an element of another type.
    pub(crate) fn cast(&self, to: DataType) -> Option<Self> {
        if to.is_float() {
            return match self {
                Self::Int(expr) => match expr.as_constant() {
                    Some(number) => rounded(number as f64, to).map(Self::Float),
                    None => Some(Self::Ratio(expr.clone(), 1)),
                },
                Self::Float(number) => rounded(*number, to).map(Self::Float),
                Self::Ratio(..) => Some(self.clone()),
            };
        }
        match to {
            DataType::Bool => self.is_true().map(Self::truth),
            DataType::String => None,
            _ => self.round(Rounding::TowardZero)?.fit(to),
        }
    }

    /// A whole number, wrapped to its type if it is known.
    fn fit(self, to: DataType) -> Option<Self> {
        let Some(number) = self.as_int() else { return Some(self) };
        let wrapped = match to {
            DataType::Int64 => number,
            DataType::Uint64 if number >= 0 => number,
            DataType::Int32 => i64::from(number as i32),
            DataType::Uint32 => i64::from(number as u32),
            DataType::Int16 => i64::from(number as i16),
            DataType::Uint16 => i64::from(number as u16),
            DataType::Int8 => i64::from(number as i8),
            DataType::Uint8 => i64::from(number as u8),
            _ => return None,
        };
        Some(Self::int(wrapped))
    }

    /// The whole number next to this one, as a whole number.
    fn round(&self, rounding: Rounding) -> Option<Self> {
        match self {
            Self::Int(_) => Some(self.clone()),
            Self::Float(number) => {
                let whole = match rounding {
                    Rounding::Down => number.floor(),
                    Rounding::Up => number.ceil(),
                    Rounding::HalfToEven => number.round_ties_even(),
                    Rounding::TowardZero => number.trunc(),
                };
                (whole.abs() < 9.0e18).then_some(Self::int(whole as i64))
            }
            Self::Ratio(expr, 1) => Some(Self::Int(expr.clone())),
            Self::Ratio(expr, divisor) => {
                let divisor = Expr::constant(*divisor);
                match rounding {
                    // Sizes are positive, where toward zero is down.
                    Rounding::Down | Rounding::TowardZero => expr.floor_div(&divisor).map(Self::Int),
                    Rounding::Up => expr.ceil_div(&divisor).map(Self::Int),
                    Rounding::HalfToEven => None,
                }
            }
        }
    }

    /// The whole number next to this one, of the same type.
    pub(crate) fn rounded(&self, rounding: Rounding) -> Option<Self> {
        match (self, self.round(rounding)?) {
            (Self::Int(_), whole) => Some(whole),
            (_, Self::Int(expr)) => Some(match expr.as_constant() {
                Some(number) => Self::Float(number as f64),
                None => Self::Ratio(expr, 1),
            }),
            _ => None,
        }
    }

    /// A function of one floating-point number; known numbers only.
    pub(crate) fn map_float(&self, element_type: DataType, function: fn(f64) -> f64) -> Option<Self> {
        match self {
            Self::Float(number) => rounded(function(*number), element_type).map(Self::Float),
            _ => None,
        }
    }

    /// The negative.
    pub(crate) fn neg(&self) -> Option<Self> {
        Some(match self {
            Self::Int(expr) => Self::Int(expr.neg()?),
            Self::Float(number) => Self::Float(-number),
            Self::Ratio(expr, divisor) => Self::Ratio(expr.neg()?, *divisor),
        })
    }

    /// The distance from zero.
    pub(crate) fn abs(&self) -> Option<Self> {
        match self {
            Self::Int(expr) => expr.larger(&expr.neg()?).map(Self::Int),
            Self::Float(number) => Some(Self::Float(number.abs())),
            Self::Ratio(expr, divisor) => Some(Self::Ratio(expr.larger(&expr.neg()?)?, *divisor)),
        }
    }

    /// How two compare, if that is sure.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        if let (Some(a), Some(b)) = (self.as_float(), other.as_float()) {
            if let (Some(a), Some(b)) = (self.as_int(), other.as_int()) {
                return Some(a.cmp(&b));
            }
            return a.partial_cmp(&b);
        }
        let ((a, m), (b, n)) = (self.as_ratio()?, other.as_ratio()?);
        let difference = a.scale(n)?.sub(&b.scale(m)?)?;
        match difference.bounds() {
            (Some(0), Some(0)) => Some(Ordering::Equal),
            (Some(min), _) if min > 0 => Some(Ordering::Greater),
            (_, Some(max)) if max < 0 => Some(Ordering::Less),
            _ => None,
        }
    }

    /// Whether two are never equal, or always; `None` if it depends.
    pub(crate) fn equals(&self, other: &Self) -> Option<bool> {
        self.compare(other).map(Ordering::is_eq)
    }

    /// An exact fraction, where there is one.
    fn as_ratio(&self) -> Option<(Expr, i64)> {
        match self {
            Self::Int(expr) => Some((expr.clone(), 1)),
            Self::Ratio(expr, divisor) => Some((expr.clone(), *divisor)),
            Self::Float(number) => {
                // Exact for the halves, quarters... that scales are made of.
                let divisor = (0..=20).map(|shift| 1i64 << shift).find(|d| (number * *d as f64).fract() == 0.0)?;
                let numerator = number * divisor as f64;
                (numerator.abs() < 1e15).then_some((Expr::constant(numerator as i64), divisor))
            }
        }
    }

    /// `self op other` as the runtime computes it for this element type.
    pub(crate) fn arithmetic(&self, operation: Arithmetic, other: &Self, element_type: DataType) -> Option<Self> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => int_arithmetic(operation, a, b).map(Self::Int)?.fit(element_type),
            (Self::Float(a), Self::Float(b)) => {
                rounded(float_arithmetic(operation, *a, *b)?, element_type).map(Self::Float)
            }
            _ => self.ratio_arithmetic(operation, other),
        }
    }

    fn ratio_arithmetic(&self, operation: Arithmetic, other: &Self) -> Option<Self> {
        let ((a, m), (b, n)) = (self.as_ratio()?, other.as_ratio()?);
        let (numerator, divisor) = match operation {
            Arithmetic::Add => (a.scale(n)?.add(&b.scale(m)?)?, m.checked_mul(n)?),
            Arithmetic::Sub => (a.scale(n)?.sub(&b.scale(m)?)?, m.checked_mul(n)?),
            Arithmetic::Mul => (a.mul(&b)?, m.checked_mul(n)?),
            Arithmetic::Min => (a.scale(n)?.smaller(&b.scale(m)?)?, m.checked_mul(n)?),
            Arithmetic::Max => (a.scale(n)?.larger(&b.scale(m)?)?, m.checked_mul(n)?),
            Arithmetic::Div => match b.as_constant() {
                Some(b) if b > 0 => (a.scale(n)?, m.checked_mul(b)?),
                Some(_) => return None,
                None => (a.scale(n)?.exact_div(&b)?, m),
            },
            _ => return None,
        };
        let expr = numerator.exact_div(&Expr::constant(divisor));
        Some(match (expr, numerator.as_constant()) {
            (_, Some(number)) => Self::Float(number as f64 / divisor as f64),
            (Some(expr), _) => Self::Ratio(expr, 1),
            (None, _) => Self::Ratio(numerator, divisor),
        })
    }
}

fn int_arithmetic(operation: Arithmetic, a: &Expr, b: &Expr) -> Option<Expr> {
    let known = a.as_constant().zip(b.as_constant());
    match (operation, known) {
        (Arithmetic::Add, _) => a.add(b),
        (Arithmetic::Sub, _) => a.sub(b),
        (Arithmetic::Mul, _) => a.mul(b),
        (Arithmetic::Min, _) => a.smaller(b),
        (Arithmetic::Max, _) => a.larger(b),
        // Whole numbers divide toward zero; sizes are positive, where that is down.
        (Arithmetic::Div, Some((a, b))) => a.checked_div(b).map(Expr::constant),
        (Arithmetic::Div, None) if a.bounds().1.is_some_and(|max| max <= 0) => a.neg()?.floor_div(b)?.neg(),
        (Arithmetic::Div, None) => a.floor_div(b),
        (Arithmetic::Mod, _) => a.modulo(b),
        (Arithmetic::Fmod, Some((a, b))) => a.checked_rem(b).map(Expr::constant),
        (Arithmetic::Fmod, None) if a.is_never_negative() => a.modulo(b),
        (Arithmetic::Pow, Some((a, b))) => a.checked_pow(u32::try_from(b).ok()?).map(Expr::constant),
        (Arithmetic::Pow, None) => {
            let power = usize::try_from(b.as_constant()?).ok().filter(|power| *power <= 8)?;
            Expr::product(std::iter::repeat_n(a, power))
        }
        (Arithmetic::BitAnd, Some((a, b))) => Some(Expr::constant(a & b)),
        (Arithmetic::BitOr, Some((a, b))) => Some(Expr::constant(a | b)),
        (Arithmetic::BitXor, Some((a, b))) => Some(Expr::constant(a ^ b)),
        _ => None,
    }
}

fn float_arithmetic(operation: Arithmetic, a: f64, b: f64) -> Option<f64> {
    Some(match operation {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
        Arithmetic::Div => a / b,
        Arithmetic::Min => a.min(b),
        Arithmetic::Max => a.max(b),
        Arithmetic::Fmod => a % b,
        Arithmetic::Mod => a - (a / b).floor() * b,
        Arithmetic::Pow => a.powf(b),
        _ => return None,
    })
}

/// The number as its type holds it. The short types are followed only where they are exact.
fn rounded(number: f64, element_type: DataType) -> Option<f64> {
    match element_type {
        DataType::Double => Some(number),
        DataType::Float => Some(f64::from(number as f32)),
        DataType::Float16 | DataType::Bfloat16 if number.fract() == 0.0 && number.abs() <= 256.0 => Some(number),
        _ => None,
    }
}
