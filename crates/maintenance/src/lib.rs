//! Keeps Iceberg tables healthy: compaction, expiry of snapshots, schedules.
//!
//! Every operation is planned first, by pure functions from metadata (and a clock) to a plan that can
//! be printed, and then executed. Nothing here is a writer's rival: a compaction that meets a
//! concurrent change carries it over or gives way, and an expiry keeps what readers, refs and flows
//! still need. In doubt nothing is deleted.
//!
//! It refuses to know pipelines: which flows read a table is told by the progress records in the tables
//! that they fill ([`Watermarks`]), and whoever knows of more says so.
//!
//! Read first: [`Maintenance`], [`compact::CompactionOptions`], [`schedule::Scheduler`].
#![doc = ""]
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod compact;
pub mod expire;
mod maintenance;
pub mod policy;
mod refreshes;
mod render;
pub mod schedule;
mod stop;
mod telemetry;
mod watermarks;

pub use maintenance::{
    Maintenance, MaintenancePlan, MaintenanceReport, Operation, Outcome, TablePlan, TableReport,
};
pub use policy::Policies;
pub use stop::Stop;
pub use watermarks::Watermarks;
