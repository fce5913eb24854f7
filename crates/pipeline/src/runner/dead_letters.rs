//! Records that were no rows, on their way into the dead-letter table.

use std::collections::HashMap;

use berglake_format::write::{DataWriter, WrittenFile};
use berglake_format::{Error, Result, Table, failpoint};
use berglake_ingest::dead_letter::{DeadLetter, schema, to_batch};
use chrono::DateTime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::{DEAD_LETTER_PROPERTY, FlowRun, tables};

/// Writes dead letters while the rows beside them are written.
pub(super) struct DeadLetters {
    table: Option<Table>,
    task: Option<JoinHandle<Result<Written>>>,
}

/// What was written.
#[derive(Default)]
pub(super) struct Written {
    pub(super) files: Vec<WrittenFile>,
    pub(super) count: u64,
}

/// The dead-letter table of a flow's target, created if it does not exist.
pub(super) async fn table_of(run: &FlowRun<'_>) -> Result<Option<Table>> {
    let definition = &run.runner.definition(run.flow)?.definition;
    let Some(name) = definition.properties.get(DEAD_LETTER_PROPERTY) else {
        return Ok(None);
    };
    let columns = schema();
    let wanted = tables::Wanted {
        ident: tables::parse_ident(&name.node)?,
        definition: None,
        columns: columns.as_ref(),
        pins: HashMap::new(),
    };
    tables::ensure(
        run.runner.catalog.as_ref(),
        &run.runner.project.config,
        &wanted,
    )
    .await
    .map(Some)
}

impl DeadLetters {
    /// Starts to take dead letters, if the source can have some.
    pub(super) fn start(
        run: &FlowRun<'_>,
        table: Option<Table>,
        letters: Option<mpsc::Receiver<Vec<DeadLetter>>>,
    ) -> Self {
        let task = letters.map(|letters| {
            let writing = write(
                table.clone(),
                run.flow.name.clone(),
                run.flow.target.to_string(),
                letters,
            );
            tokio::spawn(writing.in_current_span())
        });
        Self { table, task }
    }

    /// Waits until all are written. The senders must be gone.
    ///
    /// # Errors
    /// Those of writing, and [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) when a record
    /// is no row and there is no dead-letter table.
    pub(super) async fn finish(&mut self) -> Result<Written> {
        match self.task.take() {
            None => Ok(Written::default()),
            Some(task) => task.await.map_err(|error| {
                Error::internal("the writer of dead letters has failed").source_error(error)
            })?,
        }
    }

    /// The dead-letter table, if there is one.
    pub(super) fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }
}

impl Drop for DeadLetters {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn write(
    table: Option<Table>,
    flow: String,
    target: String,
    mut letters: mpsc::Receiver<Vec<DeadLetter>>,
) -> Result<Written> {
    let mut open: Option<DataWriter> = None;
    let mut count = 0;
    while let Some(batch) = letters.recv().await {
        let (Some(table), Some(first)) = (&table, batch.first()) else {
            return Err(undeliverable(&target, batch.first()));
        };
        tracing::debug!(
            flow,
            count = batch.len(),
            first = first.message,
            "records are no rows"
        );
        count += batch.len() as u64;
        let now = DateTime::from_timestamp_micros(table.environment().clock().now_micros())
            .unwrap_or_default();
        let rows = to_batch(&flow, &batch, now)?;
        let writer = match &mut open {
            Some(writer) => writer,
            None => open.insert(DataWriter::new(table)?),
        };
        if let Err(error) = writer.write(&rows).await {
            if let Some(writer) = open.take() {
                writer.abort().await;
            }
            return Err(error);
        }
    }
    let files = match open {
        Some(writer) => writer.finish().await?,
        None => Vec::new(),
    };
    if count > 0 {
        failpoint::hit(failpoint::DEAD_LETTERS_WRITTEN);
    }
    Ok(Written { files, count })
}

fn undeliverable(target: &str, letter: Option<&DeadLetter>) -> Error {
    let error = Error::invalid("a record is no row of the source, and the table has no dead-letter table")
        .help(format!(
            "correct the record, or give {target} the property '{DEAD_LETTER_PROPERTY}' = 'namespace.table'"
        ));
    match letter {
        Some(letter) => error
            .with("at", place(letter))
            .with("reason", &letter.message),
        None => error,
    }
}

fn place(letter: &DeadLetter) -> String {
    use berglake_ingest::dead_letter::Coordinates;
    match &letter.at {
        Coordinates::File { file, row, .. } => format!("{file}, record {row}"),
        Coordinates::Kafka {
            topic,
            partition,
            offset,
        } => {
            format!("{topic}, partition {partition}, offset {offset}")
        }
        other => format!("{other:?}"),
    }
}
