#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod config;
pub mod language;
mod project;
pub mod report;
mod runner;
pub mod watch;

pub use config::Config;
pub use project::Project;
pub use report::RunReport;
pub use runner::{
    DEAD_LETTER_PROPERTY, Observer, PIPELINE_PROPERTY, Resume, RunOptions, Runner, SourceName,
    TableCheck,
};
