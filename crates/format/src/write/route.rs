//! Which partition each row goes to.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Float32Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StructArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{partition, take, take_record_batch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::row::{RowConverter, SortField};
use chrono::{DateTime, NaiveDate, TimeDelta};
use iceberg::spec::{
    Literal, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Struct, StructType, Transform,
    Type,
};
use iceberg::transform::{BoxedTransformFunction, create_transform_function};

use crate::partition::months;
use crate::{Error, Result};

/// A partition that was seen, by its place in [`Router::partitions`].
pub(super) type PartitionId = usize;

/// A partition: its values and its folder below the table's data.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    pub values: Struct,
    /// Empty for an unpartitioned table.
    pub path: String,
}

/// Splits batches by partition.
pub(super) struct Router {
    columns: Vec<PartitionColumn>,
    /// None where all rows go to one partition.
    keys: Option<Keys>,
    partitions: Vec<Partition>,
}

struct PartitionColumn {
    name: String,
    transform: Transform,
    function: BoxedTransformFunction,
    /// The way to the source column through nested structs.
    source: Vec<usize>,
    result: PrimitiveType,
}

struct Keys {
    converter: RowConverter,
    known: HashMap<Box<[u8]>, PartitionId>,
}

impl Router {
    pub(super) fn new(spec: &PartitionSpec, schema: &Schema) -> Result<Self> {
        let types = spec.partition_type(schema)?;
        let mut columns = Vec::new();
        for (field, result) in spec.fields().iter().zip(types.fields()) {
            let wrong = |message: &str| {
                Error::corrupt(message)
                    .with("partition field", &field.name)
                    .with("transform", field.transform)
            };
            if matches!(
                field.transform,
                Transform::Bucket(0) | Transform::Truncate(0)
            ) {
                return Err(wrong("a partition transform has the width 0"));
            }
            let Type::Primitive(result) = result.field_type.as_ref() else {
                return Err(wrong("a partition value must not be nested"));
            };
            let source = path_to(schema.as_struct(), field.source_id);
            columns.push(PartitionColumn {
                name: field.name.clone(),
                transform: field.transform,
                function: create_transform_function(&field.transform)?,
                // A void field may outlive its source column; its value is NULL whatever is written.
                source: match (source, field.transform) {
                    (Some(source), _) => source,
                    (None, Transform::Void) => Vec::new(),
                    (None, _) => {
                        return Err(wrong("a partition field's source column does not exist"));
                    }
                },
                result: result.clone(),
            });
        }
        let sorted = columns
            .iter()
            .filter(|column| column.transform != Transform::Void)
            .map(|column| {
                let ty = Type::Primitive(column.result.clone());
                crate::schema::to_arrow_type(&ty, &column.name).map(SortField::new)
            })
            .collect::<Result<Vec<_>>>()?;
        let keys = match sorted.is_empty() {
            true => None,
            false => Some(Keys {
                converter: RowConverter::new(sorted)?,
                known: HashMap::new(),
            }),
        };
        Ok(Self {
            columns,
            keys,
            partitions: Vec::new(),
        })
    }

    /// A partition that [`route`](Self::route) named.
    pub(super) fn partition(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.get(id)
    }

    /// The parts of a batch, each with its partition; rows keep their order within a partition.
    pub(super) fn route(&mut self, batch: &RecordBatch) -> Result<Vec<(PartitionId, RecordBatch)>> {
        let values = self.values(batch)?;
        let Some(keys) = &mut self.keys else {
            if self.partitions.is_empty() {
                self.partitions.push(make_partition(&self.columns, &[], 0)?);
            }
            return Ok(vec![(0, batch.clone())]);
        };
        // Data mostly comes in runs (by day, by load); only the first row of each run is looked up.
        let runs = partition(&values)?.ranges();
        let starts = UInt32Array::from_iter_values(runs.iter().map(|run| run.start as u32));
        let firsts = match runs.len() == batch.num_rows() {
            true => values.clone(),
            false => values
                .iter()
                .map(|array| Ok(take(array, &starts, None)?))
                .collect::<Result<Vec<_>>>()?,
        };
        let rows = keys.converter.convert_columns(&firsts)?;
        let mut groups: Vec<(PartitionId, Vec<std::ops::Range<usize>>)> = Vec::new();
        let mut group_of: HashMap<PartitionId, usize> = HashMap::new();
        for (at, run) in runs.into_iter().enumerate() {
            let key = rows.row(at);
            let id = match keys.known.get(key.as_ref()) {
                Some(id) => *id,
                None => {
                    let id = self.partitions.len();
                    self.partitions
                        .push(make_partition(&self.columns, &firsts, at)?);
                    keys.known.insert(key.as_ref().into(), id);
                    id
                }
            };
            let group = *group_of.entry(id).or_insert_with(|| {
                groups.push((id, Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push(run);
        }
        groups
            .into_iter()
            .map(|(id, runs)| Ok((id, pick(batch, &runs)?)))
            .collect()
    }

    /// The partition values of each row, without void fields.
    fn values(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.columns
            .iter()
            .filter(|column| column.transform != Transform::Void)
            .map(|column| {
                let source = follow(batch, &column.source)?;
                let apply = || -> Result<ArrayRef> {
                    match transform_here(&column.transform, &source) {
                        Some(values) => Ok(values),
                        None => Ok(column
                            .function
                            .transform(hashed(&column.transform, source))?),
                    }
                };
                apply().map_err(|error| {
                    error
                        .with("partition field", &column.name)
                        .with("transform", column.transform)
                })
            })
            .collect()
    }
}

/// The rows of these ranges. A part that is small against its batch is copied, because a slice would
/// keep the whole batch in memory as long as its file is open.
fn pick(batch: &RecordBatch, runs: &[std::ops::Range<usize>]) -> Result<RecordBatch> {
    if let [run] = runs
        && run.len() * 4 >= batch.num_rows()
    {
        return Ok(batch.slice(run.start, run.len()));
    }
    let rows = runs.iter().flat_map(|run| run.start as u32..run.end as u32);
    Ok(take_record_batch(
        batch,
        &UInt32Array::from_iter_values(rows),
    )?)
}

/// The indices that lead from the root to a field through structs.
fn path_to(fields: &StructType, id: i32) -> Option<Vec<usize>> {
    fields.fields().iter().enumerate().find_map(|(at, field)| {
        if field.id == id {
            return Some(vec![at]);
        }
        let Type::Struct(inner) = field.field_type.as_ref() else {
            return None;
        };
        let mut path = path_to(inner, id)?;
        path.insert(0, at);
        Some(path)
    })
}

/// The column at the end of a path, NULL where a struct above it is NULL.
fn follow(batch: &RecordBatch, path: &[usize]) -> Result<ArrayRef> {
    let lost = || Error::internal("a partition field's source column is not in the data");
    let (first, rest) = path.split_first().ok_or_else(lost)?;
    let mut array = batch.columns().get(*first).ok_or_else(lost)?.clone();
    for at in rest {
        let parent: &StructArray = array.as_struct_opt().ok_or_else(lost)?;
        let child = parent.columns().get(*at).ok_or_else(lost)?;
        array = match parent.nulls() {
            None => child.clone(),
            Some(nulls) => {
                let nulls = NullBuffer::union(Some(nulls), child.nulls());
                arrow::array::make_array(child.to_data().into_builder().nulls(nulls).build()?)
            }
        };
    }
    Ok(array)
}

/// Transforms that are not left to the `iceberg` crate: it overflows when truncating the smallest
/// integers, has no hours of nanoseconds, makes times far from ours NULL and takes long for it, and
/// would give the many bit patterns of NaN, and the two zeros, partitions of their own.
fn transform_here(transform: &Transform, source: &ArrayRef) -> Option<ArrayRef> {
    Some(match (transform, source.data_type()) {
        (Transform::Truncate(width), DataType::Int32) => {
            let width = i64::from(*width);
            let cut = |v: i32| (i64::from(v) - i64::from(v).rem_euclid(width)) as i32;
            let values: Int32Array = source.as_primitive::<Int32Type>().unary(cut);
            Arc::new(values)
        }
        (Transform::Truncate(width), DataType::Int64) => {
            let width = i64::from(*width);
            let cut = |v: i64| v.wrapping_sub(v.rem_euclid(width));
            let values: Int64Array = source.as_primitive::<Int64Type>().unary(cut);
            Arc::new(values)
        }
        (Transform::Year, _) => {
            let values: Int32Array = days(source)?.unary(|day| month_of(day).div_euclid(12));
            Arc::new(values)
        }
        (Transform::Month, _) => {
            let values: Int32Array = days(source)?.unary(month_of);
            Arc::new(values)
        }
        (Transform::Day, _) => Arc::new(days(source)?),
        (Transform::Hour, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            let hour = |v: i64| v.div_euclid(HOUR_MICROS) as i32;
            let values: Int32Array = source
                .as_primitive::<TimestampMicrosecondType>()
                .unary(hour);
            Arc::new(values)
        }
        (Transform::Hour, DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
            let hour = |v: i64| v.div_euclid(HOUR_MICROS * 1_000) as i32;
            let values: Int32Array = source.as_primitive::<TimestampNanosecondType>().unary(hour);
            Arc::new(values)
        }
        (Transform::Identity, DataType::Float32) => {
            let one = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            let values: Float32Array = source.as_primitive::<Float32Type>().unary(one);
            Arc::new(values)
        }
        (Transform::Identity, DataType::Float64) => {
            let one = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            let values: Float64Array = source.as_primitive::<Float64Type>().unary(one);
            Arc::new(values)
        }
        _ => return None,
    })
}

/// What the specification hashes: of a time in nanoseconds its microseconds, floored. The `iceberg`
/// crate would round times before 1970 up.
fn hashed(transform: &Transform, source: ArrayRef) -> ArrayRef {
    match (transform, source.data_type()) {
        (Transform::Bucket(_), DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
            let nanos = source.as_primitive::<TimestampNanosecondType>();
            let micros: TimestampMicrosecondArray = nanos.unary(|v| v.div_euclid(1_000));
            Arc::new(micros)
        }
        _ => source,
    }
}

const HOUR_MICROS: i64 = 3_600_000_000;

/// Days since 1970-01-01 in UTC, or none for a type that has no days.
fn days(source: &ArrayRef) -> Option<Date32Array> {
    const DAY_MICROS: i64 = 24 * HOUR_MICROS;
    Some(match source.data_type() {
        DataType::Date32 => source.as_primitive::<Date32Type>().clone(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => source
            .as_primitive::<TimestampMicrosecondType>()
            .unary(|v| v.div_euclid(DAY_MICROS) as i32),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => source
            .as_primitive::<TimestampNanosecondType>()
            .unary(|v| v.div_euclid(DAY_MICROS * 1_000) as i32),
        _ => return None,
    })
}

/// Months since January 1970; days of 32 bits are in the calendar, and their months have 32 bits.
fn month_of(day: i32) -> i32 {
    months(i64::from(day)).unwrap_or_default() as i32
}

fn make_partition(
    columns: &[PartitionColumn],
    values: &[ArrayRef],
    row: usize,
) -> Result<Partition> {
    let mut arrays = values.iter();
    let mut literals = Vec::with_capacity(columns.len());
    let mut path = Vec::with_capacity(columns.len());
    for column in columns {
        let value = match column.transform {
            Transform::Void => None,
            _ => match arrays.next() {
                Some(array) => literal(array, row, &column.result)
                    .map_err(|error| error.with("partition field", &column.name))?,
                None => None,
            },
        };
        let text = value.as_ref().map_or_else(
            || "null".to_string(),
            |value| readable(&column.transform, &column.result, value),
        );
        path.push(format!("{}={}", escape(&column.name), escape(&text)));
        literals.push(value.map(Literal::Primitive));
    }
    Ok(Partition {
        values: Struct::from_iter(literals),
        path: path.join("/"),
    })
}

/// The folder of a partition below the table's data.
pub(super) fn folder(spec: &PartitionSpec, schema: &Schema, values: &Struct) -> Result<String> {
    let types = spec.partition_type(schema)?;
    let parts = spec.fields().iter().zip(types.fields()).zip(values.iter());
    Ok(parts
        .map(|((field, ty), value)| {
            let text = match (value, ty.field_type.as_ref()) {
                (Some(Literal::Primitive(value)), Type::Primitive(ty)) => {
                    readable(&field.transform, ty, value)
                }
                _ => "null".to_string(),
            };
            format!("{}={}", escape(&field.name), escape(&text))
        })
        .collect::<Vec<_>>()
        .join("/"))
}

/// One value of an array.
fn literal(array: &ArrayRef, row: usize, ty: &PrimitiveType) -> Result<Option<PrimitiveLiteral>> {
    use PrimitiveLiteral as L;
    if array.is_null(row) {
        return Ok(None);
    }
    Ok(Some(match (ty, array.data_type()) {
        (PrimitiveType::Boolean, DataType::Boolean) => L::Boolean(array.as_boolean().value(row)),
        (_, DataType::Int32) => L::Int(array.as_primitive::<Int32Type>().value(row)),
        (_, DataType::Date32) => L::Int(array.as_primitive::<Date32Type>().value(row)),
        (_, DataType::Int64) => L::Long(array.as_primitive::<Int64Type>().value(row)),
        (_, DataType::Time64(TimeUnit::Microsecond)) => {
            L::Long(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        (_, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            L::Long(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        (_, DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
            L::Long(array.as_primitive::<TimestampNanosecondType>().value(row))
        }
        (_, DataType::Float32) => L::Float(array.as_primitive::<Float32Type>().value(row).into()),
        (_, DataType::Float64) => L::Double(array.as_primitive::<Float64Type>().value(row).into()),
        (_, DataType::Decimal128(_, _)) => {
            L::Int128(array.as_primitive::<Decimal128Type>().value(row))
        }
        (_, DataType::Utf8) => L::String(array.as_string::<i32>().value(row).to_string()),
        (_, DataType::Binary) => L::Binary(array.as_binary::<i32>().value(row).to_vec()),
        (PrimitiveType::Uuid, DataType::FixedSizeBinary(16)) => {
            let bytes = array.as_fixed_size_binary().value(row);
            let bytes: [u8; 16] = bytes
                .try_into()
                .map_err(|_| Error::internal("a UUID has not 16 bytes"))?;
            L::UInt128(u128::from_be_bytes(bytes))
        }
        (_, DataType::FixedSizeBinary(_)) => {
            L::Binary(array.as_fixed_size_binary().value(row).to_vec())
        }
        (ty, found) => {
            return Err(Error::unsupported(format!(
                "a partition value of type {ty} cannot be taken from {found}"
            )));
        }
    }))
}

/// A partition value for people, as it stands in the names of folders. Nothing reads it back.
fn readable(transform: &Transform, ty: &PrimitiveType, value: &PrimitiveLiteral) -> String {
    use PrimitiveLiteral as L;
    let date = |days: i64| {
        let epoch = NaiveDate::default();
        let date = TimeDelta::try_days(days).and_then(|days| epoch.checked_add_signed(days));
        date.map_or_else(|| days.to_string(), |date| date.to_string())
    };
    match (transform, ty, value) {
        (Transform::Year, _, L::Int(years)) => format!("{:04}", 1970 + i64::from(*years)),
        (Transform::Month, _, L::Int(months)) => {
            let months = i64::from(*months);
            let (year, month) = (1970 + months.div_euclid(12), 1 + months.rem_euclid(12));
            format!("{year:04}-{month:02}")
        }
        (Transform::Hour, _, L::Int(hours)) => {
            let hours = i64::from(*hours);
            format!("{}-{:02}", date(hours.div_euclid(24)), hours.rem_euclid(24))
        }
        (_, PrimitiveType::Date, L::Int(days)) => date(i64::from(*days)),
        (
            _,
            PrimitiveType::Timestamp
            | PrimitiveType::Timestamptz
            | PrimitiveType::TimestampNs
            | PrimitiveType::TimestamptzNs,
            L::Long(ticks),
        ) => {
            let nanos = matches!(
                ty,
                PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs
            );
            let time = match nanos {
                true => Some(DateTime::from_timestamp_nanos(*ticks)),
                false => DateTime::from_timestamp_micros(*ticks),
            };
            time.map_or_else(
                || ticks.to_string(),
                |time| format!("{:?}", time.naive_utc()),
            )
        }
        (_, PrimitiveType::Time, L::Long(micros)) => {
            let time = DateTime::from_timestamp_micros(*micros);
            time.map_or_else(|| micros.to_string(), |time| time.time().to_string())
        }
        (_, PrimitiveType::Decimal { scale, .. }, L::Int128(unscaled)) => {
            let digits = format!(
                "{:0width$}",
                unscaled.unsigned_abs(),
                width = *scale as usize + 1
            );
            let (whole, part) = digits.split_at(digits.len() - *scale as usize);
            let sign = if *unscaled < 0 { "-" } else { "" };
            let point = if part.is_empty() { "" } else { "." };
            format!("{sign}{whole}{point}{part}")
        }
        (_, PrimitiveType::Uuid, L::UInt128(uuid)) => uuid::Uuid::from_u128(*uuid).to_string(),
        (_, _, L::Boolean(v)) => v.to_string(),
        (_, _, L::Int(v)) => v.to_string(),
        (_, _, L::Long(v)) => v.to_string(),
        (_, _, L::Float(v)) => v.to_string(),
        (_, _, L::Double(v)) => v.to_string(),
        (_, _, L::String(v)) => v.clone(),
        (_, _, L::Binary(bytes)) => bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
        (_, _, other) => format!("{other:?}"),
    }
}

/// A name or a value as part of a file's path: whatever a store or a URL could take amiss is
/// percent-encoded, and long values are cut, because names of files have a longest length.
fn escape(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if out.len() > LONGEST {
            break;
        }
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_readable_and_harmless() {
        let decimal = PrimitiveType::Decimal {
            precision: 9,
            scale: 2,
        };
        let cases = [
            (
                Transform::Year,
                PrimitiveType::Int,
                PrimitiveLiteral::Int(54),
                "2024",
            ),
            (
                Transform::Month,
                PrimitiveType::Int,
                PrimitiveLiteral::Int(-1),
                "1969-12",
            ),
            (
                Transform::Day,
                PrimitiveType::Date,
                PrimitiveLiteral::Int(-1),
                "1969-12-31",
            ),
            (
                Transform::Hour,
                PrimitiveType::Int,
                PrimitiveLiteral::Int(25),
                "1970-01-02-01",
            ),
            (
                Transform::Identity,
                decimal,
                PrimitiveLiteral::Int128(-5),
                "-0.05",
            ),
            (
                Transform::Identity,
                PrimitiveType::Timestamptz,
                PrimitiveLiteral::Long(1_000_001),
                "1970-01-01T00:00:01.000001",
            ),
            (
                Transform::Identity,
                PrimitiveType::Timestamp,
                PrimitiveLiteral::Long(i64::MAX),
                "9223372036854775807",
            ),
        ];
        for (transform, ty, value, text) in cases {
            assert_eq!(readable(&transform, &ty, &value), text);
        }
        assert_eq!(escape("a b/../ä"), "a%20b%2F..%2F%C3%A4");
        assert!(escape(&"/".repeat(10_000)).len() < 110);
    }

    #[test]
    fn years_reach_as_far_as_times_do() {
        // 64 bits of microseconds reach from 290309 BC (the year -290308) to 294247.
        let far: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN, i64::MAX]));
        let years = transform_here(&Transform::Year, &far).unwrap();
        assert_eq!(
            years.as_primitive::<Int32Type>().values(),
            &[-290_308 - 1970, 294_247 - 1970]
        );
    }

    #[test]
    fn buckets_of_nanoseconds_are_those_of_their_floored_microseconds() {
        let bucket = Transform::Bucket(1_000_000);
        let of = |times: ArrayRef| {
            let function = create_transform_function(&bucket).unwrap();
            let buckets = function.transform(hashed(&bucket, times)).unwrap();
            buckets.as_primitive::<Int32Type>().clone()
        };
        let nanos = vec![-1, -999, -1_000, -1_001, 0, 999, 1_000];
        let micros = vec![-1, -1, -1, -2, 0, 0, 1];
        assert_eq!(
            of(Arc::new(arrow::array::TimestampNanosecondArray::from(
                nanos
            ))),
            of(Arc::new(TimestampMicrosecondArray::from(micros))),
        );
    }

    #[test]
    fn truncating_the_smallest_integers_wraps_as_in_java() {
        let values: ArrayRef = Arc::new(Int32Array::from(vec![i32::MIN, -1, 0, 11]));
        let cut = transform_here(&Transform::Truncate(10), &values).unwrap();
        assert_eq!(
            cut.as_primitive::<Int32Type>().values(),
            &[i32::MIN.wrapping_sub(2), -10, 0, 10]
        );
    }
}
