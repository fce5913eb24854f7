//! What holds for which table.
//!
//! A table says itself how it wants to be kept, in its properties: `history.expire.*` under the names
//! that all engines know, and `berglake.compact.<option>` with the options of Spark's
//! `rewrite_data_files`. Where it says nothing, its layer (the namespace that it is in) does, then the
//! defaults of the project.

use std::collections::{BTreeMap, HashMap};

use berglake_format::properties::HistoryProperties;
use berglake_format::{Result, Table};

use crate::compact::CompactionOptions;

/// Properties that hold where a table sets none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// For all tables.
    pub defaults: BTreeMap<String, String>,
    /// For the tables of a namespace, whose levels are joined by dots; they win over `defaults`.
    pub layers: BTreeMap<String, BTreeMap<String, String>>,
    /// Options of a compaction, under Spark's names, that win over everything.
    pub options: BTreeMap<String, String>,
}

impl Policies {
    /// The properties that hold for a table.
    fn properties(&self, table: &Table) -> HashMap<String, String> {
        let layer = table.ident().namespace().as_ref().join(".");
        let layer = self.layers.get(&layer);
        let mut all: HashMap<String, String> = HashMap::new();
        for (key, value) in self.defaults.iter().chain(layer.into_iter().flatten()) {
            all.insert(key.clone(), value.clone());
        }
        let own = table.metadata().properties();
        all.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
        all
    }

    /// How long snapshots of a table are kept.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) with the property and what is
    /// allowed.
    pub fn history(&self, table: &Table) -> Result<HistoryProperties> {
        HistoryProperties::parse(&self.properties(table))
            .map_err(|error| error.with("table", table.ident()))
    }

    /// How a table is compacted.
    ///
    /// # Errors
    /// As [`history`](Self::history).
    pub fn compaction(&self, table: &Table) -> Result<CompactionOptions> {
        let mut properties = self.properties(table);
        for (option, value) in &self.options {
            properties.insert(
                format!("{}{option}", CompactionOptions::PREFIX),
                value.clone(),
            );
        }
        CompactionOptions::parse(&properties).map_err(|error| error.with("table", table.ident()))
    }
}
