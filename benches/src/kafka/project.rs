//! A project that is made for one measurement.

use std::path::Path;

use crate::Error;

/// Writes a project with this pipeline into a folder: SQLite and files beside it, a connection `main`.
pub fn write(folder: &Path, brokers: &str, pipeline: &str) -> Result<(), Error> {
    std::fs::create_dir_all(folder.join("pipelines"))?;
    std::fs::write(
        folder.join("berglake.toml"),
        format!(
            "[project]\nname = \"bench\"\n[connections.main]\nkind = \"kafka\"\n\
             bootstrap-servers = \"{brokers}\"\n"
        ),
    )?;
    std::fs::write(folder.join("pipelines/bench.sql"), pipeline)?;
    Ok(())
}
