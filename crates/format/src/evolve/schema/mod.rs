//! Changes of a table's columns.

mod defaults;
mod edits;
mod follow;
mod tree;

use std::collections::HashSet;

use async_trait::async_trait;
use iceberg::spec::{Literal, Schema, Type};
use iceberg::{TableRequirement, TableUpdate};

use crate::commit::{Operation, PlannedChange};
use crate::{Error, Result, Table};

use edits::Draft;

/// Changes columns (specification, "Schema Evolution").
///
/// The edits are made in their order, each on the schema as the one before it leaves it; together they
/// are one new schema. Rows that are there are not touched: a column is its field id, and ids are never
/// given twice. Where the result is the current schema there is nothing to do; where it is an older
/// one, that becomes current again.
///
/// With the schema go, as in Java's reference implementation, the table's name mapping (new names are
/// added, old ones stay, a name that another column takes leaves its old one) and properties that are
/// about one column, such as `write.metadata.metrics.column.<name>`: they are renamed and removed with it.
/// No requirement can assert a property, so a mapping that somebody sets in the same moment is lost.
///
/// A concurrent change of the schema, of the default partition spec or of the default sort order is a
/// conflict, after which the edits are planned on what is there then.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EvolveSchema {
    /// The edits, in order.
    pub edits: Vec<SchemaEdit>,
    /// Allows what can make rows unreadable that are there: required columns without a default, and
    /// optional columns that become required. The caller knows that no row has a NULL there.
    pub allow_incompatible: bool,
}

impl EvolveSchema {
    /// These edits, as long as all rows that are there can be read afterwards.
    pub fn new(edits: Vec<SchemaEdit>) -> Self {
        Self {
            edits,
            allow_incompatible: false,
        }
    }
}

/// One change of a column.
///
/// A path names a column by its parts as they are stored: `["a", "b"]` is the field `b` of the struct
/// `a`. Inside of lists and maps the parts are `element` and `value`, which may be left out before the
/// name of a struct's field. What is inside of the key of a map cannot be changed.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are few of them, and they are written out where they are made"
)]
pub enum SchemaEdit {
    /// Adds a column, or a field to a struct.
    Add {
        /// The struct, or the list or map of structs, that gets the field; none for the table itself.
        parent: Option<Vec<String>>,
        /// The name.
        name: String,
        /// The type. Ids inside of it are assigned anew.
        ty: Type,
        /// Whether no row may have a NULL.
        required: bool,
        /// What the column is.
        doc: Option<String>,
        /// What rows have that are there already; NULL where nothing is said. From format version 3 on.
        initial_default: Option<Literal>,
        /// What rows get that are written without a value; NULL where nothing is said, and
        /// `initial_default` for a required column. From format version 3 on.
        write_default: Option<Literal>,
        /// Where among the columns of the parent.
        position: Position,
        /// Does nothing where a column of this name exists, whatever its type.
        if_not_exists: bool,
    },
    /// Drops a column with all that is inside of it.
    Drop {
        /// The column.
        path: Vec<String>,
        /// Does nothing where there is no such column.
        if_exists: bool,
    },
    /// Renames a column.
    Rename {
        /// The column.
        path: Vec<String>,
        /// Its new name, the last part alone.
        to: String,
    },
    /// Moves a column among those of its parent.
    Move {
        /// The column.
        path: Vec<String>,
        /// Where to.
        position: Position,
    },
    /// Gives a column a wider type: `int` to `long`, `float` to `double`, a decimal more digits.
    Widen {
        /// The column.
        path: Vec<String>,
        /// The wider type.
        to: Type,
    },
    /// Makes a required column optional.
    Optional {
        /// The column.
        path: Vec<String>,
    },
    /// Makes an optional column required. Needs [`allow_incompatible`](EvolveSchema::allow_incompatible)
    /// unless the same operation has added the column with an initial default.
    Require {
        /// The column.
        path: Vec<String>,
    },
    /// Says what a column is.
    Doc {
        /// The column.
        path: Vec<String>,
        /// The text; none removes it.
        doc: Option<String>,
    },
    /// Sets what rows get that are written without a value. From format version 3 on.
    WriteDefault {
        /// The column.
        path: Vec<String>,
        /// The value; none means NULL.
        value: Option<Literal>,
    },
}

/// A place among the columns of a table or the fields of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Position {
    /// Before all others.
    First,
    /// Directly before this one.
    Before(String),
    /// Directly after this one.
    After(String),
    /// After all others.
    #[default]
    Last,
}

#[async_trait]
impl Operation for EvolveSchema {
    /// Plans the new schema.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) with the column for edits that the specification
    /// or the table's partitioning, sort order or identifier fields forbid;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for what only this program cannot.
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.change(base)
            .map_err(|error| error.with("table", base.ident()))
    }
}

impl EvolveSchema {
    fn change(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let metadata = base.metadata();
        let mut draft = Draft::new(metadata, self.allow_incompatible);
        for edit in &self.edits {
            draft.edit(edit)?;
        }
        let current = metadata.current_schema();
        let next_id = metadata.schemas_iter().map(|schema| schema.schema_id());
        let schema = draft.finish(next_id.max().unwrap_or_default().saturating_add(1))?;
        if same(&schema, current) {
            return Ok(None);
        }
        let carried = follow::carried(metadata, current, &schema)?;
        let mut updates = match metadata.schemas_iter().find(|older| same(older, &schema)) {
            Some(older) => vec![TableUpdate::SetCurrentSchema {
                schema_id: older.schema_id(),
            }],
            None => vec![
                TableUpdate::AddSchema { schema },
                TableUpdate::SetCurrentSchema {
                    schema_id: super::LAST_ADDED,
                },
            ],
        };
        updates.extend(carried);
        let requirements = vec![
            TableRequirement::CurrentSchemaIdMatch {
                current_schema_id: metadata.current_schema_id(),
            },
            TableRequirement::LastAssignedFieldIdMatch {
                last_assigned_field_id: metadata.last_column_id(),
            },
            // What columns may be dropped and named depends on these.
            TableRequirement::DefaultSpecIdMatch {
                default_spec_id: metadata.default_partition_spec_id(),
            },
            TableRequirement::DefaultSortOrderIdMatch {
                default_sort_order_id: metadata.default_sort_order_id(),
            },
        ];
        Ok(Some(PlannedChange::of_metadata(
            base,
            requirements,
            updates,
        )))
    }
}

/// Whether two schemas differ in nothing but their id. The `iceberg` crate compares identifier fields
/// in the order of a hash table, and so finds some schemas different from themselves.
fn same(one: &Schema, other: &Schema) -> bool {
    let key = |schema: &Schema| schema.identifier_field_ids().collect::<HashSet<_>>();
    one.as_struct() == other.as_struct() && key(one) == key(other)
}

/// The parts of a path as people write it.
fn dotted(path: &[String]) -> String {
    path.join(".")
}

fn invalid(message: &str, path: &[String]) -> Error {
    Error::invalid(message).with("column", dotted(path))
}

#[cfg(test)]
mod tests;
