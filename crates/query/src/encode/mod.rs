//! Rows as bytes: JSON, CSV and Arrow, batch by batch, the same for command lines and servers.

mod value;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use berglake_format::{Error, Result};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

pub use value::Cell;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// One JSON document: `{"columns": [{"name", "type"}], "rows": [{…}], "row_count": n}`.
    Json,
    /// One JSON object per line.
    NdJson,
    /// Comma-separated values with a header line; NULL is an empty field, an empty text is `""`.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

impl RowFormat {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::NdJson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// Writes the rows of one result.
pub struct RowEncoder {
    schema: SchemaRef,
    rows: u64,
    form: Form,
}

enum Form {
    Json,
    NdJson,
    Csv,
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl fmt::Debug for RowEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowEncoder")
            .field("schema", &self.schema)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl RowEncoder {
    /// Writes rows of these columns.
    ///
    /// # Errors
    /// [`Unsupported`](berglake_format::ErrorKind::Unsupported) for columns that the format cannot hold;
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for two columns of one name in JSON,
    /// whose readers would keep one of them.
    pub fn new(format: RowFormat, schema: &SchemaRef) -> Result<Self> {
        if matches!(format, RowFormat::Json | RowFormat::NdJson) {
            check_names(schema)?;
        }
        let (schema, form) = match format {
            RowFormat::Json => (schema.clone(), Form::Json),
            RowFormat::NdJson => (schema.clone(), Form::NdJson),
            RowFormat::Csv => (schema.clone(), Form::Csv),
            RowFormat::Arrow => {
                let schema = portable(schema);
                let writer = StreamWriter::try_new(Vec::new(), &schema).map_err(no_stream)?;
                (schema, Form::Arrow(Box::new(writer)))
            }
        };
        Ok(Self {
            schema,
            rows: 0,
            form,
        })
    }

    /// What stands before the rows.
    ///
    /// # Errors
    /// [`Internal`](berglake_format::ErrorKind::Internal) if names cannot be written.
    pub fn begin(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match &mut self.form {
            Form::Json => {
                bytes.extend_from_slice(b"{\"columns\":");
                let columns: Vec<ShownColumn<'_>> = self
                    .schema
                    .fields()
                    .iter()
                    .map(|field| ShownColumn {
                        name: field.name(),
                        data_type: sql_type(field.data_type()),
                    })
                    .collect();
                json(&mut bytes, &columns)?;
                bytes.extend_from_slice(b",\"rows\":[");
            }
            Form::NdJson => {}
            Form::Csv => {
                let names = self.schema.fields().iter().map(|f| quoted(f.name()));
                bytes.extend_from_slice(names.collect::<Vec<_>>().join(",").as_bytes());
                bytes.push(b'\n');
            }
            Form::Arrow(writer) => bytes = std::mem::take(writer.get_mut()),
        }
        Ok(bytes)
    }

    /// Some rows.
    ///
    /// # Errors
    /// [`Corrupt`](berglake_format::ErrorKind::Corrupt) for a value that its type does not allow.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let before = self.rows;
        self.rows += batch.num_rows() as u64;
        let mut bytes = Vec::new();
        match &mut self.form {
            Form::Json | Form::NdJson => {
                let lines = matches!(self.form, Form::NdJson);
                for row in 0..batch.num_rows() {
                    if !lines && before + row as u64 > 0 {
                        bytes.push(b',');
                    }
                    let object = Row {
                        schema: &self.schema,
                        columns: batch.columns(),
                        row,
                    };
                    json(&mut bytes, &object)?;
                    if lines {
                        bytes.push(b'\n');
                    }
                }
            }
            Form::Csv => {
                for row in 0..batch.num_rows() {
                    // As the result declares them: batches may carry less about their columns.
                    let columns = self.schema.fields().iter().zip(batch.columns());
                    for (i, (field, array)) in columns.enumerate() {
                        if i > 0 {
                            bytes.push(b',');
                        }
                        if let Some(text) = (Cell { field, array, row }).text()? {
                            bytes.extend_from_slice(quoted(&text).as_bytes());
                        }
                    }
                    bytes.push(b'\n');
                }
            }
            Form::Arrow(writer) => {
                let columns = batch
                    .columns()
                    .iter()
                    .zip(self.schema.fields())
                    .map(|(column, field)| cast(column, field.data_type()))
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(no_stream)?;
                let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows)
                    .map_err(no_stream)?;
                writer.write(&batch).map_err(no_stream)?;
                bytes = std::mem::take(writer.get_mut());
            }
        }
        Ok(bytes)
    }

    /// What stands behind the last row.
    ///
    /// # Errors
    /// [`Internal`](berglake_format::ErrorKind::Internal) if the stream cannot be closed.
    pub fn end(&mut self) -> Result<Vec<u8>> {
        Ok(match &mut self.form {
            Form::Json => format!("],\"row_count\":{}}}\n", self.rows).into_bytes(),
            Form::NdJson | Form::Csv => Vec::new(),
            Form::Arrow(writer) => {
                writer.finish().map_err(no_stream)?;
                std::mem::take(writer.get_mut())
            }
        })
    }

    /// What stands behind the last row of a result that cannot be finished, where the format can say
    /// so: `"error"` beside the rows, or a last line of it. The others can only break off.
    pub fn fail(&mut self, error: &impl Serialize) -> Option<Vec<u8>> {
        let mut bytes = match &self.form {
            Form::Json => format!("],\"row_count\":{},\"error\":", self.rows).into_bytes(),
            Form::NdJson => b"{\"error\":".to_vec(),
            Form::Csv | Form::Arrow(_) => return None,
        };
        json(&mut bytes, error).ok()?;
        bytes.extend_from_slice(b"}\n");
        Some(bytes)
    }

    /// The rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// Refuses two columns of one name.
fn check_names(schema: &Schema) -> Result<()> {
    let mut seen = HashSet::new();
    let mut fields = schema.fields().iter();
    match fields.find(|field| !seen.insert(field.name())) {
        None => Ok(()),
        Some(twice) => Err(Error::invalid(format!(
            "two columns are called {:?}, and a JSON object has each name once",
            twice.name()
        ))
        .help("give one of them another name with AS, or ask for CSV or Arrow")),
    }
}

/// A column as JSON describes it.
#[derive(Serialize)]
struct ShownColumn<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    data_type: String,
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

fn json(bytes: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(bytes, value)
        .map_err(|error| Error::corrupt("a value cannot be printed").source_error(error))
}

/// A field of CSV, quoted where it must be. An empty text is quoted, so that it is no NULL.
fn quoted(text: &str) -> String {
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

fn no_stream(error: arrow::error::ArrowError) -> Error {
    Error::internal("a result cannot be written as an Arrow stream").source_error(error)
}

/// The type as `DESCRIBE` names it.
fn sql_type(ty: &DataType) -> String {
    match ty {
        DataType::Null => "void".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            "int".into()
        }
        DataType::Int64 | DataType::UInt32 => "bigint".into(),
        DataType::UInt64 => "decimal(20,0)".into(),
        DataType::Float16 | DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".into(),
        DataType::FixedSizeBinary(size) => format!("fixed({size})"),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Timestamp(_, None) => "timestamp_ntz".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp".into(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("array<{}>", sql_type(item.data_type()))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => format!(
                "map<{},{}>",
                sql_type(pair[0].data_type()),
                sql_type(pair[1].data_type())
            ),
            other => sql_type(other),
        },
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| format!("{}:{}", field.name(), sql_type(field.data_type())))
                .collect();
            format!("struct<{}>", fields.join(","))
        }
        DataType::Dictionary(_, value) => sql_type(value),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringViewArray};
    use arrow::ipc::reader::StreamReader;

    use super::*;

    fn batch(numbers: &[i64], texts: &[Option<&str>]) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            (
                "n",
                Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef,
                false,
            ),
            (
                "t",
                Arc::new(StringViewArray::from(texts.to_vec())) as ArrayRef,
                true,
            ),
        ])
        .unwrap()
    }

    fn written(format: RowFormat, batches: &[RecordBatch]) -> Vec<u8> {
        let mut encoder = RowEncoder::new(format, &batches[0].schema()).unwrap();
        let mut bytes = encoder.begin().unwrap();
        for batch in batches {
            bytes.extend(encoder.batch(batch).unwrap());
        }
        bytes.extend(encoder.end().unwrap());
        bytes
    }

    #[test]
    fn each_format_holds_all_rows_of_all_batches() {
        let batches = [
            batch(&[], &[]),
            batch(&[1, 2], &[Some("a,\"b"), None]),
            batch(&[3], &[Some("")]),
        ];
        let text = |format| String::from_utf8(written(format, &batches)).unwrap();
        assert_eq!(text(RowFormat::Csv), "n,t\n1,\"a,\"\"b\"\n2,\n3,\"\"\n");
        assert_eq!(
            text(RowFormat::NdJson),
            "{\"n\":1,\"t\":\"a,\\\"b\"}\n{\"n\":2,\"t\":null}\n{\"n\":3,\"t\":\"\"}\n"
        );
        let document: serde_json::Value = serde_json::from_str(&text(RowFormat::Json)).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "columns": [{"name": "n", "type": "bigint"}, {"name": "t", "type": "string"}],
                "rows": [{"n": 1, "t": "a,\"b"}, {"n": 2, "t": null}, {"n": 3, "t": ""}],
                "row_count": 3,
            })
        );
        let arrow = written(RowFormat::Arrow, &batches);
        let reader = StreamReader::try_new(&arrow[..], None).unwrap();
        assert_eq!(reader.schema().field(1).data_type(), &DataType::Utf8);
        let rows: usize = reader.map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows, 3);
    }

    #[test]
    fn two_columns_of_one_name_are_no_json_and_else_written_as_they_are() {
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![field("a"), field("A"), field("a")]));
        for format in [RowFormat::Json, RowFormat::NdJson] {
            let error = RowEncoder::new(format, &schema).unwrap_err();
            assert_eq!(error.kind(), berglake_format::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("\"a\""), "{error}");
            assert!(error.to_string().contains("AS"), "{error}");
        }
        for format in [RowFormat::Csv, RowFormat::Arrow] {
            RowEncoder::new(format, &schema).unwrap();
        }
    }

    #[test]
    fn a_result_that_breaks_off_says_so_where_it_can() {
        let first = batch(&[1], &[None]);
        for (format, expected) in [
            (
                RowFormat::Json,
                Some("],\"row_count\":1,\"error\":\"x\"}\n"),
            ),
            (RowFormat::NdJson, Some("{\"error\":\"x\"}\n")),
            (RowFormat::Csv, None),
            (RowFormat::Arrow, None),
        ] {
            let mut encoder = RowEncoder::new(format, &first.schema()).unwrap();
            encoder.begin().unwrap();
            encoder.batch(&first).unwrap();
            let said = encoder
                .fail(&"x")
                .map(|bytes| String::from_utf8(bytes).unwrap());
            assert_eq!(said.as_deref(), expected, "{format:?}");
        }
    }

    #[test]
    fn csv_tells_null_from_empty_and_quotes_what_must_be() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\"\n"), "\"say \"\"x\"\"\n\"");
    }
}
