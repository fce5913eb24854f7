//! Files as a source: where they are, which there are, and their bytes.
//!
//! A [`FileStore`] is a folder tree, local or in a bucket, and [`FileStore::list`] finds the files
//! of a path or pattern in it. The order is that of their locations, so the same files give the
//! same rows at every run.

mod glob;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use berglake_format::storage::{Location, Storage, StoreRoot};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt};

use self::glob::Segment;
use crate::error::{IngestError, Result};

/// A file of a source, as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is, in the one spelling of locations: `file:///folder/name` or `s3://bucket/key`.
    pub location: Arc<str>,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written last.
    pub last_modified: DateTime<Utc>,
    /// The store's mark of this version of the file, where it has one.
    pub e_tag: Option<String>,
    path: Path,
}

/// The files that a path or pattern names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The files, by location.
    pub files: Vec<SourceFile>,
    /// What the user should hear about, such as a pattern that matches nothing.
    pub warning: Option<String>,
}

/// A store of files: the local file system, or a bucket.
#[derive(Debug, Clone)]
pub struct FileStore {
    store: Arc<dyn ObjectStore>,
    root: StoreRoot,
}

impl FileStore {
    /// A store of the caller's own.
    pub fn new(root: StoreRoot, store: Arc<dyn ObjectStore>) -> Self {
        Self { store, root }
    }

    /// The local file system.
    pub fn local() -> Self {
        Self::new(StoreRoot::File, Arc::new(LocalFileSystem::new()))
    }

    /// The store that a path or pattern is in, with the settings of the tables' storage.
    ///
    /// # Errors
    /// [`IngestError::BadPattern`] for a scheme that is not known, a relative path, or settings
    /// that make no client.
    pub fn of(storage: &Storage, pattern: &str) -> Result<Self> {
        let root = locate(pattern)?.root().clone();
        let store = storage.store(&root).map_err(bad_pattern(pattern))?;
        Ok(Self::new(root, store))
    }

    /// The files that a path or pattern names, by location.
    ///
    /// - the path of a file: that file;
    /// - the path of a folder, with or without a slash at its end: the files in it;
    /// - a pattern with `*`, `?`, `[a-z]`, `{a,b}` in a segment, or `**` for any depth of folders:
    ///   the files that match. A backslash takes the meaning from the character behind it.
    ///
    /// In a folder, and where a segment begins with a wildcard, names that begin with `.` or `_`
    /// are passed over: they are other programs' marks and unfinished files.
    ///
    /// # Errors
    /// [`IngestError::FileNotFound`] when a path without wildcards names nothing, while a pattern
    /// without matches is an empty listing with a warning; [`IngestError::BadPattern`] for a path
    /// outside this store, a relative path or a broken pattern; [`IngestError::Storage`] when the
    /// store fails.
    pub async fn list(&self, pattern: &str) -> Result<Listing> {
        let key = self.key(pattern)?;
        let segments = glob::parse(&key)?;
        let literal: Option<Vec<&str>> = segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        if let Some(names) = literal {
            let path = parse_path(&names.join("/"), pattern)?;
            let files = self.list_literal(&path, pattern.ends_with('/')).await?;
            if files.is_empty() {
                return Err(IngestError::FileNotFound {
                    location: pattern.to_owned(),
                });
            }
            return Ok(Listing {
                files,
                warning: None,
            });
        }
        let mut found = BTreeMap::new();
        self.expand(&Path::ROOT, &segments, pattern, &mut found)
            .await?;
        let warning = found
            .is_empty()
            .then(|| format!("no file matches {pattern}"));
        Ok(Listing {
            files: found.into_values().collect(),
            warning,
        })
    }

    /// Bytes of a file, which must still be the version that was listed.
    ///
    /// # Errors
    /// [`IngestError::Storage`] when the store fails, and when the file was changed meanwhile.
    pub async fn read(&self, file: &SourceFile, range: Range<u64>) -> Result<Bytes> {
        self.read_raw(file, range)
            .await
            .map_err(|source| IngestError::storage(&*file.location, source))
    }

    pub(crate) async fn read_raw(
        &self,
        file: &SourceFile,
        range: Range<u64>,
    ) -> object_store::Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let options = GetOptions {
            range: Some(range.into()),
            if_match: file.e_tag.clone(),
            ..GetOptions::default()
        };
        self.store
            .get_opts(&file.path, options)
            .await?
            .bytes()
            .await
    }

    /// The part of a path or pattern behind the root, normalised as all locations are.
    fn key(&self, pattern: &str) -> Result<String> {
        let location = locate(pattern)?;
        if *location.root() != self.root {
            return Err(IngestError::BadPattern {
                pattern: pattern.to_owned(),
                reason: format!("it is not in {}", self.root),
            });
        }
        Ok(location.key().to_owned())
    }

    fn location(&self, path: &Path) -> String {
        format!("{}/{path}", self.root)
    }

    fn found(&self, meta: ObjectMeta) -> SourceFile {
        SourceFile {
            location: self.location(&meta.location).into(),
            size: meta.size,
            last_modified: meta.last_modified,
            e_tag: meta.e_tag,
            path: meta.location,
        }
    }

    /// A file, or the files right in a folder.
    async fn list_literal(&self, path: &Path, is_folder: bool) -> Result<Vec<SourceFile>> {
        let location = self.location(path);
        if !is_folder {
            match self.store.head(path).await {
                Ok(meta) => return Ok(vec![self.found(meta)]),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(IngestError::storage(location, source)),
            }
        }
        let listed = self.folder(path).await?;
        let mut files: Vec<_> = listed
            .objects
            .into_iter()
            .filter(|meta| {
                meta.location
                    .filename()
                    .is_some_and(|name| !is_hidden(name))
            })
            .map(|meta| self.found(meta))
            .collect();
        files.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(files)
    }

    /// Follows the segments of a pattern below a folder, level by level, so that only folders
    /// that can hold a match are listed.
    async fn expand(
        &self,
        folder: &Path,
        segments: &[Segment],
        pattern: &str,
        found: &mut BTreeMap<Arc<str>, SourceFile>,
    ) -> Result<()> {
        let Some((segment, rest)) = segments.split_first() else {
            return Ok(());
        };
        match segment {
            Segment::Literal(name) => {
                let path = join(folder, name, pattern)?;
                if !rest.is_empty() {
                    return Box::pin(self.expand(&path, rest, pattern, found)).await;
                }
                match self.store.head(&path).await {
                    Ok(meta) => self.keep(meta, found),
                    Err(object_store::Error::NotFound { .. }) => {}
                    Err(source) => {
                        return Err(IngestError::storage(self.location(&path), source));
                    }
                }
            }
            Segment::Wild(parts) => {
                let starts_wild = !matches!(parts.first(), Some(glob::Part::Char(_)));
                let fits = |path: &Path| {
                    path.filename().is_some_and(|name| {
                        !(starts_wild && is_hidden(name)) && glob::matches(parts, name)
                    })
                };
                let listed = self.folder(folder).await?;
                if rest.is_empty() {
                    for meta in listed
                        .objects
                        .into_iter()
                        .filter(|meta| fits(&meta.location))
                    {
                        self.keep(meta, found);
                    }
                } else {
                    for path in listed.common_prefixes.iter().filter(|path| fits(path)) {
                        Box::pin(self.expand(path, rest, pattern, found)).await?;
                    }
                }
            }
            Segment::Folders if rest.is_empty() => {
                let mut files = self.store.list(Some(folder));
                while let Some(meta) = files.next().await {
                    let meta =
                        meta.map_err(|source| IngestError::storage(self.location(folder), source))?;
                    let below = meta.location.prefix_match(folder);
                    let hidden =
                        below.is_some_and(|mut parts| parts.any(|part| is_hidden(part.as_ref())));
                    if !hidden {
                        self.keep(meta, found);
                    }
                }
            }
            Segment::Folders => {
                Box::pin(self.expand(folder, rest, pattern, found)).await?;
                for path in self.folder(folder).await?.common_prefixes {
                    if path.filename().is_some_and(|name| !is_hidden(name)) {
                        Box::pin(self.expand(&path, segments, pattern, found)).await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn keep(&self, meta: ObjectMeta, found: &mut BTreeMap<Arc<str>, SourceFile>) {
        let file = self.found(meta);
        found.insert(file.location.clone(), file);
    }

    async fn folder(&self, path: &Path) -> Result<object_store::ListResult> {
        match self.store.list_with_delimiter(Some(path)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(object_store::ListResult {
                common_prefixes: Vec::new(),
                objects: Vec::new(),
            }),
            listed => listed.map_err(|source| IngestError::storage(self.location(path), source)),
        }
    }
}

/// The location of a path or pattern. In local ones `.` and `..` are resolved, as people write
/// them in relative paths; keys of buckets are literal and have none.
fn locate(pattern: &str) -> Result<Location> {
    let path = match pattern.strip_prefix("file:") {
        Some(path) => path.strip_prefix("//").unwrap_or(path),
        None => pattern,
    };
    if !path.starts_with('/') {
        return Location::parse(pattern).map_err(bad_pattern(pattern));
    }
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    Location::parse(&format!("/{}", segments.join("/"))).map_err(bad_pattern(pattern))
}

fn bad_pattern(pattern: &str) -> impl FnOnce(berglake_format::Error) -> IngestError {
    move |error| IngestError::BadPattern {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    }
}

fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// `Path::from` would escape `%` and others in names that are already final.
fn parse_path(path: &str, pattern: &str) -> Result<Path> {
    Path::parse(path).map_err(|error| IngestError::BadPattern {
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })
}

fn join(folder: &Path, name: &str, pattern: &str) -> Result<Path> {
    if folder.as_ref().is_empty() {
        return parse_path(name, pattern);
    }
    parse_path(&format!("{folder}/{name}"), pattern)
}
