use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use iceberg::spec::{
    DataFile, FormatVersion, Literal, NestedField, NestedFieldRef, PrimitiveType, Struct,
    Transform, Type,
};
use roaring::RoaringTreemap;

use super::*;
use crate::ErrorKind;
use crate::fixture::Fixture;

fn fields() -> Vec<NestedFieldRef> {
    let optional = |id, name, ty| NestedField::optional(id, name, Type::Primitive(ty)).into();
    vec![
        optional(1, "id", PrimitiveType::Long),
        optional(2, "kind", PrimitiveType::String),
    ]
}

fn partitioned(version: FormatVersion) -> Fixture {
    let spec = Fixture::spec(&[(2, "kind", Transform::Identity)]);
    Fixture::partitioned(version, fields(), spec)
}

fn of(kind: &str) -> Struct {
    Struct::from_iter([Some(Literal::string(kind))])
}

fn rows(fixture: &Fixture, kind: &str) -> RecordBatch {
    let ids = Int64Array::from_iter_values(0..5);
    let kinds = StringArray::from(vec![kind; 5]);
    fixture.batch(vec![Arc::new(ids), Arc::new(kinds)])
}

/// Appends a file of five rows.
async fn append(fixture: &mut Fixture, kind: &str) -> (i64, DataFile) {
    let batch = rows(fixture, kind);
    let partition = match fixture.metadata.default_partition_spec().is_unpartitioned() {
        true => Struct::empty(),
        false => of(kind),
    };
    let file = fixture.data_in(&batch, partition).await;
    let added = vec![(0, file.clone())];
    (fixture.commit(Operation::Append, added).await, file)
}

/// Each changed file with how many deletes it has before and after.
fn shapes(changes: &SnapshotChanges) -> Vec<(&str, Option<usize>, Option<usize>)> {
    let deletes = |task: &ScanTask| task.position_deletes.len() + task.equality_deletes.len();
    let shape = |file: &'_ FileChange| {
        (
            file.before.as_ref().map(deletes),
            file.after.as_ref().map(deletes),
        )
    };
    let files = changes.files.iter();
    files
        .map(|file| {
            let (before, after) = shape(file);
            (file.task().unwrap().file.file_path(), before, after)
        })
        .collect()
}

async fn range(fixture: &Fixture, from: Option<i64>, to: i64) -> ChangePlan {
    changed_rows(&fixture.table(), from, to, None)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_append_is_planned_from_its_own_manifests() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let (_, first) = append(&mut fixture, "a").await;
    let row = [(first.file_path(), 0)];
    let deletes = fixture.position_deletes(&row, true);
    let deletes = deletes.await.build().unwrap();
    fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
    for _ in 0..3 {
        append(&mut fixture, "a").await;
    }
    let from = fixture.metadata.current_snapshot_id();
    let (to, file) = append(&mut fixture, "a").await;
    let plan = range(&fixture, from, to).await;
    assert_eq!((plan.from, plan.to), (from, to));
    assert_eq!(plan.metrics.manifests, 1);
    assert_eq!(plan.metrics.files, 1);
    assert_eq!(plan.metrics.bytes, file.file_size_in_bytes());
    let [changes] = &plan.snapshots[..] else {
        panic!("{:?}", plan.snapshots)
    };
    assert_eq!(changes.ordinal, 0);
    assert_eq!(changes.snapshot.snapshot_id(), to);
    assert_eq!(shapes(changes), [(file.file_path(), None, Some(0))]);
    assert!(changes.is_one_sided());
}

#[tokio::test]
async fn deletes_are_looked_for_in_manifests_of_their_partition() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let mut fixture = partitioned(version);
        let mut files = Vec::new();
        for kind in ["a", "b", "c", "d"] {
            files.push(append(&mut fixture, kind).await);
        }
        let (from, _) = files[3];
        let target = files[1].1.file_path().to_string();
        let mut commits = Vec::new();
        for (at, kind) in ["b", "d"].into_iter().enumerate() {
            // The second is in a partition that the data file is not in.
            let entry = match version {
                FormatVersion::V3 => {
                    let positions: RoaringTreemap = (0..=at as u64).collect();
                    let blob = Fixture::blob(&positions);
                    let entry = fixture.vector(&target, &blob, positions.len()).await;
                    crate::manifest::rebuild(&entry, 0, |entry| {
                        entry.partition(of(kind));
                    })
                }
                _ => {
                    let rows = [(target.as_str(), at as i64)];
                    let mut entry = fixture.position_deletes(&rows, true).await;
                    Ok(entry.partition(of(kind)).build().unwrap())
                }
            };
            let entry = entry.unwrap();
            let old: Vec<DataFile> = match version {
                FormatVersion::V3 => commits.iter().map(|(_, file)| file).cloned().collect(),
                _ => Vec::new(),
            };
            let added = vec![(0, entry.clone())];
            let commit = fixture.exchange(Operation::Delete, added, &old, false);
            commits.push((commit.await, entry));
        }
        let deletes = |plan: &ChangePlan| match &plan.snapshots[..] {
            [changes] => {
                let shapes = shapes(changes);
                assert_eq!(shapes.len(), 1);
                assert_eq!(shapes[0].0, target);
                (shapes[0].1.unwrap(), shapes[0].2.unwrap())
            }
            other => panic!("{other:?}"),
        };
        let plan = range(&fixture, Some(from), commits[0].0).await;
        assert_eq!(deletes(&plan), (0, 1));
        assert_eq!(plan.metrics.manifests, 2);
        assert_eq!(plan.metrics.delete_files, 1);
        assert!(plan.snapshots[0].is_one_sided());
        let plan = range(&fixture, Some(commits[0].0), commits[1].0).await;
        let vectors = version == FormatVersion::V3;
        assert_eq!(deletes(&plan), if vectors { (1, 1) } else { (1, 2) });
        // What replaced a vector may have fewer rows.
        assert_eq!(plan.snapshots[0].is_one_sided(), !vectors);
    }
}

#[tokio::test]
async fn equality_deletes_touch_older_files_of_their_partition() {
    let mut fixture = partitioned(FormatVersion::V2);
    let (_, one) = append(&mut fixture, "a").await;
    append(&mut fixture, "b").await;
    let from = fixture.metadata.current_snapshot_id();
    let keys = rows(&fixture, "a").project(&[0]).unwrap();
    let deletes = fixture.equality_deletes(&[1], &keys, of("a")).await;
    let batch = rows(&fixture, "a");
    let new = fixture.data_in(&batch, of("a")).await;
    let added = vec![(0, deletes), (0, new.clone())];
    let to = fixture.commit(Operation::Overwrite, added).await;
    let plan = range(&fixture, from, to).await;
    assert_eq!(
        shapes(&plan.snapshots[0]),
        [
            (one.file_path(), Some(0), Some(1)),
            (new.file_path(), None, Some(0))
        ]
    );
    assert!(!plan.snapshots[0].is_one_sided());
    // Its own manifests, and of the data of others that of the partition.
    assert_eq!(plan.metrics.manifests, 3);
}

#[tokio::test]
async fn files_that_only_moved_to_another_manifest_are_no_change() {
    let mut fixture = Fixture::new(FormatVersion::V3, fields());
    let (_, file) = append(&mut fixture, "a").await;
    append(&mut fixture, "b").await;
    let blob = Fixture::blob(&[1].into_iter().collect());
    let vector = fixture.vector(file.file_path(), &blob, 1).await;
    let from = fixture.commit(Operation::Delete, vec![(0, vector)]).await;
    let batch = rows(&fixture, "c");
    let new = fixture.data(&batch).await;
    let added = vec![(0, new.clone())];
    let to = fixture.exchange(Operation::Append, added, &[], true).await;
    let plan = range(&fixture, Some(from), to).await;
    assert_eq!(
        shapes(&plan.snapshots[0]),
        [(new.file_path(), None, Some(0))]
    );
}

#[tokio::test]
async fn deletes_of_files_that_are_gone_are_no_change() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let (_, file) = append(&mut fixture, "a").await;
    append(&mut fixture, "b").await;
    let from = fixture
        .exchange(
            Operation::Delete,
            Vec::new(),
            std::slice::from_ref(&file),
            false,
        )
        .await;
    let row = [(file.file_path(), 0)];
    let deletes = fixture.position_deletes(&row, true);
    let deletes = deletes.await.build().unwrap();
    let to = fixture.commit(Operation::Delete, vec![(0, deletes)]).await;
    let plan = range(&fixture, Some(from), to).await;
    assert!(plan.snapshots[0].files.is_empty());
}

#[tokio::test]
async fn ranges_that_are_none_are_refused() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let (s1, _) = append(&mut fixture, "a").await;
    let (s2, _) = append(&mut fixture, "a").await;
    let table = fixture.table();
    for (from, to) in [(Some(s2), s1), (Some(77), s2)] {
        let error = changed_rows(&table, from, to, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("no ancestor"), "{error}");
    }
    let error = changed_rows(&table, None, 77, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let unknown = Some(vec!["nope".to_string()]);
    let error = changed_rows(&table, None, s2, unknown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("db.t"), "{error}");
    fixture.change(|builder| builder.remove_snapshots(&[s1]));
    for from in [None, Some(s1)] {
        let error = changed_rows(&fixture.table(), from, s2, None).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("expired"), "{error}");
    }
}

#[tokio::test]
async fn a_data_file_that_is_added_twice_is_corrupt() {
    let mut fixture = Fixture::new(FormatVersion::V2, fields());
    let batch = rows(&fixture, "a");
    let file = fixture.data(&batch).await;
    let added = vec![(0, file.clone()), (0, file.clone())];
    let to = fixture.commit(Operation::Append, added).await;
    let error = changed_rows(&fixture.table(), None, to, None).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    for part in [file.file_path(), "db.t"] {
        assert!(error.to_string().contains(part), "{error}");
    }
}
