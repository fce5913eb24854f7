//! What every role of berglake has: handles from a configuration, health, metrics, and a supervisor
//! that keeps it running and ends it in good order.
//!
//! This crate wires the others together: a project's configuration becomes a storage, a catalog, an
//! engine and a runner. It refuses to know command lines and what a role does with its handles, except
//! for the three that follow flows and differ in their stage alone.
//!
//! Read these first: [`Lake`], [`Role`], [`Host`].
#![deny(missing_docs)]

mod auth;
mod backoff;
pub mod health;
mod http;
mod lake;
pub mod probe;
mod problem;
mod role;
pub mod signals;
mod supervisor;
mod telemetry;
mod worker;

pub use auth::{check_exposure, require_token};
pub use http::{Gate, Metrics};
pub use lake::Lake;
pub use problem::Problem;
pub use role::{Context, Role};
pub use supervisor::Host;
pub use worker::Worker;
