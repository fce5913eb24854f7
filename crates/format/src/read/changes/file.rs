//! The rows of one data file that are live on one side of a snapshot only.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use arrow::compute::{and_not, filter_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use iceberg::metadata_columns::{RESERVED_COL_NAME_ROW_ID, RESERVED_FIELD_ID_ROW_ID};
use iceberg::spec::SchemaRef as IcebergSchemaRef;
use roaring::RoaringTreemap;
use tokio::sync::mpsc;

use super::bag::{Changed, Origin};
use crate::deletes::{DeleteLoader, EqualityDeletes, selections};
use crate::plan::{FileChange, ScanTask};
use crate::read::file::{ParquetFile, Rows, Wanted};
use crate::read::lineage_fields;
use crate::read::metadata::{lineage, metadata_column};
use crate::read::scan::{batch, decoded, fallbacks};
use crate::{Error, Result, Table};

/// The columns that are read.
#[derive(Debug)]
pub(super) struct Columns {
    /// Columns of the table.
    pub(super) table: IcebergSchemaRef,
    /// The same, and the row id behind them where it is read.
    pub(super) arrow: SchemaRef,
}

impl Columns {
    pub(super) fn new(table: &IcebergSchemaRef, row_id: bool) -> Result<Self> {
        let mut arrow = crate::schema::to_arrow(table)?;
        if row_id {
            let mut fields = arrow.fields().to_vec();
            fields.push(metadata_column(
                RESERVED_COL_NAME_ROW_ID,
                DataType::Int64,
                RESERVED_FIELD_ID_ROW_ID,
                true,
            ));
            arrow = Arc::new(Schema::new(fields));
        }
        Ok(Self {
            table: Arc::clone(table),
            arrow,
        })
    }

    /// The places of the table's columns.
    pub(super) fn table_columns(&self) -> std::ops::Range<usize> {
        0..self.table.as_struct().fields().len()
    }

    /// The place of the row id.
    pub(super) fn row_id(&self) -> Option<usize> {
        let behind = self.table_columns().end;
        (behind < self.arrow.fields().len()).then_some(behind)
    }
}

/// A data file to read for the changes of one snapshot.
pub(super) struct ChangeScan {
    pub(super) table: Table,
    pub(super) columns: Arc<Columns>,
    pub(super) change: FileChange,
    pub(super) origin: Origin,
    pub(super) batch_size: usize,
    pub(super) loader: DeleteLoader,
}

/// What of a file is live on one side.
struct Side {
    /// Whether the file is there at all.
    present: bool,
    deleted: Option<Arc<RoaringTreemap>>,
    equality: Option<EqualityDeletes>,
}

impl Side {
    async fn load(table: &Table, loader: &DeleteLoader, task: Option<&ScanTask>) -> Result<Self> {
        let Some(task) = task else {
            return Ok(Self {
                present: false,
                deleted: None,
                equality: None,
            });
        };
        let (deleted, equality) =
            futures::try_join!(loader.positions(task), loader.equality(table, task))?;
        Ok(Self {
            present: true,
            deleted,
            equality,
        })
    }

    fn key_columns(&self) -> impl Iterator<Item = &Wanted> {
        self.equality.iter().flat_map(EqualityDeletes::columns)
    }

    /// Which of these rows are live here.
    fn live(&self, positions: &Int64Array, keys: &[ArrayRef]) -> Result<BooleanArray> {
        let by_key = match &self.equality {
            Some(equality) => Some(equality.keep(keys, positions.len())?),
            None => None,
        };
        let live = positions.values().iter().enumerate().map(|(row, at)| {
            let deleted = match (&self.deleted, u64::try_from(*at)) {
                (Some(deleted), Ok(at)) => deleted.contains(at),
                _ => false,
            };
            Some(self.present && !deleted && by_key.as_ref().is_none_or(|keep| keep.value(row)))
        });
        Ok(live.collect())
    }
}

impl ChangeScan {
    /// The rows that came and went. A task of its own decodes them.
    pub(super) fn start(self) -> BoxStream<'static, Result<Changed>> {
        let path = self.change.task().map(|task| task.file.file_path());
        let path = path.unwrap_or_default().to_string();
        decoded(path, |found| self.run(found))
    }

    async fn run(self, found: mpsc::Sender<Changed>) -> Result<()> {
        let Self {
            table,
            columns,
            change,
            origin,
            batch_size,
            loader,
        } = self;
        let task = change
            .task()
            .ok_or_else(|| Error::internal("a change of no file was planned"))?;
        let path = task.file.file_path();
        let (before, after) = futures::try_join!(
            Side::load(&table, &loader, change.before.as_ref()),
            Side::load(&table, &loader, change.after.as_ref()),
        )?;
        let skipped = unchanged(&change, &before, &after);
        if skipped.len() == task.file.record_count() {
            return Ok(());
        }
        let file = ParquetFile::open(table.storage(), &task.file).await?;

        let mut wanted = columns
            .table
            .as_struct()
            .fields()
            .iter()
            .map(Wanted::new)
            .collect::<Result<Vec<_>>>()?;
        let projected = wanted.len();
        if columns.row_id().is_some() {
            for field in &lineage_fields() {
                wanted.push(Wanted::new(field)?);
            }
        }
        let read = wanted.len();
        wanted.extend(before.key_columns().cloned());
        let keys_before = wanted.len();
        wanted.extend(after.key_columns().cloned());

        let fallbacks = fallbacks(&table, task)?;
        let selections = (!skipped.is_empty()).then(|| selections(&skipped, &file.row_counts()));
        let mut rows = file.rows(&wanted, &fallbacks, selections, batch_size)?;
        while let Some(Rows {
            columns: mut arrays,
            positions,
        }) = rows.try_next().await?
        {
            let named = |error: Error| error.with("path", path);
            let keys_after = arrays.split_off(keys_before);
            let keys = arrays.split_off(read);
            let own = arrays.split_off(projected);
            let was = before.live(&positions, &keys).map_err(named)?;
            let is = after.live(&positions, &keys_after).map_err(named)?;
            let count = positions.len();
            if columns.row_id().is_some() {
                let [row_id, _] = lineage(task, &own, &positions)?;
                arrays.push(row_id);
            }
            let all = batch(&columns.arrow, arrays, count).map_err(named)?;
            for (here, there, inserted) in [(&was, &is, false), (&is, &was, true)] {
                let rows = and_not(here, there)?;
                if rows.true_count() == 0 {
                    continue;
                }
                let changed = Changed {
                    batch: filter_record_batch(&all, &rows)?,
                    inserted,
                    origin,
                };
                if found.send(changed).await.is_err() {
                    // Nobody reads any more.
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The positions of rows that need not be read: those that are deleted on all sides that the file is
/// on, and, where no key decides, those that are live on both.
fn unchanged(change: &FileChange, before: &Side, after: &Side) -> RoaringTreemap {
    let rows = change.task().map_or(0, |task| task.file.record_count());
    let mut all = RoaringTreemap::new();
    all.insert_range(0..rows);
    let none = RoaringTreemap::new();
    let was = before.deleted.as_deref().unwrap_or(&none);
    let is = after.deleted.as_deref().unwrap_or(&none);
    match (&change.before, &change.after) {
        (Some(old), Some(new)) => {
            let keys = |task: &ScanTask| {
                let deletes = task.equality_deletes.iter();
                let mut paths: Vec<_> = deletes.map(|d| d.file.file_path().to_string()).collect();
                paths.sort_unstable();
                paths
            };
            if keys(old) == keys(new) {
                all - (was ^ is)
            } else {
                all & (was & is)
            }
        }
        (Some(_), None) => all & was,
        (None, _) => all & is,
    }
}
