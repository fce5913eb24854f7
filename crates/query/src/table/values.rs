//! Values of Iceberg metadata as DataFusion's scalars.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use iceberg::spec::{PrimitiveLiteral, PrimitiveType};

/// A value in the Arrow type of its column; nothing for what has no such form.
pub(crate) fn scalar(
    value: &PrimitiveLiteral,
    from: &PrimitiveType,
    to: &DataType,
) -> Option<ScalarValue> {
    use PrimitiveLiteral as L;
    use PrimitiveType as P;
    use ScalarValue as S;
    let zone = |to: &DataType| match to {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let value = match (value, from) {
        (L::Boolean(value), P::Boolean) => S::Boolean(Some(*value)),
        (L::Int(value), P::Int) => S::Int32(Some(*value)),
        (L::Int(value), P::Date) => S::Date32(Some(*value)),
        (L::Long(value), P::Long) => S::Int64(Some(*value)),
        (L::Long(value), P::Time) => S::Time64Microsecond(Some(*value)),
        (L::Long(value), P::Timestamp | P::Timestamptz) => {
            S::TimestampMicrosecond(Some(*value), zone(to))
        }
        (L::Long(value), P::TimestampNs | P::TimestamptzNs) => {
            S::TimestampNanosecond(Some(*value), zone(to))
        }
        (L::Float(value), P::Float) => S::Float32(Some(value.0)),
        (L::Double(value), P::Double) => S::Float64(Some(value.0)),
        (L::String(value), P::String) => S::Utf8(Some(value.clone())),
        (L::Binary(value), P::Binary) => S::Binary(Some(value.clone())),
        (L::Binary(value), P::Fixed(size)) => {
            S::FixedSizeBinary(i32::try_from(*size).ok()?, Some(value.clone()))
        }
        (L::UInt128(value), P::Uuid) => S::FixedSizeBinary(16, Some(value.to_be_bytes().to_vec())),
        (L::Int128(value), P::Decimal { precision, scale }) => S::Decimal128(
            Some(*value),
            u8::try_from(*precision).ok()?,
            i8::try_from(*scale).ok()?,
        ),
        _ => return None,
    };
    if value.data_type() == *to {
        return Some(value);
    }
    // Columns are widened over time (int to long), and strings are read as views.
    let compatible = matches!(
        (value.data_type(), to),
        (DataType::Int32, DataType::Int64)
            | (DataType::Float32, DataType::Float64)
            | (DataType::Utf8, DataType::Utf8View)
            | (DataType::Binary, DataType::BinaryView)
            | (DataType::Decimal128(..), DataType::Decimal128(..))
            | (
                DataType::Timestamp(TimeUnit::Microsecond, _),
                DataType::Timestamp(TimeUnit::Nanosecond, _)
            )
    );
    if compatible {
        value.cast_to(to).ok()
    } else {
        None
    }
}
