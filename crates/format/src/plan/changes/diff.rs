//! What is live in a snapshot and not in its parent, and the other way round.

use std::collections::{HashMap, HashSet};

use iceberg::expr::Predicate;
use iceberg::spec::{
    DataContentType, ManifestContentType, ManifestEntry, ManifestFile, SnapshotRef, Struct,
    StructType,
};

use super::FileChange;
use crate::evaluate::{FileFilter, may_hold};
use crate::plan::deletes::{DeleteIndex, target_of};
use crate::plan::{
    Loaded, PlanMetrics, ScanTask, load_manifests, manifest_list, sequence_number, task_of,
};
use crate::storage::normalize;
use crate::{Error, Result, Table};

/// What tells delete files apart: many deletion vectors share one Puffin file.
type DeleteKey = (String, Option<i64>);

/// The deletes of a task, as a set.
pub(super) fn delete_keys(task: &ScanTask) -> HashSet<DeleteKey> {
    let deletes = task.position_deletes.iter().chain(&task.equality_deletes);
    deletes.map(|delete| delete_key(&delete.file)).collect()
}

fn delete_key(file: &iceberg::spec::DataFile) -> DeleteKey {
    (normalize(file.file_path()), file.content_offset())
}

/// Compares snapshots with their parents, oldest first.
pub(super) struct Planner<'a> {
    table: &'a Table,
    /// Lets everything through.
    filter: FileFilter,
    /// Manifests that were read and that the last snapshot still has, by path: the next snapshot
    /// shares most of them.
    loaded: HashMap<String, Loaded>,
    metrics: PlanMetrics,
    /// Delete files that apply to a file of the plan.
    applied: HashSet<DeleteKey>,
}

/// Manifests that only one of two snapshots has.
#[derive(Default)]
struct Own {
    data: Vec<ManifestFile>,
    deletes: Vec<ManifestFile>,
}

impl Own {
    /// The manifests of `list` that are not in `other`.
    fn new(list: &[ManifestFile], other: &[ManifestFile]) -> Self {
        let shared: HashSet<&str> = other.iter().map(|m| m.manifest_path.as_str()).collect();
        let mut own = Self::default();
        for manifest in list {
            if !shared.contains(manifest.manifest_path.as_str()) {
                match manifest.content {
                    ManifestContentType::Data => own.data.push(manifest.clone()),
                    ManifestContentType::Deletes => own.deletes.push(manifest.clone()),
                }
            }
        }
        own
    }
}

type Entry<'a> = (&'a ManifestFile, &'a ManifestEntry);

/// The live entries of these manifests, in their order.
fn live(manifests: &[Loaded]) -> impl Iterator<Item = Entry<'_>> {
    manifests.iter().flat_map(|(manifest, entries)| {
        let live = entries.iter().filter(|entry| entry.is_alive());
        live.map(move |entry| (manifest, entry.as_ref()))
    })
}

/// Live data files by the normal spelling of their paths.
fn by_path(manifests: &[Loaded]) -> Result<HashMap<String, Entry<'_>>> {
    let mut files = HashMap::new();
    for entry in live(manifests) {
        if files
            .insert(normalize(entry.1.file_path()), entry)
            .is_some()
        {
            return Err(Error::corrupt("a data file is in the table twice")
                .with("path", entry.1.file_path())
                .with("manifest", &entry.0.manifest_path));
        }
    }
    Ok(files)
}

impl<'a> Planner<'a> {
    pub(super) fn new(table: &'a Table) -> Result<Self> {
        Ok(Self {
            table,
            filter: FileFilter::new(table.metadata(), table.schema(), &Predicate::AlwaysTrue)?,
            loaded: HashMap::new(),
            metrics: PlanMetrics::default(),
            applied: HashSet::new(),
        })
    }

    pub(super) fn metrics(&self) -> PlanMetrics {
        PlanMetrics {
            delete_files: self.applied.len(),
            ..self.metrics
        }
    }

    /// The data files whose live rows this snapshot changed: removed ones, those with other deletes,
    /// added ones.
    pub(super) async fn changes(&mut self, snapshot: &SnapshotRef) -> Result<Vec<FileChange>> {
        let parent = match snapshot.parent_snapshot_id() {
            Some(id) => manifest_list(self.table, self.table.snapshot(id)?).await?,
            None => Vec::new(),
        };
        let current = manifest_list(self.table, snapshot).await?;
        let found = self.compare(&parent, &current).await;
        let files = found.map_err(|error| error.with("snapshot", snapshot.snapshot_id()))?;

        let kept: HashSet<&str> = current.iter().map(|m| m.manifest_path.as_str()).collect();
        self.loaded.retain(|path, _| kept.contains(path.as_str()));
        for task in files.iter().filter_map(FileChange::task) {
            self.metrics.files += 1;
            self.metrics.bytes += task.file.file_size_in_bytes();
        }
        for file in &files {
            let sides = file.before.iter().chain(&file.after);
            self.applied.extend(sides.flat_map(delete_keys));
        }
        Ok(files)
    }

    async fn compare(
        &mut self,
        parent: &[ManifestFile],
        current: &[ManifestFile],
    ) -> Result<Vec<FileChange>> {
        let (gone, come) = (Own::new(parent, current), Own::new(current, parent));
        let gone_data = self.load(&gone.data).await?;
        let come_data = self.load(&come.data).await?;
        let gone_deletes = self.load(&gone.deletes).await?;
        let come_deletes = self.load(&come.deletes).await?;

        let of_table = |error: Error| error.with("table", self.table.ident());
        let before = by_path(&gone_data).map_err(of_table)?;
        let after = by_path(&come_data).map_err(of_table)?;
        let (mut files, mut added) = (Vec::new(), Vec::new());
        for (manifest, entry) in live(&gone_data) {
            let now = after.get(&normalize(entry.file_path()));
            // A file that was added again with another sequence number has other deletes.
            let same = match now {
                Some((at, now)) => sequence_number(manifest, entry)? == sequence_number(at, now)?,
                None => false,
            };
            if !same {
                files.push(FileChange {
                    before: Some(task_of(manifest, entry)?),
                    after: now.map(|(at, now)| task_of(at, now)).transpose()?,
                });
            }
        }
        for (manifest, entry) in live(&come_data) {
            if !before.contains_key(&normalize(entry.file_path())) {
                added.push(FileChange {
                    before: None,
                    after: Some(task_of(manifest, entry)?),
                });
            }
        }

        let changed = Changed::new(
            self.table,
            &self.filter,
            [&gone_deletes, &come_deletes],
            [&come_deletes, &gone_deletes],
        )
        .map_err(of_table)?;
        if !changed.is_empty() {
            let known: HashSet<String> = files
                .iter()
                .chain(&added)
                .filter_map(FileChange::task)
                .map(|task| normalize(task.file.file_path()))
                .collect();
            for task in self.touched(&changed, &known, current).await? {
                files.push(FileChange {
                    before: Some(task.clone()),
                    after: Some(task),
                });
            }
        }
        files.extend(added);
        self.apply_deletes(&mut files, parent, |file| file.before.as_mut())
            .await?;
        self.apply_deletes(&mut files, current, |file| file.after.as_mut())
            .await?;
        files.retain(|file| match (&file.before, &file.after) {
            (Some(before), Some(after)) => {
                before.sequence_number != after.sequence_number
                    || delete_keys(before) != delete_keys(after)
            }
            _ => true,
        });
        Ok(files)
    }

    /// Live data files of the snapshot to which one of these deletes applies, without their deletes;
    /// files that are known to have changed are left out.
    async fn touched(
        &mut self,
        changed: &Changed,
        known: &HashSet<String>,
        current: &[ManifestFile],
    ) -> Result<Vec<ScanTask>> {
        let is_data = |m: &&ManifestFile| m.content == ManifestContentType::Data;
        let (likely, rest): (Vec<_>, Vec<_>) = current
            .iter()
            .filter(is_data)
            .cloned()
            .partition(|manifest| changed.may_concern(manifest));
        let mut missing: HashSet<&String> = changed.targets.difference(known).collect();
        let mut touched = Vec::new();
        for manifests in [likely, rest] {
            for (manifest, entry) in live(&self.load(&manifests).await?) {
                let path = normalize(entry.file_path());
                let named = missing.remove(&path);
                if known.contains(&path) {
                    continue;
                }
                if named || changed.specs.contains(&manifest.partition_spec_id) || changed.global {
                    let task = task_of(manifest, entry)?;
                    if changed.applies_to(&task)? {
                        touched.push(task);
                    }
                }
            }
            // A delete file is in the partition of the data file that it names (specification, "Scan
            // Planning"); readers find it elsewhere too, so all the others are asked before it is
            // taken for one of a file that is gone.
            if missing.is_empty() {
                break;
            }
        }
        Ok(touched)
    }

    /// Gives one side of the files the deletes that apply to them in the snapshot of this list.
    async fn apply_deletes(
        &mut self,
        files: &mut [FileChange],
        list: &[ManifestFile],
        side: impl Fn(&mut FileChange) -> Option<&mut ScanTask>,
    ) -> Result<()> {
        let oldest = files
            .iter_mut()
            .filter_map(&side)
            .map(|task| task.sequence_number)
            .min();
        let Some(oldest) = oldest else { return Ok(()) };
        // No delete applies to files that are younger than it, and none is younger than its manifest.
        let deletes: Vec<ManifestFile> = list
            .iter()
            .filter(|manifest| manifest.content == ManifestContentType::Deletes)
            .filter(|manifest| manifest.sequence_number >= oldest)
            .cloned()
            .collect();
        let deletes = self.load(&deletes).await?;
        let index = DeleteIndex::new(self.table.metadata(), &self.filter, &deletes)
            .map_err(|error| error.with("table", self.table.ident()))?;
        for task in files.iter_mut().filter_map(&side) {
            index.apply_to(task)?;
        }
        Ok(())
    }

    /// The entries of these manifests, in their order, read once.
    async fn load(&mut self, manifests: &[ManifestFile]) -> Result<Vec<Loaded>> {
        let unread: Vec<ManifestFile> = manifests
            .iter()
            .filter(|manifest| !self.loaded.contains_key(&manifest.manifest_path))
            .cloned()
            .collect();
        self.metrics.manifests += unread.len();
        for loaded in load_manifests(self.table, unread).await? {
            self.loaded.insert(loaded.0.manifest_path.clone(), loaded);
        }
        let get = |manifest: &ManifestFile| self.loaded.get(&manifest.manifest_path).cloned();
        Ok(manifests.iter().filter_map(get).collect())
    }
}

/// Delete files that only one of two snapshots has.
struct Changed {
    /// Those that are gone, and those that came: of one kind an index knows one per data file.
    indexes: Vec<DeleteIndex>,
    /// The data files that they name.
    targets: HashSet<String>,
    /// The specs of those that name none.
    specs: HashSet<i32>,
    /// Whether one of them applies to all partitions.
    global: bool,
    /// All their partitions.
    partitions: HashMap<i32, (Option<StructType>, HashSet<Struct>)>,
}

impl Changed {
    /// The live delete files of each of these that the one beside it does not have.
    fn new(
        table: &Table,
        filter: &FileFilter,
        these: [&[Loaded]; 2],
        others: [&[Loaded]; 2],
    ) -> Result<Self> {
        let metadata = table.metadata();
        let mut changed = Self {
            indexes: Vec::new(),
            targets: HashSet::new(),
            specs: HashSet::new(),
            global: false,
            partitions: HashMap::new(),
        };
        for (these, others) in these.into_iter().zip(others) {
            let shared: HashSet<DeleteKey> = live(others)
                .map(|(_, entry)| delete_key(&entry.data_file))
                .collect();
            let mut own: Vec<Loaded> = Vec::new();
            for (manifest, entries) in these {
                let entries: Vec<_> = entries
                    .iter()
                    .filter(|entry| entry.is_alive())
                    .filter(|entry| !shared.contains(&delete_key(&entry.data_file)))
                    .cloned()
                    .collect();
                if entries.is_empty() {
                    continue;
                }
                let id = manifest.partition_spec_id;
                let spec = metadata.partition_spec_by_id(id);
                let (_, partitions) = changed.partitions.entry(id).or_insert_with(|| {
                    let types = spec.and_then(|spec| spec.partition_type(table.schema()).ok());
                    (types, HashSet::new())
                });
                for entry in &entries {
                    let file = &entry.data_file;
                    partitions.insert(file.partition().clone());
                    let by_key = file.content_type() == DataContentType::EqualityDeletes;
                    match target_of(file).filter(|_| !by_key) {
                        Some(path) => {
                            changed.targets.insert(normalize(&path));
                        }
                        None => {
                            changed.specs.insert(id);
                            changed.global |=
                                by_key && spec.is_some_and(|spec| spec.is_unpartitioned());
                        }
                    }
                }
                own.push((manifest.clone(), entries));
            }
            if !own.is_empty() {
                let index = DeleteIndex::new(metadata, filter, &own)?;
                changed.indexes.push(index);
            }
        }
        Ok(changed)
    }

    fn is_empty(&self) -> bool {
        self.indexes.is_empty()
    }

    /// Whether the manifest may have data files of their partitions.
    fn may_concern(&self, manifest: &ManifestFile) -> bool {
        self.global
            || match self.partitions.get(&manifest.partition_spec_id) {
                Some((Some(types), partitions)) => partitions
                    .iter()
                    .any(|partition| may_hold(manifest, types, partition)),
                Some((None, _)) => true,
                None => false,
            }
    }

    fn applies_to(&self, task: &ScanTask) -> Result<bool> {
        for index in &self.indexes {
            let mut probe = task.clone();
            index.apply_to(&mut probe)?;
            if !probe.position_deletes.is_empty() || !probe.equality_deletes.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
