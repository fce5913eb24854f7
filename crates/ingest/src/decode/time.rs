//! ISO-8601 texts to dates, times and timestamps.
//!
//! A text without a zone is UTC. Digits past the microsecond are cut, which is what a column of
//! microseconds means; everything else that does not fit is refused.

use chrono::NaiveDate;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub(crate) fn date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(
        digits(&bytes[..4])? as i32,
        digits(&bytes[5..7])?,
        digits(&bytes[8..])?,
    )?;
    Some(date.to_epoch_days())
}

/// Microseconds since midnight of `HH:MM[:SS[.fraction]]`.
pub(crate) fn time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if !(bytes.len() == 5 || bytes.len() >= 8) || bytes[2] != b':' {
        return None;
    }
    let (hour, minute) = (digits(&bytes[..2])?, digits(&bytes[3..5])?);
    let (mut second, mut micros) = (0, 0);
    if bytes.len() > 5 {
        if bytes[5] != b':' {
            return None;
        }
        second = digits(&bytes[6..8])?;
        micros = fraction(&bytes[8..])?;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Some(seconds * MICROS_PER_SECOND + micros)
}

/// Microseconds since the epoch, UTC, of a date, or of a date and a time parted by `T` or a
/// space, with `Z`, `±HH:MM`, `±HHMM`, `±HH` or no zone (which is UTC).
pub(crate) fn timestamp(text: &str) -> Option<i64> {
    let day = i64::from(date(text.get(..10)?)?) * SECONDS_PER_DAY;
    let rest = &text[10..];
    if rest.is_empty() {
        return Some(day * MICROS_PER_SECOND);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, offset) = match rest.find(['Z', 'z', '+', '-']) {
        Some(at) => (&rest[..at], offset(&rest[at..])?),
        None => (rest, 0),
    };
    Some((day - offset) * MICROS_PER_SECOND + time(clock.trim_end_matches(' '))?)
}

/// Seconds east of Greenwich.
fn offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let text = &text.as_bytes()[1..];
    let (hours, minutes) = match text.len() {
        2 => (digits(text)?, 0),
        4 => (digits(&text[..2])?, digits(&text[2..])?),
        5 if text[2] == b':' => (digits(&text[..2])?, digits(&text[3..])?),
        _ => return None,
    };
    (hours <= 18 && minutes <= 59).then(|| sign * i64::from(hours * 3600 + minutes * 60))
}

fn fraction(bytes: &[u8]) -> Option<i64> {
    let Some((point, places)) = bytes.split_first() else {
        return Some(0);
    };
    if *point != b'.' || places.is_empty() || !places.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + places.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    }
    Some(micros)
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0_u32, |value, byte| {
        byte.is_ascii_digit()
            .then(|| value * 10 + u32::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_iso_or_refused() {
        for (text, expected) in [
            ("1970-01-01", Some(0)),
            ("1969-12-31", Some(-1)),
            ("2000-02-29", Some(11_016)),
            ("1900-02-29", None),
            ("2024-13-01", None),
            ("2024-1-1", None),
            ("Jun 12 1998", None),
            ("2024-01-01T00:00:00", None),
            ("２024-01-1", None),
        ] {
            assert_eq!(date(text), expected, "{text}");
        }
    }

    #[test]
    fn timestamps_are_utc_and_iso_or_refused() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Some(1_000_000)),
            ("1970-01-01 00:00:01", Some(1_000_000)),
            ("1970-01-01", Some(0)),
            ("1970-01-01T00:00", Some(0)),
            ("1970-01-01T02:00:00+02:00", Some(0)),
            ("1970-01-01T02:00:00+0200", Some(0)),
            ("1970-01-01T02:00:00+02", Some(0)),
            ("1969-12-31T19:00:00.5-05:00", Some(500_000)),
            ("1970-01-01T00:00:00.1234567Z", Some(123_456)),
            ("1969-12-31T23:59:59.999999Z", Some(-1)),
            ("1970-01-01 00:00:01 +00:00", Some(1_000_000)),
            ("1970-01-01T24:00:00Z", None),
            ("1970-01-01T00:60:00Z", None),
            ("1970-01-01T00:00:00.Z", None),
            ("1970-01-01T00:00:00+25:00", None),
            ("1970-01-01X00:00:00", None),
            ("1970-01-01T", None),
            ("1970-01-0é00:00", None),
            ("now", None),
        ] {
            assert_eq!(timestamp(text), expected, "{text}");
        }
    }

    #[test]
    fn times_are_iso_or_refused() {
        for (text, expected) in [
            ("00:00", Some(0)),
            ("23:59:59.999999", Some(86_399_999_999)),
            ("24:00", None),
            ("12:3", None),
            ("12:30:", None),
            ("12:30:4", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
    }
}
