use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use berglake_format::commit::faults::{Fault, FaultyCommitter};
use berglake_format::commit::{
    Applied, CommitOutcome, Committer, MemoryCommitter, RetryPolicy, TableChange, Transaction,
};
use berglake_format::plan::SnapshotSelector;
use berglake_format::read::{ReadOptions, read};
use berglake_format::storage::Storage;
use berglake_format::write::{DataWriter, WrittenFile};
use berglake_format::{
    Environment, ErrorKind, Identity, ManualClock, Result, SeededIds, Table, TableIdent,
};
use berglake_ingest::progress::{Delta, FileMark, FlowId, Position, Progress, Step, Version};
use berglake_ingest::sink::{AppendRows, Upsert, UpsertReport};
use futures::TryStreamExt;
use iceberg::TableCreation;
use iceberg::spec::{
    FormatVersion, NestedField, PrimitiveType, Schema, Transform, Type, UnboundPartitionSpec,
};
use proptest::prelude::*;

/// Title, genre, updated_at, rating; the key is (title, day), the partition is the genre.
type Film = (Option<String>, Option<i64>, String, Option<i64>, i64);

fn film(
    title: Option<&str>,
    day: Option<i64>,
    genre: &str,
    updated: Option<i64>,
    rating: i64,
) -> Film {
    (
        title.map(str::to_owned),
        day,
        genre.to_owned(),
        updated,
        rating,
    )
}

fn batch(films: &[Film]) -> RecordBatch {
    let titles: StringArray = films.iter().map(|film| film.0.as_deref()).collect();
    let days: Int64Array = films.iter().map(|film| film.1).collect();
    let genres: StringArray = films.iter().map(|film| Some(film.2.as_str())).collect();
    let updated: Int64Array = films.iter().map(|film| film.3).collect();
    let ratings: Int64Array = films.iter().map(|film| Some(film.4)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("title", Arc::new(titles) as ArrayRef, true),
        ("day", Arc::new(days), true),
        ("genre", Arc::new(genres), true),
        ("updated", Arc::new(updated), true),
        ("rating", Arc::new(ratings), true),
    ])
    .unwrap()
}

fn ident() -> TableIdent {
    TableIdent::from_strs(["db", "films"]).unwrap()
}

async fn create(version: FormatVersion) -> Arc<MemoryCommitter> {
    let environment = Environment::new(
        Arc::new(ManualClock::stepping(1_700_000_000_000_000, 1_000_000)),
        Arc::new(SeededIds::new(7)),
        Identity {
            application: "test".into(),
            principal: "tester".into(),
        },
    );
    let committer = MemoryCommitter::new(Storage::default(), environment);
    let optional = |id, name: &str, primitive| {
        NestedField::optional(id, name, Type::Primitive(primitive)).into()
    };
    let schema = Schema::builder()
        .with_fields(vec![
            optional(1, "title", PrimitiveType::String),
            optional(2, "day", PrimitiveType::Long),
            optional(3, "genre", PrimitiveType::String),
            optional(4, "updated", PrimitiveType::Long),
            optional(5, "rating", PrimitiveType::Long),
        ])
        .build()
        .unwrap();
    let spec = UnboundPartitionSpec::builder()
        .add_partition_field(3, "genre", Transform::Identity)
        .unwrap()
        .build();
    let creation = TableCreation::builder()
        .name("films".into())
        .location("memory:///wh/db/films".into())
        .schema(schema)
        .partition_spec(spec)
        .format_version(version)
        .build();
    committer.create(ident(), creation).await.unwrap();
    Arc::new(committer)
}

fn quick() -> RetryPolicy {
    let short = std::time::Duration::from_millis(1);
    RetryPolicy {
        min_wait: short,
        max_wait: short,
        ..RetryPolicy::default()
    }
}

async fn upsert_into(committer: &dyn Committer, upsert: &Upsert) -> Result<Applied> {
    let applied = Transaction::new(committer)
        .retry(quick())
        .step(ident(), upsert)
        .commit()
        .await?;
    Ok(applied.into_iter().next().unwrap())
}

fn upsert(batches: &[RecordBatch]) -> Upsert {
    Upsert::new(batches.to_vec(), ["title", "day"], "updated").unwrap()
}

async fn apply(committer: &dyn Committer, films: &[Film]) -> UpsertReport {
    let upsert = upsert(&[batch(films)]);
    upsert_into(committer, &upsert).await.unwrap();
    upsert.report()
}

async fn write(table: &Table, films: &[Film]) -> Vec<WrittenFile> {
    let mut writer = DataWriter::new(table).unwrap();
    writer.write(&batch(films)).await.unwrap();
    writer.finish().await.unwrap()
}

async fn append(committer: &dyn Committer, operation: AppendRows) -> Result<Applied> {
    let applied = Transaction::new(committer)
        .retry(quick())
        .step(ident(), operation)
        .commit()
        .await?;
    Ok(applied.into_iter().next().unwrap())
}

/// All rows of the head, sorted.
async fn rows(committer: &dyn Committer) -> Vec<Film> {
    let table = committer.load(&ident()).await.unwrap();
    let plan = table.scan().plan().await.unwrap();
    let batches: Vec<RecordBatch> = read(&plan, ReadOptions::default())
        .try_collect()
        .await
        .unwrap();
    let mut films = Vec::new();
    for batch in batches {
        let text = |name: &str, row: usize| {
            let column = batch[name].as_string::<i32>();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let number = |name: &str, row: usize| {
            let column = batch[name].as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        for row in 0..batch.num_rows() {
            films.push((
                text("title", row),
                number("day", row),
                text("genre", row).unwrap(),
                number("updated", row),
                number("rating", row).unwrap(),
            ));
        }
    }
    films.sort();
    films
}

async fn snapshots(committer: &dyn Committer) -> usize {
    committer
        .load(&ident())
        .await
        .unwrap()
        .metadata()
        .snapshots()
        .len()
}

const VERSIONS: [FormatVersion; 2] = [FormatVersion::V2, FormatVersion::V3];

#[tokio::test]
async fn rows_are_replaced_by_key_moved_between_partitions_and_late_ones_dropped() {
    for version in VERSIONS {
        let committer = create(version).await;
        let first = [
            film(Some("a"), Some(1), "drama", Some(1), 10),
            film(Some("b"), Some(1), "drama", Some(1), 20),
            film(Some("b"), Some(2), "comedy", Some(1), 30),
            film(None, None, "comedy", Some(1), 40),
        ];
        let report = apply(&*committer, &first).await;
        assert_eq!(
            report,
            UpsertReport {
                inserted: 4,
                ..UpsertReport::default()
            }
        );
        let second = [
            film(Some("a"), Some(1), "comedy", Some(2), 11),
            film(Some("b"), Some(1), "drama", Some(0), 21),
            film(Some("b"), Some(2), "comedy", Some(1), 31),
            film(None, None, "comedy", Some(2), 41),
            film(Some("c"), Some(1), "war", Some(1), 50),
            film(Some("c"), Some(1), "drama", Some(2), 51),
        ];
        let report = apply(&*committer, &second).await;
        let expected = UpsertReport {
            inserted: 1,
            updated: 3,
            superseded: 1,
            late: 1,
            deleted: 3,
        };
        assert_eq!(report, expected);
        assert_eq!(snapshots(&*committer).await, 2, "one commit for each batch");
        let expected = vec![
            film(None, None, "comedy", Some(2), 41),
            film(Some("a"), Some(1), "comedy", Some(2), 11),
            film(Some("b"), Some(1), "drama", Some(1), 20),
            film(Some("b"), Some(2), "comedy", Some(1), 31),
            film(Some("c"), Some(1), "drama", Some(2), 51),
        ];
        assert_eq!(rows(&*committer).await, expected, "{version:?}");
    }
}

#[tokio::test]
async fn a_batch_of_late_rows_changes_nothing() {
    let committer = create(FormatVersion::V2).await;
    apply(&*committer, &[film(Some("a"), None, "drama", Some(5), 1)]).await;
    let late = upsert(&[batch(&[film(Some("a"), None, "drama", Some(4), 2)])]);
    let applied = upsert_into(&*committer, &late).await.unwrap();
    assert!(matches!(applied, Applied::Unchanged(_)));
    assert_eq!(late.report().late, 1);
    assert_eq!(rows(&*committer).await.len(), 1);
}

#[tokio::test]
async fn all_rows_of_a_key_that_foreign_appends_doubled_are_replaced() {
    for version in VERSIONS {
        let committer = create(version).await;
        for updated in [1, 3] {
            let table = committer.load(&ident()).await.unwrap();
            let films = [film(Some("a"), Some(1), "drama", Some(updated), updated)];
            let files = write(&table, &films).await;
            append(&*committer, AppendRows::new(files)).await.unwrap();
        }
        // Newer than one of the two, older than the other: both stay.
        let report = apply(
            &*committer,
            &[film(Some("a"), Some(1), "drama", Some(2), 9)],
        )
        .await;
        assert_eq!((report.late, report.deleted), (1, 0));
        assert_eq!(rows(&*committer).await.len(), 2);
        let report = apply(&*committer, &[film(Some("a"), Some(1), "war", Some(3), 9)]).await;
        assert_eq!((report.updated, report.deleted), (1, 2));
        assert_eq!(
            rows(&*committer).await,
            [film(Some("a"), Some(1), "war", Some(3), 9)]
        );
    }
}

/// Lets another upsert commit first, once, just before a commit goes through.
#[derive(Debug)]
struct Overtaken {
    inner: Arc<MemoryCommitter>,
    first: Mutex<Option<Vec<Film>>>,
}

#[async_trait]
impl Committer for Overtaken {
    async fn load(&self, ident: &TableIdent) -> Result<Table> {
        self.inner.load(ident).await
    }

    async fn commit(&self, changes: Vec<TableChange>) -> Result<CommitOutcome> {
        let first = self.first.lock().unwrap().take();
        if let Some(films) = first {
            apply(&*self.inner, &films).await;
        }
        self.inner.commit(changes).await
    }
}

#[tokio::test]
async fn an_upsert_that_lost_a_race_is_planned_again_on_the_new_head() {
    for version in VERSIONS {
        let committer = create(version).await;
        apply(
            &*committer,
            &[film(Some("a"), Some(1), "drama", Some(1), 1)],
        )
        .await;
        let first = vec![
            film(Some("a"), Some(1), "war", Some(2), 2),
            film(Some("b"), Some(1), "war", Some(9), 2),
        ];
        let overtaken = Overtaken {
            inner: committer.clone(),
            first: Mutex::new(Some(first)),
        };
        let films = [
            film(Some("a"), Some(1), "comedy", Some(3), 3),
            film(Some("b"), Some(1), "comedy", Some(3), 3),
        ];
        let report = apply(&overtaken, &films).await;
        assert_eq!((report.inserted, report.updated, report.late), (0, 1, 1));
        let expected = [
            film(Some("a"), Some(1), "comedy", Some(3), 3),
            film(Some("b"), Some(1), "war", Some(9), 2),
        ];
        assert_eq!(rows(&*committer).await, expected);
        assert_eq!(snapshots(&*committer).await, 3);
        assert_no_orphans(&committer).await;
    }
}

/// Every file in the data folder belongs to some snapshot, so a lost attempt left none behind.
async fn assert_no_orphans(committer: &Arc<MemoryCommitter>) {
    let table = committer.load(&ident()).await.unwrap();
    let mut known = BTreeSet::new();
    for snapshot in table.metadata().snapshots() {
        let selector = SnapshotSelector::Id(snapshot.snapshot_id());
        for task in table.scan().snapshot(selector).plan().await.unwrap().tasks {
            known.insert(task.file.file_path().to_owned());
            let deletes = task.position_deletes.iter();
            known.extend(deletes.map(|delete| delete.file.file_path().to_owned()));
        }
    }
    let folder = table.data_location().unwrap();
    let files: Vec<_> = table
        .storage()
        .list(&folder)
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let files: BTreeSet<String> = files.iter().map(|file| file.location.to_string()).collect();
    assert_eq!(files, known);
}

#[tokio::test]
async fn lost_answers_and_late_commits_neither_lose_nor_double_rows() {
    let faults = [
        Fault::Conflict,
        Fault::LostAnswer,
        Fault::LostRequest,
        Fault::Late,
    ];
    for (first, second) in faults
        .iter()
        .flat_map(|a| faults.iter().map(move |b| (*a, *b)))
    {
        let committer = create(FormatVersion::V2).await;
        apply(
            &*committer,
            &[film(Some("a"), Some(1), "drama", Some(1), 1)],
        )
        .await;
        let faulty = FaultyCommitter::new(committer.clone(), [first, second]);
        let films = [
            film(Some("a"), Some(1), "war", Some(2), 2),
            film(Some("b"), Some(1), "war", Some(2), 2),
        ];
        let upsert = upsert(&[batch(&films)]).with_step(step(None, &["one"]));
        upsert_into(&faulty, &upsert).await.unwrap();
        assert_eq!(rows(&*committer).await, films, "{first:?}, {second:?}");
        assert_eq!(snapshots(&*committer).await, 2, "{first:?}, {second:?}");
        assert!(progress(&*committer).await.is_some());
    }
}

fn step(from: Option<Position>, names: &[&str]) -> Step {
    let mark = FileMark {
        size: 1,
        version: Version::ETag("e".into()),
    };
    let files = names
        .iter()
        .map(|name| ((*name).to_owned(), mark.clone()))
        .collect();
    Step {
        flow: FlowId::new("f").unwrap(),
        from,
        delta: Delta::Files(files),
        resume: None,
    }
}

async fn progress(committer: &dyn Committer) -> Option<Position> {
    let flow = FlowId::new("f").unwrap();
    let table = committer.load(&ident()).await.unwrap();
    Progress::of(table.metadata(), &flow)
        .unwrap()
        .resume(&flow, None)
        .unwrap()
}

#[tokio::test]
async fn progress_is_committed_with_the_rows_and_fences_a_second_run() {
    let committer = create(FormatVersion::V2).await;
    let table = committer.load(&ident()).await.unwrap();
    let films = [film(Some("a"), Some(1), "drama", Some(1), 1)];
    let files = write(&table, &films).await;
    let operation = AppendRows::new(files).with_step(step(None, &["one"]));
    append(&*committer, operation.clone()).await.unwrap();
    // The same batch again, as a run that did not know of the commit would do it.
    let error = append(&*committer, operation).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(rows(&*committer).await.len(), 1);

    // A batch without rows moves the flow on.
    let from = progress(&*committer).await;
    let nothing = AppendRows::default().with_step(step(from, &["two"]));
    append(&*committer, nothing).await.unwrap();
    let from = progress(&*committer).await;
    let Some(Position::Files(files)) = &from else {
        panic!("{from:?}")
    };
    assert_eq!(files.keys().collect::<Vec<_>>(), ["one", "two"]);

    // And so does an upsert of which nothing is left.
    let late = upsert(&[batch(&[film(Some("a"), Some(1), "drama", Some(0), 2)])])
        .with_step(step(from, &["three"]));
    upsert_into(&*committer, &late).await.unwrap();
    assert_eq!(snapshots(&*committer).await, 3);
    assert_eq!(
        upsert_into(&*committer, &late).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    assert_eq!(rows(&*committer).await, films);
    let applied = append(&*committer, AppendRows::default()).await.unwrap();
    assert!(matches!(applied, Applied::Unchanged(_)));
}

fn films() -> impl Strategy<Value = Vec<Film>> {
    let film = (
        prop_oneof![Just(None), "[ab]".prop_map(Some)],
        prop_oneof![Just(None), (0_i64..3).prop_map(Some)],
        prop_oneof![Just("drama".to_owned()), Just("war".to_owned())],
        prop_oneof![Just(None), (0_i64..4).prop_map(Some)],
        0_i64..100,
    );
    prop::collection::vec(film, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The model goes through the rows one by one; where batches are cut makes no difference.
    #[test]
    fn the_table_is_what_the_rows_one_by_one_would_make_it(
        batches in prop::collection::vec(films(), 0..5), v3 in any::<bool>()
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let committer =
                create(if v3 { FormatVersion::V3 } else { FormatVersion::V2 }).await;
            let mut model: BTreeMap<(Option<String>, Option<i64>), Film> = BTreeMap::new();
            for films in &batches {
                for film in films {
                    let key = (film.0.clone(), film.1);
                    if model.get(&key).is_none_or(|known| known.3 <= film.3) {
                        model.insert(key, film.clone());
                    }
                }
                let (left, right) = films.split_at(films.len() / 2);
                let upsert = upsert(&[batch(left), batch(right)]);
                upsert_into(&*committer, &upsert).await.unwrap();
                let mut expected: Vec<Film> = model.values().cloned().collect();
                expected.sort();
                prop_assert_eq!(rows(&*committer).await, expected);
            }
            Ok(())
        })?;
    }
}
