//! Spark's patterns for dates and times (`MMM d yyyy`), which are Java's with fewer letters.
//!
//! As in Spark, one letter of a number takes as many digits as there are, two letters take two, four
//! letters of the year take four, `MMM` is a short name and `MMMM` a full one; case of names does not
//! matter when reading; what stands in `[…]` may be missing; text must match to its end.

use std::collections::HashSet;
use std::fmt::Write;

use berglake_format::{Error, Result};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeZone, Timelike, Utc};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Letters of a pattern, at most. Nobody needs as many, and what a pattern costs follows from it.
const MAX_LENGTH: usize = 1_000;

/// A pattern, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Text(String),
    Field(Field, usize),
    /// What stands from here up to this step may be missing.
    Optional {
        end: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    Quarter,
    Month,
    Day,
    DayOfYear,
    DayName,
    HalfDay,
    /// 0 to 23.
    Hour,
    /// 1 to 24.
    ClockHour,
    /// 1 to 12.
    HalfDayClockHour,
    /// 0 to 11.
    HalfDayHour,
    Minute,
    Second,
    Fraction,
    ZoneName,
    /// `X`, which writes UTC as `Z`.
    OffsetOrZ,
    /// `x` and `Z`, which do not.
    Offset,
}

impl Field {
    fn of(letter: char) -> Option<Self> {
        Some(match letter {
            'y' | 'u' => Self::Year,
            'Q' | 'q' => Self::Quarter,
            'M' | 'L' => Self::Month,
            'd' => Self::Day,
            'D' => Self::DayOfYear,
            'E' => Self::DayName,
            'a' => Self::HalfDay,
            'H' => Self::Hour,
            'k' => Self::ClockHour,
            'h' => Self::HalfDayClockHour,
            'K' => Self::HalfDayHour,
            'm' => Self::Minute,
            's' => Self::Second,
            'S' => Self::Fraction,
            'V' | 'z' => Self::ZoneName,
            'X' => Self::OffsetOrZ,
            'x' | 'Z' => Self::Offset,
            _ => return None,
        })
    }

    fn is_number(self, count: usize) -> bool {
        match self {
            Self::Month | Self::Quarter => count <= 2,
            Self::DayName | Self::HalfDay | Self::ZoneName | Self::OffsetOrZ | Self::Offset => {
                false
            }
            _ => true,
        }
    }
}

impl Pattern {
    /// Takes a pattern apart.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for letters without meaning and for
    /// quotes and brackets that are not closed.
    pub(super) fn compile(text: &str) -> Result<Self> {
        let wrong = |what: String| {
            Error::invalid(what)
                .with("pattern", text)
                .help("patterns are Spark's, such as yyyy-MM-dd HH:mm:ss or MMM d yyyy")
        };
        let letters: Vec<char> = text.chars().collect();
        if letters.len() > MAX_LENGTH {
            return Err(Error::invalid(format!(
                "the pattern has {} letters, and {MAX_LENGTH} are the most",
                letters.len()
            ))
            .help("patterns are Spark's, such as yyyy-MM-dd HH:mm:ss or MMM d yyyy"));
        }
        let mut steps = Vec::new();
        let mut open = Vec::new();
        let mut at = 0;
        while at < letters.len() {
            let letter = letters[at];
            let step = match letter {
                '\'' => {
                    let mut quoted = String::new();
                    at += 1;
                    loop {
                        match (letters.get(at), letters.get(at + 1)) {
                            (Some('\''), Some('\'')) => {
                                quoted.push('\'');
                                at += 2;
                            }
                            (Some('\''), _) => break,
                            (Some(letter), _) => {
                                quoted.push(*letter);
                                at += 1;
                            }
                            (None, _) => return Err(wrong("a quote is not closed".into())),
                        }
                    }
                    at += 1;
                    if quoted.is_empty() {
                        quoted.push('\'');
                    }
                    Step::Text(quoted)
                }
                '[' => {
                    at += 1;
                    open.push(steps.len());
                    Step::Optional { end: 0 }
                }
                ']' => {
                    at += 1;
                    let behind = steps.len();
                    match open.pop().and_then(|start: usize| steps.get_mut(start)) {
                        Some(Step::Optional { end }) => *end = behind,
                        _ => return Err(wrong("a bracket is not opened".into())),
                    }
                    continue;
                }
                letter if letter.is_ascii_alphabetic() => {
                    let count = letters[at..]
                        .iter()
                        .take_while(|other| **other == letter)
                        .count();
                    at += count;
                    let field = Field::of(letter)
                        .ok_or_else(|| wrong(format!("the letter {letter} means nothing")))?;
                    Step::Field(field, count)
                }
                other => {
                    at += 1;
                    Step::Text(other.to_string())
                }
            };
            steps.push(step);
        }
        if open.is_empty() {
            Ok(Self(steps))
        } else {
            Err(wrong("a bracket is not closed".into()))
        }
    }

    /// Reads a text. Nothing where it does not match, or is no date (February 30).
    pub(super) fn parse(&self, text: &str) -> Option<Instant> {
        self.read(text)?.instant()
    }

    /// Reads with what may be missing where that is possible, the first of it above all.
    fn read(&self, text: &str) -> Option<Parts> {
        let steps = &self.0;
        // Where reading goes on when it cannot here: without what may be missing.
        let mut other_ways: Vec<(usize, &str, Parts)> = Vec::new();
        // Whether the rest of a text matches the rest of the pattern does not depend on what was read
        // before, so that no place in both is tried twice.
        let mut tried: HashSet<(usize, usize)> = HashSet::new();
        let (mut at, mut left, mut parts) = (0, text, Parts::default());
        loop {
            let matches = match steps.get(at) {
                None if left.is_empty() => return Some(parts),
                None => None,
                Some(Step::Text(expected)) => left.strip_prefix(expected.as_str()),
                Some(Step::Field(field, count)) => {
                    let rest = steps.get(at + 1..).unwrap_or_default();
                    read_field(*field, *count, rest, left, &mut parts)
                }
                Some(Step::Optional { end }) => tried.insert((at, left.len())).then(|| {
                    other_ways.push((*end, left, parts.clone()));
                    left
                }),
            };
            (at, left, parts) = match matches {
                Some(rest) => (at + 1, rest, parts),
                None => other_ways.pop()?,
            };
        }
    }

    /// Writes a time in UTC.
    pub(super) fn format(&self, time: NaiveDateTime) -> String {
        let mut out = String::new();
        for step in &self.0 {
            match step {
                Step::Text(text) => out.push_str(text),
                Step::Optional { .. } => {}
                Step::Field(field, count) => write_field(*field, *count, time, &mut out),
            }
        }
        out
    }
}

/// A time as it was read: with an offset from UTC if the text had one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant {
    /// The date and time that the text names.
    pub(super) local: NaiveDateTime,
    /// Seconds to the east of UTC.
    pub(super) offset: Option<i32>,
}

impl Instant {
    /// The time in UTC; a text without zone is in UTC.
    pub(super) fn utc(self) -> Option<NaiveDateTime> {
        self.local.checked_sub_signed(chrono::Duration::seconds(
            self.offset.unwrap_or_default().into(),
        ))
    }
}

#[derive(Debug, Clone, Default)]
struct Parts {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    hour: Option<u32>,
    half_day_hour: Option<u32>,
    afternoon: Option<bool>,
    minute: Option<u32>,
    second: Option<u32>,
    nanos: Option<u32>,
    offset: Option<i32>,
    zone: Option<chrono_tz::Tz>,
}

impl Parts {
    fn instant(&self) -> Option<Instant> {
        let year = self.year.unwrap_or(1970);
        let date = match (self.day_of_year, self.month) {
            (Some(day), None) => NaiveDate::from_yo_opt(year, day)?,
            _ => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let hour = match (self.hour, self.half_day_hour) {
            (Some(hour), _) => hour,
            (None, Some(hour)) => {
                hour + if self.afternoon.unwrap_or(false) {
                    12
                } else {
                    0
                }
            }
            (None, None) => 0,
        };
        let time = NaiveTime::from_hms_nano_opt(
            hour,
            self.minute.unwrap_or(0),
            self.second.unwrap_or(0),
            self.nanos.unwrap_or(0),
        )?;
        let local = date.and_time(time);
        let offset = match (self.offset, self.zone) {
            (Some(offset), _) => Some(offset),
            (None, Some(zone)) => {
                let there = zone.from_local_datetime(&local).earliest()?;
                let seconds = local.signed_duration_since(there.naive_utc()).num_seconds();
                Some(i32::try_from(seconds).ok()?)
            }
            (None, None) => None,
        };
        Some(Instant { local, offset })
    }

    fn set(&mut self, field: Field, value: u32) -> Option<()> {
        let within = |low: u32, high: u32| (low..=high).contains(&value).then_some(value);
        match field {
            Field::Year => self.year = Some(i32::try_from(value).ok()?),
            Field::Month => self.month = Some(within(1, 12)?),
            Field::Day => self.day = Some(within(1, 31)?),
            Field::DayOfYear => self.day_of_year = Some(within(1, 366)?),
            Field::Hour => self.hour = Some(within(0, 23)?),
            Field::ClockHour => self.hour = Some(within(1, 24)? % 24),
            Field::HalfDayClockHour => self.half_day_hour = Some(within(1, 12)? % 12),
            Field::HalfDayHour => self.half_day_hour = Some(within(0, 11)?),
            Field::Minute => self.minute = Some(within(0, 59)?),
            Field::Second => self.second = Some(within(0, 59)?),
            Field::Quarter => {
                let quarter = within(1, 4)?;
                self.month.get_or_insert(quarter * 3 - 2);
            }
            _ => return None,
        }
        Some(())
    }
}

fn read_field<'t>(
    field: Field,
    count: usize,
    rest: &[Step],
    text: &'t str,
    parts: &mut Parts,
) -> Option<&'t str> {
    // No field is longer than a pattern, and no text is searched for more.
    let searched = text.bytes().take(2 * MAX_LENGTH);
    let digits = searched.take_while(u8::is_ascii_digit).count();
    match field {
        Field::Month if count > 2 => {
            let (place, left) = read_name(text, &MONTHS, count)?;
            parts.month = Some(place + 1);
            Some(left)
        }
        Field::DayName => read_name(text, &DAYS, count).map(|(_, left)| left),
        Field::HalfDay => {
            let half = text.get(..2)?;
            parts.afternoon = Some(match half.to_ascii_uppercase().as_str() {
                "AM" => false,
                "PM" => true,
                _ => return None,
            });
            Some(&text[2..])
        }
        Field::Fraction => {
            let length = digits.min(count).min(9);
            if length == 0 {
                return None;
            }
            let value: u32 = text[..length].parse().ok()?;
            let scale = u32::try_from(9 - length).ok()?;
            parts.nanos = Some(value * 10_u32.pow(scale));
            Some(&text[length..])
        }
        Field::ZoneName => {
            let length = text
                .bytes()
                .take(MAX_LENGTH)
                .take_while(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(byte))
                .count();
            let name = &text[..length];
            if name == "Z" {
                parts.offset = Some(0);
            } else {
                parts.zone = Some(name.parse().ok()?);
            }
            Some(&text[length..])
        }
        Field::OffsetOrZ | Field::Offset => {
            let (offset, left) = read_offset(text)?;
            parts.offset = Some(offset);
            Some(left)
        }
        Field::Year if count == 2 => {
            let value: i32 = text.get(..2).filter(|_| digits >= 2)?.parse().ok()?;
            parts.year = Some(2000 + value);
            Some(&text[2..])
        }
        _ => {
            let length = if count == 1 {
                // Numbers that follow without a gap keep their digits.
                let reserved: usize = rest
                    .iter()
                    .map_while(|step| match step {
                        Step::Field(field, count) if field.is_number(*count) => Some(*count),
                        _ => None,
                    })
                    .sum();
                digits.saturating_sub(reserved).min(9)
            } else {
                count
            };
            if length == 0 || length > digits {
                return None;
            }
            parts.set(field, text[..length].parse().ok()?)?;
            Some(&text[length..])
        }
    }
}

fn read_name<'t>(text: &'t str, names: &[&str], count: usize) -> Option<(u32, &'t str)> {
    for (place, name) in (0..).zip(names) {
        let name = if count >= 4 { name } else { &name[..3] };
        if let Some(start) = text.get(..name.len())
            && start.eq_ignore_ascii_case(name)
        {
            return Some((place, &text[name.len()..]));
        }
    }
    None
}

/// `Z`, `+02`, `+0200`, `+02:00`, `+02:00:00`.
fn read_offset(text: &str) -> Option<(i32, &str)> {
    if let Some(left) = text.strip_prefix(['Z', 'z']) {
        return Some((0, left));
    }
    let (sign, mut left) = match text.strip_prefix('+') {
        Some(left) => (1, left),
        None => (-1, text.strip_prefix('-')?),
    };
    let mut seconds = 0;
    for (place, unit) in [3_600, 60, 1].into_iter().enumerate() {
        let digits = match (place, left.strip_prefix(':')) {
            (1.., Some(after)) => after,
            _ => left,
        };
        match digits.get(..2).and_then(|two| two.parse::<u8>().ok()) {
            Some(value) if value < 60 => {
                seconds += i32::from(value) * unit;
                left = &digits[2..];
            }
            _ if place == 0 => return None,
            _ => break,
        }
    }
    (seconds <= 18 * 3_600).then_some((sign * seconds, left))
}

fn write_field(field: Field, count: usize, time: NaiveDateTime, out: &mut String) {
    let name = |names: &[&str], place: usize, out: &mut String| {
        let name = names.get(place).copied().unwrap_or_default();
        out.push_str(if count >= 4 { name } else { &name[..3] });
    };
    let hour12 = time.hour() % 12;
    let number: i64 = match field {
        Field::Year if count == 2 => i64::from(time.year().rem_euclid(100)),
        Field::Year => time.year().into(),
        Field::Month if count > 2 => {
            return name(&MONTHS, time.month0() as usize, out);
        }
        Field::Month => time.month().into(),
        Field::Quarter => {
            let quarter = time.month0() / 3 + 1;
            match count {
                3 => {
                    let _ = write!(out, "Q{quarter}");
                    return;
                }
                4.. => {
                    let ending = ["st", "nd", "rd", "th"][(quarter as usize - 1).min(3)];
                    let _ = write!(out, "{quarter}{ending} quarter");
                    return;
                }
                _ => quarter.into(),
            }
        }
        Field::Day => time.day().into(),
        Field::DayOfYear => time.ordinal().into(),
        Field::DayName => {
            return name(&DAYS, time.weekday().num_days_from_monday() as usize, out);
        }
        Field::HalfDay => {
            return out.push_str(if time.hour() < 12 { "AM" } else { "PM" });
        }
        Field::Hour => time.hour().into(),
        Field::ClockHour => i64::from(if time.hour() == 0 { 24 } else { time.hour() }),
        Field::HalfDayClockHour => i64::from(if hour12 == 0 { 12 } else { hour12 }),
        Field::HalfDayHour => hour12.into(),
        Field::Minute => time.minute().into(),
        Field::Second => time.second().into(),
        Field::Fraction => {
            let digits = format!("{:09}", time.nanosecond() % 1_000_000_000);
            return out.push_str(digits.get(..count).unwrap_or(&digits));
        }
        Field::ZoneName => return out.push_str("UTC"),
        Field::OffsetOrZ => return out.push('Z'),
        Field::Offset => {
            return out.push_str(match count {
                1 => "+00",
                2 => "+0000",
                _ => "+00:00",
            });
        }
    };
    let _ = write!(out, "{number:0count$}");
}

/// Reads a text as Spark's casts do: `2026`, `2026-1`, `2026-01-31`, `2026-01-31 12:00[:00[.5]]` with
/// `T` in place of the space, and a zone at the end.
pub(super) fn parse_plain(text: &str) -> Option<Instant> {
    let text = text.trim();
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(place) => (&text[..place], text[place + 1..].trim()),
        None => (text, ""),
    };
    let mut numbers = date.split('-');
    let year = numbers.next()?;
    if year.len() != 4 || !year.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut parts = Parts::default();
    parts.set(Field::Year, year.parse().ok()?)?;
    for (field, number) in [Field::Month, Field::Day].into_iter().zip(numbers.by_ref()) {
        if number.is_empty() || number.len() > 2 {
            return None;
        }
        parts.set(field, number.parse().ok()?)?;
    }
    if numbers.next().is_some() {
        return None;
    }
    if !time.is_empty() {
        read_clock(time, &mut parts)?;
    }
    parts.instant()
}

fn read_clock(text: &str, parts: &mut Parts) -> Option<()> {
    let end = text
        .find(|letter: char| !(letter.is_ascii_digit() || letter == ':' || letter == '.'))
        .unwrap_or(text.len());
    let (clock, zone) = text.split_at(end);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut fields = [Field::Hour, Field::Minute, Field::Second].into_iter();
    let mut count = 0;
    for number in clock.split(':') {
        if number.is_empty() || number.len() > 2 {
            return None;
        }
        parts.set(fields.next()?, number.parse().ok()?)?;
        count += 1;
    }
    if count < 2 || (!fraction.is_empty() && count < 3) {
        return None;
    }
    if !fraction.is_empty() {
        // Digits beyond microseconds are dropped, as in Spark.
        let digits = &fraction[..fraction.len().min(6)];
        let scale = u32::try_from(9 - digits.len()).ok()?;
        parts.nanos = Some(digits.parse::<u32>().ok()? * 10_u32.pow(scale));
    }
    let zone = zone.trim();
    if zone.is_empty() {
        return Some(());
    }
    if let Some((offset, "")) = read_offset(zone) {
        parts.offset = Some(offset);
    } else {
        parts.zone = Some(zone.parse().ok()?);
    }
    Some(())
}

/// A number of microseconds since 1970 as a date and time.
pub(super) fn from_micros(micros: i64) -> Option<NaiveDateTime> {
    DateTime::<Utc>::from_timestamp_micros(micros).map(|time| time.naive_utc())
}

#[cfg(test)]
mod tests;
