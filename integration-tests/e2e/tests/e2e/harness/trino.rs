//! Another engine: Trino, asked over its own protocol, which is plain HTTP.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::OnceCell;

use super::lake::Lake;
use super::server::{Server, Start};
use super::servers::Minio;
use super::until;

static TRINO: OnceCell<Trino> = OnceCell::const_new();

/// Trino for all tests. Each lake is a catalog of its own in it.
#[derive(Debug)]
pub struct Trino {
    server: Server,
    client: reqwest::Client,
}

/// Prints Trino's log, if a test started it.
pub fn print_shared_log() {
    if let Some(trino) = TRINO.get() {
        trino.server.print_log();
    }
}

impl Trino {
    /// The one of all tests.
    pub async fn shared() -> &'static Self {
        TRINO.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let server = Start::new("trino", "TRINO_IMAGE", 8080)
            // So that catalogs can be made by statements while it runs.
            .env("CATALOG_MANAGEMENT", "dynamic")
            .file(
                "/etc/trino/jvm.config",
                include_str!("../../../../../deploy/trino/jvm.config"),
            )
            .start()
            .await;
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(120))
            .build()
            .expect("a client");
        let trino = Self { server, client };
        until("trino is started", Duration::from_secs(240), async || {
            let rows = trino.try_query("system", "SELECT 1").await;
            rows.is_ok()
        })
        .await;
        trino
    }

    /// Makes a catalog of a lake's REST catalog and gives its name.
    pub async fn attach(&self, lake: &Lake) -> String {
        self.attach_as(lake, lake.name()).await
    }

    /// As [`attach`](Self::attach), under a name that statements have to find.
    pub async fn attach_as(&self, lake: &Lake, name: &str) -> String {
        let name = name.to_string();
        let settings = [
            ("iceberg.catalog.type", "rest".to_string()),
            ("iceberg.rest-catalog.uri", lake.catalog_url()),
            ("iceberg.rest-catalog.security", "OAUTH2".to_string()),
            (
                "iceberg.rest-catalog.oauth2.token",
                Lake::CATALOG_TOKEN.to_string(),
            ),
            ("fs.native-s3.enabled", "true".to_string()),
            ("s3.endpoint", lake.s3_endpoint()),
            ("s3.region", "us-east-1".to_string()),
            ("s3.path-style-access", "true".to_string()),
            ("s3.aws-access-key", Minio::USER.to_string()),
            ("s3.aws-secret-key", Minio::PASSWORD.to_string()),
        ];
        let settings: Vec<String> = settings
            .iter()
            .map(|(key, value)| format!("\"{key}\" = '{value}'"))
            .collect();
        let statement = format!(
            "CREATE CATALOG {name} USING iceberg WITH ({})",
            settings.join(", ")
        );
        self.query("system", &statement).await;
        name
    }

    /// Runs a statement with this catalog as the current one and gives its rows.
    ///
    /// # Panics
    /// If it fails.
    pub async fn query(&self, catalog: &str, statement: &str) -> Vec<Vec<Value>> {
        self.try_query(catalog, statement)
            .await
            .unwrap_or_else(|error| panic!("trino: {error}\nin: {statement}"))
    }

    /// Runs a statement and gives its rows.
    ///
    /// # Errors
    /// Trino's own message, or that it could not be asked.
    pub async fn try_query(
        &self,
        catalog: &str,
        statement: &str,
    ) -> Result<Vec<Vec<Value>>, String> {
        let url = format!("http://{}/v1/statement", self.server.address());
        let first = self
            .client
            .post(url)
            .header("X-Trino-User", "e2e")
            .header("X-Trino-Catalog", catalog)
            .header("X-Trino-Time-Zone", "UTC")
            .body(statement.to_string());
        let mut answer = send(first).await?;
        let mut rows = Vec::new();
        loop {
            if let Some(error) = answer.get("error") {
                let message = error.get("message").and_then(Value::as_str);
                return Err(message.unwrap_or("no message").to_string());
            }
            for row in answer
                .get("data")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                rows.push(row.as_array().cloned().unwrap_or_default());
            }
            let Some(next) = answer.get("nextUri").and_then(Value::as_str) else {
                return Ok(rows);
            };
            let request = self.client.get(next).header("X-Trino-User", "e2e");
            answer = send(request).await?;
        }
    }
}

/// Sends one request of the protocol; 502 to 504 mean "again".
async fn send(request: reqwest::RequestBuilder) -> Result<Value, String> {
    for _ in 0..100 {
        let again = request.try_clone().ok_or("a request that is sent once")?;
        let answer = again.send().await.map_err(|error| error.to_string())?;
        if matches!(answer.status().as_u16(), 502..=504) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        return serde_json::from_str(&text).map_err(|_| format!("{status}: {text}"));
    }
    Err("trino asks to come back later, again and again".to_string())
}
