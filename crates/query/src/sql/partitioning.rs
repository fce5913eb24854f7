//! Partition fields and sort fields: a column, or a transform of one.

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::{Expr, Spanned};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token};
use iceberg::spec::{NestedFieldRef, NullOrder, Schema, SortDirection, SortField, Transform, Type};

use super::types::parsed;
use super::words::{placed, take};
use super::{end, normal, parser_of, types};

/// One partition field, or what a sort order sorts by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PartitionBy {
    /// The column, with the structs that it lies in before it.
    column: Vec<String>,
    /// What is made of its values.
    pub(crate) transform: Transform,
    /// Where it stands in the statement.
    pub(crate) start: Location,
}

/// One field of a sort order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SortBy {
    pub(crate) by: PartitionBy,
    pub(crate) direction: SortDirection,
    pub(crate) nulls: NullOrder,
}

impl PartitionBy {
    /// Reads `days(ts)`, `bucket(16, id)` or `genre` from a string that stands at this place.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for what is no transform.
    pub(super) fn parse(text: &str, start: Location) -> Result<Self> {
        let mut field = in_text(text, start, Self::next)?;
        field.start = start;
        Ok(field)
    }

    /// The field that comes next.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(super) fn next(parser: &mut Parser<'_>) -> Result<Self> {
        let expr = parsed(parser.parse_expr())?;
        Self::of(&expr)
    }

    pub(super) fn of(expr: &Expr) -> Result<Self> {
        let start = expr.span().start;
        let wrong = || {
            placed(Error::invalid(format!("{expr} is no partition transform")), start)
                .help("use a column, or years, months, days, hours, bucket(n, column), truncate(n, column)")
        };
        let column = |expr: &Expr| match expr {
            Expr::Identifier(ident) => Some(vec![normal(ident)]),
            Expr::CompoundIdentifier(parts) => Some(parts.iter().map(normal).collect()),
            _ => None,
        };
        if let Some(column) = column(expr) {
            return Ok(Self {
                column,
                transform: Transform::Identity,
                start,
            });
        }
        let Expr::Function(function) = expr else {
            return Err(wrong());
        };
        let arguments = super::arguments(function).ok_or_else(wrong)?;
        let size = arguments
            .iter()
            .find_map(|argument| super::properties::number(argument));
        let column = arguments
            .iter()
            .find_map(|argument| column(argument))
            .ok_or_else(wrong)?;
        let name = function.name.to_string().to_lowercase();
        let transform = match (name.as_str(), arguments.len(), size) {
            ("years" | "year", 1, None) => Transform::Year,
            ("months" | "month", 1, None) => Transform::Month,
            ("days" | "day" | "date", 1, None) => Transform::Day,
            ("hours" | "hour" | "date_hour", 1, None) => Transform::Hour,
            ("identity", 1, None) => Transform::Identity,
            ("void", 1, None) => Transform::Void,
            ("bucket", 2, Some(size)) => Transform::Bucket(positive(&size).ok_or_else(wrong)?),
            ("truncate", 2, Some(size)) => Transform::Truncate(positive(&size).ok_or_else(wrong)?),
            _ => return Err(wrong()),
        };
        Ok(Self {
            column,
            transform,
            start,
        })
    }

    /// The column as it was written, with dots.
    pub(crate) fn column(&self) -> String {
        self.column.join(".")
    }

    /// The id of the column in a schema.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(crate) fn source(&self, schema: &Schema, what: &str) -> Result<i32> {
        Ok(self.find(schema, what)?.1.id)
    }

    /// The column in the spelling of a schema.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(crate) fn path(&self, schema: &Schema, what: &str) -> Result<Vec<String>> {
        Ok(self.find(schema, what)?.0)
    }

    /// The column in a schema, by its exact name or, if there is none, by its name in another case.
    /// `what` says what is done by it.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a column that does not exist, or
    /// a transform that does not fit its type.
    fn find<'a>(
        &self,
        schema: &'a Schema,
        what: &str,
    ) -> Result<(Vec<String>, &'a NestedFieldRef)> {
        let mut path = Vec::with_capacity(self.column.len());
        let mut found: Option<&NestedFieldRef> = None;
        for part in &self.column {
            let fields = match found.map(|field| field.field_type.as_ref()) {
                None => schema.as_struct().fields(),
                Some(Type::Struct(fields)) => fields.fields(),
                Some(_) => &[],
            };
            let exact = fields.iter().find(|field| field.name == *part);
            let like = || {
                fields
                    .iter()
                    .find(|field| field.name.eq_ignore_ascii_case(part))
            };
            let Some(field) = exact.or_else(like) else {
                let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
                let error = Error::invalid(format!("the table is {what} by an unknown column"))
                    .with("name", self.column());
                let error = placed(error, self.start);
                return Err(match crate::error::advice(part, &known, "columns are") {
                    Some(advice) => error.help(advice),
                    None => error,
                });
            };
            path.push(field.name.clone());
            found = Some(field);
        }
        let source = found.ok_or_else(|| Error::internal("a field without a column"))?;
        if self.transform.result_type(&source.field_type).is_err() {
            let error = Error::invalid(format!(
                "the transform {} does not apply to a {}",
                self.transform,
                types::name(&source.field_type)
            ))
            .with("name", self.column());
            return Err(placed(error, self.start));
        }
        Ok((path, source))
    }
}

impl SortBy {
    /// Reads `genre DESC NULLS LAST` from a string that stands at this place.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for what is no such field.
    pub(super) fn parse(text: &str, start: Location) -> Result<Self> {
        let mut field = in_text(text, start, Self::next)?;
        field.by.start = start;
        Ok(field)
    }

    /// The field that comes next. NULLs are first in ascending and last in descending order where
    /// nothing is said, as in Spark.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(super) fn next(parser: &mut Parser<'_>) -> Result<Self> {
        let by = PartitionBy::next(parser)?;
        let descending = parser.parse_keyword(Keyword::DESC);
        if !descending {
            let _ = parser.parse_keyword(Keyword::ASC);
        }
        let (direction, nulls) = match descending {
            true => (SortDirection::Descending, NullOrder::Last),
            false => (SortDirection::Ascending, NullOrder::First),
        };
        let nulls = if take(parser, &["NULLS", "FIRST"]) {
            NullOrder::First
        } else if take(parser, &["NULLS", "LAST"]) {
            NullOrder::Last
        } else {
            nulls
        };
        Ok(Self {
            by,
            direction,
            nulls,
        })
    }

    /// Fields with commas between them, in parentheses or not.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub(super) fn list(parser: &mut Parser<'_>) -> Result<Vec<Self>> {
        let closed = parser.consume_token(&Token::LParen);
        let mut fields = vec![Self::next(parser)?];
        while parser.consume_token(&Token::Comma) {
            fields.push(Self::next(parser)?);
        }
        if closed {
            parsed(parser.expect_token(&Token::RParen))?;
        }
        Ok(fields)
    }

    /// The field over the columns of a table.
    ///
    /// # Errors
    /// As [`PartitionBy::source`].
    pub(crate) fn bind(&self, schema: &Schema) -> Result<SortField> {
        Ok(SortField {
            source_id: self.by.source(schema, "sorted")?,
            transform: self.by.transform,
            direction: self.direction,
            null_order: self.nulls,
        })
    }
}

/// Parses what stands in a string. Places in it would say nothing about the statement.
fn in_text<T>(text: &str, start: Location, parse: fn(&mut Parser<'_>) -> Result<T>) -> Result<T> {
    let parse = || {
        let tokens = super::tokens::statements(text)?;
        let tokens = tokens.into_iter().next().unwrap_or_default();
        let mut parser = parser_of(tokens);
        let value = parse(&mut parser)?;
        end(&mut parser)?;
        Ok(value)
    };
    parse().map_err(|cause: Error| {
        let error = Error::invalid(format!("{text:?} is no field: {}", cause.message()));
        let error = placed(error, start);
        match cause.advice() {
            Some(advice) => error.help(advice),
            None => error,
        }
    })
}

fn positive(text: &str) -> Option<u32> {
    text.parse().ok().filter(|size| *size > 0)
}
