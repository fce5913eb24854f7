//! `POST …/metrics`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What an engine reports of a scan or a commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportMetricsRequest {
    /// `scan-report` or `commit-report`.
    #[serde(rename = "report-type")]
    pub report_type: String,
    /// The report itself, as the specification has it for that type.
    #[serde(flatten)]
    pub report: Map<String, Value>,
}
