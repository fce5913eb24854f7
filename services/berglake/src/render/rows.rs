//! Rows in each output format, batch by batch: a large result is never held in memory.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use berglake_format::{Error, Result};
use berglake_query::encode::{Cell, RowEncoder, RowFormat};
use futures::{Stream, StreamExt};

use super::layout::{Column, Layout, printable_lines};
use crate::cli::Output;
use crate::exit::Outcome;
use crate::output::Out;

/// Rows by which the widths of a table's columns are decided.
const ROWS_TO_MEASURE: usize = 1_000;

/// Prints all rows and gives their number.
pub(crate) async fn print(
    out: &mut Out,
    output: Output,
    schema: &SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch>>,
) -> Outcome<u64> {
    let mut batches = std::pin::pin!(batches);
    let mut rows = 0;
    match output {
        Output::Table => {
            let mut printer = TablePrinter::new(schema);
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                rows += batch.num_rows() as u64;
                printer.batch(out, &batch)?;
            }
            printer.finish(out)?;
            let noun = if rows == 1 { "row" } else { "rows" };
            out.line(&format!("({} {noun})", super::count(rows)))?;
        }
        Output::Csv => rows = encode(out, RowFormat::Csv, schema, batches).await?,
        Output::Json => rows = encode(out, RowFormat::NdJson, schema, batches).await?,
        Output::Arrow => rows = encode(out, RowFormat::Arrow, schema, batches).await?,
    }
    out.flush()?;
    Ok(rows)
}

async fn encode(
    out: &mut Out,
    format: RowFormat,
    schema: &SchemaRef,
    mut batches: impl Stream<Item = Result<RecordBatch>> + Unpin,
) -> Outcome<u64> {
    let mut encoder = RowEncoder::new(format, schema)?;
    out.bytes(&encoder.begin()?)?;
    while let Some(batch) = batches.next().await {
        out.bytes(&encoder.batch(&batch?)?)?;
    }
    out.bytes(&encoder.end()?)?;
    Ok(encoder.rows())
}

/// Prints a table whose widths are those of its first rows.
struct TablePrinter {
    schema: SchemaRef,
    columns: Vec<Column>,
    waiting: Vec<Vec<String>>,
    layout: Option<Layout>,
}

impl TablePrinter {
    fn new(schema: &SchemaRef) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Column {
                name: field.name().clone(),
                right: field.data_type().is_numeric(),
            })
            .collect();
        Self {
            schema: schema.clone(),
            columns,
            waiting: Vec::new(),
            layout: None,
        }
    }

    fn batch(&mut self, out: &mut Out, batch: &RecordBatch) -> Outcome {
        for row in 0..batch.num_rows() {
            let fields = self.schema.fields().iter();
            let cells = fields
                .zip(batch.columns())
                .map(|(field, array)| {
                    let text = (Cell { field, array, row }).text()?;
                    Ok(text.map_or_else(|| "NULL".to_string(), |text| printable_lines(&text)))
                })
                .collect::<Result<Vec<_>>>()?;
            match &self.layout {
                Some(layout) => out.text(&layout.row(&cells))?,
                None => {
                    self.waiting.push(cells);
                    if self.waiting.len() >= ROWS_TO_MEASURE {
                        self.measure(out)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn measure(&mut self, out: &mut Out) -> Outcome {
        let layout = Layout::fitting(self.columns.clone(), &self.waiting);
        out.text(&layout.heading())?;
        for cells in self.waiting.drain(..) {
            out.text(&layout.row(&cells))?;
        }
        self.layout = Some(layout);
        Ok(())
    }

    fn finish(&mut self, out: &mut Out) -> Outcome {
        match self.layout {
            Some(_) => Ok(()),
            None => self.measure(out),
        }
    }
}

/// Refuses to print binary data to a terminal.
pub(crate) fn check_terminal(output: Output) -> Result<()> {
    use std::io::IsTerminal;
    if output == Output::Arrow && std::io::stdout().is_terminal() {
        return Err(Error::invalid("an Arrow stream is not for terminals")
            .help("redirect it: --output arrow > FILE"));
    }
    Ok(())
}
