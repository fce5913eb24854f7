//! Errors of the engine as errors of the lakehouse, and back.

use arrow::error::ArrowError;
use berglake_format::{Error, ErrorKind, Result, TableIdent};
use datafusion::common::{DataFusionError, SchemaError, Span};
use datafusion::object_store::Error as StoreError;
use datafusion::sql::sqlparser::parser::ParserError;
use parquet::errors::ParquetError;

/// Carries one of our errors through DataFusion.
pub(crate) fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What an error of DataFusion means to the caller: kind, message, and the place in the SQL text
/// where it is known. One of our own errors that went through the engine comes back as it was.
pub fn from_datafusion(error: DataFusionError) -> Error {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let error = if let Some(ours) = find::<Error>(&error) {
        copy(ours)
    } else if let Some(store) = find::<StoreError>(&error) {
        of_store(store)
    } else {
        classify(error)
    };
    at(error, span)
}

/// Adds a place in the SQL text, unless the error names one already.
pub(crate) fn at(error: Error, span: Option<Span>) -> Error {
    match span {
        Some(span) if !error.context().iter().any(|(key, _)| *key == "line") => error
            .with("line", span.start.line)
            .with("column", span.start.column),
        _ => error,
    }
}

/// The first error of this type among the causes.
fn find<T: std::error::Error + 'static>(error: &DataFusionError) -> Option<&T> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<T>() {
            return Some(found);
        }
        // Many hide what they hold from `source`, or give the cause of what they hold.
        next = if let Some(error) = current.downcast_ref::<DataFusionError>() {
            match error {
                DataFusionError::External(inner) => Some(inner.as_ref()),
                DataFusionError::Shared(inner) => Some(inner.as_ref()),
                DataFusionError::ObjectStore(inner) => Some(inner.as_ref()),
                DataFusionError::ArrowError(inner, _) => Some(inner.as_ref()),
                DataFusionError::ParquetError(inner) => Some(inner.as_ref()),
                DataFusionError::IoError(inner) => Some(inner),
                DataFusionError::Collection(all) => all
                    .first()
                    .map(|first| first as &(dyn std::error::Error + 'static)),
                _ => current.source(),
            }
        } else if let Some(ArrowError::ExternalError(inner)) = current.downcast_ref() {
            Some(inner.as_ref())
        } else if let Some(ParquetError::External(inner)) = current.downcast_ref() {
            Some(inner.as_ref())
        } else if let Some(error) = current.downcast_ref::<std::io::Error>() {
            error
                .get_ref()
                .map(|inner| inner as &(dyn std::error::Error + 'static))
        } else {
            current.source()
        };
    }
    None
}

/// What an error of the store means. It cannot be cloned, so that one of its kind stands for it.
fn of_store(error: &StoreError) -> Error {
    use StoreError as E;
    let (path, source) = (String::new(), || "the store".into());
    let like = Error::from(match error {
        E::NotFound { .. } => E::NotFound {
            path,
            source: source(),
        },
        E::AlreadyExists { .. } => E::AlreadyExists {
            path,
            source: source(),
        },
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => E::PermissionDenied {
            path,
            source: source(),
        },
        E::NotSupported { .. } | E::NotImplemented { .. } => E::NotSupported { source: source() },
        _ => E::Generic {
            store: "",
            source: source(),
        },
    });
    Error::new(like.kind(), like.message()).source_error(error.to_string())
}

/// Says which file an error is about, unless the error says it or is about the query.
pub(crate) fn in_file(error: DataFusionError, path: &str, table: &TableIdent) -> DataFusionError {
    let ours = from_datafusion(error);
    let has = |key: &str| ours.context().iter().any(|(known, _)| *known == key);
    let of_file = matches!(
        ours.kind(),
        ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Unavailable
    );
    // A limit of the query's is no fault of the file.
    if !of_file || has("limit") {
        return to_datafusion(ours);
    }
    let (has_path, has_table) = (has("path"), has("table"));
    let ours = if has_path {
        ours
    } else {
        ours.with("path", path)
    };
    to_datafusion(if has_table {
        ours
    } else {
        ours.with("table", table)
    })
}

/// Errors are not cloned, because their causes cannot be; the text of a cause is kept.
fn copy(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.message());
    for (key, value) in error.context() {
        copy = copy.with(key, value);
    }
    if let Some(advice) = error.advice() {
        copy = copy.help(advice);
    }
    match std::error::Error::source(error) {
        Some(source) => copy.source_error(source.to_string()),
        None => copy,
    }
}

fn classify(error: DataFusionError) -> Error {
    let text = |error: &DataFusionError| {
        let text = error.strip_backtrace();
        // The engine's own prefixes name its modules, which say nothing to whoever wrote the query.
        [
            "Error during planning: ",
            "Execution error: ",
            "Arrow error: ",
            "Cast error: ",
            "Parser error: ",
            "This feature is not implemented: ",
            "Optimizer rule ",
        ]
        .iter()
        .fold(text, |text, prefix| {
            text.strip_prefix(prefix)
                .map(str::to_string)
                .unwrap_or(text)
        })
    };
    let kind = match error.find_root() {
        DataFusionError::SchemaError(schema, _) => return schema_error(schema),
        DataFusionError::SQL(parser, _) => return parser_error(parser),
        // Pages that cannot be decoded come this way: the Parquet reader gives batches as Arrow does.
        DataFusionError::ArrowError(error, _)
            if matches!(error.as_ref(), ArrowError::ParquetError(_)) =>
        {
            ErrorKind::Corrupt
        }
        DataFusionError::Plan(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_)
        | DataFusionError::ArrowError(..) => ErrorKind::InvalidInput,
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::ParquetError(_) => ErrorKind::Corrupt,
        DataFusionError::IoError(error) => Error::from(std::io::Error::from(error.kind())).kind(),
        DataFusionError::ResourcesExhausted(_) => {
            return Error::new(
                ErrorKind::Unavailable,
                "the query needs more memory than it may have",
            )
            .with("limit", "memory")
            .help("raise the memory limit, or read fewer columns and rows")
            .source_error(text(&error));
        }
        _ => ErrorKind::Internal,
    };
    let mut message = text(&error);
    if let DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) = &error {
        message = text(inner);
    }
    match unknown_function(&message) {
        Some(error) => error,
        None => Error::new(kind, message),
    }
}

/// The engine guesses at any distance which function was meant; only a near guess is passed on.
fn unknown_function(message: &str) -> Option<Error> {
    let (name, rest) = message
        .strip_prefix("Invalid function '")?
        .split_once('\'')?;
    let error = Error::invalid(format!("there is no function {name:?}"));
    let guess = rest
        .split_once("Did you mean '")
        .and_then(|(_, guess)| guess.split_once('\''))
        .and_then(|(guess, _)| advice(name, &[guess], "functions are"))
        .filter(|advice| advice.starts_with("did you mean"));
    Some(match guess {
        Some(guess) => error.help(guess),
        None => error,
    })
}

fn schema_error(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let error = Error::invalid(format!("there is no column {:?}", field.flat_name()));
            let names: Vec<&str> = valid_fields
                .iter()
                .map(|field| field.name.as_str())
                .collect();
            match advice(&field.name, &names, "columns are") {
                Some(advice) => error.help(advice),
                None => error,
            }
        }
        SchemaError::AmbiguousReference { field } => {
            Error::invalid(format!("the column {:?} is ambiguous", field.flat_name()))
                .help("name its table, as in t.column")
        }
        other => Error::invalid(other.to_string()),
    }
}

/// An error of the SQL parser, with the place that it names in its text.
pub(crate) fn parser_error(error: &ParserError) -> Error {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => "the statement is nested too deeply",
    };
    let Some((message, place)) = text.rsplit_once(" at Line: ") else {
        return Error::invalid(format!("the SQL does not parse: {text}"));
    };
    let error = Error::invalid(format!("the SQL does not parse: {message}"));
    match place.split_once(", Column: ") {
        Some((line, column)) => error.with("line", line).with("column", column),
        None => error,
    }
}

/// `did you mean …?`, or the list of names where it is short.
pub(crate) fn advice(name: &str, known: &[&str], list: &str) -> Option<String> {
    let name = name.to_lowercase();
    let closest = known
        .iter()
        .map(|known| (distance(&name, &known.to_lowercase()), *known))
        .min();
    match closest {
        Some((distance, known)) if distance <= 1 + name.chars().count() / 4 => {
            Some(format!("did you mean {known:?}?"))
        }
        Some(_) if known.len() <= 20 => Some(format!("{list}: {}", known.join(", "))),
        _ => None,
    }
}

/// The number of letters to add, drop or change to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// Turns results of the engine into ours.
pub(crate) trait IntoOurs<T> {
    /// The same result with our error.
    ///
    /// # Errors
    /// The engine's, translated.
    fn ours(self) -> Result<T>;
}

impl<T> IntoOurs<T> for std::result::Result<T, DataFusionError> {
    fn ours(self) -> Result<T> {
        self.map_err(from_datafusion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_our_errors_survives_the_way_through_the_engine() {
        let error = Error::not_found("the file does not exist")
            .with("path", "s3://b/x")
            .help("look again");
        let text = error.to_string();
        let through = DataFusionError::Context(
            "while reading".into(),
            Box::new(DataFusionError::ArrowError(
                Box::new(ArrowError::ExternalError(Box::new(to_datafusion(error)))),
                None,
            )),
        );
        let back = from_datafusion(through);
        assert_eq!(back.kind(), ErrorKind::NotFound);
        assert_eq!(back.to_string(), text);
    }

    #[test]
    fn what_the_store_says_stays_what_it_is_however_deep_it_is_wrapped() {
        use StoreError as E;
        let away = || E::Generic {
            store: "S3",
            source: "connection reset".into(),
        };
        let missing = || E::NotFound {
            path: "a/b".into(),
            source: "404".into(),
        };
        let denied = || E::PermissionDenied {
            path: "a/b".into(),
            source: "403".into(),
        };
        let in_parquet = |error: E| {
            DataFusionError::ParquetError(Box::new(ParquetError::External(Box::new(error))))
        };
        let in_arrow = |error: E| {
            let error = ArrowError::ExternalError(Box::new(in_parquet(error)));
            DataFusionError::ArrowError(Box::new(error), None)
        };
        let plain = |error: E| DataFusionError::ObjectStore(Box::new(error));
        let in_io = |error: E| DataFusionError::IoError(std::io::Error::other(error));
        let shared =
            |error: E| DataFusionError::Shared(std::sync::Arc::new(in_parquet(error).context("x")));
        let ways: [&dyn Fn(E) -> DataFusionError; 5] =
            [&in_parquet, &in_arrow, &plain, &in_io, &shared];
        for way in ways {
            for (error, kind) in [
                (away(), ErrorKind::Unavailable),
                (missing(), ErrorKind::NotFound),
                (denied(), ErrorKind::Denied),
            ] {
                let text = error.to_string();
                let ours = from_datafusion(way(error));
                assert_eq!(ours.kind(), kind, "{text}");
                assert!(ours.to_string().contains(&text), "{ours}");
            }
        }
        let page = ArrowError::ParquetError("a page is cut off".into());
        let ours = from_datafusion(DataFusionError::ArrowError(Box::new(page), None));
        assert_eq!(ours.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn names_that_are_almost_right_are_suggested() {
        let known = ["title", "release_date"];
        assert_eq!(
            advice("titel", &known, "columns are").as_deref(),
            Some("did you mean \"title\"?")
        );
        assert_eq!(
            advice("x", &known, "columns are").as_deref(),
            Some("columns are: title, release_date")
        );
    }
}
