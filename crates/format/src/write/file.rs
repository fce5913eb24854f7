//! One Parquet file while it is written.
//!
//! Rows are gathered into chunks; each column of a chunk is encoded by a task of its own on the
//! blocking pool, as many at a time as the shared [`Semaphore`] allows. So a single file uses all
//! cores as well as many files do, the caller goes on to the next batch meanwhile, and what is in
//! memory is a chunk, the row group under way and what the upload has not yet sent.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef as ArrowSchemaRef;
use bytes::Bytes;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Schema, SchemaRef, Struct,
};
use object_store::buffered::BufWriter;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::basic::{Compression, Type as PhysicalType};
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use super::columns::{Column, ColumnEncoder, ColumnState, Sizes, stopped};
use super::group::{self, Ended, ParquetWriter, Then};
use super::metrics::{self, Leaf};
use super::pending::{Pending, Size};
use crate::properties::WriteProperties;
use crate::storage::{Location, Storage};
use crate::task::Owned;
use crate::{Error, Result, failpoint};

/// Up to so many bytes a file is uploaded in one request; above, in parts of this size.
const UPLOAD_PART: usize = 8 << 20;
/// More rows are not put into one row group, however few bytes they have: engines divide work by row
/// groups.
const MAX_GROUP_ROWS: usize = 1 << 20;
/// The most bytes of rows that are handed to the encoders at once.
const MAX_CHUNK: usize = 8 << 20;
const MIN_CHUNK: usize = 16 << 10;
/// Up to so many bytes of rows, a whole file is encoded by one task: for the crumbs of a table with
/// many partitions, handing out columns costs more than encoding them.
const CRUMB: usize = 64 << 10;

/// What all files of one writer have in common.
pub(super) struct Shape {
    pub storage: Storage,
    pub arrow: ArrowSchemaRef,
    pub target_file_size: u64,
    pub row_group_size: usize,
    pub spec_id: i32,
    parquet: SchemaDescriptor,
    properties: WriterPropertiesPtr,
    leaves: Vec<Leaf>,
    /// How many leaves each top-level column has.
    widths: Vec<usize>,
    chunk: usize,
    permits: Arc<Semaphore>,
}

impl Shape {
    pub(super) fn new(
        storage: Storage,
        schema: &SchemaRef,
        arrow: ArrowSchemaRef,
        spec_id: i32,
        properties: &WriteProperties,
    ) -> Result<Self> {
        let leaves = metrics::leaves(schema, &properties.metrics);
        let json = serde_json::to_string(schema.as_ref()).map_err(|error| {
            Error::internal("a schema cannot be written as JSON").source_error(error)
        })?;
        let footer = vec![KeyValue::new("iceberg.schema".to_string(), json)];
        let parquet = parquet_schema(&arrow)?;
        let compression = properties.compression;
        let properties_ptr =
            parquet_properties(schema, &leaves, &parquet, properties, compression, footer);
        let widths = arrow
            .fields()
            .iter()
            .map(|field| metrics::leaf_count(field.data_type()))
            .collect();
        let smallest = properties
            .target_file_size
            .min(properties.row_group_size as u64)
            / 16;
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            storage,
            arrow,
            target_file_size: properties.target_file_size,
            row_group_size: properties.row_group_size,
            spec_id,
            parquet,
            properties: Arc::new(properties_ptr),
            leaves,
            widths,
            chunk: usize::try_from(smallest)
                .unwrap_or(MAX_CHUNK)
                .clamp(MIN_CHUNK, MAX_CHUNK),
            // More than there are cores, so that the next chunk is at hand when a core comes free while
            // the caller prepares the one after it.
            permits: Arc::new(Semaphore::new(2 * cores)),
        })
    }
}

/// The Parquet schema of Arrow columns, under the root name that Iceberg's writers use.
pub(super) fn parquet_schema(arrow: &ArrowSchemaRef) -> Result<SchemaDescriptor> {
    Ok(ArrowSchemaConverter::new()
        .schema_root("table")
        .convert(arrow)?)
}

/// The settings of a Parquet file.
pub(super) fn parquet_properties(
    schema: &Schema,
    leaves: &[Leaf],
    parquet: &SchemaDescriptor,
    properties: &WriteProperties,
    compression: Compression,
    footer: Vec<KeyValue>,
) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("berglake version ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(compression)
        .set_data_page_size_limit(properties.page_size)
        .set_data_page_row_count_limit(properties.page_row_limit)
        .set_dictionary_page_size_limit(properties.dict_size)
        .set_statistics_truncate_length(metrics::stats_length(leaves))
        .set_key_value_metadata(Some(footer));
    for name in &properties.bloom_filter_columns {
        let Some(id) = schema.field_id_by_name(name) else {
            continue;
        };
        let Some(at) = leaves.iter().position(|leaf| leaf.id == id) else {
            continue;
        };
        let column = parquet.column(at);
        // Parquet has no bloom filters of truth values.
        if column.physical_type() == PhysicalType::BOOLEAN {
            continue;
        }
        let fpp = properties
            .bloom_filter_fpp
            .get(name)
            .copied()
            .unwrap_or(WriteProperties::DEFAULT_BLOOM_FILTER_FPP);
        builder = builder
            .set_column_bloom_filter_enabled(column.path().clone(), true)
            .set_column_bloom_filter_fpp(column.path().clone(), fpp);
    }
    builder.build()
}

/// A file that is open for rows.
pub(super) struct OpenFile {
    shape: Arc<Shape>,
    location: Location,
    partition: Struct,
    pending: Pending,
    in_flight_bytes: usize,
    file: Option<Parquet>,
    columns: Vec<Column>,
    group_rows: usize,
    /// Encoded bytes of the row group under way, without the chunk that is being encoded.
    group_bytes: usize,
    /// The memory that they take.
    group_memory: usize,
    /// The same of the row group that is being closed.
    ending: Sizes,
    written: u64,
    rows: u64,
    nans: Vec<Vec<u64>>,
    upload: Option<BufWriter>,
}

/// The Parquet writer and its maker of column writers; both are made with the first chunk, so that a
/// partition with a few rows costs little but these rows.
struct Parquet {
    writer: Writer,
    factory: ArrowRowGroupWriterFactory,
    /// Row groups that were begun.
    groups: usize,
}

enum Writer {
    Idle(Box<ParquetWriter>),
    /// The row group before the one under way is being closed.
    Ending(Owned<Result<Ended>>),
    /// Only while a step fails half-way; the file is lost then.
    Gone,
}

impl OpenFile {
    pub(super) fn new(shape: Arc<Shape>, location: Location, partition: Struct) -> Self {
        let nans = shape.widths.iter().map(|width| vec![0; *width]).collect();
        Self {
            shape,
            location,
            partition,
            pending: Pending::default(),
            in_flight_bytes: 0,
            file: None,
            columns: Vec::new(),
            group_rows: 0,
            group_bytes: 0,
            group_memory: 0,
            ending: Sizes::default(),
            written: 0,
            rows: 0,
            nans,
            upload: None,
        }
    }

    /// The bytes that the file holds in memory, about.
    pub(super) fn memory(&self) -> usize {
        let uploading = match self.upload {
            Some(_) => UPLOAD_PART.min(usize::try_from(self.written).unwrap_or(UPLOAD_PART)),
            None => 0,
        };
        let groups = self.group_memory + self.ending.memory;
        size_of::<Self>() + self.pending.memory() + self.in_flight_bytes + groups + uploading
    }

    #[cfg(test)]
    pub(super) fn pending(&self) -> impl Iterator<Item = &RecordBatch> {
        self.pending.batches()
    }

    /// Whether the file has reached its target size.
    pub(super) fn is_full(&self) -> bool {
        let encoded = self.group_bytes + self.ending.encoded;
        self.written + encoded as u64 >= self.shape.target_file_size
    }

    /// Takes as many of these rows as fit into one chunk and gives back the rest.
    pub(super) async fn push(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        let size = Size::of(&batch)?;
        let room = self.shape.chunk.saturating_sub(self.pending.bytes());
        if size.bytes < room {
            self.pending.push(&self.shape.arrow, batch, size)?;
            return Ok(None);
        }
        let rows = batch.num_rows();
        // At least one row is taken, however large it is, or nothing would ever move.
        let fit = (room.saturating_mul(rows) / size.bytes.max(1)).clamp(1, rows);
        let part = Size {
            bytes: size.bytes / rows * fit,
            ..size
        };
        self.pending
            .push(&self.shape.arrow, batch.slice(0, fit), part)?;
        self.dispatch().await?;
        Ok((fit < rows).then(|| batch.slice(fit, rows - fit)))
    }

    /// Takes the gathered rows, for the encoders of the row group under way.
    async fn take_pending(&mut self) -> Result<Option<Arc<[RecordBatch]>>> {
        if self.pending.is_empty() {
            return Ok(None);
        }
        if self.group_bytes >= self.shape.row_group_size || self.group_rows >= MAX_GROUP_ROWS {
            self.end_group(Then::More).await?;
        }
        self.begin_group()?;
        self.in_flight_bytes = self.pending.bytes();
        let (batches, rows) = self.pending.take(&self.shape.arrow)?;
        self.group_rows += rows;
        self.rows += rows as u64;
        Ok(Some(batches.into()))
    }

    /// Hands the gathered rows to the encoders.
    async fn dispatch(&mut self) -> Result<()> {
        let Some(batches) = self.take_pending().await? else {
            return Ok(());
        };
        for column in &mut self.columns {
            // A column waits for nothing but its own last chunk, so that no core stands idle while
            // the slowest column finishes.
            let encoder = column
                .settle()
                .await
                .map_err(|e| e.with("path", &self.location))?;
            let permits = self.shape.permits.clone();
            let permit = permits.acquire_owned().await.map_err(|_| stopped())?;
            let (arrow, batches) = (self.shape.arrow.clone(), batches.clone());
            column.last = encoder.sizes();
            column.state = ColumnState::Busy(tokio::task::spawn_blocking(move || {
                let encoder = encoder.encode(&arrow, &batches);
                drop(permit);
                encoder
            }));
        }
        self.measure();
        Ok(())
    }

    /// Encodes the gathered rows, column after column in one task.
    async fn encode_together(&mut self) -> Result<()> {
        let Some(batches) = self.take_pending().await? else {
            return Ok(());
        };
        let mut encoders = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            encoders.push(column.settle().await?);
        }
        let permits = self.shape.permits.clone();
        let permit = permits.acquire_owned().await.map_err(|_| stopped())?;
        let shape = self.shape.clone();
        let encode = move || -> Result<Vec<ColumnEncoder>> {
            let _permit = permit;
            let encoders = encoders.into_iter();
            encoders
                .map(|encoder| encoder.encode(&shape.arrow, &batches))
                .collect()
        };
        let encoders = tokio::task::spawn_blocking(encode)
            .await
            .map_err(|error| stopped().source_error(error))?
            .map_err(|error| error.with("path", &self.location))?;
        for (column, encoder) in self.columns.iter_mut().zip(encoders) {
            column.state = ColumnState::Idle(encoder);
        }
        Ok(())
    }

    fn measure(&mut self) {
        self.group_bytes = self.columns.iter().map(|column| column.last.encoded).sum();
        self.group_memory = self.columns.iter().map(|column| column.last.memory).sum();
    }

    fn begin_group(&mut self) -> Result<()> {
        if !self.columns.is_empty() {
            return Ok(());
        }
        let shape = &self.shape;
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let root = shape.parquet.root_schema_ptr();
                let writer = SerializedFileWriter::new(Vec::new(), root, shape.properties.clone())?;
                none.insert(Parquet {
                    factory: ArrowRowGroupWriterFactory::new(&writer, shape.arrow.clone()),
                    writer: Writer::Idle(Box::new(writer)),
                    groups: 0,
                })
            }
        };
        let mut leaves = file.factory.create_column_writers(file.groups)?.into_iter();
        file.groups += 1;
        for (at, width) in shape.widths.iter().enumerate() {
            let leaves = leaves.by_ref().take(*width).collect();
            let count_nans = metrics::has_floats(shape.arrow.field(at).data_type());
            let encoder = ColumnEncoder::new(at, leaves, count_nans);
            self.columns.push(Column::idle(encoder));
        }
        Ok(())
    }

    /// Closes the row group under way beside whatever comes next, and sends the one before it.
    async fn end_group(&mut self, then: Then) -> Result<()> {
        self.await_group().await?;
        let columns = std::mem::take(&mut self.columns);
        self.ending = Sizes {
            encoded: self.group_bytes,
            memory: self.group_memory + self.in_flight_bytes,
        };
        (self.group_rows, self.group_bytes, self.group_memory) = (0, 0, 0);
        self.in_flight_bytes = 0;
        let Some(file) = &mut self.file else {
            return Err(Error::internal("a file without rows was closed"));
        };
        let Writer::Idle(writer) = std::mem::replace(&mut file.writer, Writer::Gone) else {
            return Err(Error::internal("a file is written on after it failed"));
        };
        let permits = self.shape.permits.clone();
        let ended = group::end(*writer, columns, then, permits, self.ending.encoded);
        file.writer = Writer::Ending(Owned::spawn(ended));
        Ok(())
    }

    /// Waits for the row group that is being closed, if there is one, and hands it to the upload. Gives
    /// the footer if it was the last.
    async fn await_group(&mut self) -> Result<Option<ParquetMetaData>> {
        let Some(file) = &mut self.file else {
            return Ok(None);
        };
        let ending = match std::mem::replace(&mut file.writer, Writer::Gone) {
            Writer::Ending(ending) => ending,
            writer => {
                file.writer = writer;
                return Ok(None);
            }
        };
        let ended = ending
            .await
            .map_err(|error| stopped().source_error(error))?
            .map_err(|error| error.with("path", &self.location))?;
        file.writer = Writer::Idle(Box::new(ended.writer));
        self.ending = Sizes::default();
        for (at, nans) in ended.nans {
            for (sum, nans) in self.nans[at].iter_mut().zip(nans) {
                *sum += nans;
            }
        }
        self.written += ended.bytes.len() as u64;
        self.send(ended.bytes, ended.footer.is_some()).await?;
        Ok(ended.footer)
    }

    async fn send(&mut self, bytes: Bytes, last: bool) -> Result<()> {
        let storage = &self.shape.storage;
        // A file that is complete before anything was sent goes in one request, without a copy.
        if last && self.upload.is_none() && bytes.len() <= UPLOAD_PART {
            return storage.write(&self.location, bytes).await;
        }
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let store = storage.store(self.location.root())?;
                let path = self.location.object_path()?;
                let upload = BufWriter::with_capacity(store, path, UPLOAD_PART);
                none.insert(upload.with_max_concurrency(2))
            }
        };
        let at = |error: Error| error.with("path", &self.location);
        // In parts, so that the upload's limit of requests in flight is also one of bytes.
        let mut rest = bytes;
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(UPLOAD_PART));
            upload.put(part).await.map_err(|error| at(error.into()))?;
        }
        if last {
            upload.shutdown().await.map_err(|error| at(error.into()))?;
            self.upload = None;
        }
        Ok(())
    }

    /// Writes what is left and the footer, and describes the file.
    pub(super) async fn finish(mut self) -> Result<DataFile> {
        match self.end().await {
            Ok(file) => {
                failpoint::hit(failpoint::DATA_FILE_WRITTEN);
                Ok(file)
            }
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn end(&mut self) -> Result<DataFile> {
        if self.file.is_none() && self.pending.bytes() <= CRUMB {
            self.encode_together().await?;
        } else {
            self.dispatch().await?;
        }
        self.end_group(Then::Footer).await?;
        let footer = self
            .await_group()
            .await?
            .ok_or_else(|| Error::internal("a Parquet file was closed without a footer"))?;
        let nans = self.nans.concat();
        let metrics = metrics::of_file(&self.shape.leaves, &footer, &nans)?;
        data_file(
            DataContentType::Data,
            &self.location,
            self.partition.clone(),
            self.shape.spec_id,
            self.rows,
            self.written,
            metrics,
        )
        .build()
        .map_err(|error| Error::internal("a data file cannot be described").source_error(error))
    }

    /// Gives up what was not yet completely sent.
    pub(super) async fn abort(mut self) {
        if let Some(mut upload) = self.upload.take()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%error, path = %self.location, "an upload could not be abandoned");
        }
    }
}

/// A Parquet file as manifests describe it.
pub(super) fn data_file(
    content: DataContentType,
    location: &Location,
    partition: Struct,
    spec_id: i32,
    rows: u64,
    bytes: u64,
    metrics: metrics::Metrics,
) -> DataFileBuilder {
    let mut builder = DataFileBuilder::default();
    builder
        .content(content)
        .file_path(location.to_string())
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(spec_id)
        .record_count(rows)
        .file_size_in_bytes(bytes)
        .column_sizes(metrics.column_sizes)
        .value_counts(metrics.value_counts)
        .null_value_counts(metrics.null_value_counts)
        .nan_value_counts(metrics.nan_value_counts)
        .lower_bounds(metrics.lower_bounds)
        .upper_bounds(metrics.upper_bounds)
        .split_offsets(Some(metrics.split_offsets));
    builder
}
