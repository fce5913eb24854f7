//! How much one commit takes from a source: properties of the target.

use std::collections::HashMap;

use berglake_format::{Error, Result, Table};

/// A bound of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    property: &'static str,
    default: u64,
}

/// The most files that one commit takes.
pub(super) const MAX_FILES: Limit = Limit {
    property: "berglake.batch.max-files",
    default: 1_000,
};
/// The most bytes of files or messages that one commit takes; one file is taken whole, whatever its
/// size.
pub(super) const MAX_BYTES: Limit = Limit {
    property: "berglake.batch.max-bytes",
    default: 1 << 30,
};
/// The most rows or messages that one commit takes; the rows of one snapshot are taken together, however
/// many they are.
pub(super) const MAX_ROWS: Limit = Limit {
    property: "berglake.batch.max-rows",
    default: 2_000_000,
};

impl Limit {
    /// What the table says, or the default.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) if it says no whole number above 0.
    pub(super) fn of(self, target: &Table) -> Result<u64> {
        self.parse(target.metadata().properties())
            .map_err(|error| error.with("table", target.ident()))
    }

    fn parse(self, properties: &HashMap<String, String>) -> Result<u64> {
        let Some(text) = properties.get(self.property) else {
            return Ok(self.default);
        };
        text.parse::<u64>().ok().filter(|n| *n > 0).ok_or_else(|| {
            Error::invalid(format!("{text:?} is no whole number above 0"))
                .with("property", self.property)
                .help(format!("write a number such as {}", self.default))
        })
    }
}

/// Whether the limits among the properties of a table that is to be made can be read: each run of its
/// flows would fail.
///
/// # Errors
/// As [`Limit::of`].
pub(super) fn check(properties: &HashMap<String, String>) -> Result<()> {
    for limit in [MAX_FILES, MAX_BYTES, MAX_ROWS] {
        limit.parse(properties)?;
    }
    Ok(())
}
