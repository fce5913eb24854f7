//! Errors of the engine as errors of the lakehouse, and back.

use berglake_format::{Error, ErrorKind, Result};
use datafusion::common::{DataFusionError, SchemaError, Span};
use datafusion::sql::sqlparser::parser::ParserError;

/// Carries one of our errors through DataFusion.
pub(crate) fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What an error of DataFusion means to the caller: kind, message, and the place in the SQL text
/// where it is known. One of our own errors that went through the engine comes back as it was.
pub fn from_datafusion(error: DataFusionError) -> Error {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let error = match find_ours(&error) {
        Some(ours) => copy(ours),
        None => classify(error),
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

/// One of our errors among the causes.
fn find_ours(error: &DataFusionError) -> Option<&Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(ours) = current.downcast_ref::<Error>() {
            return Some(ours);
        }
        // These three hide what they hold from `source`.
        next = match current.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Shared(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Collection(all)) => all
                .first()
                .map(|first| first as &(dyn std::error::Error + 'static)),
            Some(DataFusionError::ArrowError(inner, _)) => match inner.as_ref() {
                arrow::error::ArrowError::ExternalError(inner) => Some(inner.as_ref()),
                _ => None,
            },
            Some(DataFusionError::ParquetError(inner)) => match inner.as_ref() {
                parquet::errors::ParquetError::External(inner) => Some(inner.as_ref()),
                _ => None,
            },
            _ => current.source(),
        };
    }
    None
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
        DataFusionError::Plan(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_)
        | DataFusionError::ArrowError(..) => ErrorKind::InvalidInput,
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::ParquetError(_) => ErrorKind::Corrupt,
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => ErrorKind::Unavailable,
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
                Box::new(arrow::error::ArrowError::ExternalError(Box::new(
                    to_datafusion(error),
                ))),
                None,
            )),
        );
        let back = from_datafusion(through);
        assert_eq!(back.kind(), ErrorKind::NotFound);
        assert_eq!(back.to_string(), text);
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
