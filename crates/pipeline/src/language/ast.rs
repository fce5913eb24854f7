//! What statements say, after parsing and before anything is known about the project around them.

use std::collections::BTreeMap;
use std::fmt;

use super::diagnostics::{Span, Spanned};
use super::fingerprint::Fingerprint;
use super::places::Places;
use super::types::ColumnDef;

/// The property that names the table for records that could not be read.
pub const DEAD_LETTER_PROPERTY: &str = "berglake.dead-letter";

/// A name as it was written. Unquoted identifiers mean their lower-case form, as in the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identifier {
    value: String,
    quoted: bool,
    /// Where it was written.
    pub span: Span,
}

impl Identifier {
    pub(super) fn new(value: &str, quoted: bool, span: Span) -> Self {
        Self {
            value: value.to_owned(),
            quoted,
            span,
        }
    }

    /// The name as written, without quotes.
    pub fn as_written(&self) -> &str {
        &self.value
    }

    /// The name that it stands for: lower case unless quoted.
    pub fn folded(&self) -> String {
        fold(&self.value, self.quoted)
    }
}

/// The name that an identifier stands for.
pub(super) fn fold(value: &str, quoted: bool) -> String {
    if quoted {
        value.to_owned()
    } else {
        value.to_lowercase()
    }
}

/// The name of a table or view: the namespace, if any, and the last part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    namespace: Vec<String>,
    name: String,
}

impl TableName {
    /// A name without a namespace.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            namespace: Vec::new(),
            name: name.into(),
        }
    }

    pub(super) fn push(&mut self, part: String) {
        self.namespace.push(std::mem::replace(&mut self.name, part));
    }

    /// The parts before the last; empty for temporary views.
    pub fn namespace(&self) -> &[String] {
        &self.namespace
    }

    /// The last part.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a namespace.
    pub fn is_qualified(&self) -> bool {
        !self.namespace.is_empty()
    }

    /// All parts, the namespace first.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.namespace
            .iter()
            .chain([&self.name])
            .map(String::as_str)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let plain = part
                .chars()
                .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'));
            if plain && !part.is_empty() {
                f.write_str(part)?;
            } else {
                write!(f, "`{}`", part.replace('`', "``"))?;
            }
        }
        Ok(())
    }
}

/// One statement of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `CREATE STREAMING TABLE` or `CREATE MATERIALIZED VIEW`.
    Table(TableDefinition),
    /// `CREATE TEMPORARY VIEW`.
    View(ViewDefinition),
    /// `CREATE FLOW`.
    Flow(FlowDefinition),
}

/// The two kinds of tables that a pipeline keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKind {
    /// Each row of its sources is processed once.
    StreamingTable,
    /// Always equals what its query would return now.
    MaterializedView,
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StreamingTable => "streaming table",
            Self::MaterializedView => "materialized view",
        })
    }
}

/// A table that the pipeline keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDefinition {
    /// Streaming table or materialized view.
    pub kind: TableKind,
    /// The name, with its namespace.
    pub name: Spanned<TableName>,
    /// Whether `IF NOT EXISTS` was written: the definition then never changes an existing table.
    pub if_not_exists: bool,
    /// The declared columns; empty when they follow from the query.
    pub columns: Vec<Spanned<ColumnDef>>,
    /// The expectations, in the order of their declaration.
    pub expectations: Vec<Expectation>,
    /// The partition fields, in order.
    pub partitioning: Vec<Spanned<PartitionField>>,
    /// The comment on the table.
    pub comment: Option<String>,
    /// The place to keep the table in, instead of the one that the catalog chooses.
    pub location: Option<Spanned<String>>,
    /// The properties of the table.
    pub properties: BTreeMap<String, Spanned<String>>,
    /// The query after `AS`.
    pub query: Option<Query>,
    /// Changes whenever the statement says something else.
    pub fingerprint: Fingerprint,
    /// The whole statement.
    pub span: Span,
}

impl TableDefinition {
    /// Whether the records that its flows cannot read go to the table of this name.
    pub fn dead_letters_are_in(&self, name: &TableName) -> bool {
        self.properties
            .get(DEAD_LETTER_PROPERTY)
            .is_some_and(|table| table.node.split('.').map(str::trim).eq(name.parts()))
    }
}

/// A named step that is not kept as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewDefinition {
    /// The name, of one part.
    pub name: Spanned<TableName>,
    /// The query.
    pub query: Query,
}

/// What happens to rows that break an expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnViolation {
    /// They are counted and kept.
    Warn,
    /// They are counted and left out.
    DropRow,
    /// The update fails and the table stays as it was.
    FailUpdate,
}

impl OnViolation {
    /// The stable name, as it stands in reports and in fingerprints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::DropRow => "drop-row",
            Self::FailUpdate => "fail-update",
        }
    }
}

/// A condition that every row of a table should meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Its name, unique within the table.
    pub name: Spanned<String>,
    /// The condition.
    pub condition: SqlExpr,
    /// What happens to the others.
    pub on_violation: OnViolation,
}

/// How the values of a column become partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transform {
    /// The value itself.
    Identity,
    /// Years since 1970.
    Year,
    /// Months since 1970-01.
    Month,
    /// Days since 1970-01-01.
    Day,
    /// Hours since 1970-01-01 00:00.
    Hour,
    /// A hash modulo this number.
    Bucket(u32),
    /// The value cut to this width.
    Truncate(u32),
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Year => f.write_str("year"),
            Self::Month => f.write_str("month"),
            Self::Day => f.write_str("day"),
            Self::Hour => f.write_str("hour"),
            Self::Bucket(count) => write!(f, "bucket[{count}]"),
            Self::Truncate(width) => write!(f, "truncate[{width}]"),
        }
    }
}

/// One field of a partitioning.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionField {
    /// The source column.
    pub column: String,
    /// What is done to it.
    pub transform: Transform,
}

/// A scalar expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlExpr {
    /// The expression as SQL, written uniformly.
    pub sql: String,
    /// The column, if the expression is nothing but one.
    pub column: Option<String>,
    /// Changes whenever the expression says something else.
    pub fingerprint: Fingerprint,
    /// Where it was written.
    pub span: Span,
}

/// A query and what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The query as SQL, in which each source is a plain table called by its [`Source::id`].
    pub sql: String,
    /// What it reads, in the order of the ids.
    pub sources: Vec<Source>,
    /// Changes whenever the query says something else.
    pub fingerprint: Fingerprint,
    /// Where it was written.
    pub span: Span,
    /// Where the expressions in `sql` were written.
    pub places: Places,
}

impl Query {
    /// The sources that are read as streams.
    pub fn streams(&self) -> impl Iterator<Item = &Source> {
        self.sources
            .iter()
            .filter(|source| source.kind == ReadKind::Stream)
    }
}

/// How a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadKind {
    /// Each row once: the rows that came since the last update.
    Stream,
    /// All rows that there are.
    Batch,
}

/// One place in a query that reads a table, a view or a source function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The table name that stands for it in [`Query::sql`], unique within the project.
    pub id: String,
    /// Stream or batch.
    pub kind: ReadKind,
    /// What is read.
    pub from: SourceRef,
    /// Where it was written.
    pub span: Span,
}

/// What a source reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceRef {
    /// A table or a temporary view.
    Table(TableName),
    /// A source function, for instance `read_files`.
    Function(SourceFunction),
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(name) => name.fmt(f),
            Self::Function(function) => function.fmt(f),
        }
    }
}

/// A call of a source function, checked against the arguments that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFunction {
    /// The name, in lower case.
    pub name: String,
    /// The arguments by name; positional ones have the name of their parameter.
    pub arguments: BTreeMap<String, Spanned<Literal>>,
}

impl SourceFunction {
    /// An argument, if it was given.
    pub fn argument(&self, name: &str) -> Option<&Literal> {
        self.arguments.get(name).map(|argument| &argument.node)
    }

    /// The text of an argument, if it was given and is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.argument(name) {
            Some(Literal::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The truth of an argument, if it was given and is a boolean.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.argument(name) {
            Some(Literal::Boolean(value)) => Some(*value),
            _ => None,
        }
    }
}

impl fmt::Display for SourceFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (index, (name, value)) in self.arguments.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name} => {}", value.node)?;
        }
        f.write_str(")")
    }
}

/// A constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Literal {
    /// A string.
    String(String),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Boolean(bool),
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Integer(number) => number.fmt(f),
            Self::Boolean(value) => value.fmt(f),
        }
    }
}

/// A flow: how rows come into a streaming table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowDefinition {
    /// Its name.
    pub name: Spanned<String>,
    /// The streaming table that it writes.
    pub target: Spanned<TableName>,
    /// What it reads. For AUTO CDC it is `SELECT *` from the source.
    pub query: Query,
    /// How its rows are written.
    pub write: WriteDefinition,
    /// Changes whenever the part after `AS` says something else.
    pub fingerprint: Fingerprint,
}

/// How the rows of a flow are written, as stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteDefinition {
    /// They are appended.
    Append,
    /// They are applied by key.
    AutoCdc(Box<AutoCdcDefinition>),
}

/// The clauses of `AUTO CDC`, including those that validation refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoCdcDefinition {
    /// The columns that identify a row.
    pub keys: Vec<Spanned<String>>,
    /// What orders the changes of one key.
    pub sequence_by: SqlExpr,
    /// The columns that are written.
    pub columns: ColumnSelection,
    /// `APPLY AS DELETE WHEN`.
    pub delete_when: Option<SqlExpr>,
    /// `IGNORE NULL UPDATES`.
    pub ignore_null_updates: Option<Span>,
    /// `STORED AS SCD TYPE`, 1 when left out.
    pub scd_type: ScdType,
    /// Where `STORED AS SCD TYPE` stands.
    pub scd_type_span: Option<Span>,
    /// `TRACK HISTORY ON`, with the place of the clause.
    pub track_history: Option<Spanned<ColumnSelection>>,
}

/// What a target keeps of a changed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScdType {
    /// Only the newest version.
    Type1,
    /// Every version with its period of validity.
    Type2,
}

/// Some of the columns of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnSelection {
    /// All of them.
    All,
    /// These.
    Only(Vec<Spanned<String>>),
    /// All but these.
    AllExcept(Vec<Spanned<String>>),
}
