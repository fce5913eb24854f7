use berglake_format::plan::SnapshotSelector;
use berglake_format::properties::HistoryProperties;
use berglake_format::snapshot::{Append, CommitNotes, Reason};
use berglake_format::storage::{Location, Storage};
use berglake_format::write::DataWriter;
use berglake_format::{NamespaceIdent, TableIdent};
use berglake_ingest::progress::{
    Delta, FileMark, FileSet, FlowId, Position, Progress, Resume, Step, Version,
};
use berglake_maintenance::Watermarks;
use berglake_maintenance::{Operation, Outcome, Stop, expire};
use iceberg::spec::{self, FormatVersion, SnapshotRetention};

use crate::support::{Lake, batch, reachable, rows, set_ref};

const NOTHING: [(&str, &str); 1] = [("history.expire.max-snapshot-age-ms", "0")];

async fn lake() -> (Lake, TableIdent, TableIdent, FlowId) {
    let lake = Lake::new().await;
    let source = lake
        .create("source", FormatVersion::V2, false, &NOTHING)
        .await;
    let target = lake
        .create("target", FormatVersion::V2, false, &NOTHING)
        .await;
    (lake, source, target, FlowId::new("clean").unwrap())
}

async fn maintain(lake: &Lake) {
    let maintenance = lake.maintenance();
    let tables = maintenance.tables().await.unwrap();
    let stop = Stop::new();
    let compact = maintenance.run(&tables, &[Operation::Compact], &stop);
    let report = compact.await.unwrap();
    assert!(report.failures().is_empty(), "{report}");
    let expire = maintenance.run(&tables, &[Operation::Expire], &stop);
    let report = lake.in_the_far_future(expire).await.unwrap();
    assert!(report.failures().is_empty(), "{report}");
}

#[tokio::test]
async fn flows_that_still_need_a_snapshot_go_on_after_an_aggressive_expiry() {
    let (lake, source, target, flow) = lake().await;
    lake.append(&source, &[(1, 1)]).await;
    lake.append(&source, &[(2, 2)]).await;
    assert_eq!(lake.flow(&flow, &source, &target).await.unwrap(), 2);
    // The flow stands here while the source goes on, is compacted and loses its old snapshots.
    for k in 3..10 {
        lake.append(&source, &[(k, k)]).await;
    }
    let (maintenance, tables) = (lake.maintenance(), [source.clone()]);
    let plan = maintenance.plan(&tables, &[Operation::Expire]);
    let plan = lake.in_the_far_future(plan).await.unwrap();
    let Some(Outcome::Done(planned)) = &plan.tables[0].expire else {
        panic!("{plan:?}");
    };
    assert_eq!(
        planned.snapshots.expired.len(),
        1,
        "the one before the flow"
    );
    let by = "flow clean into db.target".to_string();
    let needed = Reason::Needed { by };
    assert!(
        planned
            .snapshots
            .kept
            .iter()
            .all(|kept| kept.reasons.contains(&needed))
    );
    assert!(
        plan.to_string()
            .contains("needed by flow clean into db.target")
    );

    maintain(&lake).await;
    assert_eq!(lake.flow(&flow, &source, &target).await.unwrap(), 7);
    let all: std::collections::BTreeMap<i64, i64> = (1..10).map(|k| (k, k)).collect();
    assert_eq!(lake.rows(&target).await, all);
    assert_eq!(lake.rows(&source).await, all);

    // Now it has seen all, and all may go but the head.
    maintain(&lake).await;
    let table = lake.table(&source).await;
    assert_eq!(table.metadata().snapshots().len(), 1);
    assert_eq!(lake.listed(&source).await, reachable(&table).await);
    lake.append(&source, &[(11, 11)]).await;
    assert_eq!(lake.flow(&flow, &source, &target).await.unwrap(), 1);
}

#[tokio::test]
async fn the_slowest_of_several_flows_decides() {
    let (lake, source, target, fast) = lake().await;
    let slow = FlowId::new("slow").unwrap();
    let other = lake
        .create("other", FormatVersion::V2, false, &NOTHING)
        .await;
    lake.append(&source, &[(1, 1)]).await;
    lake.flow(&slow, &source, &other).await.unwrap();
    for k in 2..5 {
        lake.append(&source, &[(k, k)]).await;
        lake.flow(&fast, &source, &target).await.unwrap();
        maintain(&lake).await;
    }
    assert_eq!(lake.flow(&slow, &source, &other).await.unwrap(), 3);
}

#[tokio::test]
async fn progress_is_told_as_before_when_the_snapshots_of_its_records_have_expired() {
    let (lake, source, target, flow) = lake().await;
    for k in 0..4 {
        lake.append(&source, &[(k, k)]).await;
        lake.flow(&flow, &source, &target).await.unwrap();
    }
    // Another writer is on top, so that the newest record is not on the head.
    lake.append(&target, &[(100, 100)]).await;
    let before = lake.position(&target, &flow).await;
    maintain(&lake).await;
    let table = lake.table(&target).await;
    assert_eq!(table.metadata().snapshots().len(), 1);
    assert_eq!(lake.position(&target, &flow).await, before);
    assert_eq!(lake.flow(&flow, &source, &target).await.unwrap(), 0);
}

#[tokio::test]
async fn after_a_rollback_that_nobody_has_decided_about_a_flow_can_still_be_told_to_replay() {
    let (lake, source, target, flow) = lake().await;
    let mut heads = Vec::new();
    for k in 0..4 {
        lake.append(&source, &[(k, k)]).await;
        lake.flow(&flow, &source, &target).await.unwrap();
        let table = lake.table(&target).await;
        heads.push(table.metadata().current_snapshot_id().unwrap());
    }
    let retention = SnapshotRetention::branch(None, None, None);
    lake.change(&target, vec![set_ref("main", heads[1], retention)])
        .await;
    let before = lake.table(&target).await;
    let progress = Progress::of(before.metadata(), &flow).unwrap();
    assert!(matches!(progress, Progress::RolledBack(_)));
    maintain(&lake).await;
    let after = lake.table(&target).await;
    assert_eq!(Progress::of(after.metadata(), &flow).unwrap(), progress);
    // The flow can be told to replay: the source still has what it needs for that.
    let from = progress.resume(&flow, Some(Resume::Replay)).unwrap();
    let Some(Position::Table { at, .. }) = from else {
        panic!("{from:?}");
    };
    let table = lake.table(&source).await;
    let head = table.metadata().current_snapshot_id().unwrap();
    let plan = berglake_format::plan::appended_rows(&table, Some(at), head, None).await;
    assert_eq!(plan.unwrap().tasks.len(), 2);
}

#[tokio::test]
async fn snapshots_stay_where_nothing_else_tells_what_a_rollback_has_undone() {
    let (lake, _, target, flow) = lake().await;
    let mut heads = Vec::new();
    let mut taken: Option<FileSet> = None;
    for k in 0..4 {
        let version = Version::ETag(format!("v{k}"));
        let new = FileSet::from([(format!("memory:///in/{k}"), FileMark { size: 1, version })]);
        let step = Step {
            flow: flow.clone(),
            from: taken.clone().map(Position::Files),
            delta: Delta::Files(new.clone()),
            resume: None,
        };
        heads.push(lake.append_as(&target, &[(k, k)], Some(step)).await);
        taken.get_or_insert_default().extend(new);
    }
    let retention = SnapshotRetention::branch(None, None, None);
    lake.change(&target, vec![set_ref("main", heads[1], retention)])
        .await;
    let before = lake.table(&target).await;
    let progress = Progress::of(before.metadata(), &flow).unwrap();
    maintain(&lake).await;
    let after = lake.table(&target).await;
    assert_eq!(after.metadata().snapshots().len(), 4);
    assert_eq!(Progress::of(after.metadata(), &flow).unwrap(), progress);
    let from = progress.resume(&flow, Some(Resume::Replay)).unwrap();
    let Some(Position::Files(files)) = from else {
        panic!("{from:?}");
    };
    assert_eq!(files.len(), 2);
}

#[tokio::test]
async fn what_a_view_was_computed_from_is_told_when_its_snapshot_has_expired() {
    const REFRESH: &str = "berglake.refresh.project.counted";
    let lake = Lake::new().await;
    let rewritten = [NOTHING[0], ("berglake.compact.rewrite-all", "true")];
    let view = lake
        .create("view", FormatVersion::V2, false, &rewritten)
        .await;
    let mut writer = DataWriter::new(&lake.table(&view).await).unwrap();
    writer.write(&batch(&[(1, 1)], 0)).await.unwrap();
    let notes = CommitNotes {
        summary: [(REFRESH.to_string(), "a record".to_string())].into(),
        ..CommitNotes::default()
    };
    let files = writer.finish().await.unwrap();
    lake.commit(&view, Append { files, notes }).await;
    let recorded = async || {
        let table = lake.table(&view).await;
        assert_eq!(table.metadata().snapshots().len(), 1);
        let summary = table.current_snapshot().unwrap().summary();
        assert_eq!(summary.operation, spec::Operation::Replace);
        summary.additional_properties.get(REFRESH).cloned()
    };
    // Again and again, as on a schedule.
    for _ in 0..3 {
        maintain(&lake).await;
        assert_eq!(recorded().await.as_deref(), Some("a record"));
    }
    // Rows of another writer: no compaction hides that they are there.
    lake.append(&view, &[(7, 7)]).await;
    maintain(&lake).await;
    assert_eq!(recorded().await, None);
}

#[tokio::test]
async fn readers_without_records_can_be_named() {
    let (lake, source, ..) = lake().await;
    let first = lake.append(&source, &[(1, 1)]).await;
    let second = lake.append(&source, &[(2, 2)]).await;
    lake.append(&source, &[(3, 3)]).await;
    let table = lake.table(&source).await;
    let mut watermarks = Watermarks::default();
    watermarks.need(&table, second, "a report");
    let history = HistoryProperties::default();
    let run = expire::run(lake.catalog.as_ref(), &table, history, &watermarks);
    lake.in_the_far_future(run).await.unwrap();
    let after = lake.table(&source).await;
    assert!(after.snapshot(first).is_err());
    assert_eq!(rows(&after, SnapshotSelector::Id(second)).await.len(), 2);
}

#[tokio::test]
async fn nothing_expires_while_a_table_of_the_catalog_cannot_be_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let uri = format!("sqlite:{}/catalog.db", folder.path().display());
    let storage = Storage::default();
    let lake = Lake::open(&uri, storage.clone()).await;
    let db = NamespaceIdent::new("db".to_string());
    lake.catalog.create_namespace(&db, [].into()).await.unwrap();
    let source = lake
        .create("source", FormatVersion::V2, false, &NOTHING)
        .await;
    let target = lake
        .create("target", FormatVersion::V2, false, &NOTHING)
        .await;
    lake.append(&source, &[(1, 1)]).await;
    lake.append(&source, &[(2, 2)]).await;
    let broken = lake.table(&target).await;
    let location = Location::parse(broken.metadata_location()).unwrap();
    let bytes = storage.read(&location).await.unwrap();
    storage.delete(&location).await.unwrap();

    let other = Lake::open(&uri, storage.clone()).await;
    let (maintenance, stop) = (other.maintenance(), Stop::new());
    let tables = [source.clone()];
    let run = maintenance.run(&tables, &[Operation::Expire], &stop);
    let report = other.in_the_far_future(run).await.unwrap();
    let Some(Outcome::Failed { error, .. }) = &report.tables[0].expire else {
        panic!("{report}");
    };
    assert!(error.contains("db.target"), "{error}");
    assert_eq!(other.table(&source).await.metadata().snapshots().len(), 2);
    // When it is there again, its needs are known, and it has none.
    storage.write(&location, bytes).await.unwrap();
    let run = maintenance.run(&tables, &[Operation::Expire], &stop);
    let report = other.in_the_far_future(run).await.unwrap();
    assert!(report.failures().is_empty(), "{report}");
    assert_eq!(other.table(&source).await.metadata().snapshots().len(), 1);
}
