use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use iceberg::expr::Reference;
use iceberg::metadata_columns::RESERVED_FIELD_ID_DELETE_FILE_PATH;
use iceberg::spec::{
    Datum, FormatVersion, Literal, NestedField, NestedFieldRef, Operation, PrimitiveType,
    SnapshotReference, SnapshotRetention, Struct, Transform, Type, UnboundPartitionField,
    UnboundPartitionSpec,
};
use roaring::RoaringTreemap;

use super::*;
use crate::ErrorKind;
use crate::fixture::{Added, Fixture};
use crate::manifest::load_entries;
use crate::storage::Location;

mod damage;

fn field(id: i32, name: &str, ty: PrimitiveType) -> NestedFieldRef {
    NestedField::optional(id, name, Type::Primitive(ty)).into()
}

fn fields() -> Vec<NestedFieldRef> {
    vec![
        field(1, "id", PrimitiveType::Long),
        field(2, "kind", PrimitiveType::String),
    ]
}

fn longs(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn kind(kind: &str) -> Struct {
    Struct::from_iter([Some(Literal::string(kind))])
}

fn by_kind() -> Fixture {
    let spec = Fixture::spec(&[(2, "kind", Transform::Identity)]);
    Fixture::partitioned(FormatVersion::V2, fields(), spec)
}

async fn rows(fixture: &mut Fixture, ids: Range<i64>, of: &str) -> DataFile {
    let kinds = StringArray::from_iter_values(ids.clone().map(|_| of));
    let batch = fixture.batch(vec![longs(ids), Arc::new(kinds)]);
    let partitioned = !fixture.metadata.default_partition_spec().is_unpartitioned();
    let partition = if partitioned {
        kind(of)
    } else {
        Struct::empty()
    };
    fixture.data_in(&batch, partition).await
}

fn id() -> Reference {
    Reference::new("id")
}

async fn plan(fixture: &Fixture, filter: Predicate) -> ScanPlan {
    fixture.table().scan().filter(filter).plan().await.unwrap()
}

#[tokio::test]
async fn a_table_that_was_never_written_to_has_an_empty_plan() {
    let fixture = Fixture::new(FormatVersion::V2, fields());
    let plan = plan(&fixture, Predicate::AlwaysTrue).await;
    assert!(plan.snapshot.is_none() && plan.tasks.is_empty());
    assert_eq!(plan.metrics, PlanMetrics::default());
}

#[tokio::test]
async fn files_keep_the_metrics_that_were_asked_for() {
    let mut fixture = by_kind();
    let file = rows(&mut fixture, 0..10, "a").await;
    fixture
        .commit(Operation::Append, vec![(0, file.clone())])
        .await;
    let table = fixture.table();
    let none: [&str; 0] = [];
    let of_id = id().greater_than(Datum::long(3));
    for (scan, kept) in [
        (table.scan(), vec![]),
        (table.scan().select(["id"]), vec![]),
        (table.scan().filter(of_id.clone()), vec![1]),
        (table.scan().metrics_of(none), vec![]),
        (table.scan().metrics_of(["kind"]), vec![2]),
        (
            table.scan().metrics_of(["kind"]).filter(of_id.clone()),
            vec![1, 2],
        ),
        (table.scan().all_metrics(), vec![1, 2]),
        (table.scan().all_metrics().filter(of_id), vec![1, 2]),
    ] {
        let plan = scan.plan().await.unwrap();
        let [task] = &plan.tasks[..] else {
            panic!("one file")
        };
        let counts = |map: &HashMap<i32, u64>| {
            let mut ids: Vec<i32> = map.keys().copied().collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(counts(task.file.value_counts()), kept);
        assert_eq!(counts(task.file.null_value_counts()), kept);
        for id in kept {
            let bounds = |file: &DataFile| {
                let lower = file.lower_bounds().get(&id).cloned();
                lower.zip(file.upper_bounds().get(&id).cloned())
            };
            assert!(bounds(&file).is_some());
            assert_eq!(bounds(&task.file), bounds(&file));
        }
    }
    let error = table.scan().metrics_of(["size"]).plan().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[tokio::test]
async fn manifests_and_files_are_pruned_and_counted() {
    let mut fixture = by_kind();
    let (a1, a2) = (
        rows(&mut fixture, 0..10, "a").await,
        rows(&mut fixture, 10..20, "a").await,
    );
    let b = rows(&mut fixture, 0..10, "b").await;
    let (c1, c2) = (
        rows(&mut fixture, 0..10, "c").await,
        rows(&mut fixture, 20..30, "c").await,
    );
    let size = a2.file_size_in_bytes();
    fixture
        .commit(Operation::Append, vec![(0, a1), (0, a2), (0, b)])
        .await;
    fixture
        .commit(Operation::Append, vec![(0, c1), (0, c2)])
        .await;

    let filter = Reference::new("kind")
        .equal_to(Datum::string("a"))
        .and(id().greater_than_or_equal_to(Datum::long(12)));
    let plan = plan(&fixture, filter).await;
    assert_eq!(
        plan.metrics,
        PlanMetrics {
            manifests: 2,
            manifests_pruned: 1,
            files: 5,
            files_pruned: 4,
            delete_files: 0,
            bytes: size,
        }
    );
    // The partition proves the kind; the id is still to be looked at.
    let residual = id().greater_than_or_equal_to(Datum::long(12));
    assert_eq!(plan.tasks[0].residual, residual);
    let all = id().greater_than_or_equal_to(Datum::long(10));
    let plan = self::plan(&fixture, all).await;
    assert!(
        plan.tasks
            .iter()
            .all(|task| task.residual == Predicate::AlwaysTrue)
    );
}

#[tokio::test]
async fn columns_that_were_added_later_exclude_no_old_file() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let old = rows(&mut fixture, 0..3, "x").await;
    fixture.commit(Operation::Append, vec![(0, old)]).await;
    let mut columns = fields();
    let added = NestedField::optional(3, "added", Type::Primitive(PrimitiveType::Long));
    columns.push(added.with_write_default(Literal::long(1)).into());
    fixture.evolve(columns);
    let added = || Reference::new("added");
    for filter in [
        added().less_than(Datum::long(5)),
        added().is_null(),
        !added().less_than(Datum::long(5)),
    ] {
        let plan = plan(&fixture, filter.clone()).await;
        assert_eq!(plan.tasks.len(), 1, "{filter}");
        assert_eq!(plan.tasks[0].residual, filter.rewrite_not());
    }
}

/// `(data file, its position deletes, its equality deletes)` by numbers of the files.
fn matched(plan: &ScanPlan, deletes: &[&DataFile]) -> Vec<(Vec<usize>, Vec<usize>)> {
    let number = |delete: &Arc<DeleteFile>| {
        deletes
            .iter()
            .position(|file| file.file_path() == delete.file.file_path())
            .unwrap()
    };
    plan.tasks
        .iter()
        .map(|task| {
            (
                task.position_deletes.iter().map(number).collect(),
                task.equality_deletes.iter().map(number).collect(),
            )
        })
        .collect()
}

#[tokio::test]
async fn deletes_match_by_sequence_number_partition_and_file() {
    let mut fixture = by_kind();
    let a = rows(&mut fixture, 0..5, "a").await;
    let b = rows(&mut fixture, 0..5, "b").await;
    fixture
        .commit(Operation::Append, vec![(0, a.clone()), (0, b.clone())])
        .await;
    // 0: of file a. 1: of partition a. 2: equality of partition a, in the commit of another a.
    let of_a = [(a.file_path(), 0)];
    let scoped = fixture.position_deletes(&of_a, true).await;
    let scoped = scoped.clone().partition(kind("a")).build().unwrap();
    let in_partition = fixture.position_deletes(&of_a, false).await;
    let in_partition = in_partition.clone().partition(kind("a")).build().unwrap();
    let columns = vec![
        longs([1]),
        Arc::new(StringArray::from(vec!["a"])) as ArrayRef,
    ];
    let keys = fixture.batch(columns).project(&[0]).unwrap();
    let equality = fixture.equality_deletes(&[1], &keys, kind("a")).await;
    let late = rows(&mut fixture, 0..5, "a").await;
    let added: Vec<Added> = [&scoped, &in_partition, &equality, &late]
        .into_iter()
        .map(|file| (0, file.clone()))
        .collect();
    fixture.commit(Operation::Overwrite, added).await;
    // 3: equality deletes of an unpartitioned spec hit all partitions. 4: position deletes of it do not.
    fixture.respec(Fixture::spec(&[]));
    let spec = fixture.metadata.default_partition_spec_id();
    assert_ne!(spec, 0);
    let global = fixture.equality_deletes(&[1], &keys, Struct::empty()).await;
    let other_spec = fixture
        .position_deletes(&of_a, false)
        .await
        .build()
        .unwrap();
    let own = rows(&mut fixture, 0..5, "z").await;
    let added = [&global, &other_spec, &own]
        .into_iter()
        .map(|file| (spec, file.clone()));
    let added = added.collect();
    fixture.commit(Operation::Overwrite, added).await;

    let plan = plan(&fixture, Predicate::AlwaysTrue).await;
    let deletes = [&scoped, &in_partition, &equality, &global, &other_spec];
    assert_eq!(
        matched(&plan, &deletes),
        vec![
            (vec![0, 1], vec![2, 3]), // a
            (vec![], vec![3]),        // b
            (vec![1], vec![3]),       // late: equality deletes of its own commit spare it
            (vec![4], vec![]),        // of the unpartitioned spec
        ]
    );
    assert_eq!(plan.metrics.delete_files, 5);
    assert!(plan.tasks.is_sorted_by_key(|task| task.sequence_number));
    // Deletes of partitions that are not read are not looked at.
    let only_b = Reference::new("kind").equal_to(Datum::string("b"));
    let plan = self::plan(&fixture, only_b).await;
    let of_b = plan
        .tasks
        .iter()
        .find(|task| task.file.file_path() == b.file_path());
    assert_eq!(of_b.unwrap().equality_deletes.len(), 1);
}

#[tokio::test]
async fn equality_deletes_of_a_spec_of_void_fields_apply_to_all_partitions() {
    let spec = Fixture::spec(&[(2, "kind", Transform::Identity)]);
    let mut fixture = Fixture::partitioned(FormatVersion::V1, fields(), spec);
    let a = rows(&mut fixture, 0..5, "a").await;
    let b = rows(&mut fixture, 0..5, "b").await;
    fixture
        .commit(Operation::Append, vec![(0, a), (0, b)])
        .await;
    // Version 1 drops a partition field by making it void; the upgrade keeps the spec.
    let dropped = UnboundPartitionField::builder()
        .source_id(2)
        .field_id(1_000)
        .name("kind_dropped".into())
        .transform(Transform::Void)
        .build();
    let dropped = UnboundPartitionSpec::builder().add_partition_fields([dropped]);
    fixture.respec(dropped.unwrap().build());
    fixture.change(|builder| builder.upgrade_format_version(FormatVersion::V2).unwrap());
    let spec = fixture.metadata.default_partition_spec_id();
    assert_ne!(spec, 0);
    let void = Struct::from_iter([None]);
    let kinds = Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
    let keys = fixture.batch(vec![longs([1]), kinds]);
    let own = fixture.data_in(&keys, void.clone()).await;
    fixture.commit(Operation::Append, vec![(spec, own)]).await;
    let keys = keys.project(&[0]).unwrap();
    let deletes = fixture.equality_deletes(&[1], &keys, void).await;
    fixture
        .commit(Operation::Delete, vec![(spec, deletes.clone())])
        .await;
    let all = plan(&fixture, Predicate::AlwaysTrue).await;
    assert_eq!(matched(&all, &[&deletes]), vec![(vec![], vec![0]); 3]);
    let of_b = Reference::new("kind").equal_to(Datum::string("b"));
    let of_b = plan(&fixture, of_b).await;
    assert_eq!(matched(&of_b, &[&deletes]), vec![(vec![], vec![0])]);
}

#[tokio::test]
async fn position_deletes_older_than_the_data_do_not_apply() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let data = rows(&mut fixture, 0..5, "a").await;
    let deletes = fixture
        .position_deletes(&[(data.file_path(), 0)], true)
        .await;
    let deletes = deletes.build().unwrap();
    fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
    fixture.commit(Operation::Append, vec![(0, data)]).await;
    let plan = plan(&fixture, Predicate::AlwaysTrue).await;
    assert!(!plan.has_deletes());
}

#[tokio::test]
async fn bounds_of_the_path_scope_position_deletes() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let mut files = Vec::new();
    for _ in 0..4 {
        files.push(rows(&mut fixture, 0..5, "a").await);
    }
    let added = files.iter().map(|file| (0, file.clone())).collect();
    fixture.commit(Operation::Append, added).await;
    let path = |at: usize| files[at].file_path();
    let bound =
        |path: &str| HashMap::from([(RESERVED_FIELD_ID_DELETE_FILE_PATH, Datum::string(path))]);
    // 0: equal bounds are one file. 1: a range of files. 2: no bounds, any file.
    let mut one = fixture.position_deletes(&[(path(1), 0)], false).await;
    let one = one
        .lower_bounds(bound(path(1)))
        .upper_bounds(bound(path(1)))
        .build()
        .unwrap();
    let mut two = fixture
        .position_deletes(&[(path(1), 0), (path(2), 0)], false)
        .await;
    let two = two
        .lower_bounds(bound(path(1)))
        .upper_bounds(bound(path(2)))
        .build()
        .unwrap();
    let any = fixture
        .position_deletes(&[(path(0), 0)], false)
        .await
        .build()
        .unwrap();
    let added = [&one, &two, &any]
        .into_iter()
        .map(|file| (0, file.clone()))
        .collect();
    fixture.commit(Operation::Delete, added).await;
    let plan = plan(&fixture, Predicate::AlwaysTrue).await;
    let positions: Vec<_> = matched(&plan, &[&one, &two, &any])
        .into_iter()
        .map(|(positions, _)| positions)
        .collect();
    assert_eq!(positions, vec![vec![2], vec![0, 1, 2], vec![1, 2], vec![2]]);
}

#[tokio::test]
async fn references_in_another_spelling_are_the_same_file() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let data = rows(&mut fixture, 0..5, "a").await;
    fixture
        .commit(Operation::Append, vec![(0, data.clone())])
        .await;
    let odd = data.file_path().replace("memory:///wh/", "memory:/wh//");
    let deletes = fixture
        .position_deletes(&[(&odd, 0)], true)
        .await
        .build()
        .unwrap();
    fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
    let plan = plan(&fixture, Predicate::AlwaysTrue).await;
    assert_eq!(plan.tasks[0].position_deletes.len(), 1);
}

#[tokio::test]
async fn partitions_match_after_their_type_was_promoted() {
    let columns = |ty| vec![field(1, "id", PrimitiveType::Long), field(2, "n", ty)];
    let spec = Fixture::spec(&[(2, "n", Transform::Identity)]);
    let mut fixture = Fixture::partitioned(FormatVersion::V2, columns(PrimitiveType::Int), spec);
    let batch = fixture.batch(vec![longs([1]), Arc::new(Int32Array::from(vec![7]))]);
    let partition = Struct::from_iter([Some(Literal::int(7))]);
    let data = fixture.data_in(&batch, partition).await;
    fixture
        .commit(Operation::Append, vec![(0, data.clone())])
        .await;
    fixture.evolve(columns(PrimitiveType::Long));
    let deletes = fixture
        .position_deletes(&[(data.file_path(), 0)], false)
        .await;
    let partition = Struct::from_iter([Some(Literal::long(7))]);
    let deletes = deletes.clone().partition(partition).build().unwrap();
    fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
    for value in [7, 8] {
        let filter = Reference::new("n").equal_to(Datum::long(value));
        let plan = plan(&fixture, filter).await;
        assert_eq!(plan.tasks.len(), usize::from(value == 7));
        assert!(
            plan.tasks
                .iter()
                .all(|task| task.position_deletes.len() == 1)
        );
    }
}

#[tokio::test]
async fn two_vectors_of_one_file_are_corrupt_and_an_older_one_does_not_apply() {
    let mut fixture = Fixture::new(FormatVersion::V3, fields());
    let data = rows(&mut fixture, 0..5, "a").await;
    let positions: RoaringTreemap = [1].into_iter().collect();
    let blob = Fixture::blob(&positions);
    let early = fixture.vector(data.file_path(), &blob, 1).await;
    fixture.commit(Operation::Delete, vec![(0, early)]).await;
    fixture
        .commit(Operation::Append, vec![(0, data.clone())])
        .await;
    assert!(!plan(&fixture, Predicate::AlwaysTrue).await.has_deletes());
    let second = fixture.vector(data.file_path(), &blob, 1).await;
    fixture.commit(Operation::Delete, vec![(0, second)]).await;
    let error = fixture.table().scan().plan().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(data.file_path()), "{error}");
}

#[tokio::test]
async fn snapshots_are_selected_by_time_branch_and_tag() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let mut times = Vec::new();
    for _ in 0..2 {
        let data = rows(&mut fixture, 0..5, "a").await;
        let id = fixture.commit(Operation::Append, vec![(0, data)]).await;
        let snapshot = fixture.metadata.snapshot_by_id(id).unwrap();
        times.push((id, snapshot.timestamp_ms()));
    }
    let (first, at) = times[0];
    fixture.change(|builder| {
        let retention = |branch| match branch {
            true => SnapshotRetention::branch(None, None, None),
            false => SnapshotRetention::Tag {
                max_ref_age_ms: None,
            },
        };
        builder
            .set_ref("dev", SnapshotReference::new(first, retention(true)))
            .unwrap()
            .set_ref("v1", SnapshotReference::new(first, retention(false)))
            .unwrap()
    });
    fixture.evolve(vec![field(1, "id", PrimitiveType::Long)]);
    let table = fixture.table();
    let select = |selector| {
        let (snapshot, schema) = snapshot(&table, &selector)?;
        let id = snapshot.map(|snapshot| snapshot.snapshot_id());
        Ok::<_, Error>((id, schema.as_struct().fields().len()))
    };
    let (second, later) = times[1];
    use SnapshotSelector as S;
    assert_eq!(select(S::Head).unwrap(), (Some(second), 1));
    assert_eq!(select(S::Ref("main".into())).unwrap(), (Some(second), 1));
    assert_eq!(select(S::Id(first)).unwrap(), (Some(first), 2));
    assert_eq!(select(S::AsOf(at)).unwrap(), (Some(first), 2));
    assert_eq!(select(S::AsOf(later - 1)).unwrap(), (Some(first), 2));
    assert_eq!(select(S::AsOf(later)).unwrap(), (Some(second), 2));
    assert_eq!(select(S::Ref("dev".into())).unwrap(), (Some(first), 1));
    assert_eq!(select(S::Ref("v1".into())).unwrap(), (Some(first), 2));
    for missing in [S::Id(99), S::AsOf(at - 1), S::Ref("none".into())] {
        let error = select(missing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("db.t"), "{error}");
    }
}

#[tokio::test]
async fn wrong_columns_and_filters_are_refused_with_the_table() {
    let fixture = Fixture::new(FormatVersion::V2, fields());
    let table = fixture.table();
    let plans = [
        table.scan().select(["nope"]).plan().await,
        table.scan().select(["id", "id"]).plan().await,
        table
            .scan()
            .filter(Reference::new("nope").is_null())
            .plan()
            .await,
        table
            .scan()
            .filter(id().equal_to(Datum::string("x")))
            .plan()
            .await,
    ];
    for plan in plans {
        let error = plan.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains("db.t"), "{error}");
    }
}

fn paths(plan: &ScanPlan) -> Vec<&str> {
    plan.tasks
        .iter()
        .map(|task| task.file.file_path())
        .collect()
}

#[tokio::test]
async fn appended_rows_are_those_of_appends_in_commit_order() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let mut files = Vec::new();
    for start in 0..6 {
        files.push(rows(&mut fixture, start..start + 1, "a").await);
    }
    let path = |at: usize| files[at].file_path();
    let add = |range: Range<usize>| {
        files[range]
            .iter()
            .map(|file| (0, file.clone()))
            .collect::<Vec<_>>()
    };
    let s1 = fixture.commit(Operation::Append, add(0..2)).await;
    // An append that merges manifests carries the older files as existing ones.
    let older = fixture.manifests().await;
    let io = fixture.storage.file_io();
    let entries = load_entries(&io, &older[0]).await.unwrap();
    let mut writer = fixture.manifest_writer(s1 + 1, 0, ManifestContentType::Data);
    for entry in &entries {
        let (snapshot, sequence) = (
            entry.snapshot_id().unwrap(),
            entry.sequence_number().unwrap(),
        );
        writer
            .add_existing_file(
                entry.data_file.clone(),
                snapshot,
                sequence,
                entry.file_sequence_number,
            )
            .unwrap();
    }
    writer.add_file(files[2].clone(), -1).unwrap();
    let merged = writer.write_manifest_file().await.unwrap();
    let s2 = fixture
        .commit_manifests(Operation::Append, vec![merged])
        .await;
    let s3 = fixture.commit(Operation::Replace, add(3..4)).await;
    let s4 = fixture.commit(Operation::Append, add(4..6)).await;
    let empty = fixture.commit(Operation::Append, Vec::new()).await;

    let table = fixture.table();
    let range = async |from, to| appended_rows(&table, from, to, None).await.unwrap();
    let all = range(None, empty).await;
    assert_eq!(paths(&all), [path(0), path(1), path(2), path(4), path(5)]);
    assert_eq!(all.snapshot.as_ref().unwrap().snapshot_id(), empty);
    assert_eq!(all.metrics.files, 5);
    assert_eq!(paths(&range(Some(s1), s2).await), [path(2)]);
    assert_eq!(paths(&range(Some(s2), s4).await), [path(4), path(5)]);
    assert!(range(Some(s4), empty).await.tasks.is_empty());
    assert!(range(Some(s3), s3).await.tasks.is_empty());
    let some = appended_rows(&table, None, s1, Some(vec!["kind".into()]))
        .await
        .unwrap();
    assert_eq!(some.schema.as_struct().fields().len(), 1);

    // Backwards, or from a snapshot that is gone.
    for (from, to) in [(Some(s2), s1), (Some(77), s4)] {
        let error = appended_rows(&table, from, to, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("full refresh"), "{error}");
    }
    let error = appended_rows(&table, None, 77, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    fixture.change(|builder| builder.remove_snapshots(&[s1]));
    let error = appended_rows(&fixture.table(), None, s4, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn a_range_with_changes_of_rows_is_a_conflict_that_names_the_snapshot() {
    for operation in [Operation::Overwrite, Operation::Delete, Operation::Append] {
        let mut fixture = Fixture::new(FormatVersion::V2, fields());
        let data = rows(&mut fixture, 0..5, "a").await;
        let s1 = fixture
            .commit(Operation::Append, vec![(0, data.clone())])
            .await;
        let deletes = fixture
            .position_deletes(&[(data.file_path(), 0)], true)
            .await;
        let deletes = deletes.build().unwrap();
        // An append with delete files is none, whatever its summary says.
        let s2 = fixture.commit(operation, vec![(0, deletes)]).await;
        let more = rows(&mut fixture, 5..9, "a").await;
        let s3 = fixture
            .commit(Operation::Append, vec![(0, more.clone())])
            .await;
        let table = fixture.table();
        let error = appended_rows(&table, Some(s1), s3, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(
            error.to_string().contains(&format!("snapshot: {s2}")),
            "{error}"
        );
        let after = appended_rows(&table, Some(s2), s3, None).await.unwrap();
        assert_eq!(paths(&after), [more.file_path()]);
    }
}

#[tokio::test]
async fn snapshots_of_older_format_versions_are_read_after_an_upgrade() {
    let mut fixture = Fixture::new(FormatVersion::V1, fields());
    let mut snapshots = Vec::new();
    for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
        fixture.change(|builder| builder.upgrade_format_version(version).unwrap());
        let data = rows(&mut fixture, 0..5, "a").await;
        snapshots.push(fixture.commit(Operation::Append, vec![(0, data)]).await);
    }
    let table = fixture.table();
    for (older, snapshot) in snapshots.into_iter().enumerate() {
        let at = SnapshotSelector::Id(snapshot);
        let plan = table.scan().snapshot(at).plan().await.unwrap();
        assert_eq!(plan.tasks.len(), older + 1);
        let numbers: Vec<i64> = plan.tasks.iter().map(|task| task.sequence_number).collect();
        assert_eq!(numbers, (0..=older as i64).collect::<Vec<_>>());
    }
}
