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
