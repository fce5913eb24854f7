use std::collections::BTreeMap;

use berglake_format::TableIdent;
use berglake_format::plan::SnapshotSelector;
use berglake_ingest::progress::FlowId;
use berglake_maintenance::compact::{self, CompactionOptions, GroupOutcome, GroupReason};
use berglake_maintenance::{Operation, Outcome, Stop};
use futures::FutureExt;
use iceberg::spec::FormatVersion;

use crate::support::{Interrupted, Lake, reachable, rows, upsert};

fn options(pairs: &[(&str, &str)]) -> CompactionOptions {
    let properties = pairs.iter().map(|(key, value)| {
        (
            format!("{}{key}", CompactionOptions::PREFIX),
            (*value).to_string(),
        )
    });
    CompactionOptions::parse(&properties.collect()).unwrap()
}

async fn data_files(lake: &Lake, table: &TableIdent) -> usize {
    lake.table(table)
        .await
        .scan()
        .plan()
        .await
        .unwrap()
        .tasks
        .len()
}

#[tokio::test]
async fn many_small_files_become_few_without_deletes_and_a_second_run_does_nothing() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let lake = Lake::new().await;
        let t = lake.create("t", version, true, &[]).await;
        for i in 0..6 {
            let batch: Vec<(i64, i64)> = (0..40).map(|k| (k * 3 + i, i)).collect();
            lake.upsert(&t, &batch, i).await;
        }
        let before = lake.rows(&t).await;
        let maintenance = lake.maintenance();
        let tables = [t.clone()];
        let plan = maintenance
            .plan(&tables, &[Operation::Compact])
            .await
            .unwrap();
        let Some(Outcome::Done(planned)) = &plan.tables[0].compact else {
            panic!("{plan:?}");
        };
        assert_eq!(planned.groups.len(), 2, "one for each partition");
        assert!(
            planned
                .groups
                .iter()
                .all(|group| group.reason == GroupReason::Files)
        );
        assert!(
            planned
                .groups
                .iter()
                .any(|group| group.partition == "k_bucket=0")
        );

        let stop = Stop::new();
        let run = maintenance.run(&tables, &[Operation::Compact], &stop);
        let report = run.await.unwrap();
        assert!(report.failures().is_empty(), "{report}");
        assert_eq!(lake.rows(&t).await, before);
        assert_eq!(data_files(&lake, &t).await, 2);
        let scan = lake.table(&t).await.scan().plan().await.unwrap();
        assert!(!scan.has_deletes());
        let plan = maintenance
            .plan(&tables, &[Operation::Compact])
            .await
            .unwrap();
        let again = plan.tables[0]
            .compact
            .as_ref()
            .and_then(Outcome::done)
            .unwrap();
        assert!(again.groups.is_empty(), "{plan}");
        let summary = lake
            .table(&t)
            .await
            .current_snapshot()
            .unwrap()
            .summary()
            .clone();
        assert_eq!(summary.operation, iceberg::spec::Operation::Replace);
    }
}

#[tokio::test]
async fn a_file_with_many_deletes_is_rewritten_and_one_with_few_is_not() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let lake = Lake::new().await;
        let t = lake.create("t", version, false, &[]).await;
        let rows: Vec<(i64, i64)> = (0..100).map(|k| (k, k)).collect();
        lake.append(&t, &rows).await;
        lake.upsert(&t, &rows[..20], 1).await;
        let plan = compact::plan(&lake.table(&t).await, &options(&[]))
            .await
            .unwrap();
        assert!(plan.groups.is_empty(), "{plan:?}");
        lake.upsert(&t, &rows[20..35], 2).await;
        let plan = compact::plan(&lake.table(&t).await, &options(&[]))
            .await
            .unwrap();
        assert_eq!(plan.groups[0].reason, GroupReason::Deletes);
    }
}

#[tokio::test]
async fn a_table_without_rows_or_with_all_rows_deleted_is_no_problem() {
    let lake = Lake::new().await;
    let t = lake.create("t", FormatVersion::V2, false, &[]).await;
    let all = options(&[("rewrite-all", "true")]);
    let stop = Stop::new();
    let table = lake.table(&t).await;
    let report = compact::run(lake.catalog.as_ref(), &table, &all, &stop)
        .await
        .unwrap();
    assert!(report.groups.is_empty());
    lake.append(&t, &[(1, 1)]).await;
    // The row moves into another file, so that nothing of the first is left.
    lake.upsert(&t, &[(1, 2)], 1).await;
    let table = lake.table(&t).await;
    let report = compact::run(lake.catalog.as_ref(), &table, &all, &stop)
        .await
        .unwrap();
    assert!(report.succeeded());
    assert_eq!(lake.rows(&t).await, [(1, 2)].into());
    assert_eq!(data_files(&lake, &t).await, 1);
}

#[tokio::test]
async fn upserts_that_come_in_between_are_neither_lost_nor_undone() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        for partitioned in [false, true] {
            let lake = Lake::new().await;
            let t = lake.create("t", version, partitioned, &[]).await;
            for i in 0..6 {
                let batch: Vec<(i64, i64)> = (0..20).map(|k| (k + 10 * i, i)).collect();
                lake.upsert(&t, &batch, i).await;
            }
            let mut expected = lake.rows(&t).await;
            expected.extend([(5, 500), (15, 500), (55, 500), (1_000, 500)]);
            let ident = t.clone();
            let committer = Interrupted::before_load(
                &lake.catalog,
                Box::new(move |catalog| {
                    async move {
                        let changed = [(5, 400), (15, 400)];
                        upsert(catalog.as_ref(), &ident, &changed, 10)
                            .await
                            .unwrap();
                        let changed = [(5, 500), (15, 500), (55, 500), (1_000, 500)];
                        upsert(catalog.as_ref(), &ident, &changed, 11)
                            .await
                            .unwrap();
                    }
                    .boxed()
                }),
            );
            let table = lake.table(&t).await;
            let report = compact::run(&committer, &table, &options(&[]), &Stop::new())
                .await
                .unwrap();
            for group in &report.groups {
                assert!(
                    matches!(group.outcome, GroupOutcome::Committed { .. }),
                    "{group:?}"
                );
            }
            assert_eq!(lake.rows(&t).await, expected);
        }
    }
}

#[tokio::test]
async fn an_upsert_that_was_planned_before_a_compaction_is_planned_again_after_it() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        let lake = Lake::new().await;
        let t = lake.create("t", version, false, &[]).await;
        for i in 0..6 {
            lake.upsert(&t, &[(i, i), (i + 1, i)], i).await;
        }
        let mut expected = lake.rows(&t).await;
        expected.insert(3, 300);
        let ident = t.clone();
        let committer = Interrupted::before_commit(
            &lake.catalog,
            Box::new(move |catalog| {
                async move {
                    let table = catalog.load(&ident).await.unwrap();
                    let all = options(&[("rewrite-all", "true")]);
                    let stop = Stop::new();
                    let run = compact::run(catalog.as_ref(), &table, &all, &stop);
                    assert!(run.await.unwrap().succeeded());
                }
                .boxed()
            }),
        );
        upsert(&committer, &t, &[(3, 300)], 10).await.unwrap();
        assert_eq!(lake.rows(&t).await, expected);
    }
}

#[tokio::test]
async fn a_group_that_gives_way_leaves_no_files_and_does_not_keep_the_others_from_it() {
    let lake = Lake::new().await;
    let t = lake.create("t", FormatVersion::V2, true, &[]).await;
    for i in 0..6 {
        let batch: Vec<(i64, i64)> = (0..20).map(|k| (k + 20 * i, i)).collect();
        lake.append(&t, &batch).await;
    }
    let expected = lake.rows(&t).await;
    let ident = t.clone();
    // Another compaction is faster in one of the two partitions.
    let committer = Interrupted::before_load(
        &lake.catalog,
        Box::new(move |catalog| {
            async move {
                let table = catalog.load(&ident).await.unwrap();
                let mut plan = table.scan().plan().await.unwrap();
                let bucket = plan.tasks[0].file.partition().clone();
                plan.tasks.retain(|task| *task.file.partition() == bucket);
                let properties = berglake_format::properties::WriteProperties::default();
                let copied =
                    berglake_format::rewrite::copy_rows(&plan, &plan.tasks, &properties, 1 << 20)
                        .await
                        .unwrap();
                let rewrite =
                    berglake_format::snapshot::RewriteFiles::new(&plan, vec![copied]).unwrap();
                berglake_format::commit::Transaction::new(catalog.as_ref())
                    .step(ident.clone(), rewrite)
                    .commit()
                    .await
                    .unwrap();
            }
            .boxed()
        }),
    );
    let table = lake.table(&t).await;
    // Both groups in one commit, so that the one must be told from the other.
    let together = options(&[("partial-progress.enabled", "false")]);
    let report = compact::run(&committer, &table, &together, &Stop::new())
        .await
        .unwrap();
    let outcomes: Vec<bool> = report
        .groups
        .iter()
        .map(|group| matches!(group.outcome, GroupOutcome::Committed { .. }))
        .collect();
    assert_eq!(outcomes.iter().filter(|committed| **committed).count(), 1);
    assert!(report.succeeded(), "to give way is no failure");
    assert_eq!(lake.rows(&t).await, expected);
    assert_eq!(data_files(&lake, &t).await, 2);
    assert_eq!(
        lake.listed(&t).await,
        reachable(&lake.table(&t).await).await
    );
}

#[tokio::test]
async fn nothing_is_begun_after_somebody_asked_to_stop() {
    let lake = Lake::new().await;
    let t = lake.create("t", FormatVersion::V2, true, &[]).await;
    for i in 0..12 {
        lake.append(&t, &[(i, i)]).await;
    }
    let (stop, table) = (Stop::new(), lake.table(&t).await);
    stop.ask();
    let all = options(&[("rewrite-all", "true")]);
    let report = compact::run(lake.catalog.as_ref(), &table, &all, &stop)
        .await
        .unwrap();
    assert_eq!((report.groups.len(), report.not_begun), (0, 2));
    assert_eq!(data_files(&lake, &t).await, 12);
}

#[tokio::test]
async fn time_travel_and_flows_work_across_compactions() {
    let lake = Lake::new().await;
    let source = lake.create("source", FormatVersion::V3, false, &[]).await;
    let target = lake.create("target", FormatVersion::V2, false, &[]).await;
    let flow = FlowId::new("f").unwrap();
    let mut snapshots = BTreeMap::new();
    for i in 0..10 {
        let id = lake.append(&source, &[(i, i)]).await;
        snapshots.insert(id, lake.rows(&source).await);
        if i == 2 {
            lake.flow(&flow, &source, &target).await.unwrap();
        }
    }
    let table = lake.table(&source).await;
    let all = options(&[("rewrite-all", "true")]);
    let stop = Stop::new();
    let run = compact::run(lake.catalog.as_ref(), &table, &all, &stop);
    assert!(run.await.unwrap().succeeded());
    assert_eq!(data_files(&lake, &source).await, 1);
    let table = lake.table(&source).await;
    for (id, expected) in &snapshots {
        assert_eq!(rows(&table, SnapshotSelector::Id(*id)).await, *expected);
    }
    // What was appended behind the flow's position is read from the files that it was appended in.
    assert_eq!(lake.flow(&flow, &source, &target).await.unwrap(), 7);
    assert_eq!(lake.rows(&target).await, lake.rows(&source).await);
    assert_eq!(lake.flow(&flow, &source, &target).await.unwrap(), 0);
}
