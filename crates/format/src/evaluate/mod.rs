//! Decides from metadata alone whether rows of a manifest or a file can match a filter.

use iceberg::expr::Predicate;
use iceberg::spec::{DataFile, SchemaRef};

use crate::Result;

/// Whether the metrics of a file prove that all its rows match the filter.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the filter does not fit the schema.
pub fn all_rows_match(schema: &SchemaRef, filter: &Predicate, file: &DataFile) -> Result<bool> {
    todo!("{schema} {filter} {file:?}")
}
