//! What the runner says to an engine and what the engine answers, one JSON object per line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One piece of work.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Says which process works.
    Process,
    /// Plans a scan.
    Plan(Plan),
    /// Runs a query.
    Query(Query),
    /// Adds a column.
    Evolve(TableName),
    /// Appends a file that exists in metadata alone.
    Commit(Commit),
    /// Deletes one row of each file.
    DeleteRows(DeleteRows),
    /// Makes the table that is planned, which has no files but in its metadata.
    MakePlanned(MakePlanned),
    /// Makes a table with many snapshots, which has no files but in its metadata.
    MakeGrown(MakeGrown),
    /// Makes the table `rows`, one file per day.
    MakeRows(MakeRows),
    /// Makes tables of the files of `rows` from which rows are deleted, and one that was rewritten.
    MakeDeleted(MakeDeleted),
    /// Makes a table that has the files of `rows` at its head and many snapshots before.
    MakeHistory(MakeHistory),
    /// Makes the table `small`, of many files of few rows.
    MakeSmall(MakeSmall),
    /// Makes another table of the files of `small`.
    CopySmall(CopySmall),
}

/// Planning a scan of a table.
#[derive(Debug, Deserialize)]
pub struct Plan {
    /// The table's metadata file.
    pub metadata: String,
    /// The column `ts` from this time (inclusive) to that one, in microseconds since 1970; all of it
    /// where nothing is said.
    pub range: Option<[i64; 2]>,
    /// Whether the table is kept open from one request to the next.
    pub keep: bool,
    /// Whether the files of the plan keep sizes, counts and bounds of their columns.
    pub metrics: bool,
}

/// A query.
#[derive(Debug, Deserialize)]
pub struct Query {
    /// What it reads.
    pub table: Table,
    /// Which snapshot of it; the head where nothing is said.
    pub snapshot: Option<i64>,
    /// The statement, with `{table}` for the table.
    pub sql: String,
}

/// The name of a table.
#[derive(Debug, Clone, Deserialize)]
pub struct TableName {
    /// The folder with its catalog.
    pub folder: PathBuf,
    /// Its name in the one namespace.
    pub name: String,
}

/// A commit of one file.
#[derive(Debug, Deserialize)]
pub struct Commit {
    /// The folder with the table's catalog.
    pub folder: PathBuf,
    /// The table.
    pub name: String,
    /// Whether the catalog is opened anew, as at the first commit of a process.
    pub fresh: bool,
}

/// Deleting rows of `small`.
#[derive(Debug, Deserialize)]
pub struct DeleteRows {
    /// The folder with the table's catalog.
    pub folder: PathBuf,
    /// The table.
    pub name: String,
    /// The rows: those whose column `slot` has this value.
    pub slot: i32,
}

/// The table that is planned.
#[derive(Debug, Deserialize)]
pub struct MakePlanned {
    /// Where its catalog is.
    pub folder: PathBuf,
    /// How many manifests it has.
    pub manifests: u32,
    /// How many files each of them has.
    pub files: u32,
}

/// A table with many snapshots.
#[derive(Debug, Deserialize)]
pub struct MakeGrown {
    /// Where its catalog is.
    pub folder: PathBuf,
    /// Its name.
    pub name: String,
    /// How many snapshots it has.
    pub snapshots: u32,
    /// How many of them were appended without merging manifests.
    pub unmerged: u32,
}

/// The table `rows`.
#[derive(Debug, Deserialize)]
pub struct MakeRows {
    /// Where its catalog is.
    pub folder: PathBuf,
    /// How many files it has.
    pub files: u32,
    /// How many rows each of them has.
    pub rows: u32,
}

/// The tables from which rows are deleted.
#[derive(Debug, Deserialize)]
pub struct MakeDeleted {
    /// Where their catalog is, and the table `rows`.
    pub folder: PathBuf,
    /// How many of the files lose a tenth of their rows.
    pub touched: u32,
}

/// The table with a history.
#[derive(Debug, Deserialize)]
pub struct MakeHistory {
    /// Where its catalog is, and the table `rows`.
    pub folder: PathBuf,
    /// How many commits come after the first.
    pub commits: u32,
}

/// The table `small`.
#[derive(Debug, Deserialize)]
pub struct MakeSmall {
    /// Where its catalog is.
    pub folder: PathBuf,
    /// How many files it has.
    pub files: u32,
    /// How many rows each of them has.
    pub rows: i32,
}

/// Another table of the files of `small`.
#[derive(Debug, Deserialize)]
pub struct CopySmall {
    /// Where the catalog is, and the table `small`.
    pub folder: PathBuf,
    /// The name of the copy.
    pub name: String,
    /// Whether it is laid out for engines that know tables by their folders alone, and is not in the
    /// catalog: below the folder `hadoop`.
    pub hadoop: bool,
}

/// What a request is answered with.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// Work was done.
    Done(Answer),
    /// Tables were made.
    Made(Made),
    /// The process.
    Process {
        /// Its id.
        id: u32,
    },
}

/// How long it took and what came out.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// Wall time of the work alone, in seconds.
    pub seconds: f64,
    /// What came out, so that engines can be checked against each other.
    pub result: Vec<Vec<String>>,
    /// What else is worth knowing of it.
    pub details: BTreeMap<String, Value>,
}

/// Tables that were made, by name.
#[derive(Debug, Default, Serialize)]
pub struct Made {
    /// The tables.
    pub tables: BTreeMap<String, Table>,
    /// What else is worth knowing of them.
    pub details: BTreeMap<String, Value>,
}

/// A table: each engine finds it in its own way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Table {
    /// The folder with its catalog.
    pub folder: PathBuf,
    /// Its name in the one namespace.
    pub name: String,
    /// Its metadata file.
    pub metadata: String,
    /// The paths of its data files, where somebody reads them without the table.
    #[serde(default)]
    pub files: Vec<String>,
}
