//! The catalog as other crates use it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests fail the test that calls them"
)]

mod backends;
mod bridge;
mod conformance;
mod creations;
mod folders;
mod foreign;
mod proxy;
mod purge;
mod races;
mod recovery;
mod rest;
mod served;
mod server;
mod stores;
mod support;
