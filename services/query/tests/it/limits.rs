//! What a query may cost.

use serde_json::{Value, json};

use crate::server::{Server, endless, powers};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_too_many_rows_says_so_and_never_looks_whole() {
    let server = Server::start("max-rows = 50000").await;
    // Before the answer has begun: a status.
    let few = format!("SELECT t0.d FROM {}", powers(2));
    let response = server.ask(&few, json!({"limits": {"max_rows": 99}})).await;
    let (status, error) = server.refused(response).await;
    assert_eq!((status, &error["kind"]), (422, &json!("limit-exceeded")));
    assert!(
        error["message"].as_str().unwrap().contains("99 rows"),
        "{error}"
    );
    let response = server.ask(&few, json!({"limits": {"max_rows": 100}})).await;
    assert_eq!(response.status().as_u16(), 200);

    // Behind the first rows: an error at the end, or no end.
    let many = format!(
        "SELECT t0.d, 'a text of some length' AS b FROM {}",
        powers(5)
    );
    let response = server
        .ask(&many, json!({"limits": {"max_rows": 1000000}}))
        .await;
    assert_eq!(response.status().as_u16(), 200);
    let document: Value = response.json().await.unwrap();
    assert_eq!(document["error"]["kind"], "limit-exceeded");
    assert!(document["rows"].as_array().unwrap().len() <= 50_000);
    let text = server.text(&many, "ndjson").await;
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["kind"], "limit-exceeded");
    for format in ["csv", "arrow"] {
        let response = server.ask(&many, json!({"format": format})).await;
        assert!(response.bytes().await.is_err(), "{format} must break off");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_cancelled() {
    let is_late = async |server: &Server, limits: Value| {
        let response = server.ask(&endless(), json!({"limits": limits})).await;
        let (status, error) = server.refused(response).await;
        assert_eq!(
            (status, &error["kind"]),
            (504, &json!("limit-exceeded")),
            "{error}"
        );
    };
    let strict = Server::start("timeout = \"200ms\"\nconcurrency = 1").await;
    for limits in [json!({}), json!({"timeout_ms": 60000})] {
        is_late(&strict, limits).await;
    }
    strict.stop().await;

    let patient = Server::start("timeout = \"600s\"\nconcurrency = 1").await;
    is_late(&patient, json!({"timeout_ms": 200})).await;
    // It does not run on: its place is free.
    patient.text("SELECT 1", "csv").await;
    patient.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_needs_too_much_memory_fails_alone() {
    let server = Server::start("memory = \"8MiB\"").await;
    // Arrays cannot be put on disk half made.
    let sql = format!(
        "SELECT array_agg('a text that takes up some room ' || t0.d || t5.d) AS a FROM {}",
        powers(6)
    );
    let response = server.ask(&sql, json!({})).await;
    let (status, error) = server.refused(response).await;
    assert_eq!(
        (status, &error["kind"]),
        (422, &json!("limit-exceeded")),
        "{error}"
    );
    assert_eq!(error["context"]["limit"], "memory", "{error}");
    assert_eq!(server.text("SELECT 1 AS n", "csv").await, "n\n1\n");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_query_too_many_is_asked_to_come_back() {
    let server = Server::start("concurrency = 1\ntimeout = \"600s\"").await;
    let running = server.leave(&endless(), json!({}));
    let refused = server
        .until_full(&running)
        .await
        .expect("the query takes a place");
    assert_eq!(refused.headers()["retry-after"], "1");
    let (status, error) = server.refused(refused).await;
    assert_eq!(
        (status, &error["kind"]),
        (429, &json!("limit-exceeded")),
        "{error}"
    );
    running.abort();
    server.until_free().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_whose_client_has_left_keeps_its_place_and_its_deadline() {
    let server = Server::start("concurrency = 1\nread-only = false\ntimeout = \"600s\"").await;
    let sql = format!("CREATE TABLE shop.big AS {}", endless());
    let left = server.leave(&sql, json!({"timeout_ms": 5000}));
    server
        .until_full(&left)
        .await
        .expect("the statement takes a place");
    left.abort();
    // It would run for ever; its deadline ends it, and what it had begun goes with it.
    server.until_free().await;
    server
        .until("SHOW TABLES IN shop", "namespace,table_name\nshop,orders\n")
        .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_query_with_it() {
    let server =
        Server::start("concurrency = 1\nmax-rows = 1000000000000\ntimeout = \"600s\"").await;
    // While it is computed, and while it is sent.
    let many = format!(
        "SELECT t0.d, 'a text of some length' AS b FROM {}",
        powers(9)
    );
    for sql in [endless(), many] {
        let left = server.leave(&sql, json!({}));
        server
            .until_full(&left)
            .await
            .expect("the query takes a place");
        left.abort();
        server.until_free().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_finishes_what_is_asked() {
    let server = Server::start("concurrency = 1").await;
    let sql = format!("SELECT count(t0.d) AS n FROM {}", powers(7));
    let asked = server.leave(&sql, json!({}));
    // Where the machine is so fast that it has ended, there is nothing left to finish.
    let full = server.until_full(&asked).await;
    assert!(full.is_some() || asked.is_finished());
    server.stop().await;
    assert_eq!(asked.await.unwrap(), "n\n10000000\n");
}
