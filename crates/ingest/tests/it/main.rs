//! Sinks on real tables, in memory.

mod sinks;
