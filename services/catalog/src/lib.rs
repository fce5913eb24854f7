//! The role that serves the catalog over REST.
#![deny(missing_docs)]
