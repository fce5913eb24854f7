//! Rows in each output format, batch by batch: a large result is never held in memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use berglake_format::{Error, Result};
use futures::{Stream, StreamExt};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::layout::{Column, Layout, printable_lines};
use super::value::Cell;
use crate::cli::Output;
use crate::exit::{Failure, Outcome};
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
        Output::Csv => {
            let names: Vec<String> = schema.fields().iter().map(|f| csv(f.name())).collect();
            out.line(&names.join(","))?;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                rows += batch.num_rows() as u64;
                for row in 0..batch.num_rows() {
                    let mut line = String::new();
                    for (i, (field, array)) in columns(schema, &batch).enumerate() {
                        if i > 0 {
                            line.push(',');
                        }
                        if let Some(text) = (Cell { field, array, row }).text()? {
                            line.push_str(&csv(&text));
                        }
                    }
                    out.line(&line)?;
                }
            }
        }
        Output::Json => {
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                rows += batch.num_rows() as u64;
                for row in 0..batch.num_rows() {
                    let columns = batch.columns();
                    out.json(&Row {
                        schema,
                        columns,
                        row,
                    })?;
                }
            }
        }
        Output::Arrow => {
            let schema = portable(schema);
            let mut writer = StreamWriter::try_new(out.writer(), &schema).map_err(encoding)?;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                rows += batch.num_rows() as u64;
                let columns = batch
                    .columns()
                    .iter()
                    .zip(schema.fields())
                    .map(|(column, field)| cast(column, field.data_type()))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(encoding)?;
                let batch = RecordBatch::try_new_with_options(
                    schema.clone(),
                    columns,
                    &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
                )
                .map_err(encoding)?;
                writer.write(&batch).map_err(encoding)?;
            }
            writer.finish().map_err(encoding)?;
        }
    }
    out.flush()?;
    Ok(rows)
}

/// The columns of a batch as the result declares them: batches may carry less about them.
fn columns<'a>(
    schema: &'a Schema,
    batch: &'a RecordBatch,
) -> impl Iterator<Item = (&'a Field, &'a ArrayRef)> {
    let fields = schema.fields().iter().map(AsRef::as_ref);
    fields.zip(batch.columns())
}

/// A row as a JSON object, with its columns in order.
struct Row<'a> {
    schema: &'a Schema,
    columns: &'a [ArrayRef],
    row: usize,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.row;
        let mut object = serializer.serialize_map(Some(self.columns.len()))?;
        for (field, array) in self.schema.fields().iter().zip(self.columns) {
            object.serialize_entry(field.name(), &Cell { field, array, row })?;
        }
        object.end()
    }
}

/// A field of CSV, quoted where it must be. An empty text is quoted, so that it is no NULL.
fn csv(text: &str) -> String {
    let plain = !text.is_empty() && !text.contains(['"', ',', '\n', '\r']);
    if plain {
        text.to_string()
    } else {
        format!("\"{}\"", text.replace('"', "\"\""))
    }
}

/// The schema without view types, which many readers of Arrow streams do not know.
fn portable(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let portable = match field.data_type() {
                DataType::Utf8View => DataType::Utf8,
                DataType::BinaryView => DataType::Binary,
                other => other.clone(),
            };
            field.as_ref().clone().with_data_type(portable)
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn encoding(error: arrow::error::ArrowError) -> Failure {
    match error {
        arrow::error::ArrowError::IoError(_, error) => Failure::output(error),
        other => Error::internal("a result cannot be written as an Arrow stream")
            .source_error(other)
            .into(),
    }
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
            let cells = columns(&self.schema, batch)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_tells_null_from_empty_and_quotes_what_must_be() {
        assert_eq!(csv("plain"), "plain");
        assert_eq!(csv(""), "\"\"");
        assert_eq!(csv("a,b"), "\"a,b\"");
        assert_eq!(csv("say \"x\"\n"), "\"say \"\"x\"\"\n\"");
    }

    #[test]
    fn streams_have_no_view_types() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Utf8View, true),
            Field::new("b", DataType::Int64, false),
        ]));
        let portable = portable(&schema);
        assert_eq!(portable.field(0).data_type(), &DataType::Utf8);
        assert_eq!(portable.field(1), schema.field(1));
    }
}
