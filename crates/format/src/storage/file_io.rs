//! The adapter through which the `iceberg` crate uses our stores.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{BoxStream, StreamExt};
use iceberg::io::{
    FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage as IcebergStorage,
    StorageConfig as IcebergStorageConfig, StorageFactory,
};
use object_store::buffered::BufWriter;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::{Location, Storage};

/// Hands out the adapter. The `iceberg` crate demands that storages can be serialised; ours holds
/// clients and credentials, so only its type is written and reading it back gives default settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Factory {
    #[serde(skip)]
    storage: Storage,
}

impl Factory {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage }
    }
}

#[typetag::serde(name = "berglake")]
impl StorageFactory for Factory {
    fn build(&self, _: &IcebergStorageConfig) -> iceberg::Result<Arc<dyn IcebergStorage>> {
        Ok(Arc::new(Adapter {
            storage: self.storage.clone(),
        }))
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Adapter {
    #[serde(skip)]
    storage: Storage,
}

struct Reader {
    storage: Storage,
    location: Location,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> iceberg::Result<Bytes> {
        Ok(self.storage.read_range(&self.location, range).await?)
    }
}

struct Writer {
    inner: BufWriter,
    location: Location,
}

impl Writer {
    fn error(&self, error: impl Into<crate::Error>) -> iceberg::Error {
        error.into().with("path", &self.location).into()
    }
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        let result = self.inner.put(bytes).await;
        result.map_err(|error| self.error(error))
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        let result = self.inner.shutdown().await;
        result.map_err(|error| self.error(error))
    }
}

#[async_trait]
#[typetag::serde(name = "berglake")]
impl IcebergStorage for Adapter {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        Ok(self.storage.exists(&Location::parse(path)?).await?)
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        let info = self.storage.head(&Location::parse(path)?).await?;
        Ok(FileMetadata { size: info.size })
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        Ok(self.storage.read(&Location::parse(path)?).await?)
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        Ok(Box::new(Reader {
            storage: self.storage.clone(),
            location: Location::parse(path)?,
        }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        Ok(self.storage.write(&Location::parse(path)?, bytes).await?)
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        let location = Location::parse(path)?;
        let store = self.storage.store(location.root())?;
        self.storage.forget(&location).await;
        Ok(Box::new(Writer {
            inner: BufWriter::new(store, location.object_path()?),
            location,
        }))
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        Ok(self.storage.delete(&Location::parse(path)?).await?)
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        let folder = Location::parse(path)?;
        let mut files = self.storage.list(&folder)?;
        while let Some(file) = files.try_next().await? {
            // A listing is by prefix of the name; only what lies inside the folder goes.
            if file.location.is_within(&folder) {
                self.storage.delete(&file.location).await?;
            }
        }
        Ok(())
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        while let Some(path) = paths.next().await {
            self.storage.delete(&Location::parse(&path)?).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_string()))
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_string()))
    }
}
