//! Columns of metadata tables, built from what manifests hold.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{ArrayBuilder, PrimitiveBuilder};
use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, Date32Array, Decimal128Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int32Builder, Int64Array,
    Int64Builder, ListArray, ListBuilder, MapBuilder, MapFieldNames, StringArray, StringBuilder,
    StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, FieldRef, Fields, TimeUnit};
use iceberg::spec::{Datum, PrimitiveLiteral as L};

use crate::{Error, Result};

/// The time zone of all timestamps with zone.
const UTC: &str = "+00:00";

pub(super) fn required(name: &str, ty: DataType) -> FieldRef {
    Arc::new(Field::new(name, ty, false))
}

pub(super) fn optional(name: &str, ty: DataType) -> FieldRef {
    Arc::new(Field::new(name, ty, true))
}

pub(super) fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// Times that metadata holds in milliseconds.
pub(super) fn instants(millis: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    let micros = millis
        .into_iter()
        .map(|time| time.map(|millis| millis.saturating_mul(1_000)));
    Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone(UTC))
}

pub(super) fn map_type(key: DataType, value: DataType) -> DataType {
    let pair = DataType::Struct(vec![required("key", key), optional("value", value)].into());
    DataType::Map(required("key_value", pair), false)
}

fn map_names() -> Option<MapFieldNames> {
    Some(MapFieldNames {
        entry: "key_value".into(),
        key: "key".into(),
        value: "value".into(),
    })
}

/// Maps with sorted keys, so that two reads give the same; empty ones are NULL, as in manifests.
fn maps<K: Ord + Hash, V, KB: ArrayBuilder, VB: ArrayBuilder>(
    rows: impl IntoIterator<Item = HashMap<K, V>>,
    keys: KB,
    values: VB,
    mut push: impl FnMut(&mut MapBuilder<KB, VB>, K, V) -> Result<()>,
) -> Result<ArrayRef> {
    let mut builder = MapBuilder::new(map_names(), keys, values);
    for row in rows {
        let mut pairs: Vec<(K, V)> = row.into_iter().collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        let valid = !pairs.is_empty();
        for (key, value) in pairs {
            push(&mut builder, key, value)?;
        }
        builder.append(valid)?;
    }
    Ok(Arc::new(builder.finish()))
}

pub(super) fn counts<'a>(
    rows: impl IntoIterator<Item = &'a HashMap<i32, u64>>,
) -> Result<ArrayRef> {
    let rows = rows.into_iter().cloned();
    maps(
        rows,
        Int32Builder::new(),
        Int64Builder::new(),
        |builder, id, count| {
            builder.keys().append_value(id);
            builder.values().append_value(signed(count));
            Ok(())
        },
    )
}

pub(super) fn bounds<'a>(
    rows: impl IntoIterator<Item = &'a HashMap<i32, Datum>>,
) -> Result<ArrayRef> {
    let rows = rows.into_iter().cloned();
    maps(
        rows,
        Int32Builder::new(),
        BinaryBuilder::new(),
        |builder, id, bound| {
            builder.keys().append_value(id);
            builder.values().append_value(bound.to_bytes()?);
            Ok(())
        },
    )
}

pub(super) fn texts<'a>(
    rows: impl IntoIterator<Item = &'a HashMap<String, String>>,
) -> Result<ArrayRef> {
    let rows = rows.into_iter().cloned();
    maps(
        rows,
        StringBuilder::new(),
        StringBuilder::new(),
        |builder, key, value| {
            builder.keys().append_value(key);
            builder.values().append_value(value);
            Ok(())
        },
    )
}

pub(super) fn list_type(element: DataType) -> DataType {
    DataType::List(required("element", element))
}

pub(super) fn lists<T: ArrowPrimitiveType>(
    rows: impl IntoIterator<Item = Option<Vec<T::Native>>>,
) -> ArrayRef {
    let mut builder = ListBuilder::new(PrimitiveBuilder::<T>::new())
        .with_field(required("element", T::DATA_TYPE));
    for row in rows {
        builder
            .values()
            .append_slice(row.as_deref().unwrap_or_default());
        builder.append(row.is_some());
    }
    Arc::new(builder.finish())
}

/// Lists of structs, from the length of each list and the columns of all of them.
pub(super) fn structs(
    lengths: impl IntoIterator<Item = usize>,
    fields: Fields,
    columns: Vec<ArrayRef>,
) -> Result<ArrayRef> {
    let element = required("element", DataType::Struct(fields.clone()));
    let values = StructArray::try_new(fields, columns, None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(
        element,
        offsets,
        Arc::new(values),
        None,
    )?))
}

/// A count as Arrow has it.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn longs(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.into_iter().map(signed)))
}

/// Single values of one type as a column.
pub(super) fn datums(values: &[Option<Datum>], arrow: &DataType) -> Result<ArrayRef> {
    macro_rules! pick {
        ($array:ty, $literal:path, $value:ident => $result:expr) => {
            <$array>::from_iter(values.iter().map(|value| match value.as_ref()?.literal() {
                $literal($value) => Some($result),
                _ => None,
            }))
        };
    }
    Ok(match arrow {
        DataType::Boolean => Arc::new(pick!(BooleanArray, L::Boolean, v => *v)),
        DataType::Int32 => Arc::new(pick!(Int32Array, L::Int, v => *v)),
        DataType::Int64 => Arc::new(pick!(Int64Array, L::Long, v => *v)),
        DataType::Float32 => Arc::new(pick!(Float32Array, L::Float, v => v.0)),
        DataType::Float64 => Arc::new(pick!(Float64Array, L::Double, v => v.0)),
        DataType::Date32 => Arc::new(pick!(Date32Array, L::Int, v => *v)),
        DataType::Time64(TimeUnit::Microsecond) => {
            Arc::new(pick!(Time64MicrosecondArray, L::Long, v => *v))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Arc::new(
            pick!(TimestampMicrosecondArray, L::Long, v => *v).with_timezone_opt(zone.clone()),
        ),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => Arc::new(
            pick!(TimestampNanosecondArray, L::Long, v => *v).with_timezone_opt(zone.clone()),
        ),
        DataType::Decimal128(precision, scale) => Arc::new(
            pick!(Decimal128Array, L::Int128, v => *v)
                .with_precision_and_scale(*precision, *scale)?,
        ),
        DataType::Utf8 => Arc::new(pick!(StringArray, L::String, v => v.as_str())),
        DataType::Binary => Arc::new(pick!(BinaryArray, L::Binary, v => v.as_slice())),
        DataType::FixedSizeBinary(length) => {
            let rows = values.iter().map(|value| match value.as_ref()?.literal() {
                // A bound may be cut; only whole values fit a column of fixed length.
                L::Binary(v) if v.len() as i64 == i64::from(*length) => Some(v.clone()),
                L::UInt128(v) => Some(v.to_be_bytes().to_vec()),
                _ => None,
            });
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                rows, *length,
            )?)
        }
        DataType::Null => new_null_array(arrow, values.len()),
        other => {
            return Err(Error::unsupported(format!(
                "values of type {other} are not shown in metadata tables"
            )));
        }
    })
}
