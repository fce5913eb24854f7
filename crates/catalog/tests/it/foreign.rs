//! The REST client and what other servers do: prefixes, pages, endpoints that are not there,
//! credentials that are handed out.
//!
//! The server here answers by a script, so that what other implementations do differently can be
//! shown without them; berglake's own server and Java's are met elsewhere.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use berglake_catalog::rest::{RequestRetry, RestCatalog, RestCatalogConfig};
use berglake_catalog::{Catalog, NewTable};
use berglake_format::commit::{Committer, TableChange};
use berglake_format::storage::{Location, S3Config, Storage, StorageConfig};
use berglake_format::{Environment, ErrorKind, Result, Secret};
use http::{StatusCode, header};
use iceberg::spec::{FormatVersion, SortOrder, TableMetadataBuilder, UnboundPartitionSpec};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::*;

/// Answers by method, path and query, each as it was sent.
struct Scripted {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scripted {
    /// A request that is there several times has these answers in turn, then always the last.
    async fn new(script: &[(&str, u16, Value)]) -> Self {
        let mut answers: HashMap<String, VecDeque<(u16, Value)>> = HashMap::new();
        for (request, status, body) in script {
            let answers = answers.entry((*request).to_string()).or_default();
            answers.push_back((*status, body.clone()));
        }
        let script = Arc::new(Mutex::new(answers));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let app = Router::new().fallback(move |request: Request| {
            let line = format!("{} {}", request.method(), request.uri());
            heard.lock().unwrap().push(line.clone());
            let mut script = script.lock().unwrap();
            let answer = script
                .get_mut(&line)
                .and_then(|answers| match answers.len() {
                    1 => answers.front().cloned(),
                    _ => answers.pop_front(),
                });
            async move { answered(answer) }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.unwrap();
        });
        Self {
            address,
            asked,
            task,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn config(&self) -> RestCatalogConfig {
        let location = Location::parse("s3://lake/all").unwrap();
        RestCatalogConfig {
            retry: RequestRetry {
                retries: 1,
                min_wait: Duration::from_millis(1),
                max_wait: Duration::from_millis(10),
            },
            ..RestCatalogConfig::new("lake", format!("http://{}", self.address), location)
        }
    }

    async fn connect(&self) -> Result<RestCatalog> {
        RestCatalog::connect(self.config(), Storage::default(), Environment::default()).await
    }
}

fn answered(answer: Option<(u16, Value)>) -> Response {
    match answer {
        Some((status, Value::String(text))) => {
            let status = StatusCode::from_u16(status).unwrap();
            let to = [(header::LOCATION, "https://elsewhere/catalog")];
            (status, to, text).into_response()
        }
        Some((status, body)) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, axum::Json(body)).into_response()
        }
        None => {
            let error = json!({"error": {"message": "nothing here", "code": 404,
                "type": "NoSuchNamespaceException"}});
            (StatusCode::NOT_FOUND, axum::Json(error)).into_response()
        }
    }
}

#[tokio::test]
async fn paths_have_the_prefix_and_the_separator_that_the_server_names() {
    let server = Scripted::new(&[(
        "GET /v1/config?warehouse=my%20lake",
        200,
        json!({"defaults": {"namespace-separator": "%2E"}, "overrides": {"prefix": "a/b c"}}),
    )])
    .await;
    let config = RestCatalogConfig {
        warehouse: Some("my lake".to_string()),
        prefix: Some("not this".to_string()),
        ..server.config()
    };
    let catalog = RestCatalog::connect(config, Storage::default(), Environment::default());
    let catalog = catalog.await.unwrap();
    catalog
        .load_namespace(&namespace("one.two"))
        .await
        .unwrap_err();
    catalog
        .list_namespaces(Some(&namespace("one.two")))
        .await
        .unwrap_err();
    catalog.load(&ident("one", "a+b c/d")).await.unwrap_err();
    assert_eq!(
        server.asked()[1..],
        [
            "GET /v1/a/b%20c/namespaces/one%2Etwo",
            "GET /v1/a/b%20c/namespaces?parent=one%2Etwo&pageToken=",
            "GET /v1/a/b%20c/namespaces/one/tables/a%2Bb%20c%2Fd",
        ]
    );
}

#[tokio::test]
async fn names_that_would_lead_elsewhere_are_not_sent() {
    let server = Scripted::new(&[("GET /v1/config", 200, json!({}))]).await;
    let catalog = server.connect().await.unwrap();
    for name in ["", ".", ".."] {
        let error = catalog.load(&ident("n", name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(!catalog.table_exists(&ident("n", name)).await.unwrap());
        let error = catalog.drop_table(&ident("n", name), true).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
    let up = berglake_format::NamespaceIdent::new("..".to_string());
    catalog.drop_namespace(&up).await.unwrap_err();
    assert_eq!(server.asked(), ["GET /v1/config"]);
}

#[tokio::test]
async fn all_pages_are_read_and_a_listing_without_end_is_an_error() {
    let page = |names: &[&str], next: Value| json!({"namespaces": names.iter().map(|n| [n]).collect::<Vec<_>>(), "next-page-token": next});
    let server = Scripted::new(&[
        ("GET /v1/config", 200, json!({"overrides": null})),
        (
            "GET /v1/namespaces?pageToken=",
            200,
            page(&["b"], json!("t 1")),
        ),
        (
            "GET /v1/namespaces?pageToken=t%201",
            200,
            page(&[], json!("t2")),
        ),
        (
            "GET /v1/namespaces?pageToken=t2",
            200,
            page(&["a"], Value::Null),
        ),
        (
            "GET /v1/namespaces/n/tables?pageToken=",
            200,
            json!({"identifiers": [{"namespace": ["n"], "name": "t"}], "next-page-token": "x"}),
        ),
        (
            "GET /v1/namespaces/n/tables?pageToken=x",
            200,
            json!({"identifiers": [], "next-page-token": "x"}),
        ),
    ])
    .await;
    let catalog = server.connect().await.unwrap();
    let all = catalog.list_namespaces(None).await.unwrap();
    assert_eq!(all, [namespace("a"), namespace("b")]);
    let error = catalog.list_tables(&namespace("n")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn what_the_server_does_not_have_is_not_asked_for() {
    let server = Scripted::new(&[
        (
            "GET /v1/config",
            200,
            json!({"endpoints": ["GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
                "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}"]}),
        ),
        ("GET /v1/namespaces/n/tables/t", 200, json!({})),
    ])
    .await;
    let catalog = server.connect().await.unwrap();
    // Without a way to ask for existence the table is loaded.
    assert!(catalog.table_exists(&ident("n", "t")).await.unwrap());
    assert!(!catalog.table_exists(&ident("n", "u")).await.unwrap());
    let asked = server.asked().len();
    let change = |name: &str| TableChange {
        ident: ident("n", name),
        requirements: Vec::new(),
        updates: Vec::new(),
    };
    let error = catalog.commit(vec![change("a"), change("b")]).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(
        text.contains("several tables") && text.contains("n.a, n.b"),
        "{text}"
    );
    assert!(error.advice().is_some());
    for error in [
        catalog.create_table(table("n", "t")).await.unwrap_err(),
        catalog
            .rename_table(&ident("n", "t"), &ident("n", "u"))
            .await
            .unwrap_err(),
        catalog
            .register_table(&ident("n", "t"), "s3://lake/m.json")
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    assert_eq!(server.asked().len(), asked, "nothing more was sent");
}

#[tokio::test]
async fn an_address_that_is_no_catalog_says_so() {
    let html = json!("<html><body>Welcome to nginx</body></html>");
    for (status, expected) in [
        (200, "address of an Iceberg REST catalog"),
        (404, "address of an Iceberg REST catalog"),
        (302, "https://elsewhere/catalog"),
    ] {
        let server = Scripted::new(&[("GET /v1/config", status, html.clone())]).await;
        let error = server.connect().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{status}: {error}");
        assert!(error.contains(&server.address.to_string()), "{error}");
    }
}

/// What a server answers for a table in a bucket.
fn loaded(config: &Value, credentials: &Value) -> Value {
    let metadata = TableMetadataBuilder::new(
        schema(),
        UnboundPartitionSpec::default(),
        SortOrder::unsorted_order(),
        "s3://lake/n/t".to_string(),
        FormatVersion::V2,
        HashMap::new(),
    );
    let metadata = metadata.unwrap().build().unwrap().metadata;
    json!({"metadata-location": "s3://lake/n/t/metadata/1.json", "metadata": metadata,
        "config": config, "storage-credentials": credentials})
}

#[tokio::test]
async fn storage_settings_that_are_handed_out_fill_up_the_projects() {
    let credentials = json!([{"prefix": "s3://lake/n", "config": {
        "s3.access-key-id": "id", "s3.secret-access-key": "hunter2", "s3.session-token": "hunter3"}}]);
    let server = Scripted::new(&[
        (
            "GET /v1/config",
            200,
            json!({"defaults": {"s3.endpoint": "http://minio:9000", "client.region": "eu"}}),
        ),
        (
            "GET /v1/namespaces/n/tables/t",
            200,
            loaded(&json!({"s3.path-style-access": "true"}), &credentials),
        ),
        (
            "GET /v1/namespaces/n/tables/u",
            200,
            loaded(&json!(null), &json!(null)),
        ),
    ])
    .await;
    let catalog = server.connect().await.unwrap();
    let table = catalog.load(&ident("n", "t")).await.unwrap();
    let s3 = &table.storage().config().s3;
    assert_eq!(s3.endpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!(s3.region.as_deref(), Some("eu"));
    assert!(s3.path_style && s3.allow_http);
    assert_eq!(s3.secret_access_key, Some(Secret::new("hunter2")));
    assert_eq!(s3.session_token, Some(Secret::new("hunter3")));
    assert!(!format!("{catalog:?} {table:?}").contains("hunter"));
    let other = catalog.load(&ident("n", "u")).await.unwrap();
    assert_eq!(other.storage().config().s3.access_key_id, None);

    let own = S3Config {
        endpoint: Some("https://own".to_string()),
        access_key_id: Some(Secret::new("own")),
        secret_access_key: Some(Secret::new("own")),
        region: Some("us".to_string()),
        ..S3Config::default()
    };
    let storage = Storage::new(StorageConfig {
        s3: own.clone(),
        ..StorageConfig::default()
    });
    let catalog = RestCatalog::connect(server.config(), storage, Environment::default());
    let table = catalog.await.unwrap().load(&ident("n", "t")).await.unwrap();
    assert_eq!(table.storage().config().s3, own);
}

#[tokio::test]
async fn answers_that_are_not_as_specified_are_errors_that_name_the_table() {
    let mut newer = loaded(&json!({}), &json!([]));
    newer["metadata"]["schemas"][0]["fields"][1]["type"] = json!("variant");
    let mut homeless = loaded(&json!({}), &json!([]));
    homeless["metadata-location"] = Value::Null;
    let server = Scripted::new(&[
        ("GET /v1/config", 200, json!({})),
        ("GET /v1/namespaces/n/tables/newer", 200, newer),
        ("GET /v1/namespaces/n/tables/homeless", 200, homeless),
        (
            "GET /v1/namespaces/n/tables/empty",
            200,
            json!({"metadata": {}}),
        ),
        ("GET /v1/namespaces/n/tables/text", 200, json!("no JSON")),
    ])
    .await;
    let catalog = server.connect().await.unwrap();
    for (name, kind, expected) in [
        (
            "newer",
            ErrorKind::Unsupported,
            "\"name\" has the type \"variant\"",
        ),
        ("homeless", ErrorKind::Corrupt, "n.homeless"),
        ("empty", ErrorKind::Corrupt, "n.empty"),
        ("text", ErrorKind::Corrupt, "tables/text"),
    ] {
        let error = catalog.load(&ident("n", name)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_creation_asks_for_what_was_said_and_nothing_else() {
    let server = Scripted::new(&[
        ("GET /v1/config", 200, json!({})),
        (
            "POST /v1/namespaces/n/tables",
            200,
            loaded(&json!({}), &json!([])),
        ),
    ])
    .await;
    let catalog = server.connect().await.unwrap();
    let created = catalog
        .create_table(NewTable {
            format_version: FormatVersion::V3,
            ..table("n", "t")
        })
        .await
        .unwrap();
    assert_eq!(created.ident(), &ident("n", "t"));
    assert_eq!(created.metadata_location(), "s3://lake/n/t/metadata/1.json");
    assert_eq!(server.asked().len(), 2);
}

/// The table was renamed, the answer got lost, and somebody renamed it once more before the client looked: what
/// has the old name now is another table, and must not be moved.
#[tokio::test]
async fn a_rename_is_not_sent_again_at_another_table() {
    let (from, to) = (ident("n", "t"), ident("n", "moved"));
    let table = || loaded(&json!({}), &json!([]));
    let config = ("GET /v1/config", 200, json!({}));
    let renames = |server: &Scripted| {
        let mut asked = server.asked();
        asked.retain(|request| request.starts_with("POST"));
        asked.len()
    };
    // Each has a UUID of its own.
    let (ours, other) = (table(), table());
    let gone = ("GET /v1/namespaces/n/tables/t", 404, json!({}));
    let other = ("GET /v1/namespaces/n/tables/t", 200, other);
    // A gateway says 503 too when the server behind it has done its work.
    let lost = |status| ("POST /v1/tables/rename", status, json!("<html>"));
    for (status, now) in [(504, &other), (504, &gone), (503, &other), (503, &gone)] {
        let mut script = vec![config.clone(), lost(status)];
        script.push(("GET /v1/namespaces/n/tables/t", 200, ours.clone()));
        script.push(now.clone());
        let server = Scripted::new(&script).await;
        let catalog = server.connect().await.unwrap();
        let error = catalog.rename_table(&from, &to).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownOutcome, "{error}");
        assert_eq!(renames(&server), 1);
    }
    // It is where it was, and is sent again.
    let mut script = vec![
        config,
        lost(504),
        ("POST /v1/tables/rename", 204, json!({})),
    ];
    script.push(("GET /v1/namespaces/n/tables/t", 200, ours));
    let server = Scripted::new(&script).await;
    let catalog = server.connect().await.unwrap();
    catalog.rename_table(&from, &to).await.unwrap();
    assert_eq!(renames(&server), 2);
}
