//! `CREATE TABLE` with Spark's clauses and Trino's properties.

use std::collections::HashMap;

use berglake_format::partition::field_name;
use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Query};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use iceberg::spec::{FormatVersion, Schema, SortOrder, UnboundPartitionSpec};

use super::partitioning::{PartitionBy, SortBy};
use super::properties::{FORMAT_VERSION, TrinoProperties, assignments};
use super::types::{self, SqlField, Timestamps, parsed};
use super::words::split_closing_brackets;
use super::{parser_of, query_of};

/// A `CREATE TABLE` as it was written.
#[derive(Debug)]
pub(crate) struct CreateTable {
    pub(crate) name: ObjectName,
    pub(crate) if_not_exists: bool,
    columns: Option<Vec<SqlField>>,
    timestamps: Timestamps,
    partitioning: Vec<PartitionBy>,
    sorted_by: Vec<SortBy>,
    pub(crate) location: Option<String>,
    pub(crate) properties: HashMap<String, String>,
    pub(crate) query: Option<Box<Query>>,
}

pub(super) fn parse(mut tokens: Vec<TokenWithSpan>) -> Result<CreateTable> {
    split_closing_brackets(&mut tokens, true);
    let mut parser = parser_of(tokens);
    let parser = &mut parser;
    parsed(parser.expect_keyword(Keyword::CREATE))?;
    if parser.parse_keywords(&[Keyword::OR, Keyword::REPLACE]) {
        return Err(super::unsupported("CREATE OR REPLACE TABLE"));
    }
    parsed(parser.expect_keyword(Keyword::TABLE))?;
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let name = parsed(parser.parse_object_name(true))?;
    let mut create = CreateTable {
        name,
        if_not_exists,
        columns: None,
        timestamps: Timestamps::Spark,
        partitioning: Vec::new(),
        sorted_by: Vec::new(),
        location: None,
        properties: HashMap::new(),
        query: None,
    };
    if parser.consume_token(&Token::LParen) {
        let columns = parsed(types::columns(parser))?;
        parsed(parser.expect_token(&Token::RParen))?;
        create.columns = Some(columns);
    }
    while parser.peek_token().token != Token::EOF {
        create.clause(parser)?;
    }
    match (&create.columns, &create.query) {
        (None, None) => Err(Error::invalid(
            "a table needs columns, or a query that gives them",
        )),
        (Some(_), Some(_)) => Err(Error::invalid(
            "a table that is created from a query takes its columns from it",
        )
        .help("leave out the columns, or create the table first and INSERT")),
        _ => Ok(create),
    }
}

impl CreateTable {
    fn clause(&mut self, parser: &mut Parser<'_>) -> Result<()> {
        if parser.parse_keyword(Keyword::USING) {
            let provider = parsed(parser.parse_identifier())?;
            if !provider.value.eq_ignore_ascii_case("iceberg") {
                return Err(Error::unsupported("tables are Iceberg tables")
                    .with("using", provider.value)
                    .with("line", provider.span.start.line)
                    .with("column", provider.span.start.column));
            }
        } else if parser.parse_keywords(&[Keyword::PARTITIONED, Keyword::BY]) {
            parsed(parser.expect_token(&Token::LParen))?;
            let exprs = parsed(parser.parse_comma_separated(Parser::parse_expr))?;
            parsed(parser.expect_token(&Token::RParen))?;
            self.partitioning = exprs.iter().map(PartitionBy::of).collect::<Result<_>>()?;
        } else if parser.parse_keyword(Keyword::LOCATION) {
            self.location = Some(parsed(parser.parse_literal_string())?);
        } else if parser.parse_keyword(Keyword::TBLPROPERTIES) {
            let properties = parsed(assignments(parser))?;
            self.properties.extend(properties);
        } else if parser.parse_keyword(Keyword::WITH) {
            self.timestamps = Timestamps::Trino;
            self.trino_properties(parser)?;
        } else if let Some(comment) = parsed(super::comment(parser))? {
            self.properties.insert("comment".to_string(), comment);
        } else {
            let _ = parser.parse_keyword(Keyword::AS);
            if !matches!(
                &parser.peek_token().token,
                Token::LParen
                    | Token::Word(datafusion::sql::sqlparser::tokenizer::Word {
                        keyword: Keyword::SELECT | Keyword::WITH | Keyword::VALUES,
                        ..
                    })
            ) {
                let place = parser.peek_token();
                return parsed(parser.expected(
                    "USING, PARTITIONED BY, LOCATION, COMMENT, TBLPROPERTIES, WITH or AS",
                    place,
                ));
            }
            self.query = Some(query_of(parser)?);
            super::end(parser)?;
        }
        Ok(())
    }

    fn trino_properties(&mut self, parser: &mut Parser<'_>) -> Result<()> {
        parsed(parser.expect_token(&Token::LParen))?;
        let given = TrinoProperties::parse(parser)?;
        parsed(parser.expect_token(&Token::RParen))?;
        if given.location.is_some() {
            self.location = given.location;
        }
        self.partitioning = given
            .partitioning
            .unwrap_or_else(|| std::mem::take(&mut self.partitioning));
        self.sorted_by = given
            .sorted_by
            .unwrap_or_else(|| std::mem::take(&mut self.sorted_by));
        let set = given.properties.into_iter();
        self.properties
            .extend(set.filter_map(|(key, value)| Some((key, value?))));
        Ok(())
    }

    /// The columns that the statement gives, unless its query does.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for columns that repeat.
    pub(crate) fn schema(&self) -> Result<Option<Schema>> {
        self.columns
            .as_ref()
            .map(|columns| types::schema(columns, self.timestamps))
            .transpose()
    }

    /// The columns that have defaults, with their values.
    pub(crate) fn defaults(&self) -> impl Iterator<Item = (&str, &Expr)> {
        let columns = self.columns.iter().flatten();
        columns.filter_map(|column| Some((column.name.as_str(), column.default.as_ref()?)))
    }

    /// The partition fields over these columns.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a column that does not exist, or
    /// a transform that does not fit its type.
    pub(crate) fn partition_spec(&self, schema: &Schema) -> Result<Option<UnboundPartitionSpec>> {
        if self.partitioning.is_empty() {
            return Ok(None);
        }
        let mut spec = UnboundPartitionSpec::builder();
        for field in &self.partitioning {
            let source = field.source(schema, "partitioned")?;
            spec = spec
                .add_partition_field(
                    source,
                    field_name(
                        &field.path(schema, "partitioned")?.join("."),
                        field.transform,
                    ),
                    field.transform,
                )
                .map_err(|error| {
                    Error::invalid("the partition fields contradict each other").source_error(error)
                })?;
        }
        Ok(Some(spec.build()))
    }

    /// The order in which the files are sorted.
    ///
    /// # Errors
    /// As [`partition_spec`](Self::partition_spec).
    pub(crate) fn sort_order(&self, schema: &Schema) -> Result<Option<SortOrder>> {
        if self.sorted_by.is_empty() {
            return Ok(None);
        }
        let mut order = SortOrder::builder();
        for field in &self.sorted_by {
            order.with_sort_field(field.bind(schema)?);
        }
        let order = order.build_unbound().map_err(|error| {
            Error::invalid("the fields to sort by contradict each other").source_error(error)
        })?;
        Ok(Some(order))
    }

    /// Takes `format-version` out of the properties, where it does not belong.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for another version than 2 or 3.
    pub(crate) fn take_format_version(&mut self) -> Result<FormatVersion> {
        match self.properties.remove(FORMAT_VERSION).as_deref() {
            None | Some("2") => Ok(FormatVersion::V2),
            Some("3") => Ok(FormatVersion::V3),
            Some(other) => Err(Error::invalid("this format version is not written")
                .with("format-version", other)
                .help("use 2 or 3")),
        }
    }
}
