//! `berglake sql`

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use berglake_catalog::Catalog;
use berglake_format::{Error, Result};
use berglake_host::Lake;
use berglake_query::{Prepared, QueryOutput, Session};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::cli::{Global, Output, SqlArguments};
use crate::compose;
use crate::exit::{Failure, Outcome};
use crate::output::Out;
use crate::render::rows;
use crate::shell::statements;

/// Batches that are read before they are printed.
const ROWS_AHEAD: usize = 2;

/// Statements over one project, one after the other.
pub(crate) struct Sql {
    pub(crate) lake: Lake,
    pub(crate) catalog: Arc<dyn Catalog>,
    session: Arc<Session>,
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
            let result = running(self.session.clone(), statement).await?;
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

/// Starts a statement in a task of its own, and goes on reading its rows there: whoever waits for it
/// hears an interruption, however busy the statement is.
async fn running(session: Arc<Session>, statement: Prepared) -> Result<QueryOutput> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { session.run(statement).await });
    let output = match tasks.join_next().await {
        Some(Ok(output)) => output?,
        Some(Err(failure)) => return Err(broke_off(failure)),
        None => return Err(Error::internal("a statement was not started")),
    };
    let (sender, receiver) = mpsc::channel(ROWS_AHEAD);
    let mut rows = output.stream;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(batch) = rows.next().await {
            // Nobody reads any more.
            if sender.send(batch).await.is_err() {
                break;
            }
        }
    });
    // The task belongs to the stream and ends with it.
    let stream = futures::stream::unfold((receiver, tasks), |(mut receiver, mut tasks)| async {
        let batch = match receiver.recv().await {
            Some(batch) => batch,
            None => match tasks.join_next().await {
                Some(Err(failure)) => Err(broke_off(failure)),
                _ => return None,
            },
        };
        Some((batch, (receiver, tasks)))
    });
    Ok(QueryOutput {
        schema: output.schema,
        stream: stream.boxed(),
    })
}

fn broke_off(failure: JoinError) -> Error {
    Error::internal("a statement broke off").source_error(failure)
}

async fn session(lake: &Lake, catalog: &Arc<dyn Catalog>, force: bool) -> Outcome<Arc<Session>> {
    let session = lake.engine(catalog)?.connect();
    if force {
        session.sql("SET berglake.force_write = true").await?;
    }
    Ok(Arc::new(session))
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
