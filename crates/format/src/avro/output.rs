//! Avro files as they are written here: blocks compressed with deflate.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::{MAGIC, MARKER};
use crate::{Error, Result};

/// Values of a block before they are compressed.
const BLOCK: usize = 256 * 1024;

/// Values in Avro's binary encoding, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Output(Vec<u8>);

impl Output {
    /// A number in zigzag coding and of variable length.
    #[inline]
    pub(crate) fn long(&mut self, value: i64) {
        let mut bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while bits > 0x7F {
            self.0.push((bits & 0x7F) as u8 | 0x80);
            bits >>= 7;
        }
        self.0.push(bits as u8);
    }

    /// A length and as many bytes.
    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.long(value.len() as i64);
        self.fixed(value);
    }

    /// Bytes whose number the schema knows.
    pub(crate) fn fixed(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    /// A truth value.
    pub(crate) fn boolean(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    /// A value of the type `["null", …]`.
    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.long(0),
            Some(value) => {
                self.long(1);
                write(self, value);
            }
        }
    }

    /// An array of these items.
    pub(crate) fn array<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        if items.len() > 0 {
            self.long(items.len() as i64);
            for item in items {
                write(self, item);
            }
        }
        self.long(0);
    }
}

/// A file that grows by one value after the other.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The header and the blocks that are complete.
    file: Output,
    block: Output,
    count: i64,
    marker: [u8; MARKER],
}

impl Writer {
    /// A file with this header, in which `avro.codec` is set. The marker stands between blocks and
    /// should be one that nothing else has.
    pub(crate) fn new(header: &[(&str, &[u8])], marker: [u8; MARKER]) -> Self {
        let mut file = Output::default();
        file.fixed(MAGIC);
        let codec: (&str, &[u8]) = ("avro.codec", b"deflate");
        let entries: Vec<_> = header.iter().copied().chain([codec]).collect();
        file.array(entries.into_iter(), |file, (key, value)| {
            file.bytes(key.as_bytes());
            file.bytes(value);
        });
        file.fixed(&marker);
        Self {
            file,
            block: Output::default(),
            count: 0,
            marker,
        }
    }

    /// Adds a value.
    ///
    /// # Errors
    /// What `write` returns; the file cannot be used then.
    pub(crate) fn add(&mut self, write: impl FnOnce(&mut Output) -> Result<()>) -> Result<()> {
        write(&mut self.block)?;
        self.count += 1;
        if self.block.0.len() >= BLOCK {
            self.end_block()?;
        }
        Ok(())
    }

    /// About how many bytes the file has.
    pub(crate) fn size(&self) -> usize {
        // Entries of manifests compress to a fifth or so.
        self.file.0.len() + self.block.0.len() / 4
    }

    fn end_block(&mut self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let failed = |error: std::io::Error| {
            Error::internal("a block of an Avro file cannot be compressed").source_error(error)
        };
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.block.0).map_err(failed)?;
        let compressed = encoder.finish().map_err(failed)?;
        self.file.long(self.count);
        self.file.bytes(&compressed);
        self.file.fixed(&self.marker);
        self.block.0.clear();
        self.count = 0;
        Ok(())
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) if a block cannot be compressed.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.end_block()?;
        Ok(self.file.0)
    }
}
