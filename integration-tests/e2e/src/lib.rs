//! The platform on real servers, tested from outside.
#![deny(missing_docs)]
