//! Columns of Parquet and Arrow files in the declared types.
//!
//! What is decided by the types alone is decided once per file, by [`check`]. Values are then cast
//! column by column, and the rows with a value that does not fit are told apart from the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, LargeListArray, ListArray, MapArray, OffsetSizeTrait,
    StructArray, make_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::plan::{Reject, sql_name};
use crate::dead_letter::{ErrorType, shortened};

/// Rows that are no rows, and why: the first reason counts.
pub(crate) type Rejects = BTreeMap<usize, Reject>;

/// Why a column can never be read as declared.
#[derive(Debug)]
pub(crate) enum Unfit {
    Type {
        column: String,
        found: DataType,
        expected: DataType,
    },
    Missing {
        column: String,
        found: String,
    },
}

const SAFE: CastOptions<'static> = CastOptions {
    safe: true,
    format_options: FormatOptions::new().with_display_error(true),
};

/// Whether a column of one type can be read as another.
pub(crate) fn check(found: &DataType, expected: &DataType, path: &str) -> Result<(), Unfit> {
    use DataType as T;
    let unfit = || Unfit::Type {
        column: path.to_owned(),
        found: found.clone(),
        expected: expected.clone(),
    };
    match (found, expected) {
        (T::Dictionary(_, values), _) => check(values, expected, path),
        (T::Null, _) => Ok(()),
        (T::Struct(found), T::Struct(expected)) => check_fields(found, expected, path),
        (
            T::List(found) | T::LargeList(found) | T::FixedSizeList(found, _),
            T::List(expected) | T::LargeList(expected),
        ) => check(
            found.data_type(),
            expected.data_type(),
            &format!("{path}[]"),
        ),
        (T::Map(found, _), T::Map(expected, _)) => {
            match (found.data_type(), expected.data_type()) {
                (T::Struct(found), T::Struct(expected))
                    if found.len() == 2 && expected.len() == 2 =>
                {
                    check(
                        found[0].data_type(),
                        expected[0].data_type(),
                        &format!("{path}.key"),
                    )?;
                    check(
                        found[1].data_type(),
                        expected[1].data_type(),
                        &format!("{path}[]"),
                    )
                }
                _ => Err(unfit()),
            }
        }
        _ if found.is_nested() || expected.is_nested() => Err(unfit()),
        _ if scalar_fits(found, expected) => Ok(()),
        _ => Err(unfit()),
    }
}

/// Whether the columns of a file, or the fields of a struct, can be read as declared.
pub(crate) fn check_fields(found: &Fields, expected: &Fields, path: &str) -> Result<(), Unfit> {
    for field in expected {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{}", field.name());
        match found.iter().find(|other| other.name() == field.name()) {
            Some(other) => check(other.data_type(), field.data_type(), &path)?,
            None if field.is_nullable() => {}
            None => {
                let names: Vec<&str> = found.iter().map(|field| field.name().as_str()).collect();
                return Err(Unfit::Missing {
                    column: path,
                    found: names.join(", "),
                });
            }
        }
    }
    Ok(())
}

fn scalar_fits(found: &DataType, expected: &DataType) -> bool {
    use DataType as T;
    if found == expected {
        return true;
    }
    let is_text = |data_type: &T| matches!(data_type, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let is_binary = |data_type: &T| {
        matches!(
            data_type,
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_)
        )
    };
    let is_decimal = |data_type: &T| {
        matches!(
            data_type,
            T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..)
        )
    };
    match expected {
        expected if is_text(expected) => {
            is_text(found)
                || matches!(
                    found,
                    T::Binary | T::LargeBinary | T::BinaryView | T::Boolean
                )
                || found.is_numeric()
                || matches!(found, T::Date32 | T::Date64 | T::Timestamp(..))
                || matches!(found, T::Time32(_) | T::Time64(_))
        }
        T::FixedSizeBinary(_) => false,
        expected if is_binary(expected) => is_binary(found),
        expected if expected.is_integer() => {
            found.is_integer() || found.is_floating() || is_decimal(found)
        }
        expected if expected.is_floating() => {
            found.is_integer() || found.is_floating() || is_decimal(found)
        }
        expected if is_decimal(expected) => found.is_integer() || is_decimal(found),
        T::Date32 | T::Date64 => matches!(found, T::Date32 | T::Date64),
        T::Timestamp(..) => matches!(found, T::Timestamp(..) | T::Date32 | T::Date64),
        T::Time32(_) | T::Time64(_) => matches!(found, T::Time32(_) | T::Time64(_)),
        _ => false,
    }
}

/// A column in the declared type. Rows that do not fit are noted in `rejects`; they, and nothing
/// else, may still break the declared nullability, so the fields inside are all optional here and
/// [`declared`] puts that right when those rows are gone.
pub(crate) fn fit(
    array: &ArrayRef,
    field: &Field,
    path: &str,
    rejects: &mut Rejects,
) -> Result<ArrayRef, ArrowError> {
    use DataType as T;
    let fitted: ArrayRef = match (array.data_type(), field.data_type()) {
        (T::Dictionary(_, values), _) => {
            let plain = cast_with_options(array, values, &SAFE)?;
            return fit(&plain, field, path, rejects);
        }
        (T::FixedSizeList(item, _), _) => {
            let list = cast_with_options(array, &T::List(item.clone()), &SAFE)?;
            return fit(&list, field, path, rejects);
        }
        (T::Null, expected) => new_null_array(&relaxed_type(expected), array.len()),
        (T::Struct(_), T::Struct(fields)) => {
            Arc::new(fit_struct(array.as_struct(), fields, path, rejects)?)
        }
        (T::List(_), T::List(item) | T::LargeList(item)) => fit_list(
            array.as_list::<i32>(),
            item,
            field.data_type(),
            path,
            rejects,
        )?,
        (T::LargeList(_), T::List(item) | T::LargeList(item)) => fit_list(
            array.as_list::<i64>(),
            item,
            field.data_type(),
            path,
            rejects,
        )?,
        (T::Map(_, _), T::Map(entries, sorted)) => {
            let map = array.as_map();
            let T::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::SchemaError(format!("{path} is no map")));
            };
            let (first, length, offsets) = reached(map.offsets());
            let keys = map.keys().slice(first, length);
            let values = map.values().slice(first, length);
            let mut inner = Rejects::new();
            let key = Field::clone(&fields[0]).with_nullable(false);
            let keys = fit(&keys, &key, &format!("{path}.key"), &mut inner)?;
            let values = fit(&values, &fields[1], &format!("{path}[]"), &mut inner)?;
            to_parents(&offsets, map, inner, rejects);
            let keys = valid(keys)?;
            let fields: Fields = fields
                .iter()
                .enumerate()
                .map(|(at, field)| relaxed(field, at > 0))
                .collect();
            let structs = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
            let entries = Field::new(entries.name(), T::Struct(fields), false);
            Arc::new(MapArray::try_new(
                Arc::new(entries),
                offsets,
                structs,
                map.nulls().cloned(),
                *sorted,
            )?)
        }
        _ => fit_scalar(array, field.data_type(), path, rejects)?,
    };
    if !field.is_nullable() && fitted.null_count() > 0 {
        for row in (0..fitted.len()).filter(|row| fitted.is_null(*row)) {
            rejects.entry(row).or_insert_with(|| {
                Reject::new(
                    ErrorType::MissingRequired,
                    format!("column {path:?} is declared NOT NULL, and the record has null there"),
                )
            });
        }
    }
    Ok(fitted)
}

fn fit_struct(
    array: &StructArray,
    fields: &Fields,
    path: &str,
    rejects: &mut Rejects,
) -> Result<StructArray, ArrowError> {
    let mut inner = Rejects::new();
    let mut children = Vec::with_capacity(fields.len());
    for field in fields {
        let path = format!("{path}.{}", field.name());
        children.push(match array.column_by_name(field.name()) {
            Some(child) => fit(child, field, &path, &mut inner)?,
            None => new_null_array(&relaxed_type(field.data_type()), array.len()),
        });
    }
    for (row, reject) in inner {
        // What stands in a field of a struct that is NULL means nothing.
        if array.is_valid(row) {
            rejects.entry(row).or_insert(reject);
        }
    }
    let fields: Fields = fields.iter().map(|field| relaxed(field, true)).collect();
    StructArray::try_new_with_length(fields, children, array.nulls().cloned(), array.len())
}

fn fit_list<O: OffsetSizeTrait>(
    list: &arrow::array::GenericListArray<O>,
    item: &FieldRef,
    expected: &DataType,
    path: &str,
    rejects: &mut Rejects,
) -> Result<ArrayRef, ArrowError> {
    let (first, length, offsets) = reached(list.offsets());
    let values = list.values().slice(first, length);
    let mut inner = Rejects::new();
    let values = fit(&values, item, &format!("{path}[]"), &mut inner)?;
    to_parents(&offsets, list, inner, rejects);
    let item = relaxed(item, true);
    let nulls = list.nulls().cloned();
    let wide = offsets.iter().map(|offset| offset.as_usize());
    if matches!(expected, DataType::LargeList(_)) {
        let offsets: Vec<i64> = wide.map(|offset| offset as i64).collect();
        let offsets = OffsetBuffer::new(offsets.into());
        return Ok(Arc::new(LargeListArray::try_new(
            item, offsets, values, nulls,
        )?));
    }
    let offsets: Vec<i32> = wide
        .map(|offset| i32::try_from(offset).map_err(|_| ArrowError::OffsetOverflowError(offset)))
        .collect::<Result<_, _>>()?;
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(Arc::new(ListArray::try_new(item, offsets, values, nulls)?))
}

/// Where the items of lists begin and how many there are, and the offsets into these alone. A slice of
/// an array keeps the items of all of it, and each would be cast once for every slice.
fn reached<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> (usize, usize, OffsetBuffer<O>) {
    let first = offsets.first().copied().unwrap_or_default();
    let last = offsets.last().copied().unwrap_or_default();
    let length = last.as_usize() - first.as_usize();
    if first == O::default() {
        return (0, length, offsets.clone());
    }
    let moved: Vec<O> = offsets.iter().map(|offset| *offset - first).collect();
    let moved = OffsetBuffer::new(moved.into());
    (first.as_usize(), length, moved)
}

/// Keys of maps, of which none can be NULL. Each that is became a reject of its row, or stands in a map
/// that is NULL itself and means nothing.
fn valid(keys: ArrayRef) -> Result<ArrayRef, ArrowError> {
    if keys.null_count() == 0 {
        return Ok(keys);
    }
    let keys = keys.to_data().into_builder().nulls(None).build()?;
    Ok(make_array(keys))
}

/// Rejects of the items of a list become rejects of the rows that hold them.
fn to_parents<O: OffsetSizeTrait>(
    offsets: &OffsetBuffer<O>,
    parent: &dyn Array,
    inner: Rejects,
    rejects: &mut Rejects,
) {
    for (item, reject) in inner {
        let row = offsets.partition_point(|offset| offset.as_usize() <= item);
        let Some(row) = row.checked_sub(1) else {
            continue;
        };
        if row < parent.len() && parent.is_valid(row) {
            rejects.entry(row).or_insert(reject);
        }
    }
}

fn fit_scalar(
    array: &ArrayRef,
    expected: &DataType,
    path: &str,
    rejects: &mut Rejects,
) -> Result<ArrayRef, ArrowError> {
    use DataType as T;
    if array.data_type() == expected {
        return Ok(array.clone());
    }
    let source = match (array.data_type(), expected) {
        // A timestamp without a zone is UTC, and zones are for display: only the unit is cast.
        (T::Timestamp(unit, _), T::Timestamp(_, zone)) => {
            let same = T::Timestamp(*unit, zone.clone());
            make_array(array.to_data().into_builder().data_type(same).build()?)
        }
        _ => array.clone(),
    };
    let cast = cast_with_options(&source, expected, &SAFE)?;
    let lost = lost_digits(&source, &cast)?;
    let overflown = |row: usize| match (source.data_type(), expected) {
        (T::Float64, T::Float32) => {
            let wide = source.as_primitive::<Float64Type>().value(row);
            let narrow = cast
                .as_primitive::<arrow::datatypes::Float32Type>()
                .value(row);
            wide.is_finite() && !narrow.is_finite()
        }
        _ => false,
    };
    for row in 0..source.len() {
        if source.is_null(row) {
            continue;
        }
        let (error_type, why) = if cast.is_null(row) {
            (ErrorType::OutOfRange, "does not fit")
        } else if overflown(row) {
            (ErrorType::OutOfRange, "is too large for")
        } else if lost.as_ref().is_some_and(|lost| lost.value(row)) {
            (ErrorType::TypeMismatch, "has more decimal places than")
        } else {
            continue;
        };
        let (error_type, why) = match array.data_type() {
            T::Binary | T::LargeBinary | T::BinaryView => {
                (ErrorType::InvalidUtf8, "is no UTF-8 for")
            }
            _ => (error_type, why),
        };
        let value = ArrayFormatter::try_new(array, &SAFE.format_options)?
            .value(row)
            .to_string();
        rejects.entry(row).or_insert_with(|| {
            Reject::new(
                error_type,
                format!(
                    "column {path:?}: {} {why} {}",
                    shortened(&value),
                    sql_name(expected)
                ),
            )
        });
    }
    Ok(cast)
}

/// Which values changed in a cast that may drop decimal places without a word.
fn lost_digits(source: &ArrayRef, cast: &ArrayRef) -> Result<Option<BooleanArray>, ArrowError> {
    let to = cast.data_type();
    let from = source.data_type();
    let is_exact = to.is_integer() || to.is_decimal();
    if from.is_floating() && is_exact {
        let before = cast_with_options(source, &DataType::Float64, &SAFE)?;
        let after = cast_with_options(cast, &DataType::Float64, &SAFE)?;
        let before = before.as_primitive::<Float64Type>();
        let after = after.as_primitive::<Float64Type>();
        let lost = (0..before.len()).map(|row| {
            before.is_valid(row) && after.is_valid(row) && before.value(row) != after.value(row)
        });
        return Ok(Some(lost.map(Some).collect()));
    }
    if from.is_decimal() && is_exact {
        let after = cast_with_options(cast, from, &SAFE)?;
        let same = arrow::compute::kernels::cmp::eq(&after, source)?;
        let lost = (0..same.len()).map(|row| {
            let is_cast = source.is_valid(row) && cast.is_valid(row);
            // A value that was rounded up to one more digit does not even fit its old type.
            let is_same = same.is_valid(row) && same.value(row);
            Some(is_cast && !is_same)
        });
        return Ok(Some(lost.collect()));
    }
    Ok(None)
}

fn relaxed(field: &FieldRef, nullable: bool) -> FieldRef {
    let field = field.as_ref().clone();
    let data_type = relaxed_type(field.data_type());
    Arc::new(field.with_data_type(data_type).with_nullable(nullable))
}

/// The type with all fields inside optional, apart from the keys of maps.
fn relaxed_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| relaxed(field, true)).collect())
        }
        DataType::List(item) => DataType::List(relaxed(item, true)),
        DataType::LargeList(item) => DataType::LargeList(relaxed(item, true)),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return data_type.clone();
            };
            let fields: Fields = fields
                .iter()
                .enumerate()
                .map(|(at, field)| relaxed(field, at > 0))
                .collect();
            let entries = Field::new(entries.name(), DataType::Struct(fields), false);
            DataType::Map(Arc::new(entries), *sorted)
        }
        other => other.clone(),
    }
}

/// A fitted column in exactly the declared type, when its rejected rows are gone.
pub(crate) fn declared(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == data_type {
        return Ok(array.clone());
    }
    Ok(match data_type {
        DataType::Struct(fields) => Arc::new(declared_struct(array.as_struct(), fields)?),
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = declared(list.values(), item.data_type())?;
            let offsets = list.offsets().clone();
            Arc::new(ListArray::try_new(
                item.clone(),
                offsets,
                values,
                list.nulls().cloned(),
            )?)
        }
        DataType::LargeList(item) => {
            let list = array.as_list::<i64>();
            let values = declared(list.values(), item.data_type())?;
            let offsets = list.offsets().clone();
            Arc::new(LargeListArray::try_new(
                item.clone(),
                offsets,
                values,
                list.nulls().cloned(),
            )?)
        }
        DataType::Map(entries, sorted) => {
            let map = array.as_map();
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(ArrowError::SchemaError("a map without entries".to_owned()));
            };
            Arc::new(MapArray::try_new(
                entries.clone(),
                map.offsets().clone(),
                declared_struct(map.entries(), fields)?,
                map.nulls().cloned(),
                *sorted,
            )?)
        }
        other => {
            return Err(ArrowError::SchemaError(format!(
                "a column was fitted as {} instead of {other}",
                array.data_type()
            )));
        }
    })
}

fn declared_struct(array: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let children = array
        .columns()
        .iter()
        .zip(fields)
        .map(|(child, field)| declared(child, field.data_type()))
        .collect::<Result<Vec<_>, _>>()?;
    let nulls = array.nulls().cloned();
    StructArray::try_new_with_length(fields.clone(), children, nulls, array.len())
}
