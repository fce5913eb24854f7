//! Sources at a connection.

use std::collections::BTreeMap;

use insta::assert_snapshot;

use super::*;

fn connected(arguments: &str) -> Result<Pipeline, Diagnostics> {
    let sql = format!(
        "CREATE TEMPORARY VIEW v AS SELECT * FROM STREAM read_files({arguments});\n\
         CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM(v);"
    );
    let files = [SourceFile::new("test.sql", sql)];
    let folders = BTreeMap::from([
        ("lake".to_owned(), "s3://deliveries/films/".to_owned()),
        ("odd".to_owned(), "/data/[old]".to_owned()),
    ]);
    Pipeline::from_files(&files, &Variables::new())?.connect(&folders, &files)
}

/// The path that the flow reads, the same in its view's query and in its stream.
fn path(arguments: &str) -> String {
    let pipeline = connected(arguments).unwrap_or_else(|error| panic!("{error}"));
    let flow = &pipeline.flows()[0];
    let of = |from: &SourceRef| match from {
        SourceRef::Function(function) => function.text("path").unwrap().to_owned(),
        SourceRef::Table(name) => panic!("{name} is no call"),
    };
    let stream = of(&flow.stream.as_ref().unwrap().from);
    let inputs: Vec<String> = flow.inputs().map(|input| of(&input.from)).collect();
    assert_eq!(inputs, [stream.clone()]);
    stream
}

#[test]
fn a_path_is_one_below_its_connection() {
    assert_eq!(path("'a/*.json', connection => 'lake'"), "s3://deliveries/films/a/*.json");
    assert_eq!(path("'*.json', connection => 'odd'"), r"/data/\[old\]/*.json");
    assert_eq!(path("'a/*.json'"), "a/*.json");
}

#[test]
fn a_connection_must_exist_and_hold_the_path() {
    let error = |arguments| connected(arguments).unwrap_err().to_string();
    assert_snapshot!(error("'a.json', connection => 'lak'"), @r#"
    error: there is no connection `lak`
     --> test.sql:1:83
      |
    1 | CREATE TEMPORARY VIEW v AS SELECT * FROM STREAM read_files('a.json', connection => 'lak');
      |                                                                                    ^^^^^
      = help: did you mean lake?
    "#);
    assert!(error("'/etc/passwd', connection => 'lake'").contains("not below the connection `lake`"));
    assert!(error("'../x.json', connection => 'lake'").contains("without `..`"));
    assert!(error("'x.json', connection => 'elsewhere'").contains("[connections.elsewhere]"));
}
