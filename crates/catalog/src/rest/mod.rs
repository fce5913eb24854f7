//! The Iceberg REST catalog: its messages, and who speaks them.
//!
//! [`server`] answers for a [`SqlCatalog`](crate::SqlCatalog). [`protocol`] is what goes over the wire, shared by both sides, so that there is one reading of
//! the [specification].
//!
//! [specification]: https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml

pub mod protocol;
pub mod server;
