//! The REST catalog as a program of its own, without configuration files and roles.
//!
//! ```text
//! cargo run -p berglake-catalog --example serve -- sqlite:catalog.db file:///tmp/warehouse 8181
//! ```

use std::error::Error;

use berglake_catalog::rest::server::{CatalogServer, ServerOptions};
use berglake_catalog::{SqlCatalog, SqlCatalogConfig};
use berglake_format::Environment;
use berglake_format::storage::{Location, Storage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [uri, warehouse, port] = arguments.as_slice() else {
        return Err("usage: serve CATALOG-URI WAREHOUSE PORT".into());
    };
    let config = SqlCatalogConfig::new("lake", uri, Location::parse(warehouse)?);
    let catalog = SqlCatalog::open(config, Storage::default(), Environment::default()).await?;
    let server = CatalogServer::new(catalog, ServerOptions::default()).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, server.router()).await?;
    Ok(())
}
