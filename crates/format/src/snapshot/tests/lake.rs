//! A table of real rows, and what each of its snapshots is known to hold.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;
use iceberg::TableUpdate;
use iceberg::spec::{
    ManifestEntry, ManifestFile, Snapshot, SnapshotRef, Transform, UnboundPartitionSpec,
};
use roaring::RoaringTreemap;

use super::*;
use crate::commit::TableChange;
use crate::deletes::DeleteLoader;
use crate::plan::SnapshotSelector;
use crate::read::{FILE_COLUMN, POS_COLUMN, ReadOptions, read};
use crate::write::{DataWriter, DeletedRows, write_deletes};

pub(super) const VERSIONS: [FormatVersion; 2] = [FormatVersion::V2, FormatVersion::V3];

/// What is known of a row: its partition, and on version 3 its id and the sequence number of its last
/// change.
pub(super) type Row = (Option<i32>, Option<(i64, i64)>);

pub(super) struct Lake {
    pub(super) committer: Arc<MemoryCommitter>,
    next: i64,
    /// The rows of each snapshot, by their ids.
    pub(super) history: BTreeMap<i64, BTreeMap<i64, Row>>,
}

pub(super) fn columns(old: bool) -> Schema {
    let mut fields = vec![
        NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)),
        NestedField::optional(2, "p", Type::Primitive(PrimitiveType::Int)),
    ];
    if old {
        let ty = Type::Primitive(PrimitiveType::String);
        fields.push(NestedField::optional(3, "old", ty));
    }
    let fields = fields.into_iter().map(Arc::new);
    Schema::builder().with_fields(fields).build().unwrap()
}

pub(super) fn spec(fields: &[(i32, &str, Transform)]) -> UnboundPartitionSpec {
    let mut spec = UnboundPartitionSpec::builder();
    for (source, name, transform) in fields {
        spec = spec
            .add_partition_field(*source, *name, *transform)
            .unwrap();
    }
    spec.build()
}

impl Lake {
    /// A table with the columns `id`, `p` and `old`, and with these properties.
    pub(super) async fn new(
        version: FormatVersion,
        partitioned: &[(i32, &str, Transform)],
        properties: &[(&str, &str)],
    ) -> Self {
        let committer = MemoryCommitter::new(Storage::default(), environment());
        let creation = TableCreation::builder()
            .name("t".into())
            .location("memory:///wh/db/t".into())
            .schema(columns(true))
            .partition_spec(spec(partitioned))
            .properties(
                properties
                    .iter()
                    .map(|(k, v)| (k.to_string(), v.to_string()))
                    .collect::<HashMap<_, _>>(),
            )
            .format_version(version)
            .build();
        committer.create(ident(), creation).await.unwrap();
        Self {
            committer: Arc::new(committer),
            next: 0,
            history: BTreeMap::new(),
        }
    }

    pub(super) async fn table(&self) -> Table {
        self.committer.load(&ident()).await.unwrap()
    }

    /// Changes the metadata as another engine would.
    pub(super) async fn change(&self, updates: Vec<TableUpdate>) {
        let change = TableChange {
            ident: ident(),
            requirements: Vec::new(),
            updates,
        };
        let outcome = self.committer.commit(vec![change]).await.unwrap();
        let made = matches!(outcome, crate::commit::CommitOutcome::Committed(_));
        assert!(made, "{outcome:?}");
    }

    pub(super) async fn respec(&self, fields: &[(i32, &str, Transform)]) {
        self.change(vec![
            TableUpdate::AddSpec { spec: spec(fields) },
            TableUpdate::SetDefaultSpec { spec_id: -1 },
        ])
        .await;
    }

    pub(super) async fn drop_old_column(&self) {
        self.change(vec![
            TableUpdate::AddSchema {
                schema: columns(false),
            },
            TableUpdate::SetCurrentSchema { schema_id: -1 },
        ])
        .await;
    }

    pub(super) async fn upgrade(&self) {
        self.change(vec![TableUpdate::UpgradeFormatVersion {
            format_version: FormatVersion::V3,
        }])
        .await;
    }

    pub(super) async fn set(&self, key: &str, value: &str) {
        let updates = HashMap::from([(key.to_string(), value.to_string())]);
        self.change(vec![TableUpdate::SetProperties { updates }])
            .await;
    }

    /// Files with one new row in each of these partitions, and the rows.
    pub(super) async fn write(
        &mut self,
        partitions: &[Option<i32>],
    ) -> (Vec<WrittenFile>, BTreeMap<i64, Row>) {
        let table = self.table().await;
        let mut rows = BTreeMap::new();
        for p in partitions {
            self.next += 1;
            rows.insert(self.next, (*p, None));
        }
        let ids: Vec<i64> = rows.keys().copied().collect();
        let names = ids.iter().map(|id| format!("row {id}"));
        let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
            ("id", Arc::new(Int64Array::from(ids.clone())), false),
            ("p", Arc::new(Int32Array::from(partitions.to_vec())), true),
        ];
        if table.schema().field_by_name("old").is_some() {
            let names: StringArray = names.map(Some).collect();
            columns.push(("old", Arc::new(names), true));
        }
        let mut writer = DataWriter::new(&table).unwrap();
        let batch = RecordBatch::try_from_iter_with_nullable(columns);
        writer.write(&batch.unwrap()).await.unwrap();
        (writer.finish().await.unwrap(), rows)
    }

    /// Deletes of rows at the head, together with those before.
    pub(super) async fn deletes(&self, ids: &HashSet<i64>) -> Vec<WrittenFile> {
        let table = self.table().await;
        let mut gone: BTreeMap<String, RoaringTreemap> = BTreeMap::new();
        for placed in placed(&table, SnapshotSelector::Head).await {
            if ids.contains(&placed.id) {
                gone.entry(placed.file).or_default().insert(placed.position);
            }
        }
        let loader = DeleteLoader::new(table.storage().clone());
        let vectors = table.metadata().format_version() >= FormatVersion::V3;
        let mut deletes = Vec::new();
        for task in table.scan().plan().await.unwrap().tasks {
            let Some(mut positions) = gone.remove(task.file.file_path()) else {
                continue;
            };
            if vectors && let Some(older) = loader.positions(&task).await.unwrap() {
                positions |= older.as_ref();
            }
            deletes.push(DeletedRows {
                data_file: task.file.as_ref().clone(),
                spec_id: task.spec_id,
                positions,
            });
        }
        write_deletes(&table, &deletes).await.unwrap()
    }

    /// What the head holds by the model.
    pub(super) async fn known(&self) -> BTreeMap<i64, Row> {
        let head = self.table().await.metadata().current_snapshot_id();
        head.map(|id| self.history[&id].clone()).unwrap_or_default()
    }

    /// Commits, and checks that the head holds these rows then and that what was there before has kept
    /// its lineage.
    pub(super) async fn commit(
        &mut self,
        operation: impl Operation,
        mut rows: BTreeMap<i64, Row>,
    ) -> Table {
        let applied = apply(&*self.committer, operation).await.unwrap();
        let table = applied.table().clone();
        let found = rows_of(&table, SnapshotSelector::Head).await;
        for (id, row) in &mut rows {
            let (p, lineage) = found.get(id).unwrap_or_else(|| panic!("row {id} is lost"));
            assert_eq!(*p, row.0);
            if row.1.is_some() {
                assert_eq!(*lineage, row.1, "lineage of row {id}");
            }
            row.1 = *lineage;
        }
        assert_eq!(found, rows);
        let lineages: Vec<_> = rows.values().filter_map(|row| row.1).collect();
        let row_ids: HashSet<_> = lineages.iter().map(|lineage| lineage.0).collect();
        assert_eq!(row_ids.len(), lineages.len(), "a row id was given twice");
        if let Some(id) = table.metadata().current_snapshot_id() {
            self.history.insert(id, rows);
        }
        table
    }

    pub(super) async fn append(&mut self, partitions: &[Option<i32>]) -> Table {
        let (files, new) = self.write(partitions).await;
        let mut rows = self.known().await;
        rows.extend(new);
        let notes = CommitNotes::default();
        self.commit(Append { files, notes }, rows).await
    }

    pub(super) async fn delta(&mut self, gone: &HashSet<i64>, new: &[Option<i32>]) -> Table {
        let delete_files = self.deletes(gone).await;
        let (data_files, added) = self.write(new).await;
        let mut rows = self.known().await;
        rows.retain(|id, _| !gone.contains(id));
        rows.extend(added);
        let delta = RowDelta {
            base: self.table().await.metadata().current_snapshot_id(),
            data_files,
            delete_files,
            notes: CommitNotes::default(),
        };
        self.commit(delta, rows).await
    }

    /// Every snapshot still holds what it held when it was made, and its summary says so.
    pub(super) async fn check_history(&self) {
        let table = self.table().await;
        for (id, rows) in &self.history {
            let found = rows_of(&table, SnapshotSelector::Id(*id)).await;
            assert_eq!(found, *rows, "snapshot {id}");
        }
        for snapshot in table.metadata().snapshots() {
            check_summary(&table, snapshot).await;
        }
    }
}

struct Placed {
    id: i64,
    row: Row,
    file: String,
    position: u64,
}

async fn placed(table: &Table, selector: SnapshotSelector) -> Vec<Placed> {
    let plan = table.scan().snapshot(selector).plan().await.unwrap();
    let options = ReadOptions {
        positions: true,
        lineage: true,
        ..ReadOptions::default()
    };
    let batches: Vec<RecordBatch> = read(&plan, options).try_collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let longs = |name: &str| {
            let column = batch.column_by_name(name).unwrap();
            column.as_primitive::<Int64Type>().clone()
        };
        let (ids, positions) = (longs("id"), longs(POS_COLUMN));
        let (row_ids, updated) = (longs("_row_id"), longs("_last_updated_sequence_number"));
        let p = batch.column_by_name("p").unwrap().clone();
        let p = p.as_primitive::<Int32Type>();
        let files = batch.column_by_name(FILE_COLUMN).unwrap();
        for i in 0..batch.num_rows() {
            let lineage = row_ids
                .is_valid(i)
                .then(|| (row_ids.value(i), updated.value(i)));
            rows.push(Placed {
                id: ids.value(i),
                row: (p.is_valid(i).then(|| p.value(i)), lineage),
                file: files.as_string::<i32>().value(i).to_string(),
                position: positions.value(i) as u64,
            });
        }
    }
    rows
}

pub(super) async fn rows_of(table: &Table, selector: SnapshotSelector) -> BTreeMap<i64, Row> {
    let placed = placed(table, selector).await;
    let count = placed.len();
    let rows: BTreeMap<_, _> = placed.into_iter().map(|p| (p.id, p.row)).collect();
    assert_eq!(rows.len(), count, "a row is there twice");
    rows
}

/// The manifests of a snapshot with their entries.
pub(super) async fn manifests(
    table: &Table,
    snapshot: &SnapshotRef,
) -> Vec<(ManifestFile, Vec<Arc<ManifestEntry>>)> {
    let mut found = Vec::new();
    for manifest in load_list(table.storage(), table.metadata(), snapshot)
        .await
        .unwrap()
    {
        let entries = load_entries(&table.storage().file_io(), &manifest).await;
        let entries = entries.unwrap().into_iter().map(Arc::new);
        found.push((manifest, entries.collect()));
    }
    found
}

pub(super) async fn head_manifests(table: &Table) -> Vec<(ManifestFile, Vec<Arc<ManifestEntry>>)> {
    manifests(table, &table.current_snapshot().unwrap().clone()).await
}

/// The totals of a summary, what the snapshot added and what it removed are what its manifests say.
async fn check_summary(table: &Table, snapshot: &SnapshotRef) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut partitions = HashSet::new();
    let mut count = |key: &'static str, n: u64| *counts.entry(key).or_default() += n;
    for (manifest, entries) in manifests(table, snapshot).await {
        let spec_id = manifest.partition_spec_id;
        let spec = table.metadata().partition_spec_by_id(spec_id).unwrap();
        for entry in entries {
            let file = entry.data_file();
            let rows = file.record_count();
            let size = match file.content_size_in_bytes() {
                Some(own) => own as u64,
                None => file.file_size_in_bytes(),
            };
            let is_own = entry.snapshot_id() == Some(snapshot.snapshot_id());
            let is_data = file.content_type() == DataContentType::Data;
            let keys = match (entry.status(), is_data) {
                (ManifestStatus::Added, true) if is_own => {
                    ["added-data-files", "added-records", "added-files-size"]
                }
                (ManifestStatus::Added, false) if is_own => [
                    "added-delete-files",
                    "added-position-deletes",
                    "added-files-size",
                ],
                (ManifestStatus::Deleted, true) if is_own => [
                    "deleted-data-files",
                    "deleted-records",
                    "removed-files-size",
                ],
                (ManifestStatus::Deleted, false) if is_own => [
                    "removed-delete-files",
                    "removed-position-deletes",
                    "removed-files-size",
                ],
                _ => ["", "", ""],
            };
            for (key, n) in keys.into_iter().zip([1, rows, size]) {
                count(key, n);
            }
            if !keys[0].is_empty() {
                let values =
                    (!spec.is_unpartitioned()).then(|| (spec_id, file.partition().clone()));
                partitions.insert(values);
            }
            if entry.is_alive() {
                let keys = match is_data {
                    true => ["total-data-files", "total-records", "total-files-size"],
                    false => [
                        "total-delete-files",
                        "total-position-deletes",
                        "total-files-size",
                    ],
                };
                for (key, n) in keys.into_iter().zip([1, rows, size]) {
                    count(key, n);
                }
            }
        }
    }
    counts.insert("changed-partition-count", partitions.len() as u64);
    let stated = |key: &str| stated(snapshot, key);
    for key in [
        "added-data-files",
        "added-records",
        "added-files-size",
        "added-delete-files",
        "added-position-deletes",
        "deleted-data-files",
        "deleted-records",
        "removed-delete-files",
        "removed-position-deletes",
        "removed-files-size",
        "total-data-files",
        "total-records",
        "total-files-size",
        "total-delete-files",
        "total-position-deletes",
        "changed-partition-count",
    ] {
        let counted = counts.get(key).copied().unwrap_or_default();
        assert_eq!(stated(key), counted, "{key} of {snapshot:?}");
    }
}

pub(super) fn stated(snapshot: &Snapshot, key: &str) -> u64 {
    let summary = &snapshot.summary().additional_properties;
    summary.get(key).map_or(0, |count| count.parse().unwrap())
}
