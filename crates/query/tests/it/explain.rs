//! What EXPLAIN says of pruning, and that files are not opened that need not be.

use crate::support::Lake;

async fn plan(lake: &Lake, sql: &str) -> String {
    let rows = lake.rows(&format!("EXPLAIN {sql}")).await;
    let plan = rows
        .iter()
        .find_map(|row| row.strip_prefix("physical_plan|"))
        .unwrap();
    let scan = plan
        .lines()
        .find(|line| line.contains("DataSourceExec"))
        .unwrap();
    let place = scan.find("table=").unwrap();
    // What follows is DataFusion's own.
    let text = scan[place..]
        .split(", predicate=")
        .next()
        .unwrap()
        .to_string();
    // File sizes and random ids are no one's promise.
    let text = mask(&text, "snapshot=");
    mask(&text, "bytes=")
}

fn mask(text: &str, key: &str) -> String {
    match text.split_once(key) {
        Some((before, after)) => {
            let rest = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
            format!("{before}{key}…{rest}")
        }
        None => text.to_string(),
    }
}

#[tokio::test]
async fn explain_shows_files_and_manifests_that_filters_leave() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT, day DATE, name STRING) PARTITIONED BY (months(day));
         INSERT INTO t VALUES (1, DATE '2026-01-01', 'a'), (2, DATE '2026-02-01', 'b'), (3, DATE '2026-03-01', 'c');
         INSERT INTO t VALUES (4, DATE '2027-01-01', 'd')",
    )
    .await;
    insta::assert_snapshot!(plan(&lake, "SELECT * FROM t").await, @"table=default.t, snapshot=…, files=4/4, manifests=2/2, bytes=…, deletes=0");
    insta::assert_snapshot!(plan(&lake, "SELECT id FROM t WHERE day >= DATE '2026-02-15' AND day < DATE '2026-12-01'").await, @"table=default.t, snapshot=…, files=1/4, manifests=1/2, bytes=…, deletes=0");
    insta::assert_snapshot!(plan(&lake, "SELECT id FROM t WHERE name = 'b'").await, @"table=default.t, snapshot=…, files=1/4, manifests=2/2, bytes=…, deletes=0");
    insta::assert_snapshot!(plan(&lake, "SELECT id FROM t WHERE id IN (1, 4) AND upper(name) = 'A'").await, @"table=default.t, snapshot=…, files=2/4, manifests=2/2, bytes=…, deletes=0");
    insta::assert_snapshot!(plan(&lake, "SELECT id FROM t WHERE year(day) = 2026").await, @"table=default.t, snapshot=…, files=3/4, manifests=1/2, bytes=…, deletes=0");
    lake.delete("t", &[&[0], &[0], &[], &[]]).await;
    insta::assert_snapshot!(plan(&lake, "SELECT * FROM t WHERE id > 100").await, @"table=default.t, snapshot=…, files=0/4, manifests=3/3, bytes=…, deletes=0");
    insta::assert_snapshot!(plan(&lake, "SELECT * FROM t").await, @"table=default.t, snapshot=…, files=4/4, manifests=3/3, bytes=…, deletes=2");
}

#[tokio::test]
async fn explain_analyze_works_in_the_past() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT);
         INSERT INTO t VALUES (1);
         INSERT INTO t VALUES (2)",
    )
    .await;
    let first = lake
        .rows("SELECT snapshot_id FROM t$snapshots WHERE parent_id IS NULL")
        .await;
    let sql = format!("EXPLAIN ANALYZE SELECT * FROM t VERSION AS OF {}", first[0]);
    let text = lake.rows(&sql).await.join("\n");
    assert!(text.contains("files=1/1"), "{text}");
    assert!(text.contains(&format!("snapshot={}", first[0])), "{text}");
    assert!(text.contains("output_rows=1"), "{text}");
}

#[tokio::test]
async fn rows_are_counted_from_metadata_where_that_is_exact() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT) TBLPROPERTIES ('format-version' = '3');
         INSERT INTO t VALUES (1), (2), (3)",
    )
    .await;
    lake.delete("t", &[&[1]]).await;
    let rows = lake.rows("EXPLAIN SELECT count(*) FROM t").await;
    let plan = rows
        .iter()
        .find(|row| row.starts_with("physical_plan|"))
        .unwrap();
    assert!(!plan.contains("DataSourceExec: file_groups"), "{plan}");
    assert_eq!(lake.rows("SELECT count(*) FROM t").await, ["2"]);
}
