//! Single values: promoting them to a column's type and comparing them, never by guess.

use std::cmp::Ordering;

use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType};
use uuid::Uuid;

/// The value of this type, where literal and type fit together or the type was promoted since the
/// literal was written.
pub(crate) fn datum(ty: &PrimitiveType, literal: &PrimitiveLiteral) -> Option<Datum> {
    use PrimitiveLiteral as L;
    use PrimitiveType as T;
    Some(match (ty, literal) {
        (T::Boolean, L::Boolean(v)) => Datum::bool(*v),
        (T::Int, L::Int(v)) => Datum::int(*v),
        (T::Long, L::Int(v)) => Datum::long(i64::from(*v)),
        (T::Long, L::Long(v)) => Datum::long(*v),
        (T::Float, L::Float(v)) => Datum::float(v.0),
        (T::Double, L::Float(v)) => Datum::double(f64::from(v.0)),
        (T::Double, L::Double(v)) => Datum::double(v.0),
        (T::Date, L::Int(v)) => Datum::date(*v),
        (T::Time, L::Long(v)) => Datum::time_micros(*v).ok()?,
        (T::Timestamp, L::Long(v)) => Datum::timestamp_micros(*v),
        (T::Timestamptz, L::Long(v)) => Datum::timestamptz_micros(*v),
        (T::TimestampNs, L::Long(v)) => Datum::timestamp_nanos(*v),
        (T::TimestamptzNs, L::Long(v)) => Datum::timestamptz_nanos(*v),
        (T::String, L::String(v)) => Datum::string(v),
        (T::Uuid, L::UInt128(v)) => Datum::uuid(Uuid::from_u128(*v)),
        (T::Fixed(_), L::Binary(v)) => Datum::fixed(v.iter().copied()),
        (T::Binary, L::Binary(v)) => Datum::binary(v.iter().copied()),
        (T::Decimal { .. }, L::Int128(v)) => {
            Datum::try_from_bytes(&v.to_be_bytes(), ty.clone()).ok()?
        }
        _ => return None,
    })
}

/// A value that was written for an older type of the column, as a value of its type now. None where
/// the specification knows no such promotion.
pub(crate) fn promote(value: &Datum, to: &PrimitiveType) -> Option<Datum> {
    use PrimitiveType as T;
    match (value.data_type(), to) {
        (from, to) if from == to => Some(value.clone()),
        (T::Int, T::Long) | (T::Float, T::Double) => datum(to, value.literal()),
        (T::Decimal { scale: from, .. }, T::Decimal { scale, .. }) if from == scale => {
            datum(to, value.literal())
        }
        // The length of a bound of a fixed column says nothing: bounds may be cut.
        (T::Fixed(_), T::Fixed(_)) => Some(value.clone()),
        _ => None,
    }
}

/// A literal of a filter as a value of the column's type.
///
/// Beside promotions this narrows where no value is lost, because engines write `1` for a `double`
/// or a long for an `int`.
pub(super) fn literal(value: &Datum, to: &PrimitiveType) -> Literal {
    use PrimitiveLiteral as L;
    use PrimitiveType as T;
    if let Some(fits) = promote(value, to) {
        return Literal::Value(fits);
    }
    let exact = |value: Option<Datum>| value.map_or(Literal::Misfit, Literal::Value);
    match (value.literal(), value.data_type(), to) {
        (L::AboveMax, ..) => Literal::AboveAll,
        (L::BelowMin, ..) => Literal::BelowAll,
        (L::Long(v), T::Long, T::Int) => match i32::try_from(*v) {
            Ok(v) => Literal::Value(Datum::int(v)),
            Err(_) if *v > 0 => Literal::AboveAll,
            Err(_) => Literal::BelowAll,
        },
        (L::Int(v), T::Int, T::Double) => Literal::Value(Datum::double(f64::from(*v))),
        (L::Int(v), T::Int, T::Float)
            if (v.unsigned_abs() as u64) < (1 << f32::MANTISSA_DIGITS) =>
        {
            Literal::Value(Datum::float(*v as f32))
        }
        (L::Long(v), T::Long, T::Double) if v.unsigned_abs() < (1 << f64::MANTISSA_DIGITS) => {
            Literal::Value(Datum::double(*v as f64))
        }
        (L::Double(v), T::Double, T::Float) if v.0.is_nan() || f64::from(v.0 as f32) == v.0 => {
            Literal::Value(Datum::float(v.0 as f32))
        }
        (L::Int(v), T::Int, T::Date) => Literal::Value(Datum::date(*v)),
        (
            L::Long(v),
            T::Long,
            T::Timestamp | T::Timestamptz | T::TimestampNs | T::TimestamptzNs,
        ) => exact(datum(to, &L::Long(*v))),
        (L::Int128(v), T::Decimal { scale: from, .. }, T::Decimal { scale, .. }) => {
            exact(rescale(*v, *from, *scale).and_then(|v| datum(to, &L::Int128(v))))
        }
        (L::Int(_) | L::Long(_), T::Int | T::Long, T::Decimal { scale, .. }) => {
            let unscaled = match value.literal() {
                L::Int(v) => i128::from(*v),
                L::Long(v) => i128::from(*v),
                _ => return Literal::Misfit,
            };
            exact(rescale(unscaled, 0, *scale).and_then(|v| datum(to, &L::Int128(v))))
        }
        (L::Binary(v), T::Binary, T::Fixed(_)) => Literal::Value(Datum::fixed(v.iter().copied())),
        (L::Binary(v), T::Fixed(_), T::Binary) => Literal::Value(Datum::binary(v.iter().copied())),
        (L::String(v), T::String, T::Uuid) => exact(Datum::uuid_from_str(v).ok()),
        (L::String(v), T::String, T::Date) => exact(Datum::date_from_str(v).ok()),
        (L::String(v), T::String, T::Time) => exact(Datum::time_from_str(v).ok()),
        (L::String(v), T::String, T::Timestamp) => exact(Datum::timestamp_from_str(v).ok()),
        (L::String(v), T::String, T::Timestamptz) => exact(Datum::timestamptz_from_str(v).ok()),
        _ => Literal::Misfit,
    }
}

/// What became of a filter's literal.
pub(super) enum Literal {
    /// A value of the column's type.
    Value(Datum),
    /// Greater than every value of the column's type.
    AboveAll,
    /// Less than every value of the column's type.
    BelowAll,
    /// No value of the column's type.
    Misfit,
}

fn rescale(unscaled: i128, from: u32, to: u32) -> Option<i128> {
    if to >= from {
        unscaled.checked_mul(10i128.checked_pow(to - from)?)
    } else {
        let factor = 10i128.checked_pow(from - to)?;
        (unscaled % factor == 0).then(|| unscaled / factor)
    }
}

/// The order of two values of one type, or none where it cannot be told.
///
/// NaN has no place in the order: bounds leave NaN out. Of two zeros nothing is said, whatever their
/// signs: IEEE arithmetic calls them equal and the total order, in which Arrow compares rows, puts
/// -0.0 before +0.0; and writers have left either as the bound of both. The order of UUIDs is only
/// told for equal ones: writers have sorted them as signed and as unsigned numbers.
pub(super) fn compare(a: &Datum, b: &Datum) -> Option<Ordering> {
    use PrimitiveLiteral as L;
    if let (PrimitiveType::Decimal { scale: left, .. }, PrimitiveType::Decimal { scale: right, .. }) =
        (a.data_type(), b.data_type())
        && left != right
    {
        return None;
    }
    match (a.literal(), b.literal()) {
        (L::Boolean(a), L::Boolean(b)) => Some(a.cmp(b)),
        (L::Int(a), L::Int(b)) => Some(a.cmp(b)),
        (L::Long(a), L::Long(b)) => Some(a.cmp(b)),
        (L::Float(a), L::Float(b)) if a.0 == 0.0 && b.0 == 0.0 => None,
        (L::Double(a), L::Double(b)) if a.0 == 0.0 && b.0 == 0.0 => None,
        (L::Float(a), L::Float(b)) => a.0.partial_cmp(&b.0),
        (L::Double(a), L::Double(b)) => a.0.partial_cmp(&b.0),
        (L::String(a), L::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (L::Binary(a), L::Binary(b)) => Some(a.cmp(b)),
        (L::Int128(a), L::Int128(b)) => Some(a.cmp(b)),
        (L::UInt128(a), L::UInt128(b)) => (a == b).then_some(Ordering::Equal),
        _ => None,
    }
}

/// Whether it is certain that `a < b`.
pub(super) fn less(a: &Datum, b: &Datum) -> bool {
    compare(a, b) == Some(Ordering::Less)
}

/// Whether it is certain that `a == b`.
pub(super) fn equal(a: &Datum, b: &Datum) -> bool {
    compare(a, b) == Some(Ordering::Equal)
}

/// Whether it is certain that `a != b`.
pub(super) fn unequal(a: &Datum, b: &Datum) -> bool {
    match (a.literal(), b.literal()) {
        (PrimitiveLiteral::UInt128(a), PrimitiveLiteral::UInt128(b)) => a != b,
        _ => matches!(compare(a, b), Some(Ordering::Less | Ordering::Greater)),
    }
}

/// The bytes of a string or a binary value.
pub(super) fn bytes(value: &Datum) -> Option<&[u8]> {
    match value.literal() {
        PrimitiveLiteral::String(text) => Some(text.as_bytes()),
        PrimitiveLiteral::Binary(bytes) => Some(bytes),
        _ => None,
    }
}
