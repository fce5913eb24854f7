//! A table as it was loaded: its name, its metadata at one moment, and the storage to read it with.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::TableIdent;
use iceberg::spec::{SchemaRef, SnapshotRef, SnapshotReference, TableMetadata};

use crate::plan::ScanBuilder;
use crate::storage::{Location, Storage};
use crate::{Environment, Error, Result};

/// One table at one moment. It never changes; load it again to see what others committed. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct Table {
    ident: TableIdent,
    metadata: Arc<TableMetadata>,
    metadata_location: String,
    storage: Storage,
    environment: Environment,
}

impl Table {
    /// A table from its parts. Catalogs call this; everybody else gets tables from a catalog.
    pub fn new(
        ident: TableIdent,
        metadata: Arc<TableMetadata>,
        metadata_location: impl Into<String>,
        storage: Storage,
        environment: Environment,
    ) -> Self {
        Self {
            ident,
            metadata,
            metadata_location: metadata_location.into(),
            storage,
            environment,
        }
    }

    /// Opens a table by the location of a metadata file, without a catalog. It can be read, not
    /// written.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such file,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if it is not valid table metadata.
    pub async fn open(
        ident: TableIdent,
        metadata_location: &str,
        storage: Storage,
        environment: Environment,
    ) -> Result<Self> {
        let metadata = crate::commit::metadata_file::read(&storage, metadata_location)
            .await
            .map_err(|error| error.with("table", &ident))?;
        Ok(Self::new(
            ident,
            Arc::new(metadata),
            metadata_location,
            storage,
            environment,
        ))
    }

    /// The table's name.
    pub fn ident(&self) -> &TableIdent {
        &self.ident
    }

    /// The metadata.
    pub fn metadata(&self) -> &Arc<TableMetadata> {
        &self.metadata
    }

    /// The location of the metadata file.
    pub fn metadata_location(&self) -> &str {
        &self.metadata_location
    }

    /// The storage that the table's files are in.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Clock, identifiers and identity of this program.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The table's folder.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the metadata names a location of a kind
    /// that this version cannot reach.
    pub fn location(&self) -> Result<Location> {
        Location::parse(self.metadata.location()).map_err(|error| error.with("table", &self.ident))
    }

    /// The folder for new data and delete files: `write.data.path`, else `data` in the table's folder.
    ///
    /// # Errors
    /// As [`location`](Self::location).
    pub fn data_location(&self) -> Result<Location> {
        self.folder("write.data.path", "data")
    }

    /// The folder for new metadata files: `write.metadata.path`, else `metadata` in the table's folder.
    ///
    /// # Errors
    /// As [`location`](Self::location).
    pub fn metadata_folder(&self) -> Result<Location> {
        self.folder("write.metadata.path", "metadata")
    }

    fn folder(&self, property: &'static str, default: &str) -> Result<Location> {
        match self.metadata.properties().get(property) {
            Some(path) => Location::parse(path)
                .map_err(|error| error.with("table", &self.ident).with("property", property)),
            None => Ok(self.location()?.join(default)),
        }
    }

    /// The current schema.
    pub fn schema(&self) -> &SchemaRef {
        self.metadata.current_schema()
    }

    /// The head of `main`, if the table has rows or had some.
    pub fn current_snapshot(&self) -> Option<&SnapshotRef> {
        self.metadata.current_snapshot()
    }

    /// The snapshot with this id.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) with the id if it never was or has expired.
    pub fn snapshot(&self, id: i64) -> Result<&SnapshotRef> {
        self.metadata.snapshot_by_id(id).ok_or_else(|| {
            Error::not_found("the table has no such snapshot")
                .with("table", &self.ident)
                .with("snapshot", id)
                .help("it may have expired; see the table's $snapshots")
        })
    }

    /// The ids of a snapshot and its ancestors, newest first, as far back as they have not expired.
    pub fn ancestors(&self, of: Option<i64>) -> impl Iterator<Item = &SnapshotRef> {
        let mut next = of;
        // Corrupt metadata could hold a cycle; a chain is never longer than the list of snapshots.
        let mut left = self.metadata.snapshots().len();
        std::iter::from_fn(move || {
            let snapshot = self.metadata.snapshot_by_id(next?)?;
            left = left.checked_sub(1)?;
            next = snapshot.parent_snapshot_id();
            Some(snapshot)
        })
    }

    /// Branches and tags by name.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) if the metadata cannot be written as JSON.
    pub fn refs(&self) -> Result<BTreeMap<String, SnapshotReference>> {
        refs(&self.metadata).map_err(|error| error.with("table", &self.ident))
    }

    /// Starts a scan of this table's head.
    pub fn scan(&self) -> ScanBuilder<'_> {
        ScanBuilder::new(self)
    }
}

/// Branches and tags of metadata, by name.
pub(crate) fn refs(metadata: &TableMetadata) -> Result<BTreeMap<String, SnapshotReference>> {
    // `TableMetadata` keeps its refs private; its JSON form has them.
    #[derive(serde::Deserialize)]
    struct Refs {
        #[serde(default)]
        refs: BTreeMap<String, SnapshotReference>,
    }
    let defect = |error: serde_json::Error| {
        Error::internal("the refs of a table cannot be read").source_error(error)
    };
    let json = serde_json::to_vec(metadata).map_err(defect)?;
    Ok(serde_json::from_slice::<Refs>(&json).map_err(defect)?.refs)
}
