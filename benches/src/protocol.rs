//! What the runner says to an engine and what the engine answers, one JSON object per line.

use std::path::PathBuf;

use berglake_benches::Watch;
use serde::{Deserialize, Serialize};

/// What stays the same for the life of an engine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The Parquet file whose rows are appended.
    pub input: PathBuf,
    /// How often its rows are appended.
    pub replication: usize,
    /// How many threads work.
    pub threads: usize,
    /// The level of the codec zstd.
    pub zstd_level: i32,
    /// The most rows of a row group.
    pub row_group_rows: usize,
    /// The largest dictionary of a column chunk, in bytes.
    pub dictionary_bytes: usize,
}

/// One piece of work.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Request {
    /// Writes the replicated input below this folder, which does not exist yet.
    Append { folder: PathBuf },
    /// Says where the table is that an append made in this folder.
    Describe { folder: PathBuf },
    /// Says how a query would be run.
    Explain(Query),
    /// Reads all columns of all rows.
    Full(Query),
    /// Reads what a filter on partition and column leaves.
    Filtered(Query),
    /// Groups all rows by a column.
    Grouped(Query),
}

impl Request {
    /// The query, if it is one.
    pub fn into_query(self) -> Option<Query> {
        match self {
            Self::Append { .. } | Self::Describe { .. } | Self::Explain(_) => None,
            Self::Full(query) | Self::Filtered(query) | Self::Grouped(query) => Some(query),
        }
    }
}

/// A query on a table.
#[derive(Debug, Deserialize)]
pub struct Query {
    /// What it reads.
    pub table: Table,
    /// The statement; the table is called `flights` in it.
    pub sql: String,
}

/// A table: each engine finds it in its own way.
#[derive(Debug, Serialize, Deserialize)]
pub struct Table {
    /// The folder with its catalog.
    pub folder: PathBuf,
    /// Its metadata file.
    pub metadata: String,
    /// The paths of the data files of its current snapshot.
    pub files: Vec<String>,
}

/// What a request is answered with.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// Work was done.
    Done(Answer),
    /// The table that was asked for.
    Table(Table),
    /// The lines of a plan.
    Plan(Vec<String>),
}

/// How long it took and what came out.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// Wall time of the work alone, in seconds.
    pub seconds: f64,
    /// What came out, so that engines can be checked against each other.
    pub result: Outcome,
}

impl Answer {
    /// The answer to a request whose work is done.
    pub fn after(watch: &Watch, result: Outcome) -> Self {
        Self {
            seconds: watch.seconds(),
            result,
        }
    }
}

/// What came out of a request.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// The rows written.
    Written(usize),
    /// The rows of a query, each cell as text.
    Rows(Vec<Vec<String>>),
}
