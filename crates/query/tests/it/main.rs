//! The engine as other crates and people use it.

// Clippy knows functions marked as tests, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::panic)]

mod create;
mod damage;
mod decided;
mod deep;
mod deletes;
mod explain;
mod files;
mod messages;
mod model;
mod providers;
mod slt;
mod statements;
mod support;
mod traps;
mod travel;
