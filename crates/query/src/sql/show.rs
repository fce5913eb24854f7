//! `SHOW` and `DESCRIBE`.

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::types::parsed;
use super::words::take;
use super::{Statement, end, parser_of, properties, unsupported};

pub(super) fn parse(tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    let mut parser = parser_of(tokens);
    parser.next_token();
    if take(&mut parser, &["CREATE", "TABLE"]) {
        let table = parsed(parser.parse_object_name(true))?;
        end(&mut parser)?;
        return Ok(Statement::ShowCreateTable(table));
    }
    if take(&mut parser, &["TBLPROPERTIES"]) {
        return properties(parser);
    }
    let what = parser.next_token().to_string().to_uppercase();
    let object = if parser.parse_keyword(Keyword::IN) || parser.parse_keyword(Keyword::FROM) {
        Some(parsed(parser.parse_object_name(false))?)
    } else {
        None
    };
    let pattern = if parser.parse_keyword(Keyword::LIKE)
        || matches!(parser.peek_token().token, Token::SingleQuotedString(_))
    {
        Some(parsed(parser.parse_literal_string())?)
    } else {
        None
    };
    let statement = match what.as_str() {
        "TABLES" => Statement::ShowTables {
            namespace: object,
            pattern,
        },
        "NAMESPACES" | "SCHEMAS" | "DATABASES" => Statement::ShowNamespaces {
            parent: object,
            pattern,
        },
        "COLUMNS" => match object {
            Some(table) => Statement::Describe {
                table,
                extended: false,
            },
            None => {
                return Err(Error::invalid(
                    "SHOW COLUMNS needs a table: SHOW COLUMNS IN t",
                ));
            }
        },
        other => return Err(unsupported(&format!("SHOW {other}"))),
    };
    end(&mut parser)?;
    Ok(statement)
}

pub(super) fn describe(tokens: Vec<TokenWithSpan>) -> Result<Statement> {
    let mut parser = parser_of(tokens);
    parser.next_token();
    if ["NAMESPACE", "SCHEMA", "DATABASE"]
        .contains(&parser.peek_token().to_string().to_uppercase().as_str())
        && parser.peek_nth_token(1).token != Token::EOF
    {
        parser.next_token();
        let _ = parser.parse_keyword(Keyword::EXTENDED);
        let name = parsed(parser.parse_object_name(false))?;
        end(&mut parser)?;
        return Ok(Statement::DescribeNamespace(name));
    }
    let _ = parser.parse_keyword(Keyword::TABLE);
    let extended = parser.peek_nth_token(1).token != Token::EOF
        && parser.peek_nth_token(1).token != Token::Period
        && (parser.parse_keyword(Keyword::EXTENDED) || parser.parse_keyword(Keyword::FORMATTED));
    let table = parsed(parser.parse_object_name(true))?;
    end(&mut parser)?;
    Ok(Statement::Describe { table, extended })
}

/// `SHOW TBLPROPERTIES t [('key')]`
fn properties(mut parser: Parser<'_>) -> Result<Statement> {
    let table = parsed(parser.parse_object_name(true))?;
    let mut key = None;
    if parser.peek_token().token == Token::LParen {
        let place = parser.peek_token();
        match parsed(properties::keys(&mut parser))?.as_slice() {
            [one] => key = Some(one.clone()),
            _ => return parsed(parser.expected("one key", place)),
        }
    }
    end(&mut parser)?;
    Ok(Statement::ShowProperties { table, key })
}
