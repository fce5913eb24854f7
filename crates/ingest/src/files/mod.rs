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
    /// Where it is: an absolute path, or a URL such as `s3://bucket/key`.
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

/// A store of files and how its locations are written.
#[derive(Debug, Clone)]
pub struct FileStore {
    store: Arc<dyn ObjectStore>,
    /// What stands before the path in a location: `/`, or `s3://bucket/`.
    root: Arc<str>,
}

impl FileStore {
    /// The local file system.
    pub fn local() -> Self {
        Self {
            store: Arc::new(LocalFileSystem::new()),
            root: "/".into(),
        }
    }

    /// A store under a root such as `s3://bucket`. Locations are the root, a slash and the key.
    pub fn remote(root: &str, store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            root: format!("{}/", root.trim_end_matches('/')).into(),
        }
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
        let segments = glob::parse(key)?;
        let literal: Option<Vec<&str>> = segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        if let Some(names) = literal {
            let path = parse_path(&names.join("/"), pattern)?;
            let files = self.list_literal(&path, key.ends_with('/')).await?;
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

    /// The part of a path or URL behind the root.
    fn key<'a>(&self, pattern: &'a str) -> Result<&'a str> {
        let bad = |reason: String| IngestError::BadPattern {
            pattern: pattern.to_owned(),
            reason,
        };
        if &*self.root != "/" {
            return pattern
                .strip_prefix(&*self.root)
                .ok_or_else(|| bad(format!("it does not begin with {}", self.root)));
        }
        let path = match pattern.strip_prefix("file:") {
            Some(path) => path.strip_prefix("//").unwrap_or(path),
            None => pattern,
        };
        path.strip_prefix('/').ok_or_else(|| {
            bad("it is no absolute path; resolve it against the project folder first".to_owned())
        })
    }

    fn found(&self, meta: ObjectMeta) -> SourceFile {
        SourceFile {
            location: format!("{}{}", self.root, meta.location).into(),
            size: meta.size,
            last_modified: meta.last_modified,
            e_tag: meta.e_tag,
            path: meta.location,
        }
    }

    /// A file, or the files right in a folder.
    async fn list_literal(&self, path: &Path, is_folder: bool) -> Result<Vec<SourceFile>> {
        let location = format!("{}{path}", self.root);
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
                        return Err(IngestError::storage(format!("{}{path}", self.root), source));
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
                    let meta = meta.map_err(|source| {
                        IngestError::storage(format!("{}{folder}", self.root), source)
                    })?;
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
            listed => listed
                .map_err(|source| IngestError::storage(format!("{}{path}", self.root), source)),
        }
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
