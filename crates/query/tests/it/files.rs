//! Data files that others wrote, that lack columns, or that are damaged.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use berglake_format::ErrorKind;
use berglake_format::read::{ReadOptions, read};
use berglake_format::snapshot::{Append, CommitNotes};
use berglake_format::storage::Location;
use berglake_format::write::WrittenFile;
use futures::TryStreamExt;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Literal, NestedField, PrimitiveType, Struct,
    StructType, Type,
};
use parquet::arrow::ArrowWriter;

use crate::support::{Lake, rows};

fn long(id: i32, name: &str) -> NestedField {
    NestedField::optional(id, name, Type::Primitive(PrimitiveType::Long))
}

/// Adds a file with the columns `names`, each 1, 2, 3, to a table, as an engine that does not know of
/// the table would have written it: without field ids, unless they are given.
async fn add_file(lake: &Lake, names: &[(&str, Option<i32>)], partition: Struct) {
    let table = lake.table("t").await;
    let name = format!("{}.parquet", table.environment().ids().uuid());
    let location = table.data_location().unwrap().join(&name);
    add_file_at(lake, &location, names, [1, 2, 3], partition).await;
}

/// As [`add_file`], in a place and with values of one's own. Gives the size.
async fn add_file_at(
    lake: &Lake,
    location: &Location,
    names: &[(&str, Option<i32>)],
    values: [i64; 3],
    partition: Struct,
) -> u64 {
    let table = lake.table("t").await;
    let fields: Vec<Field> = names
        .iter()
        .map(|(name, id)| {
            let id = id.map(|id| ("PARQUET:field_id".to_string(), id.to_string()));
            Field::new(*name, DataType::Int64, true).with_metadata(HashMap::from_iter(id))
        })
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = names
        .iter()
        .map(|_| Arc::new(Int64Array::from(values.to_vec())) as _)
        .collect();
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let size = bytes.len() as u64;
    table.storage().write(location, bytes.into()).await.unwrap();
    let spec_id = table.metadata().default_partition_spec_id();
    let file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(location.to_string())
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(spec_id)
        .record_count(3)
        .file_size_in_bytes(size)
        .build()
        .unwrap();
    let append = Append {
        files: vec![WrittenFile { file, spec_id }],
        notes: CommitNotes::default(),
    };
    lake.commit(&table, append).await;
    size
}

/// What the reader of the table format gives.
async fn read_directly(lake: &Lake) -> berglake_format::Result<Vec<String>> {
    let plan = lake.table("t").await.scan().plan().await?;
    let batches: Vec<RecordBatch> = read(&plan, ReadOptions::default()).try_collect().await?;
    Ok(rows(&batches))
}

#[tokio::test]
async fn a_file_without_ids_is_read_by_name_mapping_and_refused_without() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (a BIGINT, b BIGINT)").await;
    add_file(&lake, &[("a", None), ("b", None)], Struct::empty()).await;
    for query in [
        "SELECT * FROM t",
        "SELECT a FROM t WHERE b = 1",
        "SELECT a FROM t WHERE b IS NULL",
        "SELECT max(b) FROM t",
    ] {
        let error = lake.try_sql(query).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{query}: {error}");
        let text = error.to_string();
        assert!(text.contains("no field ids"), "{query}: {text}");
        assert!(text.contains(".parquet"), "{query}: {text}");
    }
    assert_eq!(
        read_directly(&lake).await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );

    let lake = Lake::new().await;
    lake.run(
        r#"CREATE TABLE t (a BIGINT, b BIGINT) TBLPROPERTIES ('schema.name-mapping.default' =
             '[{"field-id": 1, "names": ["x"]}, {"field-id": 2, "names": ["b", "y"]}]')"#,
    )
    .await;
    add_file(
        &lake,
        &[("y", None), ("x", None), ("a", None)],
        Struct::empty(),
    )
    .await;
    assert_eq!(
        lake.rows("SELECT b, a FROM t WHERE a > 1").await,
        ["2|2", "3|3"]
    );
    assert_eq!(read_directly(&lake).await.unwrap(), ["1|1", "2|2", "3|3"]);
}

#[tokio::test]
async fn an_identity_column_that_a_file_lacks_is_the_partitions_value_in_its_type_now() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (p INT, a BIGINT) PARTITIONED BY (p)")
        .await;
    for value in [Some(Literal::int(5)), None] {
        add_file(&lake, &[("a", Some(2))], Struct::from_iter([value])).await;
    }
    let expected = ["5|1", "5|2", "5|3", "NULL|1", "NULL|2", "NULL|3"];
    let query = "SELECT * FROM t ORDER BY p NULLS LAST, a";
    assert_eq!(lake.rows(query).await, expected);
    // In SQL as for the reader of the format, after the type was widened, too.
    lake.set_columns("t", vec![long(1, "p"), long(2, "a")])
        .await;
    assert_eq!(lake.rows(query).await, expected);
    assert_eq!(lake.rows("SELECT sum(a) FROM t WHERE p = 5").await, ["6"]);
    assert_eq!(
        lake.rows("SELECT sum(a) FROM t WHERE p IS NULL").await,
        ["6"]
    );
    let mut direct = read_directly(&lake).await.unwrap();
    direct.sort();
    assert_eq!(direct, expected);
}

#[tokio::test]
async fn a_nested_field_that_a_file_lacks_has_its_default() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (a BIGINT, s STRUCT<x: BIGINT>) TBLPROPERTIES ('format-version' = '3');
         INSERT INTO t VALUES (1, named_struct('x', 10)), (2, NULL)",
    )
    .await;
    let fields = [
        long(3, "x"),
        long(4, "y").with_initial_default(Literal::long(7)),
        long(5, "z"),
    ];
    let pair = StructType::new(fields.into_iter().map(Arc::new).collect());
    let pair = NestedField::optional(2, "s", Type::Struct(pair));
    lake.set_columns("t", vec![long(1, "a"), pair]).await;
    assert_eq!(
        lake.rows("SELECT a, s['x'], s['y'], s['z'] FROM t ORDER BY a")
            .await,
        ["1|10|7|NULL", "2|NULL|NULL|NULL"]
    );
    assert_eq!(lake.rows("SELECT a FROM t WHERE s['y'] = 7").await, ["1"]);
    assert_eq!(
        read_directly(&lake).await.unwrap(),
        ["1|{x: 10, y: 7, z: NULL}", "2|NULL"]
    );
}

#[tokio::test]
async fn a_required_column_that_a_file_lacks_is_an_error_that_names_both() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (a BIGINT, b BIGINT NOT NULL)")
        .await;
    add_file(&lake, &[("a", Some(1))], Struct::empty()).await;
    for query in ["SELECT * FROM t", "SELECT a FROM t WHERE b > 0"] {
        let error = lake.try_sql(query).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{query}: {error}");
        let text = error.to_string();
        assert!(text.contains("column: b"), "{query}: {text}");
        assert!(text.contains(".parquet"), "{query}: {text}");
    }
    // What does not need the column is answered.
    assert_eq!(lake.rows("SELECT sum(a) FROM t").await, ["6"]);
}

/// A table may lie in several buckets, and footers are cached by path. Two files of one path and one size
/// differ in nothing but their stores.
#[tokio::test]
async fn files_of_one_path_in_two_stores_are_told_apart() {
    for version in [2, 3] {
        let lake = Lake::new().await;
        lake.run(&format!(
            "CREATE TABLE t (a BIGINT) TBLPROPERTIES ('format-version' = '{version}')"
        ))
        .await;
        let folder = lake.table("t").await.data_location().unwrap();
        let here = folder.join("same.parquet");
        let there = here.to_string().replacen("file://", "memory://", 1);
        let there = Location::parse(&there).unwrap();
        assert_eq!(here.object_path().unwrap(), there.object_path().unwrap());
        let columns = [("a", Some(1))];
        let none = Struct::empty();
        let one = add_file_at(&lake, &here, &columns, [1, 2, 3], none.clone()).await;
        let other = add_file_at(&lake, &there, &columns, [101, 102, 103], none).await;
        assert_eq!(one, other, "files of different sizes are easily told apart");
        let ordered = "SELECT a FROM t ORDER BY a";
        assert_eq!(
            lake.rows(ordered).await,
            ["1", "2", "3", "101", "102", "103"]
        );
        // Row groups are skipped by the bounds in footers.
        for _ in 0..2 {
            assert_eq!(
                lake.rows("SELECT sum(a) FROM t WHERE a > 50").await,
                ["306"]
            );
            assert_eq!(lake.rows("SELECT sum(a) FROM t WHERE a < 50").await, ["6"]);
        }
        lake.delete("t", &[&[0], &[2]]).await;
        assert_eq!(lake.rows(ordered).await, ["2", "3", "101", "102"]);
        assert_eq!(lake.rows("SELECT count(*) FROM t").await, ["4"]);
        assert_eq!(read_directly(&lake).await.unwrap().len(), 4);
    }
}

#[tokio::test]
async fn a_file_that_is_damaged_or_gone_is_named() {
    let lake = Lake::new().await;
    lake.run(
        "CREATE TABLE t (id BIGINT, s STRING);
         INSERT INTO t SELECT value, concat('v', value) FROM generate_series(1, 5000)",
    )
    .await;
    let table = lake.table("t").await;
    let plan = table.scan().plan().await.unwrap();
    let path = plan.tasks[0].file.file_path();
    let location = Location::parse(path).unwrap();
    let storage = table.storage();
    let mut bytes = storage.read(&location).await.unwrap().to_vec();
    // The first pages; the footer stays as it was.
    bytes[4..2_000].fill(0xff);
    storage.write(&location, bytes.into()).await.unwrap();
    let failure = async || {
        let error = lake.try_sql("SELECT sum(id), max(s) FROM t").await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
        assert!(error.to_string().contains("default.t"), "{error}");
        error.kind()
    };
    assert_eq!(failure().await, ErrorKind::Corrupt);
    storage.delete(&location).await.unwrap();
    assert_eq!(failure().await, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_file_that_is_not_parquet_is_refused_and_not_taken_for_a_damaged_one() {
    for format in [DataFileFormat::Orc, DataFileFormat::Avro] {
        let lake = Lake::new().await;
        lake.run("CREATE TABLE t (id BIGINT)").await;
        let table = lake.table("t").await;
        let name = format!("x.{format}");
        let location = table.data_location().unwrap().join(&name);
        let storage = table.storage();
        storage.write(&location, "ORC".into()).await.unwrap();
        let spec_id = table.metadata().default_partition_spec_id();
        let file = DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(location.to_string())
            .file_format(format)
            .partition(Struct::empty())
            .partition_spec_id(spec_id)
            .record_count(1)
            .file_size_in_bytes(3)
            .build()
            .unwrap();
        let append = Append {
            files: vec![WrittenFile { file, spec_id }],
            notes: CommitNotes::default(),
        };
        lake.commit(&table, append).await;
        let error = lake.try_sql("SELECT id FROM t").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&format!("files of the format {format} are not read")),
            "{text}"
        );
        assert!(text.contains(&name) && text.contains("default.t"), "{text}");
    }
}
