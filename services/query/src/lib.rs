//! The role that answers SQL over HTTP.
#![deny(missing_docs)]
