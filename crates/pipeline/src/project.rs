//! A project: a folder with `berglake.toml` and SQL files.

use std::path::{Component, Path, PathBuf};

use berglake_format::{Error, Result};

use crate::config::Config;

/// A project as it lies on disk.
#[derive(Debug, Clone)]
pub struct Project {
    /// The folder, absolute.
    pub root: PathBuf,
    /// The effective configuration.
    pub config: Config,
}

impl Project {
    /// Loads `berglake.toml` of a folder, with overrides from these environment variables.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound) if the folder holds no project,
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for a configuration that is not valid,
    /// with file, line and key.
    pub fn load(
        root: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        Self::load_with(root, environment, [])
    }

    /// Loads as [`load`](Self::load) does, with flags that win over both: dotted keys such as
    /// `storage.s3.region`, and their values.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(
        root: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let root = absolute(root)?;
        let config = Config::load_with(&root, environment, flags)?;
        Ok(Self { root, config })
    }

    /// The folder of the SQL files.
    pub fn pipelines(&self) -> PathBuf {
        self.root.join(&self.config.pipelines)
    }
}

/// The folder as an absolute path without `..`, which no location may have.
fn absolute(root: &Path) -> Result<PathBuf> {
    let goes_up = root.components().any(|c| c == Component::ParentDir);
    let result = if goes_up {
        // Only the file system knows what lies above a symbolic link.
        std::fs::canonicalize(root)
    } else {
        std::path::absolute(root)
    };
    result.map_err(|error| {
        Error::from(error)
            .with("project", root.display())
            .help("name the folder of a project with `--project DIR`")
    })
}
