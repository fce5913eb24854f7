//! Words that the parser has no keyword for.

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

/// Whether these words come next. Quoted words are names.
pub(super) fn ahead(parser: &Parser<'_>, words: &[&str]) -> bool {
    words.iter().enumerate().all(|(place, wanted)| {
        matches!(
            &parser.peek_nth_token(place).token,
            Token::Word(word)
                if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted)
        )
    })
}

/// Takes these words if they come next.
pub(super) fn take(parser: &mut Parser<'_>, words: &[&str]) -> bool {
    let found = ahead(parser, words);
    if found {
        for _ in words {
            parser.next_token();
        }
    }
    found
}

/// Takes one of these words, if it comes next.
pub(super) fn take_one(parser: &mut Parser<'_>, words: &[&str]) -> bool {
    words.iter().any(|word| take(parser, &[word]))
}

/// Takes these words, which must come next.
pub(super) fn expect(parser: &mut Parser<'_>, words: &[&str]) -> Result<(), ParserError> {
    if take(parser, words) {
        return Ok(());
    }
    let place = parser.peek_token();
    parser.expected(&words.join(" "), place)
}

/// A whole number that is not negative.
pub(super) fn number<N: TryFrom<u64>>(parser: &mut Parser<'_>) -> Result<N, ParserError> {
    let place = parser.peek_token();
    let number = parser.parse_literal_uint()?;
    N::try_from(number).or_else(|_| parser.expected("a smaller number", place))
}

/// `a.b.c`
pub(super) fn path(parser: &mut Parser<'_>) -> Result<Vec<Ident>, ParserError> {
    let mut path = vec![parser.parse_identifier()?];
    while parser.consume_token(&Token::Period) {
        path.push(parser.parse_identifier()?);
    }
    Ok(path)
}

/// An error with the place at which something starts, where that is known.
pub(crate) fn placed(error: Error, start: Location) -> Error {
    let has = |wanted: &str| error.context().iter().any(|(key, _)| *key == wanted);
    if start.line == 0 || has("line") || has("at") {
        return error;
    }
    // What is wrong with a column of the table has its name under this key.
    if has("column") {
        let place = format!("line {}, column {}", start.line, start.column);
        return error.with("at", place);
    }
    error.with("line", start.line).with("column", start.column)
}

/// As [`placed`], with the place of a token.
pub(super) fn at(error: Error, token: &TokenWithSpan) -> Error {
    placed(error, token.span.start)
}

/// `array<array<int>>` ends in what is a shift operator elsewhere: each becomes two brackets. Stops
/// at the end of the first list in parentheses if that is `enough`.
pub(super) fn split_closing_brackets(tokens: &mut Vec<TokenWithSpan>, enough: bool) {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.saturating_sub(1);
                if depth == 0 && enough {
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
