//! What can go wrong with a source as a whole.
//!
//! A record that is wrong is not an error: it becomes a
//! [`DeadLetter`](crate::dead_letter::DeadLetter), and its neighbours come through. An
//! [`IngestError`] means that the caller has to do something before any of the rows can be had.

use std::sync::Arc;

use arrow::datatypes::DataType;

use crate::kafka::KafkaError;

/// A failure of a source, a file or an option.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// A path without wildcards names neither a file nor a folder with files in it.
    #[error(
        "no file {location}: give the path of a file, of a folder, or a pattern such as *.json"
    )]
    FileNotFound {
        /// The path as it was asked for.
        location: String,
    },
    /// The path or pattern cannot be understood.
    #[error("the path {pattern:?} cannot be read: {reason}")]
    BadPattern {
        /// The path or pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store that holds the file failed.
    #[error("reading {location} failed: {source}")]
    Storage {
        /// The file or folder.
        location: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// A file is not what its format says: a truncated footer, a broken header.
    #[error(
        "{file} is no readable {format} file: {reason}; replace the file or take it out of the path"
    )]
    Corrupt {
        /// The file.
        file: Arc<str>,
        /// The format that was asked for.
        format: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A required column is missing from a file as a whole.
    #[error("{file} has no column {column:?}, which is declared NOT NULL; it has: {found}")]
    MissingColumn {
        /// The file.
        file: Arc<str>,
        /// The declared column.
        column: String,
        /// The columns that the file has.
        found: String,
    },
    /// A column of a file has a type that can never be read as the declared one.
    #[error("{file}: column {column:?} is {found}, which cannot be read as {expected}")]
    ColumnType {
        /// The file.
        file: Arc<str>,
        /// The column, with the path to the nested field.
        column: String,
        /// The type in the file.
        found: DataType,
        /// The declared type.
        expected: DataType,
    },
    /// A declared column has a type that the format cannot deliver.
    #[error("column {column:?}: {format} files cannot be read as {data_type}")]
    UnsupportedType {
        /// The column, with the path to the nested field.
        column: String,
        /// The format.
        format: &'static str,
        /// The declared type.
        data_type: DataType,
    },
    /// An option has a value that it cannot have.
    #[error("option {option} => {value:?} is not possible: {allowed}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// The value that was given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// No column can be made out of the files.
    #[error("no schema can be inferred from {pattern}: {reason}; declare it with schema => '…'")]
    NoSchema {
        /// The path or pattern.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// A Kafka source failed.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Arrow refused a batch that this crate had built.
    #[error("building an Arrow batch for {context} failed: {source}")]
    Arrow {
        /// What was being built.
        context: String,
        /// What Arrow said.
        source: arrow::error::ArrowError,
    },
}

/// A result with an [`IngestError`].
pub type Result<T, E = IngestError> = std::result::Result<T, E>;

impl IngestError {
    pub(crate) fn storage(location: impl Into<String>, source: object_store::Error) -> Self {
        Self::Storage {
            location: location.into(),
            source,
        }
    }

    pub(crate) fn arrow(
        context: impl Into<String>,
    ) -> impl FnOnce(arrow::error::ArrowError) -> Self {
        let context = context.into();
        move |source| Self::Arrow { context, source }
    }
}

impl From<IngestError> for berglake_format::Error {
    /// The same failure in the terms of the table format, for callers that handle both alike.
    fn from(error: IngestError) -> Self {
        use berglake_format::ErrorKind as Kind;
        let kind = match error {
            IngestError::Storage { source, .. } if is_changed(&source) => {
                return Self::new(Kind::Conflict, "a file was changed while it was read")
                    .help("write new files under new names; run again to read this one")
                    .source_error(source);
            }
            IngestError::Storage { location, source } => {
                return Self::from(source).with("path", location);
            }
            IngestError::Kafka(error) => return error.into(),
            IngestError::FileNotFound { .. } => Kind::NotFound,
            IngestError::Corrupt { .. } => Kind::Corrupt,
            IngestError::UnsupportedType { .. } => Kind::Unsupported,
            IngestError::Arrow { .. } => Kind::Internal,
            IngestError::BadPattern { .. }
            | IngestError::MissingColumn { .. }
            | IngestError::ColumnType { .. }
            | IngestError::InvalidOption { .. }
            | IngestError::NoSchema { .. } => Kind::InvalidInput,
        };
        Self::new(kind, error.to_string())
    }
}

/// The store found the file in another version than the one that was listed.
fn is_changed(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Precondition { .. })
}
