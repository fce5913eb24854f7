//! What wins over the file: environment variables, then flags.
//!
//! `BERGLAKE_` and the path of a key joined by `__`, in upper case, with `_` for `-` (and for `.` in
//! names of table properties): `BERGLAKE_STORAGE__S3__SECRET_ACCESS_KEY`.

use berglake_format::suggest::nearest;
use berglake_format::{Error, Result};

use super::keys::{self, ANY, KNOWN, Kind, Known};
use super::settings::{Origin, Setting, Settings, unknown_key};

const PREFIX: &str = "BERGLAKE_";
const JOINT: &str = "__";

impl Settings {
    /// Applies the environment variables that are overrides.
    pub(super) fn apply_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<()> {
        let mut found = Vec::new();
        for (variable, value) in environment {
            let Some(name) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            if !name.contains(JOINT) {
                reject_single_joint(&variable, name)?;
                continue;
            }
            // Names that the user chose are looked up in the file, not in other variables, so that the
            // order of the environment does not matter.
            let path = self.path_of(&variable, name)?;
            found.push((
                path,
                Setting {
                    value,
                    origin: Origin::Environment { variable },
                },
            ));
        }
        self.0.extend(found);
        Ok(())
    }

    /// Applies settings of the command line, each a dotted key and its value.
    pub(super) fn apply_flags(
        &mut self,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<()> {
        for (key, value) in flags {
            let path = keys::parse_dotted(&key).ok_or_else(|| {
                let path: Vec<String> = key.split('.').map(str::to_string).collect();
                // The first segments that exist are the section in which the next is unknown.
                let known = (0..path.len())
                    .take_while(|n| keys::is_section(&path[..*n]))
                    .last()
                    .unwrap_or(0);
                unknown_key(&path[..path.len().min(known + 1)]).with("flag", format!("--set {key}"))
            })?;
            self.0.insert(
                path,
                Setting {
                    value,
                    origin: Origin::Flag,
                },
            );
        }
        Ok(())
    }

    /// The key that a variable stands for.
    fn path_of(&self, variable: &str, name: &str) -> Result<Vec<String>> {
        let segments: Vec<&str> = name.split(JOINT).collect();
        let known = KNOWN.iter().find(|known| {
            known.path.len() == segments.len()
                && known.path.iter().zip(&segments).all(|(known, given)| {
                    if *known == ANY {
                        !given.is_empty()
                    } else {
                        upper(known) == *given
                    }
                })
        });
        let Some(known) = known else {
            let all: Vec<String> = KNOWN.iter().map(variable_of).collect();
            let mut help =
                "docs/configuration.md lists all keys; the variable is BERGLAKE_ and the key's \
                            path joined by __, in upper case"
                    .to_string();
            if let Some(near) = nearest(variable, all.iter().map(String::as_str)) {
                help = format!("did you mean {near}? {help}");
            }
            return Err(Error::invalid(
                "the environment variable names no key of the configuration",
            )
            .with("variable", variable)
            .help(help));
        };
        let mut path: Vec<String> = Vec::with_capacity(segments.len());
        for (i, (segment, given)) in known.path.iter().zip(&segments).enumerate() {
            let kind = (i + 1 == segments.len()).then_some(known.kind);
            path.push(if *segment == ANY {
                self.free_name(variable, &path, given, kind)?
            } else {
                (*segment).to_string()
            });
        }
        Ok(path)
    }

    /// The name that the user chose and that is spelled like this in a variable.
    fn free_name(
        &self,
        variable: &str,
        above: &[String],
        given: &str,
        kind: Option<Kind>,
    ) -> Result<String> {
        let is_property = kind == Some(Kind::Property);
        let mut names: Vec<&str> = self
            .0
            .keys()
            .filter(|path| path.starts_with(above))
            .filter_map(|path| path.get(above.len()))
            .map(String::as_str)
            .filter(|name| upper(name) == given)
            .collect();
        names.dedup();
        if names.is_empty() && is_property {
            names = keys::PROPERTIES
                .iter()
                .map(|property| property.name)
                .filter(|name| upper(name) == given)
                .collect();
        }
        match names[..] {
            [name] => Ok(name.to_string()),
            [] if is_property => Err(Error::invalid(
                "the environment variable names no table property that is known",
            )
            .with("variable", variable)
            .help("name the property in berglake.toml first: a variable cannot tell - from .")),
            // The options of the client have dots between their words, and nothing else.
            [] if kind == Some(Kind::ClientOption) => Ok(given.to_lowercase().replace('_', ".")),
            [] => Ok(given.to_lowercase()),
            _ => Err(
                Error::invalid("the environment variable names several keys")
                    .with("variable", variable)
                    .with("keys", names.join(", "))
                    .help("set the one that is meant with --set"),
            ),
        }
    }
}

/// `BERGLAKE_CATALOG_URI` would be ignored without a word; it is meant as `BERGLAKE_CATALOG__URI`.
fn reject_single_joint(variable: &str, name: &str) -> Result<()> {
    let meant = KNOWN
        .iter()
        .filter(|known| !known.path.contains(&ANY))
        .map(variable_of)
        .find(|full| full[PREFIX.len()..].replace(JOINT, "_") == name);
    match meant {
        Some(meant) => Err(
            Error::invalid("the environment variable joins a key by one _")
                .with("variable", variable)
                .help(format!("did you mean {meant}?")),
        ),
        None => Ok(()),
    }
}

pub(super) fn variable_of(known: &Known) -> String {
    let segments: Vec<String> = known
        .path
        .iter()
        .map(|segment| match *segment {
            ANY => "NAME".to_string(),
            other => upper(other),
        })
        .collect();
    format!("{PREFIX}{}", segments.join(JOINT))
}

fn upper(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '-' | '.' => '_',
            c => c.to_ascii_uppercase(),
        })
        .collect()
}
