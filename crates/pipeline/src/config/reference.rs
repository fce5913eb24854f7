//! The reference of the configuration in `docs/configuration.md`, made from the keys themselves.

use super::keys::{ANY, KNOWN, Kind, Known, PROPERTIES};
use super::overrides::variable_of;

/// All keys of `berglake.toml` as a table in Markdown.
pub fn keys_reference() -> String {
    let mut text =
        String::from("| key | value | default | environment | |\n|---|---|---|---|---|\n");
    for known in KNOWN {
        let default = match known.default {
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        text += &format!(
            "| `{}` | {} | {default} | `{}` | {} |\n",
            name_of(known),
            value_of(known.kind),
            variable_of(known),
            known.meaning,
        );
    }
    text
}

/// The table properties that berglake honours as a table in Markdown, and those that it keeps for others.
pub fn properties_reference() -> String {
    let mut text = String::from("| property | default | |\n|---|---|---|\n");
    let mut kept = Vec::new();
    for property in PROPERTIES {
        let name = property.name.replace(ANY, "COLUMN");
        match property.meaning {
            Some(meaning) => text += &format!("| `{name}` | {} | {meaning} |\n", property.default),
            None => kept.push(format!("`{name}`")),
        }
    }
    text += &format!(
        "\nKept for other engines and for later versions, without effect here today: {}.\n",
        kept.join(", ")
    );
    text
}

/// The key as it is written, with words in capitals for what the user names.
fn name_of(known: &Known) -> String {
    let last = known.path.len().saturating_sub(1);
    let segments: Vec<&str> = known
        .path
        .iter()
        .enumerate()
        .map(|(i, segment)| match *segment {
            ANY if known.kind == Kind::Property && i == last => "PROPERTY",
            ANY if known.kind == Kind::ClientOption && i == last => "OPTION",
            ANY => "NAME",
            segment => segment,
        })
        .collect();
    segments.join(".")
}

fn value_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Url => "URL",
        Kind::Secret => "secret",
        Kind::Flag => "`true`, `false`",
        Kind::Count => "whole number",
        Kind::Duration => "time, as in `30s`",
        Kind::Size => "size, as in `64MiB`",
        Kind::Scalar => "text, number, `true`, `false`",
        Kind::Property => "property, sizes with units",
        Kind::ClientOption => "text, number, `true`, `false`; maybe secret",
    }
}

#[cfg(test)]
mod tests {
    use berglake_format::properties::{ManifestProperties, WriteProperties};

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");

    /// Whether the generated part of the page under this name is what the code says; with
    /// `UPDATE_DOCS` set it is made so.
    #[track_caller]
    fn is_current(name: &str, generated: &str) {
        let begin = format!("<!-- generated, {name}: begin -->\n");
        let end = format!("<!-- generated, {name}: end -->");
        let page = std::fs::read_to_string(PAGE).unwrap();
        let (before, rest) = page
            .split_once(&begin)
            .expect("the page has the begin marker");
        let (found, after) = rest.split_once(&end).expect("the page has the end marker");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            let page = format!("{before}{begin}{generated}{end}{after}");
            std::fs::write(PAGE, page).unwrap();
            return;
        }
        assert!(
            found == generated,
            "the {name} in docs/configuration.md are stale; \
             UPDATE_DOCS=1 cargo test -p berglake-pipeline --lib config::reference rewrites them"
        );
    }

    #[test]
    fn the_documented_keys_and_properties_are_those_of_the_code() {
        is_current("keys", &keys_reference());
        is_current("properties", &properties_reference());
    }

    #[test]
    fn the_documented_defaults_of_writers_are_those_of_the_code() {
        let documented = |name: &str| {
            let mut all = PROPERTIES.iter();
            let property = all.find(|property| property.name == name).unwrap();
            let bytes = crate::config::parse_size(property.default);
            let value = bytes.map_or(property.default.to_owned(), |bytes| bytes.to_string());
            (name.to_owned(), value)
        };
        let properties = [
            "write.parquet.compression-codec",
            "write.target-file-size-bytes",
            "write.parquet.row-group-size-bytes",
            "write.parquet.page-size-bytes",
            "write.parquet.page-row-limit",
            "write.parquet.dict-size-bytes",
            "write.metadata.metrics.max-inferred-column-defaults",
        ];
        let properties = properties.map(documented).into();
        assert_eq!(
            WriteProperties::parse(&properties).unwrap(),
            WriteProperties::default()
        );
        let properties = [
            "write.summary.partition-limit",
            "commit.manifest-merge.enabled",
            "commit.manifest.target-size-bytes",
            "commit.manifest.min-count-to-merge",
        ];
        let properties = properties.map(documented).into();
        assert_eq!(
            ManifestProperties::parse(&properties).unwrap(),
            ManifestProperties::default()
        );
    }

    #[test]
    fn every_key_says_in_a_sentence_what_it_is_for() {
        for known in KNOWN {
            assert!(known.meaning.ends_with('.'), "{known:?}");
            assert!(!known.meaning.contains(['|', '\n']), "{known:?}");
        }
        for property in PROPERTIES {
            let meaning = property.meaning.unwrap_or("Kept.");
            assert!(
                meaning.ends_with('.') && !meaning.contains('|'),
                "{property:?}"
            );
        }
    }
}
