//! What the user is told about mistakes.

use insta::assert_snapshot;

use super::*;

fn errors(sql: &str) -> String {
    match pipeline(sql) {
        Ok(pipeline) => panic!("no mistake was found in {pipeline}"),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

/// A streaming table to read from, on the first line.
const RAW: &str = "CREATE STREAMING TABLE b.raw AS SELECT * FROM STREAM read_files('x.json');\n";

fn after_raw(sql: &str) -> String {
    errors(&format!("{RAW}{sql}"))
}

#[test]
fn a_misspelt_first_word_is_suggested() {
    assert_snapshot!(errors("CRAETE STREAMING TABLE b.t"), @"");
    assert_snapshot!(errors("CREATE OR REFRSH STREAMING TABLE b.t"), @"");
    assert_snapshot!(errors("CREATE OR REFRESH STREEMING TABLE b.t"), @"");
    assert_snapshot!(errors("DROP TABLE b.t"), @"");
}

#[test]
fn a_misspelt_clause_is_suggested() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITOINED BY (a)"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BYE (a)"), @"");
}

#[test]
fn an_unknown_clause_lists_the_known_ones() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t STORED AS parquet"), @"");
}

#[test]
fn a_clause_is_given_once() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t COMMENT 'a'\n  LOCATION 'x' COMMENT 'b'"), @"");
}

#[test]
fn a_query_must_be_there() {
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.t COMMENT 'x'"), @"");
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.t AS"), @"");
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.t AS SELCT 1"), @"");
    assert_snapshot!(errors("CREATE TEMPORARY VIEW v SELECT 1"), @"");
}

#[test]
fn transforms_are_checked() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (month(a), mnth(b))"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (bucket(0, a))"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (bucket(-4, a))"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (bucket(a))"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (truncate('x', a))"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (a, a)"), @"");
}

#[test]
fn an_unterminated_string_spares_the_statements_before_it() {
    assert_snapshot!(errors("CREATE FLOW f;\nCREATE STREAMING TABLE b.t COMMENT 'it is\n USING iceberg;"), @"");
}

#[test]
fn wide_characters_and_tabs_keep_the_underline_in_place() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t\n\tCOMMENT 'é 日本' BANANA 'x'"), @"");
}

#[test]
fn source_functions_check_their_arguments() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files('x', fromat => 'json', header => 3, format => 'xml', delimiter => ';;')"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files(format => 'json')"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM(read_flies('x'))"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_kafka(topic => 'x')"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files('x', schema => 'a INT, b STRNG')"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREM(b.x)"), @"");
}

#[test]
fn a_name_is_defined_once() {
    assert_snapshot!(after_raw("CREATE MATERIALIZED VIEW b.raw AS SELECT 1"), @"");
}

#[test]
fn a_cycle_is_told_whole() {
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.a AS SELECT * FROM g.b;\nCREATE MATERIALIZED VIEW g.b AS SELECT * FROM v;\nCREATE TEMPORARY VIEW v AS SELECT * FROM g.a;\nCREATE MATERIALIZED VIEW g.d AS SELECT * FROM g.d;"), @"");
}

#[test]
fn flows_write_streaming_tables_that_exist() {
    assert_snapshot!(after_raw("CREATE FLOW f AS INSERT INTO b.rwa BY NAME SELECT * FROM STREAM(x.y)"), @"");
    assert_snapshot!(after_raw("CREATE FLOW f AS INSERT INTO b.raw SELECT * FROM STREAM(x.y)"), @"");
    assert_snapshot!(after_raw("CREATE MATERIALIZED VIEW g.m AS SELECT 1;\nCREATE FLOW f AS INSERT INTO g.m BY NAME SELECT * FROM STREAM(x.y)"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t"), @"");
}

#[test]
fn auto_cdc_needs_its_clauses() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) SEQUENCE BY u"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) KEYS ()"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS APPLY CHANGES INTO s.t FROM STREAM(b.raw) KEYS (a)"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM b.raw KEYS (a) SEQUENCE BY u"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) KEY (a) SEQUENCE BY u"), @"");
}

#[test]
fn what_is_not_executed_is_refused() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) KEYS (a)\n  IGNORE NULL UPDATES APPLY AS DELETE WHEN op = 'D' SEQUENCE BY STRUCT(u, v) COLUMNS * EXCEPT (op)\n  STORED AS SCD TYPE 2 TRACK HISTORY ON * EXCEPT (u)"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t (CONSTRAINT c EXPECT (a > 0) ON VIOLATION QUARANTINE)"), @"");
}

#[test]
fn streams_need_append_only_tables() {
    assert_snapshot!(after_raw("CREATE MATERIALIZED VIEW g.m AS SELECT * FROM b.raw;\nCREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(g.m)"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM b.raw KEYS (a) SEQUENCE BY u;\nCREATE STREAMING TABLE s.u AS SELECT * FROM STREAM s.t"), @"");
}

#[test]
fn stream_is_neither_missing_nor_misplaced() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM b.raw"), @"");
    assert_snapshot!(after_raw("CREATE MATERIALIZED VIEW g.m AS SELECT * FROM STREAM(b.raw)"), @"");
    assert_snapshot!(after_raw("CREATE TEMPORARY VIEW v AS SELECT * FROM STREAM(b.raw);\nCREATE MATERIALIZED VIEW g.m AS SELECT * FROM v"), @"");
    assert_snapshot!(after_raw("CREATE TEMPORARY VIEW v AS SELECT * FROM b.raw;\nCREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(v)"), @"");
}

#[test]
fn unknown_tables_are_suggested() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(raw)"), @"");
    assert_snapshot!(after_raw("CREATE MATERIALIZED VIEW s.t AS SELECT * FROM films"), @"");
}

#[test]
fn streaming_queries_do_not_depend_on_batches() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT DISTINCT a, count(*) FROM STREAM(b.raw)\n  GROUP BY a HAVING max(b) > 1 ORDER BY a LIMIT 3"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT row_number() OVER (ORDER BY a) FROM STREAM(b.raw)"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM (SELECT a, sum(b) FROM STREAM(b.raw) GROUP BY a) AS x"), @"");
}

#[test]
fn one_stream_is_read_and_its_side_is_kept() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(b.raw) AS x JOIN STREAM(b.raw) AS y ON x.a = y.a"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM x.y LEFT JOIN STREAM(b.raw) AS z ON y.a = z.a"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(b.raw) UNION ALL SELECT * FROM x.y"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM x.y WHERE a IN (SELECT a FROM STREAM(b.raw))"), @"");
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS WITH c AS (SELECT * FROM STREAM(b.raw)) SELECT * FROM c JOIN c AS d ON c.a = d.a"), @"");
}

#[test]
fn types_and_columns_are_checked() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a INTT)"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a DECIMAL(40, 2))"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a INT, A STRING)"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a ARRAY<INT>>)"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a MAP<INT>)"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a INT) PARTITIONED BY (b)"), @"");
}

#[test]
fn constraints_are_checked() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (CONSTRAINT c EXPCT (a > 0))"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (count(a) > 0))"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (a IN (SELECT 1)))"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (a >) )"), @"");
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (a) ON VIOLATION DROP)"), @"");
}

#[test]
fn names_have_the_right_parts() {
    assert_snapshot!(errors("CREATE STREAMING TABLE t"), @"");
    assert_snapshot!(errors("CREATE TEMPORARY VIEW a.v AS SELECT 1"), @"");
}

#[test]
fn queries_that_cannot_be_read_point_at_the_word() {
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT a FROM x.y WHERE"), @"");
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT a b c FROM x.y"), @"");
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT (a FROM x.y"), @"");
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT a FROM x.y PARTITIONED BY (a)"), @"");
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT a FROM STREAM WHERE a"), @"");
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT * FROM x.y VERSION AS OF 3"), @"");
}

#[test]
fn unknown_variables_list_the_known_ones() {
    let variables = Variables::from([
        ("data".to_owned(), "x".to_owned()),
        ("n".to_owned(), "1".to_owned()),
    ]);
    let sql = "CREATE STREAMING TABLE b.t AS SELECT ${m + 1 FROM STREAM read_files('${date}/x');";
    let files = [
        SourceFile::new("a.sql", "-- nothing"),
        SourceFile::new("b.sql", sql),
    ];
    let diagnostics = Pipeline::from_files(&files, &variables).unwrap_err();
    assert_snapshot!(diagnostics.to_string(), @"");
}

#[test]
fn each_statement_with_a_mistake_is_told() {
    let sql =
        "CREATE STREAMING TABLE b.t BANANA;\nCREATE FLOW f AS NOTHING;\nCREATE VIEW v AS SELECT 1;";
    let diagnostics = pipeline(sql).unwrap_err();
    let lines: Vec<usize> = diagnostics.iter().map(Diagnostic::line).collect();
    assert_eq!(lines, [1, 2, 3]);
}
