use super::*;

/// One value in a column of a type: what the row holds, or the type of the dead letter.
async fn coerce(data_type: &DataType, nullable: bool, value: &str) -> Result<String, String> {
    let schema = schema(&[("v", data_type.clone(), nullable)]);
    let record = format!("{{\"v\": {value}}}");
    let outcome = read(record.as_bytes(), ReadOptions::new(Format::NdJson, schema)).await;
    match outcome.letters.first() {
        Some(letter) => {
            assert_eq!(outcome.report.rows, 0);
            assert_eq!(
                letter.raw,
                record.as_bytes(),
                "the record is kept as it came"
            );
            assert_eq!(
                letter.at,
                Coordinates::File {
                    file: outcome_file(letter),
                    row: 0,
                    byte_offset: Some(0)
                }
            );
            Err(letter.error_type.name().to_owned())
        }
        None => Ok(outcome.rows()[0].clone()),
    }
}

fn outcome_file(letter: &DeadLetter) -> Arc<str> {
    match &letter.at {
        Coordinates::File { file, .. } => file.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn values_follow_the_coercion_table() {
    use DataType as T;
    let ok = |value: &str| Ok(format!("{{\"v\":{value}}}"));
    let dead = |name: &str| Err(name.to_owned());
    let point = T::Struct(vec![Field::new("x", T::Int32, false)].into());
    for (data_type, value, expected) in [
        (T::Utf8, r#""a""#, ok(r#""a""#)),
        (T::Utf8, "1984", ok(r#""1984""#)),
        (T::Utf8, "1.50", ok(r#""1.50""#)),
        (T::Utf8, "-1E+3", ok(r#""-1E+3""#)),
        (T::Utf8, "true", ok(r#""true""#)),
        (T::Utf8, "null", ok("null")),
        (T::Utf8, r#""\u00e9\ud83d\ude00\n\/""#, ok(r#""é😀\n/""#)),
        (T::Utf8, "[1]", dead("type_mismatch")),
        (T::Utf8, r#"{"a": 1}"#, dead("type_mismatch")),
        (T::LargeUtf8, "12", ok(r#""12""#)),
        (T::Utf8View, "12", ok(r#""12""#)),
        (T::Boolean, "true", ok("true")),
        (T::Boolean, r#""true""#, dead("type_mismatch")),
        (T::Boolean, "1", dead("type_mismatch")),
        (T::Int32, "12", ok("12")),
        (T::Int32, "1.0", ok("1")),
        (T::Int32, "1e3", ok("1000")),
        (T::Int32, "1.5", dead("type_mismatch")),
        (T::Int32, r#""12""#, dead("type_mismatch")),
        (T::Int32, "true", dead("type_mismatch")),
        (T::Int32, "2147483647", ok("2147483647")),
        (T::Int32, "2147483648", dead("out_of_range")),
        (T::Int32, "-2147483649", dead("out_of_range")),
        (T::Int64, "9223372036854775807", ok("9223372036854775807")),
        (T::Int64, "9223372036854775808", dead("out_of_range")),
        (T::Int64, "1e999999999999999999999", dead("out_of_range")),
        (T::Int8, "128", dead("out_of_range")),
        (
            T::UInt64,
            "18446744073709551615",
            ok("18446744073709551615"),
        ),
        (T::UInt64, "-1", dead("out_of_range")),
        (T::Float64, "12", ok("12.0")),
        (T::Float64, "0.1", ok("0.1")),
        (T::Float64, "1e999", dead("out_of_range")),
        (T::Float64, r#""NaN""#, dead("type_mismatch")),
        (T::Float32, "1e39", dead("out_of_range")),
        (T::Float32, "0.5", ok("0.5")),
        (T::Decimal128(5, 2), "123.45", ok("123.45")),
        (T::Decimal128(5, 2), "123.450", ok("123.45")),
        (T::Decimal128(5, 2), "0.1", ok("0.10")),
        (T::Decimal128(5, 2), "123.456", dead("type_mismatch")),
        (T::Decimal128(5, 2), "1000", dead("out_of_range")),
        (T::Decimal128(5, 2), r#""1.00""#, dead("type_mismatch")),
        (T::Decimal128(38, 0), &"9".repeat(38), ok(&"9".repeat(38))),
        (T::Date32, r#""2024-02-29""#, ok(r#""2024-02-29""#)),
        (T::Date32, r#""Jun 12 1998""#, dead("type_mismatch")),
        (T::Date32, "19000", dead("type_mismatch")),
        (
            micros(),
            r#""2024-01-01T01:00:00+01:00""#,
            ok(r#""2024-01-01T00:00:00Z""#),
        ),
        (
            micros(),
            r#""2024-01-01 00:00:00.5""#,
            ok(r#""2024-01-01T00:00:00.500Z""#),
        ),
        (micros(), "1704067200", dead("type_mismatch")),
        (micros(), r#""yesterday""#, dead("type_mismatch")),
        (
            T::Timestamp(TimeUnit::Nanosecond, None),
            r#""2500-01-01T00:00:00Z""#,
            dead("out_of_range"),
        ),
        (
            T::Time64(TimeUnit::Microsecond),
            r#""12:30:01""#,
            ok(r#""12:30:01""#),
        ),
        (T::Binary, r#""AP8=""#, ok(r#""00ff""#)),
        (T::Binary, r#""AP8""#, dead("type_mismatch")),
        (T::FixedSizeBinary(2), r#""AP8=""#, ok(r#""00ff""#)),
        (T::FixedSizeBinary(3), r#""AP8=""#, dead("type_mismatch")),
        (
            T::FixedSizeBinary(16),
            r#""00000000-0000-0000-0000-0000000000ff""#,
            ok(r#""000000000000000000000000000000ff""#),
        ),
        (list(T::Int32, true), "[1, null, 3]", ok("[1,null,3]")),
        (list(T::Int32, true), "[]", ok("[]")),
        (list(T::Int32, true), "[1, \"2\"]", dead("type_mismatch")),
        (list(T::Int32, false), "[1, null]", dead("missing_required")),
        (list(T::Int32, true), "1", dead("type_mismatch")),
        (point.clone(), r#"{"x": 1, "y": 2}"#, ok(r#"{"x":1}"#)),
        (point.clone(), "{}", dead("missing_required")),
        (point.clone(), r#"{"x": null}"#, dead("missing_required")),
        (point.clone(), "null", ok("null")),
        (point, "[1]", dead("type_mismatch")),
        (
            map(T::Int32),
            r#"{"a": 1, "b": null}"#,
            ok(r#"{"a":1,"b":null}"#),
        ),
        (map(T::Int32), r#"{"a": 1, "a": 2}"#, ok(r#"{"a":2}"#)),
        (map(T::Int32), r#"{"a": "x"}"#, dead("type_mismatch")),
        (T::Null, "null", ok("null")),
        (T::Null, "1", dead("type_mismatch")),
    ] {
        assert_eq!(
            coerce(&data_type, true, value).await,
            expected,
            "{value} as {data_type}"
        );
    }
    assert_eq!(
        coerce(&T::Utf8, false, "null").await,
        dead("missing_required")
    );
    assert_eq!(coerce(&T::Utf8, false, "\"\"").await, ok("\"\""));
}

#[tokio::test]
async fn texts_that_are_no_json_are_malformed() {
    let options = || ReadOptions::new(Format::NdJson, schema(&[("v", DataType::Utf8, true)]));
    for record in [
        "{",
        "}",
        "{\"v\"}",
        "{\"v\":}",
        "{\"v\":1,}",
        "{v:1}",
        "{\"v\":01}",
        "{\"v\":+1}",
        "{\"v\":1.}",
        "{\"v\":.5}",
        "{\"v\":1e}",
        "{\"v\":-}",
        "{\"v\":tru}",
        "{\"v\":NaN}",
        "{\"v\":\"a}",
        "{\"v\":\"\\x\"}",
        "{\"v\":\"\\u12\"}",
        "{\"v\":\"\\ud800\"}",
        "{\"v\":\"\\ud800\\u0041\"}",
        "{\"v\":\"\\udc00\"}",
        "{\"v\":\"a\tb\"}",
        "{\"v\":1} 2",
        "{\"v\":1}{\"v\":2}",
        "{\"v\":[1 2]}",
        "{\"v\":[1,]}",
        "{\"w\":[}",
        "{'v':1}",
        "{\"v\":[1], \"w\": nul}",
        "nothing",
    ] {
        let outcome = read(record.as_bytes(), options()).await;
        assert_eq!(
            outcome.dead(),
            [(0, "malformed", record.to_owned())],
            "{record}"
        );
    }
    for record in ["1", "\"a\"", "null", "[1]"] {
        let outcome = read(record.as_bytes(), options()).await;
        assert_eq!(
            outcome.dead(),
            [(0, "type_mismatch", record.to_owned())],
            "{record}"
        );
    }
}

#[tokio::test]
async fn a_message_names_field_expected_type_and_value() {
    let schema = schema(&[("US Gross", DataType::Int32, true)]);
    let record = format!(r#"{{"US Gross": "{}"}}"#, "x".repeat(500));
    let outcome = read(record.as_bytes(), ReadOptions::new(Format::NdJson, schema)).await;
    let message = &outcome.letters[0].message;
    assert!(
        message.contains("\"US Gross\"") && message.contains("INT"),
        "{message}"
    );
    assert!(message.contains("xxx") && message.len() < 200, "{message}");
}

#[tokio::test]
async fn good_records_around_bad_ones_come_through_with_their_numbers() {
    let text = "\u{feff}{\"a\": 1}\r\n\r\nnonsense\n   \n  {\"a\": \"x\"}  \n{\"a\": 2}\n\
                {\"b\": 0}\n{\"a\": 3}";
    let columns = schema(&[("a", DataType::Int32, false)]);
    for format in [Format::Json, Format::NdJson] {
        let outcome = read(text.as_bytes(), ReadOptions::new(format, columns.clone())).await;
        assert_eq!(outcome.rows(), [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#]);
        assert_eq!(outcome.numbers(), [0, 3, 5]);
        assert_eq!(
            outcome.dead(),
            [
                (1, "malformed", "nonsense".to_owned()),
                (2, "type_mismatch", "{\"a\": \"x\"}".to_owned()),
                (4, "missing_required", "{\"b\": 0}".to_owned())
            ]
        );
        for (offset, (_, _, raw)) in outcome.offsets().into_iter().zip(outcome.dead()) {
            let at = offset.unwrap() as usize;
            assert_eq!(&text.as_bytes()[at..at + raw.len()], raw.as_bytes());
        }
        assert_eq!(outcome.report.rows, 3);
        assert_eq!(outcome.report.dead_letters, 3);
    }
}

#[tokio::test]
async fn bytes_that_are_no_utf8_are_kept_as_they_are() {
    let options = ReadOptions::new(Format::Json, schema(&[("a", DataType::Utf8, true)]));
    let outcome = read(b"{\"a\": \"\xff\"}\n{\"a\": \"b\"}\n\xfe", options).await;
    assert_eq!(outcome.rows(), [r#"{"a":"b"}"#]);
    assert_eq!(outcome.letters[0].raw, &b"{\"a\": \"\xff\"}"[..]);
    let names: Vec<_> = outcome
        .dead()
        .into_iter()
        .map(|(row, name, _)| (row, name))
        .collect();
    assert_eq!(names, [(0, "invalid_utf8"), (2, "invalid_utf8")]);
}

#[tokio::test]
async fn files_without_records_give_none() {
    for text in [
        "",
        "\n",
        " \r\n\t",
        "\u{feff}",
        "\u{feff}\n",
        "[]",
        " [ ] ",
        "\u{feff}[]\n",
    ] {
        let options = ReadOptions::new(Format::Json, schema(&[("a", DataType::Utf8, true)]));
        let outcome = read(text.as_bytes(), options).await;
        assert_eq!(
            (outcome.batches.len(), outcome.letters.len()),
            (0, 0),
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn elements_of_an_array_are_records() {
    let columns = schema(&[("a", DataType::Utf8, true)]);
    for (text, rows, dead) in [
        ("[{\"a\":1},{\"a\":2}]", vec![0, 1], vec![]),
        (
            "\u{feff} [ {\"a\":\"],[\\\"\"} ,\n{\"a\":2}\n]\n",
            vec![0, 1],
            vec![],
        ),
        (
            "[{\"a\":tru},{\"a\":2}]",
            vec![1],
            vec![(0, "malformed", "{\"a\":tru}")],
        ),
        ("[1,{\"a\":2}]", vec![1], vec![(0, "type_mismatch", "1")]),
        (
            "[{\"a\":1},,{\"a\":2}]",
            vec![0, 2],
            vec![(1, "malformed", "")],
        ),
        ("[{\"a\":1},]", vec![0], vec![(1, "malformed", "")]),
        (
            "[{\"a\":1} {\"a\":2}]",
            vec![],
            vec![(0, "malformed", "{\"a\":1} {\"a\":2}")],
        ),
        // Beyond recovery: what follows is one dead letter, from the first byte in doubt.
        (
            "[{\"a\":1},{\"a\":[2},{\"a\":3}]",
            vec![0],
            vec![(1, "malformed", "{\"a\":[2},{\"a\":3}]")],
        ),
        (
            "[{\"a\":1},{\"a\":\"2},{\"a\":3}]",
            vec![0],
            vec![(1, "malformed", "{\"a\":\"2},{\"a\":3}]")],
        ),
        (
            "[{\"a\":1},{\"a\":2",
            vec![0],
            vec![(1, "malformed", "{\"a\":2")],
        ),
        (
            "[{\"a\":1},{\"a\":2}",
            vec![0, 1],
            vec![(2, "malformed", "")],
        ),
        ("[{\"a\":1},", vec![0], vec![(1, "malformed", "")]),
        (
            "[{\"a\":1}] {\"a\":2}",
            vec![0],
            vec![(1, "malformed", "{\"a\":2}")],
        ),
        ("[", vec![], vec![(0, "malformed", "")]),
    ] {
        let outcome = read(
            text.as_bytes(),
            ReadOptions::new(Format::Json, columns.clone()),
        )
        .await;
        assert_eq!(outcome.numbers(), rows, "{text}");
        let expected: Vec<_> = dead
            .into_iter()
            .map(|(row, name, raw)| (row, name, raw.to_owned()))
            .collect();
        assert_eq!(outcome.dead(), expected, "{text}");
        for (offset, (_, _, raw)) in outcome.offsets().into_iter().zip(outcome.dead()) {
            let at = offset.unwrap() as usize;
            assert_eq!(
                &text.as_bytes()[at..at + raw.len()],
                raw.as_bytes(),
                "{text}"
            );
        }
    }
    let options = ReadOptions::new(Format::JsonArray, columns);
    let outcome = read(b"{\"a\":1}\n", options).await;
    assert_eq!(outcome.dead(), [(0, "malformed", "{\"a\":1}".to_owned())]);
}

#[tokio::test]
async fn nesting_of_any_depth_is_survived() {
    let columns = schema(&[("a", DataType::Utf8, true)]);
    for depth in [MAX_DEPTH - 1, MAX_DEPTH, 1_000_000] {
        let deep = format!("{{\"b\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let expected = if depth < MAX_DEPTH {
            vec![0, 1]
        } else {
            vec![1]
        };
        for text in [
            format!("{deep}\n{{\"a\":1}}"),
            format!("[{deep},{{\"a\":1}}]"),
        ] {
            let options = ReadOptions::new(Format::Json, columns.clone());
            let outcome = read(text.as_bytes(), options).await;
            assert_eq!(outcome.numbers(), expected, "{depth}");
            assert!(
                outcome
                    .letters
                    .iter()
                    .all(|l| l.error_type.name() == "too_deep")
            );
        }
    }
}

#[tokio::test]
async fn a_record_beyond_the_limit_is_too_large_and_its_neighbours_are_rows() {
    let columns = schema(&[("a", DataType::Utf8, true)]);
    let fits = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_RECORD_BYTES - 8));
    assert_eq!(fits.len(), MAX_RECORD_BYTES);
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_RECORD_BYTES));
    for text in [
        format!("{{\"a\":1}}\n{huge}\n{fits}\n"),
        format!("[{{\"a\":1}},{huge},{fits}]"),
    ] {
        let options = ReadOptions::new(Format::Json, columns.clone());
        let outcome = read(text.as_bytes(), options).await;
        assert_eq!(outcome.numbers(), [0, 2]);
        assert_eq!(outcome.letters.len(), 1);
        let letter = &outcome.letters[0];
        assert_eq!(letter.error_type.name(), "too_large");
        assert_eq!(letter.raw, &huge.as_bytes()[..MAX_RECORD_BYTES]);
        assert!(
            letter.message.contains(&huge.len().to_string()),
            "{}",
            letter.message
        );
        assert_eq!(outcome.offsets(), [text.find(&huge).map(|at| at as u64)]);
    }
}

#[tokio::test]
async fn fields_that_are_not_declared_are_passed_over() {
    let point = DataType::Struct(vec![Field::new("x", DataType::Int32, true)].into());
    let options = ReadOptions::new(Format::Json, schema(&[("p", point, true)]));
    let text = b"{\"z\":1,\"p\":{\"y\":[1,{}]}}\n{\"z\":2,\"p\":{\"x\":1,\"y\":3,\"z\":4}}";
    let outcome = read(text, options).await;
    assert_eq!(outcome.rows(), [r#"{"p":{"x":null}}"#, r#"{"p":{"x":1}}"#]);
}

#[tokio::test]
async fn of_a_field_that_is_repeated_the_last_value_counts() {
    let point = DataType::Struct(vec![Field::new("x", DataType::Int32, false)].into());
    let columns = schema(&[
        ("year", DataType::Int32, true),
        ("point", point, true),
        ("counts", map(DataType::Int32), true),
    ]);
    for (record, expected) in [
        (
            r#"{"year":"x","year":1958}"#,
            Ok(r#"{"year":1958,"point":null,"counts":null}"#),
        ),
        (r#"{"year":1958,"year":"x"}"#, Err("\"year\"")),
        // Others that do not fit are still those that they were.
        (r#"{"year":"x","point":1,"year":1958}"#, Err("\"point\"")),
        (
            r#"{"point":{"x":"a","x":1},"counts":{"k":"a","k":2}}"#,
            Ok(r#"{"year":null,"point":{"x":1},"counts":{"k":2}}"#),
        ),
        (
            r#"{"point":{"x":null},"point":null}"#,
            Ok(r#"{"year":null,"point":null,"counts":null}"#),
        ),
        (
            r#"{"point":{},"point":{"x":1},"year":"x"}"#,
            Err("\"year\""),
        ),
        (r#"{"counts":{"a":"x","k":1,"a":"y"}}"#, Err("counts")),
    ] {
        let options = ReadOptions::new(Format::NdJson, columns.clone());
        let outcome = read(record.as_bytes(), options).await;
        match expected {
            Ok(row) => assert_eq!(outcome.rows(), [row], "{record}"),
            Err(column) => {
                let message = &outcome.letters[0].message;
                assert!(message.contains(column), "{record}: {message}");
            }
        }
    }
}

#[tokio::test]
async fn a_record_with_many_misfits_is_none() {
    let values = (0..100)
        .map(|n| format!("\"{n}\":\"x\","))
        .collect::<String>();
    let record = format!("{{\"m\":{{{values}\"99\":1}}}}");
    let columns = schema(&[("m", map(DataType::Int32), true)]);
    let outcome = read(record.as_bytes(), ReadOptions::new(Format::NdJson, columns)).await;
    assert_eq!(outcome.dead().len(), 1);
}

#[tokio::test]
async fn coordinates_are_columns_on_demand() {
    let columns = schema(&[("a", DataType::Utf8, true)]);
    let options = ReadOptions::new(Format::Json, columns.clone()).with_filename("file");
    let outcome = read(b"x\n{\"a\":1}", options).await;
    let batch = &outcome.batches[0];
    assert!(
        batch["file"]
            .as_string::<i32>()
            .value(0)
            .ends_with("/in put%20.file")
    );
    assert_eq!(batch["row_number"].as_primitive::<Int64Type>().value(0), 1);
    let options = ReadOptions::new(Format::Json, columns).with_filename("a");
    assert!(matches!(
        options.output_schema(),
        Err(IngestError::InvalidOption { .. })
    ));
}

#[tokio::test]
async fn batches_are_cut_by_rows_and_by_bytes() {
    let columns = schema(&[("a", DataType::Utf8, true)]);
    let short = "{\"a\":1}\n".repeat(BATCH_ROWS + 1);
    let outcome = read(
        short.as_bytes(),
        ReadOptions::new(Format::Json, columns.clone()),
    )
    .await;
    let rows: Vec<_> = outcome.batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [BATCH_ROWS, 1]);
    let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1 << 20)).repeat(20);
    let outcome = read(long.as_bytes(), ReadOptions::new(Format::Json, columns)).await;
    let rows: Vec<_> = outcome.batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [16, 4]);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_an_error() {
    let (_folder, file) = write(b"{\"a\":1}\n").await;
    let options = ReadOptions::new(Format::Json, schema(&[("a", DataType::Utf8, true)]));
    let mut reader = FileReader::open(&FileStore::local(), &file, "test", &options)
        .await
        .unwrap();
    std::fs::write(
        file.location.strip_prefix("file://").unwrap(),
        b"{\"a\":2}\n{\"a\":3}\n",
    )
    .unwrap();
    let error = reader.next().await.unwrap_err();
    assert!(matches!(error, IngestError::Storage { .. }), "{error}");
    assert!(error.to_string().contains(&*file.location), "{error}");
}

#[test]
fn format_names_are_read_and_written() {
    for format in [
        Format::Json,
        Format::NdJson,
        Format::JsonArray,
        Format::Csv,
        Format::Parquet,
        Format::Arrow,
    ] {
        assert_eq!(format.name().parse::<Format>().unwrap(), format);
    }
    assert!(
        "xml"
            .parse::<Format>()
            .unwrap_err()
            .to_string()
            .contains("ndjson")
    );
}
