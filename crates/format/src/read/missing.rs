//! Columns that a data file does not have (specification, "Column Projection").
//!
//! Readers of data files beside [`read`](super::read) take the values of such columns from here, so
//! that a row is the same whoever reads it.

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use iceberg::spec::{Literal, NestedField, TableMetadata, Transform};

use super::{constant, reshape};
use crate::Result;
use crate::plan::ScanTask;
use crate::schema::to_arrow_type;

/// The values of a file's identity partitions, by the field id of the column that they are of. NULL
/// is a value, too: it comes before the column's default.
pub type IdentityValues = HashMap<i32, Option<Literal>>;

/// The values of the identity partitions that the task's file is in. Files that came from Hive-style
/// folders have these columns nowhere else.
///
/// The values are as the partition was written, so their types may be older than the column's;
/// [`missing_column`] promotes them.
pub fn identity_values(metadata: &TableMetadata, task: &ScanTask) -> IdentityValues {
    let Some(spec) = metadata.partition_spec_by_id(task.spec_id) else {
        return IdentityValues::new();
    };
    spec.fields()
        .iter()
        .zip(task.file.partition().iter())
        .filter(|(field, _)| field.transform == Transform::Identity)
        .map(|(field, value)| (field.source_id, value.cloned()))
        .collect()
}

/// A top-level column of a table that a data file does not have, `rows` long: the value of the file's
/// identity partition, else the column's initial default, else NULL. It has the type that
/// [`to_arrow`](crate::schema::to_arrow) gives the column.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a required column for which there is no value and for a
/// value that does not fit the column, [`Unsupported`](crate::ErrorKind::Unsupported) for a default of
/// a struct, list or map other than NULL and for a type without Arrow form, with the column's name.
pub fn missing_column(
    field: &NestedField,
    identity: &IdentityValues,
    rows: usize,
) -> Result<ArrayRef> {
    let arrow = to_arrow_type(&field.field_type, &field.name)?;
    fill(field, &arrow, identity, rows)
}

/// As [`missing_column`], with the column's Arrow type at hand.
pub(super) fn fill(
    field: &NestedField,
    arrow: &DataType,
    identity: &IdentityValues,
    rows: usize,
) -> Result<ArrayRef> {
    let value = match identity.get(&field.id) {
        Some(value) => value.as_ref(),
        None => field.initial_default.as_ref(),
    };
    if value.is_none() && field.required {
        return Err(reshape::missing(&field.name));
    }
    constant::column(value, &field.field_type, arrow, rows)
        .map_err(|error| error.with("column", &field.name))
}
