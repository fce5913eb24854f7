//! Tables that exist otherwise than as defined, and definitions that change.

use berglake_catalog::NewTable;
use berglake_format::{TableIdent, schema};
use berglake_pipeline::report::{FlowStatus, PlannedAction};
use berglake_pipeline::{PIPELINE_PROPERTY, RunOptions};

use crate::lake::{Lake, events, flow, lines, statuses};

/// Makes `bronze.events` with these columns and this owner before the pipeline does.
async fn made_before(lake: &Lake, columns: &str, owner: Option<&str>) {
    lake.execute("CREATE NAMESPACE bronze").await;
    lake.execute(&format!("CREATE TABLE bronze.other ({columns})"))
        .await;
    let other = lake.table("bronze.other").await;
    let columns = schema::to_arrow(other.schema()).unwrap();
    let ident = TableIdent::from_strs(["bronze", "events"]).unwrap();
    let mut table = NewTable::new(ident, schema::from_arrow(&columns).unwrap());
    let owner = owner.map(|owner| (PIPELINE_PROPERTY.to_owned(), owner.to_owned()));
    table.properties.extend(owner);
    lake.catalog.create_table(table).await.unwrap();
}

#[tokio::test]
async fn a_table_that_exists_otherwise_is_left_alone_and_the_difference_told() {
    let fits = "k STRING, seq BIGINT, v BIGINT, source_row BIGINT";
    for (columns, owner, said) in [
        (
            "k STRING, seq BIGINT, v STRING, source_row BIGINT",
            None,
            "column \"v\" is",
        ),
        (
            "k STRING, seq BIGINT, source_row BIGINT",
            None,
            "no column \"v\"",
        ),
        (fits, Some("someone-else"), "someone-else"),
        (
            "k STRING, seq BIGINT, v BIGINT, source_row BIGINT, must BIGINT NOT NULL",
            None,
            "\"must\"",
        ),
    ] {
        let lake = Lake::new(&events(2)).await;
        made_before(&lake, columns, owner).await;
        lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
        let error = lake.fails("bronze.events").await;
        assert!(error.contains(said), "{said}: {error}");
        assert!(error.contains("bronze.events"), "{error}");
        assert!(
            lake.table("bronze.events")
                .await
                .current_snapshot()
                .is_none()
        );
        let PlannedAction::Blocked { reason } = lake.plan("bronze.events").await else {
            panic!("a plan must say so too");
        };
        assert!(reason.contains(said), "{said}: {reason}");
        let error = lake.runner().validate().await.unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    // One that fits is taken over.
    let lake = Lake::new(&events(2)).await;
    made_before(&lake, fits, None).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    lake.run().await;
    assert_eq!(lake.rows("SELECT k FROM bronze.events").await, ["a"]);
}

#[tokio::test]
async fn another_partitioning_is_a_difference() {
    let sql = |partitioning: &str| {
        events(2).replace(
            "STREAMING TABLE silver.events",
            &format!("STREAMING TABLE silver.events {partitioning}"),
        )
    };
    let lake = Lake::new(&sql("PARTITIONED BY (k)")).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1), ("b", 1, 2)]));
    lake.run().await;
    lake.sql(&sql("PARTITIONED BY (bucket(4, k))"));
    lake.write("data/2.ndjson", &lines(&[("c", 1, 1)]));
    let error = lake.fails("silver.events").await;
    assert!(error.contains("partitioned by [identity(k)]"), "{error}");
    assert!(error.contains("bucket"), "{error}");
    assert_eq!(lake.rows("SELECT k FROM silver.events").await, ["a", "b"]);
    lake.sql(&sql("PARTITIONED BY (k)"));
    lake.run().await;
    assert_eq!(
        lake.rows("SELECT k FROM silver.events").await,
        ["a", "b", "c"]
    );
}

#[tokio::test]
async fn a_view_with_another_definition_is_refreshed_and_the_plan_says_why() {
    let lake = Lake::new(&events(2)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1), ("b", 1, 20)]));
    lake.run().await;
    // Layout and comments are no change.
    lake.sql(&events(2).replace("AS SELECT count(*)", "AS -- how many\n  SELECT count(*)"));
    assert_eq!(lake.plan("gold.total").await, PlannedAction::UpToDate);

    lake.sql(&events(2).replace("FROM silver.events;", "FROM silver.events WHERE v > 10;"));
    let PlannedAction::Update { reads } = lake.plan("gold.total").await else {
        panic!("the view must be refreshed");
    };
    assert!(reads.contains("the definition has changed"), "{reads}");
    let report = lake.run().await;
    assert_eq!(
        statuses(&report),
        [
            FlowStatus::UpToDate,
            FlowStatus::UpToDate,
            FlowStatus::Updated
        ]
    );
    assert_eq!(lake.rows("SELECT n, total FROM gold.total").await, ["1 20"]);
    assert_eq!(statuses(&lake.run().await), [FlowStatus::UpToDate; 3]);
}

#[tokio::test]
async fn a_plan_of_a_full_refresh_says_that_it_refreshes() {
    let lake = Lake::new(&events(2)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    lake.run().await;
    let options = RunOptions {
        full_refresh: vec!["gold.total".into(), "silver.events".into()],
        ..RunOptions::default()
    };
    let plan = lake.runner().plan(&options).await.unwrap();
    let updates: Vec<_> = plan
        .flows
        .iter()
        .map(|flow| matches!(flow.action, PlannedAction::Update { .. }))
        .collect();
    assert_eq!(updates, [false, true, true]);
}

#[tokio::test]
async fn what_is_not_there_is_an_error_before_anything_runs() {
    let lake = Lake::new(&events(2)).await;
    let layer = RunOptions {
        layer: Some("platinum".into()),
        ..RunOptions::default()
    };
    let error = lake.runner().plan(&layer).await.unwrap_err().to_string();
    assert!(
        error.contains("platinum") && error.contains("bronze, silver, gold"),
        "{error}"
    );
    let table = RunOptions {
        full_refresh: vec!["gold.none".into()],
        ..RunOptions::default()
    };
    let error = lake.runner().plan(&table).await.unwrap_err().to_string();
    assert!(
        error.contains("gold.none") && error.contains("gold.total"),
        "{error}"
    );
}

#[tokio::test]
async fn one_layer_alone_is_run() {
    let lake = Lake::new(&events(2)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    lake.run().await;
    lake.write("data/2.ndjson", &lines(&[("b", 1, 1)]));
    let bronze = RunOptions {
        layer: Some("bronze".into()),
        ..RunOptions::default()
    };
    let report = lake.run_with(&bronze).await;
    assert_eq!(report.flows.len(), 1);
    assert_eq!(flow(&report, "bronze.events").status, FlowStatus::Updated);
    assert_eq!(lake.rows("SELECT k FROM silver.events").await, ["a"]);
    lake.run().await;
    assert_eq!(lake.rows("SELECT k FROM silver.events").await, ["a", "b"]);
}

#[tokio::test]
async fn a_column_with_a_space_partitions_and_a_named_connection_is_read() {
    let lake = Lake::new(
        "CREATE OR REFRESH STREAMING TABLE bronze.films PARTITIONED BY (`Major Genre`)
           AS SELECT * FROM STREAM read_files('*.ndjson', connection => 'drop',
             schema => '`Title` STRING, `Major Genre` STRING');",
    )
    .await;
    lake.write(
        "berglake.toml",
        "[project]\nname = \"test\"\n[connections.drop]\nkind = \"files\"\npath = \"inbox\"\n",
    );
    lake.write(
        "inbox/1.ndjson",
        "{\"Title\": \"Alien\", \"Major Genre\": \"Horror\"}\n{\"Title\": \"Up\"}\n",
    );
    // The second run reads the manifests that the first one wrote, and writes them again.
    for (file, rows) in [("inbox/2.ndjson", 2), ("inbox/3.ndjson", 3)] {
        lake.run().await;
        let films = lake.rows("SELECT count(*) FROM bronze.films").await;
        assert_eq!(films, [rows.to_string()]);
        lake.write(file, "{\"Title\": \"Big\", \"Major Genre\": \"Comedy\"}\n");
    }
    let table = lake.table("bronze.films").await;
    assert_eq!(
        table.metadata().default_partition_spec().fields()[0].name,
        "Major_Genre"
    );
    let horror = "SELECT `Title` FROM bronze.films WHERE `Major Genre` = 'Horror'";
    assert_eq!(lake.rows(horror).await, ["Alien"]);
}

#[tokio::test]
async fn an_expectation_that_changes_applies_to_the_rows_that_are_there() {
    let sql = |expectation: &str| {
        format!(
            "CREATE OR REFRESH STREAMING TABLE bronze.events
               AS SELECT k, v FROM STREAM read_files('data/*.ndjson', schema => 'k STRING, v BIGINT');
             CREATE OR REFRESH MATERIALIZED VIEW gold.r {expectation}
               AS SELECT k, v FROM bronze.events;"
        )
    };
    let lake = Lake::new(&sql("")).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1), ("b", 1, 20)]));
    lake.run().await;
    for (expectation, kept) in [
        (
            "(CONSTRAINT big EXPECT (v > 10) ON VIOLATION DROP ROW)",
            &["b"][..],
        ),
        (
            "(CONSTRAINT big EXPECT (v > 0) ON VIOLATION DROP ROW)",
            &["a", "b"],
        ),
        ("(CONSTRAINT big EXPECT (v > 10))", &["a", "b"]),
        (
            "(CONSTRAINT big EXPECT (v > 10) ON VIOLATION DROP ROW)",
            &["b"],
        ),
        ("", &["a", "b"]),
    ] {
        lake.sql(&sql(expectation));
        let PlannedAction::Update { reads } = lake.plan("gold.r").await else {
            panic!("{expectation}: the view must be refreshed");
        };
        assert!(reads.contains("the definition has changed"), "{reads}");
        lake.run().await;
        assert_eq!(
            lake.rows("SELECT k FROM gold.r").await,
            kept,
            "{expectation}"
        );
        // Layout is no change.
        lake.sql(&sql(&expectation.replace("EXPECT (v > ", "EXPECT (  V  > ")));
        assert_eq!(lake.plan("gold.r").await, PlannedAction::UpToDate);
    }
}

#[tokio::test]
async fn columns_that_are_left_out_are_not_stored_even_if_the_table_declares_them() {
    for columns in ["COLUMNS * EXCEPT (pw)", "COLUMNS (k, seq)"] {
        let lake = Lake::new(&format!(
            "CREATE OR REFRESH STREAMING TABLE bronze.users
               AS SELECT * FROM STREAM read_files('data/*.ndjson',
                 schema => 'k STRING, seq BIGINT, pw STRING');
             CREATE OR REFRESH STREAMING TABLE silver.users (k STRING, seq BIGINT, pw STRING);
             CREATE FLOW upsert AS AUTO CDC INTO silver.users FROM STREAM(bronze.users)
               KEYS (k) SEQUENCE BY seq {columns};"
        ))
        .await;
        lake.write(
            "data/1.ndjson",
            "{\"k\": \"a\", \"seq\": 1, \"pw\": \"hunter2\"}\n",
        );
        lake.run().await;
        let rows = lake.rows("SELECT k, seq, pw FROM silver.users").await;
        assert_eq!(rows, ["a 1 NULL"], "{columns}");
    }
}

#[tokio::test]
async fn a_plan_says_that_what_is_behind_a_change_changes_too() {
    let lake = Lake::new(&events(2)).await;
    lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
    lake.run().await;
    for table in ["bronze.events", "silver.events", "gold.total"] {
        assert_eq!(lake.plan(table).await, PlannedAction::UpToDate, "{table}");
    }
    lake.write("data/2.ndjson", &lines(&[("b", 1, 1)]));
    for (table, said) in [
        ("bronze.events", "1 files"),
        ("silver.events", "what bronze.events has after its update"),
        ("gold.total", "what silver.events has after its update"),
    ] {
        let PlannedAction::Update { reads } = lake.plan(table).await else {
            panic!("{table} is updated");
        };
        assert!(reads.contains(said), "{reads}");
    }
}

#[tokio::test]
async fn a_table_outside_of_the_layer_is_not_refreshed_in_silence() {
    let lake = Lake::new(&events(2)).await;
    let options = RunOptions {
        layer: Some("gold".into()),
        full_refresh: vec!["bronze.events".into()],
        ..RunOptions::default()
    };
    let error = lake.runner().plan(&options).await.unwrap_err().to_string();
    for part in ["bronze.events", "layer: gold", "--layer"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_limit_that_cannot_be_read_makes_no_table() {
    for (property, value) in [
        ("berglake.batch.max-bytes", "64MiB"),
        ("berglake.batch.max-files", "0"),
        ("berglake.batch.max-rows", "-1"),
    ] {
        let lake = Lake::new(&events(2).replace(
            "'berglake.batch.max-files' = '1'",
            &format!("'{property}' = '{value}'"),
        ))
        .await;
        let error = lake.runner().validate().await.unwrap_err().to_string();
        for part in [property, value, "bronze.events"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let error = lake.fails("bronze.events").await;
        assert!(error.contains(property), "{error}");
        let namespaces = lake.catalog.list_namespaces(None).await.unwrap();
        assert!(namespaces.is_empty(), "{namespaces:?}");
    }
}

#[tokio::test]
async fn a_type_that_the_table_does_not_take_is_told_before_anything_runs() {
    let sql = |select: &str, columns: &str| {
        format!(
            "CREATE OR REFRESH STREAMING TABLE bronze.events ({columns})
               AS SELECT {select} FROM STREAM read_files('data/*.ndjson',
                 schema => 'k STRING, v BIGINT, s STRUCT<x: DOUBLE, y: STRING>');"
        )
    };
    for (select, columns, said) in [
        (
            "k AS v",
            "v INT",
            "\"v\" as string, and the table declares it as int",
        ),
        (
            "v",
            "v STRING",
            "\"v\" as long, and the table declares it as string",
        ),
        (
            "s",
            "s STRUCT<x: INT, y: STRING>",
            "\"s\" as struct<x: double, y: string>, and the table declares it as struct<x: int",
        ),
        (
            "array(k) AS a",
            "a ARRAY<DATE>",
            "\"a\" as list<string>, and the table declares it as list<date>",
        ),
    ] {
        let lake = Lake::new(&sql(select, columns)).await;
        let error = lake.runner().validate().await.unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
        assert!(error.contains("CAST"), "{error}");
    }
    // What the writer takes without a loss is no mistake.
    for (select, columns) in [
        ("v", "v INT"),
        ("CAST(v AS INT) AS v", "v DOUBLE"),
        ("v", "v DECIMAL(20, 2)"),
        ("NULL AS v", "v DATE"),
        ("s", "s STRUCT<y: STRING, x: DOUBLE>"),
    ] {
        let lake = Lake::new(&sql(select, columns)).await;
        lake.write("data/1.ndjson", &lines(&[("a", 1, 1)]));
        lake.runner().validate().await.unwrap();
        lake.run().await;
    }
}
