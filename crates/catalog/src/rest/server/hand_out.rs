//! What clients are told about the storage.

use std::collections::HashMap;
use std::fmt;

use berglake_format::storage::{Location, S3Config, StorageConfig, StoreRoot};

use crate::rest::protocol::StorageCredential;

/// Settings of the storage that clients get, under the names that Iceberg's file access uses.
///
/// What is no secret stands in `/v1/config` as defaults, which a client's own settings override, and
/// with each table. Credentials are given only by [`with_credentials`](Self::with_credentials), and
/// only with tables.
#[derive(Clone, Default)]
pub struct HandOut {
    settings: HashMap<String, String>,
    credentials: HashMap<String, String>,
}

impl HandOut {
    /// The settings of the store in which this warehouse lies, without credentials.
    pub fn new(warehouse: &Location, storage: &StorageConfig) -> Self {
        let mut settings = HashMap::new();
        if matches!(warehouse.root(), StoreRoot::S3 { .. }) {
            let S3Config {
                endpoint,
                region,
                path_style,
                ..
            } = &storage.s3;
            let mut set = |key: &str, value: &str| {
                settings.insert(key.to_string(), value.to_string());
            };
            if let Some(endpoint) = endpoint {
                set("s3.endpoint", endpoint);
            }
            if let Some(region) = region {
                // Java reads the second, all others the first.
                set("s3.region", region);
                set("client.region", region);
            }
            if *path_style {
                set("s3.path-style-access", "true");
            }
        }
        Self {
            settings,
            credentials: HashMap::new(),
        }
    }

    /// The same with another endpoint: the one by which clients reach the store, where that is not
    /// the server's.
    #[must_use]
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.settings
            .insert("s3.endpoint".to_string(), endpoint.into());
        self
    }

    /// The same with the store's access keys: whoever may load a table gets them, and with them what
    /// they open.
    #[must_use]
    pub fn with_credentials(mut self, storage: &StorageConfig) -> Self {
        let keys = [
            ("s3.access-key-id", &storage.s3.access_key_id),
            ("s3.secret-access-key", &storage.s3.secret_access_key),
            ("s3.session-token", &storage.s3.session_token),
        ];
        for (key, secret) in keys {
            if let Some(secret) = secret {
                self.credentials
                    .insert(key.to_string(), secret.reveal().to_string());
            }
        }
        self
    }

    /// What stands in `/v1/config`.
    pub(super) fn defaults(&self) -> HashMap<String, String> {
        self.settings.clone()
    }

    /// What stands beside a table.
    pub(super) fn table(&self) -> HashMap<String, String> {
        let mut all = self.settings.clone();
        all.extend(self.credentials.clone());
        all
    }

    /// The credentials of a table's files, for clients that look there.
    pub(super) fn storage_credentials(&self, warehouse: &Location) -> Vec<StorageCredential> {
        if self.credentials.is_empty() {
            return Vec::new();
        }
        vec![StorageCredential {
            prefix: warehouse.to_string(),
            config: self.table(),
        }]
    }
}

impl fmt::Debug for HandOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandOut")
            .field("settings", &self.settings)
            .field("credentials", &self.credentials.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use berglake_format::Secret;

    use super::*;

    fn storage() -> StorageConfig {
        StorageConfig {
            s3: S3Config {
                endpoint: Some("http://minio:9000".into()),
                region: Some("us-east-1".into()),
                access_key_id: Some(Secret::new("the-id")),
                secret_access_key: Some(Secret::new("the-key")),
                session_token: Some(Secret::new("the-token")),
                path_style: true,
                allow_http: true,
            },
            ..StorageConfig::default()
        }
    }

    #[test]
    fn credentials_are_given_only_where_that_was_said_and_only_with_tables() {
        let warehouse = Location::parse("s3://lake/warehouse").unwrap();
        let plain = HandOut::new(&warehouse, &storage());
        assert_eq!(plain.defaults()["s3.endpoint"], "http://minio:9000");
        assert_eq!(plain.table()["s3.path-style-access"], "true");
        assert_eq!(plain.table(), plain.defaults());
        assert!(plain.storage_credentials(&warehouse).is_empty());
        let text = format!("{:?}{:?}", plain.table(), plain.defaults());
        assert!(!text.contains("the-"), "{text}");

        let open = plain
            .with_credentials(&storage())
            .with_endpoint("http://localhost:9000");
        assert_eq!(open.defaults()["s3.endpoint"], "http://localhost:9000");
        assert!(!open.defaults().contains_key("s3.secret-access-key"));
        assert_eq!(open.table()["s3.secret-access-key"], "the-key");
        let credentials = open.storage_credentials(&warehouse);
        assert_eq!(credentials[0].prefix, "s3://lake/warehouse");
        assert_eq!(credentials[0].config["s3.access-key-id"], "the-id");
        assert!(!format!("{open:?}").contains("the-"));
    }

    #[test]
    fn a_warehouse_on_files_needs_nothing() {
        let warehouse = Location::parse("file:///w").unwrap();
        assert!(HandOut::new(&warehouse, &storage()).table().is_empty());
    }
}
