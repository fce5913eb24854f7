//! Which batches fit a table, and what is done to those that nearly do.

use super::*;

#[tokio::test]
async fn columns_are_matched_by_name_and_cast_without_loss() {
    let inner = StructType::new(vec![
        optional(9, "x", P::Long).into(),
        optional(10, "y", P::String).into(),
    ]);
    let table = Spec {
        fields: vec![
            required(1, "id", P::Long),
            optional(2, "view", P::String),
            optional(3, "dictionary", P::String),
            optional(4, "large", P::String),
            optional(5, "time", P::Timestamp),
            optional(6, "nanos", P::Timestamptz),
            optional(7, "missing", P::Date),
            NestedField::optional(8, "nested", Type::Struct(inner)),
        ],
        ..Spec::default()
    }
    .table();
    let nested = StructArray::from(vec![
        (
            Arc::new(Field::new("y", DataType::LargeUtf8, true)),
            Arc::new(LargeStringArray::from(vec!["y0", "y1"])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("x", DataType::Int8, true)),
            Arc::new(Int8Array::from(vec![-1, 2])) as ArrayRef,
        ),
    ]);
    let dictionary: DictionaryArray<Int32Type> = vec!["a", "b"].into_iter().collect();
    let nanos =
        TimestampNanosecondArray::from(vec![1_000, -2_000]).with_timezone("America/New_York");
    let files = write_all(
        &table,
        &[batch(vec![
            ("nested", Arc::new(nested) as ArrayRef),
            ("nanos", Arc::new(nanos)),
            (
                "time",
                Arc::new(TimestampMillisecondArray::from(vec![5, -7])),
            ),
            ("large", Arc::new(LargeStringArray::from(vec!["l0", "l1"]))),
            ("dictionary", Arc::new(dictionary)),
            ("view", Arc::new(StringViewArray::from(vec!["v0", "v1"]))),
            ("id", Arc::new(Int32Array::from(vec![1, 2]))),
        ])],
    )
    .await;
    let data = read(&table, &files[0]).await;
    let text = arrow::util::pretty::pretty_format_batches(&[data])
        .unwrap()
        .to_string();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip(3)
        .take(2)
        .map(|line| {
            line.split('|')
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(
        rows,
        [
            [
                "1",
                "v0",
                "a",
                "l0",
                "1970-01-01T00:00:00.005",
                "1970-01-01T00:00:00.000001Z",
                "{x: -1, y: y0}"
            ],
            [
                "2",
                "v1",
                "b",
                "l1",
                "1969-12-31T23:59:59.993",
                "1969-12-31T23:59:59.999998Z",
                "{x: 2, y: y1}"
            ],
        ]
    );
}

#[tokio::test]
async fn a_missing_column_has_its_write_default() {
    let table = Spec {
        fields: vec![
            required(1, "id", P::Int),
            required(2, "s", P::String).with_write_default(Literal::string("d")),
            optional(
                3,
                "n",
                P::Decimal {
                    precision: 9,
                    scale: 2,
                },
            )
            .with_write_default(Literal::decimal(125)),
        ],
        version: FormatVersion::V3,
        ..Spec::default()
    }
    .table();
    let ids = Arc::new(Int32Array::from(vec![1, 2]));
    let files = write_all(&table, &[batch(vec![("id", ids)])]).await;
    let data = read(&table, &files[0]).await;
    assert_eq!(
        data.column(1).as_string::<i32>(),
        &StringArray::from(vec!["d", "d"])
    );
    assert_eq!(
        files[0].file.lower_bounds()[&3],
        Datum::try_from_bytes(
            &[125],
            P::Decimal {
                precision: 9,
                scale: 2
            }
        )
        .unwrap()
    );
}

#[tokio::test]
async fn bad_batches_are_refused_with_column_and_row_and_the_writer_goes_on() {
    let inner = StructType::new(vec![required(5, "x", P::Int).into()]);
    let element = NestedField::list_element(6, Type::Primitive(P::Int), true);
    let table = Spec {
        fields: vec![
            required(1, "id", P::Int),
            NestedField::optional(2, "s", Type::Struct(inner)),
            NestedField::optional(3, "l", Type::List(ListType::new(element.into()))),
            optional(4, "t", P::Timestamptz),
            optional(7, "f", P::Fixed(2)),
        ],
        ..Spec::default()
    }
    .table();
    let id = |ids: Vec<Option<i32>>| ("id", Arc::new(Int32Array::from(ids)) as ArrayRef);
    let ok = || id(vec![Some(1), Some(2), Some(3)]);
    let fields = Fields::from(vec![Field::new("x", DataType::Int32, true)]);
    let x: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, None]));
    let nested = StructArray::new(fields, vec![x], Some(vec![true, false, true].into()));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), Some(2)]),
        None,
        Some(vec![Some(3), None]),
    ]);
    type Case<'a> = (Vec<(&'a str, ArrayRef)>, &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        (
            vec![id(vec![Some(1), None])],
            &["a required column has a NULL", "column: id", "row: 1"],
        ),
        (
            vec![(
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![None::<i64>])),
            )],
            &["required column is missing", "column: id"],
        ),
        (
            vec![ok(), ("other", x_column())],
            &["no such column", "column: other", "id, s, l, t, f"],
        ),
        (
            vec![ok(), ("s", Arc::new(nested))],
            &["NULL", "column: s.x", "row: 2"],
        ),
        (
            vec![ok(), ("l", Arc::new(lists))],
            &["NULL", "column: l.element", "row: 2"],
        ),
        (
            vec![("id", Arc::new(Int64Array::from(vec![1, i64::MAX])))],
            &["does not fit", "column: id", "9223372036854775807"],
        ),
        (
            vec![("id", Arc::new(Float64Array::from(vec![1.0])))],
            &[
                "type of a column does not fit",
                "found: Float64",
                "expected: Int32",
            ],
        ),
        (
            vec![
                ok(),
                (
                    "t",
                    Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3])),
                ),
            ],
            &["column: t", "time zone"],
        ),
        (
            vec![
                ok(),
                (
                    "t",
                    Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3]).with_timezone("UTC")),
                ),
            ],
            &["column: t", "digits would be lost"],
        ),
        (
            vec![ok(), ("s", x_column())],
            &["column: s", "found: Int32"],
        ),
    ];
    let wrong_length: ArrayRef = Arc::new(BinaryArray::from_iter_values([[1, 2, 3]]));
    let one = || id(vec![Some(1)]);
    let mut cases = cases;
    cases.push((vec![one(), ("f", wrong_length)], &["column: f"]));
    cases.push((vec![one(), one()], &["occurs twice", "column: id"]));
    let mut writer = DataWriter::new(&table).unwrap();
    for (columns, parts) in cases {
        let error = writer.write(&batch(columns)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{error} lacks {part}");
        }
    }
    writer.write(&batch(vec![ok()])).await.unwrap();
    let files = writer.finish().await.unwrap();
    assert_eq!(files.iter().map(|f| f.file.record_count()).sum::<u64>(), 3);
}

fn x_column() -> ArrayRef {
    Arc::new(Int32Array::from(vec![1, 2, 3]))
}

#[tokio::test]
async fn a_wrong_property_stops_the_writer_before_anything_is_written() {
    let table = Spec {
        fields: vec![required(1, "id", P::Int)],
        properties: &[("write.parquet.compression-codec", "gzp")],
        ..Spec::default()
    }
    .table();
    let error = DataWriter::new(&table).unwrap_err();
    assert!(
        error.to_string().contains("gzp") && error.to_string().contains("db.t"),
        "{error}"
    );
}
