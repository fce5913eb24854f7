//! `GET /v1/config`.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Keys, endpoints, nullable};

/// What a server tells a client before anything else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigResponse {
    /// Properties that hold where the client says nothing.
    #[serde(default, deserialize_with = "nullable")]
    pub defaults: HashMap<String, String>,
    /// Properties that hold whatever the client says; `prefix` is among them.
    #[serde(default, deserialize_with = "nullable")]
    pub overrides: HashMap<String, String>,
    /// What the server can do, spelled as in [`endpoints`]; a default list where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<String>>,
    /// How long an `Idempotency-Key` is remembered, as an ISO 8601 duration; none where keys are
    /// not understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key_lifetime: Option<String>,
}

impl ConfigResponse {
    /// Whether the server has this endpoint, one of [`endpoints`].
    pub fn supports(&self, endpoint: &str) -> bool {
        match &self.endpoints {
            Some(endpoints) => endpoints.iter().any(|there| there == endpoint),
            None => endpoints::DEFAULT.contains(&endpoint),
        }
    }

    /// The properties that a client has to work with: defaults, then its own, then overrides.
    pub fn merge(&self, own: &HashMap<String, String>) -> HashMap<String, String> {
        let mut all = self.defaults.clone();
        all.extend(own.clone());
        all.extend(self.overrides.clone());
        all
    }
}

impl fmt::Debug for ConfigResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigResponse")
            .field("defaults", &Keys(&self.defaults))
            .field("overrides", &Keys(&self.overrides))
            .field("endpoints", &self.endpoints)
            .field("idempotency_key_lifetime", &self.idempotency_key_lifetime)
            .finish()
    }
}

/// Credentials for the files below a location.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageCredential {
    /// The location's beginning. Of several that fit, the longest counts.
    pub prefix: String,
    /// The settings, under the names that file access uses (`s3.access-key-id`, …).
    pub config: HashMap<String, String>,
}

impl fmt::Debug for StorageCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageCredential")
            .field("prefix", &self.prefix)
            .field("config", &Keys(&self.config))
            .finish()
    }
}
