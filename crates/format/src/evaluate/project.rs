//! Projecting a test on a column to a test on the partition value that a transform makes of it.
//!
//! Only the inclusive projection is written down: a test on `transform(x)` that is true wherever the
//! test on `x` is. The strict one follows from it: if no `x` of the partition can fulfil the
//! *opposite* of a test, then all fulfil the test.
//!
//! The `iceberg` crate has projections too. They are not used: they overflow on the least and the
//! greatest literal of a type, compare a prefix's length in bytes with a width in characters, and
//! lose the scale of decimals.

use iceberg::expr::PredicateOperator as Op;
use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType, Transform};
use iceberg::transform::create_transform_function;

use super::facts::Test;
use super::value::{bytes, datum};

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// The test on the transformed value that is true wherever the test on the value is; none if there
/// is no such test that says anything.
pub(super) fn inclusive(transform: &Transform, test: &Test) -> Option<Test> {
    if matches!(transform, Transform::Void | Transform::Unknown) {
        return None;
    }
    match test.op {
        // NULL stays NULL in every transform but void, and nothing else becomes NULL.
        Op::IsNull | Op::NotNull => return Some(test.clone()),
        Op::IsNan | Op::NotNan => {
            return (*transform == Transform::Identity).then(|| test.clone());
        }
        _ => {}
    }
    match transform {
        Transform::Identity => Some(test.clone()),
        Transform::Bucket(_) => match test.op {
            Op::Eq | Op::In => each(transform, test),
            _ => None,
        },
        Transform::Truncate(width) => match test.op {
            Op::Eq | Op::In => each(transform, test),
            Op::StartsWith | Op::NotStartsWith => prefix(*width, test),
            _ => ordered(transform, test),
        },
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => {
            let test = match test.op {
                Op::Eq | Op::In => each(transform, test)?,
                _ => ordered(transform, test)?,
            };
            Some(tolerate_old_rounding(test))
        }
        _ => None,
    }
}

/// `x = v` and `x IN (…)` as the same test on transformed literals.
fn each(transform: &Transform, test: &Test) -> Option<Test> {
    let literals = test
        .literals
        .iter()
        .map(|literal| apply(transform, literal))
        .collect::<Option<Vec<_>>>()?;
    Some(Test::new(Op::In, literals))
}

/// Comparisons through a transform that keeps the order: `x < v` implies `t(x) <= t(v')` with `v'`
/// the value below `v`, where there is one.
fn ordered(transform: &Transform, test: &Test) -> Option<Test> {
    let literal = test.literals.first()?;
    let (op, bound) = match test.op {
        Op::LessThan => (Op::LessThanOrEq, neighbour(literal, -1)),
        Op::LessThanOrEq => (Op::LessThanOrEq, None),
        Op::GreaterThan => (Op::GreaterThanOrEq, neighbour(literal, 1)),
        Op::GreaterThanOrEq => (Op::GreaterThanOrEq, None),
        _ => return None,
    };
    let bound = apply(transform, bound.as_ref().unwrap_or(literal))?;
    Some(Test::new(op, vec![bound]))
}

/// The next value in this direction, for types where values are discrete.
fn neighbour(value: &Datum, step: i64) -> Option<Datum> {
    let literal = match value.literal() {
        PrimitiveLiteral::Int(v) => PrimitiveLiteral::Int(v.checked_add(step as i32)?),
        PrimitiveLiteral::Long(v) => PrimitiveLiteral::Long(v.checked_add(step)?),
        PrimitiveLiteral::Int128(v) => PrimitiveLiteral::Int128(v.checked_add(i128::from(step))?),
        _ => return None,
    };
    datum(value.data_type(), &literal)
}

/// Prefixes through a truncation to `width` characters (bytes for binary).
fn prefix(width: u32, test: &Test) -> Option<Test> {
    let literal = test.literals.first()?;
    let length = match literal.literal() {
        PrimitiveLiteral::String(text) => text.chars().count(),
        _ => bytes(literal)?.len(),
    };
    let width = width as usize;
    let negative = test.op == Op::NotStartsWith;
    let op = match length.cmp(&width) {
        std::cmp::Ordering::Less => test.op,
        std::cmp::Ordering::Equal if negative => Op::NotEq,
        std::cmp::Ordering::Greater if negative => return None,
        _ => Op::Eq,
    };
    let literal = apply(&Transform::Truncate(width as u32), literal)?;
    Some(Test::new(op, vec![literal]))
}

/// Old writers rounded times before 1970 towards zero, so such a value may stand one too high.
fn tolerate_old_rounding(mut test: Test) -> Test {
    let raised = |value: &Datum| match value.literal() {
        PrimitiveLiteral::Int(v) if *v < 0 => {
            datum(value.data_type(), &PrimitiveLiteral::Int(v + 1))
        }
        _ => None,
    };
    match test.op {
        Op::In => {
            let more: Vec<Datum> = test.literals.iter().filter_map(raised).collect();
            test.literals.extend(more);
        }
        Op::LessThanOrEq => {
            for literal in &mut test.literals {
                if let Some(higher) = raised(literal) {
                    *literal = higher;
                }
            }
        }
        _ => {}
    }
    test
}

/// A value's partition value. None where the transform does not take its type or the result is out
/// of range.
pub(super) fn apply(transform: &Transform, value: &Datum) -> Option<Datum> {
    match transform {
        Transform::Identity => Some(value.clone()),
        Transform::Bucket(_) => create_transform_function(transform)
            .ok()?
            .transform_literal(value)
            .ok()
            .flatten(),
        Transform::Truncate(width) => truncate(*width, value),
        Transform::Year => {
            let (year, _) = civil(days(value)?)?;
            Some(Datum::int(i32::try_from(year - 1970).ok()?))
        }
        Transform::Month => {
            let (year, month) = civil(days(value)?)?;
            let months = (year - 1970).checked_mul(12)?.checked_add(month - 1)?;
            Some(Datum::int(i32::try_from(months).ok()?))
        }
        Transform::Day => Some(Datum::date(i32::try_from(days(value)?).ok()?)),
        Transform::Hour => {
            let hours = micros(value)?.div_euclid(MICROS_PER_HOUR);
            Some(Datum::int(i32::try_from(hours).ok()?))
        }
        _ => None,
    }
}

fn truncate(width: u32, value: &Datum) -> Option<Datum> {
    let literal = match value.literal() {
        PrimitiveLiteral::Int(v) => {
            let width = i32::try_from(width).ok()?;
            PrimitiveLiteral::Int(v.checked_sub(v.checked_rem_euclid(width)?)?)
        }
        PrimitiveLiteral::Long(v) => {
            PrimitiveLiteral::Long(v.checked_sub(v.checked_rem_euclid(i64::from(width))?)?)
        }
        PrimitiveLiteral::Int128(v) => {
            PrimitiveLiteral::Int128(v.checked_sub(v.checked_rem_euclid(i128::from(width))?)?)
        }
        PrimitiveLiteral::String(text) => {
            PrimitiveLiteral::String(text.chars().take(width as usize).collect())
        }
        PrimitiveLiteral::Binary(bytes) => {
            PrimitiveLiteral::Binary(bytes.iter().copied().take(width as usize).collect())
        }
        _ => return None,
    };
    datum(value.data_type(), &literal)
}

fn micros(value: &Datum) -> Option<i64> {
    match (value.data_type(), value.literal()) {
        (PrimitiveType::Timestamp | PrimitiveType::Timestamptz, PrimitiveLiteral::Long(micros)) => {
            Some(*micros)
        }
        (
            PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs,
            PrimitiveLiteral::Long(nanos),
        ) => Some(nanos.div_euclid(1_000)),
        _ => None,
    }
}

fn days(value: &Datum) -> Option<i64> {
    match (value.data_type(), value.literal()) {
        (PrimitiveType::Date, PrimitiveLiteral::Int(days)) => Some(i64::from(*days)),
        _ => Some(micros(value)?.div_euclid(MICROS_PER_DAY)),
    }
}

/// Year and month (from 1) of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
fn civil(days: i64) -> Option<(i64, i64)> {
    // Counted from 0000-03-01 the leap day is a year's last, and 400 years are 146,097 days.
    let days = days.checked_add(719_468)?;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some((year, month))
}
