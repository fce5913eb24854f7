//! Statements as long as they may be: they end in rows or in an error, never in the end of the process.

use crate::support::Lake;

/// Runs a test on threads that are made for statements.
fn on_large_stacks(test: impl Future<Output = ()> + Send + 'static) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(berglake_query::STACK_SIZE)
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::spawn(test).await.unwrap() });
}

async fn lake() -> Lake {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (a BIGINT, b BIGINT); INSERT INTO t VALUES (1, 2), (3, 4)")
        .await;
    lake
}

fn joined(times: usize, term: impl Fn(usize) -> String, by: &str) -> String {
    (0..times).map(term).collect::<Vec<_>>().join(by)
}

#[test]
fn filters_of_thousands_of_terms_are_answered() {
    on_large_stacks(async {
        let lake = lake().await;
        for (terms, expected) in [
            (joined(3_000, |i| format!("a = {i}"), " OR "), "2"),
            (
                joined(500, |i| format!("a = {i} AND b = {}", i + 1), " OR "),
                "2",
            ),
            (joined(300, |i| format!("a <> {}", i + 2), " AND "), "1"),
            (
                joined(200, |i| format!("(a > {i} OR b < {i})"), " AND "),
                "0",
            ),
        ] {
            let query = format!("SELECT count(*) FROM t WHERE {terms}");
            assert_eq!(lake.rows(&query).await, [expected], "{}", &query[..80]);
        }
    });
}

#[test]
fn chains_of_the_greatest_length_are_answered() {
    on_large_stacks(async {
        let lake = lake().await;
        let ctes = format!(
            "WITH c0 AS (SELECT a FROM t), {} SELECT a FROM c159",
            joined(
                159,
                |i| format!("c{} AS (SELECT a + 1 AS a FROM c{i})", i + 1),
                ", "
            )
        );
        for (query, rows) in [
            (format!("SELECT a{} FROM t", " + 1".repeat(150)), 2),
            (
                format!("SELECT a{} FROM t", "::STRING::BIGINT".repeat(249)),
                2,
            ),
            (
                joined(300, |i| format!("SELECT a, {i} FROM t"), " UNION ALL "),
                600,
            ),
            (joined(200, |_| "SELECT a FROM t".to_string(), " UNION "), 2),
            (
                format!(
                    "SELECT t.a FROM t {}",
                    joined(60, |i| format!("JOIN t t{i} ON t.a = t{i}.a"), " ")
                ),
                2,
            ),
            (ctes, 2),
            (
                format!("SELECT {}a{} FROM t", "(".repeat(90), " + 1)".repeat(90)),
                2,
            ),
        ] {
            let found = lake.rows(&query).await;
            assert_eq!(found.len(), rows, "{}", &query[..80]);
        }
    });
}

#[test]
fn what_is_longer_is_refused_on_any_stack() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let lake = Lake::new().await;
        for query in [
            format!("SELECT 1{}", " + 1".repeat(300_000)),
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(50_000)),
            format!("SELECT 1 WHERE a{}", " OR a".repeat(200_000)),
            format!("CREATE TABLE x AS SELECT 1{}", " * 1".repeat(50_000)),
            format!("EXPLAIN SELECT 1{}", "::INT".repeat(50_000)),
        ] {
            let error = lake.error(&query).await;
            assert!(error.contains("more than"), "{error}");
            assert!(error.len() < 400, "{error}");
        }
    });
}
