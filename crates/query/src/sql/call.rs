//! `CALL [catalog.]system.procedure(…)`.

use berglake_format::Result;
use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::types::parsed;
use super::words::expect;
use super::{end, parser_of};

/// A `CALL` as it was written.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: ObjectName,
    pub(crate) arguments: Vec<Argument>,
}

/// One argument: a constant expression, by place or by name.
#[derive(Debug)]
pub(crate) struct Argument {
    pub(crate) name: Option<Ident>,
    pub(crate) value: Expr,
    pub(crate) start: Location,
}

pub(super) fn parse(tokens: Vec<TokenWithSpan>) -> Result<Call> {
    let mut parser = parser_of(tokens);
    let parser = &mut parser;
    parsed(expect(parser, &["CALL"]))?;
    let name = parsed(parser.parse_object_name(false))?;
    parsed(parser.expect_token(&Token::LParen))?;
    let mut arguments = Vec::new();
    if parser.peek_token().token != Token::RParen {
        arguments = parsed(parser.parse_comma_separated(argument))?;
    }
    parsed(parser.expect_token(&Token::RParen))?;
    end(parser)?;
    Ok(Call { name, arguments })
}

fn argument(parser: &mut Parser<'_>) -> Result<Argument, ParserError> {
    let start = parser.peek_token().span.start;
    let named = parser.peek_nth_token(1).token == Token::RArrow;
    let name = match named {
        true => {
            let name = parser.parse_identifier()?;
            parser.expect_token(&Token::RArrow)?;
            Some(name)
        }
        false => None,
    };
    Ok(Argument {
        name,
        value: parser.parse_expr()?,
        start,
    })
}
