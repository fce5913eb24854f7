//! What every role of berglake has: handles from a configuration.
//!
//! This crate wires the others together: a project's configuration becomes a storage, a catalog, an
//! engine and a runner. It refuses to know what a role does with them, and command lines.
//!
//! Read this first: [`Lake`].
#![deny(missing_docs)]

mod lake;

pub use lake::Lake;
