//! The file source: DataFusion's Parquet source with deletes applied.
//!
//! `ParquetSource` cannot be used as it is, for three reasons. It has no hook between reading a
//! footer and choosing rows, and deletes can be turned into row selections only with the footer at
//! hand. Under a LIMIT it may replace a selection by whole row groups, and deleted rows come back.
//! And a plan that is sent elsewhere loses its selections without a word, while an unknown source is
//! an error.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use berglake_format::deletes::DeleteLoader;
use berglake_format::plan::{ScanPlan, ScanTask};
use berglake_format::read::{IdentityValues, Known};
use berglake_format::storage::StoreRoot;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::object_store::ObjectStore;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, PhysicalExpr};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::TableSchema;
use datafusion_datasource::file::FileSource;
use datafusion_datasource::file_stream::FileOpener;
use datafusion_datasource::morsel::Morselizer;

use super::columns::{ByFieldId, is_nested};
use super::morsel::IcebergMorselizer;
use super::readers::Readers;

/// What a scan knows of a file beside its path, attached to the file as an extension.
#[derive(Debug)]
pub(super) struct TaskFile {
    /// The file, with its deletes.
    pub(super) task: Arc<ScanTask>,
    /// The store that it is in.
    pub(super) root: StoreRoot,
    /// The values of the identity partitions that it is in.
    pub(super) identity: Arc<IdentityValues>,
    /// What its readers know of it, as long as there are any.
    pub(super) known: Mutex<Weak<Known>>,
}

impl TaskFile {
    /// What is known of the file. The Parquet source puts another reader in the place of one that has read
    /// the page index.
    pub(super) fn known(&self) -> Arc<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *known = Arc::downgrade(&new);
            new
        })
    }
}

/// What all files of a scan share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The plan that the files come from.
    pub(super) plan: ScanPlan,
    /// Loads delete files, each once.
    pub(super) deletes: DeleteLoader,
    /// Reads footers.
    pub(super) readers: Arc<Readers>,
    /// How columns are found in files.
    pub(super) columns: ByFieldId,
    /// What EXPLAIN says.
    pub(super) summary: String,
    /// Columns that may hold NaN. Statistics in Parquet files leave NaN out, and a filter that NaN
    /// passes would skip row groups and pages where it is.
    pub(super) nan_columns: HashSet<String>,
    /// Bytes to read first when a footer is wanted.
    pub(super) footer_size_hint: Option<usize>,
}

/// The file source of Iceberg tables.
pub(super) struct IcebergSource {
    inner: Arc<dyn FileSource>,
    shared: Arc<Shared>,
    batch_size: usize,
    /// The Parquet source was not told of an order, by which it sorts row groups.
    in_file_order: bool,
}

impl IcebergSource {
    /// Wraps a Parquet source.
    pub(super) fn new(inner: Arc<dyn FileSource>, shared: Arc<Shared>) -> Self {
        Self {
            inner,
            shared,
            batch_size: 8_192,
            in_file_order: true,
        }
    }

    /// The same around another Parquet source.
    fn around(&self, inner: Arc<dyn FileSource>) -> Self {
        Self {
            inner,
            shared: Arc::clone(&self.shared),
            batch_size: self.batch_size,
            in_file_order: self.in_file_order,
        }
    }

    fn wrap(&self, inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(self.around(inner))
    }

    fn wrap_in_order(&self, inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self {
            in_file_order: false,
            ..self.around(inner)
        })
    }

    /// Whether the Parquet source may see a filter: only if it is about plain columns without NaN.
    /// It prunes nested columns by name, which ids have not been applied to.
    fn may_push(&self, filter: &Arc<dyn PhysicalExpr>) -> bool {
        let schema = self.inner.table_schema().table_schema();
        collect_columns(filter).iter().all(|column| {
            schema
                .field_with_name(column.name())
                .is_ok_and(|field| !is_nested(field.data_type()))
                && !self.shared.nan_columns.contains(column.name())
        })
    }

    /// The Parquet source as it can work with these filters: without bloom filters, if one is about a
    /// decimal. It looks decimals up by sixteen bytes, while a file that stores them as bytes has as many
    /// as their precision needs, so that it would not find those that are there.
    fn source_for(&self, filters: &[Arc<dyn PhysicalExpr>]) -> Arc<dyn FileSource> {
        let schema = self.inner.table_schema().table_schema();
        let mut columns = filters.iter().flat_map(collect_columns);
        let decimals = columns.any(|column| {
            schema
                .field_with_name(column.name())
                .is_ok_and(|field| field.data_type().is_decimal())
        });
        match self.inner.downcast_ref::<ParquetSource>() {
            Some(parquet) if decimals => Arc::new(parquet.clone().with_bloom_filter_on_read(false)),
            _ => Arc::clone(&self.inner),
        }
    }
}

impl FileSource for IcebergSource {
    fn create_file_opener(
        &self,
        _: Arc<dyn ObjectStore>,
        _: &FileScanConfig,
        _: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        Err(DataFusionError::Internal(
            "an Iceberg scan is read in morsels, not through a file opener".into(),
        ))
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        // Only what the Parquet source looks at: no limit, because it must not count rows before
        // deletes are applied, and no file groups, because the configuration is kept for each file.
        let slim =
            FileScanConfigBuilder::new(config.object_store_url.clone(), Arc::clone(&self.inner))
                .with_preserve_order(config.preserve_order)
                .with_expr_adapter(Some(Arc::new(self.shared.columns.clone())))
                .build();
        Ok(Box::new(IcebergMorselizer::new(
            Arc::clone(&self.inner),
            Arc::clone(&self.shared),
            slim,
            store,
            partition,
            self.batch_size,
            self.in_file_order,
        )?))
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(Self {
            batch_size,
            ..self.around(self.inner.with_batch_size(batch_size))
        })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        "iceberg"
    }

    fn fmt_extra(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match t {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, ", {}", self.shared.summary)?;
            }
            DisplayFormatType::TreeRender => {
                for line in self.shared.summary.split(", ") {
                    writeln!(f, "{line}")?;
                }
            }
        }
        self.inner.fmt_extra(t, f)
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        repartition_file_min_size: usize,
        output_ordering: Option<LexOrdering>,
        config: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        self.inner.repartitioned(
            target_partitions,
            repartition_file_min_size,
            output_ordering,
            config,
        )
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let count = filters.len();
        let allowed: Vec<_> = filters
            .into_iter()
            .filter(|filter| self.may_push(filter))
            .collect();
        let updated = if allowed.is_empty() {
            None
        } else {
            self.source_for(&allowed)
                .try_pushdown_filters(allowed, config)?
                .updated_node
        };
        // The source prunes with the filters, and may skip rows by them. It never answers for them:
        // a row filter that cannot be built for some file is dropped in silence, so the filter above
        // the scan stays.
        let answer =
            FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; count]);
        Ok(match updated {
            Some(inner) => answer.with_updated_node(self.wrap(inner)),
            None => answer,
        })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        equivalences: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(match self.inner.try_pushdown_sort(order, equivalences)? {
            SortOrderPushdownResult::Exact { inner } => SortOrderPushdownResult::Exact {
                inner: self.wrap_in_order(inner),
            },
            SortOrderPushdownResult::Inexact { inner } => SortOrderPushdownResult::Inexact {
                inner: self.wrap_in_order(inner),
            },
            SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
        })
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        Ok(self
            .inner
            .try_pushdown_projection(projection)?
            .map(|inner| self.wrap(inner)))
    }
}
