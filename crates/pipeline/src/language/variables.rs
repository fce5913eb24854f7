//! Substitution of `${name}` before anything is parsed.
//!
//! The result remembers which bytes came from where, so that every later position can be told in
//! terms of the file that the user wrote. A value can only ever be a value: inside quotes it is
//! escaped, and outside it must be a literal or an identifier, so it cannot bring in SQL of its
//! own; and it is not scanned for variables again.

use std::collections::BTreeMap;
use std::ops::Range;

use super::diagnostics::{FileId, Problem, Span};
use super::suggest;

/// The variables of a project and their values. They are visible in plans and messages, so they
/// never hold secrets.
pub type Variables = BTreeMap<String, String>;

/// A stretch of the expanded text and the bytes of the file that it came from.
#[derive(Debug)]
struct Piece {
    expanded: Range<usize>,
    original: Range<usize>,
    /// Whether the stretch is the value of a variable, whose inner positions mean nothing.
    value: bool,
}

/// The text after substitution.
#[derive(Debug)]
pub(super) struct Expanded {
    pub(super) text: String,
    pieces: Vec<Piece>,
    /// Places where nothing sensible could be put in; the statements around them are not parsed.
    pub(super) failed: Vec<Span>,
}

impl Expanded {
    /// A text without variables.
    pub(super) fn verbatim(text: &str) -> Self {
        let mut out = Self {
            text: String::new(),
            pieces: Vec::new(),
            failed: Vec::new(),
        };
        out.push(text, 0..text.len(), false);
        out
    }

    /// The place in the file of what stands at `range` of the expanded text.
    pub(super) fn original(&self, range: Range<usize>) -> Range<usize> {
        let start = self.map(range.start, |piece| piece.original.start);
        if range.is_empty() {
            return start..start;
        }
        // The end is exclusive, so it is the last byte inside that decides where it came from.
        let end = match self.piece_at(range.end - 1) {
            Some(piece) if piece.value => piece.original.end,
            Some(piece) => piece.original.start + (range.end - piece.expanded.start),
            None => start,
        };
        start..end.max(start)
    }

    fn map(&self, at: usize, of_value: impl Fn(&Piece) -> usize) -> usize {
        match self.piece_at(at) {
            Some(piece) if piece.value => of_value(piece),
            Some(piece) => piece.original.start + (at - piece.expanded.start),
            None => self.pieces.last().map_or(0, |piece| piece.original.end),
        }
    }

    fn piece_at(&self, at: usize) -> Option<&Piece> {
        let index = self
            .pieces
            .partition_point(|piece| piece.expanded.end <= at);
        self.pieces
            .get(index)
            .filter(|piece| piece.expanded.start <= at)
    }

    fn push(&mut self, text: &str, original: Range<usize>, value: bool) {
        if text.is_empty() {
            return;
        }
        let start = self.text.len();
        self.text.push_str(text);
        let expanded = start..self.text.len();
        self.pieces.push(Piece {
            expanded,
            original,
            value,
        });
    }
}

/// Where the scan is: variables are left alone in comments and escaped in quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Code,
    LineComment,
    BlockComment(usize),
    Quoted(char),
}

/// Replaces the variables of `text`; what is wrong goes to `problems`.
pub(super) fn expand(
    file: FileId,
    text: &str,
    variables: &Variables,
    problems: &mut Vec<Problem>,
) -> Expanded {
    let mut out = Expanded {
        text: String::new(),
        pieces: Vec::new(),
        failed: Vec::new(),
    };
    let mut place = Place::Code;
    let mut copied = 0;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let in_comment = matches!(place, Place::LineComment | Place::BlockComment(_));
        if !in_comment && rest.starts_with("$${") {
            // `$${` is a literal `${`: one dollar is left out.
            out.push(&text[copied..at], copied..at, false);
            out.push("${", at..at + 3, true);
            at += 3;
            copied = at;
            continue;
        }
        if !in_comment && rest.starts_with("${") {
            out.push(&text[copied..at], copied..at, false);
            let (length, value) = variable(rest, place, variables, |length, message, help| {
                let span = Span::new(file, at, at + length);
                problems.push(Problem::new(span, message).maybe_help(help));
            });
            if value.is_none() {
                out.failed.push(Span::new(file, at, at + length));
            }
            out.push(value.as_deref().unwrap_or("_"), at..at + length, true);
            at += length;
            copied = at;
            continue;
        }
        let (step, next) = advance(rest, place);
        place = next;
        at += step;
    }
    out.push(
        text.get(copied..).unwrap_or_default(),
        copied..text.len(),
        false,
    );
    out
}

/// How many bytes to go on and where the scan is then.
fn advance(rest: &str, place: Place) -> (usize, Place) {
    let width = rest.chars().next().map_or(1, char::len_utf8);
    match place {
        Place::Code if rest.starts_with("--") => (2, Place::LineComment),
        Place::Code if rest.starts_with("/*") => (2, Place::BlockComment(1)),
        Place::Code => match rest.chars().next() {
            Some(quote @ ('\'' | '"' | '`')) => (width, Place::Quoted(quote)),
            _ => (width, Place::Code),
        },
        Place::LineComment if rest.starts_with('\n') => (width, Place::Code),
        Place::LineComment => (width, place),
        Place::BlockComment(depth) if rest.starts_with("/*") => (2, Place::BlockComment(depth + 1)),
        Place::BlockComment(1) if rest.starts_with("*/") => (2, Place::Code),
        Place::BlockComment(depth) if rest.starts_with("*/") => (2, Place::BlockComment(depth - 1)),
        Place::BlockComment(_) => (width, place),
        // A doubled quote closes and opens again, which comes to the same.
        Place::Quoted(quote) if rest.starts_with(quote) => (width, Place::Code),
        Place::Quoted(_) => (width, place),
    }
}

/// The length of the reference that `rest` starts with, and the text to put in its place.
fn variable(
    rest: &str,
    place: Place,
    variables: &Variables,
    mut report: impl FnMut(usize, String, Option<String>),
) -> (usize, Option<String>) {
    let inner = &rest[2..];
    let name_length = inner
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')))
        .unwrap_or(inner.len());
    let name = &inner[..name_length];
    if name.is_empty() || !inner[name_length..].starts_with('}') {
        report(
            2 + name_length,
            "this variable is not written as ${name}".to_owned(),
            Some("write $${ for the characters ${ themselves".to_owned()),
        );
        return (2 + name_length, None);
    }
    let length = name_length + 3;
    let Some(value) = variables.get(name) else {
        let known: Vec<&str> = variables.keys().map(String::as_str).collect();
        let help = if known.is_empty() {
            "no variables are defined".to_owned()
        } else {
            let hint = suggest::did_you_mean(name, known.iter().copied());
            let hint = hint.map(|hint| format!("{hint} ")).unwrap_or_default();
            format!("{hint}known variables: {}", known.join(", "))
        };
        report(length, format!("unknown variable `{name}`"), Some(help));
        return (length, None);
    };
    match place {
        Place::Quoted(quote) => (
            length,
            Some(value.replace(quote, &format!("{quote}{quote}"))),
        ),
        _ if is_literal_or_identifier(value) => {
            // After a minus sign a negative number would start a comment.
            let space = if value.starts_with('-') { " " } else { "" };
            (length, Some(format!("{space}{value}")))
        }
        _ => {
            report(
                length,
                format!("the value of variable `{name}` is neither a literal nor an identifier"),
                Some(format!("put quotes around it: '${{{name}}}'")),
            );
            (length, None)
        }
    }
}

/// Whether the value can stand outside quotes without being more than one value.
fn is_literal_or_identifier(value: &str) -> bool {
    is_number(value) || is_quoted(value, '\'') || value.split('.').all(is_name_part)
}

fn is_name_part(part: &str) -> bool {
    let plain = part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    !part.is_empty() && (plain || is_quoted(part, '`'))
}

fn is_quoted(value: &str, quote: char) -> bool {
    value
        .strip_prefix(quote)
        .and_then(|rest| rest.strip_suffix(quote))
        .is_some_and(|inner| {
            !inner
                .replace(&format!("{quote}{quote}"), "")
                .contains(quote)
        })
}

fn is_number(value: &str) -> bool {
    let digits = value.strip_prefix('-').unwrap_or(value);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
        && digits.matches('.').count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        [
            ("data", "/srv/it's"),
            ("layer", "bronze"),
            ("low", "-5"),
            ("sql", "1; DROP"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn expanded(text: &str) -> (String, Vec<String>) {
        let mut problems = Vec::new();
        let out = expand(FileId(0), text, &variables(), &mut problems);
        (
            out.text,
            problems
                .into_iter()
                .map(|problem| problem.message)
                .collect(),
        )
    }

    #[test]
    fn a_value_is_escaped_in_quotes_and_checked_outside_them() {
        assert_eq!(
            expanded("'${data}/x' ${layer}.t").0,
            "'/srv/it''s/x' bronze.t"
        );
        assert_eq!(expanded("a -${low}").0, "a - -5");
        assert_eq!(expanded("${sql}").1.len(), 1);
        assert_eq!(expanded("'${sql}'"), ("'1; DROP'".to_owned(), vec![]));
    }

    #[test]
    fn comments_are_left_alone_and_a_doubled_dollar_is_a_dollar() {
        let text = "-- ${nobody}\n/* ${no /* ${no} */ */ '$${layer}'";
        assert_eq!(expanded(text), (text.replace("$$", "$"), vec![]));
    }

    #[test]
    fn positions_map_back_to_the_file() {
        let mut problems = Vec::new();
        let text = "a ${layer} b";
        let out = expand(FileId(0), text, &variables(), &mut problems);
        assert_eq!(out.text, "a bronze b");
        assert_eq!(out.original(2..8), 2..10);
        assert_eq!(out.original(4..5), 2..10);
        assert_eq!(out.original(9..10), 11..12);
        assert_eq!(out.original(10..10), 12..12);
    }
}
