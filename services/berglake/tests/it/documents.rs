//! The documents say what is true: the tests that `ARCHITECTURE.md` names exist, and links lead
//! somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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

#[test]
fn links_between_documents_lead_to_files() {
    let mut documents = files(
        &["crates", "services", "docs", "examples", "benches"],
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
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || target.contains("://") {
                continue;
            }
            if !document.parent().unwrap().join(path).exists() {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
