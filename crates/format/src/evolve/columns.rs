//! The columns that partition fields and sort orders are made of.

use iceberg::spec::{NestedFieldRef, Schema, Transform, Type};

use crate::suggest::did_you_mean;
use crate::{Error, Result};

/// The column at this path, whose parts are matched as they are stored. It may be in structs, not in
/// lists and maps (specification, "Partitioning" and "Sorting").
pub(super) fn source<'a>(schema: &'a Schema, path: &[String]) -> Result<&'a NestedFieldRef> {
    let mut fields = schema.as_struct();
    let mut parts = path.iter().peekable();
    while let Some(part) = parts.next() {
        let Some(field) = fields.field_by_name(part) else {
            let known = || fields.fields().iter().map(|field| field.name.as_str());
            let error = Error::invalid("there is no such column").with("column", path.join("."));
            return Err(match did_you_mean(part, known()) {
                Some(help) => error.help(help),
                None => {
                    let known: Vec<&str> = known().collect();
                    error.help(format!("columns are: {}", known.join(", ")))
                }
            });
        };
        match (parts.peek(), field.field_type.as_ref()) {
            (None, _) => return Ok(field),
            (Some(_), Type::Struct(inner)) => fields = inner,
            (Some(_), _) => {
                return Err(Error::invalid("the column is not in a struct")
                    .with("column", path.join("."))
                    .help("what is in lists and maps is not one value per row"));
            }
        }
    }
    Err(Error::invalid("the name of a column is empty"))
}

/// Whether the transform can be applied to the column.
pub(super) fn check_transform(
    field: &NestedFieldRef,
    transform: Transform,
    path: &str,
) -> Result<()> {
    let at = |error: Error| error.with("column", path).with("transform", transform);
    match transform {
        Transform::Unknown | Transform::Void => Err(at(Error::invalid(
            "the transform is not one that can be asked for",
        ))
        .help("transforms are: identity, bucket, truncate, year, month, day, hour")),
        Transform::Bucket(0) | Transform::Truncate(0) => Err(at(Error::invalid(
            "the width of a transform must be at least 1",
        ))),
        _ if !field.field_type.is_primitive() => {
            Err(at(Error::invalid("the column is not of a primitive type"))
                .with("type", &field.field_type))
        }
        _ => match transform.result_type(&field.field_type) {
            Ok(_) => Ok(()),
            Err(_) => Err(at(Error::invalid(
                "the transform does not fit the column's type",
            ))
            .with("type", &field.field_type)),
        },
    }
}
