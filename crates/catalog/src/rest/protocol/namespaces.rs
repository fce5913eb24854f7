//! Messages about namespaces.

use std::collections::HashMap;

use iceberg::NamespaceIdent;
use serde::{Deserialize, Serialize};

use super::nullable;

/// One page of namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListNamespacesResponse {
    /// The namespaces, with all their levels.
    #[serde(default, deserialize_with = "nullable")]
    pub namespaces: Vec<NamespaceIdent>,
    /// What to ask the next page by; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// Creates a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateNamespaceRequest {
    /// Its name.
    pub namespace: NamespaceIdent,
    /// Its properties.
    #[serde(default, deserialize_with = "nullable")]
    pub properties: HashMap<String, String>,
}

/// A namespace that was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateNamespaceResponse {
    /// Its name.
    pub namespace: NamespaceIdent,
    /// Its properties.
    #[serde(default, deserialize_with = "nullable")]
    pub properties: HashMap<String, String>,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetNamespaceResponse {
    /// Its name.
    pub namespace: NamespaceIdent,
    /// Its properties.
    #[serde(default, deserialize_with = "nullable")]
    pub properties: HashMap<String, String>,
}

/// Sets and removes properties of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateNamespacePropertiesRequest {
    /// The names of properties to remove.
    #[serde(default, deserialize_with = "nullable")]
    pub removals: Vec<String>,
    /// The properties to set.
    #[serde(default, deserialize_with = "nullable")]
    pub updates: HashMap<String, String>,
}

/// What became of properties.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateNamespacePropertiesResponse {
    /// Those that were set.
    #[serde(default, deserialize_with = "nullable")]
    pub updated: Vec<String>,
    /// Those that were removed.
    #[serde(default, deserialize_with = "nullable")]
    pub removed: Vec<String>,
    /// Those that were to be removed and did not exist.
    #[serde(default, deserialize_with = "nullable")]
    pub missing: Vec<String>,
}
