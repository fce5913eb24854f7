//! The storage of a table: the project's settings, and where it has none those that the server hands
//! out.

use std::collections::HashMap;
use std::sync::PoisonError;

use berglake_format::Secret;
use berglake_format::storage::{Location, S3Config, Storage, StorageConfig, StoreRoot};

use super::Inner;
use crate::rest::protocol::StorageCredential;

/// Storages that are kept; a server that hands out new credentials with each load fills it.
const KEPT: usize = 32;

/// What a server says about a table's files.
pub(super) struct HandedOut<'a> {
    pub(super) config: &'a HashMap<String, String>,
    pub(super) credentials: &'a [StorageCredential],
}

impl Inner {
    /// The storage of the table at this location, and when its credentials expire.
    pub(super) fn storage_of(
        &self,
        location: &str,
        handed_out: &HandedOut<'_>,
    ) -> (Storage, Option<i64>) {
        let Ok(location) = Location::parse(location) else {
            return (self.storage.clone(), None);
        };
        if !matches!(location.root(), StoreRoot::S3 { .. }) {
            return (self.storage.clone(), None);
        }
        let settings = settings(&self.properties, handed_out, &location);
        let own = self.storage.config();
        let s3 = merged(&own.s3, &settings);
        if s3 == own.s3 {
            return (self.storage.clone(), None);
        }
        let expires = (s3.session_token != own.s3.session_token)
            .then(|| settings.get("s3.session-token-expires-at-ms"))
            .flatten()
            // A token of unknown life is not kept beyond this load.
            .map_or_else(
                || (s3.session_token != own.s3.session_token).then_some(0),
                |text| Some(text.trim().parse().unwrap_or(0)),
            );
        let config = StorageConfig { s3, ..own.clone() };
        let mut kept = self
            .handed_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, storage)) = kept.iter().find(|(known, _)| *known == config) {
            return (storage.clone(), expires);
        }
        // Clients of a store hold connections, so that tables with the same settings share one.
        let storage = Storage::new(config.clone());
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((config, storage.clone()));
        (storage, expires)
    }
}

/// The settings for a table: the catalog's, the table's, and of its credentials the most exact.
fn settings(
    catalog: &HashMap<String, String>,
    handed_out: &HandedOut<'_>,
    location: &Location,
) -> HashMap<String, String> {
    let mut settings = catalog.clone();
    settings.extend(handed_out.config.clone());
    let fitting = handed_out
        .credentials
        .iter()
        .filter_map(|one| Some((Location::parse(&one.prefix).ok()?, one)))
        .filter(|(prefix, _)| location.is_within(prefix))
        .max_by_key(|(prefix, _)| prefix.to_string().len());
    if let Some((_, credential)) = fitting {
        settings.extend(credential.config.clone());
    }
    settings
}

/// The project's settings, filled up with the server's.
fn merged(own: &S3Config, server: &HashMap<String, String>) -> S3Config {
    let text = |key: &str| {
        let value = server.get(key).map(|value| value.trim().to_string());
        value.filter(|value| !value.is_empty())
    };
    let is = |key: &str, value: &str| text(key).is_some_and(|it| it.eq_ignore_ascii_case(value));
    let mut s3 = own.clone();
    if own.endpoint.is_none()
        && let Some(endpoint) = text("s3.endpoint")
    {
        // The way of addressing belongs to the endpoint.
        s3.path_style |=
            is("s3.path-style-access", "true") || is("s3.force-virtual-addressing", "false");
        s3.allow_http |= endpoint.starts_with("http://");
        s3.endpoint = Some(endpoint);
    }
    if own.region.is_none() {
        s3.region = text("s3.region").or_else(|| text("client.region"));
    }
    // Credentials belong together: the project's are not mixed with the server's.
    let has_none = own.access_key_id.is_none() && own.secret_access_key.is_none();
    if has_none
        && let (Some(id), Some(secret)) = (text("s3.access-key-id"), text("s3.secret-access-key"))
    {
        s3.access_key_id = Some(Secret::new(id));
        s3.secret_access_key = Some(Secret::new(secret));
        s3.session_token = text("s3.session-token").map(Secret::new);
    }
    s3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_string(), (*value).to_string()))
            .collect()
    }

    #[test]
    fn the_server_fills_up_what_the_project_leaves_open() {
        let server = map(&[
            ("s3.endpoint", "http://minio:9000"),
            ("s3.path-style-access", "true"),
            ("client.region", "eu-west-1"),
            ("s3.access-key-id", "ours"),
            ("s3.secret-access-key", "hunter2"),
            ("s3.session-token", "t"),
        ]);
        let all = merged(&S3Config::default(), &server);
        assert_eq!(all.endpoint.as_deref(), Some("http://minio:9000"));
        assert!(all.path_style && all.allow_http);
        assert_eq!(all.region.as_deref(), Some("eu-west-1"));
        assert_eq!(all.access_key_id.unwrap().reveal(), "ours");
        assert_eq!(all.session_token.unwrap().reveal(), "t");

        let own = S3Config {
            endpoint: Some("https://own".to_string()),
            access_key_id: Some(Secret::new("own")),
            secret_access_key: Some(Secret::new("own")),
            ..S3Config::default()
        };
        let kept = merged(&own, &server);
        assert_eq!(kept.region.as_deref(), Some("eu-west-1"));
        assert!(!kept.path_style && !kept.allow_http && kept.session_token.is_none());
        assert_eq!(kept.access_key_id, own.access_key_id);
        assert_eq!(kept.endpoint, own.endpoint);

        // Half a credential is none.
        let half = merged(&S3Config::default(), &map(&[("s3.access-key-id", "x")]));
        assert_eq!(half, S3Config::default());
    }

    #[test]
    fn the_longest_prefix_that_holds_the_table_wins() {
        let credential = |prefix: &str, region: &str| StorageCredential {
            prefix: prefix.to_string(),
            config: map(&[("s3.region", region)]),
        };
        let credentials = [
            credential("s3://lake/", "all"),
            credential("s3a://lake/bronze/movies", "table"),
            credential("s3://lake/bronze/mov", "neighbour"),
            credential("s3://other", "other"),
        ];
        let config = map(&[("s3.region", "table config"), ("x", "1")]);
        let handed_out = HandedOut {
            config: &config,
            credentials: &credentials,
        };
        let region = |location: &str| {
            let location = Location::parse(location).unwrap();
            let catalog = map(&[("s3.region", "catalog"), ("y", "2")]);
            settings(&catalog, &handed_out, &location)["s3.region"].clone()
        };
        assert_eq!(region("s3://lake/bronze/movies"), "table");
        assert_eq!(region("s3://lake/silver"), "all");
        assert_eq!(region("s3://third/x"), "table config");
    }
}
