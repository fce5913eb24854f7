//! A project: a folder with `berglake.toml` and SQL files.

use std::path::{Component, Path, PathBuf};

use berglake_format::{Error, Result};

use crate::config::Config;
use crate::language::{Pipeline, SourceFile, Variables};

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

    /// Reads and checks the SQL files: all `*.sql` below the folder of pipelines, in the order of
    /// their paths. Which statement is in which file makes no difference.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound) if there is no SQL file,
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) with all that is wrong in them.
    pub fn pipeline(&self) -> Result<Pipeline> {
        let folder = self.pipelines();
        let mut paths = Vec::new();
        sql_files(&folder, &mut paths)?;
        paths.sort();
        if paths.is_empty() {
            return Err(Error::not_found("the project has no pipelines")
                .with("folder", folder.display())
                .help("write SQL files there, or name their folder in berglake.toml: [project] pipelines"));
        }
        let mut files = Vec::with_capacity(paths.len());
        for path in &paths {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Error::from(error).with("file", path.display()))?;
            let shown = path.strip_prefix(&self.root).unwrap_or(path);
            files.push(SourceFile::new(shown.display().to_string(), text));
        }
        let variables: Variables = self.config.variables.clone().into_iter().collect();
        Pipeline::from_files(&files, &variables).map_err(|found| {
            let mistakes = if found.len() == 1 {
                "a mistake"
            } else {
                "mistakes"
            };
            Error::invalid(format!("the pipeline has {mistakes}\n\n{found}\n"))
        })
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

fn sql_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let at = |error: std::io::Error| {
        Error::from(error)
            .with("folder", folder.display())
            .help("the folder of the SQL files is named in berglake.toml: [project] pipelines")
    };
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.is_dir() {
            sql_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            found.push(path);
        }
    }
    Ok(())
}
