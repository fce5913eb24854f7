//! Sixteen writers of one table, with a committer that loses answers, applies late and invents conflicts.
//!
//! Accounts hold money that is transferred between them, so whatever is half applied, doubled or lost
//! changes the sum; beside them rows are appended in threes, files compacted and snapshots expired.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use berglake_format::commit::faults::{Fault, FaultyCommitter};
use berglake_format::commit::{
    Committer, MemoryCommitter, Operation, PlannedChange, RetryPolicy, Transaction,
};
use berglake_format::deletes::DeleteLoader;
use berglake_format::plan::{ScanPlan, SnapshotSelector};
use berglake_format::properties::{HistoryProperties, WriteProperties};
use berglake_format::read::{self, ReadOptions};
use berglake_format::rewrite::copy_rows;
use berglake_format::schema::to_arrow;
use berglake_format::snapshot::{
    Append, CommitNotes, ExpireSnapshots, Isolated, IsolationLevel, NextSnapshot, RewriteFiles,
    RowDelta,
};
use berglake_format::storage::Storage;
use berglake_format::write::{DataWriter, DeletedRows, discard, write_deletes};
use berglake_format::{
    Environment, ErrorKind, Identity, RandomIds, Result, SystemClock, Table, TableIdent,
};
use futures::TryStreamExt;
use iceberg::TableCreation;
use iceberg::expr::Predicate;
use iceberg::spec::{FormatVersion, NestedField, PrimitiveType, Schema, Type};
use roaring::RoaringTreemap;

use crate::model::Dice;

const WRITERS: usize = 16;
const ACTIONS: usize = 5;
const ACCOUNTS: i64 = 8;
const BALANCE: i64 = 1_000;
/// Keys from here on are appended rows.
const APPENDED: i64 = 1_000_000;

fn ident() -> TableIdent {
    TableIdent::from_strs(["bank", "accounts"]).unwrap()
}

async fn bank(version: FormatVersion) -> Arc<MemoryCommitter> {
    let environment = Environment::new(
        Arc::new(SystemClock),
        Arc::new(RandomIds),
        Identity {
            application: "bank".into(),
            principal: "test".into(),
        },
    );
    let committer = MemoryCommitter::new(Storage::default(), environment);
    let long = || Type::Primitive(PrimitiveType::Long);
    let fields = vec![
        NestedField::required(1, "account", long()).into(),
        NestedField::required(2, "balance", long()).into(),
    ];
    let creation = TableCreation::builder()
        .name("accounts".into())
        .location("memory:///wh/bank".into())
        .schema(Schema::builder().with_fields(fields).build().unwrap())
        .format_version(version)
        .build();
    let table = committer.create(ident(), creation).await.unwrap();
    let rows: Vec<(i64, i64)> = (0..ACCOUNTS).map(|account| (account, BALANCE)).collect();
    let files = written(&table, &rows).await.unwrap();
    let notes = CommitNotes::default();
    Transaction::new(&committer)
        .step(ident(), Append { files, notes })
        .commit()
        .await
        .unwrap();
    Arc::new(committer)
}

async fn written(
    table: &Table,
    rows: &[(i64, i64)],
) -> Result<Vec<berglake_format::write::WrittenFile>> {
    let column =
        |of: fn(&(i64, i64)) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(of)));
    let columns: Vec<arrow::array::ArrayRef> = vec![column(|row| row.0), column(|row| row.1)];
    let batch = RecordBatch::try_new(to_arrow(table.schema())?, columns).unwrap();
    let mut writer = DataWriter::new(table)?;
    writer.write(&batch).await?;
    writer.finish().await
}

/// A row, and where it is.
#[derive(Debug, Clone)]
struct Row {
    key: i64,
    balance: i64,
    file: String,
    position: u64,
}

async fn rows(plan: &ScanPlan) -> Result<Vec<Row>> {
    let options = ReadOptions {
        positions: true,
        ..ReadOptions::default()
    };
    let batches: Vec<RecordBatch> = read::read(plan, options).try_collect().await?;
    let mut rows = Vec::new();
    for batch in &batches {
        let number = |at: usize| batch.column(at).as_primitive::<Int64Type>();
        let files = batch.column(2).as_string::<i32>();
        rows.extend((0..batch.num_rows()).map(|row| Row {
            key: number(0).value(row),
            balance: number(1).value(row),
            file: files.value(row).to_string(),
            position: u64::try_from(number(3).value(row)).unwrap(),
        }));
    }
    Ok(rows)
}

/// Moves money from one account to another.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    from: i64,
    to: i64,
    amount: i64,
}

impl Transfer {
    /// Looks the two rows up at this head, and replaces them.
    async fn delta(&self, base: &Table) -> Result<RowDelta> {
        let plan = base.scan().plan().await?;
        let rows = rows(&plan).await?;
        let mut new = Vec::new();
        let mut deleted: BTreeMap<String, RoaringTreemap> = BTreeMap::new();
        for (account, change) in [(self.from, -self.amount), (self.to, self.amount)] {
            let of: Vec<&Row> = rows.iter().filter(|row| row.key == account).collect();
            assert_eq!(of.len(), 1, "account {account} is there {} times", of.len());
            new.push((account, of[0].balance + change));
            let positions = deleted.entry(of[0].file.clone()).or_default();
            positions.insert(of[0].position);
        }
        let loader = DeleteLoader::new(base.storage().clone());
        let mut deletes = Vec::new();
        for (file, mut positions) in deleted {
            let task = plan.tasks.iter().find(|task| task.file.file_path() == file);
            let task = task.unwrap();
            if base.metadata().format_version() >= FormatVersion::V3
                && let Some(older) = loader.positions(task).await?
            {
                positions |= older.as_ref();
            }
            deletes.push(DeletedRows {
                data_file: task.file.as_ref().clone(),
                spec_id: task.spec_id,
                positions,
            });
        }
        Ok(RowDelta {
            base: base.metadata().current_snapshot_id(),
            data_files: written(base, &new).await?,
            delete_files: write_deletes(base, &deletes).await?,
            notes: CommitNotes::default(),
        })
    }
}

#[async_trait]
impl Operation for Transfer {
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let delta = self.delta(base).await?;
        delta.plan_as(base, NextSnapshot::of(base)).await.map(Some)
    }
}

/// What became of the actions of all writers.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: AtomicUsize,
    unknown: AtomicUsize,
    refused: AtomicUsize,
}

/// Rows that were appended: acknowledged, and perhaps there.
#[derive(Debug, Default)]
struct Appended {
    surely: Vec<i64>,
    perhaps: Vec<i64>,
}

fn faults(dice: &mut Dice) -> Vec<Fault> {
    let faults = [
        Fault::None,
        Fault::None,
        Fault::None,
        Fault::Conflict,
        Fault::LostAnswer,
        Fault::LostRequest,
        Fault::Late,
    ];
    (0..4 * ACTIONS)
        .map(|_| *dice.pick(&faults).unwrap())
        .collect()
}

async fn writer(
    inner: Arc<MemoryCommitter>,
    number: usize,
    seed: u64,
    tally: Arc<Tally>,
) -> Appended {
    let mut dice = Dice::new(seed * 1_000 + number as u64);
    let committer = FaultyCommitter::new(inner, faults(&mut dice));
    let policy = RetryPolicy {
        retries: 200,
        min_wait: Duration::from_millis(1),
        max_wait: Duration::from_millis(20),
        total: Duration::from_secs(120),
        status_check: Duration::from_millis(20),
    };
    let mut appended = Appended::default();
    for action in 0..ACTIONS {
        let table = committer.load(&ident()).await.unwrap();
        let transfer = Transfer {
            from: dice.below(4) as i64,
            to: 4 + dice.below(4) as i64,
            amount: 1 + dice.below(50) as i64,
        };
        let transaction = Transaction::new(&committer).retry(policy);
        let result = match (number + action) % 4 {
            0 | 1 if number.is_multiple_of(2) => transaction.step(ident(), transfer).commit().await,
            0 | 1 => {
                // Prepared once: whatever comes in between is a conflict or is not in the way.
                let operation = transfer.delta(&table).await.unwrap();
                let isolated = Isolated {
                    base: operation.base,
                    operation,
                    level: IsolationLevel::Snapshot,
                    filter: Predicate::AlwaysTrue,
                };
                transaction.step(ident(), isolated).commit().await
            }
            2 => {
                let first = APPENDED + 100 * (number * ACTIONS + action) as i64;
                let keys = [first, first + 1, first + 2];
                let files = written(&table, &keys.map(|key| (key, 0))).await.unwrap();
                let notes = CommitNotes::default();
                let result = transaction
                    .step(ident(), Append { files, notes })
                    .commit()
                    .await;
                match &result {
                    Ok(_) => appended.surely.push(first),
                    Err(error) if error.kind() == ErrorKind::UnknownOutcome => {
                        appended.perhaps.push(first);
                    }
                    Err(_) => {}
                }
                result
            }
            _ if number.is_multiple_of(2) => {
                let operation = ExpireSnapshots {
                    defaults: HistoryProperties {
                        min_snapshots_to_keep: Some(10),
                        max_snapshot_age_ms: Some(1),
                        max_ref_age_ms: None,
                    },
                    ..ExpireSnapshots::default()
                };
                transaction.step(ident(), operation).commit().await
            }
            _ => {
                let plan = table.scan().plan().await.unwrap();
                let tasks: Vec<_> = plan.tasks.iter().take(5).cloned().collect();
                let properties = WriteProperties::of(table.metadata()).unwrap();
                let copied = copy_rows(&plan, &tasks, &properties, 1 << 26)
                    .await
                    .unwrap();
                let operation = RewriteFiles::new(&plan, vec![copied]).unwrap();
                let outputs: Vec<_> = operation.outputs().cloned().collect();
                let result = transaction.step(ident(), operation).commit().await;
                if result
                    .as_ref()
                    .is_err_and(|e| e.kind() == ErrorKind::Conflict)
                {
                    discard(&table, &outputs).await;
                }
                result
            }
        };
        let counter = match result {
            Ok(_) => &tally.acknowledged,
            Err(error) if error.kind() == ErrorKind::UnknownOutcome => &tally.unknown,
            Err(error) if error.kind() == ErrorKind::Conflict => &tally.refused,
            Err(error) => panic!("writer {number}: {error:?}"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    appended
}

/// Every snapshot that is left has all the money, and each appended three whole or not at all.
async fn audit(table: &Table) -> BTreeMap<i64, i64> {
    let mut last = BTreeMap::new();
    let head = table.metadata().current_snapshot_id();
    let mut history: Vec<i64> = table.ancestors(head).map(|s| s.snapshot_id()).collect();
    history.reverse();
    for id in history {
        let plan = table
            .scan()
            .snapshot(SnapshotSelector::Id(id))
            .plan()
            .await
            .unwrap();
        let mut found = BTreeMap::new();
        for row in rows(&plan).await.unwrap() {
            let twice = found.insert(row.key, row.balance);
            assert_eq!(twice, None, "{} is there twice at {id}", row.key);
        }
        let accounts = found.range(..APPENDED);
        assert_eq!(accounts.clone().count(), ACCOUNTS as usize, "at {id}");
        let sum: i64 = accounts.map(|(_, balance)| balance).sum();
        assert_eq!(sum, ACCOUNTS * BALANCE, "money was lost or made at {id}");
        for (key, _) in found.range(APPENDED..) {
            let first = key - key % 100;
            for of in [first, first + 1, first + 2] {
                assert!(found.contains_key(&of), "{of} is missing at {id}");
            }
        }
        // Appended rows are never deleted.
        for (key, _) in last.range(APPENDED..) {
            assert!(found.contains_key(key), "{key} is gone at {id}");
        }
        last = found;
    }
    last
}

async fn sixteen_writers(version: FormatVersion, seed: u64) {
    let bank = bank(version).await;
    let tally = Arc::new(Tally::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| tokio::spawn(writer(bank.clone(), number, seed, tally.clone())))
        .collect();
    let mut appended = Appended::default();
    for writer in writers {
        let own = writer.await.unwrap();
        appended.surely.extend(own.surely);
        appended.perhaps.extend(own.perhaps);
    }
    let table = bank.load(&ident()).await.unwrap();
    let found = audit(&table).await;
    for first in &appended.surely {
        assert!(found.contains_key(first), "{first} was acknowledged");
    }
    for (key, _) in found.range(APPENDED..) {
        let first = key - key % 100;
        let known = appended.surely.contains(&first) || appended.perhaps.contains(&first);
        assert!(known, "{first} was refused and is there");
    }
    println!(
        "{version}: {tally:?}, {} snapshots left",
        table.metadata().snapshots().count()
    );
    let made = tally.acknowledged.load(Ordering::Relaxed);
    assert!(made > WRITERS * ACTIONS / 2, "most were refused: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_lose_no_money_with_position_deletes() {
    sixteen_writers(FormatVersion::V2, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_writers_lose_no_money_with_deletion_vectors() {
    sixteen_writers(FormatVersion::V3, 2).await;
}
