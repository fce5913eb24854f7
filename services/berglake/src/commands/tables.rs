//! `berglake tables`

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use berglake_format::Error;
use futures::stream;

use crate::cli::{Global, Output};
use crate::compose;
use crate::exit::Outcome;
use crate::output::Out;
use crate::render::rows;

pub(crate) async fn run(global: &Global) -> Outcome {
    let output = global.output.unwrap_or(Output::Table);
    rows::check_terminal(output)?;
    let lake = compose::lake(global)?;
    let catalog = compose::catalog_to_read(&lake).await?;
    let mut tables = Vec::new();
    for ident in super::all_tables(catalog.as_ref()).await? {
        tables.push(catalog.load(&ident).await?);
    }
    let mut out = Out::new();
    if tables.is_empty() && output == Output::Table {
        out.line("there are no tables yet; `berglake run` makes those of the pipelines")?;
        return out.flush();
    }
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "table",
            Arc::new(StringArray::from_iter_values(
                tables.iter().map(|table| table.ident().to_string()),
            )),
        ),
        (
            "snapshots",
            Arc::new(Int64Array::from_iter_values(
                tables
                    .iter()
                    .map(|table| table.metadata().snapshots().len() as i64),
            )),
        ),
        (
            "last_updated",
            Arc::new(
                TimestampMillisecondArray::from_iter_values(
                    tables
                        .iter()
                        .map(|table| table.metadata().last_updated_ms()),
                )
                .with_timezone("UTC"),
            ),
        ),
        (
            "comment",
            Arc::new(StringArray::from_iter(tables.iter().map(|table| {
                table.metadata().properties().get("comment").cloned()
            }))),
        ),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, name == "comment")),
    )
    .map_err(Error::from)?;
    let schema = batch.schema();
    rows::print(&mut out, output, &schema, stream::iter([Ok(batch)])).await?;
    Ok(())
}
