//! Integration tests of the `berglake` binary and of the workspace that it is composed from.

mod bad_input;
mod commands;
mod dependencies;
mod support;
