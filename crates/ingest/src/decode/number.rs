//! Exact reading of number texts.
//!
//! JSON and CSV numbers are texts. Going through `f64` would change digits beyond the fifteenth
//! without a word, so integers and decimals are read from the text itself.

/// Why a number text does not fit a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// Not a number at all.
    NoNumber,
    /// Digits after the last place that the type has.
    Fraction,
    /// Larger than the type.
    Overflow,
}

/// Reads a number text as `unscaled × 10^-scale`, exactly.
///
/// `1.50` with scale 2 is 150, `1e3` with scale 0 is 1000, `1.5` with scale 0 does not fit.
pub(crate) fn exact(text: &str, scale: i8) -> Result<i128, Misfit> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if (whole.is_empty() && fraction.is_empty()) || !digits().all(|byte| byte.is_ascii_digit()) {
        return Err(Misfit::NoNumber);
    }
    let count = whole.len() + fraction.len();
    let leading = digits().take_while(|byte| *byte == b'0').count();
    if leading == count {
        return Ok(0);
    }
    let trailing = whole.bytes().rev().take_while(|byte| *byte == b'0').count();
    let trailing = match fraction
        .bytes()
        .rev()
        .take_while(|byte| *byte == b'0')
        .count()
    {
        zeros if zeros == fraction.len() => zeros + trailing,
        zeros => zeros,
    };
    // The value is `significant × 10^power`, and `significant` ends in a digit that is not zero.
    let power = exponent
        .saturating_sub(fraction.len() as i64)
        .saturating_add(trailing as i64)
        .saturating_add(i64::from(scale));
    if power < 0 {
        return Err(Misfit::Fraction);
    }
    let mut value: i128 = 0;
    for byte in digits().take(count - trailing).skip(leading) {
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i128::from(byte - b'0')))
            .ok_or(Misfit::Overflow)?;
    }
    let power = u32::try_from(power).map_err(|_| Misfit::Overflow)?;
    let value = 10_i128
        .checked_pow(power)
        .and_then(|factor| value.checked_mul(factor))
        .ok_or(Misfit::Overflow)?;
    Ok(if negative { -value } else { value })
}

fn exponent(text: &str) -> Result<i64, Misfit> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Misfit::NoNumber);
    }
    // An exponent that does not fit 64 bits is as good as an endless one.
    let size = digits
        .parse::<i64>()
        .unwrap_or(i64::MAX / 4)
        .min(i64::MAX / 4);
    Ok(if text.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_texts_are_read_exactly_or_refused() {
        for (text, scale, expected) in [
            ("0", 0, Ok(0)),
            ("-0", 0, Ok(0)),
            ("0.000", 0, Ok(0)),
            ("0e99999999999999999999", 0, Ok(0)),
            ("12", 0, Ok(12)),
            ("-12", 2, Ok(-1200)),
            ("1.50", 2, Ok(150)),
            ("1.500", 2, Ok(150)),
            ("1.505", 2, Err(Misfit::Fraction)),
            ("1.0", 0, Ok(1)),
            ("100.00", 0, Ok(100)),
            ("100", -2, Ok(1)),
            ("150", -2, Err(Misfit::Fraction)),
            ("1e3", 0, Ok(1000)),
            ("1.25E2", 0, Ok(125)),
            ("1200e-2", 0, Ok(12)),
            ("12e-1", 0, Err(Misfit::Fraction)),
            ("0.05", 2, Ok(5)),
            (".5", 1, Ok(5)),
            ("9223372036854775808", 0, Ok(9_223_372_036_854_775_808)),
            ("1e400", 0, Err(Misfit::Overflow)),
            ("1e99999999999999999999", 0, Err(Misfit::Overflow)),
            ("1e-99999999999999999999", 0, Err(Misfit::Fraction)),
            ("", 0, Err(Misfit::NoNumber)),
            ("-", 0, Err(Misfit::NoNumber)),
            (".", 0, Err(Misfit::NoNumber)),
            ("1e", 0, Err(Misfit::NoNumber)),
            ("0x10", 0, Err(Misfit::NoNumber)),
            ("1 2", 0, Err(Misfit::NoNumber)),
            ("NaN", 0, Err(Misfit::NoNumber)),
        ] {
            assert_eq!(exact(text, scale), expected, "{text} with scale {scale}");
        }
    }
}
