//! The query role over HTTP, on a project of its own.

// The helpers of tests are no tests themselves, which is all that clippy.toml exempts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod hostile;
mod limits;
mod server;
