//! Clauses that the parser reads and the planner passes over. The answer would be that of another query,
//! and nothing would say so.

use std::ops::ControlFlow;

use berglake_format::Result;
use datafusion::sql::sqlparser::ast::{GroupByExpr, Query, Select, TableFactor, Visit, Visitor};

use super::unsupported;

/// Refuses a query with such a clause in it, wherever it stands.
pub(super) fn check(query: &Query) -> Result<()> {
    match query.visit(&mut PassedOver) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(clause) => Err(unsupported(clause)),
    }
}

struct PassedOver;

/// Breaks at the first clause that is there.
fn none_of(clauses: &[(bool, &'static str)]) -> ControlFlow<&'static str> {
    match clauses.iter().find(|(there, _)| *there) {
        Some((_, clause)) => ControlFlow::Break(clause),
        None => ControlFlow::Continue(()),
    }
}

impl Visitor for PassedOver {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        none_of(&[
            (!query.locks.is_empty(), "FOR UPDATE"),
            (query.for_clause.is_some(), "FOR XML"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
        ])
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) =
            &select.group_by;
        none_of(&[
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (!modifiers.is_empty(), "WITH behind GROUP BY"),
            (select.exclude.is_some(), "EXCLUDE behind the columns"),
            (select.value_table_mode.is_some(), "SELECT AS"),
        ])
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        match factor {
            TableFactor::Table {
                with_ordinality,
                partitions,
                json_path,
                sample,
                ..
            } => none_of(&[
                (sample.is_some(), "TABLESAMPLE"),
                (!partitions.is_empty(), "PARTITION behind a table"),
                (*with_ordinality, "WITH ORDINALITY"),
                (json_path.is_some(), "a path behind a table"),
            ]),
            TableFactor::Derived { sample, .. } => none_of(&[(sample.is_some(), "TABLESAMPLE")]),
            TableFactor::Function {
                with_ordinality, ..
            } => none_of(&[(*with_ordinality, "WITH ORDINALITY")]),
            _ => ControlFlow::Continue(()),
        }
    }
}
