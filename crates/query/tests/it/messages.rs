//! What errors say: what, where, and what to do.

use crate::support::Lake;

#[tokio::test]
async fn errors_name_the_place_and_the_remedy() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE films (title STRING, `Release Year` INT)").await;
    insta::assert_snapshot!(lake.error("SELECT 1,\n  titel FROM films").await, @"");
    insta::assert_snapshot!(lake.error("SELECT *\nFROM movies").await, @"");
    insta::assert_snapshot!(lake.error("SELECT *\nFORM films").await, @"");
    insta::assert_snapshot!(lake.error("SELECT * FROM films WHERE title = 'open").await, @"");
    insta::assert_snapshot!(lake.error("DELETE FROM films").await, @"");
    insta::assert_snapshot!(lake.error("SELECT nofunction(title) FROM films").await, @"");
    insta::assert_snapshot!(lake.error("INSERT INTO films VALUES ('x', 'y')").await, @"");
    insta::assert_snapshot!(lake.error("INSERT INTO films (title) VALUES (1), ('x', 2)").await, @"");
    insta::assert_snapshot!(lake.error("CREATE TABLE x (a INT) PARTITIONED BY (dayz(a))").await, @"");
    insta::assert_snapshot!(lake.error("CREATE TABLE x (a FANCY)").await, @"");
    insta::assert_snapshot!(lake.error("SELECT 1; SELECT 2").await, @"");
    insta::assert_snapshot!(lake.error("SELECT CAST('x' AS INT)").await, @"");
    insta::assert_snapshot!(lake.error("SELECT title FROM films a, films b").await, @"");
    insta::assert_snapshot!(lake.error("USE nowhere").await, @"");
}

#[tokio::test]
async fn a_table_of_a_pipeline_is_written_by_nobody_else_unless_forced() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE gold (id INT) TBLPROPERTIES ('berglake.pipeline' = 'movies')").await;
    insta::assert_snapshot!(lake.error("INSERT INTO gold VALUES (1)").await, @"");
    assert!(lake.error("DROP TABLE gold").await.contains("\"movies\""));
    lake.run("SET berglake.force_write = true; INSERT INTO gold VALUES (1)").await;
    assert_eq!(lake.rows("SELECT * FROM gold").await, ["1"]);
    lake.run("SET berglake.force_write = false").await;
    assert!(lake.error("INSERT INTO gold VALUES (1)").await.contains("\"movies\""));
}

#[tokio::test]
async fn an_insert_that_fails_leaves_neither_rows_nor_files() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (id INT NOT NULL)").await;
    lake.error("INSERT INTO t SELECT CASE WHEN value = 9999 THEN NULL ELSE value END FROM generate_series(1, 10000)").await;
    lake.error("INSERT INTO t SELECT value * 1000000000 FROM generate_series(1, 10)").await;
    lake.error("CREATE TABLE c AS SELECT CAST(CAST(value AS STRING) || 'x' AS INT) AS i FROM generate_series(1, 2)").await;
    assert_eq!(lake.rows("SELECT count(*) FROM t").await, ["0"]);
    assert_eq!(lake.rows("SHOW TABLES").await, ["default|t"]);
    let table = lake.table("t").await;
    use futures::TryStreamExt;
    let files: Vec<_> = table
        .storage()
        .list(&table.data_location().unwrap())
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(files.is_empty(), "{files:?}");
}
