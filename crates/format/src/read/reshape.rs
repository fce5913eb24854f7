//! Bringing arrays of a file into the shape of the table's fields.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use iceberg::spec::{NestedField, Type};

use super::constant;
use crate::schema::field_id;
use crate::{Error, Result};

/// Brings an array of a file's field into the shape of the table's field: nested fields by their ids,
/// missing ones as NULL, types promoted as the specification allows.
///
/// Arrow fields do not carry defaults; [`reshape_to`] takes them from the Iceberg field.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a type that cannot become the table's, or a missing
/// required field, with the field's name.
pub fn reshape(array: &ArrayRef, from: &Field, to: &Field) -> Result<ArrayRef> {
    shape(array, from, to, None, to.name())
}

/// As [`reshape`], and missing nested fields have their initial default.
///
/// `to` is the Arrow form of `field`.
///
/// # Errors
/// As [`reshape`].
pub fn reshape_to(
    array: &ArrayRef,
    from: &Field,
    to: &Field,
    field: &NestedField,
) -> Result<ArrayRef> {
    shape(array, from, to, Some(&field.field_type), to.name())
}

fn shape(
    array: &ArrayRef,
    from: &Field,
    to: &Field,
    ty: Option<&Type>,
    path: &str,
) -> Result<ArrayRef> {
    if from.data_type() == to.data_type() && array.data_type() == to.data_type() {
        // Equal down to names and ids of nested fields.
        return Ok(array.clone());
    }
    match (array.data_type(), to.data_type()) {
        (DataType::Struct(_), DataType::Struct(wanted)) => {
            shape_struct(array.as_struct(), from, wanted, ty, path)
        }
        (DataType::List(_), DataType::List(wanted)) => {
            let (DataType::List(inner), list) = (from.data_type(), array.as_list::<i32>()) else {
                return Err(misfit(array.data_type(), to.data_type(), path));
            };
            let inner_type = match ty {
                Some(Type::List(list)) => Some(list.element_field.field_type.as_ref()),
                _ => None,
            };
            let path = format!("{path}.element");
            let values = shape(list.values(), inner, wanted, inner_type, &path)?;
            let shaped = ListArray::try_new(
                wanted.clone(),
                list.offsets().clone(),
                values,
                list.nulls().cloned(),
            );
            Ok(Arc::new(shaped.map_err(|error| broken(error, &path))?))
        }
        (DataType::LargeList(inner) | DataType::FixedSizeList(inner, _), DataType::List(_)) => {
            let list =
                cast(array, &DataType::List(inner.clone())).map_err(|error| broken(error, path))?;
            let inner = match from.data_type() {
                DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) => inner.clone(),
                _ => inner.clone(),
            };
            let from = from.clone().with_data_type(DataType::List(inner));
            shape(&list, &from, to, ty, path)
        }
        (DataType::Map(..), DataType::Map(wanted, sorted)) => {
            let DataType::Map(entries, _) = from.data_type() else {
                return Err(misfit(array.data_type(), to.data_type(), path));
            };
            let map = array.as_map();
            let shaped = shape_entries(map, entries, wanted, ty, path)?;
            let shaped = MapArray::try_new(
                wanted.clone(),
                map.offsets().clone(),
                shaped,
                map.nulls().cloned(),
                *sorted,
            );
            Ok(Arc::new(shaped.map_err(|error| broken(error, path))?))
        }
        (have, want) if promotes(have, want) => {
            let strict = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            cast_with_options(array, want, &strict).map_err(|error| broken(error, path))
        }
        (have, want) => Err(misfit(have, want, path)),
    }
}

fn shape_struct(
    array: &StructArray,
    from: &Field,
    wanted: &Fields,
    ty: Option<&Type>,
    path: &str,
) -> Result<ArrayRef> {
    let DataType::Struct(have) = from.data_type() else {
        return Err(misfit(array.data_type(), from.data_type(), path));
    };
    let mut columns = Vec::with_capacity(wanted.len());
    for to in wanted {
        let path = format!("{path}.{}", to.name());
        let field = match (ty, field_id(to)) {
            (Some(Type::Struct(fields)), Some(id)) => fields.field_by_id(id),
            _ => None,
        };
        let at = have
            .iter()
            .position(|from| field_id(from).is_some() && field_id(from) == field_id(to));
        columns.push(match (at, field) {
            (Some(at), field) => {
                let ty = field.map(|field| field.field_type.as_ref());
                shape(array.column(at), &have[at], to, ty, &path)?
            }
            (None, Some(field)) if field.initial_default.is_some() => constant::column(
                field.initial_default.as_ref(),
                &field.field_type,
                to.data_type(),
                array.len(),
            )
            .map_err(|error| error.with("column", &path))?,
            (None, _) if to.is_nullable() => new_null_array(to.data_type(), array.len()),
            (None, _) => return Err(missing(&path)),
        });
    }
    let shaped = StructArray::try_new(wanted.clone(), columns, array.nulls().cloned());
    Ok(Arc::new(shaped.map_err(|error| broken(error, path))?))
}

fn shape_entries(
    map: &MapArray,
    entries: &Field,
    wanted: &Field,
    ty: Option<&Type>,
    path: &str,
) -> Result<StructArray> {
    let (DataType::Struct(have), DataType::Struct(want)) =
        (entries.data_type(), wanted.data_type())
    else {
        return Err(misfit(entries.data_type(), wanted.data_type(), path));
    };
    let ([key_from, value_from], [key_to, value_to]) = (&have[..], &want[..]) else {
        return Err(misfit(entries.data_type(), wanted.data_type(), path));
    };
    let (key_type, value_type) = match ty {
        Some(Type::Map(map)) => (
            Some(map.key_field.field_type.as_ref()),
            Some(map.value_field.field_type.as_ref()),
        ),
        _ => (None, None),
    };
    let keys = shape(
        map.keys(),
        key_from,
        key_to,
        key_type,
        &format!("{path}.key"),
    )?;
    let values = shape(
        map.values(),
        value_from,
        value_to,
        value_type,
        &format!("{path}.value"),
    )?;
    StructArray::try_new(want.clone(), vec![keys, values], None)
        .map_err(|error| broken(error, path))
}

/// Whether values of one type may be read as another: the specification's promotions, and forms in
/// which other writers store the same type.
fn promotes(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    match (from, to) {
        (from, to) if from == to => true,
        (D::Null, _) => true,
        (D::Dictionary(_, values), to) => promotes(values, to),
        (D::Int8 | D::Int16 | D::UInt8 | D::UInt16, D::Int32 | D::Int64) => true,
        (D::Int32 | D::UInt32, D::Int64) => true,
        (D::Float16, D::Float32 | D::Float64) | (D::Float32, D::Float64) => true,
        (
            D::Decimal32(precision, scale)
            | D::Decimal64(precision, scale)
            | D::Decimal128(precision, scale),
            D::Decimal128(wider, same),
        ) => scale == same && precision <= wider,
        (D::Date32, D::Timestamp(_, None)) => true,
        (D::Timestamp(..), D::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _)) => true,
        (D::Time32(_) | D::Time64(_), D::Time64(TimeUnit::Microsecond)) => true,
        (D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView, D::Utf8) => true,
        (
            D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) | D::Utf8 | D::LargeUtf8,
            D::Binary,
        ) => true,
        _ => false,
    }
}

fn misfit(from: &DataType, to: &DataType, path: &str) -> Error {
    Error::corrupt(format!("a column of type {from} cannot be read as {to}")).with("column", path)
}

fn broken(error: arrow::error::ArrowError, path: &str) -> Error {
    Error::corrupt("a column's values do not fit its type")
        .with("column", path)
        .source_error(error)
}

/// The error of a required field that a file does not have.
pub(super) fn missing(path: &str) -> Error {
    Error::corrupt("a required column is missing from the file and has no default")
        .with("column", path)
}
