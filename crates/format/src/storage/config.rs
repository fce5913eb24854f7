//! Settings of the stores, as they stand in `berglake.toml` under `[storage]`.

use serde::Deserialize;

use crate::Secret;

/// Settings of all stores.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StorageConfig {
    /// Settings of S3-compatible stores.
    pub s3: S3Config,
    /// How many bytes of manifests and manifest lists are kept in memory, as they are in their files.
    /// None are where it is 0.
    pub metadata_cache_bytes: u64,
}

impl StorageConfig {
    /// 128 MiB: about the manifests of 200,000 files of a dozen columns.
    pub const METADATA_CACHE_BYTES: u64 = 128 << 20;
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            s3: S3Config::default(),
            metadata_cache_bytes: Self::METADATA_CACHE_BYTES,
        }
    }
}

/// Settings of an S3-compatible store. What is not set comes from the `AWS_*` environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3Config {
    /// URL of a store other than AWS, such as `http://localhost:9000`.
    pub endpoint: Option<String>,
    /// Region; stores other than AWS mostly take any.
    pub region: Option<String>,
    /// Access key id.
    pub access_key_id: Option<Secret>,
    /// Secret access key.
    pub secret_access_key: Option<Secret>,
    /// Session token, where the key is a temporary one.
    pub session_token: Option<Secret>,
    /// Puts the bucket into the path instead of the host name, as MinIO and SeaweedFS want it.
    pub path_style: bool,
    /// Allows an endpoint without TLS.
    pub allow_http: bool,
}
