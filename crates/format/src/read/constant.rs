//! Columns of one value: defaults, partition values, the file's name.

use std::iter::repeat_n;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, new_empty_array, new_null_array,
};
use arrow::datatypes::{DataType, TimeUnit};
use iceberg::spec::{Literal, PrimitiveLiteral, Type};

use crate::evaluate::value::datum;
use crate::{Error, Result};

/// A column of `rows` times the same value; of NULLs where there is none.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for values of structs, lists and maps,
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a value that does not fit the type.
pub(crate) fn column(
    value: Option<&Literal>,
    ty: &Type,
    arrow: &DataType,
    rows: usize,
) -> Result<ArrayRef> {
    let Some(value) = value else {
        return Ok(new_null_array(arrow, rows));
    };
    let (Literal::Primitive(literal), Type::Primitive(primitive)) = (value, ty) else {
        return Err(Error::unsupported(
            "a default of a struct, list or map other than NULL",
        ));
    };
    if rows == 0 {
        return Ok(new_empty_array(arrow));
    }
    let misfit = || Error::corrupt(format!("a value does not fit the type {ty}"));
    let value = datum(primitive, literal).ok_or_else(misfit)?;
    Ok(match (arrow, value.literal()) {
        (DataType::Boolean, PrimitiveLiteral::Boolean(v)) => {
            Arc::new(BooleanArray::from(vec![*v; rows]))
        }
        (DataType::Int32, PrimitiveLiteral::Int(v)) => Arc::new(Int32Array::from_value(*v, rows)),
        (DataType::Date32, PrimitiveLiteral::Int(v)) => Arc::new(Date32Array::from_value(*v, rows)),
        (DataType::Int64, PrimitiveLiteral::Long(v)) => Arc::new(Int64Array::from_value(*v, rows)),
        (DataType::Float32, PrimitiveLiteral::Float(v)) => {
            Arc::new(Float32Array::from_value(v.0, rows))
        }
        (DataType::Float64, PrimitiveLiteral::Double(v)) => {
            Arc::new(Float64Array::from_value(v.0, rows))
        }
        (DataType::Decimal128(precision, scale), PrimitiveLiteral::Int128(v)) => Arc::new(
            Decimal128Array::from_value(*v, rows).with_precision_and_scale(*precision, *scale)?,
        ),
        (DataType::Time64(TimeUnit::Microsecond), PrimitiveLiteral::Long(v)) => {
            Arc::new(Time64MicrosecondArray::from_value(*v, rows))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, zone), PrimitiveLiteral::Long(v)) => Arc::new(
            TimestampMicrosecondArray::from_value(*v, rows).with_timezone_opt(zone.clone()),
        ),
        (DataType::Timestamp(TimeUnit::Nanosecond, zone), PrimitiveLiteral::Long(v)) => {
            Arc::new(TimestampNanosecondArray::from_value(*v, rows).with_timezone_opt(zone.clone()))
        }
        (DataType::Utf8, PrimitiveLiteral::String(v)) => text(v, rows),
        (DataType::Binary, PrimitiveLiteral::Binary(v)) => {
            Arc::new(BinaryArray::from_iter_values(repeat_n(v.as_slice(), rows)))
        }
        (DataType::FixedSizeBinary(_), PrimitiveLiteral::Binary(v)) => Arc::new(
            FixedSizeBinaryArray::try_from_iter(repeat_n(v.as_slice(), rows))?,
        ),
        (DataType::FixedSizeBinary(_), PrimitiveLiteral::UInt128(v)) => Arc::new(
            FixedSizeBinaryArray::try_from_iter(repeat_n(v.to_be_bytes(), rows))?,
        ),
        _ => return Err(misfit()),
    })
}

/// A column of `rows` times the same text.
pub(super) fn text(value: &str, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(repeat_n(value, rows)))
}
