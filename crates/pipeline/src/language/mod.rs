//! The language of pipelines: from SQL files to a checked graph of tables and flows.
//!
//! It is SQL with the statements of Spark Declarative Pipelines, and Lakeflow's AUTO CDC,
//! expectations and `read_*` functions. Text goes through these steps, one module each:
//!
//! 1. `${variables}` are put in; positions keep pointing at the file ([`Variables`]).
//! 2. sqlparser's tokens, split into statements.
//! 3. Statements by recursive descent; their queries by sqlparser, with every source replaced by
//!    a generated table name ([`Query`], [`Source`]).
//! 4. Checks across statements: references, streams, targets.
//! 5. The graph: tables in the order in which they can run ([`Pipeline`]).
//!
//! Nothing here reads files, opens tables or plans queries. What is wrong comes back as
//! [`Diagnostics`], which print the line and underline the place.
//!
//! Unquoted identifiers mean their lower-case form and backticks keep the case. The field names
//! of `schema => '…'` always keep their case: they are what the source calls them. [`Query::sql`]
//! is to be planned with the dialect `databricks`.

mod ast;
mod cursor;
mod diagnostics;
mod fingerprint;
mod flows;
mod functions;
mod graph;
mod lexer;
mod places;
mod queries;
mod shape;
mod statements;
mod streams;
mod types;
mod validate;
mod variables;

#[cfg(test)]
mod tests;

use berglake_format::suggest;

pub use ast::{
    ColumnSelection, DEAD_LETTER_PROPERTY, Expectation, Identifier, Literal, OnViolation,
    PartitionField, Query, ReadKind, Source, SourceFunction, SourceRef, SqlExpr, TableDefinition,
    TableKind, TableName, Transform,
};
pub use diagnostics::{Diagnostic, Diagnostics, FileId, SourceFile, Span, Spanned};
pub use fingerprint::Fingerprint;
pub use graph::{Flow, Pipeline, StreamInput, Table, View, Write};
pub use places::Places;
pub use types::{ColumnDef, SchemaError, SqlType, parse_schema};
pub use variables::Variables;
