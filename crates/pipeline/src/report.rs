//! What a plan says and what a run did, as plain data that serialises to JSON.

use serde::Serialize;

/// How a flow brings its target up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowKind {
    /// Appends each source row once.
    Append,
    /// Upserts by key (AUTO CDC, SCD type 1).
    Upsert,
    /// Computes the whole target anew.
    FullRefresh,
}

/// What a flow would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum PlannedAction {
    /// The target does not exist and is created.
    Create {
        /// What will then be read, in words.
        reads: String,
    },
    /// There is new input.
    Update {
        /// What is read, in words: files, or a range of snapshots.
        reads: String,
    },
    /// There is no new input.
    UpToDate,
    /// It cannot run as it stands.
    Blocked {
        /// Why, and what to do.
        reason: String,
    },
}

/// One flow of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlowPlan {
    /// The flow.
    pub flow: String,
    /// The table that it writes.
    pub target: String,
    /// How.
    pub kind: FlowKind,
    /// Why it is done this way, e.g. why a materialized view is refreshed in full.
    pub reason: String,
    /// What it would do.
    #[serde(flatten)]
    pub action: PlannedAction,
}

/// What `berglake plan` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunPlan {
    /// The pipeline.
    pub pipeline: String,
    /// Its flows in the order in which they run.
    pub flows: Vec<FlowPlan>,
}

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowStatus {
    /// It committed.
    Updated,
    /// There was nothing to do, no snapshot was made.
    UpToDate,
    /// It failed; its table is as it was.
    Failed,
    /// It did not run because a flow that it needs failed.
    Skipped,
}

/// The outcome of one expectation in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpectationResult {
    /// Its name.
    pub name: String,
    /// The condition as written.
    pub condition: String,
    /// `warn`, `drop-row` or `fail-update`.
    pub action: String,
    /// Rows for which it held.
    pub passed: u64,
    /// Rows for which it did not hold (NULL counts as not held).
    pub failed: u64,
}

/// What one flow did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlowReport {
    /// The flow.
    pub flow: String,
    /// The table that it writes.
    pub target: String,
    /// How.
    pub kind: FlowKind,
    /// What became of it.
    pub status: FlowStatus,
    /// Rows read from its source.
    pub rows_read: u64,
    /// Rows added to the target.
    pub rows_inserted: u64,
    /// Rows of the target replaced by newer ones.
    pub rows_updated: u64,
    /// Rows of the target removed.
    pub rows_deleted: u64,
    /// Rows that lost against a newer row of their key.
    pub rows_superseded: u64,
    /// Records that went to the dead-letter table.
    pub dead_letters: u64,
    /// The expectations of the target.
    pub expectations: Vec<ExpectationResult>,
    /// The last snapshot that it committed.
    pub snapshot_id: Option<i64>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Why it failed or was skipped.
    pub error: Option<String>,
    /// Of which kind the error is, e.g. `conflict` or `unavailable`; see
    /// [`ErrorKind::as_str`](berglake_format::ErrorKind::as_str).
    pub error_kind: Option<&'static str>,
    /// Wall time in milliseconds.
    pub elapsed_ms: u64,
}

/// What one run did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// The pipeline.
    pub pipeline: String,
    /// Its flows in the order in which they ran.
    pub flows: Vec<FlowReport>,
    /// Wall time in milliseconds.
    pub elapsed_ms: u64,
}

impl RunReport {
    /// Whether no flow failed.
    pub fn succeeded(&self) -> bool {
        self.flows
            .iter()
            .all(|flow| !matches!(flow.status, FlowStatus::Failed | FlowStatus::Skipped))
    }
}
