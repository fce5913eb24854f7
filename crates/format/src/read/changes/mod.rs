//! Reading the changes between two snapshots, as the rows that were inserted, deleted and updated.
//!
//! Batches have the columns of the plan and behind them those that Iceberg's changelog scans and
//! Spark's changelog views have: `_change_type` (`insert`, `delete`, `update_before`, `update_after`),
//! `_change_ordinal` and `_commit_snapshot_id`.
//!
//! Within one snapshot rows are a bag. A row that is on both sides, equal in all columns of the table,
//! was only rewritten and is in neither; NULL equals NULL, and floats are equal if their bits are.
//! What is left comes as deletes, then updates (before, after, before, …), then inserts. Whoever applies the
//! changes in this order to the rows of the first snapshot has the rows of the last.
//!
//! Memory: where a snapshot has changes on one side only, as appends and plain deletes, they stream.
//! Otherwise all that it deleted and what of its inserts has found no equal is held at once, which for a
//! copy-on-write snapshot are the rows of all files that it removed; with
//! [net changes](ChangeOptions::net) it is the changes of the whole range.

mod bag;
mod file;
mod keys;
mod output;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use iceberg::metadata_columns::{
    RESERVED_COL_NAME_CHANGE_ORDINAL, RESERVED_COL_NAME_CHANGE_TYPE,
    RESERVED_COL_NAME_COMMIT_SNAPSHOT_ID, RESERVED_FIELD_ID_CHANGE_ORDINAL,
    RESERVED_FIELD_ID_CHANGE_TYPE, RESERVED_FIELD_ID_COMMIT_SNAPSHOT_ID,
};
use tokio::sync::mpsc;

use super::metadata::metadata_column;
use super::scan::decoded;
use crate::deletes::DeleteLoader;
use crate::plan::{ChangePlan, SnapshotChanges};
use crate::{Error, Result};

use bag::{Bag, Changed, Origin};
use file::{ChangeScan, Columns};
use keys::UpdateKey;
use output::Output;

/// Name of the column with the kind of a change: a [`ChangeType`].
pub const CHANGE_TYPE_COLUMN: &str = RESERVED_COL_NAME_CHANGE_TYPE;
/// Name of the column with the place of a change's snapshot in the range, from 0.
pub const CHANGE_ORDINAL_COLUMN: &str = RESERVED_COL_NAME_CHANGE_ORDINAL;
/// Name of the column with the id of the snapshot that made a change.
pub const COMMIT_SNAPSHOT_ID_COLUMN: &str = RESERVED_COL_NAME_COMMIT_SNAPSHOT_ID;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeType {
    /// It came.
    Insert,
    /// It went.
    Delete,
    /// It went, and the next row came in its place.
    UpdateBefore,
    /// It came in the place of the row before.
    UpdateAfter,
}

impl ChangeType {
    /// The value in the column `_change_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Delete => "delete",
            Self::UpdateBefore => "update_before",
            Self::UpdateAfter => "update_after",
        }
    }
}

/// Which deletes and inserts are the two sides of an update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UpdateImages {
    /// None: changes are inserts and deletes.
    #[default]
    No,
    /// Those with equal values in the table's identifier fields.
    IdentifierFields,
    /// Those with equal values in these columns, also ones that the plan does not select; NULL equals
    /// NULL. A field of a struct is named with its path, e.g. `a.b`.
    Columns(Vec<String>),
    /// Those with the same `_row_id` (specification, "Row Lineage"; from format version 3 on). Rows
    /// that have none stay inserts and deletes.
    RowId,
}

/// How to read changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeOptions {
    /// Rows per batch, at most.
    pub batch_size: usize,
    /// Whether a delete and an insert of one snapshot become an update.
    pub updates: UpdateImages,
    /// Only what differs between the ends of the range: what was inserted and deleted within it, or
    /// deleted and inserted again, is left out. Changes keep the ordinal and the snapshot that they
    /// had. All deletes come first, then updates, then inserts; the two sides of an update may then be
    /// of different snapshots.
    pub net: bool,
    /// Files of one snapshot that are read at the same time.
    pub concurrency: usize,
}

impl Default for ChangeOptions {
    fn default() -> Self {
        Self {
            batch_size: 8_192,
            updates: UpdateImages::No,
            net: false,
            concurrency: 1,
        }
    }
}

/// The columns of the batches that changes are read into.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) where the table has a column of a reserved name,
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a type without Arrow form, with the column.
pub fn change_schema(plan: &ChangePlan) -> Result<SchemaRef> {
    let columns = crate::schema::to_arrow(&plan.schema)?;
    let own: [(&str, DataType, i32); 3] = [
        (
            CHANGE_TYPE_COLUMN,
            DataType::Utf8,
            RESERVED_FIELD_ID_CHANGE_TYPE,
        ),
        (
            CHANGE_ORDINAL_COLUMN,
            DataType::Int32,
            RESERVED_FIELD_ID_CHANGE_ORDINAL,
        ),
        (
            COMMIT_SNAPSHOT_ID_COLUMN,
            DataType::Int64,
            RESERVED_FIELD_ID_COMMIT_SNAPSHOT_ID,
        ),
    ];
    let mut fields: Vec<Arc<Field>> = columns.fields().to_vec();
    for (name, ty, id) in own {
        if columns.field_with_name(name).is_ok() {
            return Err(
                Error::invalid("a column has the name of a column of changes")
                    .with("table", plan.table.ident())
                    .with("column", name)
                    .help("read the changes without it, or rename it"),
            );
        }
        fields.push(metadata_column(name, ty, id, false));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Reads all changes of a plan, in commit order.
///
/// Files are read by tasks of the current Tokio runtime, which end when the stream is dropped.
///
/// # Errors
/// Each item may be an error: [`InvalidInput`](crate::ErrorKind::InvalidInput) for key columns that the
/// table does not have, for identifier fields or row ids where it has none, and for rows of equal keys
/// that leave open which of them became which; what [`read`](super::read()) gives for a file.
pub fn read_changes(
    plan: &ChangePlan,
    options: ChangeOptions,
) -> BoxStream<'static, Result<RecordBatch>> {
    let place = plan.table.metadata_location().to_string();
    let reader = Reader::new(plan.clone(), options);
    decoded(
        place,
        move |batches| async move { reader?.run(batches).await },
    )
}

struct Reader {
    plan: ChangePlan,
    options: ChangeOptions,
    key: Option<UpdateKey>,
    /// What is read where rows are compared: all columns, and the row id where it is the key.
    whole: Arc<Columns>,
    /// What is read where they are not.
    selected: Arc<Columns>,
}

impl Reader {
    fn new(plan: ChangePlan, options: ChangeOptions) -> Result<Self> {
        let key = UpdateKey::new(&plan.table, &options.updates)
            .map_err(|error| error.with("table", plan.table.ident()))?;
        let by_row_id = options.updates == UpdateImages::RowId;
        let whole = Columns::new(plan.table.schema(), by_row_id)?;
        let selected = Columns::new(&plan.schema, false)?;
        Ok(Self {
            plan,
            options,
            key,
            whole: Arc::new(whole),
            selected: Arc::new(selected),
        })
    }

    async fn run(self, batches: mpsc::Sender<RecordBatch>) -> Result<()> {
        let schema = change_schema(&self.plan)?;
        let whole = Output::new(&schema, &self.plan.schema, &self.whole, batches.clone());
        let selected = Output::new(&schema, &self.plan.schema, &self.selected, batches);
        let mut range = match self.options.net {
            true => Some(self.bags()?),
            false => None,
        };
        for changes in &self.plan.snapshots {
            let origin = Origin {
                ordinal: changes.ordinal,
                snapshot: changes.snapshot.snapshot_id(),
            };
            match (&mut range, changes.is_one_sided()) {
                (None, true) => {
                    let mut found = self.scan(changes, origin, &self.selected);
                    while let Some(changed) = found.try_next().await? {
                        if !selected.of_one_kind(&changed).await? {
                            // Nobody reads any more.
                            return Ok(());
                        }
                    }
                }
                (None, false) => {
                    let rest = self.net_of(changes, origin).await?;
                    if !self.emit(&rest, &whole).await? {
                        return Ok(());
                    }
                }
                (Some(range), true) => {
                    let mut found = self.scan(changes, origin, &self.whole);
                    while let Some(changed) = found.try_next().await? {
                        range.add(changed)?;
                    }
                }
                (Some(range), false) => {
                    for changed in self.net_of(changes, origin).await? {
                        range.add(changed)?;
                    }
                }
            }
        }
        if let Some(range) = range {
            self.emit(&range.rest()?, &whole).await?;
        }
        Ok(())
    }

    /// The changes of one snapshot, without rows that it only rewrote.
    async fn net_of(&self, changes: &SnapshotChanges, origin: Origin) -> Result<Vec<Changed>> {
        let mut bags = self.bags()?;
        let mut found = self.scan(changes, origin, &self.whole);
        while let Some(changed) = found.try_next().await? {
            bags.add(changed)?;
        }
        bags.rest()
    }

    /// The rows that came and went in a snapshot, file by file.
    fn scan(
        &self,
        changes: &SnapshotChanges,
        origin: Origin,
        columns: &Arc<Columns>,
    ) -> BoxStream<'static, Result<Changed>> {
        // Delete files are kept as long as the snapshot is read.
        let loader = DeleteLoader::new(self.plan.table.storage().clone());
        let scans: Vec<_> = changes
            .files
            .iter()
            .map(|file| ChangeScan {
                table: self.plan.table.clone(),
                columns: Arc::clone(columns),
                change: file.clone(),
                origin,
                batch_size: self.options.batch_size,
                loader: loader.clone(),
            })
            .collect();
        let files = stream::iter(scans).map(ChangeScan::start);
        if self.options.concurrency > 1 {
            files.flatten_unordered(self.options.concurrency).boxed()
        } else {
            files.flatten().boxed()
        }
    }

    fn bags(&self) -> Result<Bags> {
        let columns = self.whole.table_columns();
        // A row that was carried along with its id goes before one that happens to be equal.
        let with_id = self.whole.row_id().map(|id| columns.clone().chain([id]));
        let by_id = with_id.map(|columns| Bag::new(&self.whole.arrow, columns));
        Ok(Bags {
            by_id: by_id.transpose()?,
            by_value: Bag::new(&self.whole.arrow, columns)?,
        })
    }

    /// Sends what is left; false if nobody reads any more.
    async fn emit(&self, rest: &[Changed], output: &Output) -> Result<bool> {
        let pairs = match &self.key {
            Some(key) => key
                .pairs(rest, &self.whole)
                .map_err(|error| error.with("table", self.plan.table.ident()))?,
            None => Vec::new(),
        };
        output.all(rest, &pairs, self.options.batch_size).await
    }
}

/// Rows that cancel out: first those of the same id where ids are read, then all that are equal.
struct Bags {
    by_id: Option<Bag>,
    by_value: Bag,
}

impl Bags {
    fn add(&mut self, changed: Changed) -> Result<()> {
        match &mut self.by_id {
            Some(bag) => bag.add(changed),
            None => self.by_value.add(changed),
        }
    }

    fn rest(mut self) -> Result<Vec<Changed>> {
        if let Some(bag) = self.by_id {
            for changed in bag.rest()? {
                self.by_value.add(changed)?;
            }
        }
        self.by_value.rest()
    }
}

#[cfg(test)]
mod tests;
