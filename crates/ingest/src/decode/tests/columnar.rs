use arrow::array::{
    BinaryArray, BinaryBuilder, Decimal128Array, DictionaryArray, Float64Array, Int32Array,
    Int64Builder, ListArray, MapBuilder, StringArray, StructArray, TimestampNanosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Parquet,
    File,
    Stream,
}

const KINDS: [Kind; 3] = [Kind::Parquet, Kind::File, Kind::Stream];

impl Kind {
    fn format(self) -> Format {
        match self {
            Self::Parquet => Format::Parquet,
            Self::File | Self::Stream => Format::Arrow,
        }
    }

    fn bytes(self, batch: &RecordBatch) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Parquet => {
                let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
                writer.write(batch).unwrap();
                writer.close().unwrap();
            }
            Self::File => {
                let mut writer = FileWriter::try_new(&mut out, &batch.schema()).unwrap();
                writer.write(batch).unwrap();
                writer.finish().unwrap();
            }
            Self::Stream => {
                let mut writer = StreamWriter::try_new(&mut out, &batch.schema()).unwrap();
                writer.write(batch).unwrap();
                writer.finish().unwrap();
            }
        }
        out
    }
}

fn sample() -> RecordBatch {
    let points = StructArray::from(vec![(
        Arc::new(Field::new("x", DataType::Int64, true)),
        Arc::new(Int64Array::from(vec![
            Some(1),
            Some(2),
            None,
            Some(1 << 40),
        ])) as ArrayRef,
    )]);
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1)]),
        Some(vec![]),
        Some(vec![Some(2), None]),
        None,
    ]);
    let words: DictionaryArray<Int32Type> = ["a", "b", "a", "b"].into_iter().collect();
    RecordBatch::try_from_iter([
        (
            "n",
            Arc::new(Int64Array::from(vec![1, 2, 3, 1 << 40])) as ArrayRef,
        ),
        (
            "f",
            Arc::new(Float64Array::from(vec![1.0, 1.5, f64::NAN, 4.0])),
        ),
        (
            "s",
            Arc::new(StringArray::from(vec![
                Some("a"),
                None,
                Some("c"),
                Some("d"),
            ])),
        ),
        ("w", Arc::new(words)),
        (
            "t",
            Arc::new(TimestampNanosecondArray::from(vec![
                1_500, 2_000, 3_000, 4_000,
            ])),
        ),
        ("p", Arc::new(points)),
        ("l", Arc::new(lists)),
    ])
    .unwrap()
}

#[tokio::test]
async fn columns_are_matched_by_name_and_cast() {
    let point = DataType::Struct(
        vec![
            Field::new("y", DataType::Utf8, true),
            Field::new("x", DataType::Int64, true),
        ]
        .into(),
    );
    let columns = schema(&[
        ("l", list(DataType::Int64, true), true),
        ("p", point, true),
        ("t", micros(), false),
        ("w", DataType::Utf8, true),
        ("n", DataType::Utf8, false),
        ("new", DataType::Date32, true),
    ]);
    for kind in KINDS {
        let bytes = kind.bytes(&sample());
        let outcome = read(&bytes, ReadOptions::new(kind.format(), columns.clone())).await;
        assert_eq!(outcome.dead(), [], "{kind:?}");
        assert_eq!(
            outcome.rows()[..3],
            [
                concat!(
                    r#"{"l":[1],"p":{"y":null,"x":1},"t":"1970-01-01T00:00:00.000001Z","#,
                    r#""w":"a","n":"1","new":null}"#
                ),
                concat!(
                    r#"{"l":[],"p":{"y":null,"x":2},"t":"1970-01-01T00:00:00.000002Z","#,
                    r#""w":"b","n":"2","new":null}"#
                ),
                concat!(
                    r#"{"l":[2,null],"p":{"y":null,"x":null},"t":"1970-01-01T00:00:00.000003Z","#,
                    r#""w":"a","n":"3","new":null}"#
                ),
            ]
        );
    }
}

#[tokio::test]
async fn rows_that_do_not_fit_are_dead_letters_as_json() {
    let point = DataType::Struct(vec![Field::new("x", DataType::Int32, false)].into());
    for (column, data_type, nullable, good, dead) in [
        (
            "n",
            DataType::Int32,
            true,
            vec![0, 1, 2],
            vec![(3, "out_of_range")],
        ),
        (
            "f",
            DataType::Int64,
            true,
            vec![0, 3],
            vec![(1, "type_mismatch"), (2, "out_of_range")],
        ),
        (
            "s",
            DataType::Utf8,
            false,
            vec![0, 2, 3],
            vec![(1, "missing_required")],
        ),
        (
            "p",
            point,
            true,
            vec![0, 1],
            vec![(2, "missing_required"), (3, "out_of_range")],
        ),
        (
            "l",
            list(DataType::Int32, false),
            true,
            vec![0, 1, 3],
            vec![(2, "missing_required")],
        ),
        (
            "n",
            DataType::Decimal128(4, 2),
            true,
            vec![0, 1, 2],
            vec![(3, "out_of_range")],
        ),
    ] {
        for kind in KINDS {
            let columns = schema(&[(column, data_type.clone(), nullable)]);
            let bytes = kind.bytes(&sample());
            let outcome = read(&bytes, ReadOptions::new(kind.format(), columns)).await;
            assert_eq!(
                outcome.numbers(),
                good,
                "{column} as {data_type} in {kind:?}"
            );
            let names: Vec<_> = outcome
                .dead()
                .into_iter()
                .map(|(row, name, _)| (row, name))
                .collect();
            assert_eq!(names, dead, "{column} as {data_type} in {kind:?}");
            let raw = &outcome.dead()[0].2;
            assert!(
                raw.starts_with(&format!("{{\"{column}\":")) || raw.contains("\"n\":"),
                "{raw}"
            );
            assert!(
                outcome.letters[0]
                    .message
                    .contains(&format!("{column:?}")[..2])
            );
        }
    }
}

#[tokio::test]
async fn binary_that_is_no_utf8_is_a_dead_letter() {
    let batch = RecordBatch::try_from_iter([(
        "b",
        Arc::new(BinaryArray::from_vec(vec![b"ok", b"\xff"])) as ArrayRef,
    )])
    .unwrap();
    let options = ReadOptions::new(Format::Parquet, schema(&[("b", DataType::Utf8, true)]));
    let outcome = read(&Kind::Parquet.bytes(&batch), options).await;
    assert_eq!(outcome.rows(), [r#"{"b":"ok"}"#]);
    assert_eq!(outcome.letters[0].error_type.name(), "invalid_utf8");
}

#[tokio::test]
async fn types_that_never_fit_and_missing_required_columns_are_errors() {
    for kind in KINDS {
        let bytes = kind.bytes(&sample());
        for (column, data_type) in [
            ("p", DataType::Int32),
            ("s", DataType::Int32),
            ("n", micros()),
            ("f", DataType::Decimal128(10, 2)),
            ("l", list(micros(), true)),
            ("s", DataType::Binary),
        ] {
            let columns = schema(&[(column, data_type, true)]);
            let error = try_read(&bytes, ReadOptions::new(kind.format(), columns))
                .await
                .err()
                .unwrap();
            assert!(
                matches!(error, IngestError::ColumnType { .. }),
                "{kind:?}: {error}"
            );
            assert!(error.to_string().contains("in put%20.file"), "{error}");
        }
        let columns = schema(&[("missing", DataType::Utf8, false)]);
        let error = try_read(&bytes, ReadOptions::new(kind.format(), columns))
            .await
            .err()
            .unwrap();
        assert!(matches!(&error, IngestError::MissingColumn { column, .. } if column == "missing"));
    }
}

#[tokio::test]
async fn broken_files_are_errors_and_never_panics() {
    let columns = schema(&[("n", DataType::Int64, true), ("s", DataType::Utf8, true)]);
    for kind in KINDS {
        let bytes = kind.bytes(&sample());
        let options = || ReadOptions::new(kind.format(), columns.clone());
        let step = (bytes.len() / 60).max(1);
        for length in (0..bytes.len().saturating_sub(8)).step_by(step) {
            match try_read(&bytes[..length], options()).await {
                Err(IngestError::Corrupt { file, .. }) => {
                    assert!(file.ends_with("in put%20.file"), "{file}");
                }
                Err(other) => panic!("{kind:?} cut at {length}: {other}"),
                Ok(outcome) => panic!("{kind:?} cut at {length}: {} rows", outcome.report.rows),
            }
        }
        for at in (0..bytes.len()).step_by(step) {
            let mut broken = bytes.clone();
            broken[at] ^= 0xff;
            // A byte of a value may be any byte; what counts is that nothing panics.
            if let Err(error) = try_read(&broken, options()).await {
                assert!(
                    error.to_string().contains("in put%20.file"),
                    "{kind:?} at {at}: {error}"
                );
            }
        }
    }
}

/// The decoder alone would make room for all of them, and the process would end.
#[tokio::test]
async fn a_footer_that_claims_billions_of_columns_is_a_broken_file() {
    // `FileMetaData` whose second field, the schema, is a list of 2^34 structs.
    let footer = [0x29, 0xFC, 0x80, 0x80, 0x80, 0x80, 0x40, 0, 0, 0];
    let length = (footer.len() as u32).to_le_bytes();
    let bytes = [b"PAR1", &footer[..], &length, b"PAR1"].concat();
    let columns = schema(&[("n", DataType::Int64, true)]);
    let outcome = try_read(&bytes, ReadOptions::new(Format::Parquet, columns)).await;
    match outcome.err() {
        Some(IngestError::Corrupt { reason, .. }) => {
            assert!(reason.contains("a count is impossible"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn large_batches_are_cut_and_numbered_through() {
    let count = 2 * BATCH_ROWS as i64 + 1;
    let numbers = Int64Array::from_iter_values(0..count);
    let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef)]).unwrap();
    for kind in KINDS {
        let columns = schema(&[("n", DataType::Int64, false)]);
        let options = ReadOptions::new(kind.format(), columns);
        let outcome = read(&kind.bytes(&batch), options).await;
        assert_eq!(
            outcome.numbers(),
            (0..count).collect::<Vec<_>>(),
            "{kind:?}"
        );
        assert!(
            outcome
                .batches
                .iter()
                .all(|batch| batch.num_rows() <= BATCH_ROWS)
        );
    }
}

/// Rows of one text each, all the same, so that a dictionary has it once.
fn texts(rows: usize, bytes: usize) -> RecordBatch {
    let text = "x".repeat(bytes);
    let texts: DictionaryArray<Int32Type> = (0..rows).map(|_| text.as_str()).collect();
    let numbers = Int64Array::from_iter((0..rows).map(|row| (row % 2 == 0).then_some(1)));
    RecordBatch::try_from_iter([
        ("s", Arc::new(texts) as ArrayRef),
        ("n", Arc::new(numbers) as ArrayRef),
    ])
    .unwrap()
}

#[tokio::test]
async fn parts_are_cut_by_bytes_whatever_a_dictionary_shares() {
    let batch = texts(40, 1 << 20);
    for kind in KINDS {
        for required in [false, true] {
            let columns = schema(&[
                ("s", DataType::Utf8, true),
                ("n", DataType::Int64, !required),
            ]);
            let (_folder, file) = write(&kind.bytes(&batch)).await;
            let options = ReadOptions::new(kind.format(), columns).with_row_number("row");
            let reader = FileReader::open(&FileStore::local(), &file, "test", &options).await;
            let mut reader = reader.unwrap();
            let (mut rows, mut letters) = (Vec::new(), 0);
            while let Some(part) = reader.next().await.unwrap() {
                let bytes: &StringArray = part.batch.column(0).as_string();
                let raw: usize = part
                    .dead_letters
                    .iter()
                    .map(|letter| letter.raw.len())
                    .sum();
                let bytes = bytes.value_data().len() + raw;
                // A dead letter has the names of its fields, too.
                assert!(bytes <= BATCH_BYTES + 8192, "{kind:?}: {bytes}");
                rows.extend_from_slice(part.batch.column(2).as_primitive::<Int64Type>().values());
                letters += part.dead_letters.len();
            }
            let wanted: Vec<i64> = (0..40).filter(|row| !required || row % 2 == 0).collect();
            assert_eq!((rows, letters), (wanted, if required { 20 } else { 0 }));
        }
    }
}

#[tokio::test]
async fn row_groups_are_read_one_after_the_other() {
    let columns = schema(&[("s", DataType::Utf8, false), ("n", DataType::Int64, true)]);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, texts(1, 1).schema(), None).unwrap();
    // A group of few wide rows between others, each of which is cut by itself.
    for batch in [texts(3, 10), texts(2, 1 << 20), texts(4, 10)] {
        writer.write(&batch).unwrap();
        writer.flush().unwrap();
    }
    writer.close().unwrap();
    let outcome = read(&bytes, ReadOptions::new(Format::Parquet, columns)).await;
    assert_eq!(outcome.numbers(), (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn decimals_are_never_rounded() {
    let decimals = Decimal128Array::from(vec![9999, 9996, 9990, 1230])
        .with_precision_and_scale(4, 2)
        .unwrap();
    let batch = RecordBatch::try_from_iter([("d", Arc::new(decimals) as ArrayRef)]).unwrap();
    for kind in KINDS {
        for (data_type, good) in [
            (DataType::Decimal128(10, 1), vec![2, 3]),
            (DataType::Int64, vec![]),
            (DataType::Decimal128(10, 2), vec![0, 1, 2, 3]),
        ] {
            let columns = schema(&[("d", data_type.clone(), true)]);
            let options = ReadOptions::new(kind.format(), columns);
            let outcome = read(&kind.bytes(&batch), options).await;
            assert_eq!(outcome.numbers(), good, "{data_type} in {kind:?}");
            let names = outcome
                .letters
                .iter()
                .map(|letter| letter.error_type.name());
            assert!(names.into_iter().all(|name| name == "type_mismatch"));
        }
    }
}

/// Maps of bytes to numbers: rows of keys, or no map at all.
fn maps(rows: &[Option<&[&[u8]]>]) -> ArrayRef {
    let mut builder = MapBuilder::new(None, BinaryBuilder::new(), Int64Builder::new());
    for row in rows {
        for key in row.unwrap_or_default() {
            builder.keys().append_value(key);
            builder.values().append_value(1);
        }
        builder.append(row.is_some()).unwrap();
    }
    Arc::new(builder.finish())
}

#[tokio::test]
async fn a_key_of_a_map_that_does_not_fit_is_a_dead_letter() {
    let rows: [Option<&[&[u8]]>; 4] = [Some(&[b"a"]), Some(&[b"b", b"\xff"]), None, Some(&[b"c"])];
    let batch = RecordBatch::try_from_iter([("m", maps(&rows))]).unwrap();
    for kind in KINDS {
        let columns = schema(&[("m", map(DataType::Int64), true)]);
        let outcome = read(
            &kind.bytes(&batch),
            ReadOptions::new(kind.format(), columns),
        )
        .await;
        assert_eq!(outcome.numbers(), [0, 2, 3], "{kind:?}");
        let (row, name, _) = &outcome.dead()[0];
        assert_eq!((*row, *name), (1, "invalid_utf8"), "{kind:?}");
        assert!(outcome.letters[0].message.contains("m.key"));
        assert_eq!(outcome.rows()[2], r#"{"m":{"c":1}}"#);
    }
}

#[test]
fn of_a_slice_only_its_own_items_are_looked_at() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1 << 40)]),
        Some(vec![Some(2), Some(3)]),
        None,
        Some(vec![Some(1 << 40)]),
    ]);
    let lists: ArrayRef = Arc::new(lists);
    let field = Field::new("l", list(DataType::Int32, true), true);
    let mut rejects = fit::Rejects::new();
    let fitted = fit::fit(&lists.slice(1, 2), &field, "l", &mut rejects).unwrap();
    assert!(rejects.is_empty(), "{rejects:?}");
    assert_eq!(fitted.as_list::<i32>().values().len(), 2);
    let fitted = fit::fit(&lists.slice(1, 3), &field, "l", &mut rejects).unwrap();
    assert_eq!(rejects.keys().collect::<Vec<_>>(), [&2]);
    assert_eq!(fitted.as_list::<i32>().values().len(), 3);

    let rows: [Option<&[&[u8]]>; 3] = [Some(&[b"\xff"]), Some(&[b"b"]), Some(&[b"\xff"])];
    let mut rejects = fit::Rejects::new();
    let field = Field::new("m", map(DataType::Int64), true);
    let fitted = fit::fit(&maps(&rows).slice(1, 2), &field, "m", &mut rejects).unwrap();
    assert_eq!(rejects.keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(fitted.as_map().keys().len(), 2);
}

#[tokio::test]
async fn schemas_of_files_become_types_of_tables() {
    for kind in KINDS {
        let bytes = kind.bytes(&sample());
        let (_folder, file) = write(&bytes).await;
        let inferred = infer_schema(
            &FileStore::local(),
            &[file],
            kind.format(),
            &CsvOptions::default(),
        )
        .await
        .unwrap();
        let types: Vec<_> = inferred
            .fields()
            .iter()
            .map(|field| plan::sql_name(field.data_type()))
            .collect();
        assert_eq!(
            types,
            [
                "BIGINT",
                "DOUBLE",
                "STRING",
                "STRING",
                "TIMESTAMP (ISO-8601)",
                "STRUCT",
                "ARRAY"
            ]
        );
        let outcome = read(&bytes, ReadOptions::new(kind.format(), inferred)).await;
        assert_eq!(outcome.report.rows, 4, "{kind:?}");
    }
}

#[test]
fn the_array_of_one_column_needs_no_cast() {
    let array: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let field = Field::new("a", DataType::Int32, false);
    let fitted = fit::fit(&array, &field, "a", &mut fit::Rejects::new()).unwrap();
    assert!(fitted.to_data().ptr_eq(&array.to_data()));
}
