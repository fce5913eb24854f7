//! Table properties, and the format version.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use iceberg::TableUpdate;
use iceberg::spec::{DEFAULT_SCHEMA_NAME_MAPPING, FormatVersion, NameMapping};

use crate::commit::{Operation, PlannedChange};
use crate::properties::validate;
use crate::storage::Location;
use crate::{Error, Result, Table};

/// Names that are no properties but parts of the metadata, and what changes those.
const RESERVED: [(&str, &str); 10] = [
    (
        "format-version",
        "it is raised by itself: ALTER TABLE … SET TBLPROPERTIES ('format-version' = '3')",
    ),
    (
        "current-snapshot-id",
        "use CALL system.set_current_snapshot or system.rollback_to_snapshot",
    ),
    (
        "current-schema",
        "use ALTER TABLE … ADD, DROP, RENAME or ALTER COLUMN",
    ),
    (
        "default-partition-spec",
        "use ALTER TABLE … ADD, DROP or REPLACE PARTITION FIELD",
    ),
    ("default-sort-order", "use ALTER TABLE … WRITE ORDERED BY"),
    (
        "location",
        "a table stays where it is; set write.data.path for new files",
    ),
    ("uuid", "it is given once, when the table is created"),
    ("snapshot-count", "it follows from the table's snapshots"),
    (
        "current-snapshot-summary",
        "it follows from the current snapshot",
    ),
    (
        "current-snapshot-timestamp-ms",
        "it follows from the current snapshot",
    ),
];

/// Sets and removes table properties.
///
/// Others may set the same properties in the same moment: the last one wins, because no requirement
/// can assert a property. What is set to the value that it has, or removed where it is not, changes
/// nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetProperties {
    /// Properties with their values.
    pub set: BTreeMap<String, String>,
    /// Properties to remove.
    pub remove: BTreeSet<String>,
}

#[async_trait]
impl Operation for SetProperties {
    /// Plans the change of properties.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) with the property for what is no property but a
    /// part of the metadata, for a value that is not allowed, and for one that is set and removed.
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.change(base)
            .map_err(|error| error.with("table", base.ident()))
    }
}

impl SetProperties {
    fn change(&self, base: &Table) -> Result<Option<PlannedChange>> {
        for key in self.set.keys().chain(&self.remove) {
            if key.is_empty() {
                return Err(Error::invalid("the name of a property is empty"));
            }
            if let Some((_, help)) = RESERVED.iter().find(|(reserved, _)| reserved == key) {
                return Err(
                    Error::invalid("this is no table property but a part of the metadata")
                        .with("property", key)
                        .help(*help),
                );
            }
        }
        if let Some(key) = self.remove.iter().find(|key| self.set.contains_key(*key)) {
            return Err(
                Error::invalid("a property is set and removed at once").with("property", key)
            );
        }
        let before = base.metadata().properties();
        let set: HashMap<String, String> = self
            .set
            .iter()
            .filter(|(key, value)| before.get(*key) != Some(value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let present = |key: &&String| before.contains_key(*key);
        let removals: Vec<String> = self.remove.iter().filter(present).cloned().collect();
        if set.is_empty() && removals.is_empty() {
            return Ok(None);
        }
        let mut after = before.clone();
        after.retain(|key, _| !self.remove.contains(key));
        after.extend(set.clone());
        self.check(before, &after)?;
        let mut updates = Vec::new();
        if !removals.is_empty() {
            updates.push(TableUpdate::RemoveProperties { removals });
        }
        if !set.is_empty() {
            updates.push(TableUpdate::SetProperties { updates: set });
        }
        Ok(Some(PlannedChange::of_metadata(base, Vec::new(), updates)))
    }

    /// Values are checked where they are set: what nobody can read would stop the table's writers.
    fn check(
        &self,
        before: &HashMap<String, String>,
        after: &HashMap<String, String>,
    ) -> Result<()> {
        if let Err(error) = validate(after) {
            // A value that was wrong before is not the fault of who sets another one.
            let is_of = |key: &str| error.context().contains(&("property", key.to_string()));
            if self.set.keys().any(|key| is_of(key)) || validate(before).is_ok() {
                return Err(error);
            }
        }
        if let Some(json) = self.set.get(DEFAULT_SCHEMA_NAME_MAPPING) {
            serde_json::from_str::<NameMapping>(json).map_err(|error| {
                Error::invalid("the value is no name mapping")
                    .with("property", DEFAULT_SCHEMA_NAME_MAPPING)
                    .source_error(error)
            })?;
        }
        for key in ["write.data.path", "write.metadata.path"] {
            if let Some(path) = self.set.get(key) {
                Location::parse(path).map_err(|error| error.with("property", key))?;
            }
        }
        Ok(())
    }
}

/// Raises the format version (specification, "Format Versioning"). Nothing is rewritten: what older
/// snapshots are made of stays as it is and is read as before; what is written from then on is of the
/// new version.
///
/// A writer that has planned deletes for the older version plans again: invariant 13.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpgradeFormat {
    /// The version to have.
    pub to: FormatVersion,
}

#[async_trait]
impl Operation for UpgradeFormat {
    /// Plans the upgrade.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a version below the table's.
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let now = base.metadata().format_version();
        if self.to == now {
            return Ok(None);
        }
        if self.to < now {
            return Err(
                Error::invalid("a table never goes back to an older format version")
                    .with("table", base.ident())
                    .with("format-version", now)
                    .with("to", self.to)
                    .help("create another table of that version from this one"),
            );
        }
        let updates = vec![TableUpdate::UpgradeFormatVersion {
            format_version: self.to,
        }];
        Ok(Some(PlannedChange::of_metadata(base, Vec::new(), updates)))
    }
}

#[cfg(test)]
mod tests;
