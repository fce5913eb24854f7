//! The commands, one file each.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod history;
pub(crate) mod info;
pub(crate) mod init;
pub(crate) mod maintain;
pub(crate) mod plan;
pub(crate) mod recover_metadata;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod sql;
pub(crate) mod tables;
pub(crate) mod validate;
pub(crate) mod watch;

use berglake_catalog::Catalog;
use berglake_format::suggest::nearest;
use berglake_format::{Error, ErrorKind, NamespaceIdent, Result, Table, TableIdent};
use berglake_pipeline::RunOptions;

use crate::cli::{Global, Output, Resume, Selection};
use crate::exit::{Failure, Outcome};

/// The output format, if the command knows it; tables for people where nothing is said.
fn output_of(global: &Global, known: &[Output]) -> Outcome<Output> {
    let output = global.output.unwrap_or(Output::Table);
    if known.contains(&output) {
        return Ok(output);
    }
    let name = |output: &Output| match output {
        Output::Table => "table",
        Output::Csv => "csv",
        Output::Json => "json",
        Output::Arrow => "arrow",
    };
    let known: Vec<&str> = known.iter().map(name).collect();
    Err(Failure::usage(
        Error::invalid(format!("this command has no output {:?}", name(&output)))
            .help(format!("use one of: {}", known.join(", "))),
    ))
}

/// What the user selected, as the runner takes it.
fn options(selection: &Selection) -> RunOptions {
    RunOptions {
        layer: selection.layer.clone(),
        full_refresh: selection.full_refresh.clone(),
        resume: selection.resume.map(|resume| match resume {
            Resume::Replay => berglake_pipeline::Resume::Replay,
            Resume::Skip => berglake_pipeline::Resume::Skip,
        }),
    }
}

/// All tables of a catalog, in the order of their names.
pub(crate) async fn all_tables(catalog: &dyn Catalog) -> Result<Vec<TableIdent>> {
    let mut left: Vec<NamespaceIdent> = catalog.list_namespaces(None).await?;
    let mut tables = Vec::new();
    while let Some(namespace) = left.pop() {
        left.extend(catalog.list_namespaces(Some(&namespace)).await?);
        tables.extend(catalog.list_tables(&namespace).await?);
    }
    tables.sort_by_cached_key(ToString::to_string);
    Ok(tables)
}

/// The table that the user typed, as a name.
fn table_ident(name: &str) -> Result<TableIdent> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(Error::invalid(format!("{name:?} is no name of a table"))
            .help("write NAMESPACE.TABLE; `berglake tables` lists them"));
    }
    Ok(TableIdent::from_strs(parts)?)
}

/// A table by the name that the user typed.
pub(crate) async fn load_table(catalog: &dyn Catalog, name: &str) -> Result<Table> {
    match catalog.load(&table_ident(name)?).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let tables: Vec<String> = all_tables(catalog)
                .await?
                .iter()
                .map(ToString::to_string)
                .collect();
            // A table that is in the catalog lacks something else, and its error says what.
            if tables.iter().any(|table| table == name) {
                return Err(error);
            }
            let help = match nearest(name, tables.iter().map(String::as_str)) {
                Some(found) => format!("did you mean {found}? `berglake tables` lists all"),
                None => "`berglake tables` lists all tables".to_string(),
            };
            Err(Error::not_found(format!("there is no table {name}")).help(help))
        }
        other => other,
    }
}
