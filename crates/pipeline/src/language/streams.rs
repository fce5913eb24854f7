//! `STREAM x` as SQL: the keyword becomes a table function.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::diagnostics::{FileId, Problem, Span};
use super::lexer::span_of;

/// Puts parentheses around the operand of each STREAM that has none.
pub(super) fn parenthesise(
    file: FileId,
    tokens: Vec<TokenWithSpan>,
) -> Result<Vec<TokenWithSpan>, Problem> {
    let is_word = |token: Option<&TokenWithSpan>, words: &[&str]| match token.map(|t| &t.token) {
        Some(Token::Word(word)) => {
            word.quote_style.is_none() && words.iter().any(|w| word.value.eq_ignore_ascii_case(w))
        }
        _ => false,
    };
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // For each open parenthesis, whether a comma in it separates tables.
    let mut in_from = vec![false];
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let after_table_word = is_word(out.last(), &["FROM", "JOIN"])
            || (matches!(
                out.last().map(|t| &t.token),
                Some(Token::Comma | Token::LParen)
            ) && in_from.last() == Some(&true));
        match &token.token {
            Token::LParen => in_from.push(after_table_word),
            Token::RParen if in_from.len() > 1 => {
                in_from.pop();
            }
            Token::Word(_) if is_word(Some(token), &["FROM"]) => {
                if let Some(top) = in_from.last_mut() {
                    *top = true;
                }
            }
            Token::Word(_) if is_word(Some(token), CLAUSES) => {
                if let Some(top) = in_from.last_mut() {
                    *top = false;
                }
            }
            _ => {}
        }
        out.push(token.clone());
        index += 1;
        if !(after_table_word && is_word(Some(token), &["STREAM"])) {
            continue;
        }
        match tokens.get(index).map(|token| &token.token) {
            Some(Token::LParen) => continue,
            Some(Token::Word(_)) if !is_word(tokens.get(index), NOT_A_TABLE) => {}
            _ => {
                let place = span_of(file, token.span).unwrap_or(Span::new(file, 0, 0));
                return Err(
                    Problem::new(place, "STREAM needs a table or a source function").help(
                        "write STREAM(name), or `stream` in backticks for a table of that name",
                    ),
                );
            }
        }
        let end = operand_end(&tokens, index);
        let operand = tokens.get(index..end).unwrap_or_default();
        let edge = |token: Option<&TokenWithSpan>, fallback| token.map_or(fallback, |t| t.span);
        out.push(TokenWithSpan::new(
            Token::LParen,
            edge(operand.first(), token.span),
        ));
        out.extend_from_slice(operand);
        out.push(TokenWithSpan::new(
            Token::RParen,
            edge(operand.last(), token.span),
        ));
        index = end;
    }
    Ok(out)
}

/// The end of the name and its arguments that start at `index`.
fn operand_end(tokens: &[TokenWithSpan], index: usize) -> usize {
    let at = |index: usize| tokens.get(index).map(|token| &token.token);
    let mut end = index + 1;
    while at(end) == Some(&Token::Period) && matches!(at(end + 1), Some(Token::Word(_))) {
        end += 2;
    }
    if at(end) == Some(&Token::LParen) {
        let mut depth = 0_usize;
        while let Some(token) = at(end) {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            end += 1;
            if depth == 0 {
                break;
            }
        }
    }
    end
}

/// Words after which a comma no longer separates tables.
const CLAUSES: &[&str] = &[
    "SELECT", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "QUALIFY", "ON",
];

/// Words that cannot be the operand of STREAM.
const NOT_A_TABLE: &[&str] = &[
    "AS", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "ON", "JOIN", "LEFT", "RIGHT", "INNER",
    "FULL", "CROSS", "UNION", "SELECT", "FROM",
];
