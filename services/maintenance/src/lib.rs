//! The role that keeps tables healthy on schedules.
#![deny(missing_docs)]
