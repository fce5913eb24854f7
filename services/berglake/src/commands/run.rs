//! `berglake run`

use berglake_pipeline::RunReport;

use crate::cli::{Global, Output, RunArguments};
use crate::compose;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Out;
use crate::render::{progress, report};

pub(crate) async fn run(global: &Global, arguments: &RunArguments) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let lake = compose::lake(global)?;
    // Pipelines that do not parse make no catalog: it is opened only after they are read.
    let fresh = compose::catalog_to_read(&lake).await?;
    lake.runner(&fresh)?;
    let catalog = compose::catalog(&lake).await?;
    let runner = lake.runner(&catalog)?;
    let observer = progress::observer(runner.pipeline());
    let report = runner
        .run(&super::options(&arguments.selection), observer.as_ref())
        .await?;
    let mut out = Out::new();
    match output {
        Output::Json => out.json(&report)?,
        _ => out.text(&report::run(&report))?,
    }
    out.flush()?;
    if report.succeeded() {
        Ok(())
    } else {
        Err(Failure::Shown(exit_of(&report)))
    }
}

/// The exit code of a run with flows that failed: that of their errors if they agree.
fn exit_of(report: &RunReport) -> Exit {
    let mut kinds = report.flows.iter().filter_map(|flow| flow.error_kind);
    let first = kinds.next().unwrap_or_default();
    if kinds.all(|kind| Exit::of_kind(kind) == Exit::of_kind(first)) {
        Exit::of_kind(first)
    } else {
        Exit::Failed
    }
}
