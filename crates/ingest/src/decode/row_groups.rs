//! The row groups of a Parquet file, read one after the other.

use std::fmt;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use berglake_format::read::CheckedParquet;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{
    AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::{BATCH_BYTES, BATCH_ROWS, Context};
use crate::error::{IngestError, Result};
use crate::files::{FileStore, SourceFile};

/// Memory that is reserved for a batch of values of fixed length, at most, as long as one is not longer.
const WIDE: usize = 256 * 1024 * 1024;

/// The wanted columns of a Parquet file.
pub(super) struct RowGroups {
    file: CheckedParquet<Ranges>,
    metadata: ArrowReaderMetadata,
    columns: ProjectionMask,
    /// The row group that is read when the one before it is at its end.
    next: usize,
    current: Option<ParquetRecordBatchStream<CheckedParquet<Ranges>>>,
}

impl fmt::Debug for RowGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowGroups")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl RowGroups {
    /// Opens a file to read the wanted columns of it, and gives the schema of all.
    pub(super) async fn open(
        context: &Context,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(Self, SchemaRef)> {
        let ranges = Ranges {
            store: context.store.clone(),
            file: context.file.clone(),
        };
        let mut file = CheckedParquet::new(ranges, context.file.size, None);
        let options = ArrowReaderOptions::new();
        let opened = AssertUnwindSafe(ArrowReaderMetadata::load_async(&mut file, options))
            .catch_unwind()
            .await;
        let metadata = opened
            .map_err(|_| context.corrupt("its footer cannot be decoded"))?
            .map_err(|error| failed(context, error))?;
        let schema = metadata.schema().clone();
        let roots = schema.fields().iter().enumerate();
        let roots = roots
            .filter(|(_, field)| wanted(field.name()))
            .map(|(at, _)| at);
        let columns = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let options = ArrowReaderOptions::new().with_schema(viewed_schema(&schema));
        // A column that has no views is read as it is.
        let metadata =
            ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).unwrap_or(metadata);
        let groups = Self {
            file,
            metadata,
            columns,
            next: 0,
            current: None,
        };
        Ok((groups, schema))
    }

    /// The next rows.
    pub(super) async fn next(&mut self, context: &Context) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(stream) = &mut self.current {
                let next = AssertUnwindSafe(stream.next()).catch_unwind().await;
                match next.map_err(|_| context.corrupt("its pages cannot be decoded"))? {
                    Some(batch) => return batch.map(Some).map_err(|error| failed(context, error)),
                    None => self.current = None,
                }
            }
            let metadata = self.metadata.metadata();
            let Some(group) = metadata.row_groups().get(self.next) else {
                return Ok(None);
            };
            let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(
                self.file.clone(),
                self.metadata.clone(),
            );
            let stream = builder
                .with_row_groups(vec![self.next])
                .with_projection(self.columns.clone())
                .with_batch_size(rows_of_batch(group, &self.columns))
                .build()
                .map_err(|error| context.corrupt(error))?;
            self.current = Some(stream);
            self.next += 1;
        }
    }
}

/// How many rows of a row group are decoded at once: about so many as have [`BATCH_BYTES`] together. The
/// decoder makes room for values of fixed length before it looks for them, whatever length the footer gives.
fn rows_of_batch(group: &RowGroupMetaData, columns: &ProjectionMask) -> usize {
    let chunks = group.columns().iter().enumerate();
    let wanted = || {
        let wanted = chunks.clone();
        wanted.filter(|(leaf, _)| columns.leaf_included(*leaf))
    };
    let bytes: i128 = wanted()
        .map(|(_, chunk)| i128::from(chunk.uncompressed_size()))
        .sum();
    let widths = wanted()
        .filter(|(_, chunk)| chunk.column_type() == PhysicalType::FIXED_LEN_BYTE_ARRAY)
        .filter_map(|(_, chunk)| usize::try_from(chunk.column_descr().type_length()).ok());
    let most = WIDE / widths.max().unwrap_or_default().max(1);
    let rows = i128::from(group.num_rows()) * BATCH_BYTES as i128 / bytes.max(1);
    usize::try_from(rows)
        .unwrap_or(BATCH_ROWS)
        .min(most)
        .clamp(1, BATCH_ROWS)
}

/// The same columns with views in the place of texts and bytes. A view shows a piece of the page that
/// was read, so what is in a dictionary is there once however many rows have it, and no batch has more
/// bytes than its offsets can count.
fn viewed_schema(schema: &Schema) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(viewed_field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn viewed_field(field: &FieldRef) -> FieldRef {
    let data_type = viewed(field.data_type());
    Arc::new(Field::clone(field).with_data_type(data_type))
}

fn viewed(data_type: &DataType) -> DataType {
    use DataType as T;
    match data_type {
        T::Utf8 | T::LargeUtf8 => T::Utf8View,
        T::Binary | T::LargeBinary => T::BinaryView,
        T::Dictionary(_, values) => match viewed(values) {
            view @ (T::Utf8View | T::BinaryView) => view,
            _ => data_type.clone(),
        },
        T::List(item) => T::List(viewed_field(item)),
        T::LargeList(item) => T::LargeList(viewed_field(item)),
        T::FixedSizeList(item, length) => T::FixedSizeList(viewed_field(item), *length),
        T::Struct(fields) => T::Struct(fields.iter().map(viewed_field).collect()),
        T::Map(entries, sorted) => T::Map(viewed_field(entries), *sorted),
        other => other.clone(),
    }
}

/// What the store said stays an error of the store: the file may be whole.
fn failed(context: &Context, error: ParquetError) -> IngestError {
    match error {
        ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
            Ok(source) => IngestError::storage(&*context.file.location, *source),
            Err(other) => context.corrupt(other),
        },
        other => context.corrupt(other),
    }
}

/// A file as Parquet's reader wants it: ranges of the version that was listed.
#[derive(Clone)]
struct Ranges {
    store: FileStore,
    file: SourceFile,
}

impl AsyncFileReader for Ranges {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            let read = self.store.read_raw(&self.file, range).await;
            read.map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let mut checked = CheckedParquet::new(self.clone(), self.file.size, None);
            checked.load_footer().await
        }
        .boxed()
    }
}
