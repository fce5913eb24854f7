//! The role that keeps silver tables up to date with bronze.
#![deny(missing_docs)]
