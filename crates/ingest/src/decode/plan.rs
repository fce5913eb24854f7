//! The declared schema, made ready for decoding: what each column takes from a text.

use std::borrow::Cow;
use std::collections::HashMap;

use arrow::datatypes::{DataType, FieldRef, Fields, Schema, TimeUnit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::number::{self, Misfit};
use super::time;
use crate::dead_letter::{ErrorType, shortened};
use crate::error::{IngestError, Result};

/// A value that fits its column, before it is appended to an array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    /// Integers, unscaled decimals, and dates, times and timestamps in the unit of the column.
    Int(i128),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Vec<u8>),
    List(Vec<Cell<'a>>),
    Struct(Vec<Cell<'a>>),
    Map(Vec<(Cell<'a>, Cell<'a>)>),
}

/// Why a record is no row: what a dead letter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reject {
    pub(crate) error_type: ErrorType,
    pub(crate) message: String,
}

impl Reject {
    pub(crate) fn new(error_type: ErrorType, message: impl Into<String>) -> Self {
        Self {
            error_type,
            message: message.into(),
        }
    }
}

/// What a column takes.
#[derive(Debug)]
pub(crate) enum Kind {
    Null,
    Bool,
    Int {
        least: i128,
        most: i128,
    },
    Float32,
    Float64,
    Decimal {
        precision: u8,
        scale: i8,
    },
    Text,
    Binary,
    FixedBinary(usize),
    Date,
    DateMillis,
    /// A time of day.
    Time(TimeUnit),
    Timestamp(TimeUnit),
    List(Box<Column>),
    Struct(Columns),
    /// Keys are texts; these are the values.
    Map(Box<Column>),
}

/// A declared column or nested field.
#[derive(Debug)]
pub(crate) struct Column {
    /// The name with those of the fields around it, for messages.
    pub(crate) path: String,
    pub(crate) field: FieldRef,
    pub(crate) kind: Kind,
}

/// The declared columns of a record or of a struct.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) list: Vec<Column>,
    by_name: HashMap<String, usize>,
}

impl Columns {
    /// Plans the columns of a schema for a text format.
    ///
    /// # Errors
    /// [`IngestError::UnsupportedType`] where the format cannot deliver a column.
    pub(crate) fn plan(schema: &Schema, format: &'static str, nested: bool) -> Result<Self> {
        Self::of_fields(schema.fields(), "", format, nested)
    }

    fn of_fields(
        fields: &Fields,
        prefix: &str,
        format: &'static str,
        nested: bool,
    ) -> Result<Self> {
        let list = fields
            .iter()
            .map(|field| {
                let path = format!("{prefix}{}", field.name());
                Column::plan(field, path, format, nested)
            })
            .collect::<Result<Vec<_>>>()?;
        let by_name = list
            .iter()
            .enumerate()
            .map(|(at, column)| (column.field.name().clone(), at))
            .collect();
        Ok(Self { list, by_name })
    }

    /// The place of a column by its exact name. `hint` is where it is if the record has its
    /// fields in the declared order, which most have.
    pub(crate) fn find(&self, name: &str, hint: usize) -> Option<usize> {
        match self.list.get(hint) {
            Some(column) if column.field.name() == name => Some(hint),
            _ => self.by_name.get(name).copied(),
        }
    }
}

impl Column {
    fn plan(field: &FieldRef, path: String, format: &'static str, nested: bool) -> Result<Self> {
        let kind = match field.data_type() {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Bool,
            DataType::Int8 => int(i8::MIN, i8::MAX),
            DataType::Int16 => int(i16::MIN, i16::MAX),
            DataType::Int32 => int(i32::MIN, i32::MAX),
            DataType::Int64 => int(i64::MIN, i64::MAX),
            DataType::UInt8 => int(u8::MIN, u8::MAX),
            DataType::UInt16 => int(u16::MIN, u16::MAX),
            DataType::UInt32 => int(u32::MIN, u32::MAX),
            DataType::UInt64 => int(u64::MIN, u64::MAX),
            DataType::Float32 => Kind::Float32,
            DataType::Float64 => Kind::Float64,
            DataType::Decimal128(precision, scale) => Kind::Decimal {
                precision: *precision,
                scale: *scale,
            },
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::Binary,
            DataType::FixedSizeBinary(width) => {
                Kind::FixedBinary(usize::try_from(*width).unwrap_or_default())
            }
            DataType::Date32 => Kind::Date,
            DataType::Date64 => Kind::DateMillis,
            DataType::Time32(unit) | DataType::Time64(unit) => Kind::Time(*unit),
            DataType::Timestamp(unit, _) => Kind::Timestamp(*unit),
            DataType::List(item) | DataType::LargeList(item) if nested => {
                let item = Self::plan(item, format!("{path}[]"), format, nested)?;
                Kind::List(Box::new(item))
            }
            DataType::Struct(fields) if nested => Kind::Struct(Columns::of_fields(
                fields,
                &format!("{path}."),
                format,
                nested,
            )?),
            DataType::Map(entries, _) if nested => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => {
                    let key = Self::plan(&fields[0], format!("{path}.key"), format, nested)?;
                    let value = Self::plan(&fields[1], format!("{path}[]"), format, nested)?;
                    if !matches!(key.kind, Kind::Text) {
                        return Err(unsupported(path, format, field.data_type()));
                    }
                    Kind::Map(Box::new(value))
                }
                _ => return Err(unsupported(path, format, field.data_type())),
            },
            other => return Err(unsupported(path, format, other)),
        };
        Ok(Self {
            path,
            field: field.clone(),
            kind,
        })
    }

    /// A number, given by its text, in this column.
    pub(crate) fn number<'a>(&self, text: &'a str) -> Result<Cell<'a>, Reject> {
        let cell = match &self.kind {
            Kind::Text => return Ok(Cell::Text(Cow::Borrowed(text))),
            Kind::Int { least, most } => number::exact(text, 0).and_then(|value| {
                let fits = *least <= value && value <= *most;
                if fits {
                    Ok(Cell::Int(value))
                } else {
                    Err(Misfit::Overflow)
                }
            }),
            Kind::Decimal { precision, scale } => number::exact(text, *scale).and_then(|value| {
                let limit = 10_u128
                    .checked_pow(u32::from(*precision))
                    .unwrap_or(u128::MAX);
                let fits = value.unsigned_abs() < limit;
                if fits {
                    Ok(Cell::Int(value))
                } else {
                    Err(Misfit::Overflow)
                }
            }),
            Kind::Float64 => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Cell::Float(value)),
                Ok(_) => Err(Misfit::Overflow),
                Err(_) => Err(Misfit::NoNumber),
            },
            Kind::Float32 => match text.parse::<f32>() {
                Ok(value) if value.is_finite() => Ok(Cell::Float(f64::from(value))),
                Ok(_) => Err(Misfit::Overflow),
                Err(_) => Err(Misfit::NoNumber),
            },
            _ => return Err(self.mismatch("the number", text)),
        };
        cell.map_err(|misfit| match misfit {
            Misfit::Overflow => Reject::new(
                ErrorType::OutOfRange,
                format!(
                    "column {:?}: {} is too large for {}",
                    self.path,
                    shortened(text),
                    self.expected()
                ),
            ),
            Misfit::Fraction => self.mismatch("the number with more decimal places", text),
            Misfit::NoNumber => self.mismatch("the text", text),
        })
    }

    /// A text, such as a JSON string, in this column. Numbers in texts are not read as numbers.
    pub(crate) fn text<'a>(&self, text: Cow<'a, str>) -> Result<Cell<'a>, Reject> {
        let cell = match &self.kind {
            Kind::Text => return Ok(Cell::Text(text)),
            Kind::Binary => STANDARD.decode(text.as_bytes()).ok().map(Cell::Bytes),
            Kind::FixedBinary(width) => fixed(&text, *width).map(Cell::Bytes),
            Kind::Date => time::date(&text).map(|days| Cell::Int(days.into())),
            Kind::DateMillis => {
                time::date(&text).map(|days| Cell::Int(i128::from(days) * 86_400_000))
            }
            Kind::Time(unit) => time::time(&text).map(|micros| in_unit(micros, *unit)),
            Kind::Timestamp(unit) => time::timestamp(&text).map(|micros| in_unit(micros, *unit)),
            _ => None,
        };
        match cell {
            Some(Cell::Int(value)) if i64::try_from(value).is_err() => Err(Reject::new(
                ErrorType::OutOfRange,
                format!(
                    "column {:?}: {:?} is too far from 1970 for {}",
                    self.path,
                    shortened(&text),
                    self.expected()
                ),
            )),
            Some(cell) => Ok(cell),
            None => Err(self.mismatch("the string", &format!("{:?}", shortened(&text)))),
        }
    }

    /// A truth value, given by its text, in this column.
    pub(crate) fn truth<'a>(&self, text: &'static str) -> Result<Cell<'a>, Reject> {
        match self.kind {
            Kind::Bool => Ok(Cell::Bool(text == "true")),
            Kind::Text => Ok(Cell::Text(Cow::Borrowed(text))),
            _ => Err(self.mismatch("the boolean", text)),
        }
    }

    /// A field of a CSV row, where all values are texts and numbers are written without quotes
    /// as often as with them.
    pub(crate) fn csv<'a>(&self, text: Cow<'a, str>) -> Result<Cell<'a>, Reject> {
        match (&self.kind, text) {
            (Kind::Bool, text) => match text.trim() {
                word if word.eq_ignore_ascii_case("true") => Ok(Cell::Bool(true)),
                word if word.eq_ignore_ascii_case("false") => Ok(Cell::Bool(false)),
                _ => Err(self.mismatch("the text", &text)),
            },
            (Kind::Float32 | Kind::Float64, text) if text.trim().eq_ignore_ascii_case("nan") => {
                Ok(Cell::Float(f64::NAN))
            }
            (Kind::Int { .. } | Kind::Float32 | Kind::Float64 | Kind::Decimal { .. }, text) => {
                // The cells of numbers own nothing, so the text may be given back here.
                match self.number(text.trim())? {
                    Cell::Int(value) => Ok(Cell::Int(value)),
                    Cell::Float(value) => Ok(Cell::Float(value)),
                    _ => Err(self.mismatch("the text", &text)),
                }
            }
            (Kind::Date | Kind::DateMillis | Kind::Time(_) | Kind::Timestamp(_), text) => {
                let trimmed = text.trim();
                if trimmed.len() == text.len() {
                    self.text(text)
                } else {
                    self.text(Cow::Owned(trimmed.to_owned()))
                }
            }
            (_, text) => self.text(text),
        }
    }

    /// The reject of a column without a value.
    pub(crate) fn missing(&self, how: &str) -> Reject {
        Reject::new(
            ErrorType::MissingRequired,
            format!(
                "column {:?} is declared NOT NULL, and the record {how}",
                self.path
            ),
        )
    }

    pub(crate) fn mismatch(&self, what: &str, value: &str) -> Reject {
        Reject::new(
            ErrorType::TypeMismatch,
            format!(
                "column {:?}: expected {}, found {what} {}",
                self.path,
                self.expected(),
                shortened(value)
            ),
        )
    }

    /// The declared type in the words of SQL.
    fn expected(&self) -> String {
        sql_name(self.field.data_type())
    }
}

fn int(least: impl Into<i128>, most: impl Into<i128>) -> Kind {
    Kind::Int {
        least: least.into(),
        most: most.into(),
    }
}

fn unsupported(path: String, format: &'static str, data_type: &DataType) -> IngestError {
    IngestError::UnsupportedType {
        column: path,
        format,
        data_type: data_type.clone(),
    }
}

fn in_unit<'a>(micros: i64, unit: TimeUnit) -> Cell<'a> {
    let micros = i128::from(micros);
    Cell::Int(match unit {
        TimeUnit::Second => micros.div_euclid(1_000_000),
        TimeUnit::Millisecond => micros.div_euclid(1_000),
        TimeUnit::Microsecond => micros,
        TimeUnit::Nanosecond => micros * 1_000,
    })
}

/// Fixed binary is base64; sixteen bytes may also be written as a UUID.
fn fixed(text: &str, width: usize) -> Option<Vec<u8>> {
    if width == 16 && text.len() == 36 {
        return Uuid::parse_str(text)
            .ok()
            .map(|uuid| uuid.as_bytes().to_vec());
    }
    STANDARD
        .decode(text)
        .ok()
        .filter(|bytes| bytes.len() == width)
}

/// The name of a type as people declare it.
pub(crate) fn sql_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY (base64)",
        DataType::Date32 => "DATE (ISO-8601)",
        DataType::Time64(_) => "TIME (ISO-8601)",
        DataType::Timestamp(_, _) => "TIMESTAMP (ISO-8601)",
        DataType::Decimal128(precision, scale) => return format!("DECIMAL({precision}, {scale})"),
        DataType::List(_) | DataType::LargeList(_) => "ARRAY",
        DataType::Struct(_) => "STRUCT",
        DataType::Map(_, _) => "MAP",
        other => return other.to_string(),
    };
    name.to_owned()
}
