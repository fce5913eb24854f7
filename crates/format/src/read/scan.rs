//! Reading one data file of a plan.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use iceberg::spec::SchemaRef;
use tokio::sync::mpsc;

use super::file::{Fallbacks, ParquetFile, Rows, Wanted};
use super::{ReadOptions, constant, missing, names};
use crate::deletes::{DeleteLoader, selections};
use crate::plan::{ScanPlan, ScanTask};
use crate::task::{Owned, failed};
use crate::{Error, Result, Table};

/// Batches that are decoded ahead of whoever reads them.
const BATCHES_AHEAD: usize = 2;

/// One data file to read.
pub(super) struct FileScan {
    table: Table,
    columns: SchemaRef,
    output: Result<arrow::datatypes::SchemaRef>,
    task: ScanTask,
    options: ReadOptions,
    loader: DeleteLoader,
}

impl FileScan {
    pub(super) fn new(
        plan: &ScanPlan,
        task: &ScanTask,
        options: ReadOptions,
        loader: DeleteLoader,
    ) -> Self {
        Self {
            table: plan.table.clone(),
            columns: plan.schema.clone(),
            output: super::schema(plan, options),
            task: task.clone(),
            options,
            loader,
        }
    }

    /// The file's batches. A task of its own decodes them, from the first poll on.
    pub(super) fn start(self) -> BoxStream<'static, Result<RecordBatch>> {
        let path = self.task.file.file_path().to_string();
        stream::once(async move {
            let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
            let decoder = Owned::spawn(self.run(sender));
            let state = (receiver, Some(decoder), path);
            stream::unfold(state, |(mut receiver, decoder, path)| async move {
                if let Some(batch) = receiver.recv().await {
                    return Some((Ok(batch), (receiver, decoder, path)));
                }
                // The channel is closed: the decoder is done, has failed or has panicked.
                let error = match decoder?.await {
                    Ok(Ok(())) => return None,
                    Ok(Err(error)) => error,
                    Err(failure) => failed(&path, failure),
                };
                Some((Err(error), (receiver, None, path)))
            })
        })
        .flatten()
        .boxed()
    }

    async fn run(self, sender: mpsc::Sender<RecordBatch>) -> Result<()> {
        let Self {
            table,
            columns,
            output,
            task,
            options,
            loader,
        } = self;
        let output = output?;
        let path = task.file.file_path();
        let (file, deleted, equality) = futures::try_join!(
            ParquetFile::open(table.storage(), &task.file),
            loader.positions(&task),
            loader.equality(&table, &task),
        )?;
        let mut wanted = columns
            .as_struct()
            .fields()
            .iter()
            .map(Wanted::new)
            .collect::<Result<Vec<_>>>()?;
        let projected = wanted.len();
        if options.lineage {
            for field in &super::lineage_fields() {
                wanted.push(Wanted::new(field)?);
            }
        }
        let read = wanted.len();
        if let Some(equality) = &equality {
            wanted.extend(equality.columns().cloned());
        }
        let fallbacks = fallbacks(&table, &task)?;
        let selections = deleted.map(|deleted| selections(&deleted, &file.row_counts()));
        let mut rows = file.rows(&wanted, &fallbacks, selections, options.batch_size)?;
        while let Some(Rows {
            mut columns,
            positions,
        }) = rows.try_next().await?
        {
            let keys = columns.split_off(read);
            let own = columns.split_off(projected);
            let count = positions.len();
            if options.lineage {
                columns.extend(lineage(&task, &own, &positions)?);
            }
            if options.positions {
                columns.push(constant::text(path, count));
                columns.push(Arc::new(positions));
            }
            let batch = batch(&output, columns, count).map_err(|error| error.with("path", path))?;
            let batch = match &equality {
                Some(equality) => {
                    let keep = equality
                        .keep(&keys, count)
                        .map_err(|error| error.with("path", path))?;
                    kept(batch, &keep)?
                }
                None => batch,
            };
            if batch.num_rows() > 0 && sender.send(batch).await.is_err() {
                // Nobody reads any more.
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The lineage of rows: what the file says of a row, else what the row inherits from its file.
fn lineage(task: &ScanTask, own: &[ArrayRef], positions: &Int64Array) -> Result<[ArrayRef; 2]> {
    let [ids, updated] = own else {
        return Err(Error::internal("the columns of row lineage are missing"));
    };
    let ids = ids.as_primitive::<Int64Type>();
    let updated = updated.as_primitive::<Int64Type>();
    let first = task.file.first_row_id();
    let inherited = positions
        .values()
        .iter()
        .map(|position| first.and_then(|first| first.checked_add(*position)));
    let ids: Int64Array = ids
        .iter()
        .zip(inherited)
        .map(|(own, inherited)| own.or(inherited))
        .collect();
    let updated: Int64Array = updated
        .iter()
        .map(|own| own.or(Some(task.sequence_number)))
        .collect();
    Ok([Arc::new(ids), Arc::new(updated)])
}

fn batch(
    schema: &arrow::datatypes::SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| {
        Error::corrupt("the file's values do not fit the table's columns").source_error(error)
    })
}

fn kept(batch: RecordBatch, keep: &BooleanArray) -> Result<RecordBatch> {
    if keep.true_count() == batch.num_rows() {
        return Ok(batch);
    }
    Ok(filter_record_batch(&batch, keep)?)
}

/// What fills the columns that the task's data file does not have.
fn fallbacks(table: &Table, task: &ScanTask) -> Result<Fallbacks> {
    let partition = missing::identity_values(table.metadata(), task);
    let names = names::name_mapping(table.metadata())
        .map_err(|error| error.with("table", table.ident()))?
        .map(Arc::new);
    Ok(Fallbacks { partition, names })
}
