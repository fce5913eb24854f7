//! Records, rows and files that do not fit: each gets its dead letter or its error, and a table
//! whose flow fails stays as it was.

use berglake_pipeline::RunOptions;
use berglake_pipeline::report::{FlowStatus, PlannedAction};

use crate::lake::{Lake, TABLES, events, flow, lines, statuses};

#[tokio::test]
async fn a_file_of_nothing_but_broken_records_is_taken_once() {
    let lake = Lake::new(&events(2)).await;
    lake.write("data/1.ndjson", "no JSON\n{\"seq\": \"x\"}\n");
    let report = lake.run().await;
    assert_eq!(flow(&report, "bronze.events").dead_letters, 2);
    assert_eq!(flow(&report, "bronze.events").rows_inserted, 0);
    let dead = "SELECT `row`, error_type FROM bronze.errors";
    assert_eq!(lake.rows(dead).await, ["0 malformed", "1 type_mismatch"]);
    let snapshots = lake.snapshots(&TABLES).await;

    let report = lake.run().await;
    assert_eq!(statuses(&report), [FlowStatus::UpToDate; 3]);
    assert_eq!(lake.snapshots(&TABLES).await, snapshots);
    assert_eq!(lake.rows(dead).await.len(), 2);
}

#[tokio::test]
async fn a_broken_record_without_a_dead_letter_table_is_an_error_that_says_which() {
    let sql = "CREATE OR REFRESH STREAMING TABLE bronze.events
        TBLPROPERTIES ('berglake.batch.max-files' = '1')
        AS SELECT * FROM STREAM read_files('data/*.ndjson', schema => 'k STRING, seq BIGINT');";
    let lake = Lake::new(sql).await;
    lake.write("data/1.ndjson", "{\"k\": \"a\", \"seq\": 1}\n");
    lake.run().await;
    lake.write(
        "data/2.ndjson",
        "{\"k\": \"b\", \"seq\": 2}\n{\"k\": \"c\", \"seq\": \"three\"}\n",
    );
    for _ in 0..2 {
        let error = lake.fails("bronze.events").await;
        for part in [
            "2.ndjson, record 1",
            "three",
            "'berglake.dead-letter'",
            "bronze.events",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(lake.snapshots(&["bronze.events"]).await, [1]);
        assert_eq!(lake.rows("SELECT k FROM bronze.events").await, ["a"]);
    }
    // Corrected: the whole file is read, not what is left of it.
    lake.write(
        "data/2.ndjson",
        "{\"k\": \"b\", \"seq\": 2}\n{\"k\": \"c\", \"seq\": 3}\n",
    );
    lake.run().await;
    assert_eq!(
        lake.rows("SELECT k FROM bronze.events").await,
        ["a", "b", "c"]
    );
}

#[tokio::test]
async fn expectations_warn_drop_and_fail() {
    let sql = |first: &str, action: &str| {
        format!(
            "CREATE OR REFRESH STREAMING TABLE bronze.events (
               CONSTRAINT positive EXPECT (v > 0) {first},
               CONSTRAINT small EXPECT (v < 100) {action})
             AS SELECT * FROM STREAM read_files('data/*.ndjson', schema => 'k STRING, v BIGINT');"
        )
    };
    let lake = Lake::new(&sql("", "ON VIOLATION DROP ROW")).await;
    let rows = "SELECT k, v FROM bronze.events";
    lake.write(
        "data/1.ndjson",
        &lines(&[("a", 1, 1), ("b", 1, -1), ("c", 1, 100)]),
    );
    let report = lake.run().await;
    let results: Vec<_> = flow(&report, "bronze.events")
        .expectations
        .iter()
        .map(|result| (result.action.as_str(), result.passed, result.failed))
        .collect();
    assert_eq!(results, [("warn", 2, 1), ("drop-row", 2, 1)]);
    assert_eq!(lake.rows(rows).await, ["a 1", "b -1"]);

    lake.sql(&sql("ON VIOLATION FAIL UPDATE", "ON VIOLATION FAIL UPDATE"));
    lake.write(
        "data/2.ndjson",
        "{\"k\": \"d\", \"v\": 2}\n{\"k\": \"e\"}\n",
    );
    let error = lake.fails("bronze.events").await;
    // NULL does not hold.
    assert!(
        error.contains("positive") && error.contains("v > 0"),
        "{error}"
    );
    assert_eq!(lake.rows(rows).await, ["a 1", "b -1"]);
    assert_eq!(lake.snapshots(&["bronze.events"]).await, [1]);

    lake.sql(&sql("ON VIOLATION DROP ROW", ""));
    lake.run().await;
    assert_eq!(lake.rows(rows).await, ["a 1", "b -1", "d 2"]);
}

#[tokio::test]
async fn an_expectation_that_fails_leaves_upserts_and_views_as_they_were() {
    let sql = |limit: i64| {
        events(3)
            .replace(
                "STREAMING TABLE silver.events",
                &format!("STREAMING TABLE silver.events (CONSTRAINT small EXPECT (v < {limit}) ON VIOLATION FAIL UPDATE)"),
            )
            .replace(
                "MATERIALIZED VIEW gold.total",
                "MATERIALIZED VIEW gold.total (CONSTRAINT few EXPECT (total < 60) ON VIOLATION FAIL UPDATE)",
            )
    };
    let lake = Lake::new(&sql(50)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1), ("b", 1, 2)]));
    lake.run().await;
    lake.write("data/2.ndjson", &lines(&[("a", 2, 70)]));
    let error = lake.fails("silver.events").await;
    assert!(error.contains("small"), "{error}");
    assert_eq!(
        lake.rows("SELECT k, v FROM silver.events").await,
        ["a 1", "b 2"]
    );
    lake.sql(&sql(100));
    let error = lake.fails("gold.total").await;
    assert!(error.contains("few"), "{error}");
    assert_eq!(
        lake.rows("SELECT k, v FROM silver.events").await,
        ["a 70", "b 2"]
    );
    assert_eq!(lake.rows("SELECT n, total FROM gold.total").await, ["2 3"]);
    assert_eq!(lake.snapshots(&TABLES).await, [2, 2, 1]);
}

#[tokio::test]
async fn a_flow_that_fails_holds_up_those_that_need_it_and_no_others() {
    let table = |name: &str| {
        format!(
            "CREATE OR REFRESH STREAMING TABLE bronze.{name}
               AS SELECT * FROM STREAM read_files('{name}/*.ndjson', schema => 'k BIGINT');
             CREATE OR REFRESH MATERIALIZED VIEW gold.{name}
               AS SELECT count(*) AS n FROM bronze.{name};"
        )
    };
    let lake = Lake::new(&(table("bad") + &table("good"))).await;
    lake.write("bad/1.ndjson", "{\"k\": \"text\"}\n");
    lake.write("good/1.ndjson", "{\"k\": 1}\n");
    let report = lake.run_with(&Default::default()).await;
    assert!(!report.succeeded());
    let status = |table: &str| flow(&report, table).status;
    assert_eq!(status("bronze.bad"), FlowStatus::Failed);
    assert_eq!(status("gold.bad"), FlowStatus::Skipped);
    assert_eq!(status("bronze.good"), FlowStatus::Updated);
    assert_eq!(status("gold.good"), FlowStatus::Updated);
    let why = flow(&report, "gold.bad").error.clone().unwrap();
    assert!(why.contains("bronze.bad"), "{why}");
    assert_eq!(lake.rows("SELECT n FROM gold.good").await, ["1"]);
}

#[tokio::test]
async fn an_inferred_schema_is_kept_and_what_does_not_fit_is_a_dead_letter() {
    let sql = "CREATE OR REFRESH STREAMING TABLE bronze.events
        TBLPROPERTIES ('berglake.dead-letter' = 'bronze.errors')
        AS SELECT * FROM STREAM read_files('data/*.ndjson');";
    let lake = Lake::new(sql).await;
    lake.write(
        "data/1.ndjson",
        "{\"k\": \"a\", \"n\": 1, \"at\": {\"x\": 1.5}}\n",
    );
    lake.run().await;
    // Inferred anew, `n` would be text and `more` a column.
    lake.write(
        "data/2.ndjson",
        "{\"k\": \"b\", \"n\": \"two\"}\n{\"k\": \"c\", \"n\": 3, \"more\": true}\n",
    );
    let report = lake.run().await;
    assert_eq!(flow(&report, "bronze.events").dead_letters, 1);
    assert_eq!(
        lake.rows("SELECT k, n FROM bronze.events").await,
        ["a 1", "c 3"]
    );
    assert_eq!(
        lake.rows("SELECT `row`, error_type FROM bronze.errors")
            .await,
        ["0 type_mismatch"]
    );
    assert_eq!(lake.plan("bronze.events").await, PlannedAction::UpToDate);
}

#[tokio::test]
async fn a_pattern_that_matches_nothing_yet_and_a_file_that_is_missing_differ() {
    let lake = Lake::new(&events(2)).await;
    let report = lake.run().await;
    assert!(report.succeeded(), "{report:#?}");
    assert_eq!(lake.rows("SELECT k FROM bronze.events").await, [""; 0]);
    assert_eq!(lake.rows("SELECT n FROM gold.total").await, ["0"]);
    let lake = Lake::new(&events(2).replace("*.ndjson", "1.ndjson")).await;
    let error = lake.fails("bronze.events").await;
    assert!(error.contains("data/1.ndjson"), "{error}");
}

#[tokio::test]
async fn a_query_that_ends_before_its_files_still_takes_their_dead_letters() {
    let flow_of = |name: &str, rest: &str| {
        format!(
            "CREATE OR REFRESH STREAMING TABLE bronze.{name}
               TBLPROPERTIES ('berglake.dead-letter' = 'bronze.errors_of_{name}')
               AS SELECT e.* FROM STREAM
                 read_files('data/*.ndjson', schema => 'k STRING, v INT') AS e {rest};"
        )
    };
    let lake = Lake::new(
        &[
            "CREATE OR REFRESH STREAMING TABLE bronze.known
               AS SELECT * FROM STREAM read_files('known/*.ndjson', schema => 'k STRING');"
                .to_owned(),
            flow_of("never", "WHERE 1 = 2"),
            flow_of("joined", "JOIN bronze.known AS n ON n.k = e.k"),
        ]
        .concat(),
    )
    .await;
    // More than one batch, so that not all has been read when the query ends.
    let records: String = (0..20_000)
        .map(|n| format!("{{\"k\": \"a\", \"v\": {n}}}\n"))
        .collect();
    lake.write("data/1.ndjson", &format!("{records}no record\n"));
    lake.write("data/2.ndjson", "{\"k\": 1, \"v\": \"x\"}\n");
    let report = lake.run().await;
    for name in ["never", "joined"] {
        let table = format!("bronze.{name}");
        let report = flow(&report, &table);
        assert_eq!((report.rows_read, report.rows_inserted), (20_000, 0));
        assert_eq!(report.dead_letters, 2, "{name}");
        let errors = format!("SELECT error_type FROM bronze.errors_of_{name}");
        assert_eq!(lake.rows(&errors).await, ["malformed", "type_mismatch"]);
        assert_eq!(lake.plan(&table).await, PlannedAction::UpToDate);
    }
    // What is joined is read as it stands when a batch is taken.
    lake.write("known/1.ndjson", "{\"k\": \"a\"}\n");
    lake.write("data/3.ndjson", "{\"k\": \"a\", \"v\": 7}\n");
    lake.run().await;
    assert_eq!(lake.rows("SELECT v FROM bronze.joined").await, ["7"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_fails_a_query_that_would_not_have_read_it() {
    let lake = Lake::new(
        "CREATE OR REFRESH STREAMING TABLE bronze.events
           AS SELECT * FROM STREAM read_files('data/*.ndjson', schema => 'k STRING, v INT')
           WHERE 1 = 2;",
    )
    .await;
    lake.write("data/1.ndjson", "{\"k\": \"a\", \"v\": 1}\nno record\n");
    let error = lake.fails("bronze.events").await;
    assert!(error.contains("dead-letter"), "{error}");
    assert!(
        lake.table("bronze.events")
            .await
            .current_snapshot()
            .is_none()
    );
}

#[tokio::test]
async fn what_is_wrong_with_one_flow_does_not_stop_the_others() {
    let lake = Lake::new(
        "CREATE OR REFRESH STREAMING TABLE bronze.good
           AS SELECT * FROM STREAM read_files('good/*.ndjson', schema => 'k BIGINT');
         CREATE OR REFRESH STREAMING TABLE bronze.unknown
           AS SELECT * FROM STREAM read_files('none-yet/*.ndjson');
         CREATE OR REFRESH MATERIALIZED VIEW silver.foreign
           AS SELECT g.k FROM bronze.good AS g JOIN theirs.gone AS t ON t.k = g.k;
         CREATE OR REFRESH MATERIALIZED VIEW gold.unknown AS SELECT * FROM bronze.unknown;
         CREATE OR REFRESH MATERIALIZED VIEW gold.good AS SELECT * FROM bronze.good;",
    )
    .await;
    lake.write("good/1.ndjson", "{\"k\": 1}\n");
    let report = lake.run_with(&Default::default()).await;
    for (table, status, said) in [
        ("bronze.good", FlowStatus::Updated, ""),
        (
            "bronze.unknown",
            FlowStatus::Failed,
            "none-yet/*.ndjson: there are no files",
        ),
        ("silver.foreign", FlowStatus::Failed, "theirs.gone"),
        ("gold.unknown", FlowStatus::Skipped, "bronze.unknown"),
        ("gold.good", FlowStatus::Updated, ""),
    ] {
        let flow = flow(&report, table);
        assert_eq!(flow.status, status, "{flow:#?}");
        let error = flow.error.clone().unwrap_or_default();
        assert!(error.contains(said), "{said}: {error}");
    }
    assert_eq!(lake.rows("SELECT k FROM gold.good").await, ["1"]);
    let PlannedAction::Blocked { reason } = lake.plan("silver.foreign").await else {
        panic!("a plan must say so too");
    };
    assert!(reason.contains("theirs.gone"), "{reason}");
    let error = lake.runner().validate().await.unwrap_err().to_string();
    assert!(error.contains("none-yet/*.ndjson"), "{error}");

    // A layer needs what is before it, and nothing else.
    let layer = |name: &str| RunOptions {
        layer: Some(name.to_owned()),
        ..RunOptions::default()
    };
    let report = lake.run_with(&layer("silver")).await;
    assert_eq!(report.flows.len(), 1);
    let report = lake.run_with(&layer("gold")).await;
    let behind = flow(&report, "gold.unknown");
    let error = behind.error.clone().unwrap();
    assert_eq!(behind.status, FlowStatus::Failed);
    assert!(error.contains("needed by: gold.unknown"), "{error}");
    assert_eq!(flow(&report, "gold.good").status, FlowStatus::UpToDate);

    lake.write("none-yet/1.ndjson", "{\"k\": 2}\n");
    let report = lake.run_with(&Default::default()).await;
    assert_eq!(flow(&report, "gold.unknown").status, FlowStatus::Updated);
}

#[tokio::test]
async fn a_full_refresh_says_that_dead_letters_are_written_again() {
    let lake = Lake::new(&events(2)).await;
    lake.write("data/1.ndjson", "no JSON\n");
    let report = lake.run().await;
    assert!(flow(&report, "bronze.events").warnings.is_empty());
    let report = lake.refresh(&["bronze.events", "silver.events"]).await;
    let warnings = &flow(&report, "bronze.events").warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("bronze.errors") && warnings[0].contains("error_id"),
        "{warnings:?}"
    );
    let ids = "SELECT count(*), count(DISTINCT error_id) FROM bronze.errors";
    assert_eq!(lake.rows(ids).await, ["2 1"]);
    assert!(flow(&lake.run().await, "bronze.events").warnings.is_empty());
}
