//! Maintenance from outside, on a real catalog.

// The helpers of tests are no tests themselves, which is all that clippy.toml exempts.
#![allow(clippy::unwrap_used, clippy::panic)]

mod compaction;
mod expiry;
mod model;
mod support;
mod watermarks;
