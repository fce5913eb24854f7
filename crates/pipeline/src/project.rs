//! A project: a folder with `berglake.toml` and SQL files.

use std::path::{Path, PathBuf};

use berglake_format::Result;

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
        let root = std::path::absolute(root)?;
        let config = Config::load(&root, environment)?;
        Ok(Self { root, config })
    }
}
