//! `berglake validate`

use crate::cli::{Global, Output};
use crate::compose;
use crate::exit::Outcome;
use crate::output::Out;

pub(crate) async fn run(global: &Global) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let lake = compose::lake(global)?;
    let catalog = compose::catalog_to_read(&lake).await?;
    let runner = lake.runner(&catalog)?;
    runner.validate().await?;
    let name = &lake.project.config.name;
    let mut out = Out::new();
    match output {
        Output::Json => out.json(&serde_json::json!({"pipeline": name, "valid": true}))?,
        _ => out.line(&format!("{name} is valid"))?,
    }
    out.flush()
}
