//! The statements: tables and views. Flows are in [`super::flows`].

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::ast::{
    Expectation, OnViolation, PartitionField, Query, Statement, TableDefinition, TableKind,
    Transform, ViewDefinition,
};
use super::cursor::Cursor;
use super::diagnostics::{FileId, Problem, SourceFile, Span, Spanned};
use super::fingerprint::Fingerprint;
use super::lexer::{self, StatementTokens};
use super::queries::{self, SourceIds};
use super::types::{self, ColumnDef, NameCase};
use super::variables::{Variables, expand};
use super::{flows, suggest};

/// Parses all statements of the files; each that is wrong leaves at least one problem.
pub(super) fn parse(
    files: &[SourceFile],
    variables: &Variables,
    problems: &mut Vec<Problem>,
) -> Vec<Statement> {
    let mut ids = SourceIds::default();
    let mut statements = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let id = FileId(index);
        let expanded = expand(id, &file.text, variables, problems);
        for tokens in lexer::statements(id, &expanded, problems) {
            match statement(id, &tokens, &mut ids) {
                Ok(statement) => statements.push(statement),
                Err(found) => problems.extend(found),
            }
        }
    }
    statements
}

/// Either one problem or several; both kinds of parsers can be used with `?`.
pub(super) struct Failure(Vec<Problem>);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl From<Vec<Problem>> for Failure {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

const STATEMENTS: &str = "the statements are CREATE OR REFRESH STREAMING TABLE, CREATE OR REFRESH \
                          MATERIALIZED VIEW, CREATE TEMPORARY VIEW and CREATE FLOW";

fn statement(
    file: FileId,
    tokens: &StatementTokens,
    ids: &mut SourceIds,
) -> Result<Statement, Vec<Problem>> {
    let mut cursor = Cursor::new(file, &tokens.tokens, tokens.end);
    create(&mut cursor, ids).map_err(|failure| failure.0)
}

fn create(cursor: &mut Cursor<'_>, ids: &mut SourceIds) -> Result<Statement, Failure> {
    let start = *cursor;
    if cursor.at_words(&["AUTO", "CDC"]) || cursor.at_words(&["APPLY", "CHANGES"]) {
        return Err(Problem::new(cursor.span(), "AUTO CDC is part of a flow")
            .help("write CREATE FLOW name AS AUTO CDC INTO …")
            .into());
    }
    if !cursor.eat_words(&["CREATE"]) {
        let word = cursor.word().unwrap_or_default();
        let help = suggest::did_you_mean(word, ["CREATE"]).unwrap_or(STATEMENTS.to_owned());
        return Err(cursor.unexpected("CREATE").help(help).into());
    }
    if cursor.at_words(&["OR"]) && !cursor.eat_words(&["OR", "REFRESH"]) {
        cursor.advance();
        let word = cursor.word().unwrap_or_default();
        let help = suggest::did_you_mean(word, ["REFRESH"])
            .unwrap_or("a pipeline refreshes its tables: CREATE OR REFRESH".to_owned());
        return Err(cursor.unexpected("REFRESH").help(help).into());
    }
    let refresh = start.at_words(&["CREATE", "OR"]);
    let kind = cursor.span();
    if cursor.eat_words(&["STREAMING"]) {
        cursor.expect_words(&["TABLE"])?;
        return table(start, cursor, TableKind::StreamingTable, ids);
    }
    if cursor.eat_words(&["MATERIALIZED"]) {
        cursor.expect_words(&["VIEW"])?;
        return table(start, cursor, TableKind::MaterializedView, ids);
    }
    if refresh && (cursor.at_words(&["FLOW"]) || cursor.at_words(&["TEMPORARY"])) {
        return Err(Problem::new(kind, "only tables are refreshed")
            .help("write CREATE without OR REFRESH")
            .into());
    }
    if cursor.eat_words(&["TEMPORARY"]) || cursor.eat_words(&["TEMP"]) {
        cursor.expect_words(&["VIEW"])?;
        return view(cursor, ids);
    }
    if cursor.eat_words(&["FLOW"]) {
        return flows::flow(cursor, ids).map(Statement::Flow);
    }
    let word = cursor.word().unwrap_or_default();
    let words = [
        "STREAMING TABLE",
        "MATERIALIZED VIEW",
        "TEMPORARY VIEW",
        "FLOW",
    ];
    let first_words = words.map(|words| words.split(' ').next().unwrap_or_default());
    let help = suggest::nearest(word, first_words)
        .and_then(|near| words.iter().find(|words| words.starts_with(near)))
        .map_or(STATEMENTS.to_owned(), |near| {
            format!("did you mean {near}?")
        });
    Err(cursor
        .unexpected("STREAMING TABLE, MATERIALIZED VIEW, TEMPORARY VIEW or FLOW")
        .help(help))?
}

fn view(cursor: &mut Cursor<'_>, ids: &mut SourceIds) -> Result<Statement, Failure> {
    let name = cursor.table_name("the name of the view")?;
    if name.node.is_qualified() {
        return Err(Problem::new(name.span, "a temporary view has no namespace")
            .help(format!(
                "it is known inside the pipeline only: call it {}",
                name.node.name()
            ))
            .into());
    }
    if !cursor.eat_words(&["AS"]) {
        let word = cursor.word().unwrap_or_default();
        let help = suggest::did_you_mean(word, ["AS"]);
        return Err(cursor
            .unexpected("AS and the query of the view")
            .maybe_help(help)
            .into());
    }
    let query = queries::query(cursor, ids)?;
    Ok(Statement::View(ViewDefinition { name, query }))
}

/// The clauses that follow the name of a table, as they are spelt.
const CLAUSES: [&str; 6] = [
    "USING",
    "PARTITIONED BY",
    "COMMENT",
    "LOCATION",
    "TBLPROPERTIES",
    "AS",
];

/// The clauses met so far.
#[derive(Default)]
struct Clauses {
    seen: Vec<&'static str>,
    partitioning: Vec<Spanned<PartitionField>>,
    comment: Option<String>,
    location: Option<Spanned<String>>,
    properties: BTreeMap<String, Spanned<String>>,
    query: Option<Query>,
}

fn table(
    start: Cursor<'_>,
    cursor: &mut Cursor<'_>,
    kind: TableKind,
    ids: &mut SourceIds,
) -> Result<Statement, Failure> {
    let if_not_exists = cursor.at_words(&["IF"]);
    if if_not_exists {
        cursor.expect_words(&["IF", "NOT", "EXISTS"])?;
    }
    let name = cursor.table_name(&format!("the name of the {kind}"))?;
    if !name.node.is_qualified() {
        return Err(
            Problem::new(name.span, format!("this {kind} needs a namespace"))
                .help(format!("write for instance bronze.{}", name.node))
                .into(),
        );
    }
    let (columns, expectations) = if *cursor.peek() == Token::LParen {
        elements(&mut cursor.parenthesised()?)?
    } else {
        (Vec::new(), Vec::new())
    };
    let mut clauses = Clauses::default();
    while !cursor.is_done() {
        clause(cursor, &mut clauses, ids)?;
    }
    let Clauses {
        partitioning,
        comment,
        location,
        properties,
        query,
        ..
    } = clauses;
    if kind == TableKind::MaterializedView && query.is_none() {
        return Err(
            Problem::new(cursor.end(), "a materialized view needs a query")
                .help("end the statement with AS SELECT …")
                .into(),
        );
    }
    Ok(Statement::Table(TableDefinition {
        kind,
        name,
        if_not_exists,
        columns,
        expectations,
        partitioning,
        comment,
        location,
        properties,
        query,
        fingerprint: Fingerprint::of_tokens(start.rest()),
        span: start.rest_span(),
    }))
}

fn clause(
    cursor: &mut Cursor<'_>,
    clauses: &mut Clauses,
    ids: &mut SourceIds,
) -> Result<(), Failure> {
    let start = cursor.span();
    let found = CLAUSES.into_iter().find(|clause| {
        let words: Vec<&str> = clause.split(' ').collect();
        cursor.at_words(words.get(..1).unwrap_or_default())
    });
    let Some(clause) = found else {
        if cursor.eat_words(&["CLUSTER", "BY"]) {
            return Err(
                Problem::unsupported(start.to(cursor.previous_span()), "CLUSTER BY").into(),
            );
        }
        if cursor.at_words(&["SELECT"]) || cursor.at_words(&["WITH"]) {
            return Err(Problem::new(start, "AS is missing before the query").into());
        }
        let Some(word) = cursor.word() else {
            return Err(cursor
                .unexpected("a clause or the end of the statement")
                .into());
        };
        let first_words = CLAUSES.map(|clause| clause.split(' ').next().unwrap_or_default());
        let help = suggest::nearest(word, first_words)
            .and_then(|near| CLAUSES.iter().find(|clause| clause.starts_with(near)))
            .map_or_else(
                || format!("the clauses are {}", CLAUSES.join(", ")),
                |near| format!("did you mean {near}?"),
            );
        return Err(Problem::new(start, format!("unknown clause `{word}`"))
            .help(help)
            .into());
    };
    cursor.expect_words(&clause.split(' ').collect::<Vec<_>>())?;
    if clauses.seen.contains(&clause) {
        let place = start.to(cursor.previous_span());
        return Err(Problem::new(place, format!("{clause} is given twice")).into());
    }
    clauses.seen.push(clause);
    match clause {
        "USING" => {
            let format = cursor.identifier("the format `iceberg`")?;
            if format.folded() != "iceberg" {
                return Err(Problem::new(format.span, "tables can only use iceberg").into());
            }
        }
        "PARTITIONED BY" => clauses.partitioning = partitioning(&mut cursor.parenthesised()?)?,
        "COMMENT" => clauses.comment = Some(cursor.string("the comment")?.node),
        "LOCATION" => clauses.location = Some(cursor.string("the location")?),
        "TBLPROPERTIES" => clauses.properties = properties(&mut cursor.parenthesised()?)?,
        _ => {
            clauses.query = Some(queries::query(cursor, ids)?);
            while !cursor.is_done() {
                cursor.advance();
            }
        }
    }
    Ok(())
}

type Elements = (Vec<Spanned<ColumnDef>>, Vec<Expectation>);

/// The columns and constraints between the parentheses after the name.
fn elements(inside: &mut Cursor<'_>) -> Result<Elements, Problem> {
    let mut columns = Vec::new();
    let mut expectations: Vec<Expectation> = Vec::new();
    loop {
        if inside.at_words(&["CONSTRAINT"]) {
            let expectation = expectation(inside)?;
            let name = &expectation.name;
            if expectations
                .iter()
                .any(|other| other.name.node == name.node)
            {
                let message = format!("constraint `{}` is declared twice", name.node);
                return Err(Problem::new(name.span, message));
            }
            expectations.push(expectation);
        } else {
            let column = types::column(inside, NameCase::Fold)?;
            types::push_unique(&mut columns, column)?;
        }
        if !inside.eat(&Token::Comma) {
            break;
        }
    }
    inside.expect_done("`,` or `)`")?;
    Ok((columns, expectations))
}

/// `CONSTRAINT name EXPECT (condition) [ON VIOLATION action]`.
fn expectation(cursor: &mut Cursor<'_>) -> Result<Expectation, Problem> {
    cursor.expect_words(&["CONSTRAINT"])?;
    let name = cursor.identifier("the name of the constraint")?;
    if !cursor.eat_words(&["EXPECT"]) {
        let help = cursor
            .word()
            .and_then(|word| suggest::did_you_mean(word, ["EXPECT"]));
        let help = help.unwrap_or("constraints are written as EXPECT (condition)".to_owned());
        return Err(cursor.unexpected("EXPECT").help(help));
    }
    let condition = queries::expression(&cursor.parenthesised()?, "a condition")?;
    let mut on_violation = OnViolation::Warn;
    if cursor.at_words(&["ON"]) {
        cursor.expect_words(&["ON", "VIOLATION"])?;
        if cursor.eat_words(&["DROP", "ROW"]) {
            on_violation = OnViolation::DropRow;
        } else if cursor.eat_words(&["FAIL", "UPDATE"]) {
            on_violation = OnViolation::FailUpdate;
        } else if cursor.eat_words(&["QUARANTINE"]) {
            let place = cursor.previous_span();
            return Err(Problem::unsupported(place, "ON VIOLATION QUARANTINE")
                .help("use DROP ROW or FAIL UPDATE"));
        } else {
            return Err(cursor
                .unexpected("DROP ROW or FAIL UPDATE")
                .help("without ON VIOLATION the rows are counted and kept"));
        }
    }
    let name = Spanned::new(name.folded(), name.span);
    Ok(Expectation {
        name,
        condition,
        on_violation,
    })
}

/// The transforms by their names, with the plural forms of Spark.
const TRANSFORMS: [&str; 11] = [
    "years", "year", "months", "month", "days", "day", "date", "hours", "hour", "bucket",
    "truncate",
];

fn partitioning(inside: &mut Cursor<'_>) -> Result<Vec<Spanned<PartitionField>>, Problem> {
    let mut fields: Vec<Spanned<PartitionField>> = Vec::new();
    loop {
        let field = partition_field(inside)?;
        if fields.iter().any(|other| other.node == field.node) {
            return Err(Problem::new(
                field.span,
                "this partition field is given twice",
            ));
        }
        fields.push(field);
        if !inside.eat(&Token::Comma) {
            break;
        }
    }
    inside.expect_done("`,` or `)`")?;
    Ok(fields)
}

fn partition_field(cursor: &mut Cursor<'_>) -> Result<Spanned<PartitionField>, Problem> {
    let name = cursor.identifier("a column or a transform")?;
    if *cursor.peek() != Token::LParen {
        let field = PartitionField {
            column: name.folded(),
            transform: Transform::Identity,
        };
        return Ok(Spanned::new(field, name.span));
    }
    let mut inside = cursor.parenthesised()?;
    let span = name.span.to(cursor.previous_span());
    let column = |cursor: &mut Cursor<'_>| cursor.identifier("a column").map(|c| c.folded());
    let (column, transform) = match name.folded().as_str() {
        "identity" => (column(&mut inside)?, Transform::Identity),
        "years" | "year" => (column(&mut inside)?, Transform::Year),
        "months" | "month" => (column(&mut inside)?, Transform::Month),
        "days" | "day" | "date" => (column(&mut inside)?, Transform::Day),
        "hours" | "hour" => (column(&mut inside)?, Transform::Hour),
        which @ ("bucket" | "truncate") => {
            let of_width = if which == "bucket" {
                Transform::Bucket
            } else {
                Transform::Truncate
            };
            let what = if which == "bucket" {
                "the number of buckets"
            } else {
                "the width"
            };
            let number_first = matches!(inside.peek(), Token::Number(..) | Token::Minus);
            let (column, width) = if number_first {
                let width = width(&mut inside, what)?;
                inside.expect(&Token::Comma)?;
                (column(&mut inside)?, width)
            } else {
                let column = column(&mut inside)?;
                if inside.is_done() {
                    let message = format!("{which} needs {what}");
                    let help = format!("write {which}(16, {column})");
                    return Err(Problem::new(span, message).help(help));
                }
                inside.expect(&Token::Comma)?;
                (column, width(&mut inside, what)?)
            };
            (column, of_width(width))
        }
        unknown => {
            let help = suggest::did_you_mean(unknown, TRANSFORMS).unwrap_or_else(|| {
                "the transforms are years, months, days, hours, bucket and truncate".to_owned()
            });
            let message = format!("unknown transform `{unknown}`");
            return Err(Problem::new(name.span, message).help(help));
        }
    };
    inside.expect_done("`)`")?;
    Ok(Spanned::new(PartitionField { column, transform }, span))
}

fn width(cursor: &mut Cursor<'_>, what: &str) -> Result<u32, Problem> {
    let start = cursor.span();
    let negative = cursor.eat(&Token::Minus);
    let number = cursor.integer(what)?;
    match i32::try_from(number.node) {
        Ok(width @ 1..) if !negative => Ok(width.unsigned_abs()),
        _ => Err(
            Problem::new(start.to(number.span), format!("{what} must be 1 or more"))
                .help("and at most 2147483647"),
        ),
    }
}

/// `'key' = 'value', …`. Keys may be dotted names, values numbers and booleans, as in Spark.
fn properties(inside: &mut Cursor<'_>) -> Result<BTreeMap<String, Spanned<String>>, Problem> {
    let mut properties = BTreeMap::new();
    loop {
        let key = match inside.peek() {
            Token::Word(_) => property_name(inside)?,
            _ => inside.string("the name of a property")?,
        };
        inside.expect(&Token::Eq)?;
        let value = property_value(inside)?;
        if properties.insert(key.node.clone(), value).is_some() {
            return Err(Problem::new(
                key.span,
                format!("property `{}` is set twice", key.node),
            ));
        }
        if !inside.eat(&Token::Comma) {
            break;
        }
    }
    inside.expect_done("`,` or `)`")?;
    Ok(properties)
}

fn property_name(cursor: &mut Cursor<'_>) -> Result<Spanned<String>, Problem> {
    let first = cursor.identifier("the name of a property")?;
    let mut span = first.span;
    let mut name = first.as_written().to_owned();
    while cursor.eat(&Token::Period) {
        let part = cursor.identifier("the next part of the name")?;
        span = span.to(part.span);
        name = format!("{name}.{}", part.as_written());
    }
    Ok(Spanned::new(name, span))
}

fn property_value(cursor: &mut Cursor<'_>) -> Result<Spanned<String>, Problem> {
    let span = cursor.span();
    let text = match cursor.peek() {
        Token::Number(text, _) => text.clone(),
        Token::Word(_) if cursor.at_words(&["TRUE"]) || cursor.at_words(&["FALSE"]) => {
            cursor.word().unwrap_or_default().to_lowercase()
        }
        _ => return cursor.string("the value of the property"),
    };
    cursor.advance();
    Ok(Spanned::new(text, span))
}

/// A comma-separated list of columns in parentheses or, where the grammar allows it, without.
pub(super) fn column_list(cursor: &mut Cursor<'_>) -> Result<Vec<Spanned<String>>, Problem> {
    let mut columns: Vec<Spanned<String>> = Vec::new();
    loop {
        let column = cursor.identifier("the name of a column")?;
        let name = column.folded();
        if columns.iter().any(|other| other.node == name) {
            return Err(Problem::new(
                column.span,
                format!("column `{name}` is named twice"),
            ));
        }
        columns.push(Spanned::new(name, column.span));
        if !cursor.eat(&Token::Comma) {
            return Ok(columns);
        }
    }
}

/// A list of columns in parentheses.
pub(super) fn parenthesised_columns(
    cursor: &mut Cursor<'_>,
) -> Result<Vec<Spanned<String>>, Problem> {
    let start: Span = cursor.span();
    let mut inside = cursor.parenthesised()?;
    if inside.is_done() {
        let place = start.to(cursor.previous_span());
        return Err(Problem::new(place, "at least one column must be named"));
    }
    let columns = column_list(&mut inside)?;
    inside.expect_done("`,` or `)`")?;
    Ok(columns)
}
