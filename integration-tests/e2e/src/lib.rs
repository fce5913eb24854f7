//! The platform on real servers, tested from outside. There is nothing to use here: see `tests/e2e`.
#![deny(missing_docs)]
