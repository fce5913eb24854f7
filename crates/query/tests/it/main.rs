//! The engine as other crates and people use it.

mod slt;
mod support;
