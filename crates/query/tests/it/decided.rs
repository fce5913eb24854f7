//! Filters that the partitions of files decide.

use crate::support::Lake;

/// What EXPLAIN says, on one line.
async fn plan(lake: &Lake, query: &str) -> String {
    lake.rows(&format!("EXPLAIN {query}")).await.join(" ")
}

async fn lake() -> Lake {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id BIGINT, day DATE, kind STRING, n INT, x DOUBLE)
         PARTITIONED BY (day, kind, n, x)",
    )
    .await;
    lake.run(
        "INSERT INTO t VALUES
           (1, DATE '2026-01-01', 'a', 1, 1.5),
           (2, DATE '2026-01-01', 'b', 2, 'NaN'),
           (3, DATE '2026-01-02', 'a', NULL, NULL),
           (4, NULL, NULL, 4, 0.0),
           (5, DATE '2026-01-01', 'a', 1, 1.5)",
    )
    .await;
    lake
}

const DECIDED: [(&str, &[i64]); 9] = [
    ("day = DATE '2026-01-01'", &[1, 2, 5]),
    ("day = DATE '2026-01-01' AND kind = 'a'", &[1, 5]),
    ("kind = 'b' OR n >= 4", &[2, 4]),
    ("kind IN ('a', 'z')", &[1, 3, 5]),
    ("n BETWEEN 1 AND 2", &[1, 2, 5]),
    ("kind IS NULL", &[4]),
    ("day IS NOT NULL", &[1, 2, 3, 5]),
    ("kind > 'a'", &[2]),
    ("kind = 'nothing'", &[]),
];

#[tokio::test]
async fn rows_are_those_of_a_filter_that_looks_at_them() {
    let lake = lake().await;
    for (filter, ids) in DECIDED {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let found = lake
            .rows(&format!("SELECT id FROM t WHERE {filter} ORDER BY id"))
            .await;
        assert_eq!(found, ids, "{filter}");
        let looked =
            format!("SELECT id FROM t WHERE NOT (NOT coalesce({filter}, false)) ORDER BY id");
        assert_eq!(lake.rows(&looked).await, ids, "{filter}");
        let count = lake
            .rows(&format!("SELECT count(*) FROM t WHERE {filter}"))
            .await;
        assert_eq!(count, [ids.len().to_string()], "{filter}");
        let plan = plan(&lake, &format!("SELECT id FROM t WHERE {filter}")).await;
        assert!(!plan.contains("FilterExec"), "{filter}: {plan}");
    }
}

#[tokio::test]
async fn counts_of_whole_partitions_read_no_file() {
    let lake = lake().await;
    let count = "SELECT count(*) FROM t WHERE day = DATE '2026-01-01'";
    let answered = plan(&lake, count).await;
    assert!(!answered.contains("iceberg"), "{answered}");
    // A deleted row is not counted, however that is known.
    lake.delete("t", &[&[0]]).await;
    assert_eq!(lake.rows("SELECT count(*) FROM t").await, ["4"]);
}

#[tokio::test]
async fn what_partitions_do_not_decide_is_filtered() {
    let lake = lake().await;
    for filter in [
        "id = 1",
        "x > 1.0",
        "kind LIKE 'a%'",
        "day = DATE '2026-01-01' OR id = 3",
        "NOT (kind = 'a')",
        "n + 1 = 2",
        "n <> 1",
    ] {
        let query = format!("SELECT id FROM t WHERE {filter}");
        let plan = plan(&lake, &query).await;
        assert!(
            plan.contains("FilterExec") || plan.contains("EmptyExec"),
            "{filter}: {plan}"
        );
    }
    // A spec that does not have the column leaves it open for all files.
    lake.run("ALTER TABLE t DROP PARTITION FIELD kind").await;
    lake.run("INSERT INTO t VALUES (6, DATE '2026-01-01', 'a', 1, 1.5), (7, DATE '2026-01-01', 'b', 1, 1.5)")
        .await;
    let query = "SELECT id FROM t WHERE kind = 'a' ORDER BY id";
    assert!(plan(&lake, query).await.contains("FilterExec"));
    assert_eq!(lake.rows(query).await, ["1", "3", "5", "6"]);
    assert!(
        !plan(&lake, "SELECT id FROM t WHERE n = 1")
            .await
            .contains("FilterExec")
    );
}

#[tokio::test]
async fn times_are_decided_where_their_partitions_begin() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id BIGINT, at TIMESTAMP_NTZ, day DATE)
         PARTITIONED BY (days(at), months(day))",
    )
    .await;
    lake.run(
        "INSERT INTO t VALUES
           (1, TIMESTAMP '1969-12-30 23:59:59.999999', DATE '1969-12-31'),
           (2, TIMESTAMP '1969-12-31 00:00:00', DATE '1970-01-01'),
           (3, TIMESTAMP '2026-02-28 23:59:59.999999', DATE '2026-02-28'),
           (4, TIMESTAMP '2026-03-01 00:00:00', DATE '2026-03-01'),
           (5, TIMESTAMP '2026-03-01 12:00:00', DATE '2026-03-31'),
           (6, NULL, NULL)",
    )
    .await;
    for (filter, decided, ids) in [
        ("at >= TIMESTAMP '2026-03-01 00:00:00'", true, &[4, 5][..]),
        ("at < TIMESTAMP '2026-03-01 00:00:00'", true, &[1, 2, 3]),
        (
            "TIMESTAMP '1969-12-31 00:00:00' <= at",
            false,
            &[2, 3, 4, 5],
        ),
        ("at < TIMESTAMP '1969-12-31 00:00:00'", false, &[1]),
        ("at > TIMESTAMP '2026-03-01 00:00:00'", false, &[5]),
        (
            "at <= TIMESTAMP '2026-03-01 00:00:00'",
            false,
            &[1, 2, 3, 4],
        ),
        ("at >= TIMESTAMP '2026-03-01 12:00:00'", false, &[5]),
        ("at = TIMESTAMP '2026-03-01 00:00:00'", false, &[4]),
        ("TIMESTAMP '2026-03-01 00:00:00' <= at", true, &[4, 5]),
        ("day >= DATE '2026-03-01'", true, &[4, 5]),
        ("day < DATE '1970-01-01'", false, &[1]),
        ("day < DATE '2026-03-31'", false, &[1, 2, 3, 4]),
    ] {
        let query = format!("SELECT id FROM t WHERE {filter}");
        let expected: Vec<String> = ids.iter().map(ToString::to_string).collect();
        assert_eq!(
            lake.rows(&format!("{query} ORDER BY id")).await,
            expected,
            "{filter}"
        );
        let plan = plan(&lake, &query).await;
        assert_eq!(!plan.contains("FilterExec"), decided, "{filter}: {plan}");
    }
}
