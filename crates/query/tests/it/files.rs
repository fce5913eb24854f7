//! Data files that others wrote, that lack columns, or that are damaged.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StructArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use berglake_format::ErrorKind;
use berglake_format::read::{ReadOptions, read};
use berglake_format::schema::to_arrow;
use berglake_format::snapshot::{Append, CommitNotes};
use berglake_format::storage::Location;
use berglake_format::write::WrittenFile;
use futures::TryStreamExt;
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Literal, NestedField, PrimitiveType, Struct,
    StructType, Type,
};
use parquet::arrow::ArrowWriter;
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType as Physical, FixedLenByteArray, FixedLenByteArrayType,
    Int32Type, Int64Type, Int96, Int96Type,
};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

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

/// A value in one of Parquet's physical types.
enum Cell {
    Int32(i32),
    Int64(i64),
    Int96(Int96),
    Bytes(Vec<u8>),
    Fixed(Vec<u8>),
}

fn put<T: Physical>(column: &mut SerializedColumnWriter<'_>, value: T::T) {
    let column = column.typed::<T>();
    let level = column.get_descriptor().max_def_level();
    column.write_batch(&[value], Some(&[level]), None).unwrap();
}

impl Cell {
    /// The whole of a column of one row, which is of this physical type.
    fn write(self, column: &mut SerializedColumnWriter<'_>) {
        match self {
            Self::Int32(value) => put::<Int32Type>(column, value),
            Self::Int64(value) => put::<Int64Type>(column, value),
            Self::Int96(value) => put::<Int96Type>(column, value),
            Self::Bytes(value) => put::<ByteArrayType>(column, ByteArray::from(value)),
            Self::Fixed(value) => {
                put::<FixedLenByteArrayType>(column, FixedLenByteArray::from(value));
            }
        }
    }
}

/// An instant as Spark and Hive have written it for years: the nanoseconds of the day and the Julian day.
fn int96(millis: i64) -> Cell {
    const DAY: i64 = 86_400_000;
    let nanos = millis.rem_euclid(DAY) as u64 * 1_000_000;
    let day = millis.div_euclid(DAY) + 2_440_588;
    let mut value = Int96::new();
    value.set_data(nanos as u32, (nanos >> 32) as u32, day as u32);
    Cell::Int96(value)
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

/// Names inside of lists are the writer's; a mapping calls them `element`.
#[tokio::test]
async fn nested_columns_of_a_file_without_ids_are_read_by_name_mapping() {
    let lake = Lake::new().await;
    lake.run(
        r#"CREATE TABLE t (id BIGINT, l ARRAY<STRUCT<a: BIGINT, b: BIGINT>>)
           TBLPROPERTIES ('schema.name-mapping.default' =
             '[{"field-id": 1, "names": ["id"]}, {"field-id": 2, "names": ["l"], "fields": [
                {"field-id": 3, "names": ["element"], "fields": [
                   {"field-id": 4, "names": ["a"]}, {"field-id": 5, "names": ["b", "old"]}]}]}]')"#,
    )
    .await;
    for item in ["item", "array", "element"] {
        // The fields stand in another order, and one has an older name.
        let field = |name: &str| Field::new(name, DataType::Int64, true);
        let pair = Fields::from(vec![field("old"), field("a")]);
        let long = |value| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
        let pairs = StructArray::new(pair.clone(), vec![long(20), long(10)], None);
        let list = ListArray::new(
            Arc::new(Field::new(item, DataType::Struct(pair), true)),
            OffsetBuffer::from_lengths([1]),
            Arc::new(pairs),
            None,
        );
        let columns = [("id", long(1)), ("l", Arc::new(list) as ArrayRef)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        lake.add_bytes("t", bytes, 1).await;
    }
    for query in [
        "SELECT l[1]['a'], l[1]['b'] FROM t",
        "SELECT l[1]['a'], l[1]['b'] FROM t WHERE l[1]['b'] = 20",
        "SELECT l[1]['a'], l[1]['b'] FROM t WHERE id = 1 LIMIT 3",
    ] {
        assert_eq!(lake.rows(query).await, ["10|20"; 3], "{query}");
    }
    assert_eq!(
        read_directly(&lake).await.unwrap(),
        ["1|[{a: 10, b: 20}]"; 3]
    );
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

/// A file of these rows, each in a row group of its own, so that filters have bounds to choose by.
fn in_forms(message: &str, rows: Vec<Vec<Cell>>) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(message).unwrap());
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(Default::default())).unwrap();
    for row in rows {
        let mut group = writer.next_row_group().unwrap();
        let mut cells = row.into_iter();
        while let Some(mut column) = group.next_column().unwrap() {
            cells.next().unwrap().write(&mut column);
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

/// A type of Iceberg's has several forms in Parquet, by age and taste of the writer. Each file has the same
/// two rows as our own.
#[tokio::test]
async fn values_are_the_same_in_every_form_that_a_type_has_in_parquet() {
    // 1969-12-31 23:59:59.999 and 2024-02-29 12:30:00.123, and times of these days.
    let instants: [i64; 2] = [-1, 1_709_209_800_123];
    let times = [86_399_999_i32, 45_000_123];
    let decimals = [-1_234_i32, 5];
    let texts = ["Ä", "b"];
    let numbers = [-7_i32, 100];
    let row = |row: usize, decimal: Cell, at: Cell, local: Cell, time: Cell| {
        let text = Cell::Bytes(texts[row].into());
        vec![decimal, at, local, time, text, Cell::Int32(numbers[row])]
    };
    let big_endian = |value: i32| i64::from(value).to_be_bytes()[3..].to_vec();
    let both = |make: &dyn Fn(usize) -> Vec<Cell>| vec![make(0), make(1)];
    let files = [
        // Spark with its old settings, which leave texts unnamed as Impala does.
        (
            "message spark_schema {
               optional fixed_len_byte_array(5) d (DECIMAL(9, 2)) = 1;
               optional int96 at = 2;
               optional int96 local = 3;
               optional int64 time (TIME_MICROS) = 4;
               optional binary s = 5;
               optional int32 n (INT_16) = 6;
             }",
            both(&|i| {
                let time = Cell::Int64(i64::from(times[i]) * 1_000);
                let decimal = Cell::Fixed(big_endian(decimals[i]));
                row(i, decimal, int96(instants[i]), int96(instants[i]), time)
            }),
        ),
        // What is written from values in milliseconds.
        (
            "message m {
               optional int32 d (DECIMAL(9, 2)) = 1;
               optional int64 at (TIMESTAMP_MILLIS) = 2;
               optional int64 local (TIMESTAMP(MILLIS, false)) = 3;
               optional int32 time (TIME_MILLIS) = 4;
               optional binary s (UTF8) = 5;
               optional int32 n (INT_8) = 6;
             }",
            both(&|i| {
                let at = || Cell::Int64(instants[i]);
                row(
                    i,
                    Cell::Int32(decimals[i]),
                    at(),
                    at(),
                    Cell::Int32(times[i]),
                )
            }),
        ),
        // In nanoseconds, and a decimal in more bytes than it needs.
        (
            "message m {
               optional int64 d (DECIMAL(9, 2)) = 1;
               optional int64 at (TIMESTAMP(NANOS, true)) = 2;
               optional int64 local (TIMESTAMP(NANOS, false)) = 3;
               optional int64 time (TIME(NANOS, true)) = 4;
               optional binary s (ENUM) = 5;
               optional int32 n = 6;
             }",
            both(&|i| {
                let at = || Cell::Int64(instants[i] * 1_000_000);
                let time = Cell::Int64(i64::from(times[i]) * 1_000_000);
                row(i, Cell::Int64(i64::from(decimals[i])), at(), at(), time)
            }),
        ),
        // A decimal in as few bytes as each value needs.
        (
            "message m {
               optional binary d (DECIMAL(9, 2)) = 1;
               optional int64 at (TIMESTAMP_MICROS) = 2;
               optional int64 local (TIMESTAMP(MICROS, false)) = 3;
               optional int64 time (TIME(MICROS, false)) = 4;
               optional binary s (STRING) = 5;
               optional int32 n (INTEGER(32, true)) = 6;
             }",
            both(&|i| {
                let at = || Cell::Int64(instants[i] * 1_000);
                let time = Cell::Int64(i64::from(times[i]) * 1_000);
                let decimal = (decimals[i] as i16).to_be_bytes();
                let decimal = if i == 0 { &decimal[..] } else { &decimal[1..] };
                row(i, Cell::Bytes(decimal.to_vec()), at(), at(), time)
            }),
        ),
    ];
    let columns = "d DECIMAL(9, 2), at TIMESTAMP, local TIMESTAMP_NTZ, time TIME, s STRING, n INT";
    let own = Lake::new().await;
    own.run(&format!(
        "CREATE TABLE t ({columns});
         INSERT INTO t VALUES
           (-12.34, TIMESTAMP '1969-12-31 23:59:59.999', TIMESTAMP '1969-12-31 23:59:59.999',
            TIME '23:59:59.999', 'Ä', -7),
           (0.05, TIMESTAMP '2024-02-29 12:30:00.123', TIMESTAMP '2024-02-29 12:30:00.123',
            TIME '12:30:00.123', 'b', 100)"
    ))
    .await;
    let all = own.rows("SELECT * FROM t ORDER BY n").await;
    assert_eq!(all.len(), 2);
    for (message, rows) in files {
        let lake = Lake::new().await;
        lake.run(&format!("CREATE TABLE t ({columns})")).await;
        lake.add_bytes("t", in_forms(message, rows), 2).await;
        assert_eq!(read_directly(&lake).await.unwrap(), all, "{message}");
        for pushdown in [false, true] {
            lake.run(&format!(
                "SET datafusion.execution.parquet.pushdown_filters = {pushdown}"
            ))
            .await;
            assert_eq!(
                lake.rows("SELECT * FROM t ORDER BY n").await,
                all,
                "{message}"
            );
            for (filter, found) in [
                ("d = -12.34", 0),
                ("d > 0", 1),
                ("d IN (0.05, 7)", 1),
                ("at < TIMESTAMP '1970-01-01 00:00:00'", 0),
                ("at = TIMESTAMP '2024-02-29 12:30:00.123'", 1),
                ("local = TIMESTAMP '1969-12-31 23:59:59.999'", 0),
                ("local >= TIMESTAMP '2024-02-29 12:30:00.123'", 1),
                ("time = TIME '12:30:00.123'", 1),
                ("time > TIME '12:30:00.123'", 0),
                ("s = 'Ä'", 0),
                ("s < 'c'", 1),
                ("s LIKE 'b%'", 1),
                ("n = -7", 0),
                ("n > 99", 1),
            ] {
                let sql = format!("SELECT * FROM t WHERE {filter}");
                assert_eq!(
                    lake.rows(&sql).await,
                    [all[found].clone()],
                    "{sql} {message}"
                );
            }
            assert_eq!(
                lake.rows("SELECT min(d), max(d), min(n), max(s), count(at) FROM t")
                    .await,
                ["-12.34|0.05|-7|Ä|2"],
                "{message}"
            );
        }
    }
}

/// Arrow counts a timestamp of 96 bits in nanoseconds unless it is told otherwise, which reach from 1677 to
/// 2262; people write 0001-01-01 and 9999-12-31 for "always".
#[tokio::test]
async fn timestamps_of_96_bits_reach_as_far_as_those_of_the_table() {
    let far = [-62_135_596_800_000, 253_402_214_400_000];
    let days = ["0001-01-01T00:00:00", "9999-12-31T00:00:00"];
    let message = "message spark_schema {
       optional int32 n = 1;
       optional int96 at = 2;
       optional int32 last = 3;
     }";
    let rows = far.iter().zip(1..);
    let rows = rows.map(|(at, n)| vec![Cell::Int32(n), int96(*at), Cell::Int32(n)]);
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (n INT, at TIMESTAMP_NTZ, last INT)")
        .await;
    lake.add_bytes("t", in_forms(message, rows.collect()), 2)
        .await;
    let expected = [format!("1|{}|1", days[0]), format!("2|{}|2", days[1])];
    assert_eq!(read_directly(&lake).await.unwrap(), expected);
    assert_eq!(lake.rows("SELECT * FROM t ORDER BY n").await, expected);
    for filter in [
        "at > arrow_cast('2500-01-01', 'Timestamp(Microsecond, None)')",
        "last = 2",
    ] {
        let sql = format!("SELECT n FROM t WHERE {filter}");
        assert_eq!(lake.rows(&sql).await, ["2"], "{sql}");
    }
    // Row numbers stand behind the columns of the file for the reader.
    lake.delete("t", &[&[0]]).await;
    assert_eq!(read_directly(&lake).await.unwrap(), expected[1..]);
    assert_eq!(lake.rows("SELECT * FROM t").await, expected[1..]);

    let message = "message spark_schema {
       optional int32 n = 1;
       optional group s = 2 { optional int32 m = 3; optional int96 at = 4; }
     }";
    let near = 1_709_209_800_123;
    let file = |at: i64| {
        let row = vec![Cell::Int32(1), Cell::Int32(7), int96(at)];
        in_forms(message, vec![row])
    };
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (n INT, s STRUCT<m: INT, at: TIMESTAMP_NTZ>)")
        .await;
    lake.add_bytes("t", file(near), 1).await;
    let shown = "1|{m: 7, at: 2024-02-29T12:30:00.123}";
    assert_eq!(lake.rows("SELECT * FROM t").await, [shown]);
    lake.add_bytes("t", file(far[1]), 1).await;
    let expected = [shown.to_string(), format!("1|{{m: 7, at: {}}}", days[1])];
    assert_eq!(read_directly(&lake).await.unwrap(), expected);
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

/// The decoder would make room for thousands of them.
#[tokio::test]
async fn a_fixed_length_that_is_absurd_is_refused() {
    let lake = Lake::new().await;
    lake.run("CREATE TABLE t (u UUID)").await;
    let length = 1 << 20;
    let schema = to_arrow(lake.table("t").await.schema()).unwrap();
    let column = schema.field(0).clone();
    let column = column.with_data_type(DataType::FixedSizeBinary(length));
    let values = new_null_array(column.data_type(), 1);
    let schema = Arc::new(Schema::new(vec![column]));
    let batch = RecordBatch::try_new(schema.clone(), vec![values]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    lake.add_bytes("t", bytes, 1).await;
    let error = lake.try_sql("SELECT * FROM t").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let text = error.to_string();
    assert!(
        text.contains("too great") && text.contains("1048576"),
        "{text}"
    );
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
