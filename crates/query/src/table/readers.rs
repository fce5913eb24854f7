//! Readers of Parquet bytes: from the store that each file is in, checked, with footers that are read once.

use std::any::Any;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use berglake_format::read::{CheckedParquet, check_rows, check_widths};
use berglake_format::storage::Storage;
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::{ParquetFileMetrics, ParquetFileReader};
use datafusion::execution::cache::cache_manager::{
    CachedFileMetadataEntry, FileMetadata, FileMetadataCache,
};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, ParquetObjectReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::source::TaskFile;
use crate::error::to_datafusion;

/// Opens each file in its own store, so that one table may lie in several buckets, and keeps footers
/// in DataFusion's cache, which is bounded in bytes.
#[derive(Debug)]
pub(super) struct Readers {
    storage: Storage,
    footers: Arc<dyn FileMetadataCache>,
    batch_rows: usize,
}

impl Readers {
    /// Readers for batches of so many rows.
    pub(super) fn new(
        storage: Storage,
        footers: Arc<dyn FileMetadataCache>,
        batch_rows: usize,
    ) -> Self {
        Self {
            storage,
            footers,
            batch_rows,
        }
    }

    /// The file's footer, without page index.
    pub(super) async fn footer(
        &self,
        file: &PartitionedFile,
        size_hint: Option<usize>,
    ) -> Result<Arc<ParquetMetaData>> {
        // Metrics of this look would count the file twice; the scan's own reader counts it.
        let metrics = ExecutionPlanMetricsSet::new();
        let mut reader = self.reader(0, file.clone(), size_hint, &metrics)?;
        Ok(reader.footer().await?)
    }

    fn reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Reader> {
        let task_file = file.extension::<Arc<TaskFile>>().map(Arc::clone);
        let task_file = task_file.ok_or_else(|| {
            DataFusionError::Internal(format!(
                "the file {} of an Iceberg scan carries no task",
                file.path()
            ))
        })?;
        let store = self.storage.store(&task_file.root).map_err(to_datafusion)?;
        let meta = &file.object_meta;
        let size = meta.size;
        let input = ParquetFileReader {
            file_metrics: ParquetFileMetrics::new(partition_index, meta.location.as_ref(), metrics),
            inner: ParquetObjectReader::new(store, meta.location.clone()).with_file_size(size),
            partitioned_file: file,
        };
        Ok(Reader {
            input: CheckedParquet::sharing(input, size, size_hint, task_file.known()),
            footers: Arc::clone(&self.footers),
            batch_rows: self.batch_rows,
            task_file,
        })
    }
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let reader = self.reader(partition_index, file, metadata_size_hint, metrics)?;
        Ok(Box::new(reader))
    }
}

/// Reads one file.
struct Reader {
    input: CheckedParquet<ParquetFileReader>,
    footers: Arc<dyn FileMetadataCache>,
    batch_rows: usize,
    task_file: Arc<TaskFile>,
}

impl Reader {
    async fn footer(&mut self) -> Result<Arc<ParquetMetaData>, ParquetError> {
        let meta = &self.input.input().partitioned_file.object_meta;
        let (location, meta) = (meta.location.clone(), meta.clone());
        let cached = self.footers.get(&location);
        let cached = cached.filter(|cached| cached.is_valid_for(&meta));
        let cached = cached.and_then(|cached| {
            let footer = cached.file_metadata.as_any().downcast_ref::<Footer>()?;
            Some(Arc::clone(&footer.0))
        });
        let footer = match cached {
            Some(footer) => {
                self.input.know(&footer);
                footer
            }
            None => {
                let footer = self.input.load_footer().await?;
                let kept = Arc::new(Footer(Arc::clone(&footer)));
                self.footers
                    .put(&location, CachedFileMetadataEntry::new(meta, kept));
                footer
            }
        };
        check_rows(&footer, &self.task_file.task.file)
            .and_then(|()| check_widths(&footer, self.batch_rows))
            .map_err(
                |error| match error.context().iter().any(|(key, _)| *key == "path") {
                    true => error,
                    false => error.with("path", self.task_file.task.file.file_path()),
                },
            )
            .map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(footer)
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.input.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        self.input.get_byte_ranges(ranges)
    }

    /// The footer, without page indexes, which the Parquet source asks for when filters can use them.
    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        self.footer().boxed()
    }
}

/// A footer that was checked, in the cache.
struct Footer(Arc<ParquetMetaData>);

impl FileMetadata for Footer {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn memory_size(&self) -> usize {
        self.0.memory_size()
    }

    fn extra_info(&self) -> HashMap<String, String> {
        HashMap::new()
    }
}
