//! `berglake maintain`

use std::collections::BTreeMap;

use berglake_catalog::Catalog;
use berglake_format::TableIdent;
use berglake_host::Lake;
use berglake_maintenance::compact::CompactionOptions;
use berglake_maintenance::{Maintenance, Operation, Policies, Stop};

use crate::cli::{self, Global, MaintenanceOperation, Output};
use crate::compose;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Out;

pub(crate) async fn plan(global: &Global, what: &cli::Maintenance) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let lake = compose::lake(global)?;
    let catalog = compose::catalog_to_read(&lake).await?;
    let tables = tables(catalog.as_ref(), what).await?;
    let maintenance = Maintenance::new(catalog, policies(&lake, what)?);
    let plan = maintenance.plan(&tables, &operations(what)).await?;
    let mut out = Out::new();
    match output {
        Output::Json => out.json(&plan)?,
        _ => out.text(&plan.to_string())?,
    }
    out.flush()?;
    ended(&plan.failures())
}

pub(crate) async fn run(global: &Global, what: &cli::Maintenance, stop: &Stop) -> Outcome {
    let output = super::output_of(global, &[Output::Table, Output::Json])?;
    let lake = compose::lake(global)?;
    let catalog = compose::catalog_to_read(&lake).await?;
    let tables = tables(catalog.as_ref(), what).await?;
    let maintenance = Maintenance::new(catalog, policies(&lake, what)?);
    let report = maintenance.run(&tables, &operations(what), stop).await?;
    let mut out = Out::new();
    match output {
        Output::Json => out.json(&report)?,
        _ => out.text(&report.to_string())?,
    }
    out.flush()?;
    ended(&report.failures())
}

/// The end of a command that has shown what failed, and with which kinds of errors.
fn ended(failures: &[&str]) -> Outcome {
    match Exit::of_maintenance(failures) {
        Some(exit) => Err(Failure::Shown(exit)),
        None => Ok(()),
    }
}

fn policies(lake: &Lake, what: &cli::Maintenance) -> Outcome<Policies> {
    let names = what.option.iter().map(|(name, _)| name.as_str());
    CompactionOptions::check_names(names).map_err(Failure::usage)?;
    let config = &lake.project.config;
    Ok(Policies {
        defaults: config.defaults.clone(),
        layers: config.layers.clone(),
        options: what.option.iter().cloned().collect::<BTreeMap<_, _>>(),
    })
}

fn operations(what: &cli::Maintenance) -> Vec<Operation> {
    match what.operation {
        Some(MaintenanceOperation::Compact) => vec![Operation::Compact],
        Some(MaintenanceOperation::Expire) => vec![Operation::Expire],
        None => Operation::ALL.to_vec(),
    }
}

async fn tables(catalog: &dyn Catalog, what: &cli::Maintenance) -> Outcome<Vec<TableIdent>> {
    if what.table.is_empty() {
        return Ok(super::all_tables(catalog).await?);
    }
    let mut tables = Vec::with_capacity(what.table.len());
    for name in &what.table {
        let ident = super::load_table(catalog, name).await?.ident().clone();
        if !tables.contains(&ident) {
            tables.push(ident);
        }
    }
    Ok(tables)
}
