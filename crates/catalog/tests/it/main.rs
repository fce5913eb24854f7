//! The catalog as other crates use it.

mod backends;
mod bridge;
mod conformance;
mod purge;
mod races;
mod stores;
mod support;
