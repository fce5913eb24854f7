//! Schemas: between Iceberg's and Arrow's.

use arrow::datatypes::{Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use iceberg::spec::Schema;

use crate::Result;

/// The Arrow schema of an Iceberg schema. Each field, nested ones too, carries its id in the
/// metadata key `PARQUET:field_id`; timestamps are in µs (or ns), those with zone in `+00:00`.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a type without Arrow form, with the column.
pub fn to_arrow(schema: &Schema) -> Result<ArrowSchemaRef> {
    todo!("{schema}")
}

/// An Iceberg schema for Arrow columns, with fresh ids from 1, breadth first as catalogs assign them.
///
/// Widening is applied where Iceberg has no such type: `Int8/16`, `UInt8/16` → `int`, `UInt32` →
/// `long`, `Utf8View` and `LargeUtf8` → `string`, timestamps in s and ms → µs, dictionaries → values.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) naming the column for types without Iceberg form
/// (`UInt64`, `Interval`, …), duplicate names.
pub fn from_arrow(schema: &ArrowSchema) -> Result<Schema> {
    todo!("{schema}")
}
