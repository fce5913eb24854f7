//! `berglake plan`

use crate::cli::{Global, Output, Selection};
use crate::compose;
use crate::exit::Outcome;
use crate::output::Out;
use crate::render::report;

pub(crate) async fn run(global: &Global, selection: &Selection) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let lake = compose::lake(global)?;
    let catalog = compose::catalog_to_read(&lake).await?;
    let runner = lake.runner(&catalog)?;
    let plan = runner.plan(&super::options(selection)).await?;
    let mut out = Out::new();
    match output {
        Output::Json => out.json(&plan)?,
        _ => out.text(&report::plan(&plan))?,
    }
    out.flush()
}
