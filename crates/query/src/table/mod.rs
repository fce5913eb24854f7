//! Iceberg tables for DataFusion: one snapshot of a table, or a plan that was pinned earlier.

mod columns;
mod filter;
mod located;
mod masked;
mod morsel;
mod readers;
mod source;
mod statistics;
mod values;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use async_trait::async_trait;
use berglake_format::deletes::DeleteLoader;
use berglake_format::evaluate::{FileFilter, Matches};
use berglake_format::plan::{ScanPlan, ScanTask, SnapshotSelector};
use berglake_format::read::{IdentityValues, identity_values, name_mapping};
use berglake_format::schema::to_arrow;
use berglake_format::storage::{Location, StoreRoot};
use berglake_format::{Error, Result, Table};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::{ParquetOptions, TableParquetOptions};
use datafusion::common::{Result as DataFusionResult, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::object_store::ObjectMeta;
use datafusion::physical_plan::ExecutionPlan;
use iceberg::expr::Predicate;
use iceberg::spec::{NestedField, PrimitiveType, SchemaRef, Type};

use self::columns::ByFieldId;
use self::filter::Partitioning;
use self::readers::Readers;
use self::source::{IcebergSource, Shared, TaskFile};
pub(crate) use self::values::scalar;
use crate::error::to_datafusion;

/// A table of the lakehouse as a table of DataFusion. It never changes: rows that others commit
/// meanwhile are seen by a table that is loaded later.
#[derive(Debug, Clone)]
pub struct IcebergTable {
    rows: Rows,
    schema: SchemaRef,
    arrow_schema: ArrowSchemaRef,
}

#[derive(Debug, Clone)]
enum Rows {
    Snapshot {
        table: Table,
        selector: SnapshotSelector,
    },
    Pinned(Arc<ScanPlan>),
}

impl IcebergTable {
    /// The rows of a snapshot. Files are planned when the table is scanned, with the filters of that
    /// scan.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound) for a snapshot, a time or a ref that the
    /// table does not have; [`Unsupported`](berglake_format::ErrorKind::Unsupported) for a column
    /// type without Arrow form.
    pub fn new(table: Table, selector: SnapshotSelector) -> Result<Self> {
        let (_, schema) = table.scan().snapshot(selector.clone()).resolve()?;
        let arrow_schema = engine_schema(&*to_arrow(&schema)?);
        Ok(Self {
            rows: Rows::Snapshot { table, selector },
            schema,
            arrow_schema,
        })
    }

    /// The rows of a plan, all of them: a scan of this table prunes inside files, not files. With the metrics
    /// of the columns that queries look at ([`metrics_of`](berglake_format::plan::ScanBuilder::metrics_of)) it
    /// has statistics, from which joins are ordered and MIN and MAX are answered.
    ///
    /// # Errors
    /// [`Unsupported`](berglake_format::ErrorKind::Unsupported) for a column type without Arrow form.
    pub fn from_plan(plan: ScanPlan) -> Result<Self> {
        let schema = Arc::clone(&plan.schema);
        let arrow_schema = engine_schema(&*to_arrow(&schema)?);
        Ok(Self {
            rows: Rows::Pinned(Arc::new(plan)),
            schema,
            arrow_schema,
        })
    }

    /// The table that the rows are of.
    pub fn table(&self) -> &Table {
        match &self.rows {
            Rows::Snapshot { table, .. } => table,
            Rows::Pinned(plan) => &plan.table,
        }
    }

    /// How the files are partitioned that are chosen by filters. Those of a pinned plan are not.
    fn partitioning(&self) -> Option<Partitioning> {
        match &self.rows {
            Rows::Snapshot { table, .. } => {
                Some(Partitioning::of(table.metadata().partition_specs_iter()))
            }
            Rows::Pinned(_) => None,
        }
    }

    /// Filters that nobody looks at above the scan must be true for all rows of the files that were
    /// chosen.
    fn check_decided(&self, plan: &ScanPlan, filters: &[Expr]) -> Result<()> {
        let Some(partitioning) = self.partitioning() else {
            return Ok(());
        };
        let decided = filters
            .iter()
            .filter(|filter| partitioning.decides(filter, &self.schema));
        let decided: Vec<Expr> = decided.cloned().collect();
        if decided.is_empty() {
            return Ok(());
        }
        let predicate = filter::predicate(&decided, &self.schema);
        let filter = FileFilter::new(plan.table.metadata(), &self.schema, &predicate)?;
        let undecided = plan
            .tasks
            .iter()
            .find(|task| filter.matches(task.spec_id, &task.file) != Matches::All);
        match undecided {
            None => Ok(()),
            Some(task) => Err(Error::internal(
                "a file's partition does not decide a filter on its columns",
            )
            .with("table", plan.table.ident())
            .with("file", task.file.file_path())
            .with("filter", predicate)),
        }
    }

    /// Files for a scan of these columns, all where none are named.
    async fn plan(&self, filters: &[Expr], projection: Option<&Vec<usize>>) -> Result<ScanPlan> {
        match &self.rows {
            Rows::Snapshot { table, selector } => {
                let predicate = filter::predicate(filters, &self.schema);
                tracing::debug!(table = %table.ident(), %predicate, "planning a scan");
                let scan = table.scan().snapshot(selector.clone());
                let mut scan = match projection {
                    None => scan.all_metrics(),
                    Some(projection) => {
                        let name = |at: &usize| self.arrow_schema.field(*at).name();
                        scan.metrics_of(projection.iter().map(name))
                    }
                };
                if predicate != Predicate::AlwaysTrue {
                    scan = scan.filter(predicate);
                }
                scan.plan().await
            }
            Rows::Pinned(plan) => Ok(plan.as_ref().clone()),
        }
    }

    fn scan_plan(
        &self,
        plan: ScanPlan,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let storage = plan.table.storage().clone();
        let unpartitioned = Arc::default();
        let mut files = Vec::with_capacity(plan.tasks.len());
        for task in &plan.tasks {
            let file = self.file(&plan, task, &unpartitioned);
            files.push(file.map_err(to_datafusion)?);
        }
        let statistics = statistics::of_scan(
            &plan.tasks,
            files.iter().filter_map(|file| file.statistics.as_deref()),
            self.arrow_schema.fields().len(),
        );
        let options = &state.config_options().execution.parquet;
        let readers = Arc::new(Readers::new(
            storage.clone(),
            state.runtime_env().cache_manager.get_file_metadata_cache(),
            state.config().batch_size(),
        ));
        // Timestamps of 96 bits become nanoseconds otherwise, which reach from 1677 to 2262 alone. What
        // DataFusion makes of nested columns then has no field ids any more, and would be NULL.
        let columns = self.arrow_schema.fields();
        let nested = columns.iter().any(|field| field.data_type().is_nested());
        let global = ParquetOptions {
            coerce_int96: (!nested).then(|| "us".to_string()),
            ..options.clone()
        };
        let mut parquet = ParquetSource::new(Arc::clone(&self.arrow_schema))
            .with_table_parquet_options(TableParquetOptions {
                global,
                ..TableParquetOptions::default()
            })
            .with_parquet_file_reader_factory(Arc::clone(&readers) as _);
        if let Some(hint) = options.metadata_size_hint {
            parquet = parquet.with_metadata_size_hint(hint);
        }
        let names = name_mapping(plan.table.metadata())
            .map_err(|error| to_datafusion(error.with("table", plan.table.ident())))?;
        let shared = Shared {
            summary: summary(&plan),
            deletes: DeleteLoader::new(storage),
            readers,
            columns: ByFieldId {
                schema: Arc::clone(&self.schema),
                names: names.map(Arc::new),
                identity: unpartitioned,
            },
            nan_columns: nan_columns(&plan),
            footer_size_hint: options.metadata_size_hint,
            plan,
        };
        let source = IcebergSource::new(Arc::new(parquet), Arc::new(shared));
        let groups = groups(files, state.config().target_partitions());
        // Each file is opened in its own store by the readers; this address is not used.
        let config =
            FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
                .with_file_groups(groups)
                .with_statistics(statistics)
                .with_projection_indices(projection.cloned())?
                .with_limit(limit)
                .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    fn file(
        &self,
        plan: &ScanPlan,
        task: &ScanTask,
        unpartitioned: &Arc<IdentityValues>,
    ) -> Result<PartitionedFile> {
        let location = Location::parse(task.file.file_path())?;
        let statistics = statistics::of_file(task, &self.schema, &self.arrow_schema);
        let meta = ObjectMeta {
            location: location.object_path()?,
            last_modified: cache_mark(location.root()),
            size: task.file.file_size_in_bytes(),
            e_tag: None,
            version: None,
        };
        let identity = match identity_values(plan.table.metadata(), task) {
            values if values.is_empty() => Arc::clone(unpartitioned),
            values => Arc::new(values),
        };
        let task_file = TaskFile {
            task: Arc::new(task.clone()),
            root: location.root().clone(),
            identity,
            known: Mutex::default(),
        };
        let file = PartitionedFile::from(meta)
            .with_statistics(Arc::new(statistics))
            .with_extension(Arc::new(task_file));
        Ok(match &task.range {
            // Row groups belong to the range that they begin in there, too.
            Some(range) => file.with_range(
                i64::try_from(range.start).unwrap_or(i64::MAX),
                i64::try_from(range.end).unwrap_or(i64::MAX),
            ),
            None => file,
        })
    }
}

#[async_trait]
impl TableProvider for IcebergTable {
    fn schema(&self) -> ArrowSchemaRef {
        Arc::clone(&self.arrow_schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let plan = self
            .plan(filters, projection)
            .await
            .map_err(to_datafusion)?;
        self.check_decided(&plan, filters).map_err(to_datafusion)?;
        self.scan_plan(plan, state, projection, limit)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        // Filters choose files, row groups and pages; rows are filtered above the scan, unless their
        // partition decides.
        let partitioning = self.partitioning();
        let answer = |filter: &&Expr| match &partitioning {
            Some(by) if by.decides(filter, &self.schema) => TableProviderFilterPushDown::Exact,
            _ => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(answer).collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        None
    }
}

/// The schema in which the engine works: strings and binaries are views, which Parquet's reader
/// fills without copying.
fn engine_schema(schema: &ArrowSchema) -> ArrowSchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let field = field.as_ref().clone();
            match field.data_type() {
                DataType::Utf8 => field.with_data_type(DataType::Utf8View),
                DataType::Binary => field.with_data_type(DataType::BinaryView),
                _ => field,
            }
        })
        .collect();
    Arc::new(ArrowSchema::new_with_metadata(
        fields,
        schema.metadata().clone(),
    ))
}

/// DataFusion's cache of footers goes by path, size and time of modification. Data files are never
/// modified, so the time is free to tell buckets apart that hold files of one path.
fn cache_mark(root: &StoreRoot) -> chrono::DateTime<chrono::Utc> {
    let mark = match root {
        StoreRoot::File => 0,
        StoreRoot::Memory => 1,
        StoreRoot::S3 { bucket } => bucket.bytes().fold(2_i64, |mark, byte| {
            (mark * 31 + i64::from(byte)) % 1_000_003
        }),
    };
    chrono::DateTime::from_timestamp(mark, 0).unwrap_or_default()
}

/// Float columns of which it is not known that none of the files has NaN in them.
fn nan_columns(plan: &ScanPlan) -> HashSet<String> {
    let is_float = |field: &NestedField| {
        matches!(
            field.field_type.as_ref(),
            Type::Primitive(PrimitiveType::Float | PrimitiveType::Double)
        )
    };
    let fields = plan.schema.as_struct().fields().iter();
    fields
        .filter(|field| is_float(field))
        .filter(|field| {
            plan.tasks
                .iter()
                .any(|task| task.file.nan_value_counts().get(&field.id) != Some(&0))
        })
        .map(|field| field.name.clone())
        .collect()
}

/// Files in groups of about equal size, in their order: the one group of a session that keeps order
/// is in the order of the plan. Large files are split further by DataFusion.
fn groups(files: Vec<PartitionedFile>, partitions: usize) -> Vec<FileGroup> {
    let count = partitions.min(files.len()).max(1);
    // An empty file costs an opening, too.
    let weight = |file: &PartitionedFile| file.object_meta.size.max(1);
    let total: u64 = files.iter().map(weight).sum();
    let share = total.div_ceil(count as u64).max(1);
    let mut groups: Vec<Vec<PartitionedFile>> = vec![Vec::new(); count];
    let mut before = 0;
    for file in files {
        // The group is where the file's middle lies, so that each gets about its share.
        let middle = before + weight(&file) / 2;
        before += weight(&file);
        let place = usize::try_from(middle / share).unwrap_or(0).min(count - 1);
        groups[place].push(file);
    }
    groups.retain(|group| !group.is_empty());
    if groups.is_empty() {
        groups.push(Vec::new());
    }
    groups.into_iter().map(FileGroup::new).collect()
}

/// What EXPLAIN shows of a plan.
fn summary(plan: &ScanPlan) -> String {
    let metrics = &plan.metrics;
    let snapshot = plan
        .snapshot
        .as_ref()
        .map_or_else(|| "none".to_string(), |s| s.snapshot_id().to_string());
    format!(
        "table={}, snapshot={snapshot}, files={}/{}, manifests={}/{}, bytes={}, deletes={}",
        plan.table.ident(),
        metrics.files.saturating_sub(metrics.files_pruned),
        metrics.files,
        metrics.manifests.saturating_sub(metrics.manifests_pruned),
        metrics.manifests,
        metrics.bytes,
        metrics.delete_files,
    )
}
