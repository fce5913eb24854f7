//! Messages about tables.

use std::collections::HashMap;
use std::fmt;

use berglake_format::commit::TableChange;
use iceberg::spec::{Schema, SortOrder, TableMetadata, UnboundPartitionSpec};
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use serde::{Deserialize, Serialize};

use super::{Keys, StorageCredential, nullable};

/// One page of tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListTablesResponse {
    /// The tables.
    #[serde(default, deserialize_with = "nullable")]
    pub identifiers: Vec<TableIdent>,
    /// What to ask the next page by; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// Creates a table, or stages its creation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CreateTableRequest {
    /// Its name within the namespace of the path.
    pub name: String,
    /// Its folder; the server's choice where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Its columns; the server gives them fresh ids.
    pub schema: Schema,
    /// How it is partitioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_spec: Option<UnboundPartitionSpec>,
    /// How its files are sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_order: Option<SortOrder>,
    /// Whether the table is only prepared, to be created by a later commit.
    #[serde(default, deserialize_with = "nullable")]
    pub stage_create: bool,
    /// Its properties.
    #[serde(default, deserialize_with = "nullable")]
    pub properties: HashMap<String, String>,
}

/// A table, with what is needed to read its files. `M` is its metadata: parsed, or as JSON.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LoadTableResult<M = TableMetadata> {
    /// Where the metadata file is; none for a staged table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_location: Option<String>,
    /// The metadata.
    pub metadata: M,
    /// Settings for this table's files; they go before those of `/v1/config`.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "HashMap::is_empty"
    )]
    pub config: HashMap<String, String>,
    /// Credentials by location; they go before `config`.
    #[serde(
        default,
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub storage_credentials: Vec<StorageCredential>,
}

impl<M: fmt::Debug> fmt::Debug for LoadTableResult<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadTableResult")
            .field("metadata_location", &self.metadata_location)
            .field("metadata", &self.metadata)
            .field("config", &Keys(&self.config))
            .field("storage_credentials", &self.storage_credentials)
            .finish()
    }
}

/// A change of one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommitTableRequest {
    /// The table; it must be there in a transaction and is that of the path elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<TableIdent>,
    /// What must hold.
    pub requirements: Vec<TableRequirement>,
    /// What is done, in order.
    pub updates: Vec<TableUpdate>,
}

impl From<TableChange> for CommitTableRequest {
    fn from(change: TableChange) -> Self {
        Self {
            identifier: Some(change.ident),
            requirements: change.requirements,
            updates: change.updates,
        }
    }
}

/// A table after a commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommitTableResponse<M = TableMetadata> {
    /// Where the metadata file is.
    pub metadata_location: String,
    /// The metadata.
    pub metadata: M,
}

/// Changes of several tables, all or none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommitTransactionRequest {
    /// The changes; each names its table.
    pub table_changes: Vec<CommitTableRequest>,
}

/// Renames a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenameTableRequest {
    /// Its name.
    pub source: TableIdent,
    /// Its new name.
    pub destination: TableIdent,
}

/// Registers a table by its metadata file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegisterTableRequest {
    /// Its name within the namespace of the path.
    pub name: String,
    /// Where the metadata file is.
    pub metadata_location: String,
    /// Whether a table that exists is made to point at this file.
    #[serde(default, deserialize_with = "nullable")]
    pub overwrite: bool,
}
