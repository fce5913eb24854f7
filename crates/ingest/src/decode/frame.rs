//! Cutting a stream of bytes into records.
//!
//! A framer gets a file in chunks of any size and gives its records in order, each with the
//! offset of its first byte. It holds at most one record, of which it keeps at most
//! [`MAX_RECORD_BYTES`]; where chunks are cut makes no difference to the records.

use bytes::Bytes;

use super::MAX_RECORD_BYTES;
use super::plan::Reject;
use crate::dead_letter::ErrorType;

/// A record as bytes, or bytes that are certainly no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    pub(crate) raw: Bytes,
    /// Why the bytes cannot be a record.
    pub(crate) reject: Option<Reject>,
}

/// How the records of a file are told apart.
#[derive(Debug)]
pub(crate) enum Framer {
    /// JSON of either shape, until the first byte that is not blank tells which.
    Detect {
        offset: u64,
        head: Vec<u8>,
    },
    Lines(Lines),
    Array(Array),
    Csv(Csv),
}

impl Framer {
    pub(crate) fn detect() -> Self {
        Self::Detect {
            offset: 0,
            head: Vec::new(),
        }
    }

    /// Takes the next bytes of the file.
    pub(crate) fn push(&mut self, chunk: Bytes, out: &mut Vec<Frame>) {
        match self {
            Self::Detect { offset, head } => {
                // The mark of UTF-8 may be cut anywhere, so the head is kept until it is whole.
                head.extend_from_slice(&chunk);
                let mark = mark_len(head);
                if mark.is_none() {
                    return;
                }
                let blank = mark.unwrap_or_default();
                let text = head[blank..].iter().position(|byte| !is_blank(*byte));
                let Some(text) = text else {
                    *offset += head.len() as u64;
                    // Behind the mark blanks are all there was: they need not be kept.
                    head.clear();
                    head.push(b' ');
                    *offset -= 1;
                    return;
                };
                let is_array = head[blank + text] == b'[';
                let (offset, head) = (*offset, Bytes::from(std::mem::take(head)));
                *self = if is_array {
                    Self::Array(Array::starting_at(offset))
                } else {
                    Self::Lines(Lines::starting_at(offset))
                };
                self.push(head, out);
            }
            Self::Lines(lines) => lines.push(&chunk, out),
            Self::Array(array) => array.push(&chunk, out),
            Self::Csv(csv) => csv.push(&chunk, out),
        }
    }

    /// The file has ended.
    pub(crate) fn finish(&mut self, out: &mut Vec<Frame>) {
        match self {
            // What is left may be part of a byte order mark, which is no record of either shape.
            Self::Detect { offset, head } => {
                let mut lines = Lines::starting_at(*offset);
                lines.push(&Bytes::from(std::mem::take(head)), out);
                lines.finish(out);
            }
            Self::Lines(lines) => lines.finish(out),
            Self::Array(array) => array.finish(out),
            Self::Csv(csv) => csv.finish(out),
        }
    }
}

/// The length of the byte order mark at the begin of a file, if it can be told yet.
fn mark_len(head: &[u8]) -> Option<usize> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    if head.starts_with(MARK) {
        Some(MARK.len())
    } else if MARK.starts_with(head) {
        None
    } else {
        Some(0)
    }
}

pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The record that is being read.
#[derive(Debug, Default)]
struct Pending {
    kept: Vec<u8>,
    /// How long it is, kept or not.
    total: u64,
}

impl Pending {
    fn extend(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = MAX_RECORD_BYTES.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The record with its last part, which is a slice of `chunk` and mostly all of it.
    fn take(&mut self, chunk: &Bytes, start: usize, end: usize) -> (Bytes, u64) {
        if self.total == 0 && end - start <= MAX_RECORD_BYTES {
            return (chunk.slice(start..end), (end - start) as u64);
        }
        self.extend(&chunk[start..end]);
        let total = std::mem::take(&mut self.total);
        (Bytes::from(std::mem::take(&mut self.kept)), total)
    }
}

/// The frame of a record that is `total` bytes long, of which `raw` was kept.
fn framed(offset: u64, raw: Bytes, total: u64, reject: Option<Reject>) -> Frame {
    if total > MAX_RECORD_BYTES as u64 {
        let (error_type, why) = match reject {
            Some(reject) => (reject.error_type, format!("{}; ", reject.message)),
            None => (ErrorType::TooLarge, String::new()),
        };
        let reject = Reject::new(
            error_type,
            format!(
                "{why}the record is {total} bytes long, and {MAX_RECORD_BYTES} is the most; \
                 its first {} bytes are kept",
                raw.len()
            ),
        );
        return Frame {
            offset,
            raw,
            reject: Some(reject),
        };
    }
    Frame {
        offset,
        raw,
        reject,
    }
}

/// Without the blanks around it, and how many stood before it.
fn trimmed(raw: &Bytes) -> (usize, Bytes) {
    let start = raw
        .iter()
        .position(|byte| !is_blank(*byte))
        .unwrap_or(raw.len());
    let end = raw
        .iter()
        .rposition(|byte| !is_blank(*byte))
        .map_or(start, |last| last + 1);
    (start, raw.slice(start..end))
}

/// One record per line. Blank lines are no records.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The offset of the next byte of the file.
    offset: u64,
    /// The offset of the line that is being read.
    start: u64,
    pending: Pending,
}

impl Lines {
    fn starting_at(offset: u64) -> Self {
        Self {
            offset,
            start: offset,
            ..Self::default()
        }
    }

    fn push(&mut self, chunk: &Bytes, out: &mut Vec<Frame>) {
        let mut from = 0;
        while let Some(length) = chunk[from..].iter().position(|byte| *byte == b'\n') {
            let (raw, total) = self.pending.take(chunk, from, from + length);
            self.emit(raw, total, out);
            from += length + 1;
            self.start = self.offset + from as u64;
        }
        self.pending.extend(&chunk[from..]);
        self.offset += chunk.len() as u64;
    }

    fn finish(&mut self, out: &mut Vec<Frame>) {
        let (raw, total) = self.pending.take(&Bytes::new(), 0, 0);
        self.emit(raw, total, out);
    }

    fn emit(&self, raw: Bytes, total: u64, out: &mut Vec<Frame>) {
        let (mut start, mut raw) = (self.start, raw);
        if start == 0
            && let Some(mark @ 1..) = mark_len(&raw)
        {
            start += mark as u64;
            raw = raw.slice(mark..);
        }
        let (blanks, text) = trimmed(&raw);
        if total > MAX_RECORD_BYTES as u64 {
            out.push(framed(start, raw, total, None));
        } else if !text.is_empty() {
            out.push(framed(start + blanks as u64, text, total, None));
        }
    }
}

/// The elements of one array.
///
/// An element ends at a comma or bracket on the level of the array, so whatever is wrong inside
/// an element whose brackets and quotes are balanced costs that element alone. Where they are not
/// balanced nobody can tell where the next element begins: guessing could make rows of what was
/// nested. The rest of the file is then one frame.
#[derive(Debug, Default)]
pub(crate) struct Array {
    offset: u64,
    start: u64,
    pending: Pending,
    state: State,
    /// The closing brackets that are awaited inside the element, as deep as records may be.
    open: Vec<u8>,
    /// How many more are awaited below those.
    deeper: u64,
    in_string: bool,
    escaped: bool,
    /// Whether an element stood before this one.
    after_comma: bool,
    /// Whether the element has a byte that is not blank.
    filled: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Before,
    Element,
    After,
    /// Beyond recovery: the rest of the file is kept as one, for this reason.
    Broken(&'static str),
}

impl Array {
    /// How many levels of brackets are told apart; deeper ones are only counted, and the record
    /// is refused for its depth anyhow.
    const LEVELS: usize = 4 * super::MAX_DEPTH;

    fn starting_at(offset: u64) -> Self {
        Self {
            offset,
            start: offset,
            ..Self::default()
        }
    }

    fn push(&mut self, chunk: &Bytes, out: &mut Vec<Frame>) {
        // Where the part of the element begins that is not in `pending` yet.
        let mut from = 0;
        let mut at = 0;
        while at < chunk.len() {
            let byte = chunk[at];
            match self.state {
                State::Before => {
                    let is_mark = self.offset + (at as u64) < 3 && byte >= 0x80;
                    if byte == b'[' {
                        self.state = State::Element;
                        self.begin(at + 1);
                        from = at + 1;
                    } else if !is_blank(byte) && !is_mark {
                        self.state = State::Broken("the file does not begin with '['");
                        self.begin(at);
                        from = at;
                    }
                }
                State::Element => {
                    if self.element_byte(byte) {
                        let (raw, total) = self.pending.take(chunk, from, at);
                        self.emit(raw, total, byte == b']', out);
                        self.begin(at + 1);
                        from = at + 1;
                    }
                }
                State::After => {
                    if !is_blank(byte) {
                        self.state = State::Broken("text follows the end of the array");
                        self.begin(at);
                        from = at;
                    }
                }
                State::Broken(_) => break,
            }
            at += 1;
        }
        if matches!(self.state, State::Element | State::Broken(_)) {
            self.pending.extend(&chunk[from..]);
        }
        self.offset += chunk.len() as u64;
    }

    fn begin(&mut self, at: usize) {
        self.start = self.offset + at as u64;
        self.filled = false;
    }

    /// Takes a byte of an element; says whether the byte ends it.
    fn element_byte(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' if self.open.len() >= Self::LEVELS => self.deeper += 1,
            b'{' => self.open.push(b'}'),
            b'[' => self.open.push(b']'),
            b'}' | b']' if self.deeper > 0 => self.deeper -= 1,
            b'}' | b']' => match self.open.pop() {
                Some(awaited) if awaited == byte => {}
                None if byte == b']' => return true,
                _ => self.state = State::Broken("brackets do not match"),
            },
            b',' if self.open.is_empty() => return true,
            _ => {}
        }
        self.filled |= !is_blank(byte);
        false
    }

    fn emit(&mut self, raw: Bytes, total: u64, last: bool, out: &mut Vec<Frame>) {
        let (blanks, text) = trimmed(&raw);
        let offset = self.start + blanks as u64;
        let is_empty_array = last && !self.after_comma && !self.filled;
        if !self.filled && !is_empty_array {
            let reject = Reject::new(ErrorType::Malformed, "an element of the array is empty");
            out.push(Frame {
                offset,
                raw: Bytes::new(),
                reject: Some(reject),
            });
        } else if self.filled {
            let text = if total > MAX_RECORD_BYTES as u64 {
                raw
            } else {
                text
            };
            out.push(framed(offset, text, total, None));
        }
        self.after_comma = true;
        if last {
            self.state = State::After;
        }
    }

    fn finish(&mut self, out: &mut Vec<Frame>) {
        let why = match self.state {
            State::Before | State::After => return,
            State::Broken(why) => why,
            State::Element => "the file ends inside the array",
        };
        let (raw, total) = self.pending.take(&Bytes::new(), 0, 0);
        let (blanks, text) = trimmed(&raw);
        let offset = self.start + blanks as u64;
        let complete = self.state == State::Element
            && self.open.is_empty()
            && !self.in_string
            && text.last() == Some(&b'}');
        let end = self.start + total;
        if complete {
            // The element is whole, only the array is not: the row counts, and so does the fault.
            out.push(framed(offset, text, total, None));
            let reject = Reject::new(ErrorType::Malformed, format!("no JSON: {why}"));
            out.push(Frame {
                offset: end,
                raw: Bytes::new(),
                reject: Some(reject),
            });
            return;
        }
        let reject = Reject::new(
            ErrorType::Malformed,
            format!(
                "no JSON: {why}; the rest of the file is {} bytes",
                text.len().max(raw.len())
            ),
        );
        out.push(framed(offset, text, total, Some(reject)));
    }
}

/// The rows of a CSV file. A quoted field may hold line ends.
#[derive(Debug)]
pub(crate) struct Csv {
    delimiter: u8,
    quote: u8,
    offset: u64,
    start: u64,
    pending: Pending,
    state: CsvState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CsvState {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote in a quoted field, which ends the field or is one of a pair.
    Quote,
}

impl Csv {
    pub(crate) fn new(delimiter: u8, quote: u8) -> Self {
        Self {
            delimiter,
            quote,
            offset: 0,
            start: 0,
            pending: Pending::default(),
            state: CsvState::FieldStart,
        }
    }

    fn push(&mut self, chunk: &Bytes, out: &mut Vec<Frame>) {
        let mut from = 0;
        for (at, byte) in chunk.iter().copied().enumerate() {
            let file_at = self.offset + at as u64;
            self.state = match self.state {
                // A quote counts behind the mark of UTF-8, too.
                CsvState::FieldStart if file_at < 3 && byte >= 0x80 => CsvState::FieldStart,
                CsvState::FieldStart if byte == self.quote => CsvState::Quoted,
                CsvState::Quoted if byte == self.quote => CsvState::Quote,
                CsvState::Quoted => CsvState::Quoted,
                CsvState::Quote if byte == self.quote => CsvState::Quoted,
                _ if byte == b'\n' => {
                    let (raw, total) = self.pending.take(chunk, from, at);
                    self.emit(raw, total, None, out);
                    from = at + 1;
                    self.start = file_at + 1;
                    CsvState::FieldStart
                }
                _ if byte == self.delimiter => CsvState::FieldStart,
                _ => CsvState::Unquoted,
            };
        }
        self.pending.extend(&chunk[from..]);
        self.offset += chunk.len() as u64;
    }

    fn finish(&mut self, out: &mut Vec<Frame>) {
        let (raw, total) = self.pending.take(&Bytes::new(), 0, 0);
        let reject = (self.state == CsvState::Quoted).then(|| {
            Reject::new(
                ErrorType::Malformed,
                format!(
                    "the file ends inside a quoted field; the row and the rest of the file are \
                     {total} bytes"
                ),
            )
        });
        self.emit(raw, total, reject, out);
    }

    fn emit(&self, raw: Bytes, total: u64, reject: Option<Reject>, out: &mut Vec<Frame>) {
        let (mut start, mut raw) = (self.start, raw);
        if start == 0
            && let Some(mark @ 1..) = mark_len(&raw)
        {
            start += mark as u64;
            raw = raw.slice(mark..);
        }
        if raw.last() == Some(&b'\r') && total <= MAX_RECORD_BYTES as u64 {
            raw.truncate(raw.len() - 1);
        }
        if !raw.is_empty() {
            out.push(framed(start, raw, total, reject));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_large_array_no_more_than_one_element_is_held() {
        let element = format!("{{\"a\":\"{}\"}},", "x".repeat(1000));
        let chunk = Bytes::from(element.repeat(64));
        let mut array = Array::default();
        let mut frames = Vec::new();
        array.push(&Bytes::from_static(b"["), &mut frames);
        let mut records = 0;
        for _ in 0..1600 {
            // Chunks are cut in the middle of elements, 100 MB in all.
            array.push(&chunk.slice(..40_000), &mut frames);
            array.push(&chunk.slice(40_000..), &mut frames);
            records += frames
                .drain(..)
                .inspect(|frame| assert_eq!(frame.reject, None))
                .count();
            assert!(array.pending.kept.len() <= element.len());
        }
        assert_eq!(records, 64 * 1600);
    }

    #[test]
    fn of_a_record_without_end_no_more_than_the_limit_is_held() {
        let chunk = Bytes::from(vec![b'['; 1 << 20]);
        for mut framer in [
            Framer::Lines(Lines::default()),
            Framer::Array(Array::default()),
        ] {
            let mut frames = Vec::new();
            for _ in 0..40 {
                framer.push(chunk.clone(), &mut frames);
            }
            framer.finish(&mut frames);
            assert_eq!(frames.len(), 1);
            assert_eq!(frames[0].raw.len(), MAX_RECORD_BYTES);
            let Framer::Array(array) = &framer else {
                continue;
            };
            assert!(array.open.len() <= Array::LEVELS);
        }
    }
}
