//! Operations on whole files, partitions and manifests.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use iceberg::TableUpdate;
use iceberg::expr::Reference;
use iceberg::spec::{
    Datum, Literal, MAIN_BRANCH, ManifestFile, SnapshotReference, SnapshotRetention, Transform,
};

use super::lake::{Lake, Row, VERSIONS, head_manifests};
use super::*;
use crate::properties::WriteProperties;
use crate::rewrite::copy_rows;
use crate::write::{DeleteScope, write_equality_deletes};

const BY_P: &[(i32, &str, Transform)] = &[(2, "p", Transform::Identity)];

fn none() -> CommitNotes {
    CommitNotes::default()
}

fn without(rows: &BTreeMap<i64, Row>, p: &[Option<i32>]) -> BTreeMap<i64, Row> {
    let mut rows = rows.clone();
    rows.retain(|_, row| !p.contains(&row.0));
    rows
}

#[tokio::test]
async fn the_partitions_of_new_files_are_replaced_with_their_deletes_and_no_others() {
    for version in VERSIONS {
        let mut lake = Lake::new(version, BY_P, &[]).await;
        lake.append(&[Some(1), Some(1), Some(2), Some(3), None])
            .await;
        lake.append(&[Some(1), Some(2)]).await;
        lake.delta(&HashSet::from([1, 3]), &[]).await;
        let rows = without(&lake.known().await, &[Some(1), None]);
        let (files, new) = lake.write(&[Some(1), None, Some(8)]).await;
        let rows = rows.into_iter().chain(new).collect();
        let replacing = ReplacePartitions {
            files,
            notes: none(),
        };
        let table = lake.commit(replacing, rows).await;
        let head = table.current_snapshot().unwrap();
        assert_eq!(head.summary().operation, SnapshotOperation::Overwrite);
        let found = summary(&table);
        for (key, value) in [
            ("replace-partitions", "true"),
            ("added-data-files", "3"),
            ("deleted-data-files", "3"),
            // Those of the partition 2 stay.
            ("removed-delete-files", "1"),
            ("total-delete-files", "1"),
            ("changed-partition-count", "3"),
        ] {
            assert_eq!(found[key], value, "{version} {key}");
        }
        lake.check_history().await;
    }
}

#[tokio::test]
async fn a_table_that_is_not_partitioned_is_replaced_as_a_whole() {
    for version in VERSIONS {
        for spec in [&[][..], &[(2, "p_void", Transform::Void)]] {
            let mut lake = Lake::new(version, BY_P, &[]).await;
            lake.append(&[Some(1)]).await;
            lake.respec(spec).await;
            lake.append(&[Some(1), Some(2)]).await;
            lake.delta(&HashSet::from([2]), &[]).await;
            let (files, rows) = lake.write(&[Some(5)]).await;
            let replacing = ReplacePartitions {
                files,
                notes: none(),
            };
            let table = lake.commit(replacing, rows).await;
            assert_eq!(summary(&table)["deleted-data-files"], "2");
            assert_eq!(summary(&table)["total-delete-files"], "0");
            lake.check_history().await;
        }
    }
}

#[tokio::test]
async fn files_of_older_specs_stay_when_partitions_are_replaced_and_new_ones_must_be_of_the_current()
 {
    let mut lake = Lake::new(FormatVersion::V2, BY_P, &[]).await;
    lake.append(&[Some(1)]).await;
    let (early, _) = lake.write(&[Some(1)]).await;
    lake.respec(&[
        (2, "p", Transform::Identity),
        (1, "id_bucket", Transform::Bucket(1)),
    ])
    .await;
    lake.append(&[Some(1)]).await;
    let stays: BTreeMap<_, _> = lake.known().await.into_iter().take(1).collect();
    let replacing = ReplacePartitions {
        files: early,
        notes: none(),
    };
    let error = apply(&*lake.committer, replacing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let (files, new) = lake.write(&[Some(1)]).await;
    let replacing = ReplacePartitions {
        files,
        notes: none(),
    };
    let rows = stays.into_iter().chain(new).collect();
    lake.commit(replacing, rows).await;
    lake.check_history().await;
}

#[tokio::test]
async fn without_new_files_no_partition_is_replaced() {
    for spec in [&[][..], BY_P] {
        let mut lake = Lake::new(FormatVersion::V2, spec, &[]).await;
        lake.append(&[Some(1)]).await;
        let nothing = ReplacePartitions::default();
        let applied = apply(&*lake.committer, nothing).await.unwrap();
        assert_eq!(applied.snapshot_id(), None);
        let mut notes = none();
        notes.summary.insert("progress".into(), "7".into());
        let rows = lake.known().await;
        let files = Vec::new();
        let table = lake.commit(ReplacePartitions { files, notes }, rows).await;
        assert_eq!(summary(&table)["progress"], "7");
        lake.check_history().await;
    }
}

#[tokio::test]
async fn files_are_removed_by_path_in_any_spelling_with_their_deletes() {
    for version in VERSIONS {
        let mut lake = Lake::new(version, BY_P, &[]).await;
        lake.append(&[Some(1), Some(1), Some(2)]).await;
        lake.delta(&HashSet::from([1, 3]), &[]).await;
        let plan = lake.table().await.scan().plan().await.unwrap();
        let of = |p| {
            let values = |task: &&crate::plan::ScanTask| task.file.partition()[0].clone();
            let task = plan
                .tasks
                .iter()
                .find(|t| values(t) == Some(Literal::int(p)));
            task.unwrap().file.file_path().to_string()
        };
        let spelled = of(1).replacen("memory:///", "memory:/", 1);
        let unknown = of(1) + ".not";
        let missing = DeleteFiles::paths([of(1), unknown.clone()]);
        let error = apply(&*lake.committer, missing).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(&unknown), "{error}");
        let rows = without(&lake.known().await, &[Some(1)]);
        let table = lake.commit(DeleteFiles::paths([spelled]), rows).await;
        let head = table.current_snapshot().unwrap();
        assert_eq!(head.summary().operation, SnapshotOperation::Delete);
        assert_eq!(summary(&table)["removed-delete-files"], "1");
        let ignoring = DeleteFiles {
            files: FilesToDelete::Paths {
                paths: vec![unknown.clone(), of(2)],
                missing: MissingFiles::Ignore,
            },
            notes: none(),
        };
        let table = lake.commit(ignoring, BTreeMap::new()).await;
        assert_eq!(summary(&table)["total-data-files"], "0");
        assert_eq!(summary(&table)["total-delete-files"], "0");
        let nothing = DeleteFiles {
            files: FilesToDelete::Paths {
                paths: vec![unknown],
                missing: MissingFiles::Ignore,
            },
            notes: none(),
        };
        let applied = apply(&*lake.committer, nothing).await.unwrap();
        assert_eq!(applied.snapshot_id(), None);
        lake.check_history().await;
    }
}

#[tokio::test]
async fn files_are_removed_by_a_filter_that_matches_them_whole() {
    for version in VERSIONS {
        let mut lake = Lake::new(version, BY_P, &[]).await;
        lake.append(&[Some(1), Some(2), None]).await;
        let two = Reference::new("p").equal_to(Datum::int(2));
        let rows = without(&lake.known().await, &[Some(2)]);
        lake.commit(DeleteFiles::matching(two.clone()), rows).await;
        let applied = apply(&*lake.committer, DeleteFiles::matching(two)).await;
        assert_eq!(
            applied.unwrap().snapshot_id(),
            None,
            "nothing matches any more"
        );
        let mut lake = Lake::new(version, &[], &[]).await;
        lake.append(&[Some(1), Some(2)]).await;
        let one = Reference::new("p").equal_to(Datum::int(1));
        let partly = apply(&*lake.committer, DeleteFiles::matching(one)).await;
        let error = partly.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        // By its bounds the whole file matches.
        let both = Reference::new("p").less_than(Datum::int(3));
        let id = Reference::new("id").less_than(Datum::long(3));
        let filter = both.and(Reference::new("p").is_not_null()).and(id);
        lake.commit(DeleteFiles::matching(filter), BTreeMap::new())
            .await;
        lake.check_history().await;
    }
}

fn range(manifest: &ManifestFile) -> (i32, i32) {
    let bound = |bytes: &Option<iceberg::spec::ByteBuf>| {
        let bytes = bytes.as_ref().unwrap().as_slice();
        i32::from_le_bytes(bytes.try_into().unwrap())
    };
    let summaries = manifest.partitions.as_ref().unwrap();
    (
        bound(&summaries[0].lower_bound),
        bound(&summaries[0].upper_bound),
    )
}

#[tokio::test]
async fn rewritten_manifests_hold_neighbouring_partitions_and_a_second_time_there_is_nothing_to_do()
{
    for version in VERSIONS {
        let off = ("commit.manifest-merge.enabled", "false");
        let target = ("commit.manifest.target-size-bytes", "400");
        let mut lake = Lake::new(version, BY_P, &[off, target]).await;
        for n in 0..4 {
            lake.append(&[Some(n), Some(n + 10), Some(n - 10)]).await;
        }
        lake.delta(&HashSet::from([1, 2]), &[]).await;
        lake.delta(&HashSet::from([4]), &[]).await;
        let rows = lake.known().await;
        let before = lake.table().await;
        let files = live(&before).await;
        let table = lake.commit(RewriteManifests::default(), rows.clone()).await;
        assert_eq!(
            live(&table).await,
            files,
            "sequence numbers and row ids stay"
        );
        let head = table.current_snapshot().unwrap();
        assert_eq!(head.summary().operation, SnapshotOperation::Replace);
        let found = head_manifests(&table).await;
        let is_data = |m: &ManifestFile| m.content == ManifestContentType::Data;
        let data: Vec<_> = found.iter().map(|m| &m.0).filter(|m| is_data(m)).collect();
        assert!(data.len() > 1, "{data:?}");
        for pair in data.windows(2) {
            assert!(range(pair[0]).1 < range(pair[1]).0, "{data:?}");
        }
        let said = summary(&table);
        for (key, value) in [
            ("manifests-created", data.len().to_string()),
            ("manifests-replaced", "4".to_string()),
            // Those of deletes.
            ("manifests-kept", "2".to_string()),
            ("entries-processed", "12".to_string()),
            ("changed-partition-count", "0".to_string()),
            ("total-data-files", "12".to_string()),
        ] {
            assert_eq!(said[key], value, "{version} {key}");
        }
        let again = apply(&*lake.committer, RewriteManifests::default()).await;
        assert_eq!(again.unwrap().snapshot_id(), None);
        let with_deletes = RewriteManifests {
            deletes: true,
            ..RewriteManifests::default()
        };
        let table = lake.commit(with_deletes.clone(), rows).await;
        assert_eq!(summary(&table)["manifests-replaced"], "2");
        assert_eq!(summary(&table)["manifests-kept"], data.len().to_string());
        let again = apply(&*lake.committer, with_deletes).await;
        assert_eq!(again.unwrap().snapshot_id(), None);
        lake.check_history().await;
    }
}

#[tokio::test]
async fn only_manifests_of_the_named_spec_are_rewritten() {
    let mut lake = Lake::new(FormatVersion::V3, BY_P, &[]).await;
    lake.append(&[Some(1)]).await;
    lake.append(&[Some(2)]).await;
    lake.respec(&[]).await;
    lake.append(&[Some(1)]).await;
    lake.append(&[Some(2)]).await;
    let of = |spec_id| RewriteManifests {
        spec_id: Some(spec_id),
        ..RewriteManifests::default()
    };
    let error = apply(&*lake.committer, of(9)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let rows = lake.known().await;
    let table = lake.commit(of(0), rows.clone()).await;
    let specs = |found: Vec<(ManifestFile, _)>| -> Vec<i32> {
        found.iter().map(|(m, _)| m.partition_spec_id).collect()
    };
    assert_eq!(specs(head_manifests(&table).await), [0, 1, 1]);
    let again = apply(&*lake.committer, of(0)).await.unwrap();
    assert_eq!(again.snapshot_id(), None);
    let table = lake.commit(RewriteManifests::default(), rows).await;
    assert_eq!(specs(head_manifests(&table).await), [1, 0]);
    lake.check_history().await;
}

#[tokio::test]
async fn a_table_without_rows_has_no_manifests_to_rewrite() {
    let committer = table(FormatVersion::V2).await;
    let applied = apply(&*committer, RewriteManifests::default())
        .await
        .unwrap();
    assert_eq!(applied.snapshot_id(), None);
    let applied = apply(&*committer, DeleteFiles::matching(Predicate::AlwaysTrue)).await;
    assert_eq!(applied.unwrap().snapshot_id(), None);
}

#[tokio::test]
async fn after_a_lost_race_manifests_are_regrouped_with_those_of_the_winner() {
    let mut lake = Lake::new(FormatVersion::V3, BY_P, &[]).await;
    lake.append(&[Some(2)]).await;
    lake.append(&[Some(1)]).await;
    let stale = lake.table().await;
    let rewriting = RewriteManifests::default();
    let planned = rewriting.plan(&stale).await.unwrap().unwrap();
    lake.append(&[Some(3)]).await;
    let outcome = lake.committer.commit(vec![planned.change]).await.unwrap();
    let lost = matches!(outcome, crate::commit::CommitOutcome::Conflict { .. });
    assert!(lost, "{outcome:?}");
    let faulty = FaultyCommitter::new(lake.committer.clone(), [Fault::Conflict]);
    apply(&faulty, rewriting).await.unwrap();
    let table = lake.table().await;
    assert_eq!(head_manifests(&table).await.len(), 1);
    assert_eq!(summary(&table)["entries-processed"], "3");
}

#[tokio::test]
async fn a_branch_keeps_its_retention_through_commits_and_another_keeps_none() {
    let mut lake = Lake::new(FormatVersion::V2, &[], &[]).await;
    let main = lake.append(&[None]).await;
    let id = main.metadata().current_snapshot_id().unwrap();
    let own = SnapshotRetention::branch(Some(5), Some(6_000), None);
    for (name, retention) in [
        (MAIN_BRANCH, own.clone()),
        ("other", SnapshotRetention::branch(None, None, None)),
    ] {
        lake.change(vec![TableUpdate::SetSnapshotRef {
            ref_name: name.to_string(),
            reference: SnapshotReference::new(id, retention),
        }])
        .await;
    }
    lake.append(&[None]).await;
    let mut notes = none();
    notes.branch = Some("other".to_string());
    let (files, _) = lake.write(&[None]).await;
    let applied = apply(&*lake.committer, Append { files, notes }).await;
    let refs = applied.unwrap().table().refs().unwrap();
    assert_eq!(refs[MAIN_BRANCH].retention, own);
    let none = SnapshotRetention::branch(None, None, None);
    assert_eq!(refs["other"].retention, none);
    assert_ne!(refs["other"].snapshot_id, id);
    assert_ne!(refs[MAIN_BRANCH].snapshot_id, refs["other"].snapshot_id);
}

#[tokio::test]
async fn keys_deleted_in_a_spec_of_void_fields_reach_rows_that_are_moved_meanwhile() {
    for version in VERSIONS {
        let mut lake = Lake::new(version, BY_P, &[]).await;
        lake.append(&[Some(1), Some(1), Some(2)]).await;
        // Compaction moves the rows to the one partition of the new spec.
        lake.respec(&[(2, "p_void", Transform::Void)]).await;
        let plan = lake.table().await.scan().plan().await.unwrap();
        let properties = WriteProperties::of(plan.table.metadata()).unwrap();
        let copies = copy_rows(&plan, &plan.tasks, &properties, 1 << 20)
            .await
            .unwrap();
        let table = lake.table().await;
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![2]));
        let keys = RecordBatch::try_from_iter_with_nullable([("id", keys, false)]).unwrap();
        let scope = DeleteScope::Partition {
            spec_id: 1,
            values: Struct::from_iter([None]),
        };
        let deletes = write_equality_deletes(&table, &keys, &scope).await;
        let deletes = deletes.unwrap();
        let delta = RowDelta {
            base: table.metadata().current_snapshot_id(),
            delete_files: vec![deletes],
            ..RowDelta::default()
        };
        let mut rows = lake.known().await;
        rows.remove(&2);
        lake.commit(delta, rows.clone()).await;
        let rewrite = RewriteFiles::new(&plan, vec![copies]).unwrap();
        let table = lake.commit(rewrite, rows).await;
        assert_eq!(summary(&table)["changed-partition-count"], "3");
    }
}
