//! Reading one data file of a plan.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use iceberg::spec::SchemaRef;
use tokio::sync::mpsc;

use super::file::{Fallbacks, ParquetFile, Rows, Wanted};
use super::metadata::MetadataColumns;
use super::{ReadOptions, missing, names};
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
        decoded(path, |batches| self.run(batches))
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
        let (mut file, deleted, equality) = futures::try_join!(
            ParquetFile::open(table.storage(), &task.file),
            loader.positions(&task),
            loader.equality(&table, &task),
        )?;
        if let Some(range) = &task.range {
            file.within(range);
        }
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
        let metadata = MetadataColumns::new(&table, &task, options)?;
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
            metadata.add_to(&mut columns, &own, positions)?;
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

/// What a task of its own decodes, from the first poll on. `run` fills the channel and ends early when
/// nobody reads any more; `path` names what is read where it panics.
pub(super) fn decoded<T, F>(
    path: String,
    run: impl FnOnce(mpsc::Sender<T>) -> F + Send + 'static,
) -> BoxStream<'static, Result<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    stream::once(async move {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let decoder = Owned::spawn(run(sender));
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

pub(super) fn batch(
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
pub(super) fn fallbacks(table: &Table, task: &ScanTask) -> Result<Fallbacks> {
    let partition = missing::identity_values(table.metadata(), task);
    let names = names::name_mapping(table.metadata())
        .map_err(|error| error.with("table", table.ident()))?
        .map(Arc::new);
    Ok(Fallbacks { partition, names })
}
