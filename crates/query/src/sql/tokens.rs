//! From text to tokens, statement by statement, with time travel brought into one form.

use berglake_format::{Error, Result};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Word};

use super::dialect::LakeDialect;
use crate::error::parser_error;

/// The function that a version is wrapped in, so that a version passes through the parser as an
/// expression: `VERSION AS OF 'main'` becomes `TIMESTAMP AS OF berglake_version('main')`.
pub(super) const VERSION_FUNCTION: &str = "berglake_version";

/// The statements of a text, without comments, semicolons and empty ones.
///
/// # Errors
/// For text that is not made of tokens, such as a string that does not end.
pub(super) fn statements(text: &str) -> Result<Vec<Vec<TokenWithSpan>>> {
    let dialect: &dyn Dialect = &LakeDialect;
    let tokens = Tokenizer::new(dialect, text)
        .tokenize_with_location()
        .map_err(|error| parser_error(&ParserError::from(error)))?;
    let tokens: Vec<_> = tokens
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF))
        .collect();
    tokens
        .split(|token| token.token == Token::SemiColon)
        .filter(|statement| !statement.is_empty())
        .map(unify_time_travel)
        .collect()
}

fn keyword(tokens: &[TokenWithSpan], place: usize) -> Keyword {
    match tokens.get(place).map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

fn is_word(tokens: &[TokenWithSpan], place: usize, text: &str) -> bool {
    matches!(
        tokens.get(place).map(|token| &token.token),
        Some(Token::Word(word)) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text)
    )
}

#[derive(Clone, Copy, PartialEq)]
enum Travel {
    Version,
    Time,
}

/// Brings `[FOR] VERSION | SYSTEM_VERSION | TIMESTAMP | SYSTEM_TIME AS OF` into the one form that the
/// parser knows.
fn unify_time_travel(tokens: &[TokenWithSpan]) -> Result<Vec<TokenWithSpan>> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let start = at + usize::from(keyword(tokens, at) == Keyword::FOR);
        let Some(travel) = travel(tokens, start) else {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        };
        let span = tokens[start].span;
        for word in ["TIMESTAMP", "AS", "OF"] {
            out.push(word_at(word, span));
        }
        at = start + 3;
        if travel == Travel::Version {
            let Some(version) = tokens.get(at) else {
                return Ok(out);
            };
            out.push(word_at(VERSION_FUNCTION, version.span));
            out.push(TokenWithSpan::new(Token::LParen, version.span));
            out.push(match &version.token {
                // A branch may be named without quotes, too.
                Token::Word(word) => {
                    TokenWithSpan::new(Token::SingleQuotedString(word.value.clone()), version.span)
                }
                Token::Number(..) | Token::SingleQuotedString(_) => version.clone(),
                other => {
                    return Err(Error::invalid(format!(
                        "a version is a snapshot id or the name of a branch or tag, not {other}"
                    ))
                    .with("line", version.span.start.line)
                    .with("column", version.span.start.column));
                }
            });
            out.push(TokenWithSpan::new(Token::RParen, version.span));
            at += 1;
        }
    }
    Ok(out)
}

/// Whether time travel starts here. `SELECT version AS of FROM t` is none: after the clause stands a
/// value.
fn travel(tokens: &[TokenWithSpan], start: usize) -> Option<Travel> {
    let travel = if is_word(tokens, start, "version") || is_word(tokens, start, "system_version") {
        Travel::Version
    } else if is_word(tokens, start, "timestamp") || is_word(tokens, start, "system_time") {
        Travel::Time
    } else {
        return None;
    };
    let is_clause = keyword(tokens, start + 1) == Keyword::AS
        && keyword(tokens, start + 2) == Keyword::OF
        && keyword(tokens, start + 3) != Keyword::FROM
        && !matches!(
            tokens.get(start + 3).map(|token| &token.token),
            None | Some(Token::Comma | Token::RParen)
        );
    is_clause.then_some(travel)
}

fn word_at(text: &str, span: Span) -> TokenWithSpan {
    let token = match Token::make_keyword(text) {
        Token::Word(word) => Token::Word(Word {
            value: text.to_string(),
            ..word
        }),
        other => other,
    };
    TokenWithSpan::new(token, span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unified(text: &str) -> String {
        let statements = statements(text).unwrap();
        statements[0]
            .iter()
            .map(|token| token.token.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn every_spelling_of_time_travel_becomes_one() {
        for clause in [
            "VERSION AS OF 5",
            "FOR VERSION AS OF 5",
            "for system_version as of 5",
        ] {
            assert_eq!(
                unified(&format!("SELECT * FROM t {clause} x")),
                "SELECT * FROM t TIMESTAMP AS OF berglake_version ( 5 ) x"
            );
        }
        for clause in ["TIMESTAMP AS OF now()", "FOR SYSTEM_TIME AS OF now()"] {
            assert_eq!(
                unified(&format!("SELECT * FROM t {clause}")),
                "SELECT * FROM t TIMESTAMP AS OF now ( )"
            );
        }
    }

    #[test]
    fn a_column_that_is_called_version_is_no_time_travel() {
        let text = "SELECT version AS of FROM t";
        assert_eq!(unified(text), text);
    }

    #[test]
    fn statements_are_split_at_semicolons_outside_of_strings() {
        let all = statements("SELECT ';' -- ;\n; ; SELECT 2;").unwrap();
        assert_eq!(all.len(), 2);
    }
}
