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
    assert_snapshot!(errors("CRAETE STREAMING TABLE b.t"), @r#"
    error: expected CREATE, found `CRAETE`
     --> test.sql:1:1
      |
    1 | CRAETE STREAMING TABLE b.t
      | ^^^^^^
      = help: did you mean CREATE?
    "#);
    assert_snapshot!(errors("CREATE OR REFRSH STREAMING TABLE b.t"), @r#"
    error: expected REFRESH, found `REFRSH`
     --> test.sql:1:11
      |
    1 | CREATE OR REFRSH STREAMING TABLE b.t
      |           ^^^^^^
      = help: did you mean REFRESH?
    "#);
    assert_snapshot!(errors("CREATE OR REFRESH STREEMING TABLE b.t"), @r#"
    error: expected STREAMING TABLE, MATERIALIZED VIEW, TEMPORARY VIEW or FLOW, found `STREEMING`
     --> test.sql:1:19
      |
    1 | CREATE OR REFRESH STREEMING TABLE b.t
      |                   ^^^^^^^^^
      = help: did you mean STREAMING TABLE?
    "#);
    assert_snapshot!(errors("DROP TABLE b.t"), @r#"
    error: expected CREATE, found `DROP`
     --> test.sql:1:1
      |
    1 | DROP TABLE b.t
      | ^^^^
      = help: the statements are CREATE OR REFRESH STREAMING TABLE, CREATE OR REFRESH MATERIALIZED VIEW, CREATE TEMPORARY VIEW and CREATE FLOW
    "#);
}

#[test]
fn a_misspelt_clause_is_suggested() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITOINED BY (a)"), @r#"
    error: unknown clause `PARTITOINED`
     --> test.sql:1:28
      |
    1 | CREATE STREAMING TABLE b.t PARTITOINED BY (a)
      |                            ^^^^^^^^^^^
      = help: did you mean PARTITIONED BY?
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BYE (a)"), @r#"
    error: expected PARTITIONED BY, found `BYE`
     --> test.sql:1:40
      |
    1 | CREATE STREAMING TABLE b.t PARTITIONED BYE (a)
      |                                        ^^^
      = help: did you mean BY?
    "#);
}

#[test]
fn an_unknown_clause_lists_the_known_ones() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t STORED AS parquet"), @r#"
    error: unknown clause `STORED`
     --> test.sql:1:28
      |
    1 | CREATE STREAMING TABLE b.t STORED AS parquet
      |                            ^^^^^^
      = help: the clauses are USING, PARTITIONED BY, COMMENT, LOCATION, TBLPROPERTIES, AS
    "#);
}

#[test]
fn a_clause_is_given_once() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t COMMENT 'a'\n  LOCATION 'x' COMMENT 'b'"), @r#"
    error: COMMENT is given twice
     --> test.sql:2:16
      |
    2 |   LOCATION 'x' COMMENT 'b'
      |                ^^^^^^^
    "#);
}

#[test]
fn a_query_must_be_there() {
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.t COMMENT 'x'"), @r#"
    error: a materialized view needs a query
     --> test.sql:1:41
      |
    1 | CREATE MATERIALIZED VIEW g.t COMMENT 'x'
      |                                         ^
      = help: end the statement with AS SELECT …
    "#);
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.t AS"), @r#"
    error: expected SELECT, found the end of the file
     --> test.sql:1:32
      |
    1 | CREATE MATERIALIZED VIEW g.t AS
      |                                ^
    "#);
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.t AS SELCT 1"), @r#"
    error: expected SELECT, found `SELCT`
     --> test.sql:1:33
      |
    1 | CREATE MATERIALIZED VIEW g.t AS SELCT 1
      |                                 ^^^^^
      = help: did you mean SELECT?
    "#);
    assert_snapshot!(errors("CREATE TEMPORARY VIEW v SELECT 1"), @r#"
    error: expected AS and the query of the view, found `SELECT`
     --> test.sql:1:25
      |
    1 | CREATE TEMPORARY VIEW v SELECT 1
      |                         ^^^^^^
    "#);
}

#[test]
fn transforms_are_checked() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (month(a), mnth(b))"), @r#"
    error: unknown transform `mnth`
     --> test.sql:1:54
      |
    1 | CREATE STREAMING TABLE b.t PARTITIONED BY (month(a), mnth(b))
      |                                                      ^^^^
      = help: did you mean month?
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (bucket(0, a))"), @r#"
    error: the number of buckets must be 1 or more
     --> test.sql:1:51
      |
    1 | CREATE STREAMING TABLE b.t PARTITIONED BY (bucket(0, a))
      |                                                   ^
      = help: and at most 2147483647
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (bucket(-4, a))"), @r#"
    error: the number of buckets must be 1 or more
     --> test.sql:1:51
      |
    1 | CREATE STREAMING TABLE b.t PARTITIONED BY (bucket(-4, a))
      |                                                   ^^
      = help: and at most 2147483647
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (bucket(a))"), @r#"
    error: bucket needs the number of buckets
     --> test.sql:1:44
      |
    1 | CREATE STREAMING TABLE b.t PARTITIONED BY (bucket(a))
      |                                            ^^^^^^^^^
      = help: write bucket(16, a)
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (truncate('x', a))"), @r#"
    error: expected a column, found `'x'`
     --> test.sql:1:53
      |
    1 | CREATE STREAMING TABLE b.t PARTITIONED BY (truncate('x', a))
      |                                                     ^^^
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t PARTITIONED BY (a, a)"), @r#"
    error: this partition field is given twice
     --> test.sql:1:47
      |
    1 | CREATE STREAMING TABLE b.t PARTITIONED BY (a, a)
      |                                               ^
    "#);
}

#[test]
fn an_unterminated_string_spares_the_statements_before_it() {
    assert_snapshot!(errors("CREATE FLOW f;\nCREATE STREAMING TABLE b.t COMMENT 'it is\n USING iceberg;"), @r#"
    error: expected AS, found the end of the statement
     --> test.sql:1:14
      |
    1 | CREATE FLOW f;
      |              ^

    error: this string is not closed
     --> test.sql:2:36
      |
    2 | CREATE STREAMING TABLE b.t COMMENT 'it is
      |                                    ^^^^^^
      = help: a string ends with the quote it starts with; a quote inside it is doubled
    "#);
}

#[test]
fn wide_characters_and_tabs_keep_the_underline_in_place() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t\n\tCOMMENT 'é 日本' BANANA 'x'"), @r#"
    error: unknown clause `BANANA`
     --> test.sql:2:17
      |
    2 |     COMMENT 'é 日本' BANANA 'x'
      |                      ^^^^^^
      = help: the clauses are USING, PARTITIONED BY, COMMENT, LOCATION, TBLPROPERTIES, AS
    "#);
}

#[test]
fn source_functions_check_their_arguments() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files('x', fromat => 'json', header => 3, format => 'xml', delimiter => ';;')"), @r#"
    error: read_files has no argument `fromat`
     --> test.sql:1:68
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files('x', fromat => 'json', header => 3, format => 'xml', delimiter => ';;')
      |                                                                    ^^^^^^
      = help: did you mean format?

    error: `header` must be true or false
     --> test.sql:1:96
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files('x', fromat => 'json', header => 3, format => 'xml', delimiter => ';;')
      |                                                                                                ^

    error: `format` must be one of json, ndjson, json_array, csv, parquet, arrow
     --> test.sql:1:109
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files('x', fromat => 'json', header => 3, format => 'xml', delimiter => ';;')
      |                                                                                                             ^^^^^

    error: `delimiter` must be a string of one character
     --> test.sql:1:129
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files('x', fromat => 'json', header => 3, format => 'xml', delimiter => ';;')
      |                                                                                                                                 ^^^^
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files(format => 'json')"), @r#"
    error: read_files needs a path
     --> test.sql:1:52
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files(format => 'json')
      |                                                    ^^^^^^^^^^
      = help: write read_files('…', …)
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM(read_flies('x'))"), @r#"
    error: unknown source function `read_flies`
     --> test.sql:1:52
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM(read_flies('x'))
      |                                                    ^^^^^^^^^^
      = help: did you mean read_files?
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_postgres(table => 'x')"), @r#"
    error: read_postgres is not supported in this version
     --> test.sql:1:52
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_postgres(table => 'x')
      |                                                    ^^^^^^^^^^^^^
      = help: this version has read_files and read_kafka
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_kafka(topic => 'x', schema => 'a INT')"), @r#"
    error: read_kafka needs a connection
     --> test.sql:1:52
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_kafka(topic => 'x', schema => 'a INT')
      |                                                    ^^^^^^^^^^
      = help: write read_kafka(connection => '…', …)
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_kafka(connection => 'm', topic => 'x', schema => 'a INT', starting => 'now')"), @r#"
    error: `starting` must be earliest, latest, or a time such as 2026-01-31T00:00:00Z
     --> test.sql:1:127
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_kafka(connection => 'm', topic => 'x', schema => 'a INT', starting => 'now')
      |                                                                                                                               ^^^^^
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files('x', schema => 'a INT, b STRNG')"), @r#"
    error: in this schema: unknown type `STRNG`
     --> test.sql:1:88
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREAM read_files('x', schema => 'a INT, b STRNG')
      |                                                                                        ^^^^^
      = help: did you mean STRING?
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t AS SELECT * FROM STREM(b.x)"), @r#"
    error: unknown source function `STREM`
     --> test.sql:1:45
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT * FROM STREM(b.x)
      |                                             ^^^^^
      = help: did you mean STREAM?
    "#);
}

#[test]
fn a_name_is_defined_once() {
    assert_snapshot!(after_raw("CREATE MATERIALIZED VIEW b.raw AS SELECT 1"), @r#"
    error: `b.raw` is defined twice
     --> test.sql:2:26
      |
    2 | CREATE MATERIALIZED VIEW b.raw AS SELECT 1
      |                          ^^^^^
      = help: it is first defined at test.sql:1
    "#);
}

#[test]
fn a_cycle_is_told_whole() {
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.a AS SELECT * FROM g.b;\nCREATE MATERIALIZED VIEW g.b AS SELECT * FROM v;\nCREATE TEMPORARY VIEW v AS SELECT * FROM g.a;\nCREATE MATERIALIZED VIEW g.d AS SELECT * FROM g.d;"), @r#"
    error: the pipeline is cyclic: `g.a` reads `g.b` reads `v` reads `g.a`
     --> test.sql:1:47
      |
    1 | CREATE MATERIALIZED VIEW g.a AS SELECT * FROM g.b;
      |                                               ^^^
      = help: read the other table through a table that does not depend on this one

    error: the pipeline is cyclic: `g.d` reads `g.d`
     --> test.sql:4:47
      |
    4 | CREATE MATERIALIZED VIEW g.d AS SELECT * FROM g.d;
      |                                               ^^^
      = help: read the other table through a table that does not depend on this one
    "#);
}

#[test]
fn flows_write_streaming_tables_that_exist() {
    assert_snapshot!(after_raw("CREATE FLOW f AS INSERT INTO b.rwa BY NAME SELECT * FROM STREAM(x.y)"), @r#"
    error: flow `f` writes the undefined table `b.rwa`
     --> test.sql:2:30
      |
    2 | CREATE FLOW f AS INSERT INTO b.rwa BY NAME SELECT * FROM STREAM(x.y)
      |                              ^^^^^
      = help: did you mean b.raw?
    "#);
    assert_snapshot!(after_raw("CREATE FLOW f AS INSERT INTO b.raw SELECT * FROM STREAM(x.y)"), @r#"
    error: expected BY NAME, found `SELECT`
     --> test.sql:2:36
      |
    2 | CREATE FLOW f AS INSERT INTO b.raw SELECT * FROM STREAM(x.y)
      |                                    ^^^^^^
      = help: columns are matched by name: INSERT INTO target BY NAME SELECT …
    "#);
    assert_snapshot!(after_raw("CREATE MATERIALIZED VIEW g.m AS SELECT 1;\nCREATE FLOW f AS INSERT INTO g.m BY NAME SELECT * FROM STREAM(x.y)"), @r#"
    error: a flow cannot write the materialized view `g.m`
     --> test.sql:3:30
      |
    3 | CREATE FLOW f AS INSERT INTO g.m BY NAME SELECT * FROM STREAM(x.y)
      |                              ^^^
      = help: flows write streaming tables
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t"), @r#"
    error: no flow writes the streaming table `s.t`
     --> test.sql:2:24
      |
    2 | CREATE STREAMING TABLE s.t
      |                        ^^^
      = help: add AS SELECT …, or CREATE FLOW name AS … INTO s.t
    "#);
}

#[test]
fn auto_cdc_needs_its_clauses() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) SEQUENCE BY u"), @r#"
    error: AUTO CDC needs KEYS
     --> test.sql:2:51
      |
    2 | CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) SEQUENCE BY u
      |                                                   ^^^^^^^^^^^^
      = help: name the columns that identify a row: KEYS (id)
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) KEYS ()"), @r#"
    error: at least one column must be named
     --> test.sql:2:88
      |
    2 | CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) KEYS ()
      |                                                                                        ^^
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS APPLY CHANGES INTO s.t FROM STREAM(b.raw) KEYS (a)"), @r#"
    error: AUTO CDC needs SEQUENCE BY
     --> test.sql:2:52
      |
    2 | CREATE STREAMING TABLE s.t; CREATE FLOW f AS APPLY CHANGES INTO s.t FROM STREAM(b.raw) KEYS (a)
      |                                                    ^^^^^^^^^^^^^^^^
      = help: name the column that tells which of two changes is the newer
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM b.raw KEYS (a) SEQUENCE BY u"), @r#"
    error: AUTO CDC reads its source as a stream
     --> test.sql:2:69
      |
    2 | CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM b.raw KEYS (a) SEQUENCE BY u
      |                                                                     ^^^^^
      = help: write FROM STREAM(…)
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) KEY (a) SEQUENCE BY u"), @r#"
    error: unknown clause `KEY` of AUTO CDC
     --> test.sql:2:83
      |
    2 | CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) KEY (a) SEQUENCE BY u
      |                                                                                   ^^^
      = help: did you mean KEYS?
    "#);
}

#[test]
fn what_is_not_executed_is_refused() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM(b.raw) KEYS (a)\n  IGNORE NULL UPDATES APPLY AS DELETE WHEN op = 'D' SEQUENCE BY STRUCT(u, v) COLUMNS * EXCEPT (op)\n  STORED AS SCD TYPE 2 TRACK HISTORY ON * EXCEPT (u)"), @r#"
    error: IGNORE NULL UPDATES is not supported in this version
     --> test.sql:3:3
      |
    3 |   IGNORE NULL UPDATES APPLY AS DELETE WHEN op = 'D' SEQUENCE BY STRUCT(u, v) COLUMNS * EXCEPT (op)
      |   ^^^^^^^^^^^^^^^^^^^

    error: APPLY AS DELETE WHEN is not supported in this version
     --> test.sql:3:44
      |
    3 |   IGNORE NULL UPDATES APPLY AS DELETE WHEN op = 'D' SEQUENCE BY STRUCT(u, v) COLUMNS * EXCEPT (op)
      |                                            ^^^^^^^^

    error: SEQUENCE BY an expression is not supported in this version
     --> test.sql:3:65
      |
    3 |   IGNORE NULL UPDATES APPLY AS DELETE WHEN op = 'D' SEQUENCE BY STRUCT(u, v) COLUMNS * EXCEPT (op)
      |                                                                 ^^^^^^^^^^^^
      = help: make it a column in a temporary view, and name the column here

    error: SCD TYPE 2 is not supported in this version
     --> test.sql:4:3
      |
    4 |   STORED AS SCD TYPE 2 TRACK HISTORY ON * EXCEPT (u)
      |   ^^^^^^^^^^^^^^^^^^^^
      = help: use SCD TYPE 1

    error: TRACK HISTORY ON is not supported in this version
     --> test.sql:4:24
      |
    4 |   STORED AS SCD TYPE 2 TRACK HISTORY ON * EXCEPT (u)
      |                        ^^^^^^^^^^^^^^^^
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t (CONSTRAINT c EXPECT (a > 0) ON VIOLATION QUARANTINE)"), @r#"
    error: ON VIOLATION QUARANTINE is not supported in this version
     --> test.sql:2:70
      |
    2 | CREATE STREAMING TABLE s.t (CONSTRAINT c EXPECT (a > 0) ON VIOLATION QUARANTINE)
      |                                                                      ^^^^^^^^^^
      = help: use DROP ROW or FAIL UPDATE
    "#);
}

#[test]
fn streams_need_append_only_tables() {
    assert_snapshot!(after_raw("CREATE MATERIALIZED VIEW g.m AS SELECT * FROM b.raw;\nCREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(g.m)"), @r#"
    error: `g.m` cannot be read as a stream: it is a materialized view, whose rows are replaced
     --> test.sql:3:45
      |
    3 | CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(g.m)
      |                                             ^^^^^^^^^^
      = help: a stream needs an append-only table: read it without STREAM
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t; CREATE FLOW f AS AUTO CDC INTO s.t FROM STREAM b.raw KEYS (a) SEQUENCE BY u;\nCREATE STREAMING TABLE s.u AS SELECT * FROM STREAM s.t"), @r#"
    error: `s.t` cannot be read as a stream: AUTO CDC replaces its rows
     --> test.sql:3:45
      |
    3 | CREATE STREAMING TABLE s.u AS SELECT * FROM STREAM s.t
      |                                             ^^^^^^^^^^
      = help: a stream needs an append-only table: read it without STREAM
    "#);
}

#[test]
fn stream_is_neither_missing_nor_misplaced() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM b.raw"), @r#"
    error: a streaming table needs a stream to read
     --> test.sql:2:45
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT * FROM b.raw
      |                                             ^^^^^
      = help: write STREAM(b.raw), or use a materialized view for a query over all rows
    "#);
    assert_snapshot!(after_raw("CREATE MATERIALIZED VIEW g.m AS SELECT * FROM STREAM(b.raw)"), @r#"
    error: a materialized view reads all rows, not a stream
     --> test.sql:2:47
      |
    2 | CREATE MATERIALIZED VIEW g.m AS SELECT * FROM STREAM(b.raw)
      |                                               ^^^^^^^^^^^^
      = help: leave STREAM out
    "#);
    assert_snapshot!(after_raw("CREATE TEMPORARY VIEW v AS SELECT * FROM STREAM(b.raw);\nCREATE MATERIALIZED VIEW g.m AS SELECT * FROM v"), @r#"
    error: view `v` reads a stream
     --> test.sql:3:47
      |
    3 | CREATE MATERIALIZED VIEW g.m AS SELECT * FROM v
      |                                               ^
      = help: write STREAM(v)
    "#);
    assert_snapshot!(after_raw("CREATE TEMPORARY VIEW v AS SELECT * FROM b.raw;\nCREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(v)"), @r#"
    error: view `v` reads no stream
     --> test.sql:3:45
      |
    3 | CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(v)
      |                                             ^^^^^^^^
      = help: write STREAM at a source inside the view, or leave it out here
    "#);
}

#[test]
fn unknown_tables_are_suggested() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(raw)"), @r#"
    error: unknown table or view `raw`
     --> test.sql:2:45
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(raw)
      |                                             ^^^^^^^^^^
      = help: did you mean b.raw?
    "#);
    assert_snapshot!(after_raw("CREATE MATERIALIZED VIEW s.t AS SELECT * FROM films"), @r#"
    error: unknown table or view `films`
     --> test.sql:2:47
      |
    2 | CREATE MATERIALIZED VIEW s.t AS SELECT * FROM films
      |                                               ^^^^^
      = help: tables outside the pipeline are named with their namespace
    "#);
}

#[test]
fn streaming_queries_do_not_depend_on_batches() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT DISTINCT a, count(*) FROM STREAM(b.raw)\n  GROUP BY a HAVING max(b) > 1 ORDER BY a LIMIT 3"), @r#"
    error: DISTINCT cannot be used on a stream: the result would depend on how the stream is cut into batches
     --> test.sql:2:38
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT DISTINCT a, count(*) FROM STREAM(b.raw)
      |                                      ^^^^^^^^
      = help: compute it in a materialized view that reads the streaming table

    error: the aggregate count cannot be used on a stream: the result would depend on how the stream is cut into batches
     --> test.sql:2:50
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT DISTINCT a, count(*) FROM STREAM(b.raw)
      |                                                  ^^^^^
      = help: compute it in a materialized view that reads the streaming table

    error: GROUP BY cannot be used on a stream: the result would depend on how the stream is cut into batches
     --> test.sql:3:3
      |
    3 |   GROUP BY a HAVING max(b) > 1 ORDER BY a LIMIT 3
      |   ^^^^^^^^^^
      = help: compute it in a materialized view that reads the streaming table

    error: the aggregate max cannot be used on a stream: the result would depend on how the stream is cut into batches
     --> test.sql:3:21
      |
    3 |   GROUP BY a HAVING max(b) > 1 ORDER BY a LIMIT 3
      |                     ^^^
      = help: compute it in a materialized view that reads the streaming table

    error: ORDER BY cannot be used on a stream: the result would depend on how the stream is cut into batches
     --> test.sql:3:32
      |
    3 |   GROUP BY a HAVING max(b) > 1 ORDER BY a LIMIT 3
      |                                ^^^^^^^^^^
      = help: compute it in a materialized view that reads the streaming table

    error: LIMIT cannot be used on a stream: the result would depend on how the stream is cut into batches
     --> test.sql:3:43
      |
    3 |   GROUP BY a HAVING max(b) > 1 ORDER BY a LIMIT 3
      |                                           ^^^^^
      = help: compute it in a materialized view that reads the streaming table
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT row_number() OVER (ORDER BY a) FROM STREAM(b.raw)"), @r#"
    error: the window function row_number cannot be used on a stream: the result would depend on how the stream is cut into batches
     --> test.sql:2:38
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT row_number() OVER (ORDER BY a) FROM STREAM(b.raw)
      |                                      ^^^^^^^^^^
      = help: compute it in a materialized view that reads the streaming table
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM (SELECT a, sum(b) FROM STREAM(b.raw) GROUP BY a) AS x"), @r#"
    error: the aggregate sum cannot be used on a stream: the result would depend on how the stream is cut into batches
     --> test.sql:2:56
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT * FROM (SELECT a, sum(b) FROM STREAM(b.raw) GROUP BY a) AS x
      |                                                        ^^^
      = help: compute it in a materialized view that reads the streaming table

    error: GROUP BY cannot be used on a stream: the result would depend on how the stream is cut into batches
     --> test.sql:2:82
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT * FROM (SELECT a, sum(b) FROM STREAM(b.raw) GROUP BY a) AS x
      |                                                                                  ^^^^^^^^^^
      = help: compute it in a materialized view that reads the streaming table
    "#);
}

#[test]
fn one_stream_is_read_and_its_side_is_kept() {
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(b.raw) AS x JOIN STREAM(b.raw) AS y ON x.a = y.a"), @r#"
    error: more than one stream in a query is not supported in this version
     --> test.sql:2:69
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(b.raw) AS x JOIN STREAM(b.raw) AS y ON x.a = y.a
      |                                                                     ^^^^^^^^^^^^
      = help: read the other one without STREAM, or write one flow for each
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM x.y LEFT JOIN STREAM(b.raw) AS z ON y.a = z.a"), @r#"
    error: this join also emits rows of the other side, and would do so again with every batch of the stream
     --> test.sql:2:59
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT * FROM x.y LEFT JOIN STREAM(b.raw) AS z ON y.a = z.a
      |                                                           ^^^^^^^^^^^^^^^^^^
      = help: put the stream on the side that an outer join keeps, or join inner
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(b.raw) UNION ALL SELECT * FROM x.y"), @r#"
    error: UNION of a stream with something else: the rows of the other branch would come again with every batch
     --> test.sql:2:59
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT * FROM STREAM(b.raw) UNION ALL SELECT * FROM x.y
      |                                                           ^^^^^
      = help: write one flow for each branch
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS SELECT * FROM x.y WHERE a IN (SELECT a FROM STREAM(b.raw))"), @r#"
    error: a stream cannot be read here: the result would depend on how the stream is cut into batches
     --> test.sql:2:75
      |
    2 | CREATE STREAMING TABLE s.t AS SELECT * FROM x.y WHERE a IN (SELECT a FROM STREAM(b.raw))
      |                                                                           ^^^^^^^^^^^^
      = help: a stream stands in FROM of the query itself, or of a subquery or a common table expression that is named there
    "#);
    assert_snapshot!(after_raw("CREATE STREAMING TABLE s.t AS WITH c AS (SELECT * FROM STREAM(b.raw)) SELECT * FROM c JOIN c AS d ON c.a = d.a"), @r#"
    error: a stream that is read more than once is not supported in this version
     --> test.sql:2:56
      |
    2 | CREATE STREAMING TABLE s.t AS WITH c AS (SELECT * FROM STREAM(b.raw)) SELECT * FROM c JOIN c AS d ON c.a = d.a
      |                                                        ^^^^^^^^^^^^
      = help: the common table expression around it may be named once in FROM
    "#);
}

#[test]
fn types_and_columns_are_checked() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a INTT)"), @r#"
    error: unknown type `INTT`
     --> test.sql:1:31
      |
    1 | CREATE STREAMING TABLE b.t (a INTT)
      |                               ^^^^
      = help: did you mean INT?
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a DECIMAL(40, 2))"), @r#"
    error: this decimal has no such precision and scale
     --> test.sql:1:31
      |
    1 | CREATE STREAMING TABLE b.t (a DECIMAL(40, 2))
      |                               ^^^^^^^^^^^^^^
      = help: a decimal has 1 to 38 digits, and no more after the point than in all
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a INT, A STRING)"), @r#"
    error: column `a` is declared twice
     --> test.sql:1:36
      |
    1 | CREATE STREAMING TABLE b.t (a INT, A STRING)
      |                                    ^^^^^^^^
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a ARRAY<INT>>)"), @r#"
    error: this `>` closes no type
     --> test.sql:1:40
      |
    1 | CREATE STREAMING TABLE b.t (a ARRAY<INT>>)
      |                                        ^^
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a MAP<INT>)"), @r#"
    error: expected `,`, found `>`
     --> test.sql:1:38
      |
    1 | CREATE STREAMING TABLE b.t (a MAP<INT>)
      |                                      ^
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (a INT) PARTITIONED BY (b)"), @r#"
    error: no flow writes the streaming table `b.t`
     --> test.sql:1:24
      |
    1 | CREATE STREAMING TABLE b.t (a INT) PARTITIONED BY (b)
      |                        ^^^
      = help: add AS SELECT …, or CREATE FLOW name AS … INTO b.t

    error: `b.t` declares no column `b`
     --> test.sql:1:52
      |
    1 | CREATE STREAMING TABLE b.t (a INT) PARTITIONED BY (b)
      |                                                    ^
    "#);
}

#[test]
fn constraints_are_checked() {
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (CONSTRAINT c EXPCT (a > 0))"), @r#"
    error: expected EXPECT, found `EXPCT`
     --> test.sql:1:42
      |
    1 | CREATE STREAMING TABLE b.t (CONSTRAINT c EXPCT (a > 0))
      |                                          ^^^^^
      = help: did you mean EXPECT?
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (count(a) > 0))"), @r#"
    error: the aggregate count cannot stand here: the expression is computed from one row
     --> test.sql:1:50
      |
    1 | CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (count(a) > 0))
      |                                                  ^^^^^
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (a IN (SELECT 1)))"), @r#"
    error: a subquery cannot stand here: the expression is computed from one row
     --> test.sql:1:56
      |
    1 | CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (a IN (SELECT 1)))
      |                                                        ^^^^^^^^
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (a >) )"), @r#"
    error: this expression cannot be read: expected an expression, found its end
     --> test.sql:1:53
      |
    1 | CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (a >) )
      |                                                     ^
    "#);
    assert_snapshot!(errors("CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (a) ON VIOLATION DROP)"), @r#"
    error: expected DROP ROW or FAIL UPDATE, found `DROP`
     --> test.sql:1:66
      |
    1 | CREATE STREAMING TABLE b.t (CONSTRAINT c EXPECT (a) ON VIOLATION DROP)
      |                                                                  ^^^^
      = help: without ON VIOLATION the rows are counted and kept
    "#);
}

#[test]
fn names_have_the_right_parts() {
    assert_snapshot!(errors("CREATE STREAMING TABLE t"), @r#"
    error: this streaming table needs a namespace
     --> test.sql:1:24
      |
    1 | CREATE STREAMING TABLE t
      |                        ^
      = help: write for instance bronze.t
    "#);
    assert_snapshot!(errors("CREATE TEMPORARY VIEW a.v AS SELECT 1"), @r#"
    error: a temporary view has no namespace
     --> test.sql:1:23
      |
    1 | CREATE TEMPORARY VIEW a.v AS SELECT 1
      |                       ^^^
      = help: it is known inside the pipeline only: call it v
    "#);
}

#[test]
fn queries_that_cannot_be_read_point_at_the_word() {
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT a FROM x.y WHERE"), @r#"
    error: this query cannot be read: expected an expression, found its end
     --> test.sql:1:56
      |
    1 | CREATE MATERIALIZED VIEW g.m AS SELECT a FROM x.y WHERE
      |                                                        ^
    "#);
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT a b c FROM x.y"), @r#"
    error: unexpected `c` in this query
     --> test.sql:1:44
      |
    1 | CREATE MATERIALIZED VIEW g.m AS SELECT a b c FROM x.y
      |                                            ^
    "#);
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT (a FROM x.y"), @r#"
    error: this query cannot be read: expected ), found FROM
     --> test.sql:1:43
      |
    1 | CREATE MATERIALIZED VIEW g.m AS SELECT (a FROM x.y
      |                                           ^^^^
    "#);
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT a FROM x.y PARTITIONED BY (a)"), @r#"
    error: PARTITIONED BY must stand before AS
     --> test.sql:1:51
      |
    1 | CREATE MATERIALIZED VIEW g.m AS SELECT a FROM x.y PARTITIONED BY (a)
      |                                                   ^^^^^^^^^^^
      = help: the query is the last part of the statement
    "#);
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT a FROM STREAM WHERE a"), @r#"
    error: STREAM needs a table or a source function
     --> test.sql:1:47
      |
    1 | CREATE MATERIALIZED VIEW g.m AS SELECT a FROM STREAM WHERE a
      |                                               ^^^^^^
      = help: write STREAM(name), or `stream` in backticks for a table of that name
    "#);
    assert_snapshot!(errors("CREATE MATERIALIZED VIEW g.m AS SELECT * FROM x.y VERSION AS OF 3"), @r#"
    error: reading an older version in a pipeline is not supported in this version
     --> test.sql:1:47
      |
    1 | CREATE MATERIALIZED VIEW g.m AS SELECT * FROM x.y VERSION AS OF 3
      |                                               ^^^
    "#);
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
    assert_snapshot!(diagnostics.to_string(), @r#"
    error: this variable is not written as ${name}
     --> b.sql:1:38
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT ${m + 1 FROM STREAM read_files('${date}/x');
      |                                      ^^^
      = help: write $${ for the characters ${ themselves

    error: unknown variable `date`
     --> b.sql:1:70
      |
    1 | CREATE STREAMING TABLE b.t AS SELECT ${m + 1 FROM STREAM read_files('${date}/x');
      |                                                                      ^^^^^^^
      = help: did you mean data? known variables: data, n
    "#);
}

#[test]
fn each_statement_with_a_mistake_is_told() {
    let sql =
        "CREATE STREAMING TABLE b.t BANANA;\nCREATE FLOW f AS NOTHING;\nCREATE VIEW v AS SELECT 1;";
    let diagnostics = pipeline(sql).unwrap_err();
    let lines: Vec<usize> = diagnostics.iter().map(Diagnostic::line).collect();
    assert_eq!(lines, [1, 2, 3]);
}
