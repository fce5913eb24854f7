//! Writing data files and delete files.
//!
//! A [`DataWriter`] takes record batches through four steps, each a module: `conform` brings a batch
//! into the table's shape, `route` splits it by partition, `file` encodes and uploads, `metrics`
//! describes the finished file. [`write_deletes`] writes positions of deleted rows in the form of the
//! table's format version.

mod columns;
mod conform;
mod deletes;
mod equality;
mod file;
mod group;
mod metrics;
mod pending;
mod route;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use futures::stream::{self, StreamExt};
use iceberg::spec::{DataFile, Schema, SchemaRef, Struct};
use tokio::task::JoinSet;

pub use deletes::{DeletedRows, write_deletes};
pub use equality::{DeleteScope, write_equality_deletes};

use crate::properties::{MetricsMode, WriteProperties};
use crate::read::lineage_fields;
use crate::storage::Location;
use crate::{Error, Result, Table};

use conform::Conformer;
use file::{OpenFile, Shape};
use route::{PartitionId, Router};

/// Files that are closed at the same time while others are written; each may hold a row group.
const CLOSING: usize = 1;
/// Files that are closed at the same time where nothing else is written meanwhile, and most of the time
/// goes into requests.
const CLOSING_AT_END: usize = 16;

/// A file that was written and is not yet committed.
///
/// `DataFile` does not tell the partition spec that its partition tuple belongs to, so the two
/// travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenFile {
    /// The file, as it will stand in a manifest.
    pub file: DataFile,
    /// The partition spec of its partition tuple.
    pub spec_id: i32,
}

/// Writes record batches into Parquet files of a table's current schema and default partition spec.
///
/// Rows are routed to their partitions; one file is open per partition as long as memory allows
/// (the largest is closed when the bound is reached), and files roll at the target size.
///
/// Columns are encoded on the runtime's blocking pool, as many at a time as there are cores. Nothing
/// is committed: [`finish`](Self::finish) gives the files to an operation. A writer whose call failed
/// must be given up with [`abort`](Self::abort).
pub struct DataWriter {
    table: Table,
    conformer: Conformer,
    router: Router,
    shape: Arc<Shape>,
    folder: Location,
    open: HashMap<PartitionId, OpenFile>,
    closing: JoinSet<Result<DataFile>>,
    done: Vec<WrittenFile>,
    memory_limit: usize,
    files: u64,
    rows: u64,
}

impl std::fmt::Debug for DataWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataWriter")
            .field("table", self.table.ident())
            .field("rows", &self.rows)
            .field("open", &self.open.len())
            .field("done", &self.done.len())
            .finish_non_exhaustive()
    }
}

impl DataWriter {
    /// A writer for this table.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for table properties that make no sense.
    pub fn new(table: &Table) -> Result<Self> {
        let properties = WriteProperties::of(table.metadata())
            .map_err(|error| error.with("table", table.ident()))?;
        Self::with_properties(table, &properties)
    }

    /// A writer for this table with other settings than its own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_properties(table: &Table, properties: &WriteProperties) -> Result<Self> {
        Self::with_schema(table, properties, table.schema().clone())
    }

    /// A writer of rows that keep their lineage: behind the table's columns, batches have `_row_id`
    /// and `_last_updated_sequence_number`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn with_lineage(table: &Table, properties: &WriteProperties) -> Result<Self> {
        let schema = table.schema();
        let fields = schema.as_struct().fields().iter().cloned();
        let with_lineage = Schema::builder()
            .with_schema_id(schema.schema_id())
            .with_identifier_field_ids(schema.identifier_field_ids())
            .with_fields(fields.chain(lineage_fields()))
            .build()
            .map_err(|error| Error::from(error).with("table", table.ident()))?;
        let mut properties = properties.clone();
        for field in lineage_fields() {
            // The table's schema has no such columns, so nobody could read metrics of them.
            let columns = &mut properties.metrics.columns;
            columns.insert(field.name.clone(), MetricsMode::None);
        }
        Self::with_schema(table, &properties, Arc::new(with_lineage))
    }

    fn with_schema(table: &Table, properties: &WriteProperties, schema: SchemaRef) -> Result<Self> {
        let at = |error: Error| error.with("table", table.ident());
        let metadata = table.metadata();
        let spec = metadata.default_partition_spec();
        let conformer = Conformer::new(schema.clone()).map_err(at)?;
        let shape = Shape::new(
            table.storage().clone(),
            &schema,
            conformer.arrow_schema().clone(),
            spec.spec_id(),
            properties,
        );
        Ok(Self {
            table: table.clone(),
            router: Router::new(spec, &schema).map_err(at)?,
            shape: Arc::new(shape.map_err(at)?),
            conformer,
            folder: table.data_location()?,
            open: HashMap::new(),
            closing: JoinSet::new(),
            done: Vec::new(),
            memory_limit: 256 << 20,
            files: 0,
            rows: 0,
        })
    }

    /// Bounds the memory that all open files hold together: rows that wait with their arrays and
    /// buffers, encoded pages, and parts of uploads. The default is 256 MiB.
    ///
    /// It is counted after each batch, so that one batch and the files that are just being closed come
    /// on top.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Writes rows. Columns are matched by name; a missing optional column is its write default or
    /// NULL, types are cast where no value is lost (`Utf8View` to `Utf8`, `Int32` to `Int64`, …).
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown or missing column, a type that
    /// does not fit, or a NULL in a required column, with column and row; errors of the storage. After
    /// an `InvalidInput` nothing of the batch was taken, and the writer can go on.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let at = |error: Error| error.with("table", self.table.ident());
        let conformed = self.conformer.conform(batch).map_err(at)?;
        let parts = self.router.route(&conformed).map_err(at)?;
        drop(conformed);
        for (partition, part) in parts {
            self.push(partition, part).await?;
        }
        self.rows += batch.num_rows() as u64;
        self.keep_memory_bound().await
    }

    async fn push(&mut self, partition: PartitionId, rows: RecordBatch) -> Result<()> {
        let mut rest = Some(rows);
        while let Some(rows) = rest {
            if !self.open.contains_key(&partition) {
                let file = self.create(partition)?;
                self.open.insert(partition, file);
            }
            let Some(file) = self.open.get_mut(&partition) else {
                return Err(Error::internal("an open file is not open"));
            };
            rest = file.push(rows).await?;
            if file.is_full() {
                self.close(partition, CLOSING).await?;
            }
        }
        Ok(())
    }

    fn create(&mut self, partition: PartitionId) -> Result<OpenFile> {
        let known = self.router.partition(partition);
        let known = known.ok_or_else(|| Error::internal("a partition is not known"))?;
        let name = file_name(self.files, &self.table, ".parquet");
        self.files += 1;
        let location = match known.path.as_str() {
            "" => self.folder.join(&name),
            path => self.folder.join(&format!("{path}/{name}")),
        };
        Ok(OpenFile::new(
            self.shape.clone(),
            location,
            known.values.clone(),
        ))
    }

    /// Closes the file of a partition in the background, with at most so many others.
    async fn close(&mut self, partition: PartitionId, at_once: usize) -> Result<()> {
        if let Some(file) = self.open.remove(&partition) {
            while self.closing.len() >= at_once {
                self.join_one().await?;
            }
            self.closing.spawn(file.finish());
        }
        Ok(())
    }

    async fn join_one(&mut self) -> Result<()> {
        if let Some(closed) = self.closing.join_next().await {
            let closed = closed.map_err(|error| {
                Error::internal("a task that closes a file has stopped").source_error(error)
            })?;
            let file = closed?;
            self.done.push(self.written(file));
        }
        Ok(())
    }

    fn written(&self, file: DataFile) -> WrittenFile {
        WrittenFile {
            file,
            spec_id: self.shape.spec_id,
        }
    }

    async fn keep_memory_bound(&mut self) -> Result<()> {
        let mut held: usize = self.open.values().map(OpenFile::memory).sum();
        if held <= self.memory_limit {
            return Ok(());
        }
        let sizes = self.open.iter().map(|(id, file)| (file.memory(), *id));
        let mut sizes: Vec<(usize, PartitionId)> = sizes.collect();
        sizes.sort_unstable();
        // Where many small files hold it, closing them one after the other would take a request each.
        while held > self.memory_limit
            && let Some((bytes, id)) = sizes.pop()
        {
            tracing::debug!(
                held,
                bytes,
                open = self.open.len(),
                "memory is full, the largest file is closed early"
            );
            self.close(id, CLOSING_AT_END).await?;
            held = held.saturating_sub(bytes);
        }
        // Waited for, unlike a file that rolls: memory is free only when it is uploaded.
        while !self.closing.is_empty() {
            self.join_one().await?;
        }
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Closes all files and describes them, with metrics, ready to be committed. Without rows there
    /// are no files.
    ///
    /// # Errors
    /// Errors of the storage. The files that were written are deleted then.
    pub async fn finish(mut self) -> Result<Vec<WrittenFile>> {
        match self.finish_all().await {
            Ok(()) => {
                let mut files = std::mem::take(&mut self.done);
                // By name below the table means by partition and counter, the same in each run.
                files.sort_by(|a, b| a.file.file_path().cmp(b.file.file_path()));
                Ok(files)
            }
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn finish_all(&mut self) -> Result<()> {
        let mut ids: Vec<PartitionId> = self.open.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.close(id, CLOSING_AT_END).await?;
        }
        while !self.closing.is_empty() {
            self.join_one().await?;
        }
        Ok(())
    }

    /// Gives up: deletes what was written.
    pub async fn abort(mut self) {
        for (_, file) in self.open.drain() {
            file.abort().await;
        }
        // Files that are being closed are let finish: stopped half-way they would leave more behind.
        while let Some(closed) = self.closing.join_next().await {
            if let Ok(Ok(file)) = closed {
                let file = self.written(file);
                self.done.push(file);
            }
        }
        discard(&self.table, &self.done).await;
    }
}

/// The name of a partition: its folder below the data of a table, such as `day=2026-01-31/region=eu`;
/// empty for a table without partitions.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) for a spec that the table does not have.
pub fn partition_name(table: &Table, spec_id: i32, values: &Struct) -> Result<String> {
    let spec = table
        .metadata()
        .partition_spec_by_id(spec_id)
        .ok_or_else(|| {
            Error::corrupt("the table has no such partition spec")
                .with("table", table.ident())
                .with("spec-id", spec_id)
        })?;
    route::folder(spec, table.schema(), values)
}

/// A name that no other file has.
fn file_name(counter: u64, table: &Table, ending: &str) -> String {
    format!("{counter:05}-{}{ending}", table.environment().ids().uuid())
}

/// Deletes files that were written and will not be committed. A file that stays is an orphan.
pub async fn discard(table: &Table, files: &[WrittenFile]) {
    stream::iter(files)
        .for_each_concurrent(8, |WrittenFile { file, .. }| async move {
            let deleted = match Location::parse(file.file_path()) {
                Ok(location) => table.storage().delete(&location).await,
                Err(error) => Err(error),
            };
            if let Err(error) = deleted {
                tracing::warn!(%error, path = file.file_path(), "an uncommitted file stays behind");
            }
        })
        .await;
}

#[cfg(test)]
mod tests;
