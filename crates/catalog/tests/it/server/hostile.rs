//! Input that nobody means well.

use berglake_catalog::rest::server::ServerOptions;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Server, new_table, send};
use crate::support::sqlite;

pub async fn suite(server: &Server) {
    server.namespace(&["host"]).await;
    bodies(server).await;
    paths(server).await;
    let answer = server.delete("/v1/namespaces/host").await;
    assert_eq!(answer.status, 204, "{answer:?}");
}

async fn bodies(server: &Server) {
    let deep = "[".repeat(100_000);
    let nested = format!(
        r#"{{"name":"t","schema":{}}}"#,
        r#"{"type":"struct","fields":[{"id":1,"name":"a","required":true,"type":"#.repeat(2_000)
    );
    for body in [
        "",
        "{",
        "null",
        "[]",
        "\u{0}",
        "{\"namespace\": \"text\"}",
        "{\"namespace\": [1]}",
        deep.as_str(),
        nested.as_str(),
    ] {
        for path in [
            "/v1/namespaces",
            "/v1/namespaces/host/tables",
            "/v1/namespaces/host/register",
            "/v1/tables/rename",
            "/v1/transactions/commit",
        ] {
            let request = server.request(Method::POST, path).body(body.to_string());
            send(request).await.is_error(400, "BadRequestException");
        }
    }
    let bytes = server
        .request(Method::POST, "/v1/namespaces")
        .body(vec![0xff; 64]);
    send(bytes).await.is_error(400, "BadRequestException");

    // Schemas that contradict themselves.
    let field = |id: i64, name: &str, ty: &str| json!({"id": id, "name": name, "required": false, "type": ty});
    for fields in [
        json!([field(1, "a", "long"), field(1, "b", "long")]),
        json!([field(1, "a", "long"), field(2, "a", "long")]),
        json!([field(1, "a", "no-such-type")]),
        json!([field(1, "a", "decimal(99999,1)")]),
        json!([field(1, "a", "fixed[99999999999999999999]")]),
    ] {
        let body = json!({"name": "bad", "schema": {"type": "struct", "fields": fields}});
        let answer = server.post("/v1/namespaces/host/tables", body).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
    let mut partitioned = new_table("bad");
    partitioned["partition-spec"] = json!({"fields": [
        {"source-id": 99, "field-id": 1000, "name": "x", "transform": "identity"}]});
    let answer = server.post("/v1/namespaces/host/tables", partitioned).await;
    answer.is_error(400, "BadRequestException");
    assert_eq!(server.head("/v1/namespaces/host/tables/bad").await, 404);
}

/// A request whose path is sent as it stands: clients would tidy it up.
async fn raw(server: &Server, method: &str, path: &str) -> u16 {
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn paths(server: &Server) {
    for (path, status) in [
        ("/v1/namespaces/host/tables/..", 404),
        ("/v1/namespaces/host/tables/%2e%2e", 404),
        ("/v1/namespaces/host/tables/..%2F..%2Fetc", 404),
        ("/v1/namespaces/../config", 404),
        ("/v1/namespaces/..", 404),
        ("/v1/namespaces/%1F", 400),
        ("/v1/namespaces/host%1F", 400),
        ("/v1/namespaces/%1Fhost", 400),
        ("/v1/namespaces/host%1F%1Fhost", 400),
        ("/v1/namespaces/%00", 400),
        ("/v1/namespaces/host/tables/a%00b", 400),
        ("/v1/namespaces/%FF%FE", 400),
        ("/v1/namespaces/%zz", 400),
        ("/v1/namespaces/host/tables/%", 400),
        ("/v1/namespaces//tables", 400),
        ("/v1//namespaces", 404),
        ("/v1/namespaces/host'%20OR%20'1'='1", 404),
        ("/v1/namespaces/host/tables?pageToken=%FF", 400),
    ] {
        assert_eq!(raw(server, "GET", path).await, status, "{path}");
    }
    let long = "x".repeat(20_000);
    assert_eq!(
        raw(server, "GET", &format!("/v1/namespaces/{long}")).await,
        404
    );
    let answer = server
        .post("/v1/namespaces", json!({"namespace": [long]}))
        .await;
    answer.is_error(400, "BadRequestException");
    let answer = server
        .post("/v1/namespaces/host/tables", new_table(&long))
        .await;
    answer.is_error(400, "BadRequestException");
    for name in ["", ".", "..", "a/b", "a\\b", "a\nb", "a\u{0}b", " a"] {
        let answer = server
            .post("/v1/namespaces/host/tables", new_table(name))
            .await;
        answer.is_error(400, "BadRequestException");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    let options = ServerOptions {
        max_body: 1024,
        ..ServerOptions::default()
    };
    let server = Server::start(&catalog, options).await;
    let body = json!({"namespace": ["x".repeat(2000)]}).to_string();
    let answer = send(server.request(Method::POST, "/v1/namespaces").body(body)).await;
    answer.is_error(413, "BadRequestException");
    // Without a length in the header too.
    let stream = futures::stream::iter((0..8).map(|_| Ok::<_, std::io::Error>(vec![b' '; 512])));
    let request = server
        .request(Method::POST, "/v1/namespaces")
        .body(reqwest::Body::wrap_stream(stream));
    send(request).await.is_error(413, "BadRequestException");
    server.namespace(&["fits"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metrics_report_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    let server = Server::start(&catalog, ServerOptions::default()).await;
    server.namespace(&["n"]).await;
    server.table("n", "t").await;
    let report = |bytes: usize| json!({"report-type": "scan-report", "filter": "x".repeat(bytes)});
    let paths = [
        "/v1/namespaces/n/tables/t/metrics",
        "/v1/lake/namespaces/n/tables/t/metrics",
    ];
    for path in paths {
        let answer = server.post(path, report(1000)).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        let answer = server.post(path, report(1 << 20)).await;
        answer.is_error(413, "BadRequestException");
        assert!(answer.body.to_string().contains("1048576"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_a_request_is_kept_where_it_can_stand_in_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    let server = Server::start(&catalog, ServerOptions::default()).await;
    for (given, kept) in [("abc-1", true), ("a b", false), (&*"x".repeat(200), false)] {
        let request = server
            .request(Method::GET, "/v1/config")
            .header("x-request-id", given);
        let answer = send(request).await;
        let id = answer.headers["x-request-id"].to_str().unwrap();
        assert_eq!(id == given, kept, "{given}");
        assert!(!id.is_empty());
    }
}
