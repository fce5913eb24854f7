//! A position in the tokens of one statement, and the small steps that parsers are made of.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::ast::{Identifier, TableName};
use super::diagnostics::{FileId, Problem, Span, Spanned};
use super::lexer::span_of;
use super::suggest;

/// Reads tokens from the front; copying it is how parsers look ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    file: FileId,
    tokens: &'a [TokenWithSpan],
    index: usize,
    end: Span,
    /// The token that stands at `end`, if it is one of the statement.
    after: Option<&'a Token>,
}

impl<'a> Cursor<'a> {
    /// A cursor before the first of `tokens`; `end` is what stands after the last.
    pub(super) fn new(file: FileId, tokens: &'a [TokenWithSpan], end: Span) -> Self {
        Self {
            file,
            tokens,
            index: 0,
            end,
            after: None,
        }
    }

    pub(super) fn file(&self) -> FileId {
        self.file
    }

    pub(super) fn peek(&self) -> &'a Token {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> &'a Token {
        self.tokens
            .get(self.index + ahead)
            .map_or(&Token::EOF, |token| &token.token)
    }

    /// Where the next token stands.
    pub(super) fn span(&self) -> Span {
        self.token_span(self.index)
    }

    /// Where the token before stands.
    pub(super) fn previous_span(&self) -> Span {
        self.index
            .checked_sub(1)
            .map_or_else(|| self.span(), |index| self.token_span(index))
    }

    fn token_span(&self, index: usize) -> Span {
        self.tokens
            .get(index)
            .and_then(|token| span_of(self.file, token.span))
            .unwrap_or(self.end)
    }

    pub(super) fn is_done(&self) -> bool {
        self.index >= self.tokens.len()
    }

    pub(super) fn advance(&mut self) {
        self.index = (self.index + 1).min(self.tokens.len());
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [TokenWithSpan] {
        self.tokens.get(self.index..).unwrap_or_default()
    }

    /// What stands after the last token.
    pub(super) fn end(&self) -> Span {
        self.end
    }

    /// The next token as an unquoted word.
    pub(super) fn word(&self) -> Option<&'a str> {
        match self.peek() {
            Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
            _ => None,
        }
    }

    pub(super) fn at_words(&self, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(ahead, expected)| match self.peek_at(ahead) {
                Token::Word(word) => {
                    word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected)
                }
                _ => false,
            })
    }

    /// Skips the words if all of them come next.
    pub(super) fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = self.at_words(words);
        if found {
            self.index += words.len();
        }
        found
    }

    pub(super) fn eat(&mut self, token: &Token) -> bool {
        let found = !self.is_done() && self.peek() == token;
        if found {
            self.advance();
        }
        found
    }

    /// # Errors
    /// When another word or token comes next; a near miss is named.
    pub(super) fn expect_words(&mut self, words: &[&str]) -> Result<Span, Problem> {
        let start = self.span();
        for word in words {
            if !self.eat_words(&[word]) {
                let help = self
                    .word()
                    .and_then(|found| suggest::did_you_mean(found, [*word]));
                return Err(self.unexpected(&words.join(" ")).maybe_help(help));
            }
        }
        Ok(start.to(self.previous_span()))
    }

    /// # Errors
    /// When another token comes next.
    pub(super) fn expect(&mut self, token: &Token) -> Result<Span, Problem> {
        let span = self.span();
        if self.eat(token) {
            Ok(span)
        } else {
            Err(self.unexpected(&format!("`{token}`")))
        }
    }

    /// # Errors
    /// When anything but an identifier comes next.
    pub(super) fn identifier(&mut self, what: &str) -> Result<Identifier, Problem> {
        match self.peek() {
            Token::Word(word) => {
                let span = self.span();
                self.advance();
                Ok(Identifier::new(
                    &word.value,
                    word.quote_style.is_some(),
                    span,
                ))
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// A name of one or more parts.
    ///
    /// # Errors
    /// When anything else comes next.
    pub(super) fn table_name(&mut self, what: &str) -> Result<Spanned<TableName>, Problem> {
        let first = self.identifier(what)?;
        let mut span = first.span;
        let mut name = TableName::new(first.folded());
        while self.eat(&Token::Period) {
            let part = self.identifier("the next part of the name")?;
            span = span.to(part.span);
            name.push(part.folded());
        }
        Ok(Spanned::new(name, span))
    }

    /// # Errors
    /// When anything but a string comes next.
    pub(super) fn string(&mut self, what: &str) -> Result<Spanned<String>, Problem> {
        match self.peek() {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => {
                let span = self.span();
                self.advance();
                Ok(Spanned::new(text.clone(), span))
            }
            _ => Err(self.unexpected(&format!("{what}, a string in single quotes"))),
        }
    }

    /// # Errors
    /// When anything but a whole number comes next.
    pub(super) fn integer(&mut self, what: &str) -> Result<Spanned<u64>, Problem> {
        if let Token::Number(text, _) = self.peek()
            && let Ok(number) = text.parse()
        {
            let span = self.span();
            self.advance();
            return Ok(Spanned::new(number, span));
        }
        Err(self.unexpected(&format!("{what}, a whole number")))
    }

    /// The tokens between a parenthesis and the one that closes it.
    ///
    /// # Errors
    /// When no parenthesis comes next, or none closes it.
    pub(super) fn parenthesised(&mut self) -> Result<Cursor<'a>, Problem> {
        let opening = self.expect(&Token::LParen)?;
        let start = self.index;
        let mut depth = 1_usize;
        while !self.is_done() {
            match self.peek() {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let inside = self.tokens.get(start..self.index).unwrap_or_default();
                let inner = self.inner(inside);
                self.advance();
                return Ok(inner);
            }
            self.advance();
        }
        Err(Problem::new(opening, "this parenthesis is not closed"))
    }

    /// Takes the tokens up to the first, outside parentheses, at which `stop` holds.
    pub(super) fn take_until(&mut self, stop: impl Fn(&Cursor<'a>) -> bool) -> Cursor<'a> {
        let start = self.index;
        let mut depth = 0_usize;
        while !self.is_done() && (depth > 0 || !stop(self)) {
            match self.peek() {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.advance();
        }
        let taken = self.tokens.get(start..self.index).unwrap_or_default();
        self.inner(taken)
    }

    /// A cursor over `tokens`, which end right before the next token.
    fn inner(&self, tokens: &'a [TokenWithSpan]) -> Cursor<'a> {
        let after = if self.is_done() {
            self.after
        } else {
            Some(self.peek())
        };
        Cursor {
            file: self.file,
            tokens,
            index: 0,
            end: self.span(),
            after,
        }
    }

    /// From the next token to the last.
    pub(super) fn rest_span(&self) -> Span {
        let last = self.tokens.len().saturating_sub(1).max(self.index);
        self.span().to(self.token_span(last))
    }

    /// # Errors
    /// When anything is left.
    pub(super) fn expect_done(&self, what: &str) -> Result<(), Problem> {
        if self.is_done() {
            Ok(())
        } else {
            Err(self.unexpected(what))
        }
    }

    /// "expected …, found …" at the next token.
    pub(super) fn unexpected(&self, expected: &str) -> Problem {
        let found = if !self.is_done() {
            format!("`{}`", self.peek())
        } else if let Some(after) = self.after {
            format!("`{after}`")
        } else if self.end.start == self.end.end {
            "the end of the file".to_owned()
        } else {
            "the end of the statement".to_owned()
        };
        Problem::new(self.span(), format!("expected {expected}, found {found}"))
    }
}
