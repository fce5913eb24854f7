//! Queries: what they read, and the same query on plain tables.
//!
//! `STREAM x` and `STREAM read_files(…)` are no SQL, so parentheses are put around the operand
//! first; `STREAM(…)` then parses as a table function. In the syntax tree every table, stream and
//! source function becomes a generated name, under the alias that the rest of the query knows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self as sql, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    ObjectNamePart, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned as _,
    TableAlias, TableFactor, Visit as _, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::ast::{Query, ReadKind, Source, SourceRef, SqlExpr, TableName, fold};
use super::cursor::Cursor;
use super::diagnostics::{FileId, Problem, Span};
use super::fingerprint::Fingerprint;
use super::functions;
use super::lexer::{DIALECT, span_of, to_sql_span};
use super::places::{self, Places};
use super::{shape, streams, suggest};

/// Hands out the names of sources, unique within a project.
#[derive(Debug, Default)]
pub(super) struct SourceIds(usize);

impl SourceIds {
    fn next(&mut self) -> String {
        let id = format!("__source_{}", self.0);
        self.0 += 1;
        id
    }
}

/// Reads the rest of the cursor as a query.
///
/// # Errors
/// With everything that is wrong with it.
pub(super) fn query(cursor: &Cursor<'_>, ids: &mut SourceIds) -> Result<Query, Vec<Problem>> {
    let start = cursor.word().unwrap_or_default();
    let opens = ["SELECT", "WITH", "VALUES"]
        .iter()
        .any(|word| start.eq_ignore_ascii_case(word));
    if !opens && *cursor.peek() != Token::LParen {
        let help = suggest::did_you_mean(start, ["SELECT", "WITH"]);
        return Err(vec![cursor.unexpected("SELECT").maybe_help(help)]);
    }
    misplaced_clause(cursor)?;
    read(cursor, cursor.rest().to_vec(), ids)
}

/// Reads `STREAM(source)` of AUTO CDC as `SELECT *` from it.
///
/// # Errors
/// With everything that is wrong with it.
pub(super) fn source_only(cursor: &Cursor<'_>, ids: &mut SourceIds) -> Result<Query, Vec<Problem>> {
    if cursor.is_done() {
        return Err(vec![cursor.unexpected("STREAM(…)")]);
    }
    let start = to_sql_span(Span::new(
        cursor.file(),
        cursor.span().start,
        cursor.span().start,
    ));
    let mut tokens: Vec<TokenWithSpan> = [
        Token::make_keyword("SELECT"),
        Token::Mul,
        Token::make_keyword("FROM"),
    ]
    .map(|token| TokenWithSpan::new(token, start))
    .into();
    tokens.extend_from_slice(cursor.rest());
    read(cursor, tokens, ids)
}

/// Clauses of the table that were written after its query, where they would be read as aliases.
fn misplaced_clause(cursor: &Cursor<'_>) -> Result<(), Vec<Problem>> {
    let clause = |cursor: &Cursor<'_>| {
        cursor.at_words(&["PARTITIONED", "BY"])
            || (cursor.at_words(&["TBLPROPERTIES"]) && *cursor.peek_at(1) == Token::LParen)
    };
    let mut rest = *cursor;
    rest.take_until(clause);
    match rest.word() {
        Some(word) => {
            let by = if rest.at_words(&["PARTITIONED"]) {
                " BY"
            } else {
                ""
            };
            let message = format!("{}{by} must stand before AS", word.to_uppercase());
            let help = "the query is the last part of the statement";
            Err(vec![Problem::new(rest.span(), message).help(help)])
        }
        None => Ok(()),
    }
}

fn read(
    cursor: &Cursor<'_>,
    tokens: Vec<TokenWithSpan>,
    ids: &mut SourceIds,
) -> Result<Query, Vec<Problem>> {
    let file = cursor.file();
    let whole = cursor.rest_span();
    let fingerprint = Fingerprint::of_tokens(&tokens);
    let tokens = streams::parenthesise(file, tokens).map_err(|problem| vec![problem])?;
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(tokens.clone());
    let parsed = parser
        .parse_query()
        .map_err(|error| vec![parse_problem(error, cursor, "query")])?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let place = span_of(file, next.span).unwrap_or(whole);
        let message = format!("unexpected `{}` in this query", next.token);
        return Err(vec![Problem::new(place, message)]);
    }
    let mut parsed = *parsed;
    let mut found = Vec::new();
    if writes(&parsed.body) {
        return Err(vec![Problem::new(
            whole,
            "only SELECT queries can stand here",
        )]);
    }
    let mut sources = Sources {
        file,
        tokens: &tokens,
        whole,
        ids,
        scopes: Vec::new(),
        sources: Vec::new(),
        shortened: BTreeMap::new(),
        found: &mut found,
    };
    let _ = VisitMut::visit(&mut parsed, &mut sources);
    let Sources {
        sources, shortened, ..
    } = sources;
    if !shortened.is_empty() {
        let _ = VisitMut::visit(
            &mut parsed,
            &mut Qualifiers {
                shortened: &shortened,
            },
        );
    }
    let streams: Vec<(String, Span)> = sources
        .iter()
        .filter(|source| source.kind == ReadKind::Stream)
        .map(|source| (source.id.clone(), source.span))
        .collect();
    if !streams.is_empty() {
        found.extend(shape::check(&parsed, &streams, &tokens, whole));
    }
    if found.is_empty() {
        let sql = parsed.to_string();
        let places = Places::of(file, &parsed, places::query(&sql));
        Ok(Query {
            sql,
            sources,
            fingerprint,
            span: whole,
            places,
        })
    } else {
        Err(found)
    }
}

/// Reads all tokens of the cursor as a scalar expression over the columns of one row.
///
/// # Errors
/// When they are none, or look beyond the row.
pub(super) fn expression(cursor: &Cursor<'_>, what: &str) -> Result<SqlExpr, Problem> {
    if cursor.is_done() {
        return Err(cursor.unexpected(what));
    }
    let span = cursor.rest_span();
    let mut parser = Parser::new(&DIALECT).with_tokens_with_locations(cursor.rest().to_vec());
    let expr = parser
        .parse_expr()
        .map_err(|error| parse_problem(error, cursor, "expression"))?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let place = span_of(cursor.file(), next.span).unwrap_or(span);
        let message = format!("unexpected `{}` in this expression", next.token);
        return Err(Problem::new(place, message));
    }
    let mut row = OneRow {
        file: cursor.file(),
        whole: span,
    };
    if let ControlFlow::Break(problem) = expr.visit(&mut row) {
        return Err(*problem);
    }
    let column = match &expr {
        Expr::Identifier(ident) => Some(fold(&ident.value, ident.quote_style.is_some())),
        _ => None,
    };
    Ok(SqlExpr {
        sql: expr.to_string(),
        column,
        fingerprint: Fingerprint::of_tokens(cursor.rest()),
        span,
    })
}

/// Turns sqlparser's message back into a message and a place.
fn parse_problem(error: ParserError, cursor: &Cursor<'_>, what: &str) -> Problem {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => "this is nested too deeply".to_owned(),
    };
    let (message, column) = match message.rsplit_once(" at Line: 1, Column: ") {
        Some((message, column)) => (message.to_owned(), column.parse::<u64>().ok()),
        None => (message, None),
    };
    let place = column.and_then(|column| {
        cursor
            .rest()
            .iter()
            .find(|token| token.span.start == Location { line: 1, column })
    });
    let place = match place.and_then(|token| span_of(cursor.file(), token.span)) {
        Some(place) => place,
        None if message.contains("found: EOF") => cursor.end(),
        None => cursor.rest_span(),
    };
    let message = message
        .replace("Expected: ", "expected ")
        .replace("found: EOF", "found its end");
    let message = message.replace("found: ", "found ");
    Problem::new(place, format!("this {what} cannot be read: {message}"))
}

fn writes(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.into.is_some(),
        SetExpr::Query(query) => writes(&query.body),
        SetExpr::SetOperation { left, right, .. } => writes(left) || writes(right),
        SetExpr::Values(_) => false,
        _ => true,
    }
}

/// Common table expressions of one query, which hide tables of the same name.
struct Scope {
    names: Vec<String>,
    /// How many of them have been visited; the first parts of a query are their queries.
    visited: usize,
    recursive: bool,
}

impl Scope {
    /// The names that can be used now: those declared before the place.
    fn visible(&self) -> &[String] {
        let end = if self.recursive {
            self.names.len()
        } else {
            self.visited
        };
        self.names.get(..end).unwrap_or_default()
    }
}

/// Collects the sources of a query and puts their ids in their places.
struct Sources<'a> {
    file: FileId,
    tokens: &'a [TokenWithSpan],
    whole: Span,
    ids: &'a mut SourceIds,
    scopes: Vec<Scope>,
    sources: Vec<Source>,
    /// Qualified names that are now known by their last part only.
    shortened: BTreeMap<TableName, Ident>,
    found: &'a mut Vec<Problem>,
}

impl VisitorMut for Sources<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut sql::Query) -> ControlFlow<()> {
        let with = query.with.as_ref();
        let names = with.map_or_else(Vec::new, |with| {
            let name = |ident: &Ident| fold(&ident.value, ident.quote_style.is_some());
            with.cte_tables
                .iter()
                .map(|cte| name(&cte.alias.name))
                .collect()
        });
        let recursive = with.is_some_and(|with| with.recursive);
        self.scopes.push(Scope {
            names,
            visited: 0,
            recursive,
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut sql::Query) -> ControlFlow<()> {
        self.scopes.pop();
        if let Some(outer) = self.scopes.last_mut() {
            outer.visited = (outer.visited + 1).min(outer.names.len());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            sample: Some(_), ..
        }
        | TableFactor::Derived {
            sample: Some(_), ..
        } = factor
        {
            // The engine passes it over and would read all rows.
            let start = span_of(self.file, factor.span()).unwrap_or(self.whole);
            let mut words = self.tokens.iter().filter_map(|token| match &token.token {
                Token::Word(word) if word.value.eq_ignore_ascii_case("TABLESAMPLE") => {
                    span_of(self.file, token.span).filter(|span| span.start >= start.start)
                }
                _ => None,
            });
            let place = words.next().unwrap_or(start);
            let problem = Problem::unsupported(place, "TABLESAMPLE");
            self.found
                .push(problem.help("filter by a column, for instance by a hash of the key"));
        }
        let TableFactor::Table {
            name,
            alias,
            args,
            version,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let place = span_of(self.file, name.span()).unwrap_or(self.whole);
        if version.is_some() {
            self.found.push(Problem::unsupported(
                place,
                "reading an older version in a pipeline",
            ));
        }
        let arguments = args.take();
        let resolved = match &arguments {
            None => self
                .table(name, place)
                .map(|table| (ReadKind::Batch, table, place)),
            Some(arguments) => self.call(name, &arguments.args, place),
        };
        let Some((kind, read, span)) = resolved else {
            *args = arguments;
            return ControlFlow::Continue(());
        };
        let id = self.ids.next();
        let last = match &read {
            Read::Table(_, last) => Some(last.clone()),
            Read::Function(_) => None,
        };
        if let (None, Some(last)) = (&alias, last) {
            if let Read::Table(table, _) = &read
                && table.is_qualified()
            {
                self.shortened.insert(table.clone(), last.clone());
            }
            *alias = Some(TableAlias {
                explicit: true,
                name: last,
                columns: vec![],
                at: None,
            });
        }
        let generated = Ident::with_span(to_sql_span(span), id.clone());
        *name = ObjectName(vec![ObjectNamePart::Identifier(generated)]);
        let from = match read {
            Read::Table(table, _) => SourceRef::Table(table),
            Read::Function(function) => SourceRef::Function(function),
        };
        self.sources.push(Source {
            id,
            kind,
            from,
            span,
        });
        ControlFlow::Continue(())
    }
}

/// What a place in FROM reads; a table with the identifier that its columns are qualified by.
enum Read {
    Table(TableName, Ident),
    Function(super::ast::SourceFunction),
}

impl Sources<'_> {
    /// A name without arguments: a table, unless a common table expression has that name.
    fn table(&mut self, name: &ObjectName, place: Span) -> Option<Read> {
        let idents: Option<Vec<&Ident>> = name.0.iter().map(ObjectNamePart::as_ident).collect();
        let Some([first, rest @ ..]) = idents.as_deref() else {
            self.found
                .push(Problem::new(place, "this is not the name of a table"));
            return None;
        };
        let part = |ident: &Ident| fold(&ident.value, ident.quote_style.is_some());
        let mut table = TableName::new(part(first));
        for ident in rest {
            table.push(part(ident));
        }
        let hidden = !table.is_qualified()
            && self
                .scopes
                .iter()
                .any(|scope| scope.visible().iter().any(|n| n == table.name()));
        let last = rest.last().unwrap_or(first);
        (!hidden).then(|| Read::Table(table, (*last).clone()))
    }

    /// A name with arguments: STREAM, a source function, or a table function of the engine.
    fn call(
        &mut self,
        name: &ObjectName,
        arguments: &[FunctionArg],
        place: Span,
    ) -> Option<(ReadKind, Read, Span)> {
        let called = last_part(name);
        if called.eq_ignore_ascii_case("stream") && name.0.len() == 1 {
            return self.stream(arguments, place);
        }
        if let Some(spec) = functions::find(&called).filter(|_| name.0.len() == 1) {
            let function = functions::check(spec, place, arguments, self.found);
            return Some((ReadKind::Batch, Read::Function(function), place));
        }
        self.unknown_function(&called, place);
        None
    }

    /// Reports names that look like source functions but are none; others are the engine's.
    fn unknown_function(&mut self, called: &str, place: Span) -> bool {
        let known = functions::FUNCTIONS.iter().map(|spec| spec.name);
        let near = suggest::nearest(called, known.clone().chain(["STREAM"]));
        let wrong = near.is_some() || called.to_lowercase().starts_with("read_");
        if wrong {
            let help = near
                .map(|near| format!("did you mean {near}?"))
                .unwrap_or_else(|| {
                    format!(
                        "the source functions are {}",
                        known.collect::<Vec<_>>().join(", ")
                    )
                });
            let message = format!("unknown source function `{called}`");
            self.found.push(Problem::new(place, message).help(help));
        }
        wrong
    }

    fn stream(&mut self, arguments: &[FunctionArg], place: Span) -> Option<(ReadKind, Read, Span)> {
        let expr = match arguments {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => expr,
            _ => {
                let message = "STREAM takes one table or source function";
                self.found.push(Problem::new(place, message));
                return None;
            }
        };
        let operand = span_of(self.file, expr.span()).unwrap_or(place);
        let span = place.to(operand);
        let name = match expr {
            Expr::Identifier(ident) => ObjectName(vec![ObjectNamePart::Identifier(ident.clone())]),
            Expr::CompoundIdentifier(idents) => ObjectName(
                idents
                    .iter()
                    .cloned()
                    .map(ObjectNamePart::Identifier)
                    .collect(),
            ),
            Expr::Function(function) => {
                let called = last_part(&function.name);
                let place = span_of(self.file, function.name.span()).unwrap_or(operand);
                let Some(spec) = functions::find(&called) else {
                    if !self.unknown_function(&called, place) {
                        let message = format!("`{called}` cannot be read as a stream");
                        self.found.push(Problem::new(place, message));
                    }
                    return None;
                };
                let arguments = match &function.args {
                    FunctionArguments::List(list) => list.args.as_slice(),
                    _ => &[],
                };
                let call = functions::check(spec, place, arguments, self.found);
                return Some((ReadKind::Stream, Read::Function(call), span));
            }
            _ => {
                let message = "STREAM takes a table or a source function, not an expression";
                self.found.push(Problem::new(operand, message));
                return None;
            }
        };
        match self.table(&name, operand) {
            Some(read) => Some((ReadKind::Stream, read, span)),
            None => {
                let message = "STREAM cannot be applied to a common table expression";
                self.found.push(
                    Problem::new(span, message).help("write STREAM inside the expression instead"),
                );
                None
            }
        }
    }
}

fn last_part(name: &ObjectName) -> String {
    name.0
        .last()
        .and_then(ObjectNamePart::as_ident)
        .map_or_else(String::new, |i| i.value.clone())
}

/// Columns qualified by the full name of a table are qualified by its last part from now on.
struct Qualifiers<'a> {
    shortened: &'a BTreeMap<TableName, Ident>,
}

impl Qualifiers<'_> {
    fn find(&self, qualifier: &[Ident]) -> Option<&Ident> {
        let [first, rest @ ..] = qualifier else {
            return None;
        };
        let part = |ident: &Ident| fold(&ident.value, ident.quote_style.is_some());
        let mut name = TableName::new(part(first));
        for ident in rest {
            name.push(part(ident));
        }
        self.shortened.get(&name)
    }
}

impl VisitorMut for Qualifiers<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(idents) = expr {
            // The longest qualifier wins; what follows the column are fields of a struct.
            for length in (2..idents.len()).rev() {
                let qualifier = idents.get(..length).unwrap_or_default();
                if let Some(last) = self.find(qualifier).cloned() {
                    idents.splice(..length, [last]);
                    break;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                _,
            ) = item
            {
                let idents: Option<Vec<Ident>> =
                    name.0.iter().map(|part| part.as_ident().cloned()).collect();
                if let Some(last) = idents.and_then(|idents| self.find(&idents).cloned()) {
                    *name = ObjectName(vec![ObjectNamePart::Identifier(last)]);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Refuses subqueries, aggregates and window functions.
struct OneRow {
    file: FileId,
    whole: Span,
}

impl Visitor for OneRow {
    type Break = Box<Problem>;

    fn pre_visit_query(&mut self, query: &sql::Query) -> ControlFlow<Self::Break> {
        let place = span_of(self.file, query.span()).unwrap_or(self.whole);
        ControlFlow::Break(Box::new(Problem::new(
            place,
            "a subquery cannot stand here: the expression is computed from one row",
        )))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match shape::many_row_call(expr) {
            Some((place, what)) => {
                let place = span_of(self.file, place).unwrap_or(self.whole);
                let message =
                    format!("{what} cannot stand here: the expression is computed from one row");
                ControlFlow::Break(Box::new(Problem::new(place, message)))
            }
            None => ControlFlow::Continue(()),
        }
    }
}
