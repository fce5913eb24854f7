//! Full refreshes, overwrites under a stream, and tables that were rolled back.

use berglake_pipeline::report::{FlowStatus, PlannedAction};
use berglake_pipeline::{Resume, RunOptions};

use crate::lake::{Lake, TABLES, events, flow, lines, statuses};

const BRONZE: &str = "SELECT k, seq, v FROM bronze.events";
const SILVER: &str = "SELECT k, seq, v FROM silver.events";

async fn two_files(version: u8) -> Lake {
    let lake = Lake::new(&events(version)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1), ("b", 1, 2)]));
    lake.run().await;
    lake.write("data/2.ndjson", &lines(&[("b", 2, 3), ("c", 1, 4)]));
    lake.run().await;
    lake
}

fn resume(resume: Resume) -> RunOptions {
    RunOptions {
        resume: Some(resume),
        ..RunOptions::default()
    }
}

#[tokio::test]
async fn a_full_refresh_of_any_kind_gives_the_same_rows() {
    for version in [2, 3] {
        let lake = two_files(version).await;
        let (bronze, silver) = (lake.rows(BRONZE).await, lake.rows(SILVER).await);
        assert_eq!(silver, ["a 1 1", "b 2 3", "c 1 4"]);

        let report = lake.refresh(&["gold.total"]).await;
        assert_eq!(
            statuses(&report),
            [
                FlowStatus::UpToDate,
                FlowStatus::UpToDate,
                FlowStatus::Updated
            ]
        );
        let report = lake.refresh(&["silver.events"]).await;
        assert_eq!(flow(&report, "silver.events").rows_read, 4);
        assert_eq!(lake.rows(SILVER).await, silver);
        // Nothing is appended to a table that a stream reads but by its flow: all three together.
        lake.refresh(&TABLES).await;
        assert_eq!(lake.rows(BRONZE).await, bronze);
        assert_eq!(lake.rows(SILVER).await, silver);
        assert_eq!(lake.rows("SELECT n, total FROM gold.total").await, ["3 8"]);
        assert_eq!(statuses(&lake.run().await), [FlowStatus::UpToDate; 3]);
        // And after a refresh things go on as ever.
        lake.write("data/3.ndjson", &lines(&[("c", 2, 9)]));
        lake.run().await;
        assert_eq!(lake.rows(SILVER).await, ["a 1 1", "b 2 3", "c 2 9"]);
    }
}

#[tokio::test]
async fn a_stream_whose_source_was_refreshed_says_what_to_do_and_that_helps() {
    let lake = two_files(2).await;
    let options = RunOptions {
        full_refresh: vec!["bronze.events".into()],
        ..RunOptions::default()
    };
    let report = lake.run_with(&options).await;
    assert_eq!(
        statuses(&report),
        [FlowStatus::Updated, FlowStatus::Failed, FlowStatus::Skipped]
    );
    let error = flow(&report, "silver.events").error.clone().unwrap();
    assert!(error.contains("--full-refresh silver.events"), "{error}");
    let PlannedAction::Blocked { reason } = lake.plan("silver.events").await else {
        panic!("a plan must not promise what a run cannot do");
    };
    assert!(reason.contains("--full-refresh silver.events"), "{reason}");
    // Again and again, and nothing happens to the table.
    assert_eq!(lake.fails("silver.events").await, error);
    assert_eq!(lake.rows(SILVER).await, ["a 1 1", "b 2 3", "c 1 4"]);

    lake.refresh(&["silver.events"]).await;
    assert_eq!(lake.rows(SILVER).await, ["a 1 1", "b 2 3", "c 1 4"]);
    assert_eq!(statuses(&lake.run().await), [FlowStatus::UpToDate; 3]);
}

#[tokio::test]
async fn an_overwrite_under_a_stream_is_an_error_until_a_refresh() {
    let lake = two_files(2).await;
    let row = |k: &str| format!("SELECT '{k}' AS k, 1 AS seq, 1 AS v");
    lake.overwrite("bronze.events", &row("x")).await;
    lake.append("bronze.events", &row("y")).await;
    let error = lake.fails("silver.events").await;
    assert!(error.contains("not only appended"), "{error}");
    assert!(error.contains("bronze.events"), "{error}");
    assert!(error.contains("--full-refresh silver.events"), "{error}");
    assert_eq!(lake.rows(SILVER).await, ["a 1 1", "b 2 3", "c 1 4"]);
    // The refreshed table holds what its source holds now.
    lake.refresh(&["silver.events"]).await;
    assert_eq!(lake.rows(SILVER).await, ["x 1 1", "y 1 1"]);
}

#[tokio::test]
async fn a_new_stream_reads_a_source_with_a_history() {
    // A table of somebody else, whose rows were replaced before the stream began.
    let lake = Lake::new(
        "CREATE OR REFRESH STREAMING TABLE bronze.copy
           TBLPROPERTIES ('berglake.batch.max-rows' = '1')
           AS SELECT k FROM STREAM(theirs.events);",
    )
    .await;
    lake.execute("CREATE NAMESPACE theirs").await;
    lake.execute("CREATE TABLE theirs.events (k STRING)").await;
    let row = |k: &str| format!("SELECT '{k}' AS k");
    lake.append("theirs.events", &row("gone")).await;
    lake.overwrite("theirs.events", &row("a")).await;
    lake.append("theirs.events", &row("b")).await;
    lake.append("theirs.events", &row("c")).await;
    lake.run().await;
    let rows = "SELECT k FROM bronze.copy";
    assert_eq!(lake.rows(rows).await, ["a", "b", "c"]);
    // The state after the replacement is the first batch, each append one more.
    assert_eq!(lake.snapshots(&["bronze.copy"]).await, [3]);
    lake.append("theirs.events", &row("d")).await;
    lake.run().await;
    assert_eq!(lake.rows(rows).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_source_that_was_made_anew_is_no_continuation() {
    let lake = two_files(2).await;
    let bronze = lake.table("bronze.events").await;
    lake.catalog
        .drop_table(bronze.ident(), false)
        .await
        .unwrap();
    let error = lake.fails("silver.events").await;
    assert!(error.contains("another table"), "{error}");
    assert!(error.contains("--full-refresh silver.events"), "{error}");
    assert_eq!(lake.rows(SILVER).await, ["a 1 1", "b 2 3", "c 1 4"]);
    lake.refresh(&["silver.events"]).await;
    assert_eq!(lake.rows(SILVER).await, ["a 1 1", "b 2 3", "c 1 4"]);
}

#[tokio::test]
async fn a_table_that_was_rolled_back_stops_its_flow_until_somebody_decides() {
    for decision in [Resume::Replay, Resume::Skip] {
        let lake = two_files(2).await;
        lake.roll_back("bronze.events").await;
        let before = lake.snapshots(&TABLES).await;
        let error = lake.fails("bronze.events").await;
        assert!(error.contains("rolled back"), "{error}");
        assert!(error.contains("--resume replay"), "{error}");
        assert!(error.contains("--resume skip"), "{error}");
        assert_eq!(lake.snapshots(&TABLES).await, before);
        let PlannedAction::Blocked { reason } = lake.plan("bronze.events").await else {
            panic!("a plan must say that the flow stops");
        };
        assert!(reason.contains("rolled back"), "{reason}");

        lake.write("data/3.ndjson", &lines(&[("d", 1, 5)]));
        let report = lake.run_with(&resume(decision)).await;
        assert_eq!(flow(&report, "bronze.events").status, FlowStatus::Updated);
        let expected = match decision {
            Resume::Replay => vec!["a 1 1", "b 1 2", "b 2 3", "c 1 4", "d 1 5"],
            Resume::Skip => vec!["a 1 1", "b 1 2", "d 1 5"],
        };
        assert_eq!(lake.rows(BRONZE).await, expected, "{decision:?}");
        // The stream behind it has read snapshots that are no history any more.
        let silver = flow(&report, "silver.events");
        assert_eq!(silver.status, FlowStatus::Failed);
        assert!(
            silver
                .error
                .clone()
                .unwrap()
                .contains("--full-refresh silver.events")
        );
        lake.refresh(&["silver.events"]).await;
        // It was decided: the next run does not ask again.
        assert_eq!(statuses(&lake.run().await), [FlowStatus::UpToDate; 3]);
        assert_eq!(lake.rows(BRONZE).await, expected, "{decision:?}");
    }
}

#[tokio::test]
async fn an_upserted_table_that_was_rolled_back_can_be_replayed_and_skipped() {
    for (decision, expected) in [
        (Resume::Replay, ["a 1 1", "b 2 3", "c 1 4"].as_slice()),
        (Resume::Skip, ["a 1 1", "b 1 2"].as_slice()),
    ] {
        let lake = two_files(3).await;
        lake.roll_back("silver.events").await;
        let error = lake.fails("silver.events").await;
        assert!(error.contains("rolled back"), "{error}");
        let report = lake.run_with(&resume(decision)).await;
        assert!(report.succeeded(), "{report:#?}");
        assert_eq!(lake.rows(SILVER).await, expected, "{decision:?}");
    }
}

#[tokio::test]
async fn a_materialized_view_that_was_rolled_back_is_refreshed() {
    let lake = two_files(2).await;
    lake.roll_back("gold.total").await;
    assert_eq!(lake.rows("SELECT n FROM gold.total").await, ["2"]);
    lake.run().await;
    assert_eq!(lake.rows("SELECT n FROM gold.total").await, ["3"]);
}
