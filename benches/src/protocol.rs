//! What the runner says to an engine and what the engine answers, one JSON object per line.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::Error;

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
}

/// One piece of work.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Request {
    /// Writes the replicated input below this folder, which does not exist yet.
    Append { folder: PathBuf },
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
            Self::Append { .. } => None,
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

/// A table as other engines see it.
#[derive(Debug, Deserialize)]
pub struct Table {
    /// The data files of its current snapshot.
    pub files: Vec<String>,
}

/// How long it took and what came out.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// Wall time of the work alone, in seconds.
    pub seconds: f64,
    /// What came out, so that engines can be checked against each other.
    pub result: Outcome,
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

/// A running measurement.
#[derive(Debug)]
pub struct Watch(Instant);

impl Watch {
    /// Starts to measure.
    #[expect(
        clippy::disallowed_methods,
        reason = "measuring wall time is what this program is for"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The answer to a request whose work is done.
    pub fn stop(self, result: Outcome) -> Result<Answer, Error> {
        Ok(Answer {
            seconds: self.0.elapsed().as_secs_f64(),
            result,
        })
    }
}
