use super::*;

/// What stands between the markers of a generated part.
const BEGIN: &str = "<!-- generated from crates/telemetry/src/instruments: begin -->\n";
const END: &str = "<!-- generated from crates/telemetry/src/instruments: end -->";

#[test]
fn the_documented_table_is_the_one_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/observability.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("the page has the begin marker");
    let (table, after) = rest.split_once(END).expect("the page has the end marker");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let written = format!("{before}{BEGIN}{}{END}{after}", reference());
        std::fs::write(path, written).unwrap();
        return;
    }
    assert!(
        table == reference(),
        "docs/observability.md is stale; UPDATE_DOCS=1 cargo test -p berglake-telemetry --lib rewrites it"
    );
}

#[test]
fn names_and_units_are_as_opentelemetry_wants_them() {
    let mut names: Vec<&str> = ALL.iter().map(|definition| definition.name).collect();
    for definition in ALL {
        assert!(
            definition
                .name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '.' || c == '_'),
            "{definition:?}"
        );
        let braces = definition.unit.starts_with('{') && definition.unit.ends_with('}');
        assert!(
            braces || ["s", "By"].contains(&definition.unit),
            "{definition:?}"
        );
        if definition.kind == Kind::Histogram {
            assert_eq!(definition.unit, "s", "{definition:?}");
        }
        assert!(definition.description.ends_with('.'), "{definition:?}");
    }
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "two instruments have one name");
}

#[test]
#[should_panic(expected = "berglake.commit.attempts has the attributes")]
fn an_attribute_that_is_not_documented_is_found() {
    COMMIT_ATTEMPTS.add(1, &[attribute::statement("select")]);
}
