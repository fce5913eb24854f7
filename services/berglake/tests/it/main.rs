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
mod commands;
mod dependencies;
mod documents;
mod kill;
mod killed_services;
mod maintain;
mod support;
mod up;
