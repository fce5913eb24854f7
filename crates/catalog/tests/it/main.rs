//! The catalog as other crates use it.

mod smoke;
mod support;
