//! What to read of a snapshot: manifests and files pruned by a filter, deletes matched to data files.

mod appended;
mod changes;
mod check;
mod deletes;
mod files;
mod select;
mod splits;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::expr::Predicate;
use iceberg::spec::{
    DataFile, ManifestContentType, ManifestEntry, ManifestFile, SchemaRef, SnapshotRef,
};

use crate::evaluate::FileFilter;
use crate::manifest::load_list;
use crate::{Error, Result, Table, task};

pub use appended::appended_rows;
pub(crate) use appended::range;
pub use changes::{ChangePlan, FileChange, SnapshotChanges, changed_rows};
pub(crate) use deletes::target_of;
pub(crate) use select::{instant, snapshot};

use deletes::DeleteIndex;
use files::{Files, task_of};

/// Manifests that are fetched and decoded at the same time.
const MANIFESTS_AT_ONCE: usize = 8;

/// Which snapshot of a table to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SnapshotSelector {
    /// The head of `main`. The table's current schema is used.
    #[default]
    Head,
    /// The snapshot with this id, with the schema that it was written with.
    Id(i64),
    /// The snapshot that was the head of `main` at this time (ms since 1970 UTC, inclusive), by the
    /// table's snapshot log.
    AsOf(i64),
    /// The snapshot of this branch (current schema) or tag (the snapshot's schema).
    Ref(String),
}

/// Plans a scan.
#[derive(Debug, Clone)]
pub struct ScanBuilder<'a> {
    table: &'a Table,
    selector: SnapshotSelector,
    filter: Predicate,
    columns: Option<Vec<String>>,
    /// The columns whose metrics are kept, beside those of the filter; `None` keeps all.
    metrics: Option<Vec<String>>,
}

impl<'a> ScanBuilder<'a> {
    /// A scan of all columns and rows of the head.
    pub fn new(table: &'a Table) -> Self {
        Self {
            table,
            selector: SnapshotSelector::Head,
            filter: Predicate::AlwaysTrue,
            columns: None,
            metrics: Some(Vec::new()),
        }
    }

    /// Another snapshot than the head.
    #[must_use]
    pub fn snapshot(mut self, selector: SnapshotSelector) -> Self {
        self.selector = selector;
        self
    }

    /// Only files that may hold rows for which this is true. Rows are not filtered by the reader;
    /// each task carries the residual that must still be applied.
    #[must_use]
    pub fn filter(mut self, filter: Predicate) -> Self {
        self.filter = filter;
        self
    }

    /// Only these top-level columns, in this order.
    #[must_use]
    pub fn select(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Of the sizes, counts and bounds of columns, the tasks' files keep those of these top-level columns and
    /// of what is nested in them, beside those of the columns of the filter. Without this they keep only the
    /// latter: with the metrics of all columns the plan of a table with many files takes twice the time and
    /// three times the memory, and most readers do not look at them.
    #[must_use]
    pub fn metrics_of(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.metrics = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// The tasks' files keep the sizes, counts and bounds of all columns, as files need them that are
    /// added to another table.
    #[must_use]
    pub fn all_metrics(mut self) -> Self {
        self.metrics = None;
        self
    }

    /// The snapshot that will be read, or none for a table without rows, and the schema to read it
    /// with: the current one at the head and on branches, the snapshot's own for what is fixed.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a snapshot or ref that does not exist,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown column.
    pub fn resolve(&self) -> Result<(Option<SnapshotRef>, SchemaRef)> {
        let (snapshot, schema) = snapshot(self.table, &self.selector)?;
        let schema = select::columns(&schema, self.columns.as_deref())
            .map_err(|error| error.with("table", self.table.ident()))?;
        Ok((snapshot, schema))
    }

    /// Reads manifest list and manifests, and matches deletes.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a snapshot or ref that does not exist,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown column or a filter that does
    /// not fit its column's type, errors of the storage with the path.
    pub async fn plan(self) -> Result<ScanPlan> {
        let table = self.table;
        let (snapshot, schema) = snapshot(table, &self.selector)?;
        let projected = select::columns(&schema, self.columns.as_deref())
            .map_err(|error| error.with("table", table.ident()))?;
        let of_table = |error: Error| error.with("table", table.ident());
        let filter = FileFilter::new(table.metadata(), &schema, &self.filter).map_err(of_table)?;
        let metrics =
            select::metrics(&schema, self.metrics.as_deref(), &filter).map_err(of_table)?;
        let mut plan = ScanPlan {
            table: table.clone(),
            snapshot,
            schema: projected,
            tasks: Vec::new(),
            metrics: PlanMetrics::default(),
        };
        let Some(snapshot) = plan.snapshot.clone() else {
            return Ok(plan);
        };
        let filter = Arc::new(filter);
        let (data, deletes) = plan.manifests(&snapshot, &filter).await?;
        let (files, deletes) = futures::try_join!(
            Files::of(table, &filter, &metrics, data),
            load_manifests(table, deletes)
        )?;
        let deletes = DeleteIndex::new(table.metadata(), &filter, &deletes).map_err(of_table)?;
        plan.add(files, &deletes)?;
        Ok(plan)
    }
}

/// The files of a scan, pinned: reading it later gives the same rows, whatever is committed meanwhile.
#[derive(Debug, Clone)]
pub struct ScanPlan {
    /// The table as it was planned on.
    pub table: Table,
    /// The snapshot, or none for a table without rows.
    pub snapshot: Option<SnapshotRef>,
    /// The columns that the reader gives, with their field ids.
    pub schema: SchemaRef,
    /// One task per data file, in the order of data sequence number, then of the manifests.
    pub tasks: Vec<ScanTask>,
    /// What was pruned.
    pub metrics: PlanMetrics,
}

/// A delete file as it applies to a data file.
#[derive(Debug, Clone)]
pub struct DeleteFile {
    /// The delete file's manifest entry.
    pub file: DataFile,
    /// The partition spec that it was written with.
    pub spec_id: i32,
    /// Its data sequence number.
    pub sequence_number: i64,
}

impl DeleteFile {
    /// The one data file that it is about, where metadata says so: the path as the writer spelled it.
    pub fn data_file(&self) -> Option<String> {
        target_of(&self.file)
    }
}

/// One data file to read, with the deletes that apply to it.
#[derive(Debug, Clone)]
pub struct ScanTask {
    /// The data file's manifest entry; of a scan with the metrics that it
    /// [asked for](ScanBuilder::metrics_of).
    pub file: Arc<DataFile>,
    /// Of the file only the row groups that begin in these bytes; all of it where none are named. Plans
    /// have whole files, and [`splits`](ScanPlan::splits) of them may have parts.
    pub range: Option<Range<u64>>,
    /// The partition spec that the file was written with.
    pub spec_id: i32,
    /// The file's data sequence number.
    pub sequence_number: i64,
    /// Position-delete files that may name it, or its one deletion vector.
    pub position_deletes: Vec<Arc<DeleteFile>>,
    /// Equality-delete files that apply to it.
    pub equality_deletes: Vec<Arc<DeleteFile>>,
    /// What of the filter remains to be applied to its rows; `AlwaysTrue` where all rows match.
    pub residual: Predicate,
}

/// What planning read and pruned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanMetrics {
    /// Manifests of the snapshot (data and deletes).
    pub manifests: usize,
    /// Manifests that were skipped by their partition summaries.
    pub manifests_pruned: usize,
    /// Live data files in the manifests that were read, plus those of skipped manifests.
    pub files: usize,
    /// Data files that were skipped, by partition or by bounds, in read and in skipped manifests.
    pub files_pruned: usize,
    /// Delete files that apply to a selected data file.
    pub delete_files: usize,
    /// Bytes of the selected data files.
    pub bytes: u64,
}

impl ScanPlan {
    /// Whether deletes must be applied.
    pub fn has_deletes(&self) -> bool {
        self.tasks
            .iter()
            .any(|t| !t.position_deletes.is_empty() || !t.equality_deletes.is_empty())
    }
}

/// A manifest with its entries.
pub(crate) type Loaded = (ManifestFile, Vec<Arc<ManifestEntry>>);

impl ScanPlan {
    /// The manifests of the snapshot that may hold matching files: data, deletes.
    async fn manifests(
        &mut self,
        snapshot: &SnapshotRef,
        filter: &FileFilter,
    ) -> Result<(Vec<ManifestFile>, Vec<ManifestFile>)> {
        let list = manifest_list(&self.table, snapshot).await?;
        self.metrics.manifests = list.len();
        let (mut data, mut deletes) = (Vec::new(), Vec::new());
        for manifest in list {
            let is_data = manifest.content == ManifestContentType::Data;
            if !filter.manifest_may_match(&manifest) {
                self.metrics.manifests_pruned += 1;
                if is_data {
                    let files = manifest.added_files_count.unwrap_or_default() as usize
                        + manifest.existing_files_count.unwrap_or_default() as usize;
                    self.metrics.files += files;
                    self.metrics.files_pruned += files;
                }
            } else if !manifest.has_added_files() && !manifest.has_existing_files() {
                // It only records what was removed.
            } else if is_data {
                data.push(manifest);
            } else {
                deletes.push(manifest);
            }
        }
        Ok((data, deletes))
    }

    /// Takes over the files that may hold matching rows, each with its deletes.
    fn add(&mut self, files: Files, deletes: &DeleteIndex) -> Result<()> {
        self.metrics.files += files.seen;
        self.metrics.files_pruned += files.pruned;
        self.tasks = files.tasks;
        let mut applied = HashSet::new();
        for task in &mut self.tasks {
            self.metrics.bytes += task.file.file_size_in_bytes();
            if deletes.is_empty() {
                continue;
            }
            deletes.apply_to(task)?;
            let files = task.position_deletes.iter().chain(&task.equality_deletes);
            applied.extend(files.map(|delete| {
                let path = delete.file.file_path().to_string();
                (path, delete.file.content_offset())
            }));
        }
        self.metrics.delete_files = applied.len();
        // Stable: files of one commit stay in the order of the manifests.
        self.tasks.sort_by_key(|task| task.sequence_number);
        Ok(())
    }
}

fn sequence_number(manifest: &ManifestFile, entry: &ManifestEntry) -> Result<i64> {
    entry.sequence_number().ok_or_else(|| {
        Error::corrupt("a manifest entry has no sequence number and cannot inherit one")
            .with("path", &manifest.manifest_path)
            .with("file", entry.file_path())
    })
}

/// The manifests of a snapshot, in the order of its manifest list.
pub(crate) async fn manifest_list(
    table: &Table,
    snapshot: &SnapshotRef,
) -> Result<Vec<ManifestFile>> {
    let (storage, metadata) = (table.storage().clone(), table.metadata().clone());
    let wanted = snapshot.clone();
    task::decode(snapshot.manifest_list(), async move {
        let manifests = load_list(&storage, &metadata, &wanted).await?;
        check::list(&metadata, &wanted, &manifests)?;
        Ok(manifests)
    })
    .await
    .map_err(|error| error.with("table", table.ident()))
}

/// The entries of these manifests, in their order.
pub(crate) async fn load_manifests(
    table: &Table,
    manifests: Vec<ManifestFile>,
) -> Result<Vec<Loaded>> {
    stream::iter(manifests)
        .map(|manifest| {
            let table = table.clone();
            async move {
                let path = manifest.manifest_path.clone();
                task::decode(&path, async move {
                    let entries = table.manifests().entries(&manifest).await?;
                    check::entries(table.metadata(), &manifest, &entries)?;
                    Ok((manifest, entries.into_iter().map(Arc::new).collect()))
                })
                .await
            }
        })
        .buffered(MANIFESTS_AT_ONCE)
        .try_collect()
        .await
        .map_err(|error: Error| error.with("table", table.ident()))
}

#[cfg(test)]
mod tests;
