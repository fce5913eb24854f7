//! Settings of an engine.

use std::path::PathBuf;
use std::sync::Arc;

use berglake_format::Environment;
use berglake_format::properties::TableDefaults;

use crate::procedures::Procedure;

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
    /// Properties that `CREATE TABLE` gives to tables that do not say otherwise.
    pub table_defaults: TableDefaults,
    /// Whose clock `current_timestamp()` shows.
    pub environment: Environment,
    /// What `CALL` runs beside the engine's own procedures.
    pub procedures: Vec<Arc<dyn Procedure>>,
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
            table_defaults: TableDefaults::default(),
            environment: Environment::default(),
            procedures: Vec::new(),
        }
    }
}
