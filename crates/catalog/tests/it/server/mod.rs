//! The REST server over real HTTP: what it answers, on every store.

mod commits;
mod hostile;
mod namespaces;
mod settings;
mod tables;

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use berglake_catalog::SqlCatalog;
use berglake_catalog::rest::server::{CatalogServer, ServerOptions};
use berglake_format::Environment;
use berglake_format::commit::Committer;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Runs the whole suite on an empty catalog.
pub async fn suite(catalog: &SqlCatalog) {
    let server = Server::start(catalog, ServerOptions::default()).await;
    settings::what_is_there_is_listed(&server).await;
    namespaces::suite(&server).await;
    tables::suite(&server).await;
    commits::suite(&server).await;
    hostile::suite(&server).await;
}

/// A server on a port of its own, until it is dropped.
pub struct Server {
    pub url: String,
    pub handle: CatalogServer,
    client: reqwest::Client,
    task: JoinHandle<()>,
    /// A signal for each request that was given up before it was answered.
    forgotten: Arc<Semaphore>,
}

/// Gives the signal, unless it is told that there was an answer.
struct Unanswered(Option<Arc<Semaphore>>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(forgotten) = &self.0 {
            forgotten.add_permits(1);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Server {
    pub async fn start(catalog: &SqlCatalog, options: ServerOptions) -> Self {
        Self::with_committer(catalog, Arc::new(catalog.clone()), options).await
    }

    pub async fn with_committer(
        catalog: &SqlCatalog,
        committer: Arc<dyn Committer>,
        options: ServerOptions,
    ) -> Self {
        let handle = CatalogServer::with_committer(catalog.clone(), committer, options)
            .await
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let forgotten = Arc::new(Semaphore::new(0));
        let signal = forgotten.clone();
        let watched = move |request: Request, next: Next| {
            let unanswered = Unanswered(Some(signal.clone()));
            async move {
                // The whole of it, not the field alone, moves in here.
                let mut unanswered = unanswered;
                let response = next.run(request).await;
                unanswered.0 = None;
                response
            }
        };
        let router = handle.router().layer(from_fn(watched));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            handle,
            client: reqwest::Client::new(),
            task,
            forgotten,
        }
    }

    /// Waits until the server has given up a request whose client went away.
    pub async fn forgot_a_request(&self) {
        self.forgotten.acquire().await.unwrap().forget();
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn head(&self, path: &str) -> StatusCode {
        send(self.request(Method::HEAD, path)).await.status
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    /// Creates a namespace.
    pub async fn namespace(&self, levels: &[&str]) {
        let body = json!({ "namespace": levels });
        let answer = self.post("/v1/namespaces", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Creates a table and gives the answer's body.
    pub async fn table(&self, namespace: &str, name: &str) -> Value {
        let path = format!("/v1/namespaces/{namespace}/tables");
        let answer = self.post(&path, new_table(name)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = match text.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_string())),
    };
    Answer {
        status,
        headers,
        body,
    }
}

impl Answer {
    /// The answer is this error, in the form of the specification.
    #[track_caller]
    pub fn is_error(&self, status: u16, error_type: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let error = &self.body["error"];
        assert_eq!(error["type"], error_type, "{self:?}");
        assert_eq!(error["code"], status, "{self:?}");
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{self:?}"
        );
        assert!(self.headers.contains_key("x-request-id"), "{self:?}");
    }

    pub fn tag(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_string()
    }
}

pub fn schema() -> Value {
    json!({"type": "struct", "schema-id": 0, "fields": [
        {"id": 5, "name": "id", "required": true, "type": "long"},
        {"id": 7, "name": "name", "required": false, "type": "string"}
    ]})
}

pub fn new_table(name: &str) -> Value {
    json!({"name": name, "schema": schema()})
}

/// A commit that sets properties under the requirement that the table is this one.
pub fn set(uuid: &Value, pairs: Value) -> Value {
    json!({
        "requirements": [{"type": "assert-table-uuid", "uuid": uuid}],
        "updates": [{"action": "set-properties", "updates": pairs}]
    })
}

/// A snapshot without files that becomes the head of a branch, after this one if there is one.
pub fn snapshot(id: i64, parent: Option<i64>, sequence: i64, branch: &str) -> Vec<Value> {
    let now = Environment::default().clock().now_millis();
    let mut snapshot = json!({
        "snapshot-id": id, "sequence-number": sequence, "timestamp-ms": now,
        "manifest-list": format!("file:///nowhere/{id}.avro"), "schema-id": 0,
        "summary": {"operation": "append"}
    });
    if let Some(parent) = parent {
        snapshot["parent-snapshot-id"] = json!(parent);
    }
    vec![
        json!({"action": "add-snapshot", "snapshot": snapshot}),
        json!({"action": "set-snapshot-ref", "ref-name": branch, "type": "branch", "snapshot-id": id}),
    ]
}
