//! One object, one name: the only place where the spelling of a file's location is interpreted.
//!
//! Engines write the same object in different ways: `s3a://` and `s3n://` for `s3://`, `file:/x`
//! for `file:///x`, doubled slashes. Commits, delete matching, reachability and orphan removal all
//! compare [`Location`]s, never strings. Keys are literal: nothing is percent-decoded, because
//! partition folders contain escapes (`name=a%20b`) that are part of the name.

use std::fmt;
use std::path::Path as FilePath;

use object_store::path::Path;

use crate::{Error, Result};

/// Which store an object is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreRoot {
    /// The local file system.
    File,
    /// The process's memory, for tests and `berglake test`.
    Memory,
    /// A bucket of an S3-compatible store.
    S3 {
        /// The bucket's name.
        bucket: String,
    },
}

impl fmt::Display for StoreRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file://"),
            Self::Memory => f.write_str("memory://"),
            Self::S3 { bucket } => write!(f, "s3://{bucket}"),
        }
    }
}

/// The location of a file or a folder in its one normal spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    root: StoreRoot,
    key: String,
}

impl Location {
    /// Parses any spelling of a location.
    ///
    /// A path without scheme must be absolute and is a local file.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for an unknown scheme, a relative path, a
    /// bucket that is missing, or a key with `.` or `..` segments.
    pub fn parse(text: &str) -> Result<Self> {
        let (root, key) = if let Some((scheme, rest)) = split_scheme(text) {
            match scheme.to_ascii_lowercase().as_str() {
                // Java drops the empty authority: `file:/x`. A host other than localhost is no local file.
                "file" => {
                    let rest = match rest.strip_prefix("//") {
                        Some(after) if after.starts_with('/') => after,
                        Some(after) => after.strip_prefix("localhost").ok_or_else(|| {
                            Error::invalid("a file location must not name a host")
                                .with("location", text)
                        })?,
                        None => rest,
                    };
                    (StoreRoot::File, rest)
                }
                "memory" => (StoreRoot::Memory, rest.trim_start_matches('/')),
                "s3" | "s3a" | "s3n" => {
                    let rest = rest.strip_prefix("//").unwrap_or_default();
                    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                    if bucket.is_empty() {
                        return Err(Error::invalid("the location names no bucket")
                            .with("location", text)
                            .help("write s3://BUCKET/PREFIX"));
                    }
                    (
                        StoreRoot::S3 {
                            bucket: bucket.to_string(),
                        },
                        key,
                    )
                }
                other => {
                    return Err(Error::invalid(format!("unknown scheme {other:?}"))
                        .with("location", text)
                        .help("known schemes are file, memory, s3 (s3a, s3n)"));
                }
            }
        } else if text.starts_with('/') {
            (StoreRoot::File, text)
        } else {
            return Err(
                Error::invalid("a location needs a scheme or an absolute path")
                    .with("location", text),
            );
        };
        let mut segments = Vec::new();
        for segment in key.split('/').filter(|s| !s.is_empty()) {
            if segment == "." || segment == ".." {
                return Err(
                    Error::invalid("a location must not contain . or .. segments")
                        .with("location", text),
                );
            }
            segments.push(segment);
        }
        Ok(Self {
            root,
            key: segments.join("/"),
        })
    }

    /// The location of a local path; a relative one is taken from the working directory.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the path is not UTF-8.
    pub fn from_path(path: &FilePath) -> Result<Self> {
        let absolute = std::path::absolute(path)?;
        // `absolute` keeps `..`; resolving them by hand is right as long as no symbolic link is crossed.
        let mut normal = std::path::PathBuf::new();
        for part in absolute.components() {
            match part {
                std::path::Component::ParentDir => {
                    normal.pop();
                }
                std::path::Component::CurDir => {}
                other => normal.push(other),
            }
        }
        let text = normal
            .to_str()
            .ok_or_else(|| Error::invalid("the path is not UTF-8").with("path", path.display()))?;
        Self::parse(text)
    }

    /// The store.
    pub fn root(&self) -> &StoreRoot {
        &self.root
    }

    /// The key inside the store, without leading slash.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The key as `object_store` wants it.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for characters that no store takes.
    pub fn object_path(&self) -> Result<Path> {
        // `Path::from` would escape `%`; `parse` takes the key as it is.
        Path::parse(&self.key).map_err(|error| {
            Error::invalid("the location is no valid object path")
                .with("location", self)
                .source_error(error)
        })
    }

    /// A location below this one. `relative` has no leading slash.
    #[must_use]
    pub fn join(&self, relative: &str) -> Self {
        let relative = relative.trim_matches('/');
        let key = if self.key.is_empty() {
            relative.to_string()
        } else {
            format!("{}/{relative}", self.key)
        };
        Self {
            root: self.root.clone(),
            key,
        }
    }

    /// The location of another key in the same store.
    pub(super) fn sibling(&self, key: &str) -> Self {
        Self {
            root: self.root.clone(),
            key: key.to_string(),
        }
    }

    /// Whether this location is `folder` or lies below it.
    pub fn is_within(&self, folder: &Self) -> bool {
        self.root == folder.root
            && (folder.key.is_empty()
                || self.key == folder.key
                || self
                    .key
                    .strip_prefix(&folder.key)
                    .is_some_and(|rest| rest.starts_with('/')))
    }

    /// The last segment: a file's or folder's name.
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            StoreRoot::File => write!(f, "file:///{}", self.key),
            StoreRoot::Memory => write!(f, "memory:///{}", self.key),
            StoreRoot::S3 { bucket } => write!(f, "s3://{bucket}/{}", self.key),
        }
    }
}

/// The normal spelling of a location, or the text itself where it is none.
///
/// For comparing paths of foreign metadata, where an odd path must still equal itself.
pub fn normalize(text: &str) -> String {
    Location::parse(text).map_or_else(|_| text.to_string(), |location| location.to_string())
}

fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut chars = scheme.chars();
    let starts = chars.next().is_some_and(|c| c.is_ascii_alphabetic());
    (starts
        && chars.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        && rest.starts_with('/'))
    .then_some((scheme, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_one_object_is_one_location() {
        for (spellings, normal) in [
            (
                vec![
                    "/w/t/a.parquet",
                    "file:/w/t/a.parquet",
                    "file:///w//t/a.parquet",
                    "FILE:///w/t/a.parquet",
                    "file://localhost/w/t/a.parquet",
                ],
                "file:///w/t/a.parquet",
            ),
            (
                vec!["s3://b/t/a", "s3a://b/t/a", "s3n://b//t/a", "s3://b/t/a/"],
                "s3://b/t/a",
            ),
            (
                vec!["memory:/x/y", "memory:///x/y", "memory://x/y"],
                "memory:///x/y",
            ),
        ] {
            for spelling in spellings {
                assert_eq!(
                    Location::parse(spelling).unwrap().to_string(),
                    normal,
                    "{spelling}"
                );
            }
        }
    }

    #[test]
    fn escapes_are_part_of_the_name() {
        let location = Location::parse("file:///w/name=a%20b/f:1.parquet").unwrap();
        assert_eq!(location.to_string(), "file:///w/name=a%20b/f:1.parquet");
        assert_eq!(
            location.object_path().unwrap().as_ref(),
            "w/name=a%20b/f:1.parquet"
        );
        assert_ne!(
            location,
            Location::parse("file:///w/name=a b/f:1.parquet").unwrap()
        );
    }

    #[test]
    fn wrong_locations_are_refused_with_their_text() {
        for wrong in [
            "",
            "relative/x",
            "s3://",
            "s3:///key",
            "hdfs://h/x",
            "file://host/x",
            "/a/../b",
            "file:///a/./b",
        ] {
            let error = Location::parse(wrong).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidInput, "{wrong}");
        }
    }

    #[test]
    fn within_compares_whole_segments() {
        let at = |s| Location::parse(s).unwrap();
        assert!(at("s3://b/wh/t").is_within(&at("s3://b/wh")));
        assert!(at("s3://b/wh").is_within(&at("s3://b/wh/")));
        assert!(!at("s3://b/wh2/t").is_within(&at("s3://b/wh")));
        assert!(!at("s3://c/wh/t").is_within(&at("s3://b/wh")));
    }
}
