//! A REST server of ours in this process, and clients of it.

use std::net::SocketAddr;

use berglake_catalog::SqlCatalog;
use berglake_catalog::rest::server::{CatalogServer, ServerOptions, Token};
use berglake_catalog::rest::{RestCatalog, RestCatalogConfig};
use berglake_format::storage::Storage;
use berglake_format::{Environment, Secret};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::sqlite;

/// The token that the servers of these tests let in.
pub const TOKEN: &str = "let-me-in-4711";

/// A server until it is dropped or stopped.
pub struct Served {
    address: SocketAddr,
    task: JoinHandle<()>,
    catalog: SqlCatalog,
    /// Kept for as long as the server runs.
    folder: Option<TempDir>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    /// A server of this catalog.
    pub async fn new(catalog: SqlCatalog) -> Self {
        let options = ServerOptions {
            tokens: vec![Token::new("tests", &Secret::new(TOKEN))],
            ..ServerOptions::default()
        };
        let server = CatalogServer::new(catalog.clone(), options).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = server.router();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            task,
            catalog,
            folder: None,
        }
    }

    /// A server over SQLite in a folder of its own.
    pub async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut served = Self::new(sqlite(folder.path()).await).await;
        served.folder = Some(folder);
        served
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of this server, with the settings that hold where nothing is said.
    pub async fn client(&self) -> RestCatalog {
        use berglake_catalog::Catalog as _;
        let location = self.catalog.warehouse().clone();
        let config = RestCatalogConfig {
            token: Some(Secret::new(TOKEN)),
            ..RestCatalogConfig::new("lake", self.uri(), location)
        };
        // Tables in the memory of this process are in the storage of the server.
        let storage: Storage = self.catalog.storage().clone();
        RestCatalog::connect(config, storage, Environment::default())
            .await
            .unwrap()
    }

    /// Stops the server, with all connections that are open.
    pub async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}
