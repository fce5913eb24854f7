//! A lake in memory, and looking at its files with other eyes than the code under test.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use berglake_catalog::{Catalog, NewTable, SqlCatalog, SqlCatalogConfig};
use berglake_format::commit::{
    Applied, CommitOutcome, Committer, Operation, TableChange, Transaction,
};
use berglake_format::plan::SnapshotSelector;
use berglake_format::read::{ReadOptions, read};
use berglake_format::snapshot::{Append, CommitNotes, NextSnapshot};
use berglake_format::storage::{Location, Storage, normalize};
use berglake_format::write::DataWriter;
use berglake_format::{
    Environment, Identity, ManualClock, NamespaceIdent, Result, SeededIds, Table, TableIdent,
};
use berglake_ingest::progress::{Delta, FlowId, Position, Progress, Step};
use berglake_ingest::sink::Upsert;
use berglake_maintenance::{Maintenance, Policies};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use iceberg::TableUpdate;
use iceberg::spec::{
    FormatVersion, ManifestList, NestedField, PrimitiveType, Schema, SnapshotReference,
    SnapshotRetention, Transform, Type, UnboundPartitionSpec,
};

pub const DAY: i64 = 24 * 60 * 60 * 1_000_000;
/// In 2023.
const START: i64 = 1_700_000_000_000_000;
/// Later than any time that the system could put into metadata.
const FAR: i64 = 36_500 * DAY;

/// Key to value.
pub type Rows = BTreeMap<i64, i64>;

pub struct Lake {
    pub catalog: Arc<dyn Catalog>,
    pub clock: Arc<ManualClock>,
}

impl Lake {
    pub async fn new() -> Self {
        let lake = Self::open("sqlite::memory:", Storage::default()).await;
        let db = NamespaceIdent::new("db".to_string());
        let create = lake.catalog.create_namespace(&db, HashMap::new());
        create.await.unwrap();
        lake
    }

    /// A catalog as another process sees it, with nothing in its cache.
    pub async fn open(uri: &str, storage: Storage) -> Self {
        // A second passes at each look, so that no two snapshots have the same time.
        let clock = Arc::new(ManualClock::stepping(START, 1_000_000));
        let environment = Environment::new(
            clock.clone(),
            Arc::new(SeededIds::new(3)),
            Identity::default(),
        );
        let warehouse = Location::parse("memory:///wh").unwrap();
        let config = SqlCatalogConfig::new("test", uri, warehouse);
        let catalog = SqlCatalog::open(config, storage, environment)
            .await
            .unwrap();
        Self {
            catalog: Arc::new(catalog),
            clock,
        }
    }

    /// A table of keys and values, by the key modulo 2 where it is partitioned.
    pub async fn create(
        &self,
        name: &str,
        version: FormatVersion,
        partitioned: bool,
        properties: &[(&str, &str)],
    ) -> TableIdent {
        let ident = ident(name);
        let long = |id, name: &str| {
            NestedField::required(id, name, Type::Primitive(PrimitiveType::Long)).into()
        };
        let fields = vec![long(1, "k"), long(2, "seq"), long(3, "v")];
        let schema = Schema::builder().with_fields(fields).build().unwrap();
        let mut table = NewTable::new(ident.clone(), schema);
        table.format_version = version;
        if partitioned {
            let spec = UnboundPartitionSpec::builder()
                .add_partition_field(1, "k_bucket", Transform::Bucket(2))
                .unwrap();
            table.partition_spec = Some(spec.build());
        }
        table.properties = properties
            .iter()
            .map(|(key, value)| ((*key).to_string(), (*value).to_string()))
            .collect();
        let table = self.catalog.create_table(table).await.unwrap();
        self.set_back(&table).await;
        ident
    }

    /// Metadata is stamped with the system's time where no snapshot is added, and snapshots are never
    /// older than their table. So that the test's clock counts, the table is registered as an old one.
    async fn set_back(&self, table: &Table) {
        let (ident, storage) = (table.ident(), table.storage());
        let location = Location::parse(table.metadata_location()).unwrap();
        let bytes = storage.read(&location).await.unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        json["last-updated-ms"] = (START / 1_000).into();
        self.catalog.drop_table(ident, false).await.unwrap();
        storage.delete(&location).await.unwrap();
        let name = "00000-5e4e1f7e-0a1c-4e0e-9d53-000000000000.metadata.json";
        let old = table.metadata_folder().unwrap().join(name);
        let bytes = serde_json::to_vec(&json).unwrap();
        storage.write(&old, bytes.into()).await.unwrap();
        let old = old.to_string();
        let register = self.catalog.register_table(ident, &old);
        register.await.unwrap();
    }

    /// Does something when all snapshots are old, whatever their metadata is stamped with.
    pub async fn in_the_far_future<T>(&self, work: impl Future<Output = T>) -> T {
        self.clock.advance(FAR);
        let done = work.await;
        self.clock.advance(-FAR);
        done
    }

    pub async fn table(&self, ident: &TableIdent) -> Table {
        self.catalog.load(ident).await.unwrap()
    }

    pub fn maintenance(&self) -> Maintenance {
        Maintenance::new(self.catalog.clone(), Policies::default())
    }

    pub fn days(&self, days: i64) {
        self.clock.advance(days * DAY);
    }

    pub async fn commit(&self, ident: &TableIdent, operation: impl Operation) -> Table {
        let applied = Transaction::new(self.catalog.as_ref())
            .step(ident.clone(), operation)
            .commit()
            .await
            .unwrap();
        applied.first().map(Applied::table).unwrap().clone()
    }

    pub async fn change(&self, ident: &TableIdent, updates: Vec<TableUpdate>) {
        change(self.catalog.as_ref(), ident, updates).await;
    }

    /// Appends rows; gives the snapshot.
    pub async fn append(&self, ident: &TableIdent, rows: &[(i64, i64)]) -> i64 {
        self.append_as(ident, rows, None).await
    }

    /// Appends rows of a flow, with its progress.
    pub async fn append_as(
        &self,
        ident: &TableIdent,
        rows: &[(i64, i64)],
        step: Option<Step>,
    ) -> i64 {
        let table = self.table(ident).await;
        let mut writer = DataWriter::new(&table).unwrap();
        writer.write(&batch(rows, 0)).await.unwrap();
        let append = AppendWith {
            append: Append {
                files: writer.finish().await.unwrap(),
                notes: CommitNotes::default(),
            },
            step,
        };
        let after = self.commit(ident, append).await;
        after.metadata().current_snapshot_id().unwrap()
    }

    pub async fn upsert(&self, ident: &TableIdent, rows: &[(i64, i64)], seq: i64) {
        upsert(self.catalog.as_ref(), ident, rows, seq)
            .await
            .unwrap();
    }

    pub async fn rows(&self, ident: &TableIdent) -> Rows {
        rows(&self.table(ident).await, SnapshotSelector::Head).await
    }

    /// Where a flow is.
    pub async fn position(&self, target: &TableIdent, flow: &FlowId) -> Option<i64> {
        let table = self.table(target).await;
        match Progress::of(table.metadata(), flow).unwrap() {
            Progress::At(Position::Table { at, .. }) => Some(at),
            Progress::Fresh => None,
            other => panic!("{other:?}"),
        }
    }

    /// Takes the flow from where it is to the source's head, as pipelines do. Gives the rows.
    pub async fn flow(
        &self,
        flow: &FlowId,
        source: &TableIdent,
        target: &TableIdent,
    ) -> Result<usize> {
        let from = self.position(target, flow).await;
        let source = self.table(source).await;
        let to = source.metadata().current_snapshot_id().unwrap();
        if from == Some(to) {
            return Ok(0);
        }
        let plan = berglake_format::plan::appended_rows(&source, from, to, None).await?;
        let batches: Vec<RecordBatch> = read(&plan, ReadOptions::default()).try_collect().await?;
        let taken: Vec<(i64, i64)> = batches.iter().flat_map(pairs).collect();
        let uuid = source.metadata().uuid();
        let step = Step {
            flow: flow.clone(),
            from: from.map(|at| Position::Table { source: uuid, at }),
            delta: Delta::Table {
                source: uuid,
                from,
                to,
            },
            resume: None,
        };
        self.append_as(target, &taken, Some(step)).await;
        Ok(taken.len())
    }

    /// All files below the table's folder, except metadata files.
    pub async fn listed(&self, ident: &TableIdent) -> BTreeSet<String> {
        let table = self.table(ident).await;
        let folder = table.location().unwrap();
        let files = table.storage().list(&folder).unwrap();
        files
            .map_ok(|file| file.location.to_string())
            .try_filter(|path| futures::future::ready(!path.ends_with(".metadata.json")))
            .try_collect()
            .await
            .unwrap()
    }
}

struct AppendWith {
    append: Append,
    step: Option<Step>,
}

#[async_trait]
impl Operation for AppendWith {
    async fn plan(&self, base: &Table) -> Result<Option<berglake_format::commit::PlannedChange>> {
        let next = NextSnapshot::of(base);
        let mut append = self.append.clone();
        if let Some(step) = &self.step {
            step.record(base.metadata(), next, &mut append.notes)?;
        }
        append.plan_as(base, next).await.map(Some)
    }
}

pub fn ident(name: &str) -> TableIdent {
    TableIdent::from_strs(["db", name]).unwrap()
}

pub fn batch(rows: &[(i64, i64)], seq: i64) -> RecordBatch {
    let keys: Int64Array = rows.iter().map(|(k, _)| Some(*k)).collect();
    let sequence: Int64Array = rows.iter().map(|_| Some(seq)).collect();
    let values: Int64Array = rows.iter().map(|(_, v)| Some(*v)).collect();
    RecordBatch::try_from_iter([
        ("k", Arc::new(keys) as ArrayRef),
        ("seq", Arc::new(sequence)),
        ("v", Arc::new(values)),
    ])
    .unwrap()
}

fn pairs(batch: &RecordBatch) -> Vec<(i64, i64)> {
    let long = |name: &str| {
        let column = batch.column_by_name(name).unwrap();
        column.as_primitive::<Int64Type>().values().to_vec()
    };
    long("k").into_iter().zip(long("v")).collect()
}

/// The rows of a snapshot, each of which must have a key of its own.
pub async fn rows(table: &Table, selector: SnapshotSelector) -> Rows {
    let plan = table.scan().snapshot(selector).plan().await.unwrap();
    let batches: Vec<RecordBatch> = read(&plan, ReadOptions::default())
        .try_collect()
        .await
        .unwrap();
    let mut rows = Rows::new();
    for (key, value) in batches.iter().flat_map(pairs) {
        assert_eq!(rows.insert(key, value), None, "key {key} is there twice");
    }
    rows
}

pub async fn upsert(
    committer: &dyn Committer,
    ident: &TableIdent,
    rows: &[(i64, i64)],
    seq: i64,
) -> Result<()> {
    let upsert = Upsert::new(vec![batch(rows, seq)], ["k"], "seq")?;
    Transaction::new(committer)
        .step(ident.clone(), &upsert)
        .commit()
        .await?;
    Ok(())
}

pub async fn change(committer: &dyn Committer, ident: &TableIdent, updates: Vec<TableUpdate>) {
    let change = TableChange {
        ident: ident.clone(),
        requirements: vec![],
        updates,
    };
    match committer.commit(vec![change]).await.unwrap() {
        CommitOutcome::Committed(_) => {}
        other => panic!("{other:?}"),
    }
}

pub fn tag(name: &str, snapshot: i64) -> TableUpdate {
    set_ref(
        name,
        snapshot,
        SnapshotRetention::Tag {
            max_ref_age_ms: None,
        },
    )
}

pub fn set_ref(name: &str, snapshot: i64, retention: SnapshotRetention) -> TableUpdate {
    TableUpdate::SetSnapshotRef {
        ref_name: name.to_string(),
        reference: SnapshotReference::new(snapshot, retention),
    }
}

/// Every file that the snapshots of a table reach, found with nothing but the specification's own
/// readers.
pub async fn reachable(table: &Table) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for snapshot in table.metadata().snapshots() {
        files.insert(normalize(snapshot.manifest_list()));
        let location = Location::parse(snapshot.manifest_list()).unwrap();
        let bytes = table.storage().read(&location).await.unwrap();
        let version = table.metadata().format_version();
        let list = ManifestList::parse_with_version(&bytes, version).unwrap();
        for manifest in list.entries() {
            files.insert(normalize(&manifest.manifest_path));
            let io = table.storage().file_io();
            let loaded = manifest.load_manifest(&io).await.unwrap();
            let alive = loaded.entries().iter().filter(|entry| entry.is_alive());
            files.extend(alive.map(|entry| normalize(entry.file_path())));
        }
    }
    let statistics = table.metadata().statistics_iter();
    files.extend(statistics.map(|file| normalize(&file.statistics_path)));
    files
}

/// What another writer does when the table is loaded for the first time: that is after the rows of a
/// compaction were copied, before its commit is planned.
type Meanwhile = Box<dyn FnOnce(Arc<dyn Catalog>) -> BoxFuture<'static, ()> + Send>;

/// A committer behind which another writer is at work.
pub struct Interrupted {
    inner: Arc<dyn Catalog>,
    at_load: Mutex<Option<Meanwhile>>,
    at_commit: Mutex<Option<Meanwhile>>,
}

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupted")
    }
}

impl Interrupted {
    /// Something happens before the table is loaded.
    pub fn before_load(inner: &Arc<dyn Catalog>, meanwhile: Meanwhile) -> Self {
        Self {
            inner: inner.clone(),
            at_load: Mutex::new(Some(meanwhile)),
            at_commit: Mutex::new(None),
        }
    }

    /// Something happens after a commit was planned, before it is made.
    pub fn before_commit(inner: &Arc<dyn Catalog>, meanwhile: Meanwhile) -> Self {
        Self {
            inner: inner.clone(),
            at_load: Mutex::new(None),
            at_commit: Mutex::new(Some(meanwhile)),
        }
    }

    async fn interrupt(&self, slot: &Mutex<Option<Meanwhile>>) {
        let meanwhile = slot.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile(self.inner.clone()).await;
        }
    }
}

#[async_trait]
impl Committer for Interrupted {
    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        self.interrupt(&self.at_load).await;
        self.inner.load(ident).await
    }

    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        self.interrupt(&self.at_commit).await;
        self.inner.commit(changes).await
    }
}
