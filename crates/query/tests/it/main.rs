//! The engine as other crates and people use it.

mod explain;
mod messages;
mod model;
mod providers;
mod slt;
mod support;
mod traps;
mod travel;
