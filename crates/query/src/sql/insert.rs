//! `INSERT INTO` and `INSERT OVERWRITE`.

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, Query};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::types::parsed;
use super::words::{ahead, take};
use super::{end, parser_of, query_of, unsupported};

/// An `INSERT` as it was written.
#[derive(Debug)]
pub(crate) struct Insert {
    pub(crate) table: ObjectName,
    pub(crate) overwrite: bool,
    /// The columns of `PARTITION (…)`: those with a value have it in all rows, the others take it from
    /// the query.
    pub(crate) partition: Vec<(Ident, Option<Expr>)>,
    pub(crate) columns: Vec<Ident>,
    pub(crate) source: Box<Query>,
}

pub(super) fn parse(tokens: Vec<TokenWithSpan>) -> Result<Insert> {
    let mut parser = parser_of(tokens);
    let parser = &mut parser;
    parsed(parser.expect_keyword(Keyword::INSERT))?;
    let overwrite = take(parser, &["OVERWRITE"]);
    if !overwrite {
        parsed(parser.expect_keyword(Keyword::INTO))?;
    } else {
        let _ = take(parser, &["INTO"]);
        if ahead(parser, &["DIRECTORY"]) || ahead(parser, &["LOCAL", "DIRECTORY"]) {
            return Err(unsupported("INSERT OVERWRITE DIRECTORY"));
        }
    }
    let _ = parser.parse_keyword(Keyword::TABLE);
    let table = parsed(parser.parse_object_name(true))?;
    let partition = match parser.parse_keyword(Keyword::PARTITION) {
        true => parsed(partition(parser))?,
        false => Vec::new(),
    };
    for (words, what) in [
        (&["IF", "NOT", "EXISTS"][..], "INSERT … IF NOT EXISTS"),
        (&["BY", "NAME"], "INSERT … BY NAME"),
        (&["REPLACE", "WHERE"], "INSERT … REPLACE WHERE"),
    ] {
        if ahead(parser, words) {
            return Err(unsupported(what));
        }
    }
    // All forms of time travel are this one when they get here.
    if ahead(parser, &["TIMESTAMP", "AS", "OF"]) {
        return Err(Error::invalid("the past of a table can only be read")
            .help("INSERT INTO t.branch_name writes to a branch"));
    }
    let mut columns = Vec::new();
    // `INSERT INTO t (SELECT …)` has no columns.
    let is_query = matches!(
        &parser.peek_nth_token(1).token,
        Token::LParen
            | Token::Word(Word {
                keyword: Keyword::SELECT | Keyword::WITH | Keyword::VALUES,
                ..
            })
    );
    if !is_query && parser.consume_token(&Token::LParen) {
        columns = parsed(parser.parse_comma_separated(Parser::parse_identifier))?;
        parsed(parser.expect_token(&Token::RParen))?;
    }
    let source = query_of(parser)?;
    end(parser)?;
    Ok(Insert {
        table,
        overwrite,
        partition,
        columns,
        source,
    })
}

/// `(country = 'de', day)`
fn partition(parser: &mut Parser<'_>) -> Result<Vec<(Ident, Option<Expr>)>, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let fields = parser.parse_comma_separated(|parser| {
        let name = parser.parse_identifier()?;
        let value = match parser.consume_token(&Token::Eq) {
            true => Some(parser.parse_expr()?),
            false => None,
        };
        Ok((name, value))
    })?;
    parser.expect_token(&Token::RParen)?;
    Ok(fields)
}
