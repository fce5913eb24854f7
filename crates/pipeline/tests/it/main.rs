//! Whole runs of pipelines, on a catalog in a file and a warehouse in a folder.

// The helpers of tests are no tests themselves, which is all that clippy.toml exempts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod definitions;
mod faults;
mod increments;
mod lake;
mod mistakes;
mod ownership;
mod recovery;
mod telemetry;
mod watch;
