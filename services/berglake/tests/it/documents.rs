//! The documents say what is true: the tests that `ARCHITECTURE.md` and `docs/traps.md` name exist, links
//! lead somewhere, and any project runs on the compose stack.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::Project;

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files below these folders whose names end in one of these.
fn files(folders: &[&str], endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                left.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found
}

fn is_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// The names of functions that are defined in Rust and Python sources.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files(
        &["crates", "services", "integration-tests"],
        &[".rs", ".py"],
    ) {
        let text = fs::read_to_string(&file).unwrap();
        for keyword in ["fn ", "def "] {
            for (at, _) in text.match_indices(keyword) {
                let rest = &text[at + keyword.len()..];
                names.insert(rest.chars().take_while(|c| is_name(*c)).collect());
            }
        }
    }
    names
}

/// The words in backticks that are names of tests: they have at least two underscores, and are
/// neither files nor properties.
fn named_tests(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .flat_map(|code| code.split(|c: char| c.is_whitespace() || c == ':'))
        .filter(|word| word.chars().all(is_name) && word.matches('_').count() >= 2)
        .map(str::to_string)
        .collect()
}

#[test]
fn the_tests_that_guard_the_invariants_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, rest) = text.split_once("\n## Invariants\n").unwrap();
    let (invariants, _) = rest.split_once("\n## ").unwrap();
    let named = named_tests(invariants);
    assert!(named.len() > 50, "only {} tests are named", named.len());
    let known = functions();
    let missing: Vec<_> = named.difference(&known).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names {missing:?}");
}

/// The places in backticks in a text, from the root of the workspace: a file or a folder, and the test in
/// it where one is named as `path::name`.
fn named_places(text: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let places = quoted.filter(|code| {
        ["crates/", "services/", "integration-tests/"]
            .iter()
            .any(|folder| code.starts_with(folder))
    });
    places.map(|code| match code.split_once("::") {
        Some((path, name)) => (path, Some(name)),
        None => (code, None),
    })
}

/// What is wrong with a place, if anything.
fn wrong_place(path: &str, name: Option<&str>) -> Option<String> {
    let at = root().join(path);
    let Some(name) = name else {
        return (!at.exists()).then(|| format!("there is no {path}"));
    };
    let text = fs::read_to_string(&at).unwrap_or_default();
    let defined = ["fn", "def"]
        .iter()
        .any(|keyword| text.contains(&format!("{keyword} {name}(")));
    (!defined).then(|| format!("there is no {name} in {path}"))
}

#[test]
fn each_trap_names_where_it_is_handled_and_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/traps.md")).unwrap();
    // Of each table, the lines below the one that is drawn under the head.
    let mut below_head = false;
    let traps: Vec<&str> = text
        .lines()
        .filter(|line| {
            let row = below_head && line.starts_with('|');
            below_head = row || line.starts_with("|-");
            row
        })
        .collect();
    assert!(traps.len() > 50, "only {} traps are listed", traps.len());
    let mut wrong = Vec::new();
    for trap in traps {
        let [_, what, _, handled, tests, _] = trap.split('|').collect::<Vec<_>>()[..] else {
            wrong.push(format!("not four columns: {trap}"));
            continue;
        };
        let what = what.trim();
        if !named_places(handled).any(|(_, name)| name.is_none()) {
            wrong.push(format!("handled nowhere: {what}"));
        }
        if !named_places(tests).any(|(_, name)| name.is_some()) {
            wrong.push(format!("without a test: {what}"));
        }
    }
    wrong.extend(named_places(&text).filter_map(|(path, name)| wrong_place(path, name)));
    assert!(wrong.is_empty(), "docs/traps.md: {wrong:#?}");
}

#[test]
fn a_place_that_is_not_there_is_noticed() {
    let here = "services/berglake/tests/it/documents.rs";
    let text = format!("see `{here}::a_place_that_is_not_there_is_noticed`, `{here}` and `x::y`");
    let places: Vec<_> = named_places(&text).collect();
    let own = "a_place_that_is_not_there_is_noticed";
    assert_eq!(places, [(here, Some(own)), (here, None)]);
    assert!(
        places
            .iter()
            .all(|(path, name)| wrong_place(path, *name).is_none())
    );
    assert!(wrong_place(here, Some("a_place_that_is")).is_some());
    assert!(wrong_place("services/berglake/nowhere.rs", Some(own)).is_some());
    assert!(wrong_place("services/berglake/nowhere", None).is_some());
}

/// What a link to a heading of this document may name, in the way in which it is shown: lower case,
/// blanks as `-`, without other signs.
fn anchors(document: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(document).unwrap();
    // Every other part stands within a fence, where `#` begins a comment.
    let outside = text.split("\n```").step_by(2).flat_map(str::lines);
    outside
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                '-' | '_' => Some(c),
                c => c.is_alphanumeric().then_some(c),
            });
            kept.collect()
        })
        .collect()
}

#[test]
fn links_between_documents_lead_to_files_and_headings() {
    let mut documents = files(
        &[
            "crates",
            "services",
            "docs",
            "examples",
            "benches",
            "deploy",
            "integration-tests",
            ".ci",
        ],
        &[".md"],
    );
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    let mut broken = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = match target.split_once('#') {
                Some((path, anchor)) => (path, Some(anchor)),
                None => (target, None),
            };
            let place = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            let leads = place.exists() && anchor.is_none_or(|it| anchors(&place).contains(it));
            if !leads {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The variables of `deploy/docker-compose.yml` that say where Kafka is, which all roles are given.
fn connection_on_compose() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("deploy/docker-compose.yml")).unwrap();
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| line.starts_with("BERGLAKE_CONNECTIONS__"))
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

#[test]
fn a_project_that_names_no_connection_is_one_of_the_compose_stack() {
    let variables = connection_on_compose();
    assert!(!variables.is_empty());
    let mut project = Project::initialised();
    for (name, value) in &variables {
        project = project.env(name, value);
    }
    project.run(&["validate"]).ok();
    let shown = project.run(&["config", "show"]).ok();
    assert!(shown.contains("[connections.main]"), "{shown}");
}
