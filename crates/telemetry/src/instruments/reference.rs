//! The table of instruments for `docs/observability.md`.

use super::ALL;
use super::kinds::{Definition, Kind};

/// The name that an instrument has in the text for Prometheus.
pub fn prometheus_name(definition: &Definition) -> String {
    let unit = match definition.unit {
        "s" => "_seconds",
        "By" => "_bytes",
        // A word in braces is no unit.
        _ => "",
    };
    let suffix = match definition.kind {
        Kind::Counter => "_total",
        Kind::Gauge | Kind::Histogram => "",
    };
    format!("{}{unit}{suffix}", definition.name.replace('.', "_"))
}

/// All instruments as a table in Markdown.
pub fn reference() -> String {
    let mut text = String::from(
        "| name | in Prometheus | kind | unit | attributes | what |\n|---|---|---|---|---|---|\n",
    );
    for definition in ALL {
        let attributes: Vec<String> = definition
            .attributes
            .iter()
            .map(|key| format!("`{key}`"))
            .collect();
        text += &format!(
            "| `{}` | `{}` | {} | `{}` | {} | {} |\n",
            definition.name,
            prometheus_name(definition),
            definition.kind.as_str(),
            definition.unit,
            attributes.join(", "),
            definition.description,
        );
    }
    text
}
