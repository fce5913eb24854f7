//! Whether a streaming query gives the same rows however its input is cut into batches.
//!
//! A streaming query is run on the new rows of its stream alone. That equals a run on all rows
//! only if each result row follows from one row of the stream: no aggregation, no order, and no
//! operation that also emits rows of the other side.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::sql::sqlparser::ast::{
    self as sql, Expr, GroupByExpr, JoinOperator, ObjectName, Query, Select, SetExpr, Spanned as _,
    TableFactor, TableWithJoins, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Span as SqlSpan, Token, TokenWithSpan};

use super::ast::fold;
use super::diagnostics::{FileId, Problem, Span};
use super::lexer::span_of;

const BATCHES: &str = "the result would depend on how the stream is cut into batches";
const USE_VIEW: &str = "compute it in a materialized view that reads the streaming table";

/// Functions that turn many rows into one: those of the engine under all their names, so that none of a
/// newer engine is forgotten, and [`MORE_AGGREGATES`].
static AGGREGATES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let mut names: BTreeSet<String> = MORE_AGGREGATES.iter().map(|name| (*name).into()).collect();
    for function in all_default_aggregate_functions() {
        names.insert(function.name().to_lowercase());
        names.extend(function.aliases().iter().map(|name| name.to_lowercase()));
    }
    names
});

/// Aggregates of Spark and of other engines, which ours has under another name, or not at all: the
/// message about a stream says more than that there is no such function.
const MORE_AGGREGATES: &[&str] = &[
    "any",
    "any_value",
    "approx_count_distinct",
    "approx_distinct",
    "approx_median",
    "approx_percentile",
    "approx_percentile_cont",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "collect_list",
    "collect_set",
    "corr",
    "count",
    "count_if",
    "covar",
    "covar_pop",
    "covar_samp",
    "every",
    "first",
    "first_value",
    "grouping",
    "kurtosis",
    "last",
    "last_value",
    "listagg",
    "max",
    "max_by",
    "mean",
    "median",
    "min",
    "min_by",
    "mode",
    "nth_value",
    "percentile",
    "percentile_approx",
    "percentile_cont",
    "percentile_disc",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "skewness",
    "some",
    "std",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "try_avg",
    "try_sum",
    "var",
    "var_pop",
    "var_samp",
    "variance",
];

/// Checks a query in which the tables of `streams` stand for streams.
pub(super) fn check(
    query: &Query,
    streams: &[(String, Span)],
    tokens: &[TokenWithSpan],
    whole: Span,
) -> Vec<Problem> {
    let mut shape = Shape {
        streams,
        tokens,
        whole,
        ctes: Vec::new(),
        in_expressions: 0,
        found: Vec::new(),
    };
    let count = shape.query(query);
    if streams.len() > 1 || (count > 0 && count + shape.in_expressions > 1) {
        let place = streams.last().map_or(whole, |(_, span)| *span);
        let (what, help) = if streams.len() > 1 {
            let help = "read the other one without STREAM, or write one flow for each";
            ("more than one stream in a query", help)
        } else {
            let help = "the common table expression around it may be named once in FROM";
            ("a stream that is read more than once", help)
        };
        shape
            .found
            .push(Problem::unsupported(place, what).help(help));
    } else if count == 0 {
        // The rows of the query come from elsewhere, and would come again with every batch.
        for (_, span) in streams {
            let message = format!("a stream cannot be read here: {BATCHES}");
            let help = "a stream stands in FROM of the query itself, or of a subquery or a common \
                        table expression that is named there";
            shape.found.push(Problem::new(*span, message).help(help));
        }
    }
    shape.found
}

struct Shape<'a> {
    streams: &'a [(String, Span)],
    tokens: &'a [TokenWithSpan],
    whole: Span,
    /// The common table expressions in scope and how many streams each reads.
    ctes: Vec<(String, usize)>,
    /// How many streams subqueries outside of FROM read.
    in_expressions: usize,
    found: Vec<Problem>,
}

impl Shape<'_> {
    fn file(&self) -> FileId {
        self.whole.file
    }

    fn place(&self, span: SqlSpan) -> Span {
        span_of(self.file(), span).unwrap_or(self.whole)
    }

    fn reject(&mut self, place: Span, what: &str) {
        let message = format!("{what} cannot be used on a stream: {BATCHES}");
        self.found.push(Problem::new(place, message).help(USE_VIEW));
    }

    /// The last `word` that stands before `at`, to point at a keyword without a position.
    fn keyword_before(&self, word: &str, at: Span) -> Span {
        let before = self
            .tokens
            .iter()
            .rev()
            .filter_map(|token| match &token.token {
                Token::Word(found) if found.value.eq_ignore_ascii_case(word) => {
                    span_of(self.file(), token.span)
                }
                _ => None,
            });
        before
            .filter(|span| span.start <= at.start)
            .map(|span| span.to(at))
            .next()
            .unwrap_or(at)
    }

    /// The first `word` that stands after `at`.
    fn keyword_after(&self, word: &str, at: Span) -> Span {
        let mut after = self.tokens.iter().filter_map(|token| match &token.token {
            Token::Word(found) if found.value.eq_ignore_ascii_case(word) => {
                span_of(self.file(), token.span).filter(|span| span.start >= at.start)
            }
            _ => None,
        });
        after.next().unwrap_or(at)
    }

    /// How many streams the query reads in places where that is sound.
    fn query(&mut self, query: &Query) -> usize {
        let scope = self.ctes.len();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let count = self.query(&cte.query);
            let name = fold(&cte.alias.name.value, cte.alias.name.quote_style.is_some());
            self.ctes.push((name, count));
        }
        let count = self.body(&query.body);
        self.ctes.truncate(scope);
        if count == 0 {
            return 0;
        }
        let body = self.place(query.body.span());
        if let Some(order) = &query.order_by {
            let place = self.keyword_before("ORDER", self.place(order.span()));
            self.reject(place, "ORDER BY");
        }
        if query.limit_clause.is_some() {
            let place = self.keyword_after("LIMIT", Span::new(body.file, body.end, body.end));
            self.reject(place, "LIMIT");
        }
        if query.fetch.is_some() {
            let place = self.keyword_after("FETCH", Span::new(body.file, body.end, body.end));
            self.reject(place, "FETCH");
        }
        count
    }

    fn body(&mut self, body: &SetExpr) -> usize {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::Values(values) => {
                self.subqueries(values);
                0
            }
            SetExpr::SetOperation {
                left, op, right, ..
            } => {
                let (left_count, right_count) = (self.body(left), self.body(right));
                // Two streams are told elsewhere; here the trouble is the other branch.
                if left_count + right_count == 1 {
                    let place = self.place(body.span());
                    let place = self.keyword_after(&op.to_string(), place);
                    let message = format!(
                        "{op} of a stream with something else: the rows of the other branch would \
                         come again with every batch"
                    );
                    let help = "write one flow for each branch";
                    self.found.push(Problem::new(place, message).help(help));
                }
                left_count + right_count
            }
            _ => 0,
        }
    }

    fn select(&mut self, select: &Select) -> usize {
        let count = select.from.iter().map(|table| self.joins(table)).sum();
        self.subqueries(&select.projection);
        self.subqueries(&select.selection);
        self.subqueries(&select.having);
        self.subqueries(&select.qualify);
        if count == 0 {
            return 0;
        }
        let start = self.place(select.select_token.0.span);
        if select.distinct.is_some() {
            let place = self.keyword_after("DISTINCT", start);
            self.reject(place, "DISTINCT");
        }
        if select.top.is_some() {
            let place = self.keyword_after("TOP", start);
            self.reject(place, "TOP");
        }
        match &select.group_by {
            GroupByExpr::All(_) => {
                let place = self.keyword_after("GROUP", start);
                self.reject(place, "GROUP BY");
            }
            GroupByExpr::Expressions(exprs, _) => {
                if let Some(first) = exprs.first() {
                    let place = self.keyword_before("GROUP", self.place(first.span()));
                    self.reject(place, "GROUP BY");
                }
            }
        }
        let mut calls = Calls {
            depth: 0,
            file: self.file(),
            whole: self.whole,
            found: Vec::new(),
        };
        let _ = select.projection.visit(&mut calls);
        let _ = select.having.visit(&mut calls);
        let _ = select.qualify.visit(&mut calls);
        let grouped = calls.found.is_empty();
        if let Some(having) = select.having.as_ref().filter(|_| grouped) {
            let place = self.keyword_before("HAVING", self.place(having.span()));
            self.reject(place, "HAVING");
        }
        for (place, what) in calls.found {
            self.reject(place, &what);
        }
        for sort in select.sort_by.iter().take(1) {
            let place = self.keyword_before("SORT", self.place(sort.span()));
            self.reject(place, "SORT BY");
        }
        count
    }

    fn joins(&mut self, table: &TableWithJoins) -> usize {
        let mut left = self.factor(&table.relation);
        for join in &table.joins {
            let right = self.factor(&join.relation);
            self.subqueries(&join.join_operator);
            let (keeps_left, keeps_right) = match &join.join_operator {
                JoinOperator::Join(_)
                | JoinOperator::Inner(_)
                | JoinOperator::CrossJoin(_)
                | JoinOperator::StraightJoin(_) => (true, true),
                JoinOperator::Right(_)
                | JoinOperator::RightOuter(_)
                | JoinOperator::RightSemi(_)
                | JoinOperator::RightAnti(_) => (false, true),
                JoinOperator::FullOuter(_) => (false, false),
                _ => (true, false),
            };
            if (left > 0 && !keeps_left) || (right > 0 && !keeps_right) {
                let place = self.place(join.relation.span());
                self.found.push(
                    Problem::new(
                        place,
                        "this join also emits rows of the other side, and would do so again with \
                         every batch of the stream",
                    )
                    .help("put the stream on the side that an outer join keeps, or join inner"),
                );
            }
            left += right;
        }
        left
    }

    fn factor(&mut self, factor: &TableFactor) -> usize {
        match factor {
            TableFactor::Table { name, .. } => self.relation(name),
            TableFactor::Derived { subquery, .. } => self.query(subquery),
            TableFactor::NestedJoin {
                table_with_joins, ..
            } => self.joins(table_with_joins),
            _ => 0,
        }
    }

    fn relation(&mut self, name: &ObjectName) -> usize {
        let [part] = name.0.as_slice() else {
            return 0;
        };
        let Some(ident) = part.as_ident() else {
            return 0;
        };
        let name = fold(&ident.value, ident.quote_style.is_some());
        if let Some((_, count)) = self.ctes.iter().rev().find(|(cte, _)| *cte == name) {
            return *count;
        }
        usize::from(self.streams.iter().any(|(id, _)| *id == name))
    }

    /// Counts the streams that the subqueries of an expression read; what else is in them may be there.
    fn subqueries(&mut self, expressions: &impl Visit) {
        let _ = expressions.visit(&mut Subqueries {
            shape: self,
            depth: 0,
        });
    }
}

/// Finds the outermost subqueries of an expression.
struct Subqueries<'s, 'a> {
    shape: &'s mut Shape<'a>,
    depth: usize,
}

impl Visitor for Subqueries<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.depth == 0 {
            let known = self.shape.found.len();
            let count = self.shape.query(query);
            self.shape.found.truncate(known);
            self.shape.in_expressions += count;
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// Finds aggregate and window calls that belong to a query itself, not to a subquery in it.
struct Calls {
    depth: usize,
    file: FileId,
    whole: Span,
    found: Vec<(Span, String)>,
}

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        if let Some((place, what)) = many_row_call(expr) {
            let place = span_of(self.file, place).unwrap_or(self.whole);
            self.found.push((place, what));
        }
        ControlFlow::Continue(())
    }
}

/// Whether the expression is a call that looks at more than one row, and of which kind.
pub(super) fn many_row_call(expr: &Expr) -> Option<(SqlSpan, String)> {
    let Expr::Function(sql::Function { name, over, .. }) = expr else {
        return None;
    };
    let what = name.0.last()?.as_ident()?.value.to_lowercase();
    if over.is_some() {
        return Some((name.span(), format!("the window function {what}")));
    }
    AGGREGATES
        .contains(&what)
        .then(|| (name.span(), format!("the aggregate {what}")))
}
