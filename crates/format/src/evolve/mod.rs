//! What changes a table without a snapshot: columns, partition fields, sort order, properties, format
//! version.
//!
//! Each is an [`Operation`](crate::commit::Operation) that is planned on the head it is given, and
//! again after a conflict. What it requires of the head makes a concurrent change of the same thing a
//! conflict; where nothing would change there is nothing to commit. No data file is read or written:
//! old files keep the schema and the partition spec that they were written with, and readers map them
//! by field id (specification, "Schema Evolution" and "Partition Evolution").

mod columns;
mod partition;
mod properties;
mod schema;
mod sort;

pub use partition::{EvolvePartitions, PartitionEdit, PartitionSelector};
pub use properties::{SetProperties, UpgradeFormat};
pub use schema::{EvolveSchema, Position, SchemaEdit};
pub use sort::{SetSortOrder, SortTerm};

/// The id by which an update names what the update before it has added.
const LAST_ADDED: i32 = -1;

#[cfg(test)]
mod tests;
