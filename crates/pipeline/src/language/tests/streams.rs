//! Where a stream may stand, and what may be done with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use berglake_catalog::{SqlCatalog, SqlCatalogConfig};
use berglake_format::Environment;
use berglake_format::storage::{Location, Storage};
use berglake_query::{Engine, EngineOptions};
use insta::assert_snapshot;

use super::*;

/// A streaming table of this query.
fn table(query: &str) -> Result<Pipeline, Diagnostics> {
    pipeline(&format!("CREATE STREAMING TABLE s.t AS\n{query}"))
}

fn errors(query: &str) -> String {
    match table(query) {
        Ok(_) => panic!("no mistake was found in {query}"),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

#[test]
fn rows_come_from_the_stream_and_from_nowhere_else() {
    assert_snapshot!(errors("WITH c AS (SELECT * FROM STREAM(b.raw)) SELECT o.k FROM b.other AS o"), @r#"
    error: a stream cannot be read here: the result would depend on how the stream is cut into batches
     --> test.sql:2:26
      |
    2 | WITH c AS (SELECT * FROM STREAM(b.raw)) SELECT o.k FROM b.other AS o
      |                          ^^^^^^^^^^^^
      = help: a stream stands in FROM of the query itself, or of a subquery or a common table expression that is named there
    "#);
    for query in [
        "SELECT o.k FROM b.other AS o WHERE o.k IN (SELECT k FROM c)",
        "SELECT o.k FROM b.other AS o WHERE EXISTS (SELECT 1 FROM c WHERE c.k = o.k)",
        "SELECT o.k, (SELECT max(k) FROM c) AS top FROM b.other AS o",
        "SELECT o.k FROM b.other AS o JOIN b.more AS m ON o.k IN (SELECT k FROM c)",
        "SELECT * FROM (SELECT o.k FROM b.other AS o WHERE o.k IN (SELECT k FROM c)) AS x",
        "SELECT k FROM (VALUES ((SELECT max(k) FROM c))) AS v(k)",
        "SELECT k FROM unused",
    ] {
        let stream = "SELECT * FROM STREAM(b.raw)";
        let all = format!("WITH c AS ({stream}), unused AS (SELECT o.k FROM b.other AS o) {query}");
        let said = errors(&all);
        assert!(
            said.contains("a stream cannot be read here"),
            "{query}: {said}"
        );
        // The same with the stream itself where the common table expression is named.
        let bare = query.replace("FROM c", "FROM STREAM(b.raw) AS c");
        if bare != query {
            let said = errors(&bare);
            assert!(
                said.contains("a stream cannot be read here"),
                "{bare}: {said}"
            );
        }
    }
}

#[test]
fn a_stream_is_not_read_again_in_a_condition() {
    for query in [
        "SELECT k FROM c WHERE k IN (SELECT k FROM c)",
        "SELECT k, (SELECT max(k) FROM c) AS top FROM c",
        "SELECT c.k FROM c JOIN b.other AS o ON EXISTS (SELECT 1 FROM c WHERE c.k = o.k)",
    ] {
        let said = errors(&format!("WITH c AS (SELECT * FROM STREAM(b.raw)) {query}"));
        assert!(said.contains("read more than once"), "{query}: {said}");
    }
}

#[test]
fn what_follows_from_each_row_of_the_stream_is_sound() {
    for query in [
        "WITH c AS (SELECT * FROM STREAM(b.raw)) SELECT k FROM c",
        "WITH c AS (SELECT * FROM STREAM(b.raw)), d AS (SELECT k FROM c) SELECT k FROM d",
        "SELECT k FROM (SELECT * FROM STREAM(b.raw)) AS c WHERE k IN (SELECT max(k) FROM b.other)",
        "SELECT c.k, (SELECT max(o.v) FROM b.other AS o WHERE o.k = c.k) AS v FROM STREAM(b.raw) AS c",
        "SELECT c.k FROM STREAM(b.raw) AS c JOIN b.other AS o ON o.k = c.k",
    ] {
        if let Err(said) = table(query) {
            panic!("{query}: {said}");
        }
    }
}

#[test]
fn sources_are_read_whole_and_functions_as_streams() {
    assert_snapshot!(errors("SELECT k FROM STREAM(b.raw) TABLESAMPLE (10 PERCENT)"), @r#"
    error: TABLESAMPLE is not supported in this version
     --> test.sql:2:29
      |
    2 | SELECT k FROM STREAM(b.raw) TABLESAMPLE (10 PERCENT)
      |                             ^^^^^^^^^^^
      = help: filter by a column, for instance by a hash of the key
    "#);
    let files = "read_files('x.json')";
    let changes = "AUTO CDC INTO s.u FROM";
    let keys = "KEYS (a) SEQUENCE BY u";
    for (sql, place, said) in [
        (
            format!("CREATE MATERIALIZED VIEW g.m AS\nSELECT * FROM {files}"),
            "2:15",
            "read_files without STREAM is not supported",
        ),
        (
            format!("CREATE TEMPORARY VIEW v AS\nSELECT * FROM {files}"),
            "2:15",
            "read_files without STREAM is not supported",
        ),
        (
            format!(
                "CREATE STREAMING TABLE s.t AS\nSELECT * FROM STREAM(b.x) JOIN {files} USING (k)"
            ),
            "2:32",
            "read_files without STREAM is not supported",
        ),
        (
            format!("CREATE STREAMING TABLE s.t AS\nSELECT * FROM {files}"),
            "2:15",
            "a streaming table needs a stream to read",
        ),
        (
            format!(
                "CREATE STREAMING TABLE s.u; CREATE FLOW f AS {changes}\nSTREAM {files} {keys}"
            ),
            "2:1",
            "AUTO CDC directly from read_files is not supported",
        ),
        (
            format!(
                "CREATE TEMPORARY VIEW v AS SELECT * FROM STREAM {files};
                 CREATE STREAMING TABLE s.u; CREATE FLOW f AS {changes}\nSTREAM(v) {keys}"
            ),
            "3:1",
            "AUTO CDC directly from read_files is not supported",
        ),
    ] {
        let found = pipeline(&sql).unwrap_err();
        assert_eq!(found.len(), 1, "{found}");
        let found = found.to_string();
        assert!(found.contains(said), "{said}: {found}");
        assert!(
            found.contains(&format!("test.sql:{place}\n")),
            "{place}: {found}"
        );
    }
}

#[tokio::test]
async fn every_aggregate_of_the_engine_is_refused_on_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let warehouse = Location::from_path(&folder.path().join("warehouse")).unwrap();
    let config = SqlCatalogConfig::new("lake", "sqlite::memory:", warehouse);
    let catalog = SqlCatalog::open(config, Storage::default(), Environment::default());
    let catalog = Arc::new(catalog.await.unwrap());
    let engine = Engine::new(catalog, EngineOptions::default()).unwrap();
    let state = engine.session().state();
    let functions = state.aggregate_functions();
    let aliases = functions.values().flat_map(|function| function.aliases());
    let names: BTreeSet<&String> = functions.keys().chain(aliases).collect();
    for known in ["var_population", "quantile_cont", "collect_list", "try_sum"] {
        assert!(names.contains(&known.to_owned()), "{known} of {names:?}");
    }
    for name in names {
        let said = errors(&format!("SELECT {name}(k) AS v FROM STREAM(b.raw)"));
        assert!(said.contains("the aggregate"), "{name}: {said}");
    }
}
