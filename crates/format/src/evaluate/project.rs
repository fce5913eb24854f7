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
use crate::partition::months;

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
            Op::Eq | Op::In => Some(tolerate_old_buckets(
                each(transform, test)?,
                transform,
                test,
            )),
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

/// Old writers hashed nanoseconds before 1970 as microseconds that were rounded towards zero.
fn tolerate_old_buckets(mut buckets: Test, transform: &Transform, test: &Test) -> Test {
    let rounded = test
        .literals
        .iter()
        .filter_map(|value| match value.literal() {
            PrimitiveLiteral::Long(nanos) if is_nanos(value) && *nanos < 0 => {
                bucket(transform, &Datum::timestamp_micros(nanos / 1_000))
            }
            _ => None,
        });
    buckets.literals.extend(rounded);
    buckets
}

/// A value's partition value. None where the transform does not take its type or the result is out
/// of range.
pub(super) fn apply(transform: &Transform, value: &Datum) -> Option<Datum> {
    match transform {
        Transform::Identity => Some(value.clone()),
        // The specification hashes times in microseconds, floored.
        Transform::Bucket(_) if is_nanos(value) => {
            bucket(transform, &Datum::timestamp_micros(micros(value)?))
        }
        Transform::Bucket(_) => bucket(transform, value),
        Transform::Truncate(width) => truncate(*width, value),
        Transform::Year => {
            let years = months(days(value)?)?.div_euclid(12);
            Some(Datum::int(i32::try_from(years).ok()?))
        }
        Transform::Month => {
            let months = months(days(value)?)?;
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

fn bucket(transform: &Transform, value: &Datum) -> Option<Datum> {
    let function = create_transform_function(transform).ok()?;
    function.transform_literal(value).ok().flatten()
}

fn is_nanos(value: &Datum) -> bool {
    matches!(
        value.data_type(),
        PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_are_looked_for_in_the_bucket_of_the_specification_and_in_that_of_old_writers() {
        let by = Transform::Bucket(1_000_000);
        let of = |micros| apply(&by, &Datum::timestamp_micros(micros)).unwrap();
        for (nanos, floored, rounded) in [
            (-1_001, -2, -1),
            (-1_000, -1, -1),
            (-1, -1, 0),
            (0, 0, 0),
            (1_999, 1, 1),
        ] {
            for value in [
                Datum::timestamp_nanos(nanos),
                Datum::timestamptz_nanos(nanos),
            ] {
                assert_eq!(apply(&by, &value), Some(of(floored)), "{nanos}");
                let test = Test::new(Op::Eq, vec![value]);
                let literals = inclusive(&by, &test).unwrap().literals;
                assert!(literals.contains(&of(floored)), "{nanos}");
                assert!(literals.contains(&of(rounded)), "{nanos}");
            }
        }
    }
}
