//! A schema from the data, where none is declared.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

use super::columnar;
use super::csv;
use super::json::{Parser, utf8};
use super::number;
use super::plan::Reject;
use super::text::{Frames, framer, header};
use super::{Context, CsvOptions, Format, ReadOptions};
use crate::error::{IngestError, Result};
use crate::files::{FileStore, SourceFile};

/// How many records of each file are looked at.
pub const SAMPLE_RECORDS: usize = 1000;

/// How many fields an inferred schema has at most, those inside of others among them.
pub const MAX_INFERRED_FIELDS: usize = 10_000;

/// Infers a schema from the first [`SAMPLE_RECORDS`] records of each file, in the order given.
/// The same files give the same schema. Whoever uses it keeps it: later files are read with it
/// rather than inferred anew, and what does not fit becomes a dead letter.
///
/// All columns may be NULL and stand in the order in which they are met. JSON: integers are
/// BIGINT, or STRING where one does not fit; with fractions among them DOUBLE; numbers mixed with
/// strings, and kinds mixed otherwise, STRING; a column that is always null, STRING; objects are
/// STRUCT, an object without fields MAP of strings. Strings stay STRING even if they look like
/// dates. CSV: BIGINT, DOUBLE, BOOLEAN or STRING; a number with a leading zero is a STRING.
/// Parquet and Arrow: the types of the files, in the nearest type that a table can have, widened
/// where files differ.
///
/// # Errors
/// [`IngestError::NoSchema`] when there are no files, no columns or more than [`MAX_INFERRED_FIELDS`], and
/// those of
/// [`FileReader::open`](super::FileReader::open).
pub async fn infer_schema(
    store: &FileStore,
    files: &[SourceFile],
    format: Format,
    csv: &CsvOptions,
) -> Result<SchemaRef> {
    let mut columns = Shape::Object(Members::default());
    for file in files {
        let options = ReadOptions::new(format, columnar::no_columns()).with_csv(csv.clone());
        let context = Context {
            store: store.clone(),
            file: file.clone(),
            source: "".into(),
            options,
        };
        let shape = match format {
            Format::Parquet | Format::Arrow => {
                let schema = columnar::schema(&context).await?;
                from_fields(&context, schema.fields(), "")?
            }
            Format::Csv => sample_csv(&context).await?,
            _ => sample_json(&context).await?,
        };
        columns = columns.and(shape).bounded(&context)?;
    }
    let fields = match columns.data_type() {
        DataType::Struct(fields) => fields,
        _ => Fields::empty(),
    };
    if fields.is_empty() {
        return Err(IngestError::NoSchema {
            pattern: files
                .first()
                .map_or_else(String::new, |file| file.location.to_string()),
            reason: if files.is_empty() {
                "there are no files".to_owned()
            } else {
                format!("the {format} files have no record with a column")
            },
        });
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// What has been seen of a value.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    /// Nothing but nulls.
    Unknown,
    Bool,
    Int,
    /// An integer beyond 64 bits.
    BigInt,
    Float,
    Text,
    List(Box<Shape>),
    Object(Members),
    /// A type of a file that has types.
    Typed(DataType),
}

impl Shape {
    /// The shape that takes both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Unknown, other) | (other, Self::Unknown) => other,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            (Self::List(a), Self::List(b)) => Self::List(Box::new(a.and(*b))),
            (Self::Object(mut fields), Self::Object(more)) => {
                for (name, shape) in more.list {
                    match fields.get_mut(&name) {
                        Some(known) => {
                            let before = std::mem::replace(known, Self::Unknown);
                            *known = before.and(shape);
                        }
                        None => fields.set(name, shape),
                    }
                }
                Self::Object(fields)
            }
            (Self::Typed(a), Self::Typed(b)) => Self::Typed(widened(&a, &b)),
            _ => Self::Text,
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Unknown | Self::BigInt | Self::Text => DataType::Utf8,
            Self::List(item) => {
                DataType::List(Arc::new(Field::new("element", item.data_type(), true)))
            }
            Self::Object(fields) if fields.list.is_empty() => {
                let entries = Fields::from(vec![
                    Field::new("key", DataType::Utf8, false),
                    Field::new("value", DataType::Utf8, true),
                ]);
                let entries = Field::new("key_value", DataType::Struct(entries), false);
                DataType::Map(Arc::new(entries), false)
            }
            Self::Object(fields) => DataType::Struct(
                fields
                    .list
                    .iter()
                    .map(|(name, shape)| Field::new(name, shape.data_type(), true))
                    .collect(),
            ),
            Self::Typed(data_type) => data_type.clone(),
        }
    }

    /// How many fields there are, those inside of others among them.
    fn fields(&self) -> usize {
        match self {
            Self::List(item) => item.fields(),
            Self::Object(fields) => {
                let inner = fields.list.iter().map(|(_, shape)| shape.fields());
                fields.list.len() + inner.sum::<usize>()
            }
            _ => 0,
        }
    }

    /// The same shape, unless it has too many fields.
    fn bounded(self, context: &Context) -> Result<Self> {
        let fields = self.fields();
        if fields <= MAX_INFERRED_FIELDS {
            return Ok(self);
        }
        Err(IngestError::NoSchema {
            pattern: context.file.location.to_string(),
            reason: format!(
                "the records have {fields} fields, and {MAX_INFERRED_FIELDS} are the most that are \
                 inferred; an object that has ids or other values as names is a MAP"
            ),
        })
    }
}

/// The fields of an object in the order in which their names were first met, each found by its name.
#[derive(Debug, Clone, Default)]
struct Members {
    list: Vec<(String, Shape)>,
    places: HashMap<String, usize>,
}

impl Members {
    fn get_mut(&mut self, name: &str) -> Option<&mut Shape> {
        let place = *self.places.get(name)?;
        self.list.get_mut(place).map(|(_, shape)| shape)
    }

    /// Adds a field; of a name that is repeated the last value counts.
    fn set(&mut self, name: String, shape: Shape) {
        match self.get_mut(&name) {
            Some(known) => *known = shape,
            None => {
                self.places.insert(name.clone(), self.list.len());
                self.list.push((name, shape));
            }
        }
    }
}

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl FromIterator<(String, Shape)> for Members {
    fn from_iter<I: IntoIterator<Item = (String, Shape)>>(fields: I) -> Self {
        let mut members = Self::default();
        for (name, shape) in fields {
            // A file with types may have a name twice; whoever uses the schema says so.
            let place = members.list.len();
            members.places.entry(name.clone()).or_insert(place);
            members.list.push((name, shape));
        }
        members
    }
}

async fn sample_json(context: &Context) -> Result<Shape> {
    let mut frames = Frames::new(framer(context));
    let mut columns = Shape::Object(Members::default());
    for _ in 0..SAMPLE_RECORDS {
        let Some(frame) = frames.next(context).await? else {
            break;
        };
        if frame.reject.is_some() {
            continue;
        }
        // A record that cannot be read says nothing about the schema; it will be a dead letter.
        if let Ok(shape @ Shape::Object(_)) = json_shape(&frame.raw) {
            columns = columns.and(shape).bounded(context)?;
        }
    }
    Ok(columns)
}

fn json_shape(record: &[u8]) -> Result<Shape, Reject> {
    let mut parser = Parser::new(utf8(record)?);
    parser.blanks();
    let shape = value_shape(&mut parser, 0)?;
    parser.end()?;
    Ok(shape)
}

fn value_shape(parser: &mut Parser<'_>, depth: usize) -> Result<Shape, Reject> {
    Ok(match parser.peek() {
        Some(b'{') => {
            let mut fields = Members::default();
            parser.object(depth, |parser, name| {
                let shape = value_shape(parser, depth + 1)?;
                fields.set(name.into_owned(), shape);
                Ok(())
            })?;
            Shape::Object(fields)
        }
        Some(b'[') => {
            let mut item = Shape::Unknown;
            parser.array(depth, |parser| {
                let shape = value_shape(parser, depth + 1)?;
                item = std::mem::replace(&mut item, Shape::Unknown).and(shape);
                Ok(())
            })?;
            Shape::List(Box::new(item))
        }
        Some(b'-' | b'0'..=b'9') => number_shape(parser.number()?),
        Some(b'"') => {
            parser.string()?;
            Shape::Text
        }
        Some(b'n') => {
            parser.word("null")?;
            Shape::Unknown
        }
        _ => {
            parser.skip_value(depth)?;
            Shape::Bool
        }
    })
}

fn number_shape(text: &str) -> Shape {
    if text.contains(['.', 'e', 'E']) {
        return Shape::Float;
    }
    match number::exact(text, 0).map(i64::try_from) {
        Ok(Ok(_)) => Shape::Int,
        _ => Shape::BigInt,
    }
}

async fn sample_csv(context: &Context) -> Result<Shape> {
    let options = &context.options.csv;
    let mut frames = Frames::new(framer(context));
    let mut columns: Vec<(String, Shape)> = Vec::new();
    if options.header {
        let Some(first) = frames.next(context).await? else {
            return Ok(Shape::Object(Members::default()));
        };
        let names = header(context, &first)?;
        columns.extend(names.into_iter().map(|name| (name, Shape::Unknown)));
    }
    for _ in 0..SAMPLE_RECORDS {
        let Some(frame) = frames.next(context).await? else {
            break;
        };
        if frame.reject.is_some() {
            continue;
        }
        let Ok(fields) = csv::fields(&frame.raw, options.delimiter, options.quote) else {
            continue;
        };
        if columns.is_empty() {
            let names = (1..=fields.len()).map(|at| (format!("_c{at}"), Shape::Unknown));
            columns.extend(names);
        }
        if fields.len() != columns.len() {
            continue;
        }
        for ((_, shape), (text, quoted)) in columns.iter_mut().zip(fields) {
            if !quoted && *text == *options.null_value {
                continue;
            }
            let before = std::mem::replace(shape, Shape::Unknown);
            *shape = before.and(csv_shape(text.trim()));
        }
    }
    Ok(Shape::Object(columns.into_iter().collect()))
}

fn csv_shape(text: &str) -> Shape {
    if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") {
        return Shape::Bool;
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let leading_zero =
        unsigned.starts_with('0') && unsigned.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    let is_number = unsigned.starts_with(|char: char| char.is_ascii_digit())
        && !leading_zero
        && text.parse::<f64>().is_ok_and(f64::is_finite);
    if is_number {
        number_shape(text)
    } else {
        Shape::Text
    }
}

/// The columns of a file with types, each in the nearest type that a table can have.
fn from_fields(context: &Context, fields: &Fields, path: &str) -> Result<Shape> {
    let columns = fields.iter().map(|field| {
        let data_type = table_type(
            context,
            field.data_type(),
            &format!("{path}{}", field.name()),
        )?;
        Ok((field.name().clone(), Shape::Typed(data_type)))
    });
    Ok(Shape::Object(columns.collect::<Result<_>>()?))
}

fn table_type(context: &Context, data_type: &DataType, path: &str) -> Result<DataType> {
    use DataType as T;
    let inner = |field: &FieldRef, name: &str| -> Result<FieldRef> {
        let data_type = table_type(context, field.data_type(), &format!("{path}{name}"))?;
        Ok(Arc::new(Field::new(field.name(), data_type, true)))
    };
    Ok(match data_type {
        T::Boolean | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Utf8 | T::Binary => {
            data_type.clone()
        }
        T::Date32 | T::FixedSizeBinary(_) => data_type.clone(),
        T::Null | T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::LargeBinary | T::BinaryView => T::Binary,
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Float16 => T::Float32,
        T::Date64 => T::Date32,
        T::Time32(_) | T::Time64(_) => T::Time64(TimeUnit::Microsecond),
        T::Timestamp(_, zone) => T::Timestamp(
            TimeUnit::Microsecond,
            zone.as_ref().map(|_| "+00:00".into()),
        ),
        T::Decimal32(precision, scale)
        | T::Decimal64(precision, scale)
        | T::Decimal128(precision, scale)
        | T::Decimal256(precision, scale)
            if *precision <= 38 && *scale >= 0 =>
        {
            T::Decimal128(*precision, *scale)
        }
        T::Dictionary(_, values) => table_type(context, values, path)?,
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            T::List(inner(item, "[]")?)
        }
        T::Struct(fields) => T::Struct(
            fields
                .iter()
                .map(|field| inner(field, &format!(".{}", field.name())))
                .collect::<Result<_>>()?,
        ),
        T::Map(entries, sorted) => match entries.data_type() {
            T::Struct(fields) if fields.len() == 2 => {
                let key = table_type(context, fields[0].data_type(), &format!("{path}.key"))?;
                let key = Arc::new(Field::new(fields[0].name(), key, false));
                let fields = Fields::from(vec![key, inner(&fields[1], "[]")?]);
                let entries = Field::new(entries.name(), T::Struct(fields), false);
                T::Map(Arc::new(entries), *sorted)
            }
            _ => return Err(no_table_type(context, data_type, path)),
        },
        _ => return Err(no_table_type(context, data_type, path)),
    })
}

fn no_table_type(context: &Context, data_type: &DataType, path: &str) -> IngestError {
    IngestError::NoSchema {
        pattern: context.file.location.to_string(),
        reason: format!("column {path:?} is {data_type}, for which tables have no type"),
    }
}

/// The type that takes the values of both; STRING where only that does.
fn widened(a: &DataType, b: &DataType) -> DataType {
    use DataType as T;
    match (a, b) {
        _ if a == b => a.clone(),
        (T::Int32, T::Int64) | (T::Int64, T::Int32) => T::Int64,
        (T::Int32 | T::Int64 | T::Float32 | T::Float64, T::Float32 | T::Float64)
        | (T::Float32 | T::Float64, T::Int32 | T::Int64) => T::Float64,
        (T::Timestamp(unit, _), T::Timestamp(_, _)) => T::Timestamp(*unit, Some("+00:00".into())),
        (T::Struct(a), T::Struct(b)) => {
            let fields = |fields: &Fields| {
                let typed = |field: &FieldRef| {
                    (
                        field.name().clone(),
                        Shape::Typed(field.data_type().clone()),
                    )
                };
                Shape::Object(fields.iter().map(typed).collect())
            };
            fields(a).and(fields(b)).data_type()
        }
        (T::List(a), T::List(b)) => {
            let item = widened(a.data_type(), b.data_type());
            T::List(Arc::new(Field::new(a.name(), item, true)))
        }
        _ => T::Utf8,
    }
}
