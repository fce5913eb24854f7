//! `berglake sql`

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use berglake_catalog::Catalog;
use berglake_format::{Error, Result};
use berglake_host::Lake;
use berglake_query::Session;

use crate::cli::{Global, Output, SqlArguments};
use crate::compose;
use crate::exit::{Failure, Outcome};
use crate::output::Out;
use crate::render::rows;
use crate::shell::statements;

/// Statements over one project, one after the other.
pub(crate) struct Sql {
    pub(crate) lake: Lake,
    pub(crate) catalog: Arc<dyn Catalog>,
    session: Session,
    /// Whether the catalog is one in memory that stands for a file that does not exist.
    stand_in: bool,
    force: bool,
}

impl Sql {
    /// Opens the project's catalog, without making one.
    pub(crate) async fn open(global: &Global, force: bool) -> Outcome<Self> {
        let lake = compose::lake(global)?;
        let stand_in = lake.is_fresh();
        let catalog = compose::catalog_to_read(&lake).await?;
        let session = session(&lake, &catalog, force).await?;
        Ok(Self {
            lake,
            catalog,
            session,
            stand_in,
            force,
        })
    }

    /// Runs all statements of a text and prints their rows.
    pub(crate) async fn run(&mut self, text: &str, output: Output, out: &mut Out) -> Outcome {
        // All of it is parsed before any of it runs.
        let prepared = Session::prepare(text)?;
        if output == Output::Arrow && prepared.len() != 1 {
            return Err(
                Error::invalid("an Arrow stream takes exactly one statement")
                    .with("statements", prepared.len())
                    .into(),
            );
        }
        if self.stand_in && statements::writes(text) {
            self.catalog = compose::catalog(&self.lake).await?;
            self.session = session(&self.lake, &self.catalog, self.force).await?;
            self.stand_in = false;
        }
        for statement in prepared {
            let result = self.session.run(statement).await?;
            if result.schema.fields().is_empty() && output != Output::Arrow {
                if output == Output::Table {
                    out.line("done")?;
                }
                continue;
            }
            rows::print(out, output, &result.schema, result.stream).await?;
        }
        out.flush()
    }
}

async fn session(lake: &Lake, catalog: &Arc<dyn Catalog>, force: bool) -> Outcome<Session> {
    let session = lake.engine(catalog)?.connect();
    if force {
        session.sql("SET berglake.force_write = true").await?;
    }
    Ok(session)
}

/// What is to be run, unless the user is to type it.
pub(crate) fn given(arguments: &SqlArguments) -> Result<Option<String>> {
    if let Some(command) = &arguments.command {
        return Ok(Some(command.clone()));
    }
    match &arguments.file {
        Some(file) if file != Path::new("-") => std::fs::read_to_string(file)
            .map(Some)
            .map_err(|error| unreadable(error, &file.display().to_string())),
        None if std::io::stdin().is_terminal() => Ok(None),
        _ => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| unreadable(error, "stdin"))?;
            Ok(Some(text))
        }
    }
}

fn unreadable(error: std::io::Error, file: &str) -> Error {
    let kind = Error::from(std::io::Error::from(error.kind())).kind();
    Error::new(kind, "the file of statements cannot be read")
        .with("file", file)
        .source_error(error)
}

/// Runs what was given on the command line, in a file or on stdin.
pub(crate) async fn run(global: &Global, arguments: &SqlArguments, text: &str) -> Outcome {
    let output = global.output.unwrap_or(Output::Table);
    rows::check_terminal(output).map_err(Failure::usage)?;
    let mut sql = Sql::open(global, arguments.force).await?;
    let mut out = Out::new();
    let outcome = sql.run(text, output, &mut out).await;
    // What was printed before a failure is part of the result.
    let flushed = out.flush();
    outcome.and(flushed)
}
