//! Functions on dates and times with Spark's meaning and Spark's patterns.
//!
//! Text that is no date gives NULL, as in Spark without ANSI mode; `try_to_date` and
//! `try_to_timestamp` are the same functions under the names that say so. A pattern that makes no
//! sense is an error.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, TimeUnit};
use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime};
use datafusion::common::cast::as_timestamp_microsecond_array;
use datafusion::common::cast::{as_date32_array, as_int64_array, as_string_array};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::pattern::{Instant, Pattern, from_micros, parse_plain};
use crate::error::to_datafusion;

const UTC: &str = "+00:00";

/// All functions of this module.
pub(super) fn all() -> Vec<Arc<dyn ScalarUDFImpl>> {
    use What as W;
    [
        ("to_date", &["try_to_date"] as &[&str], W::ToDate),
        (
            "to_timestamp",
            &["try_to_timestamp"],
            W::ToTimestamp { zoned: true },
        ),
        ("to_timestamp_ltz", &[], W::ToTimestamp { zoned: true }),
        ("to_timestamp_ntz", &[], W::ToTimestamp { zoned: false }),
        ("date_format", &[], W::Format),
        ("unix_timestamp", &["to_unix_timestamp"], W::UnixSeconds),
        ("timestamp_seconds", &[], W::FromUnix { per_second: 1 }),
        ("timestamp_millis", &[], W::FromUnix { per_second: 1_000 }),
        (
            "timestamp_micros",
            &[],
            W::FromUnix {
                per_second: 1_000_000,
            },
        ),
        ("year", &[], W::Part(Part::Year)),
        ("quarter", &[], W::Part(Part::Quarter)),
        ("month", &[], W::Part(Part::Month)),
        ("day", &["dayofmonth"], W::Part(Part::Day)),
        ("dayofweek", &[], W::Part(Part::DayOfWeek)),
        ("weekday", &[], W::Part(Part::Weekday)),
        ("dayofyear", &[], W::Part(Part::DayOfYear)),
        ("weekofyear", &[], W::Part(Part::WeekOfYear)),
    ]
    .into_iter()
    .map(|(name, aliases, what)| {
        Arc::new(DateFunction {
            name,
            aliases: aliases.iter().map(ToString::to_string).collect(),
            what,
            signature: Signature::variadic_any(Volatility::Immutable),
        }) as Arc<dyn ScalarUDFImpl>
    })
    .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    ToDate,
    ToTimestamp { zoned: bool },
    Format,
    UnixSeconds,
    FromUnix { per_second: i64 },
    Part(Part),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Year,
    Quarter,
    Month,
    Day,
    /// 1 is Sunday.
    DayOfWeek,
    /// 0 is Monday.
    Weekday,
    DayOfYear,
    /// Of the ISO year.
    WeekOfYear,
}

impl Part {
    fn of(self, date: NaiveDate) -> Option<i32> {
        let number = match self {
            Self::Year => return Some(date.year()),
            Self::Quarter => date.month0() / 3 + 1,
            Self::Month => date.month(),
            Self::Day => date.day(),
            Self::DayOfWeek => date.weekday().num_days_from_sunday() + 1,
            Self::Weekday => date.weekday().num_days_from_monday(),
            Self::DayOfYear => date.ordinal(),
            Self::WeekOfYear => date.iso_week().week(),
        };
        i32::try_from(number).ok()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct DateFunction {
    name: &'static str,
    aliases: Vec<String>,
    what: What,
    signature: Signature,
}

impl ScalarUDFImpl for DateFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let allowed = match self.what {
            What::ToDate | What::ToTimestamp { .. } | What::UnixSeconds => 1..=2,
            What::Format => 2..=2,
            What::FromUnix { .. } | What::Part(_) => 1..=1,
        };
        if !allowed.contains(&arguments.len()) {
            return Err(DataFusionError::Plan(format!(
                "{} takes {} to {} arguments, not {}",
                self.name,
                allowed.start(),
                allowed.end(),
                arguments.len()
            )));
        }
        let fits = match self.what {
            What::FromUnix { .. } => arguments[0].is_integer() || arguments[0].is_null(),
            What::ToTimestamp { .. } => is_time(&arguments[0]) || arguments[0].is_integer(),
            _ => is_time(&arguments[0]),
        };
        if !fits {
            return Err(DataFusionError::Plan(format!(
                "{} does not take a value of type {}",
                self.name, arguments[0]
            )));
        }
        if arguments.get(1).is_some_and(|pattern| !is_text(pattern)) {
            return Err(DataFusionError::Plan(format!(
                "the pattern of {} is text",
                self.name
            )));
        }
        Ok(match self.what {
            What::ToDate => DataType::Date32,
            What::ToTimestamp { zoned } => timestamp(zoned),
            What::FromUnix { .. } => timestamp(true),
            What::Format => DataType::Utf8,
            What::UnixSeconds => DataType::Int64,
            What::Part(_) => DataType::Int32,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args
            .args
            .iter()
            .all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let Some(input) = args.args.first() else {
            return Err(DataFusionError::Plan(format!(
                "{} needs a value",
                self.name
            )));
        };
        let input = input.to_array(rows)?;
        let patterns = args
            .args
            .get(1)
            .map(|pattern| Patterns::of(pattern, rows))
            .transpose()?;
        let output = self.compute(&input, patterns)?;
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &output, 0,
            )?));
        }
        Ok(ColumnarValue::Array(output))
    }

    /// `year(day) = 2026` is true for a range of days, by which files can be pruned.
    fn preimage(
        &self,
        arguments: &[Expr],
        value: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        let (What::Part(Part::Year), [column], Some(ScalarValue::Int32(Some(year)))) =
            (self.what, arguments, value.as_literal())
        else {
            return Ok(PreimageResult::None);
        };
        let ty = info.get_data_type(column)?;
        let is_utc = |zone: &Option<Arc<str>>| {
            zone.as_deref()
                .is_none_or(|zone| matches!(zone, UTC | "UTC" | "Z"))
        };
        if !matches!(&ty, DataType::Date32)
            && !matches!(&ty, DataType::Timestamp(_, zone) if is_utc(zone))
        {
            return Ok(PreimageResult::None);
        }
        let start = |year: i32| {
            let date = NaiveDate::from_ymd_opt(year, 1, 1)?;
            match &ty {
                DataType::Timestamp(_, zone) => {
                    let micros = date.and_time(NaiveTime::MIN).and_utc().timestamp_micros();
                    let micros = ScalarValue::TimestampMicrosecond(Some(micros), zone.clone());
                    // Nanoseconds end in the year 2262.
                    micros.cast_to(&ty).ok().filter(|value| !value.is_null())
                }
                _ => Some(ScalarValue::Date32(Some(Date32Type::from_naive_date(date)))),
            }
        };
        match (start(*year), year.checked_add(1).and_then(start)) {
            (Some(low), Some(high)) => Ok(PreimageResult::Range {
                expr: column.clone(),
                interval: Box::new(Interval::try_new(low, high)?),
            }),
            _ => Ok(PreimageResult::None),
        }
    }
}

impl DateFunction {
    fn compute(&self, input: &ArrayRef, patterns: Option<Patterns>) -> Result<ArrayRef> {
        Ok(match self.what {
            What::ToDate => {
                let dates = times(input, patterns, |instant| instant.local)?
                    .into_iter()
                    .map(|time| time.map(|time| Date32Type::from_naive_date(time.date())));
                Arc::new(Date32Array::from_iter(dates))
            }
            What::ToTimestamp { zoned } => {
                let zone = zoned.then(|| UTC.into());
                if input.data_type().is_integer() {
                    let seconds = cast(input, &DataType::Int64)?;
                    let micros = as_int64_array(&seconds)?
                        .iter()
                        .map(|seconds| seconds.and_then(|seconds| seconds.checked_mul(1_000_000)));
                    let micros = TimestampMicrosecondArray::from_iter(micros);
                    return Ok(Arc::new(micros.with_timezone_opt::<Arc<str>>(zone)));
                }
                let times = if zoned {
                    times(input, patterns, |instant| {
                        instant.utc().unwrap_or(instant.local)
                    })?
                } else {
                    times(input, patterns, |instant| instant.local)?
                };
                let micros = times
                    .into_iter()
                    .map(|time| time.map(|time| time.and_utc().timestamp_micros()));
                let micros = TimestampMicrosecondArray::from_iter(micros);
                Arc::new(micros.with_timezone_opt::<Arc<str>>(zone))
            }
            What::Format => {
                let times = times(input, None, |instant| {
                    instant.utc().unwrap_or(instant.local)
                })?;
                let mut patterns = patterns.unwrap_or(Patterns::One(None));
                let texts = times
                    .into_iter()
                    .enumerate()
                    .map(|(row, time)| {
                        let Some(pattern) = patterns.at(row)? else {
                            return Ok(None);
                        };
                        Ok(time.map(|time| pattern.format(time)))
                    })
                    .collect::<Result<Vec<_>>>()?;
                Arc::new(StringArray::from_iter(texts))
            }
            What::UnixSeconds => {
                let seconds = times(input, patterns, |instant| {
                    instant.utc().unwrap_or(instant.local)
                })?
                .into_iter()
                .map(|time| time.map(|time| time.and_utc().timestamp()));
                Arc::new(Int64Array::from_iter(seconds))
            }
            What::FromUnix { per_second } => {
                let numbers = cast(input, &DataType::Int64)?;
                let factor = 1_000_000 / per_second;
                let micros = as_int64_array(&numbers)?
                    .iter()
                    .map(|number| number.and_then(|number| number.checked_mul(factor)));
                let micros = TimestampMicrosecondArray::from_iter(micros);
                Arc::new(micros.with_timezone(UTC))
            }
            What::Part(part) => {
                let numbers = times(input, None, |instant| instant.local)?
                    .into_iter()
                    .map(|time| time.and_then(|time| part.of(time.date())));
                Arc::new(Int32Array::from_iter(numbers))
            }
        })
    }
}

fn timestamp(zoned: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| UTC.into()))
}

fn is_text(ty: &DataType) -> bool {
    matches!(
        ty,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
    )
}

fn is_time(ty: &DataType) -> bool {
    is_text(ty)
        || matches!(
            ty,
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)
        )
        || matches!(ty, DataType::Dictionary(_, value) if is_text(value))
}

/// The patterns of the rows; mostly it is one.
enum Patterns {
    One(Option<Pattern>),
    Many {
        texts: StringArray,
        last: Option<(String, Pattern)>,
    },
}

impl Patterns {
    fn of(value: &ColumnarValue, rows: usize) -> Result<Self> {
        match value {
            ColumnarValue::Scalar(text) => match text.try_as_str().flatten() {
                Some(text) => Ok(Self::One(Some(
                    Pattern::compile(text).map_err(to_datafusion)?,
                ))),
                None => Ok(Self::One(None)),
            },
            ColumnarValue::Array(_) => {
                let texts = cast(&value.to_array(rows)?, &DataType::Utf8)?;
                Ok(Self::Many {
                    texts: as_string_array(&texts)?.clone(),
                    last: None,
                })
            }
        }
    }

    fn at(&mut self, row: usize) -> Result<Option<&Pattern>> {
        match self {
            Self::One(pattern) => Ok(pattern.as_ref()),
            Self::Many { texts, last } => {
                if texts.is_null(row) {
                    return Ok(None);
                }
                let text = texts.value(row);
                if last.as_ref().is_none_or(|(known, _)| known != text) {
                    let pattern = Pattern::compile(text).map_err(to_datafusion)?;
                    *last = Some((text.to_string(), pattern));
                }
                Ok(last.as_ref().map(|(_, pattern)| pattern))
            }
        }
    }
}

/// Each row as a date and time. Text is read by its pattern, or as a cast would read it, and `pick`
/// says which of its readings counts.
fn times(
    input: &ArrayRef,
    patterns: Option<Patterns>,
    pick: impl Fn(Instant) -> NaiveDateTime,
) -> Result<Vec<Option<NaiveDateTime>>> {
    match input.data_type() {
        DataType::Date32 | DataType::Date64 => {
            let dates = cast(input, &DataType::Date32)?;
            Ok(as_date32_array(&dates)?
                .iter()
                .map(|days| {
                    Date32Type::to_naive_date_opt(days?).map(|date| date.and_time(NaiveTime::MIN))
                })
                .collect())
        }
        DataType::Timestamp(_, zone) => {
            // Without zone the clock's reading is kept, with zone the reading in UTC.
            let micros = cast(
                input,
                &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            )?;
            Ok(as_timestamp_microsecond_array(&micros)?
                .iter()
                .map(|micros| micros.and_then(from_micros))
                .collect())
        }
        _ => {
            let texts = cast(input, &DataType::Utf8)?;
            let texts = as_string_array(&texts)?;
            let mut patterns = patterns;
            texts
                .iter()
                .enumerate()
                .map(|(row, text)| {
                    let Some(text) = text else {
                        return Ok(None);
                    };
                    let read = match &mut patterns {
                        None => parse_plain(text),
                        Some(patterns) => patterns.at(row)?.and_then(|pattern| pattern.parse(text)),
                    };
                    Ok(read.map(&pick))
                })
                .collect()
        }
    }
}
