//! What every role of berglake has: handles from a configuration, health, metrics, shutdown.
#![deny(missing_docs)]
