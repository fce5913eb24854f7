//! Integration tests of the `berglake` binary and of the workspace that it is composed from.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests fail the test that calls them"
)]

mod bad_input;
mod catalog_server;
mod check;
mod collector;
mod commands;
mod dependencies;
mod documents;
mod examples;
mod kill;
mod killed_services;
mod maintain;
mod prompt;
mod recover_metadata;
mod rollback;
mod support;
mod telemetry;
mod up;
