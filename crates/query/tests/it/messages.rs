//! What errors say: what, where, and what to do.

use crate::support::Lake;

#[tokio::test]
async fn errors_name_the_place_and_the_remedy() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE films (title STRING, `Release Year` INT)")
        .await;
    insta::assert_snapshot!(lake.error("SELECT 1,\n  titel FROM films").await, @r#"there is no column "titel" (line: 2, column: 3); did you mean "title"?"#);
    insta::assert_snapshot!(lake.error("SELECT *\nFROM movies").await, @r#"there is no table "movies" (line: 2, column: 6); tables are: default.films"#);
    insta::assert_snapshot!(lake.error("SELECT *\nFORM films").await, @r#"the SQL does not parse: Expected: the end of the statement, found: FORM (line: 2, column: 1)"#);
    insta::assert_snapshot!(lake.error("SELECT * FROM films WHERE title = 'open").await, @r#"the SQL does not parse: Unterminated string literal (line: 1, column: 35)"#);
    insta::assert_snapshot!(lake.error("DELETE FROM films").await, @r#"DELETE is not supported by this version; supported are SELECT, INSERT INTO and INSERT OVERWRITE, CREATE and DROP of tables and namespaces, ALTER TABLE, CALL, SHOW, DESCRIBE, EXPLAIN, USE and SET"#);
    insta::assert_snapshot!(lake.error("SELECT nofunction(title) FROM films").await, @r#"there is no function "nofunction" (line: 1, column: 8)"#);
    insta::assert_snapshot!(lake.error("INSERT INTO films VALUES ('x', 'y')").await, @r#"a value of type Utf8 cannot be stored as int (table: default.films, column: Release Year); CAST it, if that is what is meant"#);
    insta::assert_snapshot!(lake.error("INSERT INTO films (title) VALUES (1), ('x', 2)").await, @r#"Inconsistent data length across values list: got 2 values in row 1 but expected 1"#);
    insta::assert_snapshot!(lake.error("CREATE TABLE x (a INT) PARTITIONED BY (dayz(a))").await, @r#"dayz(a) is no partition transform (line: 1, column: 40); use a column, or years, months, days, hours, bucket(n, column), truncate(n, column)"#);
    insta::assert_snapshot!(lake.error("CREATE TABLE x (a FANCY)").await, @r#"the SQL does not parse: Expected: a type that Iceberg has, found: FANCY (line: 1, column: 19)"#);
    insta::assert_snapshot!(lake.error("SELECT 1; SELECT 2").await, @r#"there is more than one statement; run them one after the other"#);
    insta::assert_snapshot!(lake.error("SELECT CAST('x' AS INT)").await, @r#"Cannot cast string 'x' to value of Int32 type"#);
    insta::assert_snapshot!(lake.error("SELECT title FROM films a, films b").await, @r#"the column "title" is ambiguous (line: 1, column: 8); name its table, as in t.column"#);
    insta::assert_snapshot!(lake.error("USE nowhere").await, @r#"there is no namespace nowhere (catalog: lake); list the namespaces to see what there is, or create it"#);
}

#[tokio::test]
async fn a_table_of_a_pipeline_is_written_by_nobody_else_unless_forced() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE gold (id INT) TBLPROPERTIES ('berglake.pipeline' = 'movies')")
        .await;
    insta::assert_snapshot!(lake.error("INSERT INTO gold VALUES (1)").await, @r#"the table is written by the pipeline "movies" (table: default.gold); change the pipeline, or SET berglake.force_write = true"#);
    assert!(lake.error("DROP TABLE gold").await.contains("\"movies\""));
    lake.run("SET berglake.force_write = true; INSERT INTO gold VALUES (1)")
        .await;
    assert_eq!(lake.rows("SELECT * FROM gold").await, ["1"]);
    lake.run("SET berglake.force_write = false").await;
    assert!(
        lake.error("INSERT INTO gold VALUES (1)")
            .await
            .contains("\"movies\"")
    );
}

#[tokio::test]
async fn an_insert_that_fails_leaves_neither_rows_nor_files() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (id INT NOT NULL)").await;
    lake.error("INSERT INTO t SELECT CASE WHEN value = 9999 THEN NULL ELSE value END FROM generate_series(1, 10000)").await;
    lake.error("INSERT INTO t SELECT value * 1000000000 FROM generate_series(1, 10)")
        .await;
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
