//! Readers of Parquet bytes: from the store that each file is in, with footers that are read once.

use std::sync::Arc;

use berglake_format::storage::{Storage, StoreRoot};
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use super::source::TaskFile;
use crate::error::to_datafusion;

/// Opens each file in its own store, so that one table may lie in several buckets, and keeps footers
/// in DataFusion's cache, which is bounded in bytes.
#[derive(Debug)]
pub(super) struct Readers {
    storage: Storage,
    footers: Arc<dyn FileMetadataCache>,
}

impl Readers {
    pub(super) fn new(storage: Storage, footers: Arc<dyn FileMetadataCache>) -> Self {
        Self { storage, footers }
    }

    /// The file's footer, without page index.
    pub(super) async fn footer(
        &self,
        file: &PartitionedFile,
        size_hint: Option<usize>,
    ) -> Result<Arc<ParquetMetaData>> {
        // Metrics of this look would count the file twice; the scan's own reader counts it.
        let metrics = ExecutionPlanMetricsSet::new();
        let mut reader = self.create_reader(0, file.clone(), size_hint, &metrics)?;
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        Ok(reader.get_metadata(Some(&options)).await?)
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
        let root = file
            .extension::<Arc<TaskFile>>()
            .map_or(&StoreRoot::File, |task_file| &task_file.root);
        let store = self.storage.store(root).map_err(to_datafusion)?;
        CachedParquetFileReaderFactory::new(store, Arc::clone(&self.footers)).create_reader(
            partition_index,
            file,
            metadata_size_hint,
            metrics,
        )
    }
}
