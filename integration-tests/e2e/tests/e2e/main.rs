//! The platform on real servers: MinIO, PostgreSQL, Kafka and Trino in containers, the berglake binary as
//! processes beside them. `make e2e` runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests fail the test that calls them"
)]

mod bad_settings;
mod example;
mod faults;
mod harness;
mod health;
mod kafka_source;
mod load;
mod movies;
mod sales;
mod servers_are_real;
mod trino_and_berglake;
