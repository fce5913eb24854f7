//! Partition values as people write them, which is also how Java's transforms show them.

use arrow::datatypes::{Decimal128Type, DecimalType};
use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};
use iceberg::spec::{Datum, PrimitiveLiteral as L, PrimitiveType as T, Transform};

/// The value that a transform made: `2026` for a year, `2026-01` for a month, `2026-01-31` for a day
/// and `2026-01-31-12` for an hour, bytes as Base64, all others as SQL writes them.
pub(super) fn text(transform: Transform, value: &Datum) -> String {
    let known = match (transform, value.literal()) {
        (Transform::Year, L::Int(years)) => Some(format!("{:04}", 1970 + i64::from(*years))),
        (Transform::Month, L::Int(months)) => {
            let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
            Some(format!("{:04}-{:02}", 1970 + i64::from(year), month + 1))
        }
        (Transform::Day, L::Int(days)) => day(*days),
        (Transform::Hour, L::Int(hours)) => {
            let time = DateTime::from_timestamp(i64::from(*hours) * 3_600, 0);
            time.map(|time| format!("{}-{:02}", date(&time.naive_utc()), time.hour()))
        }
        _ => plain(value),
    };
    known.unwrap_or_else(|| match value.literal() {
        L::Int(number) => number.to_string(),
        L::Long(number) => number.to_string(),
        L::Int128(unscaled) => unscaled.to_string(),
        _ => value.to_human_string(),
    })
}

/// None for a value that is its own name, or beyond all calendars.
fn plain(value: &Datum) -> Option<String> {
    Some(match (value.data_type(), value.literal()) {
        (T::Date, L::Int(days)) => day(*days)?,
        (T::Time, L::Long(micros)) => clock(&DateTime::from_timestamp_micros(*micros)?.naive_utc()),
        (ty @ (T::Timestamp | T::Timestamptz), L::Long(micros)) => {
            let time = DateTime::from_timestamp_micros(*micros)?;
            instant(&time.naive_utc(), *ty == T::Timestamptz)
        }
        (ty @ (T::TimestampNs | T::TimestamptzNs), L::Long(nanos)) => {
            let time = DateTime::from_timestamp_nanos(*nanos);
            instant(&time.naive_utc(), *ty == T::TimestamptzNs)
        }
        // With a point, also where nothing follows it.
        (_, L::Float(number)) => format!("{:?}", number.0),
        (_, L::Double(number)) => format!("{:?}", number.0),
        (T::Decimal { precision, scale }, L::Int128(unscaled)) => {
            let (precision, scale) = (u8::try_from(*precision).ok()?, i8::try_from(*scale).ok()?);
            Decimal128Type::format_decimal(*unscaled, precision, scale)
        }
        (_, L::Binary(bytes)) => base64(bytes),
        _ => return None,
    })
}

fn day(days: i32) -> Option<String> {
    let time = DateTime::from_timestamp(i64::from(days) * 86_400, 0)?;
    Some(date(&time.naive_utc()))
}

fn date(time: &NaiveDateTime) -> String {
    format!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day())
}

/// The time of day, with no more digits of the second than it has.
fn clock(time: &NaiveDateTime) -> String {
    let seconds = time.format("%H:%M:%S").to_string();
    match time.nanosecond() {
        0 => seconds,
        nanos => {
            let fraction = format!("{nanos:09}");
            format!("{seconds}.{}", fraction.trim_end_matches('0'))
        }
    }
}

fn instant(time: &NaiveDateTime, with_zone: bool) -> String {
    let zone = if with_zone { "+00:00" } else { "" };
    format!("{}T{}{zone}", date(time), clock(time))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            if place > group.len() {
                text.push('=');
            } else {
                let digit = (bits >> (18 - 6 * place)) & 63;
                text.push(char::from(DIGITS[digit as usize]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_transforms_are_shown_as_the_times_they_stand_for() {
        for (transform, value, expected) in [
            (Transform::Year, Datum::int(56), "2026"),
            (Transform::Year, Datum::int(-1971), "-001"),
            (Transform::Month, Datum::int(0), "1970-01"),
            (Transform::Month, Datum::int(-1), "1969-12"),
            (Transform::Month, Datum::int(673), "2026-02"),
            (Transform::Day, Datum::date(-1), "1969-12-31"),
            (Transform::Day, Datum::int(20_000), "2024-10-04"),
            (Transform::Hour, Datum::int(-1), "1969-12-31-23"),
            (Transform::Hour, Datum::int(480_005), "2024-10-04-05"),
            (Transform::Bucket(4), Datum::int(3), "3"),
            (Transform::Truncate(2), Datum::string("ab"), "ab"),
        ] {
            assert_eq!(text(transform, &value), expected, "{transform} of {value}");
        }
    }

    #[test]
    fn plain_values_of_all_types_are_shown_as_java_does() {
        let decimal = Datum::try_from_bytes(
            &(-12_345_i128).to_be_bytes(),
            T::Decimal {
                precision: 38,
                scale: 3,
            },
        );
        for (value, expected) in [
            (Datum::bool(true), "true"),
            (Datum::long(-5), "-5"),
            (Datum::float(1.0), "1.0"),
            (Datum::double(0.25), "0.25"),
            (Datum::date(i32::MAX), "2147483647"),
            (Datum::time_micros(36_000_000_000).unwrap(), "10:00:00"),
            (Datum::timestamp_micros(0), "1970-01-01T00:00:00"),
            (Datum::timestamp_micros(-500_000), "1969-12-31T23:59:59.5"),
            (
                Datum::timestamptz_micros(1_512_123_175_038_194),
                "2017-12-01T10:12:55.038194+00:00",
            ),
            (
                Datum::timestamptz_nanos(1),
                "1970-01-01T00:00:00.000000001+00:00",
            ),
            (decimal.unwrap(), "-12.345"),
            (Datum::string("x\"y"), "x\"y"),
            (
                Datum::uuid(uuid::Uuid::from_u128(1)),
                "00000000-0000-0000-0000-000000000001",
            ),
            (Datum::binary([]), ""),
            (Datum::binary([0xff]), "/w=="),
            (Datum::fixed([0xff, 0xfe]), "//4="),
            (Datum::binary(*b"Iceberg"), "SWNlYmVyZw=="),
            (Datum::binary(*b"Bergla"), "QmVyZ2xh"),
        ] {
            assert_eq!(text(Transform::Identity, &value), expected, "{value:?}");
        }
    }
}
