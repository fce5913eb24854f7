//! Tokens with positions in the file that the user wrote.
//!
//! sqlparser reports a position as line and column of the text that it was given, which here is
//! the text after substitution. Both numbers are replaced by the byte offset in the original
//! file (line 1, column offset + 1): sqlparser carries them through its syntax tree untouched,
//! and so every node of a query knows its bytes.

use std::str::Chars;

use datafusion::sql::sqlparser::dialect::DatabricksDialect;
use datafusion::sql::sqlparser::tokenizer::{
    Location, Span as SqlSpan, Token, TokenWithSpan, Tokenizer,
};

use super::diagnostics::{FileId, Problem, Span};
use super::variables::Expanded;

/// The dialect of pipelines: backticks quote identifiers, single quotes quote strings.
pub(super) const DIALECT: DatabricksDialect = DatabricksDialect {};

/// The tokens of one statement, without its semicolon.
#[derive(Debug)]
pub(super) struct StatementTokens {
    pub(super) tokens: Vec<TokenWithSpan>,
    /// The semicolon, or the end of the file.
    pub(super) end: Span,
}

/// The position of a token or syntax node, if it has one.
pub(super) fn span_of(file: FileId, span: SqlSpan) -> Option<Span> {
    let offset = |location: Location| usize::try_from(location.column).ok()?.checked_sub(1);
    if span.start.line == 0 || span.end.line == 0 {
        return None;
    }
    Some(Span::new(file, offset(span.start)?, offset(span.end)?))
}

/// A position in the form in which sqlparser carries it.
pub(super) fn to_sql_span(span: Span) -> SqlSpan {
    let location = |at: usize| Location {
        line: 1,
        column: at as u64 + 1,
    };
    SqlSpan {
        start: location(span.start),
        end: location(span.end),
    }
}

/// Splits the expanded text of a file into statements. What follows a token that cannot be read
/// is lost, so the statement it stands in is left out.
pub(super) fn statements(
    file: FileId,
    expanded: &Expanded,
    problems: &mut Vec<Problem>,
) -> Vec<StatementTokens> {
    let mut raw = Vec::new();
    let outcome =
        Tokenizer::new(&DIALECT, &expanded.text).tokenize_with_location_into_buf(&mut raw);
    let mut walker = Walker::new(&expanded.text);
    let mut all = Vec::new();
    let mut current = Vec::new();
    for TokenWithSpan { token, span } in raw {
        let start = walker.seek(span.start);
        let end = walker.seek(span.end);
        let original = expanded.original(start..end);
        let span = Span::new(file, original.start, original.end);
        match token {
            Token::Whitespace(_) => {}
            Token::SemiColon => {
                all.push(StatementTokens {
                    tokens: std::mem::take(&mut current),
                    end: span,
                });
            }
            token => current.push(TokenWithSpan {
                token,
                span: to_sql_span(span),
            }),
        }
    }
    match outcome {
        Ok(()) => {
            let end = expanded.original(expanded.text.len()..expanded.text.len());
            let end = Span::new(file, end.start, end.end);
            all.push(StatementTokens {
                tokens: current,
                end,
            });
        }
        Err(error) => {
            let start = Walker::new(&expanded.text).seek(error.location);
            let rest = expanded.text.get(start..).unwrap_or_default();
            let length = rest.find('\n').unwrap_or(rest.len());
            let original = expanded.original(start..start + length);
            let span = Span::new(file, original.start, original.end);
            problems.push(unreadable(span, &error.message));
        }
    }
    all.retain(|statement| {
        let Some(first) = statement
            .tokens
            .first()
            .and_then(|token| span_of(file, token.span))
        else {
            return false;
        };
        let whole = first.to(statement.end);
        !expanded
            .failed
            .iter()
            .any(|failed| whole.start <= failed.start && failed.end <= whole.end)
    });
    all
}

fn unreadable(span: Span, message: &str) -> Problem {
    if message.contains("string literal") {
        Problem::new(span, "this string is not closed")
            .help("a string ends with the quote it starts with; a quote inside it is doubled")
    } else if message.contains("close delimiter") {
        Problem::new(span, "this quoted identifier is not closed").help("it ends with a backtick")
    } else if message.contains("comment") {
        Problem::new(span, "a comment is not closed").help("it ends with */")
    } else {
        let mut message = message.to_owned();
        if let Some(first) = message.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        Problem::new(span, message)
    }
}

/// Turns lines and columns, asked for in rising order, into byte offsets in one pass.
struct Walker<'a> {
    chars: Chars<'a>,
    line: u64,
    column: u64,
    offset: usize,
}

impl<'a> Walker<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            chars: text.chars(),
            line: 1,
            column: 1,
            offset: 0,
        }
    }

    fn seek(&mut self, to: Location) -> usize {
        while (self.line, self.column) < (to.line, to.column) {
            let Some(character) = self.chars.next() else {
                break;
            };
            self.offset += character.len_utf8();
            if character == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.offset
    }
}
