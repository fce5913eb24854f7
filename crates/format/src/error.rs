//! The error of the table format: a kind that tells the caller what to do next, a message, and the
//! context (table, path, snapshot, …) in which it happened.

use std::fmt;

/// What the caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong and fails the same way each time: a bad name, type, option, …
    InvalidInput,
    /// The named object does not exist.
    NotFound,
    /// The object to create exists.
    AlreadyExists,
    /// The change conflicts with one that was committed meanwhile, and planning it again cannot help.
    Conflict,
    /// It is not known whether the change was made. The caller must look before it tries again.
    UnknownOutcome,
    /// A file or a catalog row contradicts the specification or cannot be decoded.
    Corrupt,
    /// The feature is known and not supported by this version.
    Unsupported,
    /// A store or a server is away or overloaded; the same call may succeed later.
    Unavailable,
    /// The store or the server refuses these credentials.
    Denied,
    /// A defect of this program.
    Internal,
}

impl ErrorKind {
    /// The stable, lower-case name of the kind, as it stands in logs and JSON output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid-input",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Conflict => "conflict",
            Self::UnknownOutcome => "unknown-outcome",
            Self::Corrupt => "corrupt",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Internal => "internal",
        }
    }
}

/// The result of the table format's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error with its kind, its context and, where there is one, the advice what to do.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    help: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// An error of this kind. The message is lower case and names what was wrong.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            context: Vec::new(),
            help: None,
            source: None,
        }))
    }

    /// Shorthand for [`ErrorKind::InvalidInput`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Shorthand for [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Shorthand for [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Shorthand for [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Shorthand for [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Says where it happened: `("path", …)`, `("table", …)`, `("snapshot", …)`.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, advice: impl Into<String>) -> Self {
        self.0.help = Some(advice.into());
        self
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn source_error(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error; its cause is kept as text.
    fn copied(&self) -> Self {
        Self(Box::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            context: self.0.context.clone(),
            help: self.0.help.clone(),
            source: self.0.source.as_ref().map(|cause| cause.to_string().into()),
        }))
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone, without context and causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The context in the order in which it was added.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.0.context
    }

    /// The advice, where there is one.
    pub fn advice(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if !self.0.context.is_empty() {
            f.write_str(" (")?;
            for (i, (key, value)) in self.0.context.iter().enumerate() {
                if i > 0 {
                    f.write_str(", ")?;
                }
                write!(f, "{key}: {value}")?;
            }
            f.write_str(")")?;
        }
        if let Some(source) = &self.0.source {
            let cause = source.to_string();
            // A wrapped error often repeats its cause; one mention is enough.
            if !self.0.message.contains(&cause) {
                write!(f, ": {cause}")?;
            }
        }
        if let Some(help) = &self.0.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|s| s.as_ref() as &(dyn std::error::Error + 'static))
    }
}

impl From<iceberg::Error> for Error {
    fn from(error: iceberg::Error) -> Self {
        // What our own storage said on the way through the `iceberg` crate stays what it was.
        let cause = std::error::Error::source(&error);
        if let Some(ours) = cause.and_then(|cause| cause.downcast_ref::<Self>()) {
            return ours.copied();
        }
        let kind =
            match error.kind() {
                iceberg::ErrorKind::DataInvalid => ErrorKind::Corrupt,
                iceberg::ErrorKind::FeatureUnsupported => ErrorKind::Unsupported,
                iceberg::ErrorKind::NamespaceNotFound | iceberg::ErrorKind::TableNotFound => {
                    ErrorKind::NotFound
                }
                iceberg::ErrorKind::NamespaceAlreadyExists
                | iceberg::ErrorKind::TableAlreadyExists => ErrorKind::AlreadyExists,
                iceberg::ErrorKind::CatalogCommitConflicts
                | iceberg::ErrorKind::PreconditionFailed => ErrorKind::Conflict,
                _ => ErrorKind::Internal,
            };
        Self::new(kind, error.message().to_string()).source_error(error)
    }
}

impl From<Error> for iceberg::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Corrupt | ErrorKind::InvalidInput => iceberg::ErrorKind::DataInvalid,
            ErrorKind::Unsupported => iceberg::ErrorKind::FeatureUnsupported,
            ErrorKind::Conflict => iceberg::ErrorKind::CatalogCommitConflicts,
            _ => iceberg::ErrorKind::Unexpected,
        };
        let retryable = error.kind() == ErrorKind::Unavailable;
        iceberg::Error::new(kind, error.to_string())
            .with_retryable(retryable)
            .with_source(error)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::corrupt("arrow data cannot be processed").source_error(error)
    }
}

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::corrupt("parquet data cannot be processed").source_error(error)
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        use object_store::Error as E;
        let (kind, message) = match &error {
            E::NotFound { .. } => (ErrorKind::NotFound, "the file does not exist"),
            E::AlreadyExists { .. } => (ErrorKind::AlreadyExists, "the file exists"),
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
                (ErrorKind::Denied, "the store refuses access")
            }
            E::InvalidPath { .. } => (ErrorKind::InvalidInput, "the path is not valid"),
            E::NotSupported { .. } | E::NotImplemented { .. } => (
                ErrorKind::Unsupported,
                "the store does not support the call",
            ),
            _ => (ErrorKind::Unavailable, "the store failed"),
        };
        Self::new(kind, message).source_error(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::Denied
            }
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, "the file system refused").source_error(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_what_it_is_through_the_iceberg_crate() {
        let error = Error::not_found("the file does not exist").with("path", "/x");
        let back = Error::from(iceberg::Error::from(error));
        assert_eq!(back.kind(), ErrorKind::NotFound);
        assert_eq!(back.to_string(), "the file does not exist (path: /x)");
    }

    #[test]
    fn display_names_what_where_and_what_to_do() {
        let error = Error::invalid("unknown codec \"gzp\"")
            .with("table", "bronze.movies")
            .with("property", "write.parquet.compression-codec")
            .help("use one of: zstd, snappy");
        assert_eq!(
            error.to_string(),
            "unknown codec \"gzp\" (table: bronze.movies, property: write.parquet.compression-codec); \
             use one of: zstd, snappy"
        );
    }
}
