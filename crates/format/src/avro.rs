//! Avro files as manifests and manifest lists are written in them.
//!
//! A file is not believed: every count must fit into the bytes that follow it, and every block must
//! hold what it counts and no more (Avro specification, "Object Container Files" and "Binary
//! Encoding"). Other decoders reserve memory for as many items as an array claims to have, fill items
//! that the file does not have with NULL, follow a type that holds itself, and take a file that ends
//! within a count for one that ends before it. Memory that cannot be had and a stack without end kill
//! the process, which no caller can turn into an error. So what another decoder is to read is walked
//! first, by [`check`], by its own schema and without keeping anything.
//!
//! Blocks are looked into where they are not compressed or compressed with deflate, which is what
//! engines write; of others only the frame is checked.

mod input;
mod output;
mod shape;

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, Result};

pub(crate) use input::Input;
pub(crate) use output::{Output, Writer};
pub(crate) use shape::{Field, Form, Shape};

use input::impossible;
use shape::Names;

const MAGIC: &[u8] = b"Obj\x01";
/// Behind the header and behind each block.
const MARKER: usize = 16;
/// No block may have more bytes once it is decompressed.
const GREATEST_BLOCK: u64 = 512 * 1024 * 1024;

/// An Avro file in its parts.
#[derive(Debug)]
pub(crate) struct Container {
    /// What its header says, by key.
    pub(crate) header: HashMap<Vec<u8>, Bytes>,
    /// Its blocks.
    pub(crate) blocks: Blocks,
}

/// The blocks of an Avro file.
#[derive(Debug)]
pub(crate) enum Blocks {
    /// Of a codec that is known here.
    Read(Vec<Block>),
    /// Of a codec that is not known here.
    Unknown,
}

/// A block of values. It is decompressed when they are taken, so that a file which is much larger then does
/// not have all of it in memory at once.
#[derive(Debug)]
pub(crate) struct Block {
    /// How many values it says that it has.
    count: i64,
    /// Their bytes, as they are in the file.
    bytes: Bytes,
    is_deflated: bool,
}

impl Container {
    /// Takes a file apart. Its parts share the memory of the file.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt), without the path.
    pub(crate) fn open(file: &Bytes) -> Result<Self> {
        let mut input = Input(file);
        if input.take(MAGIC.len())? != MAGIC {
            return Err(Error::corrupt(
                "the file does not begin with Avro's magic bytes",
            ));
        }
        let mut header = HashMap::new();
        input.items(|input| {
            let (key, value) = (input.bytes()?, input.bytes()?);
            header.insert(key.to_vec(), file.slice_ref(value));
            Ok(())
        })?;
        input.take(MARKER)?;
        let codec = header.get(&b"avro.codec"[..]).map(Bytes::as_ref);
        let mut blocks = Blocks::Read(Vec::new());
        while input.left() > 0 {
            let count = input.long()?;
            let size = input.long()?;
            let size = usize::try_from(size).map_err(|_| impossible("size", size))?;
            let bytes = input.take(size)?;
            input.take(MARKER)?;
            let is_deflated = match codec {
                None | Some(b"null") => false,
                Some(b"deflate") => true,
                Some(_) => {
                    blocks = Blocks::Unknown;
                    continue;
                }
            };
            if let Blocks::Read(blocks) = &mut blocks {
                blocks.push(Block {
                    count,
                    bytes: file.slice_ref(bytes),
                    is_deflated,
                });
            }
        }
        Ok(Self { header, blocks })
    }

    /// A value of the header.
    pub(crate) fn entry(&self, key: &str) -> Option<&Bytes> {
        self.header.get(key.as_bytes())
    }

    /// The schema of the values.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt), without the path.
    pub(crate) fn shape(&self) -> Result<Arc<Shape>> {
        let schema = self
            .entry("avro.schema")
            .ok_or_else(|| Error::corrupt("the Avro file has no schema"))?;
        let schema = serde_json::from_slice(schema).map_err(|error| {
            Error::corrupt("the schema of the Avro file is no valid JSON").source_error(error)
        })?;
        let shape = Names::default().shape(&schema, "")?;
        if shape.least == 0 {
            return Err(Error::corrupt("the values of the Avro file have no bytes"));
        }
        Ok(shape)
    }
}

impl Block {
    /// Takes the values one after the other.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) where they are more or fewer than the block counts, and
    /// what `each` returns.
    pub(crate) fn values(&self, mut each: impl FnMut(&mut Input<'_>) -> Result<()>) -> Result<()> {
        let inflated = match self.is_deflated {
            true => Some(inflated(&self.bytes)?),
            false => None,
        };
        let mut input = Input(inflated.as_deref().unwrap_or(&self.bytes));
        for _ in 0..input.fitting(self.count)? {
            each(&mut input)?;
        }
        if input.left() > 0 {
            return Err(Error::corrupt(
                "a block of the Avro file holds more values than it counts",
            )
            .with("count", self.count)
            .with("bytes-left", input.left()));
        }
        Ok(())
    }
}

/// Checks a file that another decoder is to read.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt), without the path.
pub(crate) fn check(file: &Bytes) -> Result<()> {
    let container = Container::open(file)?;
    let shape = container.shape()?;
    if let Blocks::Read(blocks) = &container.blocks {
        for block in blocks {
            block.values(|input| input.skip(&shape))?;
        }
    }
    Ok(())
}

fn inflated(block: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    flate2::read::DeflateDecoder::new(block)
        .take(GREATEST_BLOCK + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Error::corrupt("a block of the Avro file cannot be decompressed").source_error(error)
        })?;
    if bytes.len() as u64 > GREATEST_BLOCK {
        return Err(Error::corrupt("a block of the Avro file is too large")
            .with("greatest-size", GREATEST_BLOCK));
    }
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
