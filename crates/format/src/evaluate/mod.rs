//! Decides from metadata alone whether rows of a manifest or a file can match a filter.
