//! The project that the command line names, as handles; failures as exit codes.

use std::sync::Arc;

use berglake_catalog::Catalog;
use berglake_host::Lake;

use crate::cli::Global;
use crate::exit::{Failure, Outcome};

/// Loads the project that the command line names.
pub(crate) fn lake(global: &Global) -> Outcome<Lake> {
    Lake::load(&global.project, global.set.clone()).map_err(Failure::usage)
}

/// Opens the catalog; a SQLite file that does not exist is made.
pub(crate) async fn catalog(lake: &Lake) -> Outcome<Arc<dyn Catalog>> {
    lake.catalog().await.map_err(Failure::opening)
}

/// Opens the catalog for a command that only looks, without making one.
pub(crate) async fn catalog_to_read(lake: &Lake) -> Outcome<Arc<dyn Catalog>> {
    lake.catalog_to_read().await.map_err(Failure::opening)
}
