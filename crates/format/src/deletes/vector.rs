//! Deletion vectors: blobs of type `deletion-vector-v1` in Puffin files.
//!
//! ```text
//! length of magic and vector   4 bytes, big endian
//! magic                        D1 D3 39 64
//! vector                       64-bit roaring bitmap, portable format, little endian
//! CRC-32 of magic and vector   4 bytes, big endian
//! ```
//!
//! The manifest says where in the file the blob is, so the Puffin footer is not needed to read it.

use std::collections::HashMap;
use std::sync::Arc;

use flate2::Crc;
use iceberg::spec::DataFile;
use roaring::RoaringTreemap;

use super::position::DeletedByFile;
use crate::storage::{Location, Storage, normalize};
use crate::{Error, Result};

/// The first bytes of a blob after its length.
pub(crate) const MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];
/// Length, magic, an empty bitmap's count, checksum.
const LEAST_SIZE: u64 = 20;
/// The specification bounds a blob by the length field, a signed number in Java.
const GREATEST_SIZE: u64 = i32::MAX as u64;

/// Loads the deletion vector that this manifest entry describes.
pub(super) async fn load(storage: &Storage, file: &DataFile) -> Result<DeletedByFile> {
    let path = file.file_path();
    let corrupt = |message: &str| Error::corrupt(message).with("path", path);
    let target = file
        .referenced_data_file()
        .ok_or_else(|| corrupt("a deletion vector references no data file"))?;
    let unsigned = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    let (Some(offset), Some(size)) = (
        unsigned(file.content_offset()),
        unsigned(file.content_size_in_bytes()),
    ) else {
        return Err(corrupt("a deletion vector has no place in its file"));
    };
    let end = offset.checked_add(size);
    let inside = end.is_some_and(|end| end <= file.file_size_in_bytes());
    if !inside || !(LEAST_SIZE..=GREATEST_SIZE).contains(&size) {
        return Err(
            corrupt("a deletion vector has an impossible place in its file")
                .with("offset", offset)
                .with("size", size)
                .with("file-size", file.file_size_in_bytes()),
        );
    }
    let location = Location::parse(path)?;
    let blob = match storage.read_range(&location, offset..offset + size).await {
        Ok(blob) => blob,
        // Stores have no word of their own for a range that a file does not have.
        Err(error) => {
            return Err(match storage.head(&location).await {
                Ok(info) if info.size != file.file_size_in_bytes() => {
                    corrupt("the file does not have the size that its manifest records")
                        .with("recorded", file.file_size_in_bytes())
                        .with("found", info.size)
                        .source_error(error)
                }
                _ => error,
            });
        }
    };
    let positions = decode(&blob).map_err(|error| {
        error
            .with("path", path)
            .with("offset", offset)
            .with("data-file", &target)
    })?;
    if positions.len() != file.record_count() {
        return Err(
            corrupt("a deletion vector has another count than its manifest entry")
                .with("recorded", file.record_count())
                .with("found", positions.len())
                .with("data-file", &target),
        );
    }
    Ok(HashMap::from([(normalize(&target), Arc::new(positions))]))
}

/// Decodes a blob and checks all of it.
pub(crate) fn decode(blob: &[u8]) -> Result<RoaringTreemap> {
    let cut = || Error::corrupt("a deletion vector is cut short");
    let (length, rest) = blob.split_first_chunk::<4>().ok_or_else(cut)?;
    let (content, checksum) = rest.split_last_chunk::<4>().ok_or_else(cut)?;
    if u32::from_be_bytes(*length) as usize != content.len() {
        return Err(Error::corrupt("a deletion vector's length is wrong")
            .with("recorded", u32::from_be_bytes(*length))
            .with("found", content.len()));
    }
    let mut bitmap = content
        .strip_prefix(&MAGIC)
        .ok_or_else(|| Error::corrupt("a deletion vector does not begin with its magic bytes"))?;
    let mut crc = Crc::new();
    crc.update(content);
    if crc.sum() != u32::from_be_bytes(*checksum) {
        return Err(Error::corrupt("a deletion vector's checksum is wrong")
            .with("recorded", u32::from_be_bytes(*checksum))
            .with("found", crc.sum()));
    }
    let positions = RoaringTreemap::deserialize_from(&mut bitmap).map_err(|error| {
        Error::corrupt("a deletion vector's bitmap cannot be decoded").source_error(error)
    })?;
    if !bitmap.is_empty() {
        return Err(Error::corrupt("bytes follow a deletion vector's bitmap"));
    }
    Ok(positions)
}
