//! Settings of an engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use berglake_format::Environment;

/// Settings of an [`Engine`](crate::Engine).
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Bytes that all queries of the engine together may hold in memory; sorts, joins and
    /// aggregations that need more go to disk. No bound where nothing is said.
    pub memory_limit: Option<usize>,
    /// The folder for what does not fit into memory; the system's where nothing is said.
    pub spill_folder: Option<PathBuf>,
    /// Parts of a query that run at the same time; as many as there are processors where nothing is
    /// said.
    pub partitions: Option<usize>,
    /// Rows per batch.
    pub batch_size: usize,
    /// Bytes of Parquet footers to keep.
    pub footer_cache: usize,
    /// The namespace in which names without one are looked up.
    pub namespace: Vec<String>,
    /// Whose clock `current_timestamp()` shows.
    pub environment: Environment,
    /// Properties that new tables get where their statement does not set them.
    pub new_tables: Arc<NewTableProperties>,
}

/// Properties of new tables: of all, and of those in a namespace, which win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTableProperties {
    /// Of every table.
    pub all: BTreeMap<String, String>,
    /// Of the tables in a namespace; its parts are joined by dots.
    pub by_namespace: BTreeMap<String, BTreeMap<String, String>>,
}

impl NewTableProperties {
    /// Of a table in this namespace.
    pub fn of(&self, namespace: &[String]) -> impl Iterator<Item = (&str, &str)> {
        let own = self.by_namespace.get(&namespace.join("."));
        // What comes later wins when it is collected.
        self.all
            .iter()
            .chain(own.into_iter().flatten())
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            memory_limit: None,
            spill_folder: None,
            partitions: None,
            batch_size: 8_192,
            footer_cache: 64 * 1024 * 1024,
            namespace: vec!["default".to_string()],
            environment: Environment::default(),
            new_tables: Arc::default(),
        }
    }
}
