//! JSON records to cells, guided by the declared columns.
//!
//! One pass reads the text, checks its grammar and coerces its values. The grammar has the last
//! word: a record with a value that does not fit and a syntax error further on is malformed. The
//! parser is written here because the coercion rules need the text of numbers exactly as it
//! stands, which a value tree no longer has.

use std::borrow::Cow;

use super::MAX_DEPTH;
use super::plan::{Cell, Column, Columns, Kind, Reject};
use crate::dead_letter::{ErrorType, shortened};

/// Decodes one record, which must be a JSON object, into the cells of the columns.
pub(crate) fn decode<'a>(record: &'a [u8], columns: &Columns) -> Result<Vec<Cell<'a>>, Reject> {
    let mut parser = Parser::new(utf8(record)?);
    parser.blanks();
    if parser.peek() != Some(b'{') {
        parser.skip_value(0)?;
        parser.end()?;
        return Err(Reject::new(
            ErrorType::TypeMismatch,
            format!(
                "a record must be a JSON object, found {}",
                shortened(parser.text)
            ),
        ));
    }
    let cells = parser.record(columns, 0)?;
    parser.end()?;
    match parser.reject {
        Some(reject) => Err(reject),
        None => Ok(cells),
    }
}

/// The text of a record, or the reject that says where it stops being UTF-8.
pub(crate) fn utf8(record: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(record).map_err(|error| {
        Reject::new(
            ErrorType::InvalidUtf8,
            format!("byte {} of the record is no UTF-8", error.valid_up_to()),
        )
    })
}

/// A reader of one JSON text.
pub(crate) struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// The first value that does not fit its column.
    reject: Option<Reject>,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            reject: None,
        }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(crate) fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Only blanks may follow.
    pub(crate) fn end(&mut self) -> Result<(), Reject> {
        self.blanks();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(self.malformed("the end"))
        }
    }

    fn malformed(&self, expected: &str) -> Reject {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = if rest.is_empty() {
            "the end of the record".to_owned()
        } else {
            format!("{:?}", shortened(rest))
        };
        Reject::new(
            ErrorType::Malformed,
            format!(
                "no JSON: expected {expected} at byte {}, found {found}",
                self.at
            ),
        )
    }

    fn note(&mut self, reject: Reject) {
        self.reject.get_or_insert(reject);
    }

    fn fits(&mut self, cell: Result<Cell<'a>, Reject>) -> Cell<'a> {
        cell.unwrap_or_else(|reject| {
            self.note(reject);
            Cell::Null
        })
    }

    fn check_depth(&self, depth: usize) -> Result<(), Reject> {
        if depth < MAX_DEPTH {
            return Ok(());
        }
        Err(Reject::new(
            ErrorType::TooDeep,
            format!("the record is nested deeper than {MAX_DEPTH} levels"),
        ))
    }

    /// An object whose fields are declared columns. The parser stands at `{`.
    fn record(&mut self, columns: &Columns, depth: usize) -> Result<Vec<Cell<'a>>, Reject> {
        let mut cells: Vec<Option<Cell<'a>>> = Vec::new();
        cells.resize_with(columns.list.len(), || None);
        let mut misfits = Misfits::default();
        let mut hint = 0;
        self.object(depth, |parser, name| {
            match columns.find(&name, hint) {
                Some(at) => {
                    hint = at + 1;
                    let (cell, reject) = parser.value_alone(&columns.list[at], depth + 1)?;
                    // Of a name that is repeated the last value counts.
                    cells[at] = Some(cell);
                    misfits.set(&at, reject);
                }
                None => parser.skip_value(depth + 1)?,
            }
            Ok(())
        })?;
        self.reject = self.reject.take().or(misfits.first());
        let cells = columns
            .list
            .iter()
            .zip(cells)
            .map(|(column, cell)| match cell {
                Some(cell) => cell,
                None => {
                    if !column.field.is_nullable() {
                        self.note(column.missing("has no such field"));
                    }
                    Cell::Null
                }
            });
        Ok(cells.collect())
    }

    /// A value of a declared column, and why it or a value inside of it does not fit.
    fn value_alone(
        &mut self,
        column: &Column,
        depth: usize,
    ) -> Result<(Cell<'a>, Option<Reject>), Reject> {
        let before = self.reject.take();
        let cell = self.value(column, depth)?;
        let reject = std::mem::replace(&mut self.reject, before);
        Ok((cell, reject))
    }

    /// A value of a declared column.
    fn value(&mut self, column: &Column, depth: usize) -> Result<Cell<'a>, Reject> {
        match self.peek() {
            Some(b'"') => {
                let text = self.string()?;
                Ok(self.fits(column.text(text)))
            }
            Some(b'-' | b'0'..=b'9') => {
                let text = self.number()?;
                Ok(self.fits(column.number(text)))
            }
            Some(b't') => {
                self.word("true")?;
                Ok(self.fits(column.truth("true")))
            }
            Some(b'f') => {
                self.word("false")?;
                Ok(self.fits(column.truth("false")))
            }
            Some(b'n') => {
                self.word("null")?;
                if !column.field.is_nullable() {
                    self.note(column.missing("has null there"));
                }
                Ok(Cell::Null)
            }
            Some(b'[') => match &column.kind {
                Kind::List(item) => {
                    let mut items = Vec::new();
                    self.array(depth, |parser| {
                        items.push(parser.value(item, depth + 1)?);
                        Ok(())
                    })?;
                    Ok(Cell::List(items))
                }
                _ => self.other(column, "the array", depth),
            },
            Some(b'{') => match &column.kind {
                Kind::Struct(columns) => Ok(Cell::Struct(self.record(columns, depth)?)),
                Kind::Map(values) => {
                    let mut entries: Vec<(Cell<'a>, Cell<'a>)> = Vec::new();
                    let mut misfits = Misfits::default();
                    self.object(depth, |parser, name| {
                        let (value, reject) = parser.value_alone(values, depth + 1)?;
                        misfits.set(&name, reject);
                        entries.push((Cell::Text(name), value));
                        Ok(())
                    })?;
                    self.reject = self.reject.take().or(misfits.first());
                    Ok(Cell::Map(last_of_each_key(entries)))
                }
                _ => self.other(column, "the object", depth),
            },
            _ => Err(self.malformed("a value")),
        }
    }

    /// A nested value in a column that is not nested, or the other way round.
    fn other(&mut self, column: &Column, what: &str, depth: usize) -> Result<Cell<'a>, Reject> {
        let start = self.at;
        self.skip_value(depth)?;
        let reject = column.mismatch(what, &self.text[start..self.at]);
        self.note(reject);
        Ok(Cell::Null)
    }

    /// Reads an object, giving each name to `field`, which reads the value.
    pub(crate) fn object(
        &mut self,
        depth: usize,
        mut field: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Reject>,
    ) -> Result<(), Reject> {
        self.check_depth(depth)?;
        self.at += 1;
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.malformed("a field name in quotes"));
            }
            let name = self.string()?;
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.malformed("':'"));
            }
            self.at += 1;
            self.blanks();
            field(self, name)?;
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.malformed("',' or '}'")),
            }
        }
    }

    /// Reads an array; `item` reads each value.
    pub(crate) fn array(
        &mut self,
        depth: usize,
        mut item: impl FnMut(&mut Self) -> Result<(), Reject>,
    ) -> Result<(), Reject> {
        self.check_depth(depth)?;
        self.at += 1;
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.blanks();
            item(self)?;
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.malformed("',' or ']'")),
            }
        }
    }

    /// Reads a value of any kind and forgets it.
    pub(crate) fn skip_value(&mut self, depth: usize) -> Result<(), Reject> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'[') => self.array(depth, |parser| parser.skip_value(depth + 1)),
            Some(b'{') => self.object(depth, |parser, _| parser.skip_value(depth + 1)),
            _ => Err(self.malformed("a value")),
        }
    }

    pub(crate) fn word(&mut self, word: &str) -> Result<(), Reject> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.malformed(word))
    }

    /// The text of a number, exactly as it stands.
    pub(crate) fn number(&mut self) -> Result<&'a str, Reject> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), Reject> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.malformed("a digit"))
        } else {
            Ok(())
        }
    }

    /// A string. The parser stands at the opening quote.
    pub(crate) fn string(&mut self) -> Result<Cow<'a, str>, Reject> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        let mut start = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            while bytes
                .get(self.at)
                .is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..=31))
            {
                self.at += 1;
            }
            let plain = &self.text[start..self.at];
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(match unescaped {
                        Some(text) => Cow::Owned(text + plain),
                        None => Cow::Borrowed(plain),
                    });
                }
                Some(b'\\') => {
                    let text = unescaped.get_or_insert_default();
                    text.push_str(plain);
                    self.at += 1;
                    let character = self.escape()?;
                    text.push(character);
                    start = self.at;
                }
                _ => return Err(self.malformed("a character of a string or its closing quote")),
            }
        }
    }

    /// What stands behind a backslash.
    fn escape(&mut self) -> Result<char, Reject> {
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.malformed("an escape")),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode(&mut self) -> Result<char, Reject> {
        let first = self.hex()?;
        let code = if (0xd800..0xdc00).contains(&first) {
            if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                return Err(self.malformed("the second half of a surrogate pair"));
            }
            self.at += 2;
            let second = self.hex()?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(self.malformed("the second half of a surrogate pair"));
            }
            0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
        } else {
            first
        };
        char::from_u32(code).ok_or_else(|| self.malformed("a Unicode character"))
    }

    fn hex(&mut self) -> Result<u32, Reject> {
        let digits = self
            .text
            .as_bytes()
            .get(self.at..self.at + 4)
            .unwrap_or_default();
        let code = digits.iter().try_fold(0, |code, digit| {
            char::from(*digit)
                .to_digit(16)
                .map(|digit| code * 16 + digit)
        });
        match code {
            Some(code) if digits.len() == 4 => {
                self.at += 4;
                Ok(code)
            }
            _ => Err(self.malformed("four hexadecimal digits")),
        }
    }
}

/// The values of an object that do not fit, by their names: a later value of a name stands for it.
#[derive(Debug)]
struct Misfits<N> {
    list: Vec<(N, Reject)>,
    /// One that stays whatever follows, because too many were met to keep them all.
    lasting: Option<Reject>,
}

impl<N> Default for Misfits<N> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            lasting: None,
        }
    }
}

impl<N: PartialEq + Clone> Misfits<N> {
    /// How many are kept. A record with more of them is none, whatever is said later of each.
    const MOST: usize = 64;

    /// Takes what became of a value of this name.
    fn set(&mut self, name: &N, reject: Option<Reject>) {
        self.list.retain(|(known, _)| known != name);
        let Some(reject) = reject else { return };
        if self.list.len() < Self::MOST {
            self.list.push((name.clone(), reject));
        } else {
            self.lasting.get_or_insert(reject);
        }
    }

    /// The first of them.
    fn first(self) -> Option<Reject> {
        let first = self.list.into_iter().next();
        first.map(|(_, reject)| reject).or(self.lasting)
    }
}

/// A map has each key once, and of a key that is repeated the last value counts.
fn last_of_each_key<'a>(entries: Vec<(Cell<'a>, Cell<'a>)>) -> Vec<(Cell<'a>, Cell<'a>)> {
    let mut place = std::collections::HashMap::with_capacity(entries.len());
    let mut kept: Vec<(Cell<'a>, Cell<'a>)> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let Cell::Text(name) = &key else { continue };
        match place.get(name) {
            Some(at) => {
                let entry: &mut (Cell<'a>, Cell<'a>) = &mut kept[*at];
                entry.1 = value;
            }
            None => {
                place.insert(name.clone(), kept.len());
                kept.push((key, value));
            }
        }
    }
    kept
}
