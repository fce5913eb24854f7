//! The messages of the REST specification, and where they are sent.
//!
//! Wire types alone: they say what a message looks like, not whether it makes sense. Names and
//! spellings are those of the specification; what a peer may leave out or send as `null` is optional
//! or defaulted here. Values of configuration maps may be credentials, so `Debug` shows their keys only.

mod config;
pub(crate) mod conflict;
pub mod endpoints;
mod error;
mod metrics;
mod namespaces;
mod paths;
mod tables;

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Deserializer};

pub use config::{ConfigResponse, StorageCredential};
pub use error::{ErrorModel, ErrorResponse, error_type};
pub use metrics::ReportMetricsRequest;
pub use namespaces::{
    CreateNamespaceRequest, CreateNamespaceResponse, GetNamespaceResponse, ListNamespacesResponse,
    UpdateNamespacePropertiesRequest, UpdateNamespacePropertiesResponse,
};
pub(crate) use paths::namespace_of;
pub use paths::{
    DEFAULT_NAMESPACE_SEPARATOR, Paths, decode_namespace, decode_segment, encode_segment,
};
pub use tables::{
    CommitTableRequest, CommitTableResponse, CommitTransactionRequest, CreateTableRequest,
    ListTablesResponse, LoadTableResult, RegisterTableRequest, RenameTableRequest,
};

/// The header by which a server is told which access a client wants to storage.
pub const ACCESS_DELEGATION_HEADER: &str = "x-iceberg-access-delegation";

/// `null` is read as if the field were missing.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Shows the keys of a map whose values may be secrets.
struct Keys<'a>(&'a HashMap<String, String>);

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys: Vec<&str> = self.0.keys().map(String::as_str).collect();
        keys.sort_unstable();
        f.debug_map()
            .entries(keys.into_iter().map(|key| (key, "***")))
            .finish()
    }
}

#[cfg(test)]
mod tests;
