//! What a query may cost.

use std::time::Duration;

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
    let server = Server::start("timeout = \"500ms\"\nconcurrency = 1").await;
    for limits in [
        json!({}),
        json!({"timeout_ms": 100}),
        json!({"timeout_ms": 60000}),
    ] {
        let response = server.ask(&endless(), json!({"limits": limits})).await;
        let (status, error) = server.refused(response).await;
        assert_eq!(
            (status, &error["kind"]),
            (504, &json!("limit-exceeded")),
            "{error}"
        );
    }
    // It does not run on: its place is free.
    server.text("SELECT 1", "csv").await;
    server.stop().await;
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
    let server = Server::start("concurrency = 1").await;
    let sql = endless();
    let running = server.ask(&sql, json!({"limits": {"timeout_ms": 3000}}));
    let refused = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.ask("SELECT 1", json!({})).await
    };
    let (_, refused) = tokio::join!(running, refused);
    assert_eq!(refused.headers()["retry-after"], "1");
    let (status, error) = server.refused(refused).await;
    assert_eq!(
        (status, &error["kind"]),
        (429, &json!("limit-exceeded")),
        "{error}"
    );
    server.text("SELECT 1", "csv").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_query_with_it() {
    let server = Server::start("concurrency = 1").await;
    // While it is computed, and while it is sent.
    let many = format!(
        "SELECT t0.d, 'a text of some length' AS b FROM {}",
        powers(9)
    );
    for sql in [endless(), many] {
        let asked = server
            .post()
            .json(&json!({"sql": sql, "format": "csv"}))
            .timeout(Duration::from_millis(700))
            .send()
            .await;
        drop(asked);
        let mut free = false;
        for _ in 0..100 {
            if server.ask("SELECT 1", json!({})).await.status().as_u16() == 200 {
                free = true;
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(free, "the query goes on for nobody: {sql}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_finishes_what_is_asked() {
    let server = Server::start("").await;
    let sql = format!("SELECT count(t0.d) AS n FROM {}", powers(7));
    let (client, url) = (server.client.clone(), format!("{}/v1/sql", server.base));
    let asked = tokio::spawn(async move {
        let body = json!({"sql": sql, "format": "csv"});
        let response = client.post(url).json(&body).send().await.unwrap();
        response.text().await.unwrap()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop().await;
    assert_eq!(asked.await.unwrap(), "n\n10000000\n");
}
