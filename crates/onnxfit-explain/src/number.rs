//! Reads byte counts out of messages.

/// A decimal number, or nothing if it does not fit 64 bits.
pub(crate) fn parse(digits: &str) -> Option<u64> {
    digits.replace(['_', ','], "").parse().ok()
}

/// `900 * 1024 * 1024`, `2 << 30`, `4e9`, `1024**3 * 2`, `3GiB`: what people write for a limit.
pub(crate) fn evaluate(expression: &str) -> Option<u64> {
    // Bounds the recursion: nobody writes a limit this long.
    if expression.len() > 128 {
        return None;
    }
    let expression = expression.trim().trim_matches(['"', '\'']).trim();
    if let Some((left, right)) = expression.split_once("<<") {
        return evaluate(left)?.checked_shl(u32::try_from(evaluate(right)?).ok()?);
    }
    let spaced = expression.replace("**", "^");
    if let Some((left, right)) = spaced.split_once('*') {
        return evaluate(&left.replace('^', "**"))?.checked_mul(evaluate(&right.replace('^', "**"))?);
    }
    if let Some((base, power)) = spaced.split_once('^') {
        return evaluate(base)?.checked_pow(u32::try_from(evaluate(power)?).ok()?);
    }
    let plain = spaced.trim().trim_matches(['(', ')']).trim_start_matches("int(").trim();
    let plain = plain.trim_end_matches(['u', 'U', 'l', 'L']);
    if let Some((mantissa, exponent)) = plain.split_once(['e', 'E'])
        && let (Ok(mantissa), Ok(exponent)) = (mantissa.parse::<f64>(), exponent.parse::<i32>())
    {
        let value = mantissa * 10f64.powi(exponent);
        return (value.is_finite() && value >= 0.0 && value < u64::MAX as f64).then_some(value as u64);
    }
    plain.parse::<onnxfit_base::Bytes>().ok().map(onnxfit_base::Bytes::get)
}

/// `3.5` and `GB` as bytes, by the unit as written.
pub(crate) fn with_unit(amount: &str, unit: &str) -> Option<u64> {
    format!("{amount}{unit}").parse::<onnxfit_base::Bytes>().ok().map(onnxfit_base::Bytes::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluates_what_people_write_for_a_limit() {
        for (text, bytes) in [
            ("900 * 1024 * 1024", 943_718_400),
            ("2 << 30", 2 << 30),
            ("2 * 1024 ** 3", 2 << 30),
            ("4e9", 4_000_000_000),
            ("\"1500000000\"", 1_500_000_000),
            ("3GiB", 3 << 30),
            ("int(4 * 1024 * 1024 * 1024)", 4 << 30),
        ] {
            assert_eq!(evaluate(text), Some(bytes), "{text}");
        }
        assert_eq!(evaluate("half of it"), None);
        assert_eq!(evaluate("1 << 900"), None);
    }
}
