//! Ways in which a scan could give wrong rows without a word. Each was seen to happen with the plain
//! Parquet source.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use berglake_format::snapshot::{CommitNotes, RowDelta};
use berglake_format::write::WrittenFile;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Literal, NestedField, PrimitiveType, Struct,
    StructType, Type,
};
use parquet::arrow::ArrowWriter;

use crate::support::Lake;

/// 300 rows, in row groups of 100, of which the first 10 and the last 10 are deleted.
async fn with_deletes(version: u8) -> Lake {
    let lake = Lake::new().await;
    lake.run(&format!(
        "CREATE TABLE t (id BIGINT, s STRING) TBLPROPERTIES (
           'format-version' = '{version}',
           'write.parquet.row-group-size-bytes' = '1000')"
    ))
    .await;
    lake.run(
        "INSERT INTO t SELECT value, concat('v', lpad(CAST(value AS STRING), 3, '0'))
         FROM generate_series(0, 299)",
    )
    .await;
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

/// Deletes by the value of `id`, as streaming engines write them.
async fn delete_by_equality(lake: &Lake, ids: &[Option<i64>]) {
    let table = lake.table("t").await;
    let field = Field::new("id", DataType::Int64, true).with_metadata(HashMap::from([(
        "PARQUET:field_id".to_string(),
        "1".to_string(),
    )]));
    let schema = Arc::new(ArrowSchema::new(vec![field]));
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![Arc::new(Int64Array::from(ids.to_vec()))],
    )
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let name = format!("eq-{}.parquet", table.environment().ids().uuid());
    let location = table.data_location().unwrap().join(&name);
    let size = bytes.len() as u64;
    table
        .storage()
        .write(&location, bytes.into())
        .await
        .unwrap();
    let file = DataFileBuilder::default()
        .content(DataContentType::EqualityDeletes)
        .file_path(location.to_string())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(ids.len() as u64)
        .file_size_in_bytes(size)
        .equality_ids(Some(vec![1]))
        .build()
        .unwrap();
    let delta = RowDelta {
        base: table.metadata().current_snapshot_id(),
        data_files: Vec::new(),
        delete_files: vec![WrittenFile { file, spec_id: 0 }],
        notes: CommitNotes::default(),
    };
    lake.commit(&table, delta).await;
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
    delete_by_equality(&lake, &[Some(1), Some(2), None]).await;
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
