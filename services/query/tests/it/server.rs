//! A server on a free port, and a client.

use std::sync::Arc;
use std::time::Duration;

use berglake_format::Environment;
use berglake_host::{Host, Lake};
use berglake_pipeline::Project;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often a state is looked for before it is given up, and the pause between two looks.
const LOOKS: usize = 3_000;
const PAUSE: Duration = Duration::from_millis(10);

/// A digit per row; joined with itself it makes as many rows as are wanted.
pub const DIGITS: &str = "(VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9))";

/// Ten to the power of `n` rows: columns `d` of tables `t0`, `t1` and so on.
pub fn powers(n: usize) -> String {
    let tables: Vec<String> = (0..n).map(|i| format!("{DIGITS} AS t{i}(d)")).collect();
    tables.join(" CROSS JOIN ")
}

/// A query that takes longer than any test.
pub fn endless() -> String {
    format!("SELECT sum(t0.d * t11.d) AS s FROM {}", powers(12))
}

pub struct Server {
    _folder: TempDir,
    pub base: String,
    pub client: Client,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// A server with these lines under `[query]`.
    pub async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text =
            format!("[project]\nname = \"test\"\n[query]\nlisten = \"127.0.0.1:0\"\n{config}\n");
        std::fs::write(folder.path().join("berglake.toml"), text).unwrap();
        let project = Project::load(folder.path(), []).unwrap();
        let lake = Lake::new(project, Environment::default()).unwrap();
        let catalog = lake.catalog().await.unwrap();
        let session = lake.engine(&catalog).unwrap().connect();
        for statement in [
            "CREATE NAMESPACE shop",
            "CREATE TABLE shop.orders (id BIGINT, customer STRING, amount DECIMAL(9,2))",
            "INSERT INTO shop.orders VALUES (1, 'Ada', 10.50), (2, 'say \"hi\", Bob', NULL), (3, '', 0.01)",
        ] {
            session.sql(statement).await.unwrap();
        }
        drop((session, catalog));
        let role = Arc::new(berglake_service_query::role());
        let host = Host::new(lake, vec![role]).await.unwrap();
        let (_, address) = host.addresses().next().unwrap();
        let stop = host.stop_token();
        let task = tokio::spawn(async { host.run(String::new).await.unwrap() });
        let server = Self {
            _folder: folder,
            base: format!("http://{address}"),
            client: Client::new(),
            stop,
            task,
        };
        server.ready().await;
        server
    }

    async fn ready(&self) {
        for _ in 0..400 {
            let url = format!("{}/health/ready", self.base);
            if self.client.get(url).send().await.unwrap().status() == StatusCode::OK {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the server does not become ready");
    }

    pub fn post(&self) -> RequestBuilder {
        self.client.post(format!("{}/v1/sql", self.base))
    }

    /// Asks in JSON, with the other fields of the body.
    pub async fn ask(&self, sql: &str, rest: Value) -> Response {
        let mut body = json!({"sql": sql});
        for (key, value) in rest.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.post().json(&body).send().await.unwrap()
    }

    /// The text of an answer that must be one.
    pub async fn text(&self, sql: &str, format: &str) -> String {
        let response = self.ask(sql, json!({"format": format})).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{text}");
        text
    }

    /// The status and the error of an answer that must be none.
    pub async fn refused(&self, response: Response) -> (u16, Value) {
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        assert!(status >= 400, "{body}");
        (status, body["error"].clone())
    }

    /// Asks in a task of its own, for CSV, as soon as there is a place. Ending the task is as if the
    /// client went away.
    pub fn leave(&self, sql: &str, limits: Value) -> JoinHandle<String> {
        let body = json!({"sql": sql, "format": "csv", "limits": limits});
        let request = self.post().json(&body);
        tokio::spawn(async move {
            loop {
                let response = request.try_clone().unwrap().send().await.unwrap();
                if response.status() != StatusCode::TOO_MANY_REQUESTS {
                    return response.text().await.unwrap();
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
    }

    /// Asks until the answer is that too many ask. None where what takes the place has ended before.
    pub async fn until_full(&self, running: &JoinHandle<String>) -> Option<Response> {
        while !running.is_finished() {
            let response = self.ask("SELECT 1", json!({})).await;
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                return Some(response);
            }
            assert_eq!(response.status(), StatusCode::OK);
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Asks until there is a place.
    pub async fn until_free(&self) {
        for _ in 0..LOOKS {
            let response = self.ask("SELECT 1", json!({})).await;
            if response.status() == StatusCode::OK {
                return;
            }
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            tokio::time::sleep(PAUSE).await;
        }
        panic!("a query goes on for nobody");
    }

    /// Asks until the answer is this.
    pub async fn until(&self, sql: &str, expected: &str) {
        let mut last = String::new();
        for _ in 0..LOOKS {
            last = self.text(sql, "csv").await;
            if last == expected {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{sql} goes on to answer {last}");
    }

    pub async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(90), self.task).await;
        ended.expect("it ends when it is told to").unwrap();
    }
}
