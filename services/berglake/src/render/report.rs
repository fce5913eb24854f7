//! Plans and reports of runs for people.

use berglake_pipeline::report::{
    FlowKind, FlowPlan, FlowReport, FlowStatus, PlannedAction, RunPlan, RunReport,
};

use super::labels::Labels;
use super::layout::{Column, printable, table};
use super::{count, duration};

fn kind(kind: FlowKind) -> &'static str {
    match kind {
        FlowKind::Append => "append",
        FlowKind::Upsert => "upsert",
        FlowKind::FullRefresh => "full refresh",
    }
}

fn status(status: FlowStatus) -> &'static str {
    match status {
        FlowStatus::Updated => "updated",
        FlowStatus::UpToDate => "up to date",
        FlowStatus::Failed => "failed",
        FlowStatus::Skipped => "skipped",
    }
}

/// What a run would do.
pub(crate) fn plan(plan: &RunPlan) -> String {
    let labels = Labels::of(plan.flows.iter().map(|flow| flow.target.clone()));
    let label = |flow: &FlowPlan| labels.label(&flow.flow, &flow.target);
    let rows: Vec<Vec<String>> = plan
        .flows
        .iter()
        .map(|flow| plan_row(label(flow), flow))
        .collect();
    let mut text = format!("pipeline {}\n\n", plan.pipeline);
    text += &table(
        ["table", "how", "action", "reads"]
            .map(Column::left)
            .to_vec(),
        &rows,
    );
    for flow in &plan.flows {
        if let PlannedAction::Blocked { reason } = &flow.action {
            text += &format!("\n{}: blocked: {reason}\n", label(flow));
        }
    }
    let reasons: Vec<String> = plan
        .flows
        .iter()
        .filter(|flow| !flow.reason.is_empty())
        .map(|flow| format!("  {}: {}\n", label(flow), flow.reason))
        .collect();
    if !reasons.is_empty() {
        text += &format!("\nwhy so\n{}", reasons.concat());
    }
    text
}

fn plan_row(label: String, flow: &FlowPlan) -> Vec<String> {
    let (action, reads) = match &flow.action {
        PlannedAction::Create { reads } => ("create", reads.as_str()),
        PlannedAction::Update { reads } => ("update", reads.as_str()),
        PlannedAction::UpToDate => ("up to date", ""),
        PlannedAction::Blocked { .. } => ("blocked", ""),
    };
    vec![
        label,
        kind(flow.kind).to_string(),
        action.to_string(),
        printable(reads),
    ]
}

/// What a run did.
pub(crate) fn run(report: &RunReport) -> String {
    let columns = vec![
        Column::left("table"),
        Column::left("how"),
        Column::left("status"),
        Column::right("read"),
        Column::right("inserted"),
        Column::right("updated"),
        Column::right("deleted"),
        Column::right("superseded"),
        Column::right("dead letters"),
        Column::right("time"),
    ];
    let labels = Labels::of(report.flows.iter().map(|flow| flow.target.clone()));
    let label = |flow: &FlowReport| labels.label(&flow.flow, &flow.target);
    let rows: Vec<Vec<String>> = report
        .flows
        .iter()
        .map(|flow| {
            vec![
                label(flow),
                kind(flow.kind).to_string(),
                status(flow.status).to_string(),
                count(flow.rows_read),
                count(flow.rows_inserted),
                count(flow.rows_updated),
                count(flow.rows_deleted),
                count(flow.rows_superseded),
                count(flow.dead_letters),
                duration(flow.elapsed_ms),
            ]
        })
        .collect();
    let mut text = format!(
        "pipeline {}, {}\n\n",
        report.pipeline,
        duration(report.elapsed_ms)
    );
    text += &table(columns, &rows);
    text += &expectations(&report.flows, &labels);
    for flow in &report.flows {
        for warning in &flow.warnings {
            text += &format!("\nwarning: {}: {warning}\n", label(flow));
        }
        if let Some(error) = &flow.error {
            let what = match flow.status {
                FlowStatus::Skipped => "skipped",
                _ => "failed",
            };
            text += &format!("\n{what}: {}: {error}\n", label(flow));
        }
    }
    text
}

fn expectations(flows: &[FlowReport], labels: &Labels) -> String {
    let rows: Vec<Vec<String>> = flows
        .iter()
        .flat_map(|flow| flow.expectations.iter().map(move |result| (flow, result)))
        .map(|(flow, result)| {
            vec![
                labels.label(&flow.flow, &flow.target),
                result.name.clone(),
                result.action.clone(),
                count(result.passed),
                count(result.failed),
                printable(&result.condition),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let columns = vec![
        Column::left("table"),
        Column::left("expectation"),
        Column::left("on violation"),
        Column::right("passed"),
        Column::right("failed"),
        Column::left("condition"),
    ];
    format!("\n{}", table(columns, &rows))
}
