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
