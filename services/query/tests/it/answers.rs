//! What is asked is answered, in each format.

use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};

use crate::server::{Server, powers};

const ORDERS: &str = "SELECT * FROM shop.orders ORDER BY id";

#[tokio::test(flavor = "multi_thread")]
async fn every_format_has_the_same_rows() {
    let server = Server::start("").await;
    assert_eq!(
        server.text(ORDERS, "csv").await,
        "id,customer,amount\n1,Ada,10.50\n2,\"say \"\"hi\"\", Bob\",\n3,\"\",0.01\n"
    );
    let rows = json!([
        {"id": 1, "customer": "Ada", "amount": "10.50"},
        {"id": 2, "customer": "say \"hi\", Bob", "amount": null},
        {"id": 3, "customer": "", "amount": "0.01"},
    ]);
    let lines = server.text(ORDERS, "ndjson").await;
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(Value::from(lines), rows);
    let document: Value = serde_json::from_str(&server.text(ORDERS, "json").await).unwrap();
    assert_eq!(
        document,
        json!({
            "columns": [{"name": "id", "type": "bigint"}, {"name": "customer", "type": "string"},
                        {"name": "amount", "type": "decimal(9,2)"}],
            "rows": rows,
            "row_count": 3,
        })
    );
    let response = server.ask(ORDERS, json!({"format": "arrow"})).await;
    let media_type = response.headers()["content-type"].clone();
    assert_eq!(media_type, "application/vnd.apache.arrow.stream");
    assert!(response.headers().contains_key("x-query-id"));
    let bytes = response.bytes().await.unwrap();
    let reader = StreamReader::try_new(&bytes[..], None).unwrap();
    assert_eq!(
        reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(),
        3
    );

    // As people type it, with the type that they want in a header.
    let response = server
        .post()
        .header("content-type", "text/plain")
        .header("accept", "text/csv")
        .body("SELECT count(*) AS n FROM shop.orders")
        .send()
        .await
        .unwrap();
    assert_eq!(response.text().await.unwrap(), "n\n3\n");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_many_batches_arrives_in_full() {
    let server = Server::start("").await;
    let sql = format!(
        "SELECT t0.d AS a, 'a text of some length' AS b FROM {}",
        powers(5)
    );
    for (format, lines) in [("csv", 100_001), ("ndjson", 100_000)] {
        assert_eq!(server.text(&sql, format).await.lines().count(), lines);
    }
    let document: Value = serde_json::from_str(&server.text(&sql, "json").await).unwrap();
    assert_eq!(document["row_count"], 100_000);
    assert_eq!(document["rows"].as_array().unwrap().len(), 100_000);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_up_in_the_namespace_of_the_question() {
    let server = Server::start("").await;
    let response = server
        .ask(
            "SELECT count(*) AS n FROM orders",
            json!({"namespace": "shop", "format": "csv"}),
        )
        .await;
    assert_eq!(response.text().await.unwrap(), "n\n3\n");
    // Nothing is kept between requests.
    let response = server.ask("SELECT * FROM orders", json!({})).await;
    assert_eq!(server.refused(response).await.0, 404);
    let response = server
        .ask("SELECT 1", json!({"namespace": ["no", "such"]}))
        .await;
    assert_eq!(server.refused(response).await.0, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_where_and_what_to_do() {
    let server = Server::start("").await;
    let response = server
        .ask("SELECT custmer FROM shop.orders", json!({}))
        .await;
    let (status, error) = server.refused(response).await;
    assert_eq!((status, &error["kind"]), (400, &json!("invalid-input")));
    assert!(
        error["help"].as_str().unwrap().contains("customer"),
        "{error}"
    );

    let response = server.ask("SELECT * FROM shop.ordrs", json!({})).await;
    let (status, error) = server.refused(response).await;
    assert_eq!(
        (status, &error["kind"]),
        (404, &json!("not-found")),
        "{error}"
    );
    assert!(
        error["help"].as_str().unwrap().contains("orders"),
        "{error}"
    );

    let response = server.ask("SELECT\n FROM WHERE", json!({})).await;
    let (status, error) = server.refused(response).await;
    assert_eq!(status, 400);
    assert_eq!(error["context"]["line"], "2", "{error}");

    // An error behind the first rows, before the answer has begun, has its status too.
    let sql = "SELECT CAST(s AS BIGINT) AS n FROM (VALUES ('1'), ('x')) AS t(s)";
    let response = server.ask(sql, json!({})).await;
    assert_eq!(server.refused(response).await.0, 400);

    let response = server.ask("UPDATE shop.orders SET id = 1", json!({})).await;
    assert_eq!(server.refused(response).await.0, 501);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_only_reads_unless_it_is_told_otherwise() {
    let server = Server::start("").await;
    for statement in [
        "INSERT INTO shop.orders VALUES (9, 'Eve', 1)",
        "CREATE TABLE shop.more (a INT)",
        "CREATE NAMESPACE more",
        "DROP TABLE shop.orders",
        "DROP NAMESPACE shop",
    ] {
        let (status, error) = server.refused(server.ask(statement, json!({})).await).await;
        assert_eq!(
            (status, &error["kind"]),
            (403, &json!("read-only")),
            "{statement}"
        );
    }
    for statement in [
        "SHOW TABLES IN shop",
        "DESCRIBE shop.orders",
        "EXPLAIN SELECT 1",
    ] {
        server.text(statement, "json").await;
    }
    assert_eq!(
        server
            .text("SELECT count(*) AS n FROM shop.orders", "csv")
            .await,
        "n\n3\n"
    );
    server.stop().await;

    let server = Server::start("read-only = false").await;
    assert_eq!(
        server
            .text("INSERT INTO shop.orders VALUES (9, 'Eve', 1)", "csv")
            .await,
        "count\n1\n"
    );
    assert_eq!(
        server
            .text("SELECT max(id) AS n FROM shop.orders", "csv")
            .await,
        "n\n9\n"
    );
    server.stop().await;
}
