use std::collections::HashMap;
use std::sync::Arc;

use iceberg::TableCreation;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, ManifestContentType, ManifestStatus,
    NestedField, Operation as SnapshotOperation, PrimitiveType, Schema, Struct, Type,
};
use proptest::prelude::*;

use super::*;
use crate::commit::faults::{Fault, FaultyCommitter};
use crate::commit::{Applied, Committer, MemoryCommitter, RetryPolicy, Transaction};
use crate::manifest::{load_entries, load_list, rebuild};
use crate::storage::{Location, Storage};
use crate::{Environment, Identity, ManualClock, SeededIds, TableIdent};

mod interleaved;
mod isolated;
mod lake;
mod lines;
mod merging;
mod partitions;
mod sequences;
mod whole_files;

fn ident() -> TableIdent {
    TableIdent::from_strs(["db", "t"]).unwrap()
}

fn environment() -> Environment {
    Environment::new(
        Arc::new(ManualClock::stepping(1_700_000_000_000_000, 1_000_000)),
        Arc::new(SeededIds::new(1)),
        Identity {
            application: "test".into(),
            principal: "tester".into(),
        },
    )
}

async fn table(version: FormatVersion) -> Arc<MemoryCommitter> {
    table_in(version, environment()).await
}

async fn table_in(version: FormatVersion, environment: Environment) -> Arc<MemoryCommitter> {
    let committer = MemoryCommitter::new(Storage::default(), environment);
    let schema = Schema::builder()
        .with_fields(vec![
            NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).into(),
        ])
        .build()
        .unwrap();
    committer
        .create(
            ident(),
            TableCreation::builder()
                .name("t".into())
                .location("memory:///wh/db/t".into())
                .schema(schema)
                .format_version(version)
                .build(),
        )
        .await
        .unwrap();
    Arc::new(committer)
}

fn file(name: &str, rows: u64) -> WrittenFile {
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::Data)
        .file_path(format!("memory:///wh/db/t/data/{name}"))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(rows)
        .file_size_in_bytes(100 * rows);
    WrittenFile {
        file: builder.build().unwrap(),
        spec_id: 0,
    }
}

fn deletes_of(name: &str, data: &WrittenFile, vector: bool) -> WrittenFile {
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::PositionDeletes)
        .file_path(format!("memory:///wh/db/t/data/{name}"))
        .file_format(if vector {
            DataFileFormat::Puffin
        } else {
            DataFileFormat::Parquet
        })
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(1)
        .file_size_in_bytes(10)
        .referenced_data_file(Some(data.file.file_path().to_string()));
    if vector {
        builder
            .content_offset(Some(4))
            .content_size_in_bytes(Some(6));
    }
    WrittenFile {
        file: builder.build().unwrap(),
        spec_id: 0,
    }
}

async fn apply(committer: &dyn Committer, operation: impl Operation) -> Result<Applied> {
    let policy = RetryPolicy {
        min_wait: std::time::Duration::from_millis(1),
        max_wait: std::time::Duration::from_millis(2),
        ..RetryPolicy::default()
    };
    Ok(Transaction::new(committer)
        .retry(policy)
        .step(ident(), operation)
        .commit()
        .await?
        .remove(0))
}

fn append(files: &[&WrittenFile]) -> Append {
    Append {
        files: files.iter().map(|f| (*f).clone()).collect(),
        notes: CommitNotes::default(),
    }
}

/// Live files of the head: `(name, content, sequence number, first row id)`.
async fn live(table: &Table) -> Vec<(String, DataContentType, i64, Option<i64>)> {
    let Some(snapshot) = table.current_snapshot() else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for manifest in load_list(table.storage(), table.metadata(), snapshot)
        .await
        .unwrap()
    {
        for entry in load_entries(&table.storage().file_io(), &manifest)
            .await
            .unwrap()
        {
            if entry.is_alive() {
                let name = Location::parse(entry.file_path())
                    .unwrap()
                    .name()
                    .to_string();
                files.push((
                    name,
                    entry.content_type(),
                    entry.sequence_number().unwrap(),
                    entry.data_file().first_row_id(),
                ));
            }
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

fn summary(table: &Table) -> HashMap<String, String> {
    table
        .current_snapshot()
        .unwrap()
        .summary()
        .additional_properties
        .clone()
}

#[tokio::test]
async fn appends_add_up_and_totals_are_exact() {
    let committer = table(FormatVersion::V2).await;
    apply(&*committer, append(&[&file("a", 3), &file("b", 4)]))
        .await
        .unwrap();
    let applied = apply(&*committer, append(&[&file("c", 5)])).await.unwrap();
    let head = applied.table();
    let names: Vec<_> = live(head).await.into_iter().map(|f| (f.0, f.2)).collect();
    assert_eq!(names, [("a".into(), 1), ("b".into(), 1), ("c".into(), 2)]);
    let summary = summary(head);
    for (key, value) in [
        ("added-data-files", "1"),
        ("added-records", "5"),
        ("added-files-size", "500"),
        ("total-data-files", "3"),
        ("total-records", "12"),
        ("total-files-size", "1200"),
        ("total-delete-files", "0"),
        ("total-position-deletes", "0"),
        ("engine-name", "berglake"),
        ("berglake.principal", "tester"),
    ] {
        assert_eq!(summary.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!(head.ancestors(applied.snapshot_id()).count(), 2);
}

#[tokio::test]
async fn an_append_without_files_is_a_snapshot_that_carries_its_notes() {
    let committer = table(FormatVersion::V2).await;
    let notes = CommitNotes {
        summary: [("berglake.progress".to_string(), "7".to_string())].into(),
        properties: [("p".to_string(), "q".to_string())].into(),
        branch: None,
    };
    let applied = apply(
        &*committer,
        Append {
            files: vec![],
            notes: notes.clone(),
        },
    )
    .await
    .unwrap();
    assert_eq!(
        summary(applied.table()).get("berglake.progress").unwrap(),
        "7"
    );
    assert_eq!(
        applied.table().metadata().properties().get("p").unwrap(),
        "q"
    );
    assert!(live(applied.table()).await.is_empty());
}

#[tokio::test]
async fn overwriting_everything_leaves_the_new_files_and_marks_the_old_deleted() {
    let committer = table(FormatVersion::V2).await;
    let a = file("a", 3);
    apply(&*committer, append(&[&a])).await.unwrap();
    let head = committer.load(&ident()).await.unwrap();
    let delta = RowDelta {
        base: head.metadata().current_snapshot_id(),
        delete_files: vec![deletes_of("a-deletes", &a, false)],
        ..RowDelta::default()
    };
    apply(&*committer, delta).await.unwrap();
    let overwrite = Overwrite {
        filter: Predicate::AlwaysTrue,
        files: vec![file("new", 2)],
        notes: CommitNotes::default(),
    };
    let applied = apply(&*committer, overwrite).await.unwrap();
    let head = applied.table();
    assert_eq!(live(head).await.len(), 1);
    let summary = summary(head);
    for (key, value) in [
        ("deleted-data-files", "1"),
        ("removed-position-delete-files", "1"),
        ("deleted-records", "3"),
        ("total-records", "2"),
        ("total-delete-files", "0"),
    ] {
        assert_eq!(summary.get(key).map(String::as_str), Some(value), "{key}");
    }
    let snapshot = head.current_snapshot().unwrap();
    assert_eq!(snapshot.summary().operation, SnapshotOperation::Overwrite);
    let mut deleted = Vec::new();
    for manifest in load_list(head.storage(), head.metadata(), snapshot)
        .await
        .unwrap()
    {
        for entry in load_entries(&head.storage().file_io(), &manifest)
            .await
            .unwrap()
        {
            if entry.status() == ManifestStatus::Deleted {
                assert_eq!(entry.snapshot_id(), applied.snapshot_id());
                deleted.push((
                    entry.content_type(),
                    entry.sequence_number(),
                    entry.file_sequence_number,
                ));
            }
        }
    }
    deleted.sort_by_key(|d| d.1);
    assert_eq!(
        deleted,
        [
            (DataContentType::Data, Some(1), Some(1)),
            (DataContentType::PositionDeletes, Some(2), Some(2))
        ]
    );
}

#[tokio::test]
async fn a_row_delta_looked_up_at_another_head_is_a_conflict() {
    let committer = table(FormatVersion::V2).await;
    let a = file("a", 3);
    apply(&*committer, append(&[&a])).await.unwrap();
    let looked_up_at = committer
        .load(&ident())
        .await
        .unwrap()
        .metadata()
        .current_snapshot_id();
    apply(&*committer, append(&[&file("b", 1)])).await.unwrap();
    let delta = RowDelta {
        base: looked_up_at,
        delete_files: vec![deletes_of("d", &a, false)],
        ..RowDelta::default()
    };
    let error = apply(&*committer, delta).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let head = committer.load(&ident()).await.unwrap();
    assert_eq!(live(&head).await.len(), 2);
}

#[tokio::test]
async fn deletes_must_have_the_form_of_the_format_version() {
    for (version, vector) in [(FormatVersion::V2, true), (FormatVersion::V3, false)] {
        let committer = table(version).await;
        let a = file("a", 3);
        apply(&*committer, append(&[&a])).await.unwrap();
        let delta = RowDelta {
            base: committer
                .load(&ident())
                .await
                .unwrap()
                .metadata()
                .current_snapshot_id(),
            delete_files: vec![deletes_of("d", &a, vector)],
            ..RowDelta::default()
        };
        let error = apply(&*committer, delta).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{version}");
    }
}

#[tokio::test]
async fn on_v3_a_new_vector_replaces_the_old_one_and_row_ids_stay() {
    let committer = table(FormatVersion::V3).await;
    let (a, b) = (file("a", 3), file("b", 4));
    apply(&*committer, append(&[&a, &b])).await.unwrap();
    for name in ["v1", "v2"] {
        let delta = RowDelta {
            base: committer
                .load(&ident())
                .await
                .unwrap()
                .metadata()
                .current_snapshot_id(),
            data_files: vec![file(&format!("new-{name}"), 1)],
            delete_files: vec![deletes_of(name, &a, true)],
            ..RowDelta::default()
        };
        apply(&*committer, delta).await.unwrap();
    }
    let head = committer.load(&ident()).await.unwrap();
    let files = live(&head).await;
    let vectors: Vec<_> = files
        .iter()
        .filter(|f| f.1 != DataContentType::Data)
        .collect();
    assert_eq!(vectors.len(), 1);
    assert_eq!((vectors[0].0.as_str(), vectors[0].2), ("v2", 3));
    let ids: Vec<_> = files
        .iter()
        .filter(|f| f.1 == DataContentType::Data)
        .map(|f| (f.0.as_str(), f.3))
        .collect();
    assert_eq!(
        ids,
        [
            ("a", Some(0)),
            ("b", Some(3)),
            ("new-v1", Some(7)),
            ("new-v2", Some(8))
        ]
    );
    assert_eq!(summary(&head).get("removed-dvs").unwrap(), "1");
}

#[tokio::test]
async fn row_ids_survive_when_a_manifest_is_rewritten() {
    let committer = table(FormatVersion::V3).await;
    apply(
        &*committer,
        append(&[&file("a", 3), &file("b", 4), &file("c", 2)]),
    )
    .await
    .unwrap();
    let head = committer.load(&ident()).await.unwrap();
    // Removing "a" rewrites the manifest; "b" and "c" become EXISTING entries.
    let mut removals = Removals::default();
    removals.data_file(&file("a", 3).file, 0);
    let next = NextSnapshot::of(&head);
    let producer = Producer::new(&head, next, SnapshotOperation::Delete).unwrap();
    let planned = producer
        .finish(&CommitNotes::default(), removals)
        .await
        .unwrap();
    committer.commit(vec![planned.change]).await.unwrap();
    let head = committer.load(&ident()).await.unwrap();
    let ids: Vec<_> = live(&head)
        .await
        .into_iter()
        .map(|f| (f.0, f.2, f.3))
        .collect();
    assert_eq!(ids, [("b".into(), 1, Some(3)), ("c".into(), 1, Some(7))]);
}

#[tokio::test]
async fn a_rebuilt_file_is_equal_in_every_field() {
    let mut builder = DataFileBuilder::default();
    builder
        .content(DataContentType::EqualityDeletes)
        .file_path("memory:///x".to_string())
        .file_format(DataFileFormat::Avro)
        .partition(Struct::from_iter([Some(iceberg::spec::Literal::int(3))]))
        .partition_spec_id(4)
        .record_count(5)
        .file_size_in_bytes(6)
        .column_sizes(HashMap::from([(1, 7)]))
        .value_counts(HashMap::from([(1, 8)]))
        .null_value_counts(HashMap::from([(1, 9)]))
        .nan_value_counts(HashMap::from([(1, 10)]))
        .lower_bounds(HashMap::from([(1, iceberg::spec::Datum::long(1))]))
        .upper_bounds(HashMap::from([(1, iceberg::spec::Datum::long(2))]))
        .key_metadata(Some(vec![1, 2]))
        .split_offsets(Some(vec![4]))
        .equality_ids(Some(vec![1]))
        .sort_order_id(1)
        .first_row_id(Some(11))
        .referenced_data_file(Some("memory:///y".to_string()))
        .content_offset(Some(12))
        .content_size_in_bytes(Some(13));
    let file = builder.build().unwrap();
    assert_eq!(rebuild(&file, 4, |_| {}).unwrap(), file);
}

#[tokio::test]
async fn sixteen_writers_all_get_in_exactly_once() {
    let committer = table(FormatVersion::V2).await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let committer = committer.clone();
        tasks.spawn(async move {
            apply(&*committer, append(&[&file(&format!("w{writer:02}"), 1)]))
                .await
                .unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let head = committer.load(&ident()).await.unwrap();
    let names: Vec<_> = live(&head).await.into_iter().map(|f| f.0).collect();
    assert_eq!(
        names,
        (0..16).map(|w| format!("w{w:02}")).collect::<Vec<_>>()
    );
    assert_eq!(summary(&head).get("total-records").unwrap(), "16");
    assert_eq!(head.metadata().snapshots().len(), 16);
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    proptest::collection::vec(
        prop_oneof![
            Just(Fault::None),
            Just(Fault::Conflict),
            Just(Fault::LostAnswer),
            Just(Fault::LostRequest),
            Just(Fault::Late)
        ],
        0..12,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is lost, late or refused: every acknowledged append is in the table exactly once.
    #[test]
    fn no_append_is_lost_or_doubled_under_faults(faults in faults(), appends in 1usize..5) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let inner = table(FormatVersion::V2).await;
            let faulty = FaultyCommitter::new(inner.clone(), faults);
            for n in 0..appends {
                apply(&faulty, append(&[&file(&format!("f{n}"), 1)])).await.unwrap();
            }
            let head = inner.load(&ident()).await.unwrap();
            let names: Vec<_> = live(&head).await.into_iter().map(|f| f.0).collect();
            prop_assert_eq!(names, (0..appends).map(|n| format!("f{n}")).collect::<Vec<_>>());
            prop_assert_eq!(summary(&head).get("total-records").cloned(), Some(appends.to_string()));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_failure_after_a_certain_answer_is_passed_on() {
    /// Plans an append once, and fails from then on.
    struct OnceThenAway(Append, std::sync::atomic::AtomicBool);

    #[async_trait]
    impl Operation for OnceThenAway {
        async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
            if self.1.swap(true, std::sync::atomic::Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Unavailable, "the store is away"));
            }
            self.0.plan(base).await
        }
    }

    let inner = table(FormatVersion::V2).await;
    let faulty = FaultyCommitter::new(inner, [Fault::Conflict]);
    let flaky = OnceThenAway(append(&[&file("a", 1)]), false.into());
    let error = apply(&faulty, flaky).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_failed_attempt_leaves_no_files_behind() {
    use futures::TryStreamExt;
    let inner = table(FormatVersion::V2).await;
    let faulty = FaultyCommitter::new(inner.clone(), [Fault::Conflict, Fault::Conflict]);
    apply(&faulty, append(&[&file("a", 1)])).await.unwrap();
    let head = inner.load(&ident()).await.unwrap();
    let folder = head.metadata_folder().unwrap();
    let avro: Vec<_> = head
        .storage()
        .list(&folder)
        .unwrap()
        .try_filter(|f| futures::future::ready(f.location.name().ends_with(".avro")))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        avro.len(),
        2,
        "one manifest list and one manifest: {avro:?}"
    );
    let list = load_list(
        head.storage(),
        head.metadata(),
        head.current_snapshot().unwrap(),
    )
    .await
    .unwrap();
    assert_eq!(
        list.iter()
            .filter(|m| m.content == ManifestContentType::Data)
            .count(),
        1
    );
}
