use std::collections::BTreeSet;
use std::sync::Arc;

use berglake_format::commit::Committer;
use berglake_format::commit::faults::{Fault, FaultyCommitter};
use berglake_format::plan::SnapshotSelector;
use berglake_format::properties::HistoryProperties;
use berglake_format::snapshot::Reason;
use berglake_format::storage::Location;
use berglake_maintenance::{MaintenanceReport, Operation, Outcome, Stop, Watermarks, expire};
use futures::FutureExt;
use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, SnapshotRetention, StatisticsFile};

use crate::support::{Interrupted, Lake, reachable, rows, set_ref, tag};

async fn expire_all(lake: &Lake) -> MaintenanceReport {
    let maintenance = lake.maintenance();
    let tables = maintenance.tables().await.unwrap();
    maintenance
        .run(&tables, &[Operation::Expire], &Stop::new())
        .await
        .unwrap()
}

fn aggressive() -> HistoryProperties {
    HistoryProperties {
        max_snapshot_age_ms: Some(0),
        ..HistoryProperties::default()
    }
}

#[tokio::test]
async fn snapshots_past_their_age_go_with_the_files_that_only_they_needed() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let lake = Lake::new().await;
        let age = [("history.expire.max-snapshot-age-ms", "604800000")];
        let t = lake.create("t", version, true, &age).await;
        let first = lake.append(&t, &[(1, 1), (2, 2), (3, 3)]).await;
        lake.upsert(&t, &[(1, 10), (4, 40)], 1).await;
        lake.days(8);
        let young = lake.append(&t, &[(5, 5)]).await;
        let before = lake.rows(&t).await;
        assert_eq!(
            lake.listed(&t).await,
            reachable(&lake.table(&t).await).await
        );

        let plan = lake
            .maintenance()
            .plan(std::slice::from_ref(&t), &[Operation::Expire])
            .await
            .unwrap();
        let Some(Outcome::Done(plan)) = &plan.tables[0].expire else {
            panic!("{plan:?}");
        };
        assert_eq!(plan.snapshots.expired.len(), 2);
        assert_eq!(plan.snapshots.kept.len(), 1);
        assert_eq!(plan.snapshots.kept[0].snapshot_id, young);
        // Nothing was done yet.
        assert_eq!(lake.table(&t).await.metadata().snapshots().len(), 3);

        let report = expire_all(&lake).await;
        let Some(Outcome::Done(done)) = &report.tables[0].expire else {
            panic!("{report:?}");
        };
        assert_eq!(done.files, plan.files, "what was planned was done");
        assert_eq!(done.files_left, 0);
        let table = lake.table(&t).await;
        assert!(table.snapshot(first).is_err());
        assert_eq!(lake.rows(&t).await, before);
        assert_eq!(lake.listed(&t).await, reachable(&table).await);
        let again = expire_all(&lake).await;
        assert_eq!(
            again.tables[0]
                .expire
                .as_ref()
                .and_then(Outcome::done)
                .unwrap()
                .expired,
            Vec::<i64>::new()
        );
    }
}

#[tokio::test]
async fn retention_is_that_of_the_table_then_of_its_layer_then_of_the_project() {
    let lake = Lake::new().await;
    let own = [("history.expire.max-snapshot-age-ms", "259200000")];
    let three = lake.create("three", FormatVersion::V2, false, &own).await;
    let seven = lake.create("seven", FormatVersion::V2, false, &[]).await;
    for table in [&three, &seven] {
        lake.append(table, &[(1, 1)]).await;
        lake.append(table, &[(2, 2)]).await;
    }
    let mut policies = berglake_maintenance::Policies::default();
    let age = "history.expire.max-snapshot-age-ms".to_string();
    policies.defaults.insert(age.clone(), "0".to_string());
    let layer = [(age, "604800000".to_string())].into();
    policies.layers.insert("db".to_string(), layer);
    let maintenance = berglake_maintenance::Maintenance::new(lake.catalog.clone(), policies);
    for (days, left) in [(2, [2, 2]), (2, [1, 2]), (4, [1, 1])] {
        lake.days(days);
        let tables = [three.clone(), seven.clone()];
        let stop = Stop::new();
        let run = maintenance.run(&tables, &[Operation::Expire], &stop);
        assert!(run.await.unwrap().failures().is_empty());
        for (table, left) in tables.iter().zip(left) {
            assert_eq!(lake.table(table).await.metadata().snapshots().len(), left);
        }
    }
}

#[tokio::test]
async fn branches_and_tags_keep_their_snapshots_by_their_own_settings() {
    let lake = Lake::new().await;
    let t = lake.create("t", FormatVersion::V2, false, &[]).await;
    let mut ids = Vec::new();
    for k in 0..8 {
        ids.push(lake.append(&t, &[(k, k)]).await);
    }
    let branch = |least, age, of_ref| SnapshotRetention::branch(least, age, of_ref);
    lake.change(
        &t,
        vec![
            tag("release", ids[1]),
            set_ref("two", ids[4], branch(Some(2), None, None)),
            set_ref("old", ids[6], branch(Some(9), None, Some(1_000))),
            set_ref("main", ids[7], branch(Some(1), Some(0), None)),
        ],
    )
    .await;
    lake.days(1);
    // The table's own limit of age, five days, holds for the branch `two`, so make all of it old.
    lake.days(9);
    let head = ids[7];
    let table = lake.table(&t).await;
    let plan = expire::plan(&table, HistoryProperties::default(), &Watermarks::default())
        .await
        .unwrap();
    let kept: Vec<i64> = plan
        .snapshots
        .kept
        .iter()
        .map(|kept| kept.snapshot_id)
        .collect();
    assert_eq!(kept, [ids[1], ids[3], ids[4], head]);
    assert_eq!(plan.snapshots.refs, ["old"]);
    let reasons = &plan.snapshots.kept[0].reasons;
    let release = Reason::Tag {
        tag: "release".into(),
    };
    assert_eq!(*reasons, BTreeSet::from([release]));

    expire_all(&lake).await;
    let after = lake.table(&t).await;
    let refs: Vec<String> = after.refs().unwrap().into_keys().collect();
    assert_eq!(refs, ["main", "release", "two"]);
    assert_eq!(lake.listed(&t).await, reachable(&after).await);
    let tagged = rows(&after, SnapshotSelector::Ref("release".into())).await;
    assert_eq!(tagged, [(0, 0), (1, 1)].into());
    assert_eq!(rows(&after, SnapshotSelector::Id(ids[3])).await.len(), 4);
}

#[tokio::test]
async fn a_protected_table_does_not_expire() {
    let lake = Lake::new().await;
    let t = lake
        .create("t", FormatVersion::V2, false, &[("gc.enabled", "false")])
        .await;
    lake.append(&t, &[(1, 1)]).await;
    lake.append(&t, &[(2, 2)]).await;
    lake.days(100);
    let files = lake.listed(&t).await;
    let report = expire_all(&lake).await;
    assert!(
        matches!(&report.tables[0].expire, Some(Outcome::Refused { reason }) if reason.contains("gc.enabled"))
    );
    assert!(report.failures().is_empty());
    assert_eq!(lake.table(&t).await.metadata().snapshots().len(), 2);
    assert_eq!(lake.listed(&t).await, files);
}

#[tokio::test]
async fn nothing_expires_when_something_of_the_table_cannot_be_read() {
    let lake = Lake::new().await;
    let t = lake.create("t", FormatVersion::V2, false, &[]).await;
    lake.append(&t, &[(1, 1)]).await;
    let kept = lake.append(&t, &[(2, 2)]).await;
    lake.append(&t, &[(3, 3)]).await;
    lake.change(&t, vec![tag("kept", kept)]).await;
    lake.days(100);
    let table = lake.table(&t).await;
    let list = Location::parse(table.snapshot(kept).unwrap().manifest_list()).unwrap();
    let bytes = table.storage().read(&list).await.unwrap();
    table.storage().delete(&list).await.unwrap();
    let files = lake.listed(&t).await;
    let report = expire_all(&lake).await;
    assert!(
        matches!(&report.tables[0].expire, Some(Outcome::Failed { .. })),
        "{report:?}"
    );
    assert_eq!(lake.listed(&t).await, files, "no file was deleted");
    let snapshots = lake.table(&t).await.metadata().snapshots().len();
    assert_eq!(
        snapshots, 3,
        "nobody would look for the files of one that is gone"
    );
    // When it can be read again, nothing is left over.
    table.storage().write(&list, bytes).await.unwrap();
    let report = expire_all(&lake).await;
    assert!(report.failures().is_empty(), "{report}");
    let table = lake.table(&t).await;
    assert_eq!(table.metadata().snapshots().len(), 2);
    assert_eq!(lake.listed(&t).await, reachable(&table).await);
}

#[tokio::test]
async fn no_file_goes_when_something_becomes_unreadable_while_snapshots_expire() {
    let lake = Lake::new().await;
    let t = lake.create("t", FormatVersion::V2, false, &[]).await;
    lake.append(&t, &[(1, 1)]).await;
    lake.append(&t, &[(2, 2)]).await;
    let table = lake.table(&t).await;
    let list = Location::parse(table.current_snapshot().unwrap().manifest_list()).unwrap();
    let storage = table.storage().clone();
    let lost = list.clone();
    let committer = Interrupted::before_commit(
        &lake.catalog,
        Box::new(move |_| async move { storage.delete(&lost).await.unwrap() }.boxed()),
    );
    let files = lake.listed(&t).await;
    let error = expire::run(&committer, &table, aggressive(), &Watermarks::default())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("snapshots have expired"),
        "{error}"
    );
    assert!(error.advice().unwrap().contains("no file was deleted"));
    let mut left = lake.listed(&t).await;
    left.insert(list.to_string());
    assert_eq!(left, files);
}

#[tokio::test]
async fn statistics_go_with_their_snapshots_and_others_stay() {
    let lake = Lake::new().await;
    let t = lake.create("t", FormatVersion::V2, false, &[]).await;
    let old = lake.append(&t, &[(1, 1)]).await;
    let new = lake.append(&t, &[(2, 2)]).await;
    let table = lake.table(&t).await;
    let mut updates = Vec::new();
    for (snapshot_id, name) in [(old, "old.stats"), (new, "new.stats")] {
        let location = table.metadata_folder().unwrap().join(name);
        let bytes = vec![1_u8].into();
        table.storage().write(&location, bytes).await.unwrap();
        updates.push(TableUpdate::SetStatistics {
            statistics: StatisticsFile {
                snapshot_id,
                statistics_path: location.to_string(),
                file_size_in_bytes: 1,
                file_footer_size_in_bytes: 1,
                key_metadata: None,
                blob_metadata: vec![],
            },
        });
    }
    lake.change(&t, updates).await;
    lake.days(100);
    expire_all(&lake).await;
    let table = lake.table(&t).await;
    assert_eq!(table.metadata().statistics_iter().count(), 1);
    assert_eq!(lake.listed(&t).await, reachable(&table).await);
    assert!(
        lake.listed(&t)
            .await
            .iter()
            .any(|path| path.ends_with("new.stats"))
    );
}

#[tokio::test]
async fn a_tag_that_comes_while_its_snapshot_is_about_to_go_saves_it() {
    let lake = Lake::new().await;
    let t = lake.create("t", FormatVersion::V2, false, &[]).await;
    let old = lake.append(&t, &[(1, 1)]).await;
    lake.append(&t, &[(2, 2)]).await;
    lake.append(&t, &[(3, 3)]).await;
    let ident = t.clone();
    let committer = Interrupted::before_commit(
        &lake.catalog,
        Box::new(move |catalog| {
            async move {
                crate::support::change(catalog.as_ref(), &ident, vec![tag("saved", old)]).await;
            }
            .boxed()
        }),
    );
    let table = lake.table(&t).await;
    let report = expire::run(&committer, &table, aggressive(), &Watermarks::default())
        .await
        .unwrap();
    assert_eq!(report.expired.len(), 1);
    let after = lake.table(&t).await;
    let saved = rows(&after, SnapshotSelector::Ref("saved".into())).await;
    assert_eq!(saved, [(1, 1)].into());
    assert_eq!(lake.listed(&t).await, reachable(&after).await);
}

#[tokio::test]
async fn lost_answers_and_late_commits_delete_no_file_that_is_needed() {
    for faults in [
        vec![Fault::LostAnswer],
        vec![Fault::LostRequest],
        vec![Fault::Late],
        vec![Fault::Conflict, Fault::Late, Fault::LostAnswer],
        vec![Fault::LostRequest, Fault::Late, Fault::Conflict],
    ] {
        let lake = Lake::new().await;
        let t = lake.create("t", FormatVersion::V2, false, &[]).await;
        for k in 0..4 {
            lake.append(&t, &[(k, k)]).await;
        }
        let catalog: Arc<dyn Committer> = lake.catalog.clone();
        let committer = FaultyCommitter::new(catalog, faults.clone());
        let table = lake.table(&t).await;
        let report = expire::run(&committer, &table, aggressive(), &Watermarks::default())
            .await
            .unwrap();
        assert_eq!(report.expired.len(), 3, "{faults:?}");
        let after = lake.table(&t).await;
        assert_eq!(after.metadata().snapshots().len(), 1);
        assert_eq!(lake.rows(&t).await.len(), 4);
        assert_eq!(lake.listed(&t).await, reachable(&after).await, "{faults:?}");
    }
}
