//! Settings before they are understood: a value and its origin for each key.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use berglake_format::suggest::nearest;
use berglake_format::{Error, Result};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Kind};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was said.
    Default,
    /// The project's `berglake.toml`.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => {
                let name = path.file_name().unwrap_or(path.as_os_str());
                write!(f, "{}:{line}", name.to_string_lossy())
            }
            Self::Environment { variable } => f.write_str(variable),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// A value as text, and its origin.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) value: String,
    pub(super) origin: Origin,
}

/// All values that were given, by path.
#[derive(Clone, Default)]
pub(super) struct Settings(pub(super) BTreeMap<Vec<String>, Setting>);

impl Settings {
    /// Reads a configuration file.
    pub(super) fn parse(file: &Path, text: &str) -> Result<Self> {
        let place = Place { file, text };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            place.at(
                Error::invalid(format!("the file is no valid TOML: {}", error.message())),
                &at,
            )
        })?;
        let mut settings = Self::default();
        settings.table(&place, &mut Vec::new(), table.get_ref())?;
        Ok(settings)
    }

    fn table(
        &mut self,
        place: &Place<'_>,
        path: &mut Vec<String>,
        table: &DeTable<'_>,
    ) -> Result<()> {
        if path.len() == 2 && path[0] == "connections" {
            connection_kind(place, path, table)?;
        }
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            match keys::find(path) {
                Some(known) => self.leaf(place, path, known.kind, value)?,
                None if !keys::is_section(path) => {
                    return Err(place.at(unknown_key(path), &key.span()));
                }
                None => match value.get_ref() {
                    DeValue::Table(inner) => self.table(place, path, inner)?,
                    other => {
                        let error = Error::invalid(format!(
                            "a section is expected here, not {}",
                            article(other.type_str())
                        ))
                        .with("key", keys::dotted(path));
                        return Err(place.at(error, &value.span()));
                    }
                },
            }
            path.pop();
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        place: &Place<'_>,
        path: &[String],
        kind: Kind,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<()> {
        // `write.target-file-size-bytes = …` without quotes is a table within a table.
        if let (Kind::Property | Kind::ClientOption, DeValue::Table(inner)) =
            (kind, value.get_ref())
        {
            for (key, value) in inner {
                let mut path = path.to_vec();
                if let Some(last) = path.last_mut() {
                    last.push('.');
                    last.push_str(key.get_ref());
                }
                self.leaf(place, &path, kind, value)?;
            }
            return Ok(());
        }
        let expected = match (kind, value.get_ref()) {
            (Kind::Text | Kind::Url | Kind::Secret, DeValue::String(_)) => None,
            (Kind::Text | Kind::Url | Kind::Secret, _) => Some("a string"),
            (Kind::Flag, DeValue::Boolean(_)) => None,
            (Kind::Flag, _) => Some("true or false"),
            (Kind::Count, DeValue::Integer(_)) => None,
            (Kind::Count, _) => Some("a whole number"),
            (Kind::Duration, DeValue::String(_)) => None,
            (Kind::Duration, _) => Some("a time such as \"30s\""),
            (Kind::Size, DeValue::String(_) | DeValue::Integer(_)) => None,
            (Kind::Size, _) => Some("a size such as \"64MiB\""),
            (
                Kind::Scalar | Kind::Property | Kind::ClientOption,
                DeValue::Array(_) | DeValue::Table(_),
            ) => Some("a string, a number, true or false"),
            (Kind::Scalar | Kind::Property | Kind::ClientOption, _) => None,
        };
        if let Some(expected) = expected {
            let error = Error::invalid(format!(
                "{expected} is expected, not {}",
                article(value.get_ref().type_str())
            ))
            .with("key", keys::dotted(path));
            return Err(place.at(error, &value.span()));
        }
        let setting = Setting {
            value: scalar(value.get_ref()),
            origin: Origin::File {
                path: place.file.to_path_buf(),
                line: place.line(&value.span()),
            },
        };
        if self.0.insert(path.to_vec(), setting).is_some() {
            let error = Error::invalid("the property is set twice").with("key", keys::dotted(path));
            return Err(place.at(error, &value.span()));
        }
        Ok(())
    }
}

/// A file, to name lines of it.
struct Place<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }

    fn at(&self, error: Error, span: &Range<usize>) -> Error {
        error
            .with("file", self.file.display())
            .with("line", self.line(span))
    }
}

/// The error for a key that does not exist, with those that do.
pub(super) fn unknown_key(path: &[String]) -> Error {
    let (name, section) = match path.split_last() {
        Some((name, section)) => (name.as_str(), section),
        None => ("", path),
    };
    let allowed = keys::below(section);
    let place = if section.is_empty() {
        "at the top".to_string()
    } else {
        format!("in [{}]", keys::dotted(section))
    };
    let mut help = format!("allowed {place}: {}", allowed.join(", "));
    if let Some(found) = nearest(name, allowed.iter().copied()) {
        help = format!("did you mean {found}? {help}");
    }
    Error::invalid(format!("unknown key {name:?} {place}"))
        .with("key", keys::dotted(path))
        .help(help)
}

/// Says of kinds of connections that are not there yet that they are not, before their keys are read.
fn connection_kind(place: &Place<'_>, path: &[String], table: &DeTable<'_>) -> Result<()> {
    let kind = table.iter().find(|(key, _)| key.get_ref() == "kind");
    if let Some((_, value)) = kind
        && let Some(kind) = value.get_ref().as_str()
    {
        check_connection_kind(kind).map_err(|error| {
            let key = format!("{}.kind", keys::dotted(path));
            place.at(error.with("key", key), &value.span())
        })?;
    }
    Ok(())
}

/// The kinds of connections that a later version will have.
const LATER: &[&str] = &["postgres", "push"];

/// Whether connections of this kind work.
pub(super) fn check_connection_kind(kind: &str) -> Result<()> {
    if matches!(kind, "files" | "kafka") {
        return Ok(());
    }
    if LATER.contains(&kind) {
        return Err(Error::unsupported(format!(
            "connections of the kind {kind:?} are not supported by this version"
        ))
        .help("this version has the kinds \"files\" and \"kafka\""));
    }
    Err(
        Error::invalid(format!("unknown kind of connection {kind:?}"))
            .help("this version has the kinds \"files\" and \"kafka\""),
    )
}

/// The text of a scalar.
fn scalar(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        // Only decimal numbers keep their text; 0x10 is 16 for whoever reads a property.
        DeValue::Integer(number) if number.radix() != 10 => {
            i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.as_str().to_string(), |n| n.to_string())
        }
        DeValue::Integer(number) => number.as_str().to_string(),
        DeValue::Float(number) => number.as_str().to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => String::new(),
    }
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}
