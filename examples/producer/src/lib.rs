//! Feeds the examples to Kafka at a given rate.
#![deny(missing_docs)]

pub mod health;
