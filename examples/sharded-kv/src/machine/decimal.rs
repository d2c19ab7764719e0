//! `INCRBYFLOAT`: sums of numbers as people write them.
//!
//! Redis adds in 80-bit floats and shows 17 places. Here numbers below 10²⁰ are added exactly in those 17 places, which
//! gives the same wherever its floats are exact enough, and on every machine; larger ones are added as 64-bit floats.

/// Places behind the point.
const PLACES: usize = 17;

/// 10¹⁷: what 1 is in units of the last place.
const ONE: i128 = 100_000_000_000_000_000;

/// What is added exactly is less.
const EXACT_MAX: f64 = 1e20;

/// Longest number that is understood, in bytes: more than the largest float has digits.
const LENGTH_MAX: usize = 512;

/// A number as Redis reads floats: no blanks, no NaN.
pub(crate) fn parse(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= LENGTH_MAX)?;
    text.parse::<f64>().ok().filter(|number| !number.is_nan())
}

/// The sum as text; `None` if it is infinite or one of the two is no number.
pub(super) fn add(left: &[u8], right: &[u8]) -> Option<String> {
    let (a, b) = (parse(left)?, parse(right)?);
    if a.abs() < EXACT_MAX
        && b.abs() < EXACT_MAX
        && let (Some(a), Some(b)) = (units(left), units(right))
    {
        return Some(show(a + b));
    }
    let sum = a + b;
    sum.is_finite().then(|| format!("{sum}"))
}

/// A number, less than 10²⁰, in units of the last place; what is behind it is cut off.
fn units(text: &[u8]) -> Option<i128> {
    let negative = text.first() == Some(&b'-');
    let text = std::str::from_utf8(text).ok()?.trim_start_matches(['+', '-']);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(part.bytes()).map(|digit| i128::from(digit - b'0'));
    if digits().all(|digit| digit == 0) {
        return Some(0);
    }
    // The number is small and its text is not long: neither is this.
    let count = i64::try_from(whole.len() + PLACES).ok()?.checked_add(exponent)?;
    let count = usize::try_from(count.max(0)).ok()?;
    let mut digits = digits().chain(std::iter::repeat(0)).take(count);
    let units = digits.try_fold(0_i128, |units, digit| units.checked_mul(10)?.checked_add(digit))?;
    Some(if negative { -units } else { units })
}

fn show(units: i128) -> String {
    let (whole, part) = (
        units.unsigned_abs() / ONE.unsigned_abs(),
        units.unsigned_abs() % ONE.unsigned_abs(),
    );
    let sign = if units < 0 { "-" } else { "" };
    let text = format!("{sign}{whole}.{part:0PLACES$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
