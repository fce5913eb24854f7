//! The role that brings sources into bronze tables.
#![deny(missing_docs)]
