//! `CREATE TABLE` with Spark's clauses and Trino's properties.

use std::collections::HashMap;

use berglake_format::partition::field_name;
use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Query, Spanned, Value};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use iceberg::spec::{FormatVersion, Schema, Transform, UnboundPartitionSpec};

use super::types::{self, SqlField, Timestamps, parsed};
use super::{normal, parser_of, query_of};

/// A `CREATE TABLE` as it was written.
#[derive(Debug)]
pub(crate) struct CreateTable {
    pub(crate) name: ObjectName,
    pub(crate) if_not_exists: bool,
    columns: Option<Vec<SqlField>>,
    timestamps: Timestamps,
    partitioning: Vec<PartitionBy>,
    pub(crate) location: Option<String>,
    pub(crate) properties: HashMap<String, String>,
    pub(crate) query: Option<Box<Query>>,
}

/// One partition field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PartitionBy {
    /// The column, with dots for nested ones.
    pub(crate) column: String,
    /// What is made of its values.
    pub(crate) transform: Transform,
}

pub(super) fn parse(mut tokens: Vec<TokenWithSpan>) -> Result<CreateTable> {
    split_closing_brackets(&mut tokens);
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

/// `array<array<int>>` ends in what is a shift operator elsewhere.
fn split_closing_brackets(tokens: &mut Vec<TokenWithSpan>) {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return;
                }
            }
            Token::ShiftRight => {
                tokens[at].token = Token::Gt;
                tokens.insert(at, tokens[at].clone());
            }
            _ => {}
        }
        at += 1;
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
            let properties = parsed(properties(parser))?;
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
            self.query = Some(parsed(query_of(parser))?);
            super::end(parser)?;
        }
        Ok(())
    }

    fn trino_properties(&mut self, parser: &mut Parser<'_>) -> Result<()> {
        parsed(parser.expect_token(&Token::LParen))?;
        loop {
            let key = parsed(parser.parse_identifier())?;
            parsed(parser.expect_token(&Token::Eq))?;
            let value = parsed(parser.parse_expr())?;
            let wrong = |what: &str| {
                Error::invalid(format!("the table property {} is {what}", key.value))
                    .with("line", key.span.start.line)
                    .with("column", key.span.start.column)
            };
            match key.value.to_lowercase().as_str() {
                "format" => {
                    let format = string(&value).ok_or_else(|| wrong("a string"))?;
                    if !format.eq_ignore_ascii_case("parquet") {
                        return Err(Error::unsupported("data files are Parquet files")
                            .with("format", format));
                    }
                }
                "format_version" => {
                    let version = number(&value).ok_or_else(|| wrong("a number"))?;
                    self.properties
                        .insert("format-version".to_string(), version);
                }
                "location" => {
                    self.location = Some(string(&value).ok_or_else(|| wrong("a string"))?);
                }
                "partitioning" => {
                    let Expr::Array(array) = &value else {
                        return Err(wrong("an array of strings"));
                    };
                    self.partitioning = array
                        .elem
                        .iter()
                        .map(|field| {
                            let text = string(field).ok_or_else(|| wrong("an array of strings"))?;
                            PartitionBy::parse(&text)
                        })
                        .collect::<Result<_>>()?;
                }
                "compression_codec" => {
                    let codec = string(&value).ok_or_else(|| wrong("a string"))?;
                    self.properties.insert(
                        "write.parquet.compression-codec".to_string(),
                        codec.to_lowercase(),
                    );
                }
                _ => {
                    return Err(Error::unsupported("this table property is not known")
                        .with("property", &key.value)
                        .with("line", key.span.start.line)
                        .with("column", key.span.start.column)
                        .help(
                            "known are format, format_version, location, partitioning, \
                             compression_codec; Iceberg's own go into TBLPROPERTIES",
                        ));
                }
            }
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        parsed(parser.expect_token(&Token::RParen))?;
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
            let source = schema
                .field_by_name(&field.column)
                .or_else(|| schema.field_by_name_case_insensitive(&field.column))
                .ok_or_else(|| {
                    let known: Vec<&str> = schema
                        .as_struct()
                        .fields()
                        .iter()
                        .map(|field| field.name.as_str())
                        .collect();
                    let error = Error::invalid("the table is partitioned by an unknown column")
                        .with("column", &field.column);
                    match crate::error::advice(&field.column, &known, "columns are") {
                        Some(advice) => error.help(advice),
                        None => error,
                    }
                })?;
            if field.transform.result_type(&source.field_type).is_err() {
                return Err(Error::invalid(format!(
                    "the transform {} does not apply to a {}",
                    field.transform,
                    types::name(&source.field_type)
                ))
                .with("column", &field.column));
            }
            spec = spec
                .add_partition_field(
                    source.id,
                    field_name(&field.column, field.transform),
                    field.transform,
                )
                .map_err(|error| {
                    Error::invalid("the partition fields contradict each other").source_error(error)
                })?;
        }
        Ok(Some(spec.build()))
    }

    /// Takes `format-version` out of the properties, where it does not belong.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for another version than 2 or 3.
    pub(crate) fn take_format_version(&mut self) -> Result<FormatVersion> {
        match self.properties.remove("format-version").as_deref() {
            None | Some("2") => Ok(FormatVersion::V2),
            Some("3") => Ok(FormatVersion::V3),
            Some(other) => Err(Error::invalid("this format version is not written")
                .with("format-version", other)
                .help("use 2 or 3")),
        }
    }
}

impl PartitionBy {
    /// Reads `days(ts)`, `bucket(16, id)` or `genre` from a string.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for what is no transform.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let tokens = super::tokens::statements(text)?
            .into_iter()
            .next()
            .unwrap_or_default();
        let mut parser = parser_of(tokens);
        let expr = parsed(parser.parse_expr())?;
        super::end(&mut parser)?;
        Self::of(&expr)
    }

    fn of(expr: &Expr) -> Result<Self> {
        let wrong = || {
            let place = expr.span().start;
            Error::invalid(format!("{expr} is no partition transform"))
                .with("line", place.line)
                .with("column", place.column)
                .help("use a column, or years, months, days, hours, bucket(n, column), truncate(n, column)")
        };
        let column = |expr: &Expr| match expr {
            Expr::Identifier(ident) => Some(normal(ident)),
            Expr::CompoundIdentifier(parts) => {
                Some(parts.iter().map(normal).collect::<Vec<_>>().join("."))
            }
            _ => None,
        };
        if let Some(column) = column(expr) {
            return Ok(Self {
                column,
                transform: Transform::Identity,
            });
        }
        let Expr::Function(function) = expr else {
            return Err(wrong());
        };
        let arguments = super::arguments(function).ok_or_else(wrong)?;
        let size = arguments.iter().find_map(|argument| number(argument));
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
        Ok(Self { column, transform })
    }
}

fn positive(text: &str) -> Option<u32> {
    text.parse().ok().filter(|size| *size > 0)
}

fn string(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => Some(text.to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// `('key' = 'value', key.with.dots = 1, …)`
fn properties(parser: &mut Parser<'_>) -> Result<Vec<(String, String)>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let all = parser.parse_comma_separated(|parser| {
        let mut key = String::new();
        while !parser.consume_token(&Token::Eq) {
            let token = parser.next_token();
            match &token.token {
                Token::SingleQuotedString(text) => key.push_str(text),
                Token::Word(word) => key.push_str(&word.value),
                Token::Period => key.push('.'),
                Token::Minus => key.push('-'),
                _ => return parser.expected("'key' = 'value'", token),
            }
        }
        let token = parser.next_token();
        let value = match &token.token {
            Token::SingleQuotedString(text) => text.clone(),
            Token::Number(text, _) => text.to_string(),
            Token::Word(word) if matches!(word.keyword, Keyword::TRUE | Keyword::FALSE) => {
                word.value.to_lowercase()
            }
            _ => return parser.expected("a string, a number, true or false", token),
        };
        Ok((key, value))
    })?;
    parser.expect_token(&Token::RParen)?;
    Ok(all)
}
