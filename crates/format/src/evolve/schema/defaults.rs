//! Default values of columns, and what becomes of them when a column is widened.

use iceberg::spec::{FormatVersion, Literal, PrimitiveLiteral, PrimitiveType, Type};

use crate::{Error, Result};

/// 0001-01-01 and 9999-12-31 in days since 1970-01-01: what has a form in JSON that is read again.
const FIRST_DAY: i64 = -719_162;
const LAST_DAY: i64 = 2_932_896;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Whether a column of this type can have this default, and metadata can store it.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) before format version 3 and for a value of another
/// type; [`Unsupported`](crate::ErrorKind::Unsupported) for nested columns and for values that the
/// JSON of the `iceberg` crate would lose without a word.
pub(super) fn check(
    value: Option<&Literal>,
    ty: &Type,
    version: FormatVersion,
    path: &str,
) -> Result<()> {
    let Some(value) = value else {
        return Ok(());
    };
    if version < FormatVersion::V3 {
        return Err(
            Error::invalid("columns have default values from format version 3 on")
                .with("column", path)
                .with("format-version", version)
                .help("upgrade the table to format version 3, or leave the default away"),
        );
    }
    let (Type::Primitive(primitive), Literal::Primitive(literal)) = (ty, value) else {
        return Err(
            Error::unsupported("only columns of primitive types have default values")
                .with("column", path)
                .with("type", ty),
        );
    };
    if !primitive.compatible(literal) {
        return Err(
            Error::invalid("a default value is not of its column's type")
                .with("column", path)
                .with("type", primitive),
        );
    }
    let unstorable = |why: &str| {
        Error::unsupported(format!("such a default value cannot be stored: {why}"))
            .with("column", path)
            .with("type", primitive)
    };
    let in_calendar = match (primitive, literal) {
        (PrimitiveType::Date, PrimitiveLiteral::Int(days)) => {
            (FIRST_DAY..=LAST_DAY).contains(&i64::from(*days))
        }
        (PrimitiveType::Timestamp | PrimitiveType::Timestamptz, PrimitiveLiteral::Long(micros)) => {
            (FIRST_DAY..=LAST_DAY).contains(&micros.div_euclid(MICROS_PER_DAY))
        }
        (PrimitiveType::Time, PrimitiveLiteral::Long(micros)) => {
            (0..MICROS_PER_DAY).contains(micros)
        }
        _ => true,
    };
    if !in_calendar {
        return Err(unstorable(
            "it is outside of the years 1 to 9999 or of a day",
        ));
    }
    if let (PrimitiveType::Decimal { precision, .. }, PrimitiveLiteral::Int128(unscaled)) =
        (primitive, literal)
        && 10_u128
            .checked_pow(*precision)
            .is_some_and(|limit| unscaled.unsigned_abs() >= limit)
    {
        return Err(
            Error::invalid("a default value has more digits than its column")
                .with("column", path)
                .with("type", primitive),
        );
    }
    let json = value
        .clone()
        .try_into_json(ty)
        .map_err(|error| unstorable("it has no form in JSON").source_error(error))?;
    match Literal::try_from_json(json, ty) {
        Ok(Some(again)) if again == *value => Ok(()),
        _ => Err(unstorable("it would be read as another value")),
    }
}

/// Whether values of one type can be read as those of the other (specification, "Schema Evolution").
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) where the specification does not allow it,
/// [`Unsupported`](crate::ErrorKind::Unsupported) where only this program cannot.
pub(super) fn check_widening(from: &PrimitiveType, to: &PrimitiveType, path: &str) -> Result<()> {
    use PrimitiveType as P;
    let at = |error: Error| error.with("column", path).with("from", from).with("to", to);
    match (from, to) {
        (P::Int, P::Long) | (P::Float, P::Double) => Ok(()),
        (
            P::Decimal { precision, scale },
            P::Decimal {
                precision: wider,
                scale: same,
            },
        ) if scale == same && precision <= wider && *wider <= 38 => Ok(()),
        (P::Date, P::Timestamp | P::TimestampNs) => Err(at(Error::unsupported(
            "dates that become timestamps are not supported",
        ))
        .help("add a column of the new type and fill it from this one")),
        _ => Err(
            at(Error::invalid("a column cannot change its type like this")).help(
                "allowed are int to long, float to double, and decimal(p, s) to decimal(more, s)",
            ),
        ),
    }
}

/// A default in the wider type of its column.
pub(super) fn widened(value: Literal, to: &PrimitiveType) -> Literal {
    match (&value, to) {
        (Literal::Primitive(PrimitiveLiteral::Int(v)), PrimitiveType::Long) => {
            Literal::long(i64::from(*v))
        }
        (Literal::Primitive(PrimitiveLiteral::Float(v)), PrimitiveType::Double) => {
            Literal::double(f64::from(v.0))
        }
        _ => value,
    }
}
