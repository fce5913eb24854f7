//! The role that serves the catalog over REST.
//!
//! A thin composition: the project's SQL catalog, the settings of its server, and what clients are told
//! about the storage become a router of [`berglake_catalog::rest::server`].
//!
//! Read these first: [`role`], [`options`].
#![deny(missing_docs)]

mod role;

use berglake_catalog::rest::server::{HandOut, ServerOptions, Token};
use berglake_format::storage::Location;
use berglake_pipeline::config::Config;

pub use role::{CatalogRole, role};

/// What a project's configuration says about its catalog server.
///
/// Tokens have no names of their own; `token-1` in an audit record is the first in the configuration.
pub fn options(config: &Config, warehouse: &Location) -> ServerOptions {
    let tokens = config.catalog_server.tokens.iter().enumerate();
    let tokens = tokens
        .map(|(n, token)| Token::new(format!("token-{}", n + 1), token))
        .collect();
    let mut hand_out = HandOut::new(warehouse, &config.storage);
    if let Some(endpoint) = &config.catalog_clients.s3_endpoint {
        hand_out = hand_out.with_endpoint(endpoint.as_str());
    }
    if config.catalog_clients.share_credentials {
        hand_out = hand_out.with_credentials(&config.storage);
    }
    ServerOptions {
        tokens,
        hand_out,
        ..ServerOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use berglake_pipeline::Project;

    use super::*;

    fn said(settings: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("berglake.toml"),
            "[project]\nname = \"test\"\n",
        )
        .unwrap();
        let flags = [
            ("storage.warehouse", "s3://lake/warehouse"),
            ("storage.s3.endpoint", "http://minio:9000"),
            ("storage.s3.access-key-id", "the-id"),
            ("storage.s3.secret-access-key", "the-key"),
            ("catalog.server.tokens", "one,two"),
        ];
        let flags = flags.iter().chain(settings);
        let flags = flags.map(|(key, value)| ((*key).to_string(), (*value).to_string()));
        let project = Project::load_with(folder.path(), [], flags).unwrap();
        let warehouse = Location::parse(&project.config.warehouse).unwrap();
        // Shown are the names of credentials, never their values.
        format!("{:?}", options(&project.config, &warehouse))
    }

    #[test]
    fn credentials_are_handed_out_only_where_that_was_said() {
        let plain = said(&[]);
        assert!(plain.contains("http://minio:9000"), "{plain}");
        assert!(plain.contains("token-2"), "{plain}");
        assert!(!plain.contains("s3.secret-access-key"), "{plain}");
        let open = said(&[
            ("catalog.clients.share-credentials", "true"),
            ("catalog.clients.s3-endpoint", "http://localhost:9000"),
        ]);
        assert!(open.contains("s3.secret-access-key"), "{open}");
        assert!(open.contains("http://localhost:9000"), "{open}");
        for text in [plain, open] {
            assert!(
                !text.contains("the-key") && !text.contains("\"one"),
                "{text}"
            );
        }
    }
}
