//! Declarative pipelines: SQL files that say what bronze, silver and gold tables hold, and a runner
//! that brings the tables there, incrementally and exactly once.
//!
//! The crate refuses to know where it runs: catalog, storage, clock and query engine are handed to
//! it, so one pipeline runs embedded, as a service, and in tests.
//!
//! Read these first: [`Project`], [`Runner`], [`RunReport`].

#![deny(missing_docs)]

pub mod config;
pub mod language;
mod project;
pub mod report;
mod runner;

pub use config::Config;
pub use project::Project;
pub use report::RunReport;
pub use runner::{DEAD_LETTER_PROPERTY, Observer, PIPELINE_PROPERTY, Resume, RunOptions, Runner};
