//! What the second run and those after it do.

use berglake_format::plan::ScanTask;
use berglake_pipeline::report::{FlowStatus, PlannedAction};
use iceberg::spec::DataFileFormat;

use crate::lake::{Lake, TABLES, events, flow, lines, statuses};

const SILVER: &str = "SELECT k, seq, v FROM silver.events";
const GOLD: &str = "SELECT n, total FROM gold.total";

#[tokio::test]
async fn runs_take_what_is_new_and_nothing_else() {
    for version in [2, 3] {
        let lake = Lake::new(&events(version)).await;
        lake.write(
            "data/1.ndjson",
            &lines(&[("a", 1, 1), ("b", 1, 2), ("c", 1, 3)]),
        );
        lake.write("data/2.ndjson", &lines(&[("c", 1, 4), ("d", 1, 5)]));
        let report = lake.run().await;
        assert_eq!(flow(&report, "bronze.events").rows_inserted, 5);
        // One commit per file, and one that makes an upsert of both.
        assert_eq!(lake.snapshots(&TABLES).await, [2, 1, 1]);
        assert_eq!(
            lake.rows(SILVER).await,
            ["a 1 1", "b 1 2", "c 1 4", "d 1 5"]
        );
        assert_eq!(lake.rows(GOLD).await, ["4 12"]);

        let report = lake.run().await;
        assert_eq!(statuses(&report), [FlowStatus::UpToDate; 3]);
        assert_eq!(lake.snapshots(&TABLES).await, [2, 1, 1]);
        for table in TABLES {
            assert_eq!(lake.plan(table).await, PlannedAction::UpToDate, "{table}");
        }

        // Two rounds of deletes in the same data file, the second of them with a late row.
        lake.write("data/3.ndjson", &lines(&[("a", 2, 10)]));
        let report = lake.run().await;
        assert_eq!(flow(&report, "silver.events").rows_updated, 1);
        assert_eq!(
            lake.rows(SILVER).await,
            ["a 2 10", "b 1 2", "c 1 4", "d 1 5"]
        );
        lake.write(
            "data/4.ndjson",
            &lines(&[("b", 2, 20), ("d", 0, 50), ("e", 1, 6)]),
        );
        let report = lake.run().await;
        assert_eq!(flow(&report, "silver.events").rows_superseded, 1);
        let silver = ["a 2 10", "b 2 20", "c 1 4", "d 1 5", "e 1 6"];
        assert_eq!(lake.rows(SILVER).await, silver);
        assert_eq!(lake.rows(GOLD).await, ["5 45"]);
        assert_eq!(lake.snapshots(&TABLES).await, [4, 3, 3]);
        let table = lake.table("silver.events").await;
        assert_eq!(table.metadata().format_version() as u8, version);
        let plan = table.scan().plan().await.unwrap();
        let deletes = |task: &ScanTask| {
            let files = task.position_deletes.iter();
            files
                .map(|delete| delete.file.file_format())
                .collect::<Vec<_>>()
        };
        let expected = match version {
            // A second deletion vector takes the place of the first.
            3 => vec![DataFileFormat::Puffin],
            _ => vec![DataFileFormat::Parquet; 2],
        };
        assert_eq!(deletes(&plan.tasks[0]), expected, "version {version}");
    }
}

#[tokio::test]
async fn a_file_that_has_changed_is_warned_of_once_and_not_read_again() {
    let lake = Lake::new(&events(2)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    lake.run().await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1), ("b", 1, 2)]));
    lake.write("data/2.ndjson", &lines(&[("c", 1, 3)]));
    lake.write("data/3.ndjson", &lines(&[("d", 1, 4)]));
    let report = lake.run().await;
    let warnings = &flow(&report, "bronze.events").warnings;
    // Three batches are looked for, and there is one warning.
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("1.ndjson has changed"), "{warnings:?}");
    assert!(
        warnings[0].contains("--full-refresh bronze.events"),
        "{warnings:?}"
    );
    assert_eq!(
        lake.rows("SELECT k FROM bronze.events").await,
        ["a", "c", "d"]
    );

    // A file that is gone is no reason to stop, and its rows stay.
    let report = lake.run().await;
    assert_eq!(flow(&report, "bronze.events").warnings.len(), 1);
    assert_eq!(statuses(&report), [FlowStatus::UpToDate; 3]);
}

#[tokio::test]
async fn what_others_append_flows_on() {
    for version in [2, 3] {
        let lake = Lake::new(&events(version)).await;
        lake.write("data/1.ndjson", &lines(&[("a", 1, 1), ("b", 1, 2)]));
        lake.run().await;
        let rows = "SELECT * FROM (VALUES ('b', 2, 7), ('z', 1, 8)) AS t(k, seq, v)";
        lake.append("bronze.events", rows).await;
        let report = lake.run().await;
        assert_eq!(
            statuses(&report),
            [
                FlowStatus::UpToDate,
                FlowStatus::Updated,
                FlowStatus::Updated
            ]
        );
        assert_eq!(lake.rows(SILVER).await, ["a 1 1", "b 2 7", "z 1 8"]);
        assert_eq!(lake.rows(GOLD).await, ["3 16"]);

        // Files are still taken once.
        lake.write("data/2.ndjson", &lines(&[("c", 1, 3)]));
        lake.run().await;
        assert_eq!(
            lake.rows(SILVER).await,
            ["a 1 1", "b 2 7", "c 1 3", "z 1 8"]
        );
        assert_eq!(lake.rows("SELECT count(*) FROM bronze.events").await, ["5"]);
    }
}

#[tokio::test]
async fn rows_that_others_put_into_a_materialized_view_are_gone_after_the_next_run() {
    let lake = Lake::new(&events(2)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    lake.run().await;
    lake.append("gold.total", "SELECT 99 AS n, 99 AS total")
        .await;
    let PlannedAction::Update { reads } = lake.plan("gold.total").await else {
        panic!("the view must be refreshed");
    };
    assert!(reads.contains("another writer"), "{reads}");
    let report = lake.run().await;
    assert_eq!(
        statuses(&report),
        [
            FlowStatus::UpToDate,
            FlowStatus::UpToDate,
            FlowStatus::Updated
        ]
    );
    assert_eq!(lake.rows(GOLD).await, ["1 1"]);
    assert_eq!(statuses(&lake.run().await), [FlowStatus::UpToDate; 3]);
}

#[tokio::test]
async fn two_flows_into_one_table_keep_their_own_progress() {
    let sql = "
        CREATE OR REFRESH STREAMING TABLE bronze.events;
        CREATE FLOW one AS INSERT INTO bronze.events BY NAME
          SELECT * FROM STREAM read_files('one/*.ndjson', schema => 'k STRING');
        CREATE FLOW two AS INSERT INTO bronze.events BY NAME
          SELECT * FROM STREAM read_files('two/*.ndjson', schema => 'k STRING');";
    let lake = Lake::new(sql).await;
    lake.write("one/1.ndjson", "{\"k\": \"a\"}\n");
    lake.write("two/1.ndjson", "{\"k\": \"b\"}\n");
    lake.run().await;
    lake.write("two/2.ndjson", "{\"k\": \"c\"}\n");
    lake.run().await;
    let rows = "SELECT k FROM bronze.events";
    assert_eq!(lake.rows(rows).await, ["a", "b", "c"]);
    // A refresh empties the table once, before the first of its flows, and not before each.
    lake.refresh(&["bronze.events"]).await;
    assert_eq!(lake.rows(rows).await, ["a", "b", "c"]);
    assert_eq!(statuses(&lake.run().await), [FlowStatus::UpToDate; 2]);
}
