//! What sound statements mean.

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::empty::EmptyTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::sync::Arc;

use insta::assert_snapshot;

use super::*;

/// The query of `g.m` on whatever it reads.
fn query(select: &str) -> Query {
    let sql = format!("CREATE MATERIALIZED VIEW g.m AS {select}");
    let pipeline = pipeline(&sql).unwrap_or_else(|error| panic!("{error}"));
    pipeline.flows()[0].query.clone()
}

#[test]
fn the_rewritten_query_is_planned_by_the_engine() {
    let query = query(
        "WITH recent AS (SELECT * FROM s.films WHERE s.films.year > 2000), y AS (SELECT * FROM s.y)
         SELECT s.films.id, `Odd Name`, recent.*, p.id AS other, (SELECT max(id) FROM s.z) AS top
         FROM s.films JOIN recent ON recent.id = s.films.id, y AS p
         WHERE films.id IN (SELECT id FROM S.Films AS f WHERE f.year = 1999) AND s.films.id <> 3",
    );
    let fields = ["id", "year", "Odd Name"].map(|name| Field::new(name, DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let config = SessionConfig::new().set_str("datafusion.sql_parser.dialect", "databricks");
    let context = SessionContext::new_with_config(config);
    for source in &query.sources {
        let table = Arc::new(EmptyTable::new(Arc::clone(&schema)));
        context.register_table(source.id.as_str(), table).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    // `Odd Name` is in both tables, so it must be qualified to be planned.
    let sql = query.sql.replace("`Odd Name`", "films.`Odd Name`");
    let plan = runtime.block_on(context.sql(&sql)).unwrap();
    let names: Vec<&str> = plan
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    assert_eq!(
        names,
        ["id", "Odd Name", "id", "year", "Odd Name", "other", "top"]
    );
    let read: Vec<String> = query
        .sources
        .iter()
        .map(|source| source.from.to_string())
        .collect();
    assert_eq!(
        read,
        ["s.films", "s.y", "s.z", "s.films", "s.films"]
            .map(str::to_owned)
            .to_vec()
    );
}

#[test]
fn a_common_table_expression_hides_a_table_only_after_its_definition() {
    let query = query("WITH x AS (SELECT * FROM a.x) SELECT * FROM x JOIN b.x AS y ON x.a = y.a");
    assert_snapshot!(query.sql, @"WITH x AS (SELECT * FROM __source_0 AS x) SELECT * FROM x JOIN __source_1 AS y ON x.a = y.a");
    assert_eq!(query.sources.len(), 2);
}

#[test]
fn stream_is_read_in_each_of_its_spellings() {
    for spelling in [
        "STREAM(b.raw)",
        "STREAM b.raw",
        "stream(b.raw) AS raw",
        "STREAM b.raw raw",
    ] {
        let sql = format!("CREATE STREAMING TABLE s.t AS SELECT a, raw.b FROM {spelling} WHERE a");
        let pipeline = pipeline(&sql).unwrap_or_else(|error| panic!("{error}"));
        let query = &pipeline.flows()[0].query;
        assert_eq!(query.sources[0].kind, ReadKind::Stream);
        assert!(
            query.sql.starts_with("SELECT a, raw.b FROM __source_0 "),
            "{}",
            query.sql
        );
        assert!(query.sql.ends_with("raw WHERE a"), "{}", query.sql);
    }
}

#[test]
fn a_stream_is_found_behind_views_and_static_joins_are_kept() {
    let pipeline = pipeline(
        "CREATE STREAMING TABLE s.t AS SELECT two.* FROM STREAM(two) JOIN x.codes USING (code);
         CREATE TEMPORARY VIEW two AS SELECT * FROM STREAM one;
         CREATE TEMPORARY VIEW one AS SELECT * FROM STREAM(b.raw);
         CREATE STREAMING TABLE b.raw AS SELECT * FROM STREAM read_files('x.csv', header => 'TRUE');",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    assert_snapshot!(pipeline.to_string(), @r#"
    b.raw (streaming table)
      flow b.raw: append
        from stream read_files(header => true, path => 'x.csv')
    s.t (streaming table)
      flow s.t: append
        from stream b.raw
        from x.codes
        through one
        through two
    "#);
    let flow = pipeline.flows().last().unwrap();
    let views: Vec<String> = flow
        .views
        .iter()
        .map(|view| view.name.to_string())
        .collect();
    assert_eq!(views, ["one", "two"]);
    let stream = flow.stream.as_ref().unwrap();
    assert_eq!(stream.from.to_string(), "b.raw");
    assert_eq!(stream.id, flow.views[0].query.sources[0].id);
    let table = pipeline.table(&flow.target).unwrap();
    assert_eq!(
        table
            .external
            .iter()
            .map(TableName::to_string)
            .collect::<Vec<_>>(),
        ["x.codes"]
    );
    assert_eq!(pipeline.layers(), ["b", "s"]);
    let SourceRef::Function(files) = &pipeline.flows()[0].query.sources[0].from else {
        panic!("read_files is a function");
    };
    assert_eq!(
        (files.text("path"), files.boolean("header")),
        (Some("x.csv"), Some(true))
    );
}

#[test]
fn all_clauses_of_a_table_are_read_in_any_order() {
    let pipeline = pipeline(
        "create or refresh streaming table if not exists b.t (
            Id BIGINT NOT NULL COMMENT 'the key', tags ARRAY<STRUCT<k: STRING NOT NULL, v: MAP<STRING, ARRAY<INT>>>>,
            CONSTRAINT a EXPECT (id > 0), price DECIMAL(9,2), at TIMESTAMP WITH TIME ZONE,
            CONSTRAINT b EXPECT (price IS NOT NULL) ON VIOLATION FAIL UPDATE)
         TBLPROPERTIES ('k' = 'v', write.format = 3) LOCATION 's3://x/y' COMMENT 'it''s'
         PARTITIONED BY (bucket(16, id), truncate(id, 4), date(at), hours(at), year(at), price) USING iceberg
         AS SELECT * FROM STREAM(x.y)",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let table = &pipeline.tables()[0].definition;
    let columns: Vec<String> = table.columns.iter().map(|c| c.node.to_string()).collect();
    assert_snapshot!(columns.join("\n"), @r#"
    id: long not null
    tags: array<struct<k: string not null, v: map<string, array<int>>>>
    price: decimal(9,2)
    at: timestamp
    "#);
    let fields: Vec<String> = table
        .partitioning
        .iter()
        .map(|field| format!("{} of {}", field.node.transform, field.node.column))
        .collect();
    assert_snapshot!(fields.join(", "), @"bucket[16] of id, truncate[4] of id, day of at, hour of at, year of at, identity of price");
    let expectations: Vec<(&str, OnViolation)> = table
        .expectations
        .iter()
        .map(|expectation| (expectation.condition.sql.as_str(), expectation.on_violation))
        .collect();
    let expected = [
        ("id > 0", OnViolation::Warn),
        ("price IS NOT NULL", OnViolation::FailUpdate),
    ];
    assert_eq!(expectations, expected);
    assert!(table.if_not_exists);
    assert_eq!(table.comment.as_deref(), Some("it's"));
    assert_eq!(
        table.location.as_ref().map(|l| l.node.as_str()),
        Some("s3://x/y")
    );
    assert_eq!(table.properties["write.format"].node, "3");
}

#[test]
fn schemas_keep_the_case_of_their_names() {
    let columns =
        parse_schema("Title STRING, `Major Genre` VARCHAR(20) NOT NULL, n SMALLINT").unwrap();
    let shown: Vec<String> = columns.iter().map(ColumnDef::to_string).collect();
    assert_eq!(
        shown,
        ["Title: string", "Major Genre: string not null", "n: int"]
    );
    let error = parse_schema("a INT, b STRNG").unwrap_err();
    assert_eq!(error.range, 9..14);
    assert!(parse_schema("").is_err() && parse_schema("a INT; b INT").is_err());
    assert!(parse_schema(&"a ARRAY<".repeat(1000)).is_err());
    assert!(parse_schema(&format!("a {}INT{}", "ARRAY<".repeat(100), ">".repeat(100))).is_err());
}

#[test]
fn several_flows_append_to_one_table() {
    let pipeline = pipeline(
        "CREATE STREAMING TABLE b.t;
         CREATE FLOW one AS INSERT INTO b.t BY NAME SELECT * FROM STREAM(x.a);
         CREATE FLOW two AS INSERT INTO b.t BY NAME SELECT * FROM STREAM(x.b);",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(pipeline.flows_into(pipeline.tables()[0].name()).count(), 2);
    assert!(
        pipeline
            .flows()
            .iter()
            .all(|flow| flow.write == Write::Append)
    );
}

#[test]
fn a_fingerprint_changes_with_the_meaning_and_with_the_views_behind() {
    let print = |view: &str, keys: &str| {
        let sql = format!(
            "CREATE TEMPORARY VIEW v AS SELECT {view} FROM STREAM(x.y);
             CREATE STREAMING TABLE s.t;
             CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(v) KEYS ({keys}) SEQUENCE BY u"
        );
        pipeline(&sql)
            .unwrap_or_else(|error| panic!("{error}"))
            .flows()[0]
            .fingerprint
            .clone()
    };
    let first = print("a, u", "a");
    assert_eq!(first, print("A /* the key */,\n u", "a"));
    assert_ne!(first, print("a, b, u", "a"));
    assert_ne!(first, print("`A`, u", "a"));
    assert_ne!(first, print("'a', u", "a"));
    assert_ne!(first, print("a, u", "a, b"));
    // Kept in tables, so it may never change for the same definition.
    assert_snapshot!(first.as_str(), @"3e0839fe4d4f7355ba5754890fc864c2");
}
