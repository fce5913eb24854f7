//! Access to files, shared by table metadata, data and DataFusion: one `object_store` client per
//! bucket, whoever asks.

mod cache;
mod config;
mod file_io;
mod location;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use iceberg::io::{FileIO, FileIOBuilder};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};

use cache::Cache;
pub use config::{S3Config, StorageConfig};
pub use location::{Location, StoreRoot, normalize};

use crate::{Error, ErrorKind, Result};

/// A file as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Where it is.
    pub location: Location,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written, in milliseconds since 1970 UTC.
    pub last_modified_ms: i64,
    /// The store's version tag, where the store has one.
    pub e_tag: Option<String>,
}

/// Files on the local file system, in memory and in S3-compatible stores. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: StorageConfig,
    stores: Mutex<HashMap<StoreRoot, Arc<dyn ObjectStore>>>,
    immutable: Cache,
}

impl Default for Storage {
    fn default() -> Self {
        Self::new(StorageConfig::default())
    }
}

impl Storage {
    /// Storage with these settings. No store is contacted yet.
    pub fn new(config: StorageConfig) -> Self {
        Self(Arc::new(Inner {
            immutable: Cache::new(config.metadata_cache_bytes),
            config,
            stores: Mutex::new(HashMap::new()),
        }))
    }

    /// The settings that stores are opened with.
    pub fn config(&self) -> &StorageConfig {
        &self.0.config
    }

    /// The store that holds objects of this root.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the settings do not make a client.
    pub fn store(&self, root: &StoreRoot) -> Result<Arc<dyn ObjectStore>> {
        let mut stores = self.0.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(root) {
            return Ok(store.clone());
        }
        let store: Arc<dyn ObjectStore> = match root {
            StoreRoot::File => Arc::new(LocalFileSystem::new()),
            StoreRoot::Memory => Arc::new(InMemory::new()),
            StoreRoot::S3 { bucket } => Arc::new(self.s3(bucket)?),
        };
        stores.insert(root.clone(), store.clone());
        Ok(store)
    }

    /// Puts a store of the caller's own in place of the one that the settings would make, for
    /// instance to inject faults.
    pub fn register(&self, root: StoreRoot, store: Arc<dyn ObjectStore>) {
        self.0
            .stores
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(root, store);
    }

    fn s3(&self, bucket: &str) -> Result<object_store::aws::AmazonS3> {
        let s3 = &self.0.config.s3;
        // The environment's AWS_* variables are the base, so that instance roles work unconfigured.
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_virtual_hosted_style_request(!s3.path_style)
            .with_allow_http(s3.allow_http);
        if let Some(endpoint) = &s3.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let Some(region) = &s3.region {
            builder = builder.with_region(region);
        }
        if let Some(key) = &s3.access_key_id {
            builder = builder.with_access_key_id(key.reveal());
        }
        if let Some(key) = &s3.secret_access_key {
            builder = builder.with_secret_access_key(key.reveal());
        }
        if let Some(token) = &s3.session_token {
            builder = builder.with_token(token.reveal());
        }
        builder.build().map_err(|error| {
            Error::invalid("the S3 settings do not make a client")
                .with("bucket", bucket)
                .help("check storage.s3 in berglake.toml")
                .source_error(error)
        })
    }

    /// The `FileIO` that the `iceberg` crate reads and writes through: these same stores.
    pub fn file_io(&self) -> FileIO {
        FileIOBuilder::new(Arc::new(file_io::Factory::new(self.clone()))).build()
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`Denied`](ErrorKind::Denied),
    /// [`Unavailable`](ErrorKind::Unavailable), each with the path.
    pub async fn read(&self, location: &Location) -> Result<Bytes> {
        let store = self.store(location.root())?;
        let at = |error: object_store::Error| Error::from(error).with("path", location);
        let path = location.object_path();
        store
            .get(&path.map_err(|error| error.with("path", location))?)
            .await
            .map_err(at)?
            .bytes()
            .await
            .map_err(at)
    }

    /// Reads a whole file that nobody changes once it is written, such as a manifest. It is kept in
    /// memory for the next time, as far as
    /// [`metadata_cache_bytes`](StorageConfig::metadata_cache_bytes) reach.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_immutable(&self, location: &Location) -> Result<Bytes> {
        if let Some(bytes) = self.0.immutable.get(location).await {
            return Ok(bytes);
        }
        let bytes = self.read(location).await?;
        self.0.immutable.insert(location, &bytes).await;
        Ok(bytes)
    }

    /// For what writes past this: the file is not what it was.
    async fn forget(&self, location: &Location) {
        self.0.immutable.forget(location).await;
    }

    /// Reads a range of bytes.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_range(&self, location: &Location, range: Range<u64>) -> Result<Bytes> {
        self.store(location.root())?
            .get_range(&location.object_path()?, range)
            .await
            .map_err(|error| Error::from(error).with("path", location))
    }

    /// What is known of one file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn head(&self, location: &Location) -> Result<FileInfo> {
        let meta = self
            .store(location.root())?
            .head(&location.object_path()?)
            .await
            .map_err(|error| Error::from(error).with("path", location))?;
        Ok(FileInfo {
            location: location.clone(),
            size: meta.size,
            last_modified_ms: meta.last_modified.timestamp_millis(),
            e_tag: meta.e_tag,
        })
    }

    /// Whether the file exists.
    ///
    /// # Errors
    /// As [`read`](Self::read), but not [`NotFound`](ErrorKind::NotFound).
    pub async fn exists(&self, location: &Location) -> Result<bool> {
        match self.head(location).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a whole file, replacing one that exists.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied), [`Unavailable`](ErrorKind::Unavailable), with the path.
    pub async fn write(&self, location: &Location, bytes: Bytes) -> Result<()> {
        self.put(location, bytes, PutMode::Overwrite).await
    }

    /// Writes a file that must not exist: of two writers of one name exactly one succeeds.
    ///
    /// # Errors
    /// [`AlreadyExists`](ErrorKind::AlreadyExists), else as [`write`](Self::write).
    pub async fn create(&self, location: &Location, bytes: Bytes) -> Result<()> {
        self.put(location, bytes, PutMode::Create).await
    }

    async fn put(&self, location: &Location, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.forget(location).await;
        self.store(location.root())?
            .put_opts(&location.object_path()?, bytes.into(), mode.into())
            .await
            .map_err(|error| Error::from(error).with("path", location))?;
        Ok(())
    }

    /// Deletes a file; one that does not exist is no error.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied), [`Unavailable`](ErrorKind::Unavailable), with the path.
    pub async fn delete(&self, location: &Location) -> Result<()> {
        self.forget(location).await;
        match self
            .store(location.root())?
            .delete(&location.object_path()?)
            .await
        {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::from(error).with("path", location)),
        }
    }

    /// Lists all files below a folder, in no particular order.
    ///
    /// # Errors
    /// As [`read`](Self::read); a folder that does not exist is an empty listing.
    pub fn list(&self, folder: &Location) -> Result<BoxStream<'static, Result<FileInfo>>> {
        let store = self.store(folder.root())?;
        let prefix = folder.object_path()?;
        let folder = folder.clone();
        let stream = store
            .list(Some(&prefix))
            .map_ok(move |meta| FileInfo {
                location: folder.sibling(meta.location.as_ref()),
                size: meta.size,
                last_modified_ms: meta.last_modified.timestamp_millis(),
                e_tag: meta.e_tag,
            })
            .map_err(Error::from);
        Ok(stream.boxed())
    }
}

#[cfg(test)]
mod tests;
