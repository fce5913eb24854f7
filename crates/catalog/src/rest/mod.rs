//! The Iceberg REST catalog: its messages, and who speaks them.
//!
//! [`server`] answers for a [`SqlCatalog`](crate::SqlCatalog), and [`RestCatalog`] is the client of any
//! server. [`protocol`] is what goes over the wire, shared by both sides, so that there is one reading
//! of the [specification].
//!
//! [specification]: https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml

mod client;
pub mod protocol;
pub mod server;

pub use client::{RequestRetry, RestCatalog, RestCatalogConfig};
