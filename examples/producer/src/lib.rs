//! Feeds the examples to Kafka at a given rate.
#![deny(missing_docs)]

mod chance;
pub mod health;
pub mod sales;
