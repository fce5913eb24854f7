//! The effective configuration for people to read, without secrets.

use std::borrow::Cow;
use std::fmt::Write;

use super::Config;
use super::keys::{self, KNOWN, Kind};
use super::settings::Setting;

/// A setting as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ShownSetting {
    /// The key's path, each segment quoted where TOML wants it.
    pub key: String,
    /// The value, with secrets replaced by `***`.
    pub value: String,
    /// Where it comes from: `default`, a file with its line, a variable, or the command line.
    pub origin: String,
}

impl Config {
    /// All settings in force, section by section, with secrets hidden.
    pub fn settings(&self) -> Vec<ShownSetting> {
        self.in_order()
            .map(|(path, kind, setting)| ShownSetting {
                key: keys::dotted(path),
                value: shown(path, kind, &setting.value),
                origin: setting.origin.to_string(),
            })
            .collect()
    }

    /// The effective configuration as TOML, with secrets hidden; each line with the value's origin
    /// behind it, if `origins` is set.
    pub fn to_toml(&self, origins: bool) -> String {
        let mut text = String::new();
        let mut section: Option<&[String]> = None;
        for (path, kind, setting) in self.in_order() {
            let Some((name, above)) = path.split_last() else {
                continue;
            };
            if section != Some(above) {
                let gap = if section.is_some() { "\n" } else { "" };
                let _ = writeln!(text, "{gap}[{}]", keys::dotted(above));
                section = Some(above);
            }
            let value = shown(path, kind, &setting.value);
            let value = match kind {
                Kind::Flag | Kind::Count => value,
                _ => toml::Value::String(value).to_string(),
            };
            let _ = write!(text, "{} = {value}", keys::quoted(name));
            if origins {
                let _ = write!(text, "  # {}", setting.origin);
            }
            text.push('\n');
        }
        text
    }

    fn in_order(&self) -> impl Iterator<Item = (&[String], Kind, &Setting)> {
        KNOWN.iter().flat_map(|known| {
            self.settings
                .0
                .iter()
                // Keys of one family stand together, whatever the order of the names within it.
                .filter(move |(path, _)| {
                    keys::find(path).is_some_and(|found| std::ptr::eq(found, known))
                })
                .map(|(path, setting)| (path.as_slice(), known.kind, setting))
        })
    }
}

fn shown(path: &[String], kind: Kind, value: &str) -> String {
    match kind {
        Kind::Secret => "***".to_string(),
        Kind::ClientOption if path.last().is_some_and(|name| is_secret(name)) => "***".to_string(),
        Kind::Url => mask_url(value),
        Kind::Text
        | Kind::Flag
        | Kind::Count
        | Kind::Duration
        | Kind::Size
        | Kind::Scalar
        | Kind::Property
        | Kind::ClientOption => value.to_string(),
    }
}

/// A URL with passwords replaced by `***`: that of its authority and those of its query.
pub fn mask_url(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else {
        return before_the_last_at(text);
    };
    // A password with `#`, `/` or `?` ends the authority early: the beginning of the password passes
    // for a port then, and an @ behind tells of it.
    if url[url::Position::BeforePath..].contains('@') {
        let in_secret =
            |(name, value): (Cow<'_, str>, Cow<'_, str>)| is_secret(&name) && value.contains('@');
        // What follows the @ may be the rest of a password too, if the @ is in a parameter that is one.
        return match url.query_pairs().any(in_secret) {
            true => "***".to_string(),
            false => before_the_last_at(text),
        };
    }
    let mut changed = false;
    if url.password().is_some() {
        changed = url.set_password(Some("***")).is_ok();
    }
    if url.query_pairs().any(|(name, _)| is_secret(&name)) {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                let value = if is_secret(&name) {
                    "***".into()
                } else {
                    value
                };
                (name.into_owned(), value.into_owned())
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        changed = true;
    }
    // `Url` also normalises; a text without secrets is shown as it was written.
    if changed {
        url.to_string()
    } else {
        text.to_string()
    }
}

/// A text in which everything before its last @ may be a password.
fn before_the_last_at(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("***@{}", mask_parameters(rest)),
        None => mask_parameters(text),
    }
}

/// A text with the values of parameters that may be passwords replaced.
fn mask_parameters(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for piece in text.split_inclusive(['?', '&']) {
        match piece.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                let end = piece.strip_suffix(['?', '&']).map_or(piece.len(), str::len);
                let _ = write!(masked, "{name}=***{}", &piece[end..]);
            }
            _ => masked.push_str(piece),
        }
    }
    masked
}

/// Whether a value of this name may be a password.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "password",
        "passwd",
        "secret",
        "token",
        "key",
        "credential",
        "jaas",
    ]
    .iter()
    .any(|part| name.contains(part))
}
