//! Brings the tables of a pipeline up to date.

use std::sync::Arc;

use berglake_catalog::Catalog;
use berglake_format::storage::Storage;
use berglake_format::{Environment, Result};

use crate::Project;
use crate::report::{FlowReport, RunPlan, RunReport};

/// What to run and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Only flows into tables of this layer (namespace).
    pub layer: Option<String>,
    /// Tables to empty and fill anew from the start of their sources.
    pub full_refresh: Vec<String>,
    /// What to do with a flow whose table was rolled back: `None` stops and asks.
    pub resume: Option<Resume>,
}

/// What to do with source rows between a rolled-back head and the recorded progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Reads them again: the rollback undid their rows.
    Replay,
    /// Leaves them out: the rollback meant to be rid of them.
    Skip,
}

/// Hears of a run while it goes on, for progress bars and logs. All methods do nothing by default.
pub trait Observer: Send + Sync {
    /// A flow starts.
    fn flow_started(&self, flow: &str, target: &str) {
        let _ = (flow, target);
    }
    /// A flow has read this many rows so far.
    fn rows_read(&self, flow: &str, rows: u64) {
        let _ = (flow, rows);
    }
    /// A flow has ended.
    fn flow_finished(&self, report: &FlowReport) {
        let _ = report;
    }
}

/// Plans and runs the pipeline of a project.
pub struct Runner {
    _project: Project,
}

impl Runner {
    /// A runner over these handles. Parses the project's SQL files.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) with all diagnostics of the SQL files.
    pub fn new(
        project: &Project,
        catalog: Arc<dyn Catalog>,
        storage: Storage,
        environment: Environment,
    ) -> Result<Self> {
        let _ = (project, catalog, storage, environment);
        todo!()
    }

    /// Checks everything that can be checked without running: SQL, references, types, sources.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) with all findings.
    pub async fn validate(&self) -> Result<()> {
        todo!()
    }

    /// What a run would do.
    ///
    /// # Errors
    /// Errors of catalog and storage.
    pub async fn plan(&self, options: &RunOptions) -> Result<RunPlan> {
        todo!("{options:?}")
    }

    /// Runs the flows in order. A flow that fails is in the report, and those that need it are skipped.
    ///
    /// # Errors
    /// Only what concerns no flow alone: catalog away, an unknown layer.
    pub async fn run(&self, options: &RunOptions, observer: &dyn Observer) -> Result<RunReport> {
        let _ = observer;
        todo!("{options:?}")
    }
}
