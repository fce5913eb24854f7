//! From a planned frame to data files: expectations applied, rows counted.

use berglake_format::write::{DataWriter, WrittenFile};
use berglake_format::{Result, Table};
use datafusion::dataframe::DataFrame;
use futures::StreamExt;

use super::FlowRun;
use super::expectations::Checks;
use super::inputs::Counter;

/// Rows that were written and are not yet committed.
pub(super) struct Written {
    pub(super) files: Vec<WrittenFile>,
    pub(super) rows: u64,
}

/// Writes the rows of a frame that carries the checks' flags. On failure nothing stays behind.
///
/// # Errors
/// Whatever the query, the checks and the writer meet.
pub(super) async fn write_rows(
    run: &FlowRun<'_>,
    table: &Table,
    frame: DataFrame,
    checks: &Checks,
    counted: &Counter,
) -> Result<Written> {
    let mut writer = DataWriter::new(table)?;
    match copy_rows(run, frame, checks, counted, &mut writer).await {
        Ok(()) => {
            let rows = writer.rows();
            let files = writer.finish().await?;
            Ok(Written { files, rows })
        }
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

async fn copy_rows(
    run: &FlowRun<'_>,
    frame: DataFrame,
    checks: &Checks,
    counted: &Counter,
    writer: &mut DataWriter,
) -> Result<()> {
    let mut stream = frame.execute_stream().await.map_err(super::engine_error)?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(super::engine_error)?;
        let batch = checks.apply(&batch)?;
        if batch.num_rows() > 0 {
            writer.write(&batch).await?;
        }
        run.observer.rows_read(&run.flow.name, counted.rows());
    }
    Ok(())
}
