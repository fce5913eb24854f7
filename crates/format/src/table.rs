//! A table as it was loaded: its name, its metadata at one moment, and the storage to read it with.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use iceberg::TableIdent;
use iceberg::spec::{
    MAIN_BRANCH, SchemaRef, SnapshotRef, SnapshotReference, SnapshotRetention, TableMetadata,
};

use crate::manifest::ManifestReader;
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
    /// The refs, once somebody has asked for them.
    refs: Arc<OnceLock<BTreeMap<String, SnapshotReference>>>,
    /// What reads its manifests, once somebody has asked for it.
    manifests: Arc<OnceLock<ManifestReader>>,
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
            refs: Arc::default(),
            manifests: Arc::default(),
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

    /// What reads its manifests.
    pub(crate) fn manifests(&self) -> &ManifestReader {
        self.manifests
            .get_or_init(|| ManifestReader::new(self.storage.clone(), &self.metadata))
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

    /// The head of this branch, of `main` where none is named. `main` is there even before its first
    /// snapshot.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) if there is no such branch,
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if it is a tag, which never moves.
    pub fn head(&self, branch: Option<&str>) -> Result<Option<&SnapshotRef>> {
        let name = match branch {
            None | Some(MAIN_BRANCH) => return Ok(self.current_snapshot()),
            Some(name) => name,
        };
        match self.known_refs()?.get(name) {
            Some(reference) if reference.is_branch() => {
                self.snapshot(reference.snapshot_id).map(Some)
            }
            Some(_) => Err(
                Error::invalid("a tag stays where it is, only branches are written to")
                    .with("table", &self.ident)
                    .with("tag", name),
            ),
            None => Err(Error::not_found("the table has no such branch")
                .with("table", &self.ident)
                .with("branch", name)
                .help(
                    "branches are created with ALTER TABLE … CREATE BRANCH; see the table's $refs",
                )),
        }
    }

    /// The same table with other metadata, as a change that is not committed yet would leave it.
    pub(crate) fn with_metadata(&self, metadata: TableMetadata) -> Self {
        Self {
            metadata: Arc::new(metadata),
            refs: Arc::default(),
            manifests: Arc::default(),
            ..self.clone()
        }
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
        self.known_refs().cloned()
    }

    /// What is kept of this branch and for how long; nothing is said of one that has no snapshot.
    ///
    /// # Errors
    /// As [`refs`](Self::refs).
    pub(crate) fn retention(&self, branch: &str) -> Result<SnapshotRetention> {
        let default = SnapshotRetention::branch(None, None, None);
        let Some(head) = self.metadata.snapshot_for_ref(branch) else {
            return Ok(default);
        };
        // Every commit asks this, and most branches have the default. The builder knows without a walk
        // through the history whether a reference would be a change.
        let reference = SnapshotReference::new(head.snapshot_id(), default.clone());
        let builder = TableMetadata::clone(&self.metadata).into_builder(None);
        let set = builder.set_ref(branch, reference).and_then(|b| b.build());
        if set.is_ok_and(|built| built.changes.is_empty()) {
            return Ok(default);
        }
        let own = self.known_refs()?.get(branch);
        Ok(own.map_or(default, |own| own.retention.clone()))
    }

    fn known_refs(&self) -> Result<&BTreeMap<String, SnapshotReference>> {
        if let Some(known) = self.refs.get() {
            return Ok(known);
        }
        let refs = refs(&self.metadata).map_err(|error| error.with("table", &self.ident))?;
        Ok(self.refs.get_or_init(|| refs))
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
