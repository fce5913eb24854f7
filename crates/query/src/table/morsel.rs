//! Opens one file of a scan: loads its deletes, turns them into row selections, and hands the rest to
//! the Parquet source.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use berglake_format::deletes::{DeleteLoader, selections};
use berglake_format::plan::{ScanPlan, ScanTask};
use berglake_format::read::{ReadOptions, check_form, read_task_with};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder};
use datafusion::object_store::ObjectStore;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::{ProjectionExprs, Projector};
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion_datasource::file::FileSource;
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::spec::Schema;
use parquet::file::metadata::RowGroupMetaData;

use super::columns::ByFieldId;
use super::located::{Place, located};
use super::masked::{self, are_strewn, masked};
use super::source::{Shared, TaskFile};
use crate::error::to_datafusion;

/// Opens the files of one partition of a scan.
pub(super) struct IcebergMorselizer {
    inner: Arc<dyn FileSource>,
    plain: Arc<dyn Morselizer>,
    shared: Arc<Shared>,
    config: FileScanConfig,
    store: Arc<dyn ObjectStore>,
    partition: usize,
    batch_size: usize,
    /// Row groups are read in the order in which they are in their file.
    in_file_order: bool,
}

impl fmt::Debug for IcebergMorselizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IcebergMorselizer")
            .field("scan", &self.shared.summary)
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

impl IcebergMorselizer {
    pub(super) fn new(
        inner: Arc<dyn FileSource>,
        shared: Arc<Shared>,
        config: FileScanConfig,
        store: Arc<dyn ObjectStore>,
        partition: usize,
        batch_size: usize,
        in_file_order: bool,
    ) -> Result<Self> {
        let plain = inner.create_morselizer(Arc::clone(&store), &config, partition)?;
        Ok(Self {
            inner,
            plain: Arc::from(plain),
            shared,
            config,
            store,
            partition,
            batch_size,
            in_file_order,
        })
    }

    /// The Parquet source's opener for a file, with the file's own values for missing columns.
    fn opener(&self, file: &TaskFile) -> Result<Arc<dyn Morselizer>> {
        if file.identity.is_empty() {
            return Ok(Arc::clone(&self.plain));
        }
        let columns = ByFieldId {
            identity: Arc::clone(&file.identity),
            ..self.shared.columns.clone()
        };
        let config = FileScanConfigBuilder::from(self.config.clone())
            .with_expr_adapter(Some(Arc::new(columns)))
            .build();
        let opener =
            self.inner
                .create_morselizer(Arc::clone(&self.store), &config, self.partition)?;
        Ok(Arc::from(opener))
    }
}

impl Morselizer for IcebergMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let Some(task_file) = file.extension::<Arc<TaskFile>>().map(Arc::clone) else {
            return Err(DataFusionError::Internal(format!(
                "the file {} of an Iceberg scan carries no task",
                file.path()
            )));
        };
        let place = Arc::new(Place {
            path: task_file.task.file.file_path().to_string(),
            table: self.shared.plan.table.ident().clone(),
        });
        match self.planner(file, task_file) {
            Ok(planner) => Ok(located(planner, place)),
            Err(error) => Err(place.name(error)),
        }
    }
}

impl IcebergMorselizer {
    fn planner(
        &self,
        file: PartitionedFile,
        task_file: Arc<TaskFile>,
    ) -> Result<Box<dyn MorselPlanner>> {
        if !task_file.task.equality_deletes.is_empty() {
            // The reader of the format crate reads whole tasks, so of the pieces into which the file of
            // one was split only the first reads.
            let begin = task_file.task.range.as_ref().map_or(0, |range| range.start);
            let first = file
                .range
                .as_ref()
                .is_none_or(|range| u64::try_from(range.start).is_ok_and(|start| start == begin));
            return Ok(Box::new(WholeFile {
                morsel: first.then(|| self.reader(&task_file.task)).transpose()?,
            }));
        }
        check_form(&task_file.task.file)
            .map_err(|error| to_datafusion(error.with("table", self.shared.plan.table.ident())))?;
        let opener = self.opener(&task_file)?;
        if task_file.task.position_deletes.is_empty() {
            return opener.plan_file(file);
        }
        Ok(Box::new(WithDeletes {
            opener,
            shared: Arc::clone(&self.shared),
            file,
            task_file,
            reads_all: self.in_file_order && self.inner.filter().is_none() && self.gives_columns(),
        }))
    }

    /// The Parquet source computes nothing: an expression over a row that is deleted may fail.
    fn gives_columns(&self) -> bool {
        self.inner
            .projection()
            .is_none_or(|all| all.iter().all(|one| one.expr.is::<Column>()))
    }

    /// Reads a file through the format crate's reader: slower, and right for every kind of delete.
    fn reader(&self, task: &Arc<ScanTask>) -> Result<ReaderMorsel> {
        let table_schema = self.inner.table_schema().table_schema();
        let projection = match self.inner.projection() {
            Some(projection) => projection.clone(),
            None => ProjectionExprs::from_indices(
                &(0..table_schema.fields().len()).collect::<Vec<_>>(),
                table_schema,
            ),
        };
        let predicate = self.inner.filter();
        let mut wanted = projection.column_indices();
        for column in predicate.iter().flat_map(collect_columns) {
            wanted.push(table_schema.index_of(column.name())?);
        }
        if wanted.is_empty() {
            // Rows can be counted only if something is read; any column does.
            wanted.extend((!table_schema.fields().is_empty()).then_some(0));
        }
        wanted.sort_unstable();
        wanted.dedup();
        let read_schema: SchemaRef = Arc::new(table_schema.project(&wanted)?);
        let fields = self.shared.plan.schema.as_struct().fields();
        let columns = wanted
            .iter()
            .filter_map(|place| fields.get(*place).cloned());
        let schema = Schema::builder()
            .with_fields(columns)
            .with_schema_id(self.shared.plan.schema.schema_id())
            .build()
            .map_err(|error| to_datafusion(error.into()))?;
        // Field by field: a copy of the plan would have all its files in it.
        let whole = &self.shared.plan;
        let plan = ScanPlan {
            table: whole.table.clone(),
            snapshot: whole.snapshot.clone(),
            schema: Arc::new(schema),
            tasks: Vec::new(),
            metrics: whole.metrics,
        };
        let output_schema = Arc::new(projection.project_schema(table_schema)?);
        let projector = projection
            .try_map_exprs(|expr| reassign_expr_columns(expr, &read_schema))?
            .make_projector(&read_schema)?;
        let predicate = predicate
            .map(|expr| reassign_expr_columns(expr, &read_schema))
            .transpose()?;
        Ok(ReaderMorsel {
            plan,
            task: Arc::clone(task),
            deletes: self.shared.deletes.clone(),
            batch_size: self.batch_size,
            read_schema,
            predicate,
            projector,
            output_schema,
        })
    }
}

/// A file whose deletes must be loaded before it can be opened.
struct WithDeletes {
    opener: Arc<dyn Morselizer>,
    shared: Arc<Shared>,
    file: PartitionedFile,
    task_file: Arc<TaskFile>,
    /// All rows of a row group are read, in the order of the file.
    reads_all: bool,
}

impl fmt::Debug for WithDeletes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithDeletes")
            .field("file", &self.file.path())
            .finish_non_exhaustive()
    }
}

impl MorselPlanner for WithDeletes {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self {
            opener,
            shared,
            mut file,
            task_file,
            reads_all,
        } = *self;
        Ok(Some(MorselPlan::new().with_pending_planner(async move {
            let (footer, deleted) = futures::try_join!(
                shared.readers.footer(&file, shared.footer_size_hint),
                async {
                    shared
                        .deletes
                        .positions(&task_file.task)
                        .await
                        .map_err(to_datafusion)
                }
            )?;
            let Some(deleted) = deleted else {
                return opener.plan_file(file);
            };
            let row_counts = footer
                .row_groups()
                .iter()
                .map(|group| {
                    u64::try_from(group.num_rows()).map_err(|_| {
                        to_datafusion(
                            berglake_format::Error::corrupt(
                                "a row group has a negative number of rows",
                            )
                            .with("path", task_file.task.file.file_path()),
                        )
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            let mut access = ParquetAccessPlan::new_all(row_counts.len());
            if reads_all && are_strewn(deleted.iter(), row_counts.iter().sum()) {
                // Which row groups are in the range is decided here, so that the mask knows of it.
                let range = file.range.take();
                let groups = footer.row_groups().iter().zip(&row_counts);
                let groups = groups.map(|(group, rows)| (*rows, begins_in(group, range.as_ref())));
                let masked = masked(deleted.iter(), groups);
                for (group, _) in masked.read.iter().enumerate().filter(|(_, read)| !**read) {
                    access.skip(group);
                }
                let planner = opener.plan_file(file.with_extension(access))?;
                return Ok(masked::planner(planner, masked.left));
            }
            for (group, selection) in selections(&deleted, &row_counts).into_iter().enumerate() {
                match selection {
                    Some(left) if !left.selects_any() => access.skip(group),
                    Some(left) => access.scan_selection(group, left),
                    None => {}
                }
            }
            opener.plan_file(file.with_extension(access))
        })))
    }
}

/// Whether a row group belongs to a part of its file: if its first column begins there, as the Parquet
/// source has it.
fn begins_in(group: &RowGroupMetaData, range: Option<&FileRange>) -> bool {
    let Some(range) = range else {
        return true;
    };
    let begin = group.columns().first().map_or(0, |column| {
        column
            .dictionary_page_offset()
            .unwrap_or(column.data_page_offset())
    });
    range.contains(begin)
}

/// A file that one morsel reads, or no morsel.
#[derive(Debug)]
struct WholeFile {
    morsel: Option<ReaderMorsel>,
}

impl MorselPlanner for WholeFile {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        Ok(self
            .morsel
            .map(|morsel| MorselPlan::new().with_morsels(vec![Box::new(morsel)])))
    }
}

struct ReaderMorsel {
    plan: ScanPlan,
    task: Arc<ScanTask>,
    deletes: DeleteLoader,
    batch_size: usize,
    read_schema: SchemaRef,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    projector: Projector,
    output_schema: SchemaRef,
}

impl fmt::Debug for ReaderMorsel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderMorsel")
            .field("file", &self.task.file.file_path())
            .finish_non_exhaustive()
    }
}

impl ReaderMorsel {
    fn process(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = batch
            .columns()
            .iter()
            .zip(self.read_schema.fields())
            .map(|(column, field)| arrow::compute::cast(column, field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut batch = RecordBatch::try_new(Arc::clone(&self.read_schema), columns)?;
        if let Some(predicate) = &self.predicate {
            let keep = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
            batch = filter_record_batch(&batch, as_boolean_array(keep.as_ref() as &dyn Array)?)?;
        }
        let projected = self.projector.project_batch(&batch)?;
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.output_schema),
            projected.columns().to_vec(),
            &options,
        )?)
    }
}

impl Morsel for ReaderMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let options = ReadOptions {
            batch_size: self.batch_size,
            ..ReadOptions::default()
        };
        read_task_with(&self.plan, &self.task, options, &self.deletes)
            .map(move |batch| self.process(&batch.map_err(to_datafusion)?))
            .boxed()
    }
}
