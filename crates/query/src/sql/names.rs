//! The tables that a query reads: found with regard to the names of its CTEs, and replaced by the
//! names under which the engine will find them.

use std::collections::HashMap;
use std::ops::ControlFlow;

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, Query, TableAlias, TableFactor, TableVersion, Value, Visit, VisitMut,
    Visitor, VisitorMut,
};

use super::tokens::VERSION_FUNCTION;
use super::{arguments, normal, parts};

/// A look into the past of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Travel {
    /// To a snapshot id, a branch or a tag.
    Version(String),
    /// To a time, as an expression.
    Time(Box<Expr>),
}

/// A table as a query names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    pub(crate) name: Vec<Ident>,
    pub(crate) travel: Option<Travel>,
}

/// The tables of one query, in the order in which they stand.
#[derive(Debug)]
pub(crate) struct References {
    pub(crate) tables: Vec<Reference>,
}

impl References {
    /// Finds the tables of a query.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for names and versions that are none.
    pub(crate) fn of(query: &mut Query) -> Result<Self> {
        let mut tables = Vec::new();
        walk(query, &mut |factor| {
            tables.push(reference(factor)?);
            Ok(())
        })?;
        Ok(Self { tables })
    }

    /// Replaces each table by the name that the engine knows it by. `names` are in the order of
    /// `tables`.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(crate) fn replace(query: &mut Query, names: &[EngineName]) -> Result<()> {
        let changed = || Error::internal("the tables of a query changed while it was read");
        let mut names = names.iter();
        walk(query, &mut |factor| {
            let (
                TableFactor::Table {
                    name,
                    alias,
                    version,
                    ..
                },
                Some(new),
            ) = (factor, names.next())
            else {
                return Err(changed());
            };
            if let (None, Some(shown)) = (&alias, &new.alias) {
                *alias = Some(TableAlias {
                    explicit: true,
                    name: Ident::with_quote('"', shown),
                    columns: Vec::new(),
                    at: None,
                });
            }
            *version = None;
            *name = ObjectName::from(
                new.parts
                    .iter()
                    .map(|part| Ident::with_quote('"', part))
                    .collect::<Vec<_>>(),
            );
            Ok(())
        })?;
        // A name that is left over would mean that the others went to the wrong tables.
        match names.next() {
            None => Ok(()),
            Some(_) => Err(changed()),
        }
    }
}

/// The name of a table in the engine.
#[derive(Debug, Clone)]
pub(crate) struct EngineName {
    /// Catalog, schema, table.
    pub(crate) parts: [String; 3],
    /// The name to show for it, where its own is not what was written.
    pub(crate) alias: Option<String>,
}

fn reference(factor: &TableFactor) -> Result<Reference> {
    let TableFactor::Table { name, version, .. } = factor else {
        return Err(Error::internal("only tables are references"));
    };
    Ok(Reference {
        name: parts(name)?,
        travel: version.as_ref().map(travel).transpose()?,
    })
}

fn travel(version: &TableVersion) -> Result<Travel> {
    let (TableVersion::TimestampAsOf(expr) | TableVersion::ForSystemTimeAsOf(expr)) = version
    else {
        return Err(Error::unsupported(format!("{version} is not supported"))
            .help("write VERSION AS OF or TIMESTAMP AS OF"));
    };
    if let Expr::Function(function) = expr
        && function.name.to_string() == VERSION_FUNCTION
        && let Some([Expr::Value(value)]) = arguments(function).as_deref()
    {
        return match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => {
                Ok(Travel::Version(text.to_string()))
            }
            other => Err(Error::invalid(format!("{other} is no version"))),
        };
    }
    if has_query(expr) {
        return Err(Error::invalid(format!(
            "the time of a table is a constant expression, and {expr} is a query"
        ))
        .help("run the query first, and write the time that it gives"));
    }
    Ok(Travel::Time(Box::new(expr.clone())))
}

/// Whether an expression has a query in it. The tables of such a query would stand among those of the
/// statement, and be gone from it as soon as the version is taken off the table.
pub(crate) fn has_query(expr: &Expr) -> bool {
    struct Queries;

    impl Visitor for Queries {
        type Break = ();

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }

    expr.visit(&mut Queries).is_break()
}

type OnTable<'a> = dyn FnMut(&mut TableFactor) -> Result<()> + 'a;

/// Visits each table of a query that is not the name of a CTE.
fn walk(query: &mut Query, on_table: &mut OnTable<'_>) -> Result<()> {
    let mut walker = Walker {
        frames: Vec::new(),
        on_table,
    };
    match query.visit(&mut walker) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// The CTEs of one query: each sees those before it, and itself only in `WITH RECURSIVE`.
struct Frame {
    ctes: Vec<String>,
    /// Which query is which CTE's, by its place in memory, which a visit does not change.
    queries: HashMap<*const Query, usize>,
    visible: usize,
    recursive: bool,
}

struct Walker<'a, 'b> {
    frames: Vec<Frame>,
    on_table: &'a mut OnTable<'b>,
}

impl VisitorMut for Walker<'_, '_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        let this: *const Query = query;
        if let Some(frame) = self.frames.last_mut()
            && let Some(place) = frame.queries.get(&this)
        {
            frame.visible = place + usize::from(frame.recursive);
        }
        let mut frame = Frame {
            ctes: Vec::new(),
            queries: HashMap::new(),
            visible: 0,
            recursive: query.with.as_ref().is_some_and(|with| with.recursive),
        };
        for (place, cte) in query
            .with
            .iter()
            .flat_map(|with| &with.cte_tables)
            .enumerate()
        {
            frame.ctes.push(normal(&cte.alias.name));
            let query: *const Query = &*cte.query;
            frame.queries.insert(query, place);
        }
        self.frames.push(frame);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.frames.pop();
        let this: *const Query = query;
        if let Some(frame) = self.frames.last_mut()
            && let Some(place) = frame.queries.get(&this)
        {
            frame.visible = place + 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        let TableFactor::Table {
            name,
            args: None,
            version,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        if let [part] = name.0.as_slice()
            && let Some(ident) = part.as_ident()
        {
            let name = normal(ident);
            let is_cte = self
                .frames
                .iter()
                .any(|frame| frame.ctes[..frame.visible].contains(&name));
            if is_cte && version.is_none() {
                return ControlFlow::Continue(());
            }
            if is_cte {
                let error =
                    Error::invalid(format!("{ident} is a query of WITH and has no history"))
                        .help("write the version behind the tables that the query reads");
                return ControlFlow::Break(Box::new(error));
            }
        }
        match (self.on_table)(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

/// Gives the column that is named at a place, or everywhere by that name where no place is known,
/// the spelling that its table has. Says whether anything was changed.
pub(crate) fn respell(
    query: &mut Query,
    wrong: &str,
    right: &str,
    place: Option<(u64, u64)>,
) -> bool {
    struct Respell<'a> {
        wrong: &'a str,
        right: &'a str,
        place: Option<(u64, u64)>,
        changed: bool,
    }

    impl Respell<'_> {
        fn fix(&mut self, start: &Ident, ident: &Ident) -> Option<Ident> {
            let here = (start.span.start.line, start.span.start.column);
            let meant = match self.place {
                Some(place) => place == here,
                None => true,
            };
            (meant && normal(ident) == self.wrong).then(|| {
                self.changed = true;
                Ident {
                    value: self.right.to_string(),
                    quote_style: Some('"'),
                    span: ident.span,
                }
            })
        }
    }

    impl VisitorMut for Respell<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(ident) => {
                    if let Some(fixed) = self.fix(ident, ident) {
                        *ident = fixed;
                    }
                }
                Expr::CompoundIdentifier(parts) => {
                    let start = parts[0].clone();
                    for part in parts {
                        if let Some(fixed) = self.fix(&start, part) {
                            *part = fixed;
                        }
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }

    let mut visitor = Respell {
        wrong,
        right,
        place,
        changed: false,
    };
    let _ = query.visit(&mut visitor);
    visitor.changed
}

#[cfg(test)]
mod tests {
    use super::super::{Statement, parse};
    use super::*;

    fn tables(text: &str) -> Vec<String> {
        let Some(Statement::Query(mut query)) = parse(text).unwrap().pop() else {
            panic!("{text} is no query");
        };
        References::of(&mut query)
            .unwrap()
            .tables
            .iter()
            .map(|table| {
                table
                    .name
                    .iter()
                    .map(|part| part.value.clone())
                    .collect::<Vec<_>>()
                    .join(".")
            })
            .collect()
    }

    #[test]
    fn a_cte_hides_a_table_of_its_name_except_inside_of_itself() {
        assert_eq!(
            tables("WITH t AS (SELECT * FROM t) SELECT * FROM t JOIN u ON true"),
            ["t", "u"]
        );
        assert_eq!(
            tables("WITH RECURSIVE t AS (SELECT 1 UNION ALL SELECT * FROM t) SELECT * FROM t"),
            Vec::<String>::new()
        );
        assert_eq!(
            tables("WITH a AS (SELECT 1), b AS (SELECT * FROM a, c) SELECT (SELECT 1 FROM b)"),
            ["c"]
        );
        assert_eq!(
            tables("SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a) x, a"),
            ["a"]
        );
    }

    #[test]
    fn a_name_that_is_left_over_is_an_error_and_not_another_table() {
        let name = |table: &str| EngineName {
            parts: ["c", "n", table].map(str::to_string),
            alias: None,
        };
        let replaced = |names: &[EngineName]| {
            let Some(Statement::Query(mut query)) = parse("SELECT * FROM t, u").unwrap().pop()
            else {
                panic!("no query");
            };
            References::replace(&mut query, names).map(|()| query.to_string())
        };
        let two = [name("t"), name("u")];
        assert!(replaced(&two).unwrap().contains(r#""c"."n"."u""#));
        assert!(replaced(&two[..1]).is_err());
        assert!(replaced(&[name("t"), name("u"), name("v")]).is_err());
    }
}
