//! Configuration, tokens, and what clients are told about the storage.

use berglake_catalog::rest::server::{HandOut, ServerOptions, Token};
use berglake_catalog::{Catalog, SqlCatalog, SqlCatalogConfig};
use berglake_format::storage::{Location, S3Config, Storage, StorageConfig};
use berglake_format::{Environment, Secret};
use reqwest::Method;

use super::{Server, new_table, send};
use crate::support::sqlite;

/// The list of endpoints is that of the routes: each answers, and what is not listed does not.
pub async fn what_is_there_is_listed(server: &Server) {
    let answer = server.get("/v1/config").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body["overrides"]["prefix"].is_null());
    let listed: Vec<&str> = answer.body["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|endpoint| endpoint.as_str().unwrap())
        .collect();
    assert_eq!(listed.len(), 16);
    for endpoint in &listed {
        let (method, path) = endpoint.split_once(' ').unwrap();
        let path = path
            .replace("/{prefix}", "")
            .replace("{namespace}", "no_such")
            .replace("{table}", "no_such");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = send(server.request(method, &path)).await;
        // The names and bodies are wrong; the route is not.
        assert_ne!(answer.status, 405, "{endpoint}: {answer:?}");
        assert_ne!(answer.status, 406, "{endpoint}: {answer:?}");
        assert_ne!(
            answer.body["error"]["type"], "NotFoundException",
            "{endpoint}"
        );
    }
    for (method, path) in [
        (Method::GET, "/v1/namespaces/n/views"),
        (Method::POST, "/v1/namespaces/n/views"),
        (Method::GET, "/v1/namespaces/n/views/v"),
        (Method::POST, "/v1/views/rename"),
        (Method::POST, "/v1/namespaces/n/tables/t/plan"),
        (Method::GET, "/v1/namespaces/n/tables/t/credentials"),
        (Method::POST, "/v1/namespaces/n/tables/t/tasks"),
    ] {
        assert!(!listed.iter().any(|endpoint| endpoint.ends_with("views")));
        let answer = send(server.request(method, path)).await;
        answer.is_error(406, "UnsupportedOperationException");
    }
    server
        .get("/v1/nothing")
        .await
        .is_error(404, "NotFoundException");
    let answer = send(server.request(Method::PUT, "/v1/config")).await;
    answer.is_error(405, "UnsupportedOperationException");
    let answer = send(server.request(Method::POST, "/v1/oauth/tokens")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body["error"], "unsupported_grant_type");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warehouse_is_known_by_name_and_by_location_and_gets_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    let server = Server::start(&catalog, ServerOptions::default()).await;
    let location = catalog.warehouse().to_string();
    for asked in ["lake".to_string(), location.clone(), format!("{location}/")] {
        let answer = server.get(&format!("/v1/config?warehouse={asked}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body["overrides"]["prefix"], "lake");
        assert_eq!(answer.body["overrides"]["warehouse"], location);
    }
    let answer = server.get("/v1/config?warehouse=other").await;
    answer.is_error(404, "NoSuchWarehouseException");

    server.namespace(&["n"]).await;
    server.table("n", "t").await;
    let answer = server.get("/v1/lake/namespaces/n/tables/t").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = server
        .post("/v1/lake/namespaces/n/tables", new_table("u"))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = server.get("/v1/other/namespaces/n/tables/t").await;
    answer.is_error(404, "NoSuchWarehouseException");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tokens_that_are_known_are_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = sqlite(folder.path()).await;
    let options = ServerOptions {
        tokens: vec![
            Token::new("ann", &Secret::new("the-first-token")),
            Token::new("bob", &Secret::new("the-second-token")),
        ],
        ..ServerOptions::default()
    };
    assert!(!format!("{options:?}").contains("-token"));
    let server = Server::start(&catalog, options).await;
    let with = |header: &'static str| {
        let request = server.request(Method::GET, "/v1/namespaces");
        send(request.header("authorization", header))
    };
    for header in [
        "Bearer the-third-token",
        "Bearer the-first-toke",
        "Bearer the-first-token2",
        "Bearer ",
        "Bearer",
        "the-first-token",
        "Basic dXNlcjpwYXNz",
    ] {
        let answer = with(header).await;
        answer.is_error(401, "NotAuthorizedException");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        assert!(!answer.body.to_string().contains("the-third"), "{answer:?}");
    }
    for path in ["/v1/config", "/v1/namespaces", "/v1/nothing"] {
        server
            .get(path)
            .await
            .is_error(401, "NotAuthorizedException");
    }
    for header in ["Bearer the-first-token", "bearer the-second-token"] {
        assert_eq!(with(header).await.status, 200, "{header}");
    }
    let request = server.request(Method::GET, "/v1/config");
    let answer = send(request.bearer_auth("the-first-token")).await;
    assert_eq!(answer.body["defaults"]["token-refresh-enabled"], "false");

    // Who did what is on record, refused or not.
    let body = serde_json::json!({"namespace": ["n"]});
    let create = |token: &'static str| {
        let request = server.request(Method::POST, "/v1/namespaces");
        send(
            request
                .bearer_auth(token)
                .header("x-request-id", token)
                .json(&body),
        )
    };
    for token in ["the-second-token", "the-first-token", "no"] {
        create(token).await;
    }
    server.handle.journal().flush().await;
    let records = server.handle.journal().records(100).await.unwrap();
    let mut seen: Vec<_> = records
        .iter()
        .map(|record| {
            assert_eq!(record.action, "POST /v1/namespaces");
            (
                record.status,
                record.principal.as_str(),
                record.object.as_str(),
                record.error_type.as_deref(),
            )
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [
            (200, "bob", "n", None),
            (
                401,
                "unknown",
                "/v1/namespaces",
                Some("NotAuthorizedException")
            ),
            (409, "ann", "n", Some("AlreadyExistsException")),
        ]
    );
    assert!(
        records
            .iter()
            .any(|record| record.request_id == "the-second-token")
    );
}

/// A catalog whose warehouse is named like a bucket, with its files in memory.
async fn in_a_bucket(storage: &StorageConfig) -> SqlCatalog {
    let warehouse = Location::parse("s3://lake/warehouse").unwrap();
    let stores = Storage::new(storage.clone());
    let memory = Storage::default();
    let root = Location::parse("memory:///x").unwrap();
    stores.register(warehouse.root().clone(), memory.store(root.root()).unwrap());
    let config = SqlCatalogConfig::new("lake", "sqlite::memory:", warehouse);
    SqlCatalog::open(config, stores, Environment::default())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_where_the_storage_is_and_its_keys_only_where_that_was_said() {
    let storage = StorageConfig {
        s3: S3Config {
            endpoint: Some("http://minio:9000".into()),
            region: Some("eu-1".into()),
            access_key_id: Some(Secret::new("the-key-id")),
            secret_access_key: Some(Secret::new("the-secret-key")),
            session_token: None,
            path_style: true,
            allow_http: true,
        },
        ..StorageConfig::default()
    };
    let catalog = in_a_bucket(&storage).await;
    let mut tags = Vec::new();
    for shared in [false, true] {
        let mut hand_out = HandOut::new(catalog.warehouse(), &storage);
        if shared {
            hand_out = hand_out.with_credentials(&storage);
        }
        let options = ServerOptions {
            hand_out,
            ..ServerOptions::default()
        };
        let server = Server::start(&catalog, options).await;
        let config = server.get("/v1/config").await.body;
        assert_eq!(config["defaults"]["s3.endpoint"], "http://minio:9000");
        assert_eq!(config["defaults"]["s3.path-style-access"], "true");
        assert!(!config.to_string().contains("the-"), "{config}");
        if !shared {
            server.namespace(&["n"]).await;
            server.table("n", "t").await;
        }
        let answer = server.get("/v1/namespaces/n/tables/t").await;
        let told = &answer.body["config"];
        assert_eq!(told["s3.endpoint"], "http://minio:9000");
        assert_eq!(told["s3.region"], "eu-1");
        assert_eq!(told["s3.secret-access-key"] == "the-secret-key", shared);
        assert_eq!(answer.body.to_string().contains("the-"), shared);
        let credentials = answer.body["storage-credentials"].as_array();
        assert_eq!(credentials.is_some_and(|all| !all.is_empty()), shared);
        tags.push(answer.tag());
    }
    assert_ne!(
        tags[0], tags[1],
        "who has a table without keys gets it with keys"
    );
}
