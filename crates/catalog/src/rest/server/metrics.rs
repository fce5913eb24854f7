//! Metrics reports.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as FromState;
use axum::http::StatusCode;

use super::State;
use super::auth::Principal;
use super::error::{ApiError, Subject};
use super::extract::{Body, TablePath};
use crate::MetricsReport;
use crate::rest::protocol::ReportMetricsRequest;

pub(super) async fn report(
    FromState(state): FromState<Arc<State>>,
    Extension(Principal(principal)): Extension<Principal>,
    TablePath(ident): TablePath,
    Body(request): Body<ReportMetricsRequest>,
) -> Result<StatusCode, ApiError> {
    let known = ["scan-report", "commit-report"];
    if !known.contains(&request.report_type.as_str()) {
        return Err(ApiError::bad_request(format!(
            "report-type must be scan-report or commit-report, and is {:?}",
            request.report_type
        )));
    }
    let there = state.catalog.metadata_location(&ident).await;
    let there = there.map_err(|error| ApiError::general(&error))?;
    if there.is_none() {
        return Err(ApiError::no_such(Subject::Table(&ident)));
    }
    let report = serde_json::to_string(&request.report)
        .map_err(|error| ApiError::bad_request(format!("the report is no JSON: {error}")))?;
    state.journal.report(MetricsReport {
        table: ident,
        reported_at_ms: state.catalog.environment().clock().now_millis(),
        principal,
        report_type: request.report_type,
        report,
    });
    Ok(StatusCode::NO_CONTENT)
}
