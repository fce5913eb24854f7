//! `read_files`: what a call of it reads, and the stream of its rows.

use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use berglake_format::storage::Storage;
use berglake_format::{Error, Result};
use berglake_ingest::IngestError;
use berglake_ingest::dead_letter::DeadLetter;
use berglake_ingest::decode::{CsvOptions, FileReader, Format, ReadOptions, infer_schema};
use berglake_ingest::files::{FileStore, Listing, SourceFile};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::telemetry::Within;
use super::types::declared_schema;
use crate::Project;
use crate::config::{Config, Connection};
use crate::language::{SourceFunction, parse_schema};

/// A call of `read_files`, bound to a store.
#[derive(Debug, Clone)]
pub(super) struct FileInput {
    store: FileStore,
    /// The absolute path or pattern.
    pub(super) pattern: String,
    format: Format,
    csv: CsvOptions,
    filename: Option<String>,
    row_number: Option<String>,
    declared: Option<SchemaRef>,
}

impl FileInput {
    /// Binds a call. A relative path is taken from the connection's folder, else from the project's.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) for arguments that make no sense.
    pub(super) fn bind(
        function: &SourceFunction,
        project: &Project,
        storage: &Storage,
    ) -> Result<Self> {
        let path = function
            .text("path")
            .ok_or_else(|| Error::invalid("read_files needs a path"))?;
        let pattern = match function.text("connection") {
            Some(name) => within(folder(&project.config, name)?, path)?,
            None if path.contains("://") => path.to_string(),
            None => absolute(&project.root, path)?,
        };
        let store = FileStore::of(storage, &pattern)?;
        let format = match function.text("format") {
            Some(name) => name.parse()?,
            None => format_of(path)?,
        };
        let byte = |name: &str, default: u8| match function.text(name) {
            Some(text) => text.as_bytes().first().copied().unwrap_or(default),
            None => default,
        };
        let defaults = CsvOptions::default();
        let csv = CsvOptions {
            header: function.boolean("header").unwrap_or(defaults.header),
            delimiter: byte("delimiter", defaults.delimiter),
            quote: byte("quote", defaults.quote),
            ..defaults
        };
        let declared = match function.text("schema") {
            Some(text) => Some(declared_schema(&parse_schema(text).map_err(|error| {
                Error::invalid(error.message).with("argument", "schema")
            })?)),
            None => None,
        };
        Ok(Self {
            store,
            pattern,
            format,
            csv,
            filename: function.text("filename").map(str::to_string),
            row_number: function.text("row_number").map(str::to_string),
            declared,
        })
    }

    /// The files that match now, by path.
    ///
    /// # Errors
    /// [`NotFound`](berglake_format::ErrorKind::NotFound) for a path without wildcards that names nothing.
    pub(super) async fn list(&self) -> Result<Listing> {
        Ok(self.store.list(&self.pattern).await?)
    }

    /// The columns of the files as declared, or as the files have them now.
    ///
    /// # Errors
    /// [`InvalidInput`](berglake_format::ErrorKind::InvalidInput) if nothing is declared and no file is there.
    pub(super) async fn columns(&self) -> Result<SchemaRef> {
        match &self.declared {
            Some(columns) => Ok(columns.clone()),
            None => {
                let listing = self.list().await?;
                if listing.files.is_empty() {
                    return Err(IngestError::NoSchema {
                        pattern: self.pattern.clone(),
                        reason: "there are no files".to_owned(),
                    }
                    .into());
                }
                Ok(infer_schema(&self.store, &listing.files, self.format, &self.csv).await?)
            }
        }
    }

    /// Whether the columns are declared, not inferred.
    pub(super) fn is_declared(&self) -> bool {
        self.declared.is_some()
    }

    /// How files with these columns are read.
    pub(super) fn options(&self, columns: SchemaRef) -> ReadOptions {
        let mut options = ReadOptions::new(self.format, columns).with_csv(self.csv.clone());
        if let Some(name) = &self.filename {
            options = options.with_filename(name);
        }
        if let Some(name) = &self.row_number {
            options = options.with_row_number(name);
        }
        options
    }

    /// The rows of these files, one after the other. Records that are no rows go to `dead_letters`.
    ///
    /// # Errors
    /// For columns that cannot be read from such files.
    pub(super) fn read(
        &self,
        files: Vec<SourceFile>,
        options: &ReadOptions,
        dead_letters: mpsc::Sender<Vec<DeadLetter>>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = options.output_schema()?;
        let (store, source, options) = (
            self.store.clone(),
            Arc::<str>::from(self.pattern.as_str()),
            options.clone(),
        );
        let parts = futures::stream::iter(files)
            .then(move |file| {
                let (store, source, options) = (store.clone(), source.clone(), options.clone());
                let span = tracing::info_span!("decode", berglake.file = %file.location);
                async move {
                    let open = FileReader::open(&store, &file, source, &options);
                    let reader = open.instrument(span.clone()).await?;
                    Ok::<_, IngestError>(Within::new(span, reader.into_stream().boxed()))
                }
            })
            .try_flatten()
            .map_ok(|part| (part.batch, part.dead_letters));
        Ok(rows_of(schema, parts, dead_letters))
    }
}

/// The rows of a source. Its dead letters are handed over before the rows that come with them.
pub(super) fn rows_of(
    schema: SchemaRef,
    parts: impl Stream<Item = Result<(RecordBatch, Vec<DeadLetter>), IngestError>> + Send + 'static,
    dead_letters: mpsc::Sender<Vec<DeadLetter>>,
) -> SendableRecordBatchStream {
    let batches = parts
        .map_err(|error| DataFusionError::External(Box::new(Error::from(error))))
        .and_then(move |(batch, letters)| {
            let dead_letters = dead_letters.clone();
            async move {
                if !letters.is_empty() && dead_letters.send(letters).await.is_err() {
                    // Whoever writes the dead letters has failed and says why; no row may pass them.
                    return Err(DataFusionError::Execution(
                        "dead letters cannot be written".into(),
                    ));
                }
                Ok(batch)
            }
        })
        .try_filter(|batch| futures::future::ready(batch.num_rows() > 0));
    Box::pin(RecordBatchStreamAdapter::new(schema, batches.boxed()))
}

/// The folder or prefix that a connection names.
fn folder<'a>(config: &'a Config, name: &str) -> Result<&'a str> {
    match connection(config, name)? {
        Connection::Files(connection) => Ok(&connection.path),
        other => Err(wrong_kind(name, other, "files")),
    }
}

/// The error for a connection that a source function cannot use.
pub(super) fn wrong_kind(name: &str, connection: &Connection, wanted: &str) -> Error {
    Error::invalid(format!(
        "the connection {name:?} is of the kind {:?}, and {wanted:?} is wanted",
        connection.kind()
    ))
}

/// The connection of this name.
pub(super) fn connection<'a>(config: &'a Config, name: &str) -> Result<&'a Connection> {
    match config.connections.get(name) {
        Some(connection) => Ok(connection),
        None => {
            let known: Vec<&str> = config.connections.keys().map(String::as_str).collect();
            let known = match known.is_empty() {
                true => "there are none".to_string(),
                false => format!("there are {}", known.join(", ")),
            };
            Err(
                Error::invalid(format!("there is no connection {name:?}")).help(format!(
                    "name it in berglake.toml as [connections.{name}]; {known}"
                )),
            )
        }
    }
}

/// A path or pattern below a connection's folder or prefix.
fn within(base: &str, path: &str) -> Result<String> {
    if path.starts_with('/') || path.contains("://") || path.split('/').any(|s| s == "..") {
        return Err(
            Error::invalid("a path of a connection is relative to it and stays in it")
                .with("path", path),
        );
    }
    if base.contains("://") {
        return Ok(format!(
            "{}/{path}",
            escape_pattern(base.trim_end_matches('/'))
        ));
    }
    absolute(Path::new(base), path)
}

/// A path or pattern as an absolute one without `.` and `..`, which locations do not have. Wildcards
/// mean themselves in the project's own path.
fn absolute(project: &Path, path: &str) -> Result<String> {
    let mut segments: Vec<String> = Vec::new();
    if !path.starts_with('/') {
        let root = project.to_str().ok_or_else(|| {
            Error::invalid("the project's path is not UTF-8").with("path", project.display())
        })?;
        segments.extend(
            root.split('/')
                .filter(|s| !s.is_empty())
                .map(escape_pattern),
        );
    }
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other.to_string()),
        }
    }
    let folder = if path.ends_with('/') { "/" } else { "" };
    Ok(format!("/{}{folder}", segments.join("/")))
}

/// A folder's name as a pattern that matches it alone.
fn escape_pattern(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for c in path.chars() {
        if "*?[]{}\\".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn format_of(path: &str) -> Result<Format> {
    let extension = path
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("json") => Ok(Format::Json),
        Some("ndjson" | "jsonl") => Ok(Format::NdJson),
        Some("csv" | "tsv") => Ok(Format::Csv),
        Some("parquet") => Ok(Format::Parquet),
        Some("arrow" | "ipc" | "feather") => Ok(Format::Arrow),
        _ => Err(Error::invalid(format!(
            "the format of {path:?} cannot be told from its name"
        ))
        .help("say format => 'json', 'ndjson', 'csv', 'parquet' or 'arrow'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_become_absolute_and_wildcards_of_the_folder_mean_themselves() {
        for (root, path, expected) in [
            ("/p", "data/*.json", "/p/data/*.json"),
            ("/p/a[1]", "./x/../*.csv", "/p/a\\[1\\]/*.csv"),
            ("/p", "/abs/f.json", "/abs/f.json"),
            ("/p", "dir/", "/p/dir/"),
        ] {
            assert_eq!(
                absolute(Path::new(root), path).unwrap(),
                expected,
                "{root} {path}"
            );
        }
    }

    #[test]
    fn a_path_stays_in_its_connection() {
        assert_eq!(within("/data", "a/*.json").unwrap(), "/data/a/*.json");
        assert_eq!(
            within("s3://b/raw/", "a/*.json").unwrap(),
            "s3://b/raw/a/*.json"
        );
        for outside in ["/etc/passwd", "../x", "a/../../x", "s3://other/x"] {
            assert!(within("/data", outside).is_err(), "{outside}");
        }
    }
}
