//! Requests that nobody who means well sends.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_make_no_sense_are_refused_and_change_nothing() {
    let server = Server::start("max-body = \"4KiB\"").await;
    let deep = format!("{{\"sql\": {}1{}}}", "[".repeat(1_000), "]".repeat(1_000));
    let nested = format!("SELECT {}1{}", "(".repeat(1_500), ")".repeat(1_500));
    let long = format!("SELECT '{}'", "x".repeat(5_000));
    let with = |media: &'static str, body: Vec<u8>| {
        server
            .post()
            .header("content-type", media)
            .body(body)
            .send()
    };
    for (media, body, status) in [
        ("application/json", b"".to_vec(), 400),
        ("application/json", b"{\"sql\": \"SELECT 1\"".to_vec(), 400),
        ("application/json", b"\xff\xfe\x00".to_vec(), 400),
        ("application/json", b"null".to_vec(), 400),
        ("application/json", deep.into_bytes(), 400),
        (
            "application/json",
            b"{\"sql\": \"SELECT 1\", \"sql\": \"SELECT 2\"}".to_vec(),
            400,
        ),
        ("text/plain", b"\0\0\0".to_vec(), 400),
        ("text/plain", nested.into_bytes(), 400),
        ("text/plain", long.into_bytes(), 413),
        ("text/plain", b"SELECT 1; SELECT 2".to_vec(), 400),
        ("text/plain", b"-- nothing".to_vec(), 400),
        (
            "text/plain",
            b"SELECT 1; DROP TABLE shop.orders".to_vec(),
            400,
        ),
        (
            "text/plain",
            b"WITH x AS (SELECT 1) INSERT INTO shop.orders SELECT 1, 'x', 1".to_vec(),
            501,
        ),
        (
            "text/plain",
            b"COPY shop.orders TO '/tmp/stolen.csv'".to_vec(),
            501,
        ),
        (
            "text/plain",
            b"CREATE EXTERNAL TABLE p STORED AS CSV LOCATION '/etc/passwd'".to_vec(),
            501,
        ),
        ("text/plain", b"SELECT * FROM '/etc/passwd'".to_vec(), 404),
        (
            "text/plain",
            b"SELECT * FROM information_schema.tables".to_vec(),
            404,
        ),
        ("multipart/form-data; boundary=x", b"--x--".to_vec(), 415),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let response = with(media, body).await.unwrap();
        let got = response.status().as_u16();
        let error: Value = response.json().await.unwrap();
        let kind = error["error"]["kind"].as_str().unwrap_or_default();
        assert!(!kind.is_empty() && kind != "internal", "{shown}: {error}");
        assert_eq!(got, status, "{shown}: {error}");
    }
    let rows = server
        .text("SELECT count(*) AS n FROM shop.orders", "csv")
        .await;
    assert_eq!(rows, "n\n3\n");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_methods_are_errors() {
    let server = Server::start("").await;
    for (path, status) in [("/v1/sql", 405), ("/", 404), ("/v1/../etc/passwd", 404)] {
        let url = format!("{}{path}", server.base);
        assert_eq!(
            server
                .client
                .get(url)
                .send()
                .await
                .unwrap()
                .status()
                .as_u16(),
            status
        );
    }
    for path in [
        "/health/live",
        "/health/ready",
        "/health/ready/query",
        "/metrics",
    ] {
        let url = format!("{}{path}", server.base);
        assert_eq!(
            server
                .client
                .get(url)
                .send()
                .await
                .unwrap()
                .status()
                .as_u16(),
            200,
            "{path}"
        );
    }
    let url = format!("{}/health/ready/nobody", server.base);
    assert_eq!(
        server
            .client
            .get(url)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16(),
        503
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_a_token_is_answered() {
    let server = Server::start("tokens = \"first,second\"").await;
    let ask = |header: Option<&'static str>| {
        let mut request = server.post().json(&json!({"sql": "SELECT 1"}));
        if let Some(value) = header {
            request = request.header("authorization", value);
        }
        request.send()
    };
    for wrong in [
        None,
        Some("Bearer third"),
        Some("Bearer "),
        Some("first"),
        Some("Basic first"),
    ] {
        let response = ask(wrong).await.unwrap();
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer realm=\"berglake\""
        );
        let (status, error) = server.refused(response).await;
        assert_eq!(
            (status, &error["kind"]),
            (401, &json!("unauthorized")),
            "{wrong:?}"
        );
        assert!(!error.to_string().contains("second"), "{error}");
    }
    for right in ["Bearer first", "bearer second"] {
        assert_eq!(ask(Some(right)).await.unwrap().status().as_u16(), 200);
    }
    // Health tells nothing that is worth a token.
    let url = format!("{}/health/live", server.base);
    assert_eq!(
        server
            .client
            .get(url)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16(),
        200
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http_end_the_connection_alone() {
    let server = Server::start("").await;
    let address = server.base.strip_prefix("http://").unwrap().to_owned();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"GET\r\n\r\n",
        b"POST /v1/sql HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/sql HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains(" 200 "), "{answer}");
    }
    assert_eq!(server.text("SELECT 1 AS n", "csv").await, "n\n1\n");
    server.stop().await;
}

/// As in the binary, whose threads have stacks for what is planned on them.
#[test]
fn long_statements_are_answered_or_refused_and_the_server_goes_on() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(berglake_query::STACK_SIZE)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = Server::start("timeout = \"600s\"").await;
        let repeated = |start: &str, more: &str, times| format!("{start}{}", more.repeat(times));
        for (sql, rows) in [
            (
                repeated(
                    "SELECT id FROM shop.orders WHERE id = 0",
                    " OR id = 1",
                    3_000,
                ),
                1,
            ),
            (repeated("SELECT 1 AS n", " UNION ALL SELECT 1", 300), 301),
            (repeated("SELECT 1", " + 1", 400) + " AS n", 1),
        ] {
            let lines = server.text(&sql, "csv").await.lines().count();
            assert_eq!(lines, rows + 1, "{}", &sql[..60]);
        }
        for sql in [
            repeated("SELECT 1", " + 1", 20_000),
            repeated("SELECT 1", " UNION ALL SELECT 1", 5_000),
            "SELECT to_date(repeat('-', 300000), repeat('-', 300000))".to_string(),
            "SELECT date_format(now(), repeat('y', 70000))".to_string(),
        ] {
            let response = server.ask(&sql, json!({})).await;
            let (status, error) = server.refused(response).await;
            let shown = &sql[..40];
            assert_eq!(
                (status, &error["kind"]),
                (400, &json!("invalid-input")),
                "{shown}"
            );
        }
        assert_eq!(server.text("SELECT 1 AS n", "csv").await, "n\n1\n");
        server.stop().await;
    });
}
