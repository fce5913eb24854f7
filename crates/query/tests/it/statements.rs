//! Statements whose answers are numbers that each table draws for itself, and what is written by one
//! table and read by another.

use std::sync::Arc;

use arrow::datatypes::DataType;
use async_trait::async_trait;
use berglake_format::{ErrorKind, Result};
use berglake_query::{
    Arguments, Engine, EngineOptions, Parameter, Procedure, QueryOutput, Session,
};

use crate::support::Lake;

async fn ids(lake: &Lake) -> Vec<i64> {
    let rows = lake
        .rows("SELECT snapshot_id FROM t$snapshots ORDER BY committed_at")
        .await;
    rows.iter().map(|row| row.parse().unwrap()).collect()
}

async fn three_snapshots() -> (Lake, Vec<i64>) {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT);
         INSERT INTO t VALUES (1);
         INSERT INTO t VALUES (2);
         INSERT INTO t VALUES (3)",
    )
    .await;
    let ids = ids(&lake).await;
    assert_eq!(ids.len(), 3);
    (lake, ids)
}

async fn columns(lake: &Lake, text: &str) -> Vec<String> {
    let output = lake.session.sql(text).await.unwrap();
    let fields = output.schema.fields();
    fields.iter().map(|field| field.name().clone()).collect()
}

async fn shown(lake: &Lake) -> Vec<String> {
    lake.rows("SELECT id FROM t ORDER BY id").await
}

#[tokio::test]
async fn a_table_goes_back_to_a_snapshot_and_says_where_it_was() {
    let (lake, ids) = three_snapshots().await;
    let call = format!("CALL system.rollback_to_snapshot('default.t', {})", ids[1]);
    assert_eq!(lake.rows(&call).await, [format!("{}|{}", ids[2], ids[1])]);
    assert_eq!(shown(&lake).await, ["1", "2"]);
    // It is there already.
    assert_eq!(lake.rows(&call).await, [format!("{}|{}", ids[1], ids[1])]);
    assert_eq!(
        columns(&lake, &call).await,
        ["previous_snapshot_id", "current_snapshot_id"]
    );
    // What was undone is no ancestor any more, but still a snapshot.
    let error = lake
        .error(&format!(
            "CALL system.rollback_to_snapshot('t', {})",
            ids[2]
        ))
        .await;
    assert!(error.contains("none of its ancestors"), "{error}");
    let call = format!(
        "CALL lake.system.set_current_snapshot(snapshot_id => {}, table => 't')",
        ids[2]
    );
    assert_eq!(lake.rows(&call).await, [format!("{}|{}", ids[1], ids[2])]);
    assert_eq!(shown(&lake).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_table_goes_back_to_a_time() {
    let (lake, ids) = three_snapshots().await;
    let time = lake
        .rows("SELECT committed_at FROM t$snapshots ORDER BY committed_at LIMIT 1 OFFSET 1")
        .await;
    for argument in [
        format!("TIMESTAMP '{}'", time[0]),
        format!("timestamp => '{}'", time[0]),
    ] {
        let call = format!("CALL system.rollback_to_timestamp('t', {argument})");
        let rows = lake.rows(&call).await;
        // The time itself is excluded, as in Spark.
        assert_eq!(rows, [format!("{}|{}", ids[2], ids[0])]);
        assert_eq!(shown(&lake).await, ["1"]);
        let back = format!("CALL system.set_current_snapshot('t', {})", ids[2]);
        lake.run(&back).await;
    }
}

#[tokio::test]
async fn ancestors_are_listed_from_the_head_on() {
    let (lake, ids) = three_snapshots().await;
    let listed = lake.rows("CALL system.ancestors_of('t')").await;
    let listed: Vec<&str> = listed
        .iter()
        .map(|row| row.split_once('|').unwrap().0)
        .collect();
    let expected: Vec<String> = ids.iter().rev().map(i64::to_string).collect();
    assert_eq!(listed, expected);
    let call = format!("CALL system.ancestors_of('t', {})", ids[0]);
    assert_eq!(lake.rows(&call).await.len(), 1);
    assert_eq!(columns(&lake, &call).await, ["snapshot_id", "timestamp"]);
}

#[tokio::test]
async fn a_snapshot_of_a_branch_is_taken_over() {
    let (lake, _) = three_snapshots().await;
    lake.run(
        "ALTER TABLE t CREATE BRANCH audit;
         INSERT INTO t.branch_audit VALUES (4);
         INSERT INTO t VALUES (5)",
    )
    .await;
    let picked = lake
        .rows("SELECT snapshot_id FROM t$refs WHERE name = 'audit'")
        .await;
    let call = format!("CALL system.cherrypick_snapshot('t', {})", picked[0]);
    assert_eq!(
        columns(
            &lake,
            &format!("CALL system.ancestors_of('t', {})", picked[0])
        )
        .await
        .len(),
        2
    );
    let rows = lake.rows(&call).await;
    let (source, current) = rows[0].split_once('|').unwrap();
    assert_eq!(source, picked[0]);
    assert_eq!(
        current,
        lake.rows("CALL system.ancestors_of('t')").await[0]
            .split_once('|')
            .unwrap()
            .0
    );
    assert_eq!(shown(&lake).await, ["1", "2", "3", "4", "5"]);
    let error = lake.error(&call).await;
    assert!(error.contains("taken over already"), "{error}");
}

#[tokio::test]
async fn a_branch_moves_forward_and_says_from_where_to_where() {
    let (lake, ids) = three_snapshots().await;
    lake.run(&format!(
        "ALTER TABLE t CREATE BRANCH old AS OF VERSION {}",
        ids[0]
    ))
    .await;
    let call = "CALL system.fast_forward('t', 'old', 'main')";
    assert_eq!(
        lake.rows(call).await,
        [format!("old|{}|{}", ids[0], ids[2])]
    );
    assert_eq!(
        columns(&lake, call).await,
        ["branch_updated", "previous_ref", "updated_ref"]
    );
    let made = "CALL system.fast_forward('t', 'made', 'main')";
    assert_eq!(lake.rows(made).await, [format!("made|NULL|{}", ids[2])]);
}

#[tokio::test]
async fn retention_of_branches_and_tags_is_kept_as_it_was_said() {
    let (lake, ids) = three_snapshots().await;
    lake.run(&format!(
        "ALTER TABLE t CREATE BRANCH b AS OF VERSION {} RETAIN 7 DAYS
           WITH SNAPSHOT RETENTION 3 SNAPSHOTS 12 HOURS;
         ALTER TABLE t CREATE BRANCH c WITH SNAPSHOT RETENTION 90 MINUTES;
         ALTER TABLE t CREATE TAG d RETAIN 1 HOUR",
        ids[0]
    ))
    .await;
    let refs = lake.table("t").await.refs().unwrap();
    let told_of = |name: &str| told(&refs[name]);
    assert_eq!(
        told_of("b"),
        format!(
            "{} Branch {{ min_snapshots_to_keep: Some(3), max_snapshot_age_ms: Some(43200000), max_ref_age_ms: Some(604800000) }}",
            ids[0]
        )
    );
    assert_eq!(
        told_of("c"),
        format!(
            "{} Branch {{ min_snapshots_to_keep: None, max_snapshot_age_ms: Some(5400000), max_ref_age_ms: None }}",
            ids[2]
        )
    );
    assert_eq!(
        told_of("d"),
        format!("{} Tag {{ max_ref_age_ms: Some(3600000) }}", ids[2])
    );
}

fn told(reference: &iceberg::spec::SnapshotReference) -> String {
    format!("{} {:?}", reference.snapshot_id, reference.retention)
}

#[tokio::test]
async fn several_changes_of_columns_are_one_commit() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (a INT, b INT)").await;
    let before = lake.table("t").await;
    lake.run("ALTER TABLE t ADD COLUMN c INT FIRST, DROP COLUMN b, RENAME COLUMN a TO d")
        .await;
    let after = lake.table("t").await;
    let schemas = |table: &berglake_format::Table| table.metadata().schemas_iter().count();
    assert_eq!((schemas(&before), schemas(&after)), (1, 2));
    let log = after.metadata().metadata_log().len();
    assert_eq!(log, before.metadata().metadata_log().len() + 1);
    // An order and its property, too.
    lake.run("ALTER TABLE t WRITE ORDERED BY c").await;
    let ordered = lake.table("t").await;
    assert_eq!(ordered.metadata().metadata_log().len(), log + 1);
}

/// What must be equal of two tables that were made by the same statement.
fn essence(table: &berglake_format::Table) -> String {
    let metadata = table.metadata();
    let mut properties: Vec<_> = metadata.properties().iter().collect();
    properties.sort();
    let spec: Vec<_> = metadata
        .default_partition_spec()
        .fields()
        .iter()
        .map(|field| (field.source_id, field.transform, &field.name))
        .collect();
    format!(
        "{:#?}\n{spec:?}\n{:?}\n{properties:?}\n{:?}",
        metadata.current_schema().as_struct(),
        metadata.default_sort_order().fields,
        metadata.format_version(),
    )
}

#[tokio::test]
async fn the_statement_that_is_shown_makes_an_equal_table_elsewhere() {
    for statement in [
        "CREATE TABLE t (id INT)",
        "CREATE TABLE t (
           id BIGINT NOT NULL COMMENT 'it''s the key', `Full Name` STRING, `a``b.c` DOUBLE, `order` INT,
           at TIMESTAMP, local TIMESTAMP_NTZ, price DECIMAL(12, 3), u UUID, f FIXED(4), o TIME, bytes BINARY,
           s STRUCT<a: INT NOT NULL COMMENT 'inside', `B c`: ARRAY<STRUCT<x: TIMESTAMP>>>,
           m MAP<STRING, ARRAY<DATE>>)
         PARTITIONED BY (`order`, days(at), bucket(4, id), truncate(3, `Full Name`), s.a)
         COMMENT 'all of it'
         TBLPROPERTIES ('write.parquet.compression-codec' = 'snappy', 'it''s' = 'text with ''quotes''')",
        "CREATE TABLE t (name VARCHAR, at TIMESTAMP) WITH (
           sorted_by = ARRAY['name DESC', 'day(at) ASC NULLS LAST'], partitioning = ARRAY['hour(at)'])",
        "CREATE TABLE t (
           b BOOLEAN DEFAULT true, i INT DEFAULT -5, l BIGINT DEFAULT 5000000000, r FLOAT DEFAULT 1.5,
           d DOUBLE DEFAULT -2.5e300, n DECIMAL(6, 2) DEFAULT -1.50, a DATE DEFAULT DATE '2026-01-31',
           o TIME DEFAULT TIME '10:11:12.5', w TIMESTAMP_NTZ DEFAULT TIMESTAMP '2026-01-31 10:00:00.25',
           z TIMESTAMP DEFAULT '2026-01-31T10:00:00Z', s STRING NOT NULL DEFAULT 'it''s', y BINARY DEFAULT X'00FF',
           u UUID DEFAULT 'f79c3e09-677c-4bbd-a479-3f349cb785e7', q TIMESTAMP_NS, p TIMESTAMPTZ_NS)
         TBLPROPERTIES ('format-version' = '3')",
    ] {
        let (here, elsewhere) = (Lake::new().await, Lake::new().await);
        here.run(statement).await;
        let shown = here.rows("SHOW CREATE TABLE t").await;
        elsewhere.run(&shown[0]).await;
        let (here, elsewhere) = (here.table("t").await, elsewhere.table("t").await);
        assert_eq!(essence(&here), essence(&elsewhere), "{}", shown[0]);
        assert_ne!(here.metadata().location(), elsewhere.metadata().location());
    }
}

#[tokio::test]
async fn the_statement_that_is_shown_reads_well() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE NAMESPACE silver;
         CREATE TABLE silver.movies (id BIGINT NOT NULL COMMENT 'the key', `Major Genre` STRING, at TIMESTAMP)
         PARTITIONED BY (years(at), `Major Genre`) COMMENT 'films'
         TBLPROPERTIES ('berglake.pipeline' = 'films', 'write.parquet.compression-codec' = 'snappy');
         SET berglake.force_write = true;
         ALTER TABLE silver.movies WRITE LOCALLY ORDERED BY at DESC",
    )
    .await;
    let shown = lake.rows("SHOW CREATE TABLE silver.movies").await;
    let (text, location) = shown[0].split_once("\n-- LOCATION ").unwrap();
    assert!(location.contains("warehouse"), "{location}");
    // What the pipeline owns is not owned elsewhere.
    let expected = "\
CREATE TABLE silver.movies (
  id bigint NOT NULL COMMENT 'the key',
  `Major Genre` string,
  at timestamp_ltz
)
USING iceberg
PARTITIONED BY (years(`at`), `Major Genre`)
WITH (sorted_by = ARRAY['`at` DESC NULLS LAST'])
COMMENT 'films'
TBLPROPERTIES (
  'format-version' = '2',
  'write.distribution-mode' = 'none',
  'write.parquet.compression-codec' = 'snappy'
)";
    assert_eq!(text, expected);
}

#[derive(Debug)]
struct Twice;

#[async_trait]
impl Procedure for Twice {
    fn name(&self) -> &str {
        "twice"
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter::required("number", DataType::Int64),
            Parameter::optional("negated", DataType::Boolean),
        ]
    }

    async fn call(&self, session: &Session, arguments: &Arguments) -> Result<QueryOutput> {
        let number = arguments.need("number", arguments.long("number"))?;
        let sign = if arguments.flag("negated") == Some(true) {
            -1
        } else {
            1
        };
        session.sql(&format!("SELECT {}", sign * 2 * number)).await
    }
}

#[tokio::test]
async fn procedures_of_others_are_called_like_our_own() {
    let lake = Lake::with(EngineOptions {
        procedures: vec![Arc::new(Twice)],
        ..EngineOptions::default()
    })
    .await;
    assert_eq!(lake.rows("CALL system.twice(4)").await, ["8"]);
    assert_eq!(
        lake.rows("CALL SYSTEM.Twice(negated => 1 = 1, Number => 4 + 1)")
            .await,
        ["-10"]
    );
    let error = lake.error("CALL system.twic(4)").await;
    assert!(error.contains("did you mean \"twice\""), "{error}");

    let twice = || Arc::new(Twice) as Arc<dyn Procedure>;
    let options = EngineOptions {
        procedures: vec![twice(), twice()],
        ..EngineOptions::default()
    };
    let error = Engine::new(lake.catalog.clone(), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("two procedures of one name"));
}
