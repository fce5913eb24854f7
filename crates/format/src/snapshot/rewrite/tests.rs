use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema as ArrowSchema};
use futures::TryStreamExt;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Literal, MAIN_BRANCH, NestedField,
    PrimitiveType, Schema, SnapshotReference, SnapshotRetention, Struct, Transform, Type,
    UnboundPartitionSpec,
};
use iceberg::{TableCreation, TableIdent, TableUpdate};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use proptest::prelude::*;

use super::*;
use crate::commit::{
    Applied, CommitOutcome, Committer, MemoryCommitter, RetryPolicy, TableChange, Transaction,
};
use crate::plan::SnapshotSelector;
use crate::properties::WriteProperties;
use crate::read::{FILE_COLUMN, POS_COLUMN, ReadOptions, read};
use crate::rewrite::copy_rows;
use crate::snapshot::{Append, RowDelta};
use crate::storage::{Location, Storage};
use crate::write::DataWriter;
use crate::{Environment, Identity, ManualClock, SeededIds};

/// A row as the table holds it. `id` is unique and never changes; it is how the test knows a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    id: i64,
    key: i64,
    /// The row's id and the sequence number of its last change, on version 3.
    lineage: Option<(i64, i64)>,
}

/// A row with its place.
struct Placed {
    row: Row,
    file: String,
    position: u64,
}

/// What can happen to the table.
#[derive(Debug, Clone)]
enum Step {
    /// Rows with these keys are appended, in one file per partition.
    Append(Vec<i64>),
    /// Rows whose place among all rows has its bit set are deleted by position.
    DeleteRows(u64),
    /// Rows with these keys are deleted by key.
    DeleteKeys(Vec<i64>),
    /// Head goes back by so many snapshots.
    RollBack(usize),
    /// Files whose bit is set are compacted, while other things happen.
    Compact(u64, Vec<Step>),
}

struct Lake {
    committer: Arc<MemoryCommitter>,
    version: FormatVersion,
    partitioned: bool,
    next: i64,
    /// What each snapshot holds.
    model: BTreeMap<i64, BTreeSet<Row>>,
    /// Compactions that were committed, and that gave way.
    compacted: (usize, usize),
}

fn ident() -> TableIdent {
    TableIdent::from_strs(["db", "t"]).unwrap()
}

fn long(id: i32, name: &str) -> Arc<NestedField> {
    NestedField::required(id, name, Type::Primitive(PrimitiveType::Long)).into()
}

impl Lake {
    async fn new(version: FormatVersion, partitioned: bool) -> Self {
        let environment = Environment::new(
            Arc::new(ManualClock::stepping(1_700_000_000_000_000, 1_000_000)),
            Arc::new(SeededIds::new(7)),
            Identity::default(),
        );
        let committer = MemoryCommitter::new(Storage::default(), environment);
        let fields = vec![long(1, "id"), long(2, "key")];
        let mut spec = UnboundPartitionSpec::builder();
        if partitioned {
            let by_key = spec.add_partition_field(2, "key_bucket", Transform::Bucket(2));
            spec = by_key.unwrap();
        }
        let creation = TableCreation::builder()
            .name("t".into())
            .location("memory:///wh/db/t".into())
            .schema(Schema::builder().with_fields(fields).build().unwrap())
            .partition_spec(spec.build())
            .format_version(version)
            .build();
        committer.create(ident(), creation).await.unwrap();
        Self {
            committer: Arc::new(committer),
            version,
            partitioned,
            next: 0,
            model: BTreeMap::new(),
            compacted: (0, 0),
        }
    }

    async fn table(&self) -> Table {
        self.committer.load(&ident()).await.unwrap()
    }

    async fn commit(&self, operation: impl Operation) -> Result<Table> {
        let policy = RetryPolicy {
            retries: 0,
            ..RetryPolicy::default()
        };
        let applied = Transaction::new(self.committer.as_ref())
            .retry(policy)
            .step(ident(), operation)
            .commit()
            .await?;
        Ok(applied.first().map(Applied::table).unwrap().clone())
    }

    async fn rows(&self, table: &Table, selector: SnapshotSelector) -> Vec<Placed> {
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
            let (ids, keys, positions) = (longs("id"), longs("key"), longs(POS_COLUMN));
            let (row_ids, updated) = (longs("_row_id"), longs("_last_updated_sequence_number"));
            let files = batch
                .column_by_name(FILE_COLUMN)
                .unwrap()
                .as_string::<i32>();
            for i in 0..batch.num_rows() {
                let lineage = (self.version >= FormatVersion::V3)
                    .then(|| (row_ids.value(i), updated.value(i)));
                rows.push(Placed {
                    row: Row {
                        id: ids.value(i),
                        key: keys.value(i),
                        lineage,
                    },
                    file: files.value(i).to_string(),
                    position: positions.value(i) as u64,
                });
            }
        }
        rows
    }

    /// What the head holds by the model.
    async fn modelled(&self) -> BTreeSet<Row> {
        let head = self.table().await.metadata().current_snapshot_id();
        head.map(|id| self.model[&id].clone()).unwrap_or_default()
    }

    /// Remembers what the head holds now.
    async fn remember(&mut self, rows: BTreeSet<Row>) {
        let table = self.table().await;
        let head = table.metadata().current_snapshot_id().unwrap();
        self.model.insert(head, rows);
        self.check().await;
    }

    /// The head holds what the model says.
    async fn check(&self) {
        let table = self.table().await;
        let placed = self.rows(&table, SnapshotSelector::Head).await;
        let count = placed.len();
        let rows: BTreeSet<Row> = placed.into_iter().map(|placed| placed.row).collect();
        assert_eq!(rows.len(), count, "a row is there twice");
        assert_eq!(rows, self.modelled().await);
    }

    async fn append(&mut self, keys: &[i64]) {
        if keys.is_empty() {
            return;
        }
        let table = self.table().await;
        let ids: Vec<i64> = keys.iter().map(|_| self.draw()).collect();
        let schema = crate::schema::to_arrow(table.schema()).unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ids.clone())),
            Arc::new(Int64Array::from(keys.to_vec())),
        ];
        let mut writer = DataWriter::new(&table).unwrap();
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        writer.write(&batch).await.unwrap();
        let append = Append {
            files: writer.finish().await.unwrap(),
            notes: CommitNotes::default(),
        };
        let mut rows = self.modelled().await;
        let after = self.commit(append).await.unwrap();
        // Row ids are the table's to give; that they stay is what the test looks at.
        let placed = self.rows(&after, SnapshotSelector::Head).await;
        rows.extend(
            placed
                .into_iter()
                .map(|placed| placed.row)
                .filter(|row| ids.contains(&row.id)),
        );
        self.remember(rows).await;
    }

    fn draw(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    async fn delete_rows(&mut self, mask: u64) {
        let table = self.table().await;
        let placed = self.rows(&table, SnapshotSelector::Head).await;
        let mut gone: BTreeMap<String, RoaringTreemap> = BTreeMap::new();
        let mut rows = self.modelled().await;
        for (i, placed) in placed.iter().enumerate() {
            if mask & (1 << (i % 64)) != 0 {
                gone.entry(placed.file.clone())
                    .or_default()
                    .insert(placed.position);
                rows.remove(&placed.row);
            }
        }
        if gone.is_empty() {
            return;
        }
        let loader = DeleteLoader::new(table.storage().clone());
        let mut deletes = Vec::new();
        for task in table.scan().plan().await.unwrap().tasks {
            let Some(mut positions) = gone.remove(task.file.file_path()) else {
                continue;
            };
            if self.version >= FormatVersion::V3
                && let Some(older) = loader.positions(&task).await.unwrap()
            {
                positions |= older.as_ref();
            }
            deletes.push(DeletedRows {
                data_file: task.file.as_ref().clone(),
                spec_id: task.spec_id,
                positions,
            });
        }
        let delta = RowDelta {
            base: table.metadata().current_snapshot_id(),
            delete_files: write_deletes(&table, &deletes).await.unwrap(),
            ..RowDelta::default()
        };
        self.commit(delta).await.unwrap();
        self.remember(rows).await;
    }

    /// Equality deletes, as other engines write them: one file per partition.
    async fn delete_keys(&mut self, keys: &[i64]) {
        let mut rows = self.modelled().await;
        let table = self.table().await;
        if keys.is_empty() || table.current_snapshot().is_none() {
            return;
        }
        let partitions: Vec<Struct> = match self.partitioned {
            true => [0, 1]
                .map(|bucket| Struct::from_iter([Some(Literal::int(bucket))]))
                .to_vec(),
            false => vec![Struct::empty()],
        };
        let mut files = Vec::new();
        for partition in partitions {
            files.push(self.equality_delete(&table, keys, partition).await);
        }
        self.commit(AddDeletes(files)).await.unwrap();
        rows.retain(|row| !keys.contains(&row.key));
        self.remember(rows).await;
    }

    async fn equality_delete(
        &mut self,
        table: &Table,
        keys: &[i64],
        partition: Struct,
    ) -> WrittenFile {
        let id = [(PARQUET_FIELD_ID_META_KEY.to_string(), "2".to_string())];
        let field = Field::new("key", DataType::Int64, false).with_metadata(id.into());
        let schema = Arc::new(ArrowSchema::new(vec![field]));
        let column: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
        let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let path = format!("memory:///wh/db/t/data/equality-{}.parquet", self.draw());
        let size = bytes.len() as u64;
        let location = Location::parse(&path).unwrap();
        table
            .storage()
            .write(&location, bytes.into())
            .await
            .unwrap();
        let mut builder = DataFileBuilder::default();
        builder
            .content(DataContentType::EqualityDeletes)
            .file_path(path)
            .file_format(DataFileFormat::Parquet)
            .partition(partition)
            .partition_spec_id(table.metadata().default_partition_spec_id())
            .equality_ids(Some(vec![2]))
            .record_count(keys.len() as u64)
            .file_size_in_bytes(size);
        WrittenFile {
            file: builder.build().unwrap(),
            spec_id: table.metadata().default_partition_spec_id(),
        }
    }

    async fn roll_back(&mut self, by: usize) {
        let table = self.table().await;
        let head = table.metadata().current_snapshot_id();
        let Some(target) = table.ancestors(head).nth(by) else {
            return;
        };
        let reference = SnapshotReference::new(
            target.snapshot_id(),
            SnapshotRetention::branch(None, None, None),
        );
        let change = TableChange {
            ident: ident(),
            requirements: vec![],
            updates: vec![TableUpdate::SetSnapshotRef {
                ref_name: MAIN_BRANCH.to_string(),
                reference,
            }],
        };
        let outcome = self.committer.commit(vec![change]).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed(_)));
        self.check().await;
    }

    async fn compact(&mut self, mask: u64, meanwhile: &[Step]) {
        let table = self.table().await;
        let plan = table.scan().plan().await.unwrap();
        let mut partitions: BTreeMap<String, Vec<ScanTask>> = BTreeMap::new();
        for (i, task) in plan.tasks.iter().enumerate() {
            if mask & (1 << (i % 64)) != 0 {
                let partition = format!("{:?}", task.file.partition());
                partitions.entry(partition).or_default().push(task.clone());
            }
        }
        let properties = WriteProperties {
            // So small that rows of one group go into several files.
            target_file_size: 600,
            ..WriteProperties::default()
        };
        let mut copies = Vec::new();
        for tasks in partitions.values() {
            let copied = copy_rows(&plan, tasks, &properties, 1 << 20).await.unwrap();
            copies.push(copied);
        }
        let mut undone = false;
        for step in meanwhile {
            undone |= matches!(step, Step::RollBack(_) | Step::Compact(..));
            Box::pin(self.step(step)).await;
        }
        if copies.is_empty() {
            return;
        }
        let rows = self.modelled().await;
        let inputs: BTreeSet<String> = copies
            .iter()
            .flat_map(|copy| &copy.inputs)
            .map(|input| input.file.file_path().to_string())
            .collect();
        let before = files_of(&self.table().await).await;
        let rewrite = RewriteFiles::new(&plan, copies).unwrap();
        let outputs: Vec<WrittenFile> = rewrite.outputs().cloned().collect();
        match self.commit(rewrite).await {
            Ok(_) => {
                self.compacted.0 += 1;
                self.remember(rows).await;
                let after = files_of(&self.table().await).await;
                assert!(after.0.is_disjoint(&inputs), "an input is still there");
                assert!(
                    after.1.len() <= before.1.len() + outputs.len(),
                    "delete files pile up"
                );
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                assert!(undone, "gave way without need: {error}");
                self.compacted.1 += 1;
                discard(&table, &outputs).await;
                self.check().await;
            }
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Append(keys) => self.append(keys).await,
            Step::DeleteRows(mask) => self.delete_rows(*mask).await,
            Step::DeleteKeys(keys) => self.delete_keys(keys).await,
            Step::RollBack(by) => self.roll_back(*by).await,
            Step::Compact(mask, meanwhile) => self.compact(*mask, meanwhile).await,
        }
    }

    /// Every snapshot still holds what it held when it was made.
    async fn check_all_snapshots(&self) {
        let table = self.table().await;
        for (id, rows) in &self.model {
            let placed = self.rows(&table, SnapshotSelector::Id(*id)).await;
            let found: BTreeSet<Row> = placed.into_iter().map(|placed| placed.row).collect();
            assert_eq!(found, *rows, "snapshot {id}");
        }
    }
}

/// Paths of live data files, and of delete files that apply to them.
async fn files_of(table: &Table) -> (BTreeSet<String>, BTreeSet<(String, Option<i64>)>) {
    let plan = table.scan().plan().await.unwrap();
    let data = plan.tasks.iter().map(|t| t.file.file_path().to_string());
    let deletes = plan
        .tasks
        .iter()
        .flat_map(|task| task.position_deletes.iter().chain(&task.equality_deletes))
        .map(|delete| delete_key(&delete.file));
    (data.collect(), deletes.collect())
}

/// Adds delete files without looking at them.
struct AddDeletes(Vec<WrittenFile>);

#[async_trait]
impl Operation for AddDeletes {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let mut producer = Producer::new(
            base,
            NextSnapshot::of(base),
            iceberg::spec::Operation::Delete,
        )?;
        producer.add_deletes(self.0.clone())?;
        let notes = CommitNotes::default();
        producer.finish(&notes, Removals::default()).await.map(Some)
    }
}

fn simple_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop::collection::vec(0_i64..12, 1..20).prop_map(Step::Append),
        3 => any::<u64>().prop_map(|mask| Step::DeleteRows(mask & (mask >> 20))),
        2 => prop::collection::vec(0_i64..12, 1..3).prop_map(Step::DeleteKeys),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let meanwhile = prop_oneof![
        8 => simple_step(),
        1 => (1_usize..4).prop_map(Step::RollBack),
        1 => any::<u64>().prop_map(|mask| Step::Compact(mask & 0xFFFF, vec![])),
    ];
    prop_oneof![
        3 => simple_step(),
        1 => (1_usize..3).prop_map(Step::RollBack),
        3 => (any::<u64>(), prop::collection::vec(meanwhile, 0..4))
            .prop_map(|(mask, meanwhile)| Step::Compact(mask, meanwhile)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Invariant 9. Rows after a compaction are the rows before it, with everything that was done
    /// meanwhile, and on version 3 they are the same rows by their ids.
    #[test]
    fn a_compaction_neither_revives_nor_loses_a_row(
        v3 in any::<bool>(),
        partitioned in any::<bool>(),
        steps in prop::collection::vec(step(), 1..9),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let version = if v3 { FormatVersion::V3 } else { FormatVersion::V2 };
            let mut lake = Lake::new(version, partitioned).await;
            lake.append(&[1, 2, 3, 4, 5, 6, 7]).await;
            for step in &steps {
                lake.step(step).await;
            }
            lake.check_all_snapshots().await;
        });
    }
}

async fn each(test: impl AsyncFn(Lake)) {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        for partitioned in [false, true] {
            test(Lake::new(version, partitioned).await).await;
        }
    }
}

const ALL: u64 = u64::MAX;

#[tokio::test]
async fn deletes_that_came_meanwhile_are_carried_over_to_the_new_files() {
    each(async |mut lake| {
        for _ in 0..3 {
            lake.append(&(0..12).collect::<Vec<_>>()).await;
        }
        lake.delete_rows(0b1001).await;
        let meanwhile = [
            Step::DeleteRows(0b1010_1010),
            Step::DeleteKeys(vec![3, 9]),
            Step::DeleteRows(0b100),
        ];
        lake.compact(ALL, &meanwhile).await;
        assert_eq!(lake.compacted, (1, 0));
        // What is left is compacted once more, and then nothing is left to apply.
        lake.compact(ALL, &[]).await;
        let (_, deletes) = files_of(&lake.table().await).await;
        assert!(deletes.is_empty(), "{deletes:?}");
        lake.check_all_snapshots().await;
    })
    .await;
}

#[tokio::test]
async fn rows_that_a_rollback_brings_back_make_a_compaction_give_way() {
    each(async |mut lake| {
        lake.append(&[1, 2, 3, 4, 5, 6]).await;
        lake.delete_rows(0b10).await;
        // The compaction leaves out the row, and then the row is there again.
        lake.compact(ALL, &[Step::RollBack(1)]).await;
        assert_eq!(lake.compacted, (0, 1));
        lake.delete_keys(&[2]).await;
        lake.compact(ALL, &[Step::RollBack(1)]).await;
        assert_eq!(lake.compacted, (0, 2));
    })
    .await;
}

#[tokio::test]
async fn a_file_that_another_compaction_replaced_makes_one_give_way() {
    let mut lake = Lake::new(FormatVersion::V2, false).await;
    lake.append(&[1, 2]).await;
    lake.append(&[3, 4]).await;
    let table = lake.table().await;
    let plan = table.scan().plan().await.unwrap();
    let properties = WriteProperties::default();
    let copied = copy_rows(&plan, &plan.tasks, &properties, 1 << 20)
        .await
        .unwrap();
    lake.compact(ALL, &[]).await;
    let late = RewriteFiles::new(&plan, vec![copied]).unwrap();
    let error = lake.commit(late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("removed"), "{error}");
    lake.check().await;
}

#[tokio::test]
async fn equality_deletes_in_a_partition_that_rows_leave_make_a_compaction_give_way() {
    let mut lake = Lake::new(FormatVersion::V2, true).await;
    lake.append(&[1, 2, 3, 4]).await;
    // From now on the table is partitioned otherwise, so that the new files are in other partitions.
    let spec = UnboundPartitionSpec::builder()
        .add_partition_field(2, "key_trunc", Transform::Truncate(100))
        .unwrap();
    let change = TableChange {
        ident: ident(),
        requirements: vec![],
        updates: vec![
            TableUpdate::AddSpec { spec: spec.build() },
            TableUpdate::SetDefaultSpec { spec_id: -1 },
        ],
    };
    let table = lake.table().await;
    let outcome = lake.committer.commit(vec![change]).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed(_)));
    let respecced = lake.table().await;
    let plan = respecced.scan().plan().await.unwrap();
    let properties = WriteProperties::default();
    let copied = copy_rows(&plan, &plan.tasks, &properties, 1 << 20)
        .await
        .unwrap();
    // Deletes by position are carried over all the same.
    lake.delete_rows(0b1).await;
    let first = RewriteFiles::new(&plan, vec![copied.clone()]).unwrap();
    assert!(first.plan(&lake.table().await).await.unwrap().is_some());
    // A delete by key in a partition of the old spec does not reach the new files.
    let partition = Struct::from_iter([Some(Literal::int(0))]);
    let mut delete = lake.equality_delete(&table, &[1, 2, 3, 4], partition).await;
    delete.spec_id = 0;
    lake.commit(AddDeletes(vec![delete])).await.unwrap();
    let second = RewriteFiles::new(&plan, vec![copied]).unwrap();
    let error = lake.commit(second).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("by key"), "{error}");
}

#[tokio::test]
async fn an_upgrade_while_files_are_rewritten_makes_a_compaction_give_way() {
    let mut lake = Lake::new(FormatVersion::V2, false).await;
    lake.append(&[1, 2]).await;
    let plan = lake.table().await.scan().plan().await.unwrap();
    let properties = WriteProperties::default();
    let copied = copy_rows(&plan, &plan.tasks, &properties, 1 << 20)
        .await
        .unwrap();
    let change = TableChange {
        ident: ident(),
        requirements: vec![],
        updates: vec![TableUpdate::UpgradeFormatVersion {
            format_version: FormatVersion::V3,
        }],
    };
    lake.committer.commit(vec![change]).await.unwrap();
    let rewrite = RewriteFiles::new(&plan, vec![copied]).unwrap();
    let error = lake.commit(rewrite).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}
