//! `CREATE FLOW`, with the clauses of AUTO CDC.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::ast::{
    AutoCdcDefinition, ColumnSelection, FlowDefinition, Query, ScdType, SqlExpr, TableName,
    WriteDefinition,
};
use super::cursor::Cursor;
use super::diagnostics::{Problem, Span, Spanned};
use super::fingerprint::Fingerprint;
use super::queries::{self, SourceIds};
use super::statements::{Failure, column_list, parenthesised_columns};
use super::suggest;

/// The clauses of AUTO CDC by the words that they start with.
const CLAUSES: [&str; 8] = [
    "KEYS",
    "IGNORE NULL UPDATES",
    "APPLY AS DELETE WHEN",
    "APPLY AS TRUNCATE WHEN",
    "SEQUENCE BY",
    "COLUMNS",
    "STORED AS SCD TYPE",
    "TRACK HISTORY ON",
];

fn at_clause(cursor: &Cursor<'_>) -> bool {
    CLAUSES.iter().any(|clause| {
        // Two words tell each clause from columns of the same name.
        let words: Vec<&str> = clause.split(' ').take(2).collect();
        cursor.at_words(&words)
    })
}

/// What follows `CREATE FLOW`.
pub(super) fn flow(
    cursor: &mut Cursor<'_>,
    ids: &mut SourceIds,
) -> Result<FlowDefinition, Failure> {
    let name = cursor.table_name("the name of the flow")?;
    let name = Spanned::new(name.node.to_string(), name.span);
    if cursor.eat_words(&["COMMENT"]) {
        cursor.string("the comment")?;
    }
    cursor.expect_words(&["AS"])?;
    let fingerprint = Fingerprint::of_tokens(cursor.rest());
    if cursor.eat_words(&["AUTO", "CDC"]) || cursor.eat_words(&["APPLY", "CHANGES"]) {
        let (target, query, write) = auto_cdc(cursor, ids)?;
        return Ok(FlowDefinition {
            name,
            target,
            query,
            write,
            fingerprint,
        });
    }
    if !cursor.eat_words(&["INSERT"]) {
        let word = cursor.word().unwrap_or_default();
        let help = match suggest::nearest(word, ["INSERT", "AUTO", "APPLY"]) {
            Some("INSERT") => Some("did you mean INSERT INTO?".to_owned()),
            Some(_) => Some("did you mean AUTO CDC?".to_owned()),
            None => None,
        };
        return Err(cursor
            .unexpected("INSERT INTO or AUTO CDC INTO")
            .maybe_help(help)
            .into());
    }
    cursor.expect_words(&["INTO"])?;
    let target = cursor.table_name("the name of the target table")?;
    if !cursor.eat_words(&["BY", "NAME"]) {
        return Err(cursor
            .unexpected("BY NAME")
            .help("columns are matched by name: INSERT INTO target BY NAME SELECT …")
            .into());
    }
    let query = queries::query(cursor, ids)?;
    Ok(FlowDefinition {
        name,
        target,
        query,
        write: WriteDefinition::Append,
        fingerprint,
    })
}

/// The clauses met so far.
#[derive(Default)]
struct Clauses {
    seen: Vec<&'static str>,
    keys: Vec<Spanned<String>>,
    sequence_by: Option<SqlExpr>,
    columns: Option<ColumnSelection>,
    delete_when: Option<SqlExpr>,
    ignore_null_updates: Option<Span>,
    scd_type: Option<Spanned<ScdType>>,
    track_history: Option<Spanned<ColumnSelection>>,
}

fn auto_cdc(
    cursor: &mut Cursor<'_>,
    ids: &mut SourceIds,
) -> Result<(Spanned<TableName>, Query, WriteDefinition), Failure> {
    let start = cursor.previous_span();
    cursor.expect_words(&["INTO"])?;
    let target = cursor.table_name("the name of the target table")?;
    cursor.expect_words(&["FROM"])?;
    let source = cursor.take_until(at_clause);
    let query = source_query(&source, ids)?;
    let mut clauses = Clauses::default();
    while !cursor.is_done() {
        clause(cursor, &mut clauses)?;
    }
    // What is missing has no place of its own: the target's flow is the nearest.
    let place = start.to(target.span);
    if clauses.keys.is_empty() {
        return Err(Problem::new(place, "AUTO CDC needs KEYS")
            .help("name the columns that identify a row: KEYS (id)")
            .into());
    }
    let Some(sequence_by) = clauses.sequence_by else {
        return Err(Problem::new(place, "AUTO CDC needs SEQUENCE BY")
            .help("name the column that tells which of two changes is the newer")
            .into());
    };
    let write = WriteDefinition::AutoCdc(Box::new(AutoCdcDefinition {
        keys: clauses.keys,
        sequence_by,
        columns: clauses.columns.unwrap_or(ColumnSelection::All),
        delete_when: clauses.delete_when,
        ignore_null_updates: clauses.ignore_null_updates,
        scd_type: clauses
            .scd_type
            .as_ref()
            .map_or(ScdType::Type1, |scd_type| scd_type.node),
        scd_type_span: clauses.scd_type.map(|scd_type| scd_type.span),
        track_history: clauses.track_history,
    }));
    Ok((target, query, write))
}

/// The source, which must be one table, view or function.
fn source_query(source: &Cursor<'_>, ids: &mut SourceIds) -> Result<Query, Failure> {
    // Only what can follow FROM directly: a misspelt clause would otherwise be read as an alias.
    let mut rest = *source;
    let stream = rest.eat_words(&["STREAM"]);
    if stream && *rest.peek() == Token::LParen {
        rest.parenthesised()?;
    } else {
        rest.table_name("STREAM(…), the changes to apply")?;
        if *rest.peek() == Token::LParen {
            rest.parenthesised()?;
        }
    }
    if !rest.is_done() {
        return Err(unknown_clause(&rest).into());
    }
    if !stream {
        return Err(
            Problem::new(source.rest_span(), "AUTO CDC reads its source as a stream")
                .help("write FROM STREAM(…)")
                .into(),
        );
    }
    Ok(queries::source_only(source, ids)?)
}

fn unknown_clause(cursor: &Cursor<'_>) -> Problem {
    let Some(word) = cursor.word() else {
        return cursor.unexpected("a clause of AUTO CDC");
    };
    let first_words = CLAUSES.map(|clause| clause.split(' ').next().unwrap_or_default());
    let help = suggest::nearest(word, first_words)
        .and_then(|near| CLAUSES.iter().find(|clause| clause.starts_with(near)))
        .map_or_else(
            || format!("the clauses are {}", CLAUSES.join(", ")),
            |near| format!("did you mean {near}?"),
        );
    Problem::new(
        cursor.span(),
        format!("unknown clause `{word}` of AUTO CDC"),
    )
    .help(help)
}

fn clause(cursor: &mut Cursor<'_>, clauses: &mut Clauses) -> Result<(), Problem> {
    let start = cursor.span();
    let found = CLAUSES.iter().copied().find(|clause| {
        let words: Vec<&str> = clause.split(' ').collect();
        cursor.at_words(&words)
    });
    let Some(clause) = found else {
        // The beginning of a clause with something wrong further on says more than "unknown".
        let begun = CLAUSES.iter().find(|clause| {
            clause
                .split(' ')
                .next()
                .is_some_and(|word| cursor.at_words(&[word]))
        });
        return Err(match begun {
            Some(clause) => {
                let words: Vec<&str> = clause.split(' ').collect();
                match cursor.expect_words(&words) {
                    Err(problem) => problem,
                    Ok(_) => unknown_clause(cursor),
                }
            }
            None => unknown_clause(cursor),
        });
    };
    cursor.expect_words(&clause.split(' ').collect::<Vec<_>>())?;
    let place = start.to(cursor.previous_span());
    if clauses.seen.contains(&clause) {
        return Err(Problem::new(place, format!("{clause} is given twice")));
    }
    clauses.seen.push(clause);
    match clause {
        "KEYS" => clauses.keys = parenthesised_columns(cursor)?,
        "IGNORE NULL UPDATES" => clauses.ignore_null_updates = Some(place),
        "APPLY AS DELETE WHEN" => {
            let condition = cursor.take_until(at_clause);
            clauses.delete_when = Some(queries::expression(&condition, "a condition")?);
        }
        "APPLY AS TRUNCATE WHEN" => return Err(Problem::unsupported(place, clause)),
        "SEQUENCE BY" => {
            let sequence = cursor.take_until(at_clause);
            clauses.sequence_by = Some(queries::expression(&sequence, "a column")?);
        }
        "COLUMNS" => clauses.columns = Some(column_selection(cursor)?),
        "STORED AS SCD TYPE" => {
            let number = cursor.integer("1 or 2")?;
            let scd_type = match number.node {
                1 => ScdType::Type1,
                2 => ScdType::Type2,
                _ => return Err(Problem::new(number.span, "the SCD types are 1 and 2")),
            };
            clauses.scd_type = Some(Spanned::new(scd_type, place.to(number.span)));
        }
        _ => {
            let columns = column_selection(cursor)?;
            clauses.track_history = Some(Spanned::new(columns, place));
        }
    }
    Ok(())
}

/// `a, b`, `(a, b)` or `* EXCEPT (a, b)`.
fn column_selection(cursor: &mut Cursor<'_>) -> Result<ColumnSelection, Problem> {
    if cursor.eat(&Token::Mul) {
        return if cursor.eat_words(&["EXCEPT"]) {
            parenthesised_columns(cursor).map(ColumnSelection::AllExcept)
        } else {
            Ok(ColumnSelection::All)
        };
    }
    if *cursor.peek() == Token::LParen {
        parenthesised_columns(cursor).map(ColumnSelection::Only)
    } else {
        column_list(cursor).map(ColumnSelection::Only)
    }
}
