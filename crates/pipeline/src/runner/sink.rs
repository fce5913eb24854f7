//! From a planned frame to data files: expectations applied, rows counted.

use berglake_format::write::{DataWriter, WrittenFile};
use berglake_format::{Result, Table};
use datafusion::dataframe::DataFrame;
use futures::StreamExt;

use super::FlowRun;
use super::expectations::Checks;
use crate::report::FlowReport;

/// Writes the rows of a frame that carries the checks' flags. On failure nothing stays behind.
///
/// # Errors
/// Whatever the query, the checks and the writer meet.
pub(super) async fn write_rows(
    run: &FlowRun<'_>,
    table: &Table,
    frame: DataFrame,
    checks: &Checks,
    report: &mut FlowReport,
) -> Result<Vec<WrittenFile>> {
    let mut writer = DataWriter::new(table)?;
    match copy_rows(run, frame, checks, &mut writer).await {
        Ok(()) => {
            report.rows_inserted += writer.rows();
            writer.finish().await
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
    writer: &mut DataWriter,
) -> Result<()> {
    let mut rows = 0;
    let mut stream = frame.execute_stream().await.map_err(super::engine_error)?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(super::engine_error)?;
        rows += batch.num_rows() as u64;
        let batch = checks.apply(&batch)?;
        if batch.num_rows() > 0 {
            writer.write(&batch).await?;
        }
        run.observer.rows_read(&run.flow.name, rows);
    }
    Ok(())
}
