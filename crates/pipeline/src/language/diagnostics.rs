//! Positions in source files and the messages that point at them.
//!
//! Parsing and validation collect [`Problem`]s, which are small and know only a span. At the end
//! each becomes a [`Diagnostic`], which owns everything that is needed to print it.

use std::fmt::{self, Write as _};
use std::ops::Range;

use unicode_width::UnicodeWidthChar;

/// One SQL file of a project: the name that messages show, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as the user knows it, for instance `pipelines/movies.sql`.
    pub name: String,
    /// The whole text of the file.
    pub text: String,
}

impl SourceFile {
    /// A file called `name` that holds `text`.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }
}

/// Which file of the project a span lies in: an index into the files that were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub usize);

/// A range of bytes in one source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` to `end` of `file`.
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        Self {
            file,
            start,
            end: end.max(start),
        }
    }

    /// From the start of this span to the end of `other`, which lies in the same file.
    pub fn to(self, other: Span) -> Span {
        Span::new(
            self.file,
            self.start.min(other.start),
            self.end.max(other.end),
        )
    }

    /// The bytes, for slicing the file's text.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// Something and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// What was written.
    pub node: T,
    /// Where.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// `node`, written at `span`.
    pub fn new(node: T, span: Span) -> Self {
        Self { node, span }
    }
}

/// A mistake found while parsing or validating, before it is tied to the text of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Problem {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// What the language has, but this version cannot execute.
    pub(super) fn unsupported(span: Span, what: &str) -> Self {
        Self::new(span, format!("{what} is not supported in this version"))
    }

    pub(super) fn into_diagnostic(self, files: &[SourceFile]) -> Diagnostic {
        let empty = SourceFile::new("<unknown>", "");
        let file = files.get(self.span.file.0).unwrap_or(&empty);
        Diagnostic::new(file, self.span.range(), self.message, self.help)
    }
}

/// A mistake in a project, with the place where it stands and the line around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    file: String,
    span: Range<usize>,
    line: usize,
    column: usize,
    message: String,
    help: Option<String>,
    /// The line that the span starts in, without its end.
    source_line: String,
    /// The bytes of `source_line` to underline.
    underline: Range<usize>,
}

impl Diagnostic {
    fn new(file: &SourceFile, span: Range<usize>, message: String, help: Option<String>) -> Self {
        let text = file.text.as_str();
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end).max(start);
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(line_start..).unwrap_or_default();
        let whole_line = rest.split('\n').next().unwrap_or_default();
        let source_line = whole_line.strip_suffix('\r').unwrap_or(whole_line);
        let in_line = |at: usize| (at - line_start).min(source_line.len());
        Self {
            file: file.name.clone(),
            line: before.matches('\n').count() + 1,
            column: text
                .get(line_start..start)
                .unwrap_or_default()
                .chars()
                .count()
                + 1,
            message,
            help,
            source_line: source_line.to_owned(),
            underline: in_line(start)..in_line(end),
            span: start..end,
        }
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The bytes of the file that the message is about.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The character within the line, counted from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

/// The greatest position that is not past `at` and not inside a character.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Appends what a terminal shows of `text`, with tabs as spaces, and returns its width in columns.
///
/// The line and its underline must be laid out by the same rule, or the marks drift.
fn lay_out(text: &str, column: usize, out: &mut String) -> usize {
    const TAB: usize = 4;
    let mut width = 0;
    for character in text.chars() {
        if character == '\t' {
            let step = TAB - (column + width) % TAB;
            out.extend(std::iter::repeat_n(' ', step));
            width += step;
        } else if character.is_control() {
            out.push(' ');
            width += 1;
        } else {
            out.push(character);
            width += character.width().unwrap_or(0);
        }
    }
    width
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.underline.start, self.underline.end);
        let part = |range: Range<usize>| self.source_line.get(range).unwrap_or_default();
        let mut shown = String::new();
        let indent = lay_out(part(0..start), 0, &mut shown);
        let marked = lay_out(part(start..end), indent, &mut shown).max(1);
        lay_out(
            part(end..self.source_line.len()),
            indent + marked,
            &mut shown,
        );

        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let mut text = String::new();
        writeln!(text, "error: {}", self.message)?;
        writeln!(
            text,
            "{gutter}--> {}:{}:{}",
            self.file, self.line, self.column
        )?;
        writeln!(text, "{gutter} |")?;
        writeln!(text, "{number} | {}", shown.trim_end())?;
        write!(
            text,
            "{gutter} | {}{}",
            " ".repeat(indent),
            "^".repeat(marked)
        )?;
        if let Some(help) = &self.help {
            write!(text, "\n{gutter} = help: {help}")?;
        }
        f.write_str(&text)
    }
}

/// Everything that is wrong with a project; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Ties the problems to their files, in the order in which they stand there; `None` if there
    /// are none.
    pub(super) fn from_problems(mut problems: Vec<Problem>, files: &[SourceFile]) -> Option<Self> {
        if problems.is_empty() {
            return None;
        }
        problems.sort_by_key(|problem| problem.span);
        problems.dedup();
        Some(Self(
            problems
                .into_iter()
                .map(|problem| problem.into_diagnostic(files))
                .collect(),
        ))
    }

    /// The diagnostics, in the order of their files and positions.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always at least one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
