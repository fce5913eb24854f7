//! How large a table is, its metadata included.

use berglake_telemetry::instruments::{self, attribute as at};

use crate::manifest::load_list;
use crate::storage::Location;
use crate::{Result, Table};

/// What the summary of a table's head says. It costs nothing, and is zero where another writer left
/// it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadSize {
    /// Rows in the data files; rows that are deleted by delete files are counted.
    pub rows: u64,
    /// Data files.
    pub data_files: u64,
    /// Delete files.
    pub delete_files: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Snapshots in the metadata.
    pub snapshots: u64,
}

impl HeadSize {
    /// The sizes of this table.
    pub fn of(table: &Table) -> Self {
        let total = |key: &str| -> u64 {
            let summary = table.current_snapshot().map(|head| head.summary());
            let text = summary.and_then(|summary| summary.additional_properties.get(key));
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        Self {
            rows: total("total-records"),
            data_files: total("total-data-files"),
            delete_files: total("total-delete-files"),
            bytes: total("total-files-size"),
            snapshots: table.metadata().snapshots().len() as u64,
        }
    }

    /// Sets the instruments of the table to this.
    pub(crate) fn record(&self, table: &Table) {
        let name = at::table(table.ident().to_string());
        let of = std::slice::from_ref(&name);
        instruments::TABLE_ROWS.set(self.rows, of);
        instruments::TABLE_SIZE.set(self.bytes, of);
        instruments::TABLE_SNAPSHOTS.set(self.snapshots, of);
        for (content, files) in [("data", self.data_files), ("deletes", self.delete_files)] {
            instruments::TABLE_FILES.set(files, &[name.clone(), at::content(content)]);
        }
    }
}

/// How large a table's metadata is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataSize {
    /// Bytes of the newest metadata file.
    pub bytes: u64,
    /// Manifests of the head.
    pub manifests: u64,
}

impl MetadataSize {
    /// Asks the storage for the metadata file's size and reads the head's manifest list, and sets the
    /// instruments of the table to what they say.
    ///
    /// # Errors
    /// Errors of the storage with the path.
    pub async fn measure(table: &Table) -> Result<Self> {
        let at = Location::parse(table.metadata_location())?;
        let storage = table.storage();
        let manifests = match table.current_snapshot() {
            Some(head) => load_list(storage, table.metadata(), head).await?.len() as u64,
            None => 0,
        };
        let size = Self {
            bytes: storage.head(&at).await?.size,
            manifests,
        };
        let of = [at::table(table.ident().to_string())];
        instruments::METADATA_SIZE.set(size.bytes, &of);
        instruments::TABLE_MANIFESTS.set(size.manifests, &of);
        Ok(size)
    }
}
