//! Table properties as Spark writes them, and as Trino does.

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::{Expr, Ident, Value};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::partitioning::{PartitionBy, SortBy};
use super::types::parsed;
use super::words::placed;

/// The property that means the format version in `TBLPROPERTIES`, where it is no property.
pub(crate) const FORMAT_VERSION: &str = "format-version";

/// Trino's properties of a table: `WITH (…)` and `SET PROPERTIES …`. What is `DEFAULT` is none.
#[derive(Debug, Default)]
pub(crate) struct TrinoProperties {
    pub(crate) location: Option<String>,
    pub(crate) partitioning: Option<Vec<PartitionBy>>,
    pub(crate) sorted_by: Option<Vec<SortBy>>,
    /// Iceberg's own, with none for those to remove. The format version is among them.
    pub(crate) properties: Vec<(String, Option<String>)>,
}

impl TrinoProperties {
    /// `key = value, …`
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for values of another type;
    /// [`Unsupported`](berglake_format::ErrorKind::Unsupported) for properties that are not known.
    pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Self> {
        let mut all = Self::default();
        loop {
            let key = parsed(parser.parse_identifier())?;
            parsed(parser.expect_token(&Token::Eq))?;
            let value = match parser.parse_keyword(Keyword::DEFAULT) {
                true => None,
                false => Some(parsed(parser.parse_expr())?),
            };
            all.set(&key, value.as_ref())?;
            if !parser.consume_token(&Token::Comma) {
                return Ok(all);
            }
        }
    }

    fn set(&mut self, key: &Ident, value: Option<&Expr>) -> Result<()> {
        let wrong = |what: &str| {
            let error = Error::invalid(format!("the table property {} is {what}", key.value));
            placed(error, key.span.start)
        };
        let text = || match value {
            None => Ok(None),
            Some(value) => string(value).ok_or_else(|| wrong("a string")).map(Some),
        };
        let texts = || match value {
            None => Ok(Vec::new()),
            Some(Expr::Array(array)) => array
                .elem
                .iter()
                .map(|field| string(field).ok_or_else(|| wrong("an array of strings")))
                .collect(),
            Some(_) => Err(wrong("an array of strings")),
        };
        match key.value.to_lowercase().as_str() {
            "format" => {
                if let Some(format) = text()?
                    && !format.eq_ignore_ascii_case("parquet")
                {
                    let error = Error::unsupported("data files are Parquet files");
                    return Err(placed(error, key.span.start).with("format", format));
                }
            }
            "format_version" => {
                let version = value.and_then(number).ok_or_else(|| wrong("a number"))?;
                self.properties
                    .push((FORMAT_VERSION.to_string(), Some(version)));
            }
            "location" => self.location = text()?,
            "partitioning" => {
                let fields = texts()?;
                let fields = fields
                    .iter()
                    .map(|text| PartitionBy::parse(text, key.span.start));
                self.partitioning = Some(fields.collect::<Result<_>>()?);
            }
            "sorted_by" => {
                let fields = texts()?;
                let fields = fields
                    .iter()
                    .map(|text| SortBy::parse(text, key.span.start));
                self.sorted_by = Some(fields.collect::<Result<_>>()?);
            }
            "compression_codec" => self.properties.push((
                "write.parquet.compression-codec".to_string(),
                text()?.map(|codec| codec.to_lowercase()),
            )),
            // A name that has to be quoted is one of Iceberg's own.
            own if own.contains('.') || own.contains('-') => {
                let value = match value {
                    None => None,
                    Some(value) => Some(
                        plain(value).ok_or_else(|| wrong("a string, a number, true or false"))?,
                    ),
                };
                self.properties.push((key.value.clone(), value));
            }
            _ => {
                let error = Error::unsupported("this table property is not known")
                    .with("property", &key.value);
                return Err(placed(error, key.span.start).help(
                    "known are format, format_version, location, partitioning, sorted_by, \
                     compression_codec; Iceberg's own go into TBLPROPERTIES",
                ));
            }
        }
        Ok(())
    }
}

/// `('key' = 'value', key.with.dots = 1, …)`
pub(super) fn assignments(parser: &mut Parser<'_>) -> Result<Vec<(String, String)>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let all = parser.parse_comma_separated(|parser| {
        let key = key(parser)?;
        parser.expect_token(&Token::Eq)?;
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

/// `('key', key.with.dots, …)`
pub(super) fn keys(parser: &mut Parser<'_>) -> Result<Vec<String>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let all = parser.parse_comma_separated(key)?;
    parser.expect_token(&Token::RParen)?;
    Ok(all)
}

/// A key in quotes, or written out with its dots and dashes.
fn key(parser: &mut Parser<'_>) -> Result<String, ParserError> {
    let mut key = String::new();
    loop {
        let next = parser.peek_token();
        match &next.token {
            Token::Eq | Token::Comma | Token::RParen if !key.is_empty() => return Ok(key),
            Token::SingleQuotedString(text) => key.push_str(text),
            Token::Word(word) => key.push_str(&word.value),
            Token::Period => key.push('.'),
            Token::Minus => key.push('-'),
            _ => return parser.expected("the key of a property", next),
        }
        parser.next_token();
    }
}

pub(super) fn string(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => Some(text.to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn plain(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Boolean(value) => Some(value.to_string()),
            _ => string(expr).or_else(|| number(expr)),
        },
        _ => None,
    }
}
