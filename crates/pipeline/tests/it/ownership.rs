//! Whose rows a table holds: a flow removes none that others have put there, and does not write its own
//! twice when it gets another name.

use berglake_pipeline::report::{FlowStatus, PlannedAction};
use berglake_pipeline::{PIPELINE_PROPERTY, Resume, RunOptions};

use crate::lake::{Lake, flow, lines};

const VIEW: &str = "CREATE OR REFRESH STREAMING TABLE bronze.events
       AS SELECT k, v FROM STREAM read_files('data/*.ndjson', schema => 'k STRING, v BIGINT');
     CREATE OR REFRESH MATERIALIZED VIEW gold.r AS SELECT k, v FROM bronze.events;";

async fn owner(lake: &Lake, table: &str) -> Option<String> {
    let table = lake.table(table).await;
    table
        .metadata()
        .properties()
        .get(PIPELINE_PROPERTY)
        .cloned()
}

/// A table that somebody has made beside the pipeline.
async fn made_by_hand(lake: &Lake, table: &str) {
    let namespace = table.split('.').next().unwrap();
    lake.execute(&format!("CREATE NAMESPACE {namespace}")).await;
    lake.execute(&format!("CREATE TABLE {table} (k STRING, v BIGINT)"))
        .await;
}

#[tokio::test]
async fn a_view_does_not_replace_the_rows_of_others() {
    let lake = Lake::new(VIEW).await;
    made_by_hand(&lake, "gold.r").await;
    lake.execute("INSERT INTO gold.r VALUES ('mine', 1)").await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    let refresh = RunOptions {
        full_refresh: vec!["gold.r".into()],
        ..RunOptions::default()
    };
    for options in [RunOptions::default(), refresh] {
        let report = lake.run_with(&options).await;
        let error = flow(&report, "gold.r").error.clone().unwrap();
        for part in [
            "not the pipeline's",
            "gold.r",
            "drop or rename",
            PIPELINE_PROPERTY,
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!(flow(&report, "gold.r").status, FlowStatus::Failed);
        assert_eq!(lake.rows("SELECT k FROM gold.r").await, ["mine"]);
    }
    assert!(matches!(
        lake.plan("gold.r").await,
        PlannedAction::Blocked { .. }
    ));
    assert!(lake.runner().validate().await.is_err());
}

#[tokio::test]
async fn a_view_takes_an_empty_table_and_keeps_it() {
    let lake = Lake::new(VIEW).await;
    made_by_hand(&lake, "gold.r").await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    lake.run().await;
    assert_eq!(owner(&lake, "gold.r").await.as_deref(), Some("test"));
    lake.write("data/2.ndjson", &lines(&[("b", 1, 2)]));
    lake.run().await;
    assert_eq!(lake.rows("SELECT k FROM gold.r").await, ["a", "b"]);
}

#[tokio::test]
async fn a_streaming_table_takes_a_table_over_with_its_first_commit() {
    let lake = Lake::new(VIEW).await;
    made_by_hand(&lake, "bronze.events").await;
    lake.execute("INSERT INTO bronze.events VALUES ('mine', 1)")
        .await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    let refresh = RunOptions {
        full_refresh: vec!["bronze.events".into()],
        ..RunOptions::default()
    };
    let report = lake.run_with(&refresh).await;
    let error = flow(&report, "bronze.events").error.clone().unwrap();
    assert!(error.contains("not the pipeline's"), "{error}");
    let plan = lake.runner().plan(&refresh).await.unwrap();
    assert!(matches!(
        plan.flows[0].action,
        PlannedAction::Blocked { .. }
    ));
    assert_eq!(owner(&lake, "bronze.events").await, None);
    assert_eq!(lake.rows("SELECT k FROM bronze.events").await, ["mine"]);

    lake.run().await;
    assert_eq!(owner(&lake, "bronze.events").await.as_deref(), Some("test"));
    assert_eq!(
        lake.rows("SELECT k FROM bronze.events").await,
        ["a", "mine"]
    );
    // Whoever gives a table to a pipeline lets it fill the table anew.
    lake.refresh(&["bronze.events"]).await;
    assert_eq!(lake.rows("SELECT k FROM bronze.events").await, ["a"]);
}

#[tokio::test]
async fn an_upsert_takes_a_table_over_too() {
    let lake = Lake::new(
        "CREATE OR REFRESH STREAMING TABLE bronze.events
           AS SELECT k, v FROM STREAM read_files('data/*.ndjson', schema => 'k STRING, v BIGINT');
         CREATE OR REFRESH STREAMING TABLE silver.events;
         CREATE FLOW upsert AS AUTO CDC INTO silver.events FROM STREAM(bronze.events)
           KEYS (k) SEQUENCE BY v;",
    )
    .await;
    made_by_hand(&lake, "silver.events").await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    lake.run().await;
    assert_eq!(owner(&lake, "silver.events").await.as_deref(), Some("test"));
}

fn loaded_by(flow: &str) -> String {
    let query =
        "SELECT k, v FROM STREAM read_files('data/*.ndjson', schema => 'k STRING, v BIGINT')";
    match flow {
        "" => format!("CREATE OR REFRESH STREAMING TABLE bronze.events AS {query};"),
        name => format!(
            "CREATE OR REFRESH STREAMING TABLE bronze.events;
             CREATE FLOW {name} AS INSERT INTO bronze.events BY NAME {query};"
        ),
    }
}

#[tokio::test]
async fn a_flow_with_another_name_does_not_read_everything_again() {
    let rows = "SELECT k FROM bronze.events";
    let lake = Lake::new(&loaded_by("")).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1), ("b", 1, 2)]));
    lake.run().await;

    lake.sql(&loaded_by("load"));
    let error = lake.fails("bronze.events").await;
    for part in [
        "rows of: bronze.events",
        "its old name",
        "--full-refresh bronze.events",
        "--resume replay",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let PlannedAction::Blocked { reason } = lake.plan("bronze.events").await else {
        panic!("a plan must say so too");
    };
    assert!(reason.contains("its old name"), "{reason}");
    assert_eq!(lake.rows(rows).await, ["a", "b"]);

    // The name is that of the progress, whatever kind of statement has it.
    lake.sql(&loaded_by("bronze.events"));
    lake.write("data/2.ndjson", &lines(&[("c", 1, 3)]));
    lake.run().await;
    assert_eq!(lake.rows(rows).await, ["a", "b", "c"]);

    // A table that is filled anew holds nothing of former flows, whatever comes later.
    lake.sql(&loaded_by("load"));
    lake.refresh(&["bronze.events"]).await;
    assert_eq!(lake.rows(rows).await, ["a", "b", "c"]);
    let both = loaded_by("load")
        + "CREATE FLOW more AS INSERT INTO bronze.events BY NAME
             SELECT k, v FROM STREAM read_files('more/*.ndjson', schema => 'k STRING, v BIGINT');";
    lake.sql(&both);
    lake.write("more/1.ndjson", &lines(&[("m", 1, 4)]));
    lake.run().await;
    assert_eq!(lake.rows(rows).await, ["a", "b", "c", "m"]);
}

#[tokio::test]
async fn another_flow_in_the_place_of_one_begins_when_somebody_says_so() {
    let lake = Lake::new(&loaded_by("one")).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    lake.run().await;
    lake.sql(&loaded_by("two").replace("data/", "more/"));
    lake.write("more/1.ndjson", &lines(&[("b", 1, 2)]));
    assert!(lake.fails("bronze.events").await.contains("rows of: one"));
    let replay = RunOptions {
        resume: Some(Resume::Replay),
        ..RunOptions::default()
    };
    assert!(lake.run_with(&replay).await.succeeded());
    assert_eq!(lake.rows("SELECT k FROM bronze.events").await, ["a", "b"]);
    // It was decided: the next run does not ask again.
    lake.write("more/2.ndjson", &lines(&[("c", 1, 3)]));
    lake.run().await;
    assert_eq!(
        lake.rows("SELECT k FROM bronze.events").await,
        ["a", "b", "c"]
    );
}

#[tokio::test]
async fn a_view_that_becomes_a_streaming_table_does_not_get_its_rows_twice() {
    let lake = Lake::new(VIEW).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    lake.run().await;
    lake.sql(
        &VIEW
            .replace("MATERIALIZED VIEW gold.r", "STREAMING TABLE gold.r")
            .replace("FROM bronze.events", "FROM STREAM(bronze.events)"),
    );
    let error = lake.fails("gold.r").await;
    assert!(error.contains("rows of: gold.r"), "{error}");
    assert_eq!(lake.rows("SELECT k FROM gold.r").await, ["a"]);
    lake.refresh(&["gold.r"]).await;
    assert_eq!(lake.rows("SELECT k FROM gold.r").await, ["a"]);
    lake.write("data/2.ndjson", &lines(&[("b", 1, 2)]));
    lake.run().await;
    assert_eq!(lake.rows("SELECT k FROM gold.r").await, ["a", "b"]);
}
