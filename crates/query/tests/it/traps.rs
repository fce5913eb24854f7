//! Ways in which a scan could give wrong rows without a word. Each was seen to happen with the plain
//! Parquet source.

use std::sync::Arc;

use berglake_format::storage::Location;
use berglake_query::EngineOptions;
use iceberg::spec::{Literal, NestedField, PrimitiveType, StructType, Type};
use parquet::file::metadata::ParquetMetaDataReader;

use crate::support::{Lake, rows};

/// 300 rows, in row groups of 100, of which the first 10 and the last 10 are deleted.
async fn with_deletes(version: u8) -> Lake {
    let lake = Lake::new().await;
    lake.run(&format!(
        "CREATE TABLE t (id BIGINT, s STRING) TBLPROPERTIES ('format-version' = '{version}')"
    ))
    .await;
    let rows = "SELECT value, concat('v', lpad(CAST(value AS STRING), 3, '0'))
         FROM generate_series(0, 299)";
    lake.add_in_groups("t", rows, 100).await;
    let deleted: Vec<u64> = (0..10).chain(290..300).collect();
    lake.delete("t", &[&deleted]).await;
    lake
}

#[tokio::test]
async fn no_query_shape_brings_deleted_rows_back() {
    for version in [2, 3] {
        let lake = with_deletes(version).await;
        for pushdown in [false, true] {
            lake.run(&format!(
                "SET datafusion.execution.parquet.pushdown_filters = {pushdown};
                 SET datafusion.optimizer.repartition_file_min_size = 100"
            ))
            .await;
            let cases = [
                ("SELECT count(*), min(id), max(id) FROM t", "280|10|289"),
                ("SELECT count(*) FROM t", "280"),
                ("SELECT count(id) FROM t WHERE id >= 0", "280"),
                ("SELECT count(*) FROM (SELECT id FROM t LIMIT 95)", "95"),
                (
                    "SELECT count(*) FROM (SELECT id FROM t WHERE id >= 0 LIMIT 95)",
                    "95",
                ),
                (
                    "SELECT min(id) FROM (SELECT id FROM t WHERE id < 15 LIMIT 3)",
                    "10",
                ),
                (
                    "SELECT count(*) FROM (SELECT id FROM t WHERE id < 15 LIMIT 9)",
                    "5",
                ),
                (
                    "SELECT count(*) FROM (SELECT id FROM t WHERE s < 'v012' LIMIT 9)",
                    "2",
                ),
                (
                    "SELECT count(*) FROM t WHERE id IN (SELECT id + 1 FROM t WHERE id < 20)",
                    "10",
                ),
                (
                    "SELECT count(*) FROM t a JOIN t b ON a.id = b.id WHERE b.id < 12",
                    "2",
                ),
            ];
            for (sql, expected) in cases {
                assert_eq!(
                    lake.rows(sql).await,
                    [expected],
                    "v{version} {pushdown} {sql}"
                );
            }
            assert_eq!(
                lake.rows("SELECT id FROM t ORDER BY id DESC LIMIT 3").await,
                ["289", "288", "287"]
            );
            assert_eq!(
                lake.rows("SELECT id FROM t WHERE s >= 'v0' ORDER BY id LIMIT 3")
                    .await,
                ["10", "11", "12"]
            );
            let limited = lake.rows("SELECT id FROM t LIMIT 3").await;
            assert!(
                limited
                    .iter()
                    .all(|id| (10..290).contains(&id.parse::<i64>().unwrap()))
            );
        }
    }
}

#[tokio::test]
async fn a_group_whose_rows_are_all_deleted_is_skipped() {
    let lake = with_deletes(2).await;
    let all: Vec<u64> = (0..300).collect();
    lake.delete("t", &[&all]).await;
    assert_eq!(
        lake.rows("SELECT count(*), max(id) FROM t").await,
        ["0|NULL"]
    );
    assert!(lake.rows("SELECT * FROM t LIMIT 5").await.is_empty());
}

#[tokio::test]
async fn a_column_with_one_value_is_no_literal_after_deletes() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (a INT, b INT);
         INSERT INTO t VALUES (1, 1), (1, NULL), (NULL, 2)",
    )
    .await;
    lake.delete("t", &[&[2]]).await;
    assert_eq!(
        lake.rows("SELECT min(a), max(a), min(b), max(b), count(b) FROM t")
            .await,
        ["1|1|1|1|1"]
    );
    assert_eq!(
        lake.rows("SELECT a, b FROM t ORDER BY b NULLS LAST").await,
        ["1|1", "1|NULL"]
    );
    lake.delete("t", &[&[0, 1]]).await;
    assert_eq!(
        lake.rows("SELECT min(a), count(*) FROM t").await,
        ["NULL|0"]
    );
}

#[tokio::test]
async fn the_least_and_the_greatest_value_are_those_of_live_rows() {
    for version in [2, 3] {
        let lake = Lake::new().await;
        lake.run(&format!(
            "CREATE TABLE t (a INT, s STRING) TBLPROPERTIES ('format-version' = '{version}');
             INSERT INTO t VALUES (1, 'a'), (5, 'm'), (7, 'n'), (9, 'z')"
        ))
        .await;
        lake.delete("t", &[&[0, 3]]).await;
        // Alone and beside a count: each is answered without a scan where it seems to be known.
        for (sql, expected) in [
            ("SELECT min(a) FROM t", "5"),
            ("SELECT max(a) FROM t", "7"),
            ("SELECT min(s), max(s) FROM t", "m|n"),
            ("SELECT min(a), max(a), count(*) FROM t", "5|7|2"),
        ] {
            assert_eq!(lake.rows(sql).await, [expected], "v{version} {sql}");
        }
    }
}

#[tokio::test]
async fn a_file_whose_null_rows_are_deleted_is_not_taken_for_all_null() {
    for version in [2, 3] {
        let lake = Lake::new().await;
        lake.run(&format!(
            "CREATE TABLE t (a INT) TBLPROPERTIES ('format-version' = '{version}');
             INSERT INTO t VALUES (1), (NULL), (2), (NULL)"
        ))
        .await;
        lake.delete("t", &[&[1, 3]]).await;
        assert_eq!(lake.rows("SELECT count(*) FROM t WHERE a > 0").await, ["2"]);
        assert_eq!(lake.rows("SELECT a FROM t ORDER BY a LIMIT 1").await, ["1"]);
        assert_eq!(lake.rows("SELECT count(a), count(*) FROM t").await, ["2|2"]);
    }
}

fn long(id: i32, name: &str) -> NestedField {
    NestedField::optional(id, name, Type::Primitive(PrimitiveType::Long))
}

fn pair(id: i32, fields: Vec<NestedField>) -> NestedField {
    let fields = fields.into_iter().map(Arc::new).collect();
    NestedField::optional(id, "s", Type::Struct(StructType::new(fields)))
}

#[tokio::test]
async fn columns_whose_names_were_swapped_keep_their_values() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (a BIGINT, b BIGINT, s STRUCT<x: BIGINT, y: BIGINT>);
         INSERT INTO t VALUES (1, 2, named_struct('x', 10, 'y', 20)), (3, 4, NULL)",
    )
    .await;
    lake.set_columns(
        "t",
        vec![
            long(1, "b"),
            long(2, "a"),
            pair(3, vec![long(4, "y"), long(5, "x"), long(6, "z")]),
        ],
    )
    .await;
    for pushdown in [false, true] {
        lake.run(&format!(
            "SET datafusion.execution.parquet.pushdown_filters = {pushdown}"
        ))
        .await;
        assert_eq!(
            lake.rows("SELECT a, b FROM t ORDER BY a").await,
            ["2|1", "4|3"]
        );
        assert_eq!(lake.rows("SELECT a FROM t WHERE b = 1").await, ["2"]);
        assert_eq!(
            lake.rows("SELECT s['x'], s['y'], s['z'] FROM t WHERE s['y'] = 10")
                .await,
            ["20|10|NULL"]
        );
        assert!(
            lake.rows("SELECT a FROM t WHERE s['x'] = 10")
                .await
                .is_empty()
        );
        assert_eq!(
            lake.rows("SELECT count(*) FROM t WHERE s IS NULL").await,
            ["1"]
        );
    }
    assert_eq!(
        lake.rows("SELECT a, s['x'] FROM t VERSION AS OF main ORDER BY 1")
            .await,
        ["2|20", "4|NULL"]
    );
}

#[tokio::test]
async fn a_column_that_files_lack_is_filtered_as_null_or_as_its_default() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (a BIGINT) TBLPROPERTIES ('format-version' = '3');
         INSERT INTO t VALUES (1), (2)",
    )
    .await;
    let default = long(3, "c").with_initial_default(Literal::long(7));
    lake.set_columns("t", vec![long(1, "a"), long(2, "b"), default])
        .await;
    lake.run("INSERT INTO t VALUES (3, 30, 300)").await;
    for pushdown in [false, true] {
        lake.run(&format!(
            "SET datafusion.execution.parquet.pushdown_filters = {pushdown}"
        ))
        .await;
        let cases = [
            ("SELECT a FROM t WHERE b < 50", "3"),
            ("SELECT count(*) FROM t WHERE b IS NULL", "2"),
            ("SELECT a FROM t WHERE b IS NOT NULL", "3"),
            ("SELECT sum(a) FROM t WHERE c = 7", "3"),
            ("SELECT sum(a) FROM t WHERE c < 100", "3"),
            ("SELECT sum(a) FROM t WHERE c IS NOT NULL", "6"),
            ("SELECT sum(c) FROM t", "314"),
            ("SELECT max(c) FROM t WHERE b IS NULL", "7"),
        ];
        for (sql, expected) in cases {
            assert_eq!(lake.rows(sql).await, [expected], "{pushdown} {sql}");
        }
    }
}

#[tokio::test]
async fn names_with_escapes_are_found() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT, name STRING) PARTITIONED BY (name);
         INSERT INTO t VALUES (1, 'a b%20c'), (2, 'ü/ö?'), (3, NULL), (4, '')",
    )
    .await;
    lake.delete("t", &[&[], &[], &[], &[]]).await;
    assert_eq!(lake.rows("SELECT count(*), sum(id) FROM t").await, ["4|10"]);
    assert_eq!(
        lake.rows("SELECT id FROM t WHERE name = 'a b%20c'").await,
        ["1"]
    );
    assert_eq!(
        lake.rows("SELECT id FROM t WHERE name IS NULL").await,
        ["3"]
    );
}

#[tokio::test]
async fn nan_is_greater_than_every_number_and_never_pruned() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT, f DOUBLE);
         INSERT INTO t VALUES (1, 1.0), (2, CAST('NaN' AS DOUBLE));
         INSERT INTO t VALUES (3, 2.0), (4, NULL)",
    )
    .await;
    assert_eq!(lake.rows("SELECT id FROM t WHERE f > 5").await, ["2"]);
    assert_eq!(
        lake.rows("SELECT id FROM t WHERE NOT (f <= 5)").await,
        ["2"]
    );
    assert_eq!(
        lake.rows("SELECT id FROM t WHERE f BETWEEN 1.5 AND 3")
            .await,
        ["3"]
    );
    assert_eq!(
        lake.rows("SELECT count(*) FROM t WHERE f <> 1").await,
        ["2"]
    );
    assert_eq!(
        lake.rows("SELECT max(id) FROM t WHERE f NOT BETWEEN 0 AND 3")
            .await,
        ["2"]
    );
}

#[tokio::test]
async fn zeros_of_both_signs_are_compared_in_one_order_and_never_pruned() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT, d DOUBLE);
         INSERT INTO t VALUES (1, -0e0);
         INSERT INTO t VALUES (2, 0e0)",
    )
    .await;
    for (condition, expected) in [
        ("d < 0e0", "1"),
        ("d = 0e0", "2"),
        ("d = -0e0", "1"),
        ("d > -0e0", "2"),
        ("d <> 0e0", "1"),
        ("d >= 0e0", "2"),
        ("d <= -0e0", "1"),
        ("d IN (0e0, 5e0)", "2"),
    ] {
        let filtered = format!("SELECT id FROM t WHERE {condition}");
        assert_eq!(lake.rows(&filtered).await, [expected], "{condition}");
        let shown = format!("SELECT id FROM (SELECT id, {condition} AS c FROM t) WHERE c");
        assert_eq!(lake.rows(&shown).await, [expected], "{condition}");
    }
    assert_eq!(
        lake.rows("SELECT count(*) FROM t WHERE abs(d) = 0e0").await,
        ["2"]
    );
}

/// With one part, so that files are read one after the other and the first has its say on the next.
#[tokio::test]
async fn the_first_rows_in_an_order_are_right_where_a_later_file_holds_nan() {
    let lake = Lake::with(EngineOptions {
        partitions: Some(1),
        ..EngineOptions::default()
    })
    .await;
    lake.run(
        "CREATE TABLE t (id INT, f DOUBLE);
         INSERT INTO t VALUES (1, 2e0), (5, 5e-1);
         INSERT INTO t VALUES (2, 1e0), (3, CAST('NaN' AS DOUBLE));
         INSERT INTO t VALUES (4, NULL)",
    )
    .await;
    for pushdown in [false, true] {
        lake.run(&format!(
            "SET datafusion.execution.parquet.pushdown_filters = {pushdown}"
        ))
        .await;
        let cases = [
            ("ORDER BY f DESC NULLS LAST LIMIT 1", vec!["3"]),
            ("ORDER BY f DESC NULLS LAST LIMIT 2", vec!["3", "1"]),
            ("ORDER BY f ASC NULLS LAST LIMIT 1", vec!["5"]),
            ("ORDER BY f ASC NULLS FIRST LIMIT 2", vec!["4", "5"]),
            ("WHERE f >= (SELECT max(f) FROM t) LIMIT 3", vec!["3"]),
        ];
        for (rest, expected) in cases {
            let sql = format!("SELECT id FROM t {rest}");
            assert_eq!(lake.rows(&sql).await, expected, "{pushdown} {sql}");
        }
    }
}

/// Bounds that meet say that all values are equal only where nothing lies outside of them: NaN and NULL do,
/// and zeros of both signs are one bound.
#[tokio::test]
async fn a_column_whose_bounds_meet_is_no_constant() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id INT, f DOUBLE, n INT, z DOUBLE);
         INSERT INTO t VALUES (1, 1e0, 7, 0e0), (2, CAST('NaN' AS DOUBLE), 7, -0e0), (3, 1e0, NULL, 0e0)",
    )
    .await;
    assert_eq!(
        lake.rows("SELECT id, f, n, z FROM t ORDER BY id").await,
        ["1|1.0|7|0.0", "2|NaN|7|-0.0", "3|1.0|NULL|0.0"]
    );
    for (sql, expected) in [
        (
            "SELECT count(*), count(n), max(f), min(n) FROM t",
            "3|2|NaN|7",
        ),
        ("SELECT sum(id) FROM t WHERE f = 1e0", "4"),
        ("SELECT sum(id) FROM t WHERE n = 7", "3"),
        ("SELECT sum(id) FROM t WHERE n IS NULL", "3"),
        ("SELECT sum(id) FROM t WHERE z = 0e0", "4"),
    ] {
        assert_eq!(lake.rows(sql).await, [expected], "{sql}");
    }
}

/// As SQL writes it, byte by byte.
fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("X'{digits}'")
}

/// Each value in a file of its own, so that a bound which is wrong loses its row.
#[tokio::test]
async fn long_texts_and_bytes_are_found_behind_cut_bounds() {
    let letters = "abcdefghijklmnopqrstuvwxyz";
    let texts: Vec<String> = [
        String::new(),
        letters[..16].to_string(),
        letters[..17].to_string(),
        // Longer than what Parquet's own statistics hold.
        letters.repeat(4),
        "äö".repeat(12),
        format!("{}\u{D7FF}ü", "a".repeat(15)),
        // There is no greater text of the length of a bound.
        "\u{10FFFF}".repeat(20),
    ]
    .into();
    let blobs: Vec<Vec<u8>> = vec![
        Vec::new(),
        letters.as_bytes()[..16].to_vec(),
        letters.as_bytes()[..17].to_vec(),
        letters.repeat(4).into_bytes(),
        // No UTF-8, cut or not.
        [0xc3, 0x28].repeat(12),
        [vec![0x61; 15], vec![0xff; 9]].concat(),
        vec![0xff; 70],
    ];
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (id INT, s STRING, b BINARY)")
        .await;
    for (id, (text, blob)) in texts.iter().zip(&blobs).enumerate() {
        let blob = hex(blob);
        lake.run(&format!("INSERT INTO t VALUES ({id}, '{text}', {blob})"))
            .await;
    }
    let ids = |holds: &dyn Fn(usize) -> bool| -> Vec<String> {
        let found = (0..texts.len()).filter(|id| holds(*id));
        found.map(|id| id.to_string()).collect()
    };
    let select = async |condition: String| {
        let sql = format!("SELECT id FROM t WHERE {condition} ORDER BY id");
        lake.rows(&sql).await
    };
    for (text, blob) in texts.iter().zip(&blobs) {
        // The value itself, and one directly behind it.
        for (text, blob) in [
            (text.clone(), blob.clone()),
            (format!("{text}!"), [blob.as_slice(), &[0]].concat()),
        ] {
            let shown = hex(&blob);
            assert_eq!(
                select(format!("s = '{text}'")).await,
                ids(&|id| texts[id] == text),
                "{text}"
            );
            assert_eq!(
                select(format!("s >= '{text}'")).await,
                ids(&|id| texts[id] >= text),
                "{text}"
            );
            assert_eq!(
                select(format!("s < '{text}'")).await,
                ids(&|id| texts[id] < text),
                "{text}"
            );
            assert_eq!(
                select(format!("b = {shown}")).await,
                ids(&|id| blobs[id] == blob),
                "{shown}"
            );
            assert_eq!(
                select(format!("b > {shown}")).await,
                ids(&|id| blobs[id] > blob),
                "{shown}"
            );
            assert_eq!(
                select(format!("b <= {shown}")).await,
                ids(&|id| blobs[id] <= blob),
                "{shown}"
            );
        }
    }
    for prefix in [&letters[..16], &letters[..17], "äöäö"] {
        assert_eq!(
            select(format!("s LIKE '{prefix}%'")).await,
            ids(&|id| texts[id].starts_with(prefix)),
            "{prefix}"
        );
    }
    // A cut bound is no value of the column.
    let greatest = texts.iter().max().unwrap();
    assert_eq!(lake.rows("SELECT max(s) FROM t").await, [greatest.as_str()]);
    assert_eq!(
        lake.rows("SELECT max(s), min(s) FROM t WHERE s > ''").await,
        [format!("{greatest}|{}{}", "a".repeat(15), "\u{D7FF}ü")]
    );
}

/// Two row groups of ten pages each. A filter leaves out pages by the index in the footer, and deletes leave
/// out rows; what is read is what both leave.
#[tokio::test]
async fn pages_that_a_filter_leaves_out_take_their_deletes_with_them() {
    for version in [2, 3] {
        let lake = Lake::new().await;
        lake.run(&format!(
            "CREATE TABLE t (id BIGINT, s STRING) TBLPROPERTIES ('format-version' = '{version}')"
        ))
        .await;
        let rows = "SELECT value, concat('v', lpad(CAST(value AS STRING), 3, '0'))
             FROM generate_series(0, 199)";
        lake.add_in_pages("t", rows, 100, 10).await;
        // A whole page, every second row of another, the ends of the groups, single rows.
        let deleted: Vec<u64> = (30..40)
            .chain((50..60).step_by(2))
            .chain([0, 99, 100, 145, 146, 199])
            .collect();
        lake.delete("t", &[&deleted]).await;
        for pushdown in [false, true] {
            lake.run(&format!(
                "SET datafusion.execution.parquet.pushdown_filters = {pushdown}"
            ))
            .await;
            for (from, to) in [
                (25, 45),
                (30, 39),
                (33, 33),
                (41, 41),
                (50, 59),
                (95, 105),
                (145, 152),
                (0, 199),
            ] {
                let live: Vec<String> = (from..=to)
                    .filter(|id| !deleted.contains(id))
                    .map(|id| id.to_string())
                    .collect();
                for filter in [
                    format!("id BETWEEN {from} AND {to}"),
                    format!("s >= 'v{from:03}' AND s <= 'v{to:03}'"),
                ] {
                    let what = format!("v{version} {pushdown} {filter}");
                    let all = format!("SELECT id FROM t WHERE {filter} ORDER BY id");
                    assert_eq!(lake.rows(&all).await, live, "{what}");
                    let count = format!("SELECT count(*) FROM t WHERE {filter}");
                    assert_eq!(lake.rows(&count).await, [live.len().to_string()], "{what}");
                    let some = format!("SELECT id FROM t WHERE {filter} LIMIT 7");
                    let some = lake.rows(&some).await;
                    assert_eq!(some.len(), live.len().min(7), "{what}");
                    assert!(some.iter().all(|id| live.contains(id)), "{what}: {some:?}");
                }
            }
            // There are pages to leave out, and they are left out.
            let analyzed = lake
                .rows("EXPLAIN ANALYZE SELECT id FROM t WHERE id BETWEEN 41 AND 43")
                .await
                .join("\n");
            let (_, pruned) = analyzed.split_once("page_index_rows_pruned=").unwrap();
            assert!(!pruned.starts_with("0 "), "{analyzed}");
        }
    }
}

/// Whether the bloom filters are there that the next test is about.
async fn has_bloom_filters(lake: &Lake, columns: usize) -> bool {
    let table = lake.table("t").await;
    let plan = table.scan().plan().await.unwrap();
    let path = Location::parse(plan.tasks[0].file.file_path()).unwrap();
    let bytes = table.storage().read(&path).await.unwrap();
    let mut reader = ParquetMetaDataReader::new();
    reader.try_parse(&bytes).unwrap();
    let footer = reader.finish().unwrap();
    let group = footer.row_group(0).columns();
    group.len() == columns && group.iter().all(|c| c.bloom_filter_offset().is_some())
}

/// A bloom filter knows the bytes of the file: of the column as it was called and typed when it was
/// written.
#[tokio::test]
async fn bloom_filters_lose_no_row_of_any_type_nor_after_columns_changed() {
    let lake = Lake::new().await;
    let columns = [
        ("a", "BIGINT", "value * 2"),
        ("b", "BIGINT", "value * 2 + 1"),
        ("n", "INT", "CAST(value * 2 AS INT)"),
        ("f", "FLOAT", "CAST(value AS FLOAT) / CAST(2 AS FLOAT)"),
        ("d5", "DECIMAL(5, 2)", "CAST(value AS DECIMAL(5, 2))"),
        ("d15", "DECIMAL(15, 2)", "CAST(value AS DECIMAL(15, 2))"),
        ("d30", "DECIMAL(30, 2)", "CAST(value AS DECIMAL(30, 2))"),
        ("s", "STRING", "concat('s', value)"),
        ("x", "BINARY", "arrow_cast(concat('x', value), 'Binary')"),
        ("day", "DATE", "date_add(DATE '2020-01-01', value)"),
    ];
    let defined: Vec<_> = columns.map(|(name, ty, _)| format!("{name} {ty}")).into();
    let enabled: Vec<_> = columns
        .map(|(name, _, _)| format!("'write.parquet.bloom-filter-enabled.column.{name}' = 'true'"))
        .into();
    let values: Vec<_> = columns
        .map(|(name, _, value)| format!("{value} AS {name}"))
        .into();
    lake.run(&format!(
        "CREATE TABLE t ({}) TBLPROPERTIES ({});
         INSERT INTO t SELECT {} FROM generate_series(0, 499)",
        defined.join(", "),
        enabled.join(", "),
        values.join(", ")
    ))
    .await;
    assert!(has_bloom_filters(&lake, columns.len()).await);
    let of_types = [
        ("a = 500", "1"),
        ("a = 501", "0"),
        ("n = 250", "1"),
        ("n IN (1, 250, 252)", "2"),
        ("f = 1.5e0", "1"),
        ("d5 = 7", "1"),
        ("d5 = 7.5", "0"),
        ("d15 = 7.00", "1"),
        ("d30 = 7.00", "1"),
        ("d30 = 7.50", "0"),
        ("d30 IN (7.5, 8, 9)", "2"),
        ("d30 = (SELECT max(d30) FROM t)", "1"),
        ("s = 's77'", "1"),
        ("x = X'783737'", "1"),
        ("day = DATE '2020-01-31'", "1"),
    ];
    let after_changes = [
        ("a = 501", "1"),
        ("a = 500", "0"),
        ("b = 500", "1"),
        ("n = 250", "1"),
        ("n IN (1, 250, 9000000000)", "1"),
        ("f = 1.5e0", "1"),
        ("d5 = 7", "1"),
        ("d15 = 7.00", "1"),
        ("d30 = 7.00", "1"),
    ];
    let count = async |conditions: &[(&str, &str)]| {
        for pushdown in [false, true] {
            lake.run(&format!(
                "SET datafusion.execution.parquet.pushdown_filters = {pushdown}"
            ))
            .await;
            for (condition, expected) in conditions {
                let sql = format!("SELECT count(*) FROM t WHERE {condition}");
                assert_eq!(lake.rows(&sql).await, [*expected], "{pushdown} {condition}");
            }
        }
    };
    count(&of_types).await;
    lake.run(
        "ALTER TABLE t RENAME COLUMN a TO old;
         ALTER TABLE t RENAME COLUMN b TO a;
         ALTER TABLE t RENAME COLUMN old TO b;
         ALTER TABLE t ALTER COLUMN n TYPE BIGINT;
         ALTER TABLE t ALTER COLUMN f TYPE DOUBLE;
         ALTER TABLE t ALTER COLUMN d5 TYPE DECIMAL(12, 2);
         ALTER TABLE t ALTER COLUMN d15 TYPE DECIMAL(25, 2);
         ALTER TABLE t ALTER COLUMN d30 TYPE DECIMAL(38, 2)",
    )
    .await;
    count(&after_changes).await;
}

#[tokio::test]
async fn rows_of_files_with_escapes_in_their_names_are_deleted() {
    for version in [2, 3] {
        let lake = Lake::new().await;
        lake.run(&format!(
            "CREATE TABLE t (id INT, name STRING) PARTITIONED BY (name)
             TBLPROPERTIES ('format-version' = '{version}');
             INSERT INTO t VALUES (1, 'a b'), (2, 'a%20b'), (3, 'a+b'), (4, 'a%2520b'), (5, 'ü/ö?%')
             , (11, 'a b'), (12, 'a%20b'), (13, 'a+b'), (14, 'a%2520b'), (15, 'ü/ö?%')"
        ))
        .await;
        let first: &[u64] = &[0];
        lake.delete("t", &[first; 5]).await;
        assert_eq!(lake.rows("SELECT count(*) FROM t").await, ["5"]);
        assert_eq!(
            lake.rows("SELECT id FROM t ORDER BY id").await,
            ["11", "12", "13", "14", "15"]
        );
        for (id, name) in [(11, "a b"), (12, "a%20b"), (13, "a+b"), (14, "a%2520b")] {
            let sql = format!("SELECT id FROM t WHERE name = '{name}' LIMIT 2");
            assert_eq!(lake.rows(&sql).await, [id.to_string()], "v{version} {name}");
        }
    }
}

#[tokio::test]
async fn equality_deletes_are_applied_in_every_query_shape() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id BIGINT, s STRING);
         INSERT INTO t SELECT value, concat('v', value) FROM generate_series(0, 99);
         INSERT INTO t VALUES (NULL, 'none')",
    )
    .await;
    lake.delete_by_equality("t", &[Some(1), Some(2), None])
        .await;
    lake.run("INSERT INTO t VALUES (1, 'again')").await;
    for pushdown in [false, true] {
        lake.run(&format!(
            "SET datafusion.execution.parquet.pushdown_filters = {pushdown};
             SET datafusion.optimizer.repartition_file_min_size = 10"
        ))
        .await;
        let cases = [
            ("SELECT count(*) FROM t", "99"),
            (
                "SELECT count(*), min(id), max(s) FROM t WHERE s LIKE 'v%'",
                "98|0|v99",
            ),
            ("SELECT s FROM t WHERE id = 1", "again"),
            (
                "SELECT count(*) FROM (SELECT s FROM t WHERE id < 5 LIMIT 50)",
                "4",
            ),
            ("SELECT count(*) FROM t WHERE id IS NULL", "0"),
            (
                "SELECT upper(s) FROM t WHERE id > 2 ORDER BY id LIMIT 1",
                "V3",
            ),
        ];
        for (sql, expected) in cases {
            assert_eq!(lake.rows(sql).await, [expected], "{pushdown} {sql}");
        }
    }
}

/// The parser knows clauses of many engines, and the planner of DataFusion looks at some of them. Whatever
/// would change the rows is done or refused.
#[tokio::test]
async fn a_clause_that_is_parsed_is_carried_out_or_refused() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id BIGINT, k INT) PARTITIONED BY (k);
         INSERT INTO t SELECT value, CAST(value % 2 AS INT) FROM generate_series(1, 10)",
    )
    .await;
    let mut ignored = Vec::new();
    for (sql, expected) in [
        ("SELECT count(*) FROM t PREWHERE id < 4", "3"),
        ("SELECT count(*) FROM t PREWHERE id < 4 WHERE id > 1", "2"),
        (
            "SELECT count(*) FROM (SELECT id FROM t ORDER BY id FETCH FIRST 2 ROWS ONLY)",
            "2",
        ),
        ("SELECT count(*) FROM (SELECT TOP 2 id FROM t)", "2"),
        (
            "SELECT count(*) FROM (SELECT id, k FROM t ORDER BY id LIMIT 1 BY k)",
            "2",
        ),
        (
            "SELECT count(*) FROM (SELECT id FROM t QUALIFY row_number() OVER (ORDER BY id) <= 2)",
            "2",
        ),
        (
            "SELECT count(*) FROM (SELECT k, count(*) FROM t GROUP BY ROLLUP (k))",
            "3",
        ),
        (
            "SELECT count(*) FROM t, LATERAL VIEW explode(make_array(1, 2)) AS e",
            "20",
        ),
        ("SELECT count(*) FROM (FROM t |> WHERE id < 4)", "3"),
        ("SELECT count(*) FROM t TABLESAMPLE BERNOULLI (0)", "0"),
        ("SELECT count(*) FROM t TABLESAMPLE (0 PERCENT)", "0"),
        ("SELECT count(*) FROM t TABLESAMPLE (3 ROWS)", "3"),
        (
            "SELECT count(*) FROM (SELECT * FROM t) s TABLESAMPLE (3 ROWS)",
            "3",
        ),
        ("SELECT count(*) FROM t PARTITION (p0)", "-"),
        (
            "SELECT count(*) FROM (SELECT id FROM t START WITH id = 1 CONNECT BY id = PRIOR id + 20)",
            "1",
        ),
        (
            "SELECT count(*) FROM (SELECT k, count(*) FROM t GROUP BY k WITH ROLLUP)",
            "3",
        ),
        ("SELECT count(*) FROM t WITH ORDINALITY", "-"),
        ("SELECT count(*) FROM t FOR UPDATE", "-"),
        ("SELECT count(*) FROM (SELECT * FROM t FOR UPDATE) s", "-"),
        ("SELECT (SELECT count(*) FROM t TABLESAMPLE (3 ROWS))", "3"),
        ("SELECT id INTO u FROM t", "-"),
        ("SELECT * EXCLUDE (k), id FROM t WHERE id = 1", "1|1"),
        ("SELECT sum(DISTINCT k) FROM t", "1"),
        ("SELECT count(*) FILTER (WHERE k = 1) FROM t", "5"),
        (
            "SELECT array_to_string(array_agg(id ORDER BY id DESC LIMIT 2), ',') FROM t",
            "10,9",
        ),
        ("SELECT count(id) IGNORE NULLS FROM t", "10"),
    ] {
        if let Ok(batches) = lake.try_sql(sql).await {
            let found = rows(&batches);
            if found != [expected] {
                ignored.push(format!("{sql} gave {found:?}"));
            }
        }
    }
    assert!(ignored.is_empty(), "{ignored:#?}");
    assert!(
        lake.error("SELECT * FROM u").await.contains("no table"),
        "SELECT INTO made a table that nobody else sees"
    );
}
