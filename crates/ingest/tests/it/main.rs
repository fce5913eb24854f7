//! Sinks on real tables, in memory.

// The helpers of tests are no tests themselves, which is all that clippy.toml exempts.
#![allow(clippy::unwrap_used)]

mod sinks;
