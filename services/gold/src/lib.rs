//! The role that keeps gold tables up to date with silver.
#![deny(missing_docs)]
