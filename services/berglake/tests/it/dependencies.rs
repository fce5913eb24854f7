//! Dependencies between the workspace's crates point one way:
//! `format ← catalog ← {query, ingest} ← {maintenance, pipeline} ← host ← roles ← berglake`, with
//! `telemetry` below all. Siblings never depend on each other, and nothing depends on the binary.

use std::collections::BTreeSet;
use std::path::Path;

use cargo_metadata::{Metadata, MetadataCommand, Package, camino::Utf8Path};

/// Where a crate stands. A crate may depend on crates of a lower layer, never of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Telemetry,
    Format,
    Catalog,
    /// `query` and `ingest`.
    Engines,
    /// `maintenance` and `pipeline`.
    Flows,
    /// What every role has.
    Host,
    /// The roles, each a composition root.
    Roles,
    /// The binary, which starts the roles.
    Binary,
    /// The feeder of the examples, which measurements and tests use as well.
    Feeder,
    /// Programs beside the platform that measure it; nothing of it depends on them.
    Beside,
    /// The tests from outside, which use the feeders.
    Outside,
}

/// The layer of the crate in `folder`, a path relative to the root of the workspace.
///
/// A folder that is not listed has no place in the order yet, which is an error of its own: whoever
/// adds a crate has to decide where it stands.
fn layer(folder: &Utf8Path) -> Option<Layer> {
    match folder.as_str() {
        "crates/telemetry" => Some(Layer::Telemetry),
        "crates/format" => Some(Layer::Format),
        "crates/catalog" => Some(Layer::Catalog),
        "crates/query" | "crates/ingest" => Some(Layer::Engines),
        "crates/maintenance" | "crates/pipeline" => Some(Layer::Flows),
        "services/host" => Some(Layer::Host),
        "services/berglake" => Some(Layer::Binary),
        other if other.starts_with("services/") => Some(Layer::Roles),
        "examples/producer" => Some(Layer::Feeder),
        "benches" => Some(Layer::Beside),
        "integration-tests/e2e" => Some(Layer::Outside),
        _ => None,
    }
}

fn workspace() -> Metadata {
    MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .no_deps()
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .expect("cargo metadata describes the workspace")
}

/// The folder of `package`, relative to the root of the workspace.
fn folder<'a>(metadata: &Metadata, package: &'a Package) -> &'a Utf8Path {
    package
        .manifest_path
        .parent()
        .and_then(|parent| parent.strip_prefix(&metadata.workspace_root).ok())
        .expect("a member lies below the root of the workspace")
}

/// The edges that break the order, as sentences. Dev-dependencies count: a test that needs a higher
/// layer belongs there.
fn violations(
    crates: &[(String, Layer)],
    edges: impl IntoIterator<Item = (String, String)>,
) -> BTreeSet<String> {
    let layer_of = |name: &str| {
        crates
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, layer)| *layer)
    };
    edges
        .into_iter()
        .filter_map(|(from, to)| {
            let (from_layer, to_layer) = (layer_of(&from)?, layer_of(&to)?);
            (to_layer >= from_layer || to_layer == Layer::Binary)
                .then(|| format!("{from} ({from_layer:?}) depends on {to} ({to_layer:?})"))
        })
        .collect()
}

#[test]
fn dependencies_between_the_crates_point_one_way() {
    let metadata = workspace();
    let members = metadata.workspace_packages();
    let mut crates = Vec::new();
    for package in &members {
        let folder = folder(&metadata, package);
        let layer = layer(folder).unwrap_or_else(|| {
            panic!("{folder} has no place in the order of dependencies: give it one in this test")
        });
        crates.push((package.name.to_string(), layer));
    }
    let edges: Vec<_> = members
        .iter()
        .flat_map(|package| {
            package
                .dependencies
                .iter()
                .map(|dependency| (package.name.to_string(), dependency.name.clone()))
        })
        .collect();

    let found = violations(&crates, edges.iter().cloned());
    assert!(
        found.is_empty(),
        "these edges point the wrong way:\n{found:#?}"
    );

    // Guards the test itself: it has to see the edges that it judges.
    let expected = ("berglake-catalog".to_owned(), "berglake-format".to_owned());
    assert!(
        edges.contains(&expected),
        "catalog builds on format, found only {edges:?}"
    );
}

#[test]
fn a_sibling_and_an_upward_edge_are_violations_and_a_downward_edge_is_none() {
    let crates = [
        ("format".to_owned(), Layer::Format),
        ("query".to_owned(), Layer::Engines),
        ("ingest".to_owned(), Layer::Engines),
        ("berglake".to_owned(), Layer::Binary),
        ("benches".to_owned(), Layer::Beside),
    ];
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());

    let allowed = [
        edge("query", "format"),
        edge("berglake", "ingest"),
        edge("query", "serde"),
    ];
    assert!(violations(&crates, allowed).is_empty());

    let forbidden = [
        edge("query", "ingest"),
        edge("format", "query"),
        edge("benches", "berglake"),
    ];
    assert_eq!(violations(&crates, forbidden).len(), 3);
}
