//! Constants in statements as values of a table's columns.

use berglake_format::schema::to_arrow_type;
use berglake_format::{Error, Result};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, Spanned};
use iceberg::spec::{Datum, Literal, PrimitiveType, Type};

use super::insert::assignable;
use crate::error::IntoOurs;
use crate::session::Session;
use crate::sql::{placed, type_name};

/// The value of a constant in the type of a column, or a NULL of it.
///
/// # Errors
/// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for what is no constant, or cannot be
/// stored in such a column.
pub(super) async fn constant(
    session: &Session,
    expr: &Expr,
    column: &str,
    ty: &Type,
) -> Result<ScalarValue> {
    let start = expr.span().start;
    let wrong = |cause: &str| {
        let error = Error::invalid(format!("{expr} is no value of the column: {cause}"))
            .with("name", column)
            .with("type", type_name(ty));
        placed(error, start)
    };
    let value = session
        .constant(expr)
        .await
        .map_err(|error| placed(error, start))?
        .ok_or_else(|| wrong("it has no value"))?;
    let target = to_arrow_type(ty, column)?;
    if value.is_null() {
        return ScalarValue::try_from(&target).ours();
    }
    if let (Type::Primitive(PrimitiveType::Uuid), Some(Some(text))) = (ty, value.try_as_str()) {
        let bytes = match Literal::uuid_from_str(text) {
            Ok(Literal::Primitive(iceberg::spec::PrimitiveLiteral::UInt128(bits))) => {
                bits.to_be_bytes().to_vec()
            }
            _ => return Err(wrong("it is no UUID")),
        };
        return Ok(ScalarValue::FixedSizeBinary(16, Some(bytes)));
    }
    if !assignable(&value.data_type(), &target) {
        return Err(wrong("it is of another type"));
    }
    value
        .cast_to(&target)
        .ours()
        .map_err(|error| wrong(error.message()))
}

/// The value as Iceberg has it; none for NULL and for what has no such form. It must be of the Arrow
/// type of the column.
pub(super) fn datum(value: &ScalarValue, ty: &PrimitiveType) -> Option<Datum> {
    use PrimitiveType as P;
    use ScalarValue as S;
    Some(match (value, ty) {
        (S::Boolean(Some(value)), P::Boolean) => Datum::bool(*value),
        (S::Int32(Some(value)), P::Int) => Datum::int(*value),
        (S::Int64(Some(value)), P::Long) => Datum::long(*value),
        (S::Float32(Some(value)), P::Float) => Datum::float(*value),
        (S::Float64(Some(value)), P::Double) => Datum::double(*value),
        (S::Date32(Some(days)), P::Date) => Datum::date(*days),
        (S::Time64Microsecond(Some(micros)), P::Time) => Datum::time_micros(*micros).ok()?,
        (S::TimestampMicrosecond(Some(micros), _), P::Timestamp) => {
            Datum::timestamp_micros(*micros)
        }
        (S::TimestampMicrosecond(Some(micros), _), P::Timestamptz) => {
            Datum::timestamptz_micros(*micros)
        }
        (S::TimestampNanosecond(Some(nanos), _), P::TimestampNs) => Datum::timestamp_nanos(*nanos),
        (S::TimestampNanosecond(Some(nanos), _), P::TimestamptzNs) => {
            Datum::timestamptz_nanos(*nanos)
        }
        (S::Decimal128(Some(unscaled), ..), P::Decimal { .. }) => {
            Datum::try_from_bytes(&unscaled.to_be_bytes(), ty.clone()).ok()?
        }
        (S::FixedSizeBinary(_, Some(bytes)), P::Uuid) => {
            Datum::try_from_bytes(bytes, P::Uuid).ok()?
        }
        (S::FixedSizeBinary(_, Some(bytes)), P::Fixed(_)) => Datum::fixed(bytes.iter().copied()),
        (S::Binary(Some(bytes)) | S::LargeBinary(Some(bytes)), P::Binary) => {
            Datum::binary(bytes.iter().copied())
        }
        (S::BinaryView(Some(bytes)), P::Binary) => Datum::binary(bytes.iter().copied()),
        (_, P::String) => Datum::string(value.try_as_str()??),
        _ => return None,
    })
}

/// The value as a column's default; none for NULL.
///
/// # Errors
/// [`Unsupported`](berglake_format::ErrorKind::Unsupported) for columns whose values have no form in
/// metadata.
pub(super) fn default(value: &ScalarValue, column: &str, ty: &Type) -> Result<Option<Literal>> {
    if value.is_null() {
        return Ok(None);
    }
    let literal = match ty {
        Type::Primitive(primitive) => datum(value, primitive),
        _ => None,
    };
    match literal {
        Some(datum) => Ok(Some(Literal::Primitive(datum.literal().clone()))),
        None => Err(
            Error::unsupported("columns of this type have no default values")
                .with("name", column)
                .with("type", type_name(ty)),
        ),
    }
}
