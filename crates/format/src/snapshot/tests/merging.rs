//! Merging the manifests of older snapshots.

use std::collections::{BTreeMap, HashSet};

use iceberg::TableUpdate;
use iceberg::spec::{ManifestEntry, ManifestFile, Transform};

use super::lake::{Lake, VERSIONS, head_manifests, manifests};
use super::*;
use crate::plan::load_manifests;
use crate::properties::ManifestProperties;
use crate::snapshot::merge::bins;

const BY_P: &[(i32, &str, Transform)] = &[(2, "p", Transform::Identity)];
const EAGER: (&str, &str) = ("commit.manifest.min-count-to-merge", "2");

fn manifest(spec_id: i32, content: ManifestContentType, length: i64) -> ManifestFile {
    ManifestFile {
        manifest_path: "m".into(),
        manifest_length: length,
        partition_spec_id: spec_id,
        content,
        sequence_number: 1,
        min_sequence_number: 1,
        added_snapshot_id: 1,
        added_files_count: Some(1),
        existing_files_count: Some(0),
        deleted_files_count: Some(0),
        added_rows_count: Some(1),
        existing_rows_count: Some(0),
        deleted_rows_count: Some(0),
        partitions: None,
        key_metadata: None,
        first_row_id: None,
    }
}

fn data(lengths: &[i64]) -> Vec<ManifestFile> {
    let of = |length: &i64| manifest(0, ManifestContentType::Data, *length);
    lengths.iter().map(of).collect()
}

fn packed(manifests: &[ManifestFile], target_size: u64, least: usize) -> Vec<Vec<usize>> {
    let properties = ManifestProperties {
        target_size,
        min_count_to_merge: least,
        ..ManifestProperties::default()
    };
    bins(manifests, &properties, |_| true)
}

#[test]
fn bins_are_packed_from_the_oldest_end_and_the_newest_waits() {
    // The list begins with the newest.
    assert_eq!(packed(&data(&[1, 1, 1]), 10, 4), Vec::<Vec<usize>>::new());
    assert_eq!(packed(&data(&[1, 1, 1]), 10, 3), [[0, 1, 2]]);
    assert_eq!(packed(&data(&[1]), 10, 1), Vec::<Vec<usize>>::new());
    let full = data(&[3, 3, 5, 5, 10, 4, 6]);
    assert_eq!(packed(&full, 10, 100), [vec![5, 6], vec![2, 3]]);
    assert_eq!(packed(&full, 10, 2), [vec![5, 6], vec![2, 3], vec![0, 1]]);
    // One that is too large stays alone, and a full bin stays what it is when newer ones come.
    assert_eq!(packed(&data(&[1, 1, 99, 10]), 10, 2), [[0, 1]]);
    assert_eq!(packed(&data(&[1, 9]), 10, 2), [[0, 1]]);
    assert_eq!(packed(&data(&[1, 10]), 10, 2), Vec::<Vec<usize>>::new());
}

#[test]
fn manifests_of_other_specs_and_contents_are_not_mixed() {
    let (data, deletes) = (ManifestContentType::Data, ManifestContentType::Deletes);
    let list = [
        manifest(1, data, 1),
        manifest(0, data, 1),
        manifest(1, deletes, 1),
        manifest(1, data, 1),
        manifest(0, data, 1),
        manifest(1, deletes, 1),
    ];
    let mut found = packed(&list, 10, 2);
    found.sort();
    assert_eq!(found, [[0, 3], [1, 4], [2, 5]]);
    let properties = ManifestProperties {
        min_count_to_merge: 2,
        ..ManifestProperties::default()
    };
    let found = bins(&list, &properties, |m| m.partition_spec_id == 0);
    assert_eq!(found, [[1, 4]]);
}

/// What must not change of a live file, by its path.
fn kept(manifests: &[(ManifestFile, Vec<Arc<ManifestEntry>>)]) -> BTreeMap<String, ManifestEntry> {
    let entries = manifests.iter().flat_map(|(_, entries)| entries);
    let live = entries.filter(|entry| entry.is_alive());
    live.map(|entry| {
        let mut entry = ManifestEntry::clone(entry);
        entry.status = ManifestStatus::Existing;
        (entry.file_path().to_string(), entry)
    })
    .collect()
}

#[tokio::test]
async fn manifests_of_older_snapshots_become_one_and_their_entries_stay_what_they_are() {
    for version in VERSIONS {
        for spec in [&[][..], BY_P] {
            let mut lake = Lake::new(
                version,
                spec,
                &[("commit.manifest.min-count-to-merge", "3")],
            )
            .await;
            for p in 0..3 {
                lake.append(&[Some(p), Some(7)]).await;
            }
            let before = lake.table().await;
            let older = head_manifests(&before).await;
            assert_eq!(older.len(), 3);
            let after = lake.append(&[None]).await;
            let newer = head_manifests(&after).await;
            assert_eq!(newer.len(), 2, "the new one, and the others as one");
            let (own, merged) = (&newer[0], &newer[1]);
            assert_eq!(own.0.added_files_count, Some(1));
            let id = after.metadata().current_snapshot_id().unwrap();
            assert_eq!(merged.0.added_snapshot_id, id);
            assert_eq!(merged.0.min_sequence_number, 1);
            assert_eq!(merged.0.added_files_count, Some(0));
            let files = older
                .iter()
                .map(|(m, _)| m.added_files_count.unwrap())
                .sum();
            assert_eq!(merged.0.existing_files_count, Some(files));
            assert!(
                merged
                    .1
                    .iter()
                    .all(|e| e.status() == ManifestStatus::Existing)
            );
            let merged = kept(std::slice::from_ref(merged));
            assert_eq!(merged, kept(&older), "{version}");
            for entry in merged.values() {
                assert!(!entry.data_file().lower_bounds().is_empty());
                let has_row_ids = entry.data_file().first_row_id().is_some();
                assert_eq!(has_row_ids, version == FormatVersion::V3);
            }
            lake.check_history().await;
        }
    }
}

#[tokio::test]
async fn where_merging_is_off_or_the_append_is_fast_manifests_pile_up() {
    let merging = ("commit.manifest-merge.enabled", "false");
    let mut off = Lake::new(FormatVersion::V2, &[], &[EAGER, merging]).await;
    let mut fast = Lake::new(FormatVersion::V2, &[], &[EAGER]).await;
    for _ in 0..5 {
        off.append(&[None]).await;
        let (files, new) = fast.write(&[None]).await;
        let mut rows = fast.known().await;
        rows.extend(new);
        let notes = CommitNotes::default();
        fast.commit(FastAppend { files, notes }, rows).await;
    }
    for lake in [off, fast] {
        assert_eq!(head_manifests(&lake.table().await).await.len(), 5);
    }
}

#[tokio::test]
async fn a_fast_append_keeps_what_records_removals_and_others_do_not() {
    let committer = table(FormatVersion::V2).await;
    let a = file("a", 1);
    apply(&*committer, append(&[&a])).await.unwrap();
    let deleting = DeleteFiles::paths([a.file.file_path()]);
    apply(&*committer, deleting).await.unwrap();
    let fast = FastAppend {
        files: vec![file("b", 1)],
        notes: CommitNotes::default(),
    };
    let applied = apply(&*committer, fast).await.unwrap();
    let found = head_manifests(applied.table()).await;
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].0.deleted_files_count, Some(1));
    let applied = apply(&*committer, append(&[&file("c", 1)])).await.unwrap();
    let found = head_manifests(applied.table()).await;
    assert!(found.iter().all(|(m, _)| m.deleted_files_count == Some(0)));
    assert_eq!(live(applied.table()).await.len(), 2);
}

#[tokio::test]
async fn merges_and_replaced_vectors_take_turns() {
    for version in VERSIONS {
        let mut lake = Lake::new(version, BY_P, &[EAGER]).await;
        lake.append(&[Some(1), Some(1), Some(1), Some(2)]).await;
        // On version 3 each replaces the vector of the one before.
        for gone in 1..=3 {
            lake.delta(&HashSet::from([gone]), &[Some(gone as i32)])
                .await;
            lake.append(&[Some(1)]).await;
            lake.check_history().await;
        }
        let table = lake.table().await;
        let found = head_manifests(&table).await;
        let of = |content| found.iter().filter(move |(m, _)| m.content == content);
        let vectors = of(ManifestContentType::Deletes);
        let live = vectors.flat_map(|(_, e)| e).filter(|e| e.is_alive());
        let expected = if version == FormatVersion::V3 { 1 } else { 3 };
        assert_eq!(live.count(), expected, "{version}");
        assert!(of(ManifestContentType::Deletes).count() <= 2);
        assert!(of(ManifestContentType::Data).count() <= 3, "{found:?}");
    }
}

#[tokio::test]
async fn row_ids_stay_when_manifests_from_before_and_after_an_upgrade_are_merged() {
    let mut lake = Lake::new(FormatVersion::V2, BY_P, &[]).await;
    for p in 0..3 {
        lake.append(&[Some(p), Some(p)]).await;
    }
    lake.upgrade().await;
    // The first commit gives ids to what was there; the lake checks from then on that they stay.
    lake.append(&[Some(1)]).await;
    lake.append(&[Some(2)]).await;
    lake.set(EAGER.0, EAGER.1).await;
    for p in 0..3 {
        let table = lake.append(&[Some(p)]).await;
        assert!(head_manifests(&table).await.len() <= 3);
    }
    lake.delta(&HashSet::from([1, 4, 7]), &[Some(9)]).await;
    lake.append(&[None]).await;
    lake.check_history().await;
    // The first commit on version 3 may merge what has no ids yet, together with nothing else.
    let mut lake = Lake::new(FormatVersion::V2, &[], &[EAGER]).await;
    for _ in 0..2 {
        lake.append(&[None, None]).await;
    }
    lake.upgrade().await;
    for _ in 0..3 {
        lake.append(&[None]).await;
    }
    lake.check_history().await;
}

#[tokio::test]
async fn bounds_of_dropped_columns_survive_any_number_of_merges() {
    for version in VERSIONS {
        let mut lake = Lake::new(version, BY_P, &[EAGER]).await;
        lake.append(&[Some(1)]).await;
        lake.append(&[Some(2)]).await;
        let before = kept(&head_manifests(&lake.table().await).await);
        assert!(
            before
                .values()
                .all(|e| e.data_file().lower_bounds().contains_key(&3))
        );
        lake.drop_old_column().await;
        for p in 3..6 {
            lake.append(&[Some(p)]).await;
        }
        // Merged twice: the second time from a manifest whose own schema lacks the column.
        let table = lake.table().await;
        let list = load_list(
            table.storage(),
            table.metadata(),
            table.current_snapshot().unwrap(),
        );
        let whole = load_manifests(&table, list.await.unwrap());
        let whole = kept(&whole.await.unwrap());
        for (path, entry) in &before {
            assert_eq!(whole[path].data_file(), entry.data_file(), "{version}");
        }
        // What plans and scans read of it lacks nothing that they need.
        let head = kept(&head_manifests(&table).await);
        assert_eq!(head.len(), whole.len());
        assert!(
            head.values()
                .all(|e| e.data_file().lower_bounds().contains_key(&1))
        );
        lake.check_history().await;
    }
}

#[tokio::test]
async fn manifests_of_a_spec_whose_column_was_dropped_are_merged_and_filtered() {
    for version in VERSIONS {
        let by_old = [(3, "old_trunc", Transform::Truncate(5))];
        let mut lake = Lake::new(version, &by_old, &[EAGER]).await;
        for _ in 0..3 {
            lake.append(&[Some(1), Some(2)]).await;
        }
        lake.respec(BY_P).await;
        lake.drop_old_column().await;
        lake.append(&[Some(1)]).await;
        lake.append(&[Some(2)]).await;
        lake.delta(&HashSet::from([1, 3]), &[Some(3)]).await;
        let table = lake.append(&[Some(4)]).await;
        let of_first = head_manifests(&table).await.into_iter();
        let of_first = of_first.filter(|(m, _)| m.partition_spec_id == 0);
        let of_first: Vec<_> = of_first.collect();
        assert!(of_first.len() <= 2, "data and deletes: {of_first:?}");
        let values = of_first[0].1[0].data_file().partition().clone();
        assert_eq!(values[0], Some(iceberg::spec::Literal::string("row 1")));
        lake.check_history().await;
        let mut rows = lake.known().await;
        rows.clear();
        let everything = DeleteFiles::matching(Predicate::AlwaysTrue);
        lake.commit(everything, rows).await;
        lake.check_history().await;
    }
}

#[tokio::test]
async fn what_could_not_be_read_again_is_not_merged() {
    let by_old = [(2, "was", Transform::Identity)];
    let mut lake = Lake::new(FormatVersion::V2, &by_old, &[EAGER]).await;
    lake.append(&[Some(1)]).await;
    let (files, _) = lake.write(&[Some(2)]).await;
    let notes = CommitNotes::default();
    let fast = FastAppend { files, notes };
    apply(&*lake.committer, fast).await.unwrap();
    lake.respec(&[]).await;
    let table = lake.table().await;
    // Another engine lets a partition field have a name that is none in Avro, and a column have that of
    // a partition field. Both can be written, but not a field whose column no schema has.
    let changed = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = serde_json::to_value(table.metadata().as_ref()).unwrap();
        change(&mut json);
        let metadata = crate::commit::metadata_file::from_value(json).unwrap();
        Table::new(
            ident(),
            Arc::new(metadata),
            table.metadata_location(),
            table.storage().clone(),
            environment(),
        )
    };
    let renamed = changed(&|json| json["schemas"][0]["fields"][2]["name"] = "was".into());
    let field = |json: &mut serde_json::Value, key: &str, value: serde_json::Value| {
        for spec in json["partition-specs"].as_array_mut().unwrap() {
            if spec["spec-id"] == 0 {
                spec["fields"][0][key] = value.clone();
            }
        }
    };
    let unnamed = changed(&|json| field(json, "name", "no name".into()));
    let lost = changed(&|json| field(json, "source-id", 99.into()));
    let mut new = file("new", 1);
    new.spec_id = 1;
    for (table, manifests) in [(&lost, 3), (&unnamed, 2), (&renamed, 2), (&table, 2)] {
        let planned = append(&[&new]).plan(table).await.unwrap().unwrap();
        let TableUpdate::AddSnapshot { snapshot } = &planned.change.updates[0] else {
            panic!("{planned:?}");
        };
        let snapshot = Arc::new(snapshot.clone());
        let list = load_list(table.storage(), table.metadata(), &snapshot).await;
        let list = list.unwrap();
        assert_eq!(list.len(), manifests);
        load_manifests(table, list).await.unwrap();
        let rewriting = RewriteManifests::default();
        let regrouped = rewriting.plan(table).await.unwrap();
        assert_eq!(regrouped.is_some(), manifests == 2);
    }
}

#[tokio::test]
async fn full_manifests_are_not_touched_again_and_a_bin_does_not_outgrow_its_size() {
    let target = ("commit.manifest.target-size-bytes", "12000");
    let mut lake = Lake::new(FormatVersion::V2, &[], &[EAGER, target]).await;
    let mut paths = HashSet::new();
    let mut written = 0;
    for _ in 0..40 {
        let table = lake.append(&[None]).await;
        for (manifest, _) in head_manifests(&table).await {
            assert!(manifest.manifest_length <= 12_000, "{manifest:?}");
            if paths.insert(manifest.manifest_path.clone()) {
                written += 1;
            }
        }
    }
    let table = lake.table().await;
    let found = head_manifests(&table).await;
    let files: usize = found.iter().map(|(_, entries)| entries.len()).sum();
    assert_eq!(files, 40);
    assert!((2..10).contains(&found.len()), "{}", found.len());
    // Each commit writes its own manifest and at most one merged one.
    assert!(written <= 80, "{written}");
    lake.check_history().await;
}

#[tokio::test]
async fn a_damaged_manifest_is_not_merged_away() {
    let mut lake = Lake::new(FormatVersion::V2, &[], &[]).await;
    lake.append(&[None]).await;
    lake.append(&[None]).await;
    let table = lake.table().await;
    lake.set(EAGER.0, EAGER.1).await;
    let snapshot = table.current_snapshot().unwrap().clone();
    let (manifest, _) = manifests(&table, &snapshot).await.remove(0);
    let location = Location::parse(&manifest.manifest_path).unwrap();
    let whole = table.storage().read(&location).await.unwrap();
    // Without its only block it is a manifest without entries.
    let sync = &whole[whole.len() - 16..];
    let end = whole.windows(16).position(|window| window == sync).unwrap() + 16;
    let cut = whole.slice(..end);
    table.storage().write(&location, cut).await.unwrap();
    let (files, _) = lake.write(&[None]).await;
    let notes = CommitNotes::default();
    let append = Append { files, notes };
    let error = apply(&*lake.committer, append).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(
        error.to_string().contains(&manifest.manifest_path),
        "{error}"
    );
}

#[tokio::test]
async fn totals_name_partitions_only_up_to_the_limit() {
    let limit = ("write.summary.partition-limit", "2");
    let mut lake = Lake::new(FormatVersion::V2, BY_P, &[limit]).await;
    let table = lake.append(&[Some(1), Some(2), Some(2)]).await;
    let found = summary(&table);
    assert_eq!(found["partition-summaries-included"], "true");
    assert!(
        found["partitions.p=2"].starts_with("added-data-files=1,added-records=2,added-files-size=")
    );
    assert!(found.contains_key("partitions.p=1"));
    assert_eq!(found["changed-partition-count"], "2");
    let table = lake.append(&[Some(1), Some(2), None]).await;
    let found = summary(&table);
    assert_eq!(found["changed-partition-count"], "3");
    assert!(
        !found.keys().any(|key| key.starts_with("partition")),
        "{found:?}"
    );
    // Not partitioned: one partition was changed, and there is nothing to say of it.
    let mut lake = Lake::new(FormatVersion::V2, &[], &[limit]).await;
    let found = summary(&lake.append(&[Some(1)]).await);
    assert_eq!(found["changed-partition-count"], "1");
    assert!(!found.keys().any(|key| key.starts_with("partition")));
    let notes = CommitNotes::default();
    let nothing = Append {
        files: vec![],
        notes,
    };
    let rows = lake.known().await;
    let found = summary(&lake.commit(nothing, rows).await);
    assert_eq!(found["changed-partition-count"], "0");
}

#[tokio::test]
async fn a_spec_of_void_fields_counts_as_not_partitioned() {
    let limit = ("write.summary.partition-limit", "10");
    let void = [(2, "p_void", Transform::Void)];
    let mut lake = Lake::new(FormatVersion::V2, &void, &[limit]).await;
    let found = summary(&lake.append(&[Some(1), Some(2)]).await);
    assert_eq!(found["changed-partition-count"], "1");
    assert!(!found.contains_key("partition-summaries-included"));
    lake.check_history().await;
}
