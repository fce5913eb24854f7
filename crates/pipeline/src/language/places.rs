//! From a place in the SQL that the engine sees back to the file.
//!
//! The engine gets a query as its syntax tree prints it, with sources renamed, and names places in
//! that text. The tree still knows where its expressions were written; reading the printed text again
//! gives the same tree with places in the text. Walked side by side, the two say what lies where.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self as sql, Expr, Spanned as _, Visit, Visitor};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Span as SqlSpan};

use super::diagnostics::{FileId, Span};
use super::lexer::{DIALECT, span_of};

/// Where the columns, functions and values of a printed query were written, by line and column of
/// their beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<(u64, u64), Span>);

impl Places {
    /// Of a query, or an expression, and the text that it prints.
    pub(super) fn of<T: Visit>(file: FileId, written: &T, again: Option<T>) -> Self {
        let mut places = BTreeMap::new();
        let Some(again) = again else {
            return Self::default();
        };
        let (written, printed) = (Found::of(written), Found::of(&again));
        let same = written.len() == printed.len()
            && written.iter().zip(&printed).all(|(a, b)| a.kind == b.kind);
        if !same {
            return Self::default();
        }
        for (written, printed) in written.iter().zip(&printed) {
            if let Some(place) = span_of(file, written.span) {
                places.insert((printed.start.line, printed.start.column), place);
            }
        }
        Self(places)
    }

    /// Where the expression was written that begins at this line and column of the printed query.
    pub fn get(&self, line: u64, column: u64) -> Option<Span> {
        self.0.get(&(line, column)).copied()
    }
}

/// The query that a text says.
pub(super) fn query(text: &str) -> Option<sql::Query> {
    let mut parser = Parser::new(&DIALECT).try_with_sql(text).ok()?;
    parser.parse_query().ok().map(|query| *query)
}

struct Found {
    kind: std::mem::Discriminant<Expr>,
    /// Where it begins, with its qualifier.
    start: Location,
    /// What is to be shown of it.
    span: SqlSpan,
}

impl Found {
    fn of<T: Visit>(tree: &T) -> Vec<Self> {
        struct Collect(Vec<Found>);

        impl Visitor for Collect {
            type Break = ();

            fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
                // The others begin where one of these begins; to ask them for their end would walk
                // down to the leaves from each of them.
                let span = match expr {
                    Expr::Identifier(ident) => ident.span,
                    // Its qualifier may have been replaced, and lie elsewhere then.
                    Expr::CompoundIdentifier(parts) => match parts.last() {
                        Some(column) => column.span,
                        None => return ControlFlow::Continue(()),
                    },
                    Expr::Function(function) => function.name.span(),
                    Expr::Value(value) => value.span,
                    _ => return ControlFlow::Continue(()),
                };
                let first = match expr {
                    Expr::CompoundIdentifier(parts) => parts.first().map(|part| part.span),
                    _ => None,
                };
                self.0.push(Found {
                    kind: std::mem::discriminant(expr),
                    start: first.unwrap_or(span).start,
                    span,
                });
                ControlFlow::Continue(())
            }
        }

        let mut collect = Collect(Vec::new());
        let _ = tree.visit(&mut collect);
        collect.0
    }
}
