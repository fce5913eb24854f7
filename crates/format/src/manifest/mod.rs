//! Manifest lists and manifests, as they are read and written.
//!
//! Planning is mostly this: a table of a hundred thousand files has a hundred thousand entries, and each
//! says a dozen things of every column. So manifests are decoded here, straight from Avro's bytes into
//! entries, and not by the `iceberg` crate's general decoder, which makes a tree of values of each entry
//! first, drops the bounds of columns that the header's schema lacks, fails on a partition field whose
//! source column is not there, and cannot read UUIDs of fixed length. It is the yardstick of the tests,
//! and reads what is not read here: encrypted manifests, and blocks of codecs other than deflate.

mod columns;
mod decoder;
mod entry;
mod list;
mod other;
mod values;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use iceberg::spec::{ManifestEntry, ManifestFile, PartitionSpecRef, TableMetadata};

use crate::avro::{Blocks, Container};
use crate::storage::{Location, Storage};
use crate::{Error, Result};

pub(crate) use columns::{Columns, renamed};
pub(crate) use entry::Metrics;
pub(crate) use list::load_list;
pub(crate) use other::{load_entries, rebuild};
pub(crate) use writer::ManifestWriter;

use decoder::Decoder;
use entry::Entries;
use other::undecodable;

/// Reads the manifests of one table. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ManifestReader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    storage: Storage,
    specs: HashMap<i32, PartitionSpecRef>,
    columns: Columns,
    /// What was looked through already. Manifests of a table have few different headers.
    decoders: Mutex<HashMap<Header, Arc<Decoder>>>,
}

/// What a decoder is made of, beside the table.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Header {
    spec_id: i32,
    entries: Option<Bytes>,
    schema: Option<Bytes>,
    format_version: Option<Bytes>,
}

impl ManifestReader {
    /// A reader of this table's manifests.
    pub(crate) fn new(storage: Storage, metadata: &TableMetadata) -> Self {
        let specs = metadata.partition_specs_iter();
        Self(Arc::new(Inner {
            storage,
            specs: specs.map(|spec| (spec.spec_id(), spec.clone())).collect(),
            columns: Columns::of(metadata),
            decoders: Mutex::default(),
        }))
    }

    /// The columns that the table has or had.
    pub(crate) fn columns(&self) -> &Columns {
        &self.0.columns
    }

    /// The entries of a manifest, those of deleted files too, with all that they inherit: snapshot ids,
    /// sequence numbers and, on V3, first row ids.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) and [`Corrupt`](crate::ErrorKind::Corrupt) with the path.
    pub(crate) async fn entries(&self, manifest: &ManifestFile) -> Result<Vec<ManifestEntry>> {
        self.entries_with(manifest, &Metrics::All).await
    }

    /// [`entries`](Self::entries) with sizes, counts and bounds of these columns.
    ///
    /// # Errors
    /// As [`entries`](Self::entries).
    pub(crate) async fn entries_with(
        &self,
        manifest: &ManifestFile,
        metrics: &Metrics,
    ) -> Result<Vec<ManifestEntry>> {
        if manifest.key_metadata.is_some() {
            return load_entries(&self.0.storage.file_io(), manifest).await;
        }
        let location = Location::parse(&manifest.manifest_path)
            .map_err(|error| error.with("path", &manifest.manifest_path))?;
        let bytes = self.0.storage.read_immutable(&location).await?;
        let decoded = Container::open(&bytes).and_then(|container| {
            let Blocks::Read(blocks) = &container.blocks else {
                return Ok(None);
            };
            let decoder = self.decoder(manifest.partition_spec_id, &container)?;
            let mut entries = Vec::new();
            let mut taken = Entries::new(&decoder, manifest, metrics)?;
            for block in blocks {
                taken.take(block, |entry| {
                    entries.push(entry);
                    Ok(())
                })?;
            }
            Ok(Some(entries))
        });
        match decoded.map_err(|error| error.with("path", &manifest.manifest_path))? {
            Some(entries) => Ok(entries),
            None => load_entries(&self.0.storage.file_io(), manifest).await,
        }
    }

    fn decoder(&self, spec_id: i32, manifest: &Container) -> Result<Arc<Decoder>> {
        let entry = |key| manifest.entry(key).cloned();
        let header = Header {
            spec_id,
            entries: entry("avro.schema"),
            schema: entry("schema"),
            format_version: entry("format-version"),
        };
        let known = || {
            let decoders = self.0.decoders.lock();
            decoders.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(decoder) = known().get(&header) {
            return Ok(decoder.clone());
        }
        let spec = self.0.specs.get(&spec_id).ok_or_else(|| {
            Error::corrupt("a manifest has a partition spec that the table does not have")
                .with("spec", spec_id)
        })?;
        let decoder = Arc::new(Decoder::new(manifest, spec, &self.0.columns)?);
        // The key must not hold on to the whole file.
        let detached = |bytes: Option<Bytes>| bytes.map(|bytes| Bytes::copy_from_slice(&bytes));
        let header = Header {
            entries: detached(header.entries),
            schema: detached(header.schema),
            format_version: detached(header.format_version),
            ..header
        };
        known().insert(header, decoder.clone());
        Ok(decoder)
    }
}

#[cfg(test)]
mod tests;
