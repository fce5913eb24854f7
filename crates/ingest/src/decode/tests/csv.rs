use super::*;

fn columns() -> SchemaRef {
    schema(&[
        ("id", DataType::Int32, false),
        ("name", DataType::Utf8, true),
        ("price", DataType::Decimal128(6, 2), true),
        ("at", micros(), true),
        ("ok", DataType::Boolean, true),
    ])
}

#[tokio::test]
async fn columns_are_matched_by_name_and_values_read_from_text() {
    let text = "\u{feff}ok,extra,name,id,price,at\r\n\
                TRUE,x,\"a, \"\"b\"\"\nc\", 1 ,1.5,2024-01-01T00:00:00Z\r\n\
                \r\n,,\"\",2,,\n";
    let outcome = read(text.as_bytes(), ReadOptions::new(Format::Csv, columns())).await;
    assert_eq!(outcome.dead(), []);
    assert_eq!(
        outcome.rows(),
        [
            r#"{"id":1,"name":"a, \"b\"\nc","price":1.50,"at":"2024-01-01T00:00:00Z","ok":true}"#,
            r#"{"id":2,"name":"","price":null,"at":null,"ok":null}"#
        ]
    );
}

#[tokio::test]
async fn bad_rows_are_dead_letters_with_their_reason() {
    let text =
        b"id,name\n1,a\n2\n3,b,c\nx,d\n,e\n4,\"f\"g\n5,\xff\n99999999999,h\n6,i\n7,\"j\n8,k\n";
    let columns = schema(&[
        ("id", DataType::Int32, false),
        ("name", DataType::Utf8, true),
    ]);
    let outcome = read(text, ReadOptions::new(Format::Csv, columns)).await;
    assert_eq!(outcome.numbers(), [0, 8]);
    let dead = outcome.dead();
    let names: Vec<_> = dead.iter().map(|(row, name, _)| (*row, *name)).collect();
    assert_eq!(
        names,
        [
            (1, "field_count"),
            (2, "field_count"),
            (3, "type_mismatch"),
            (4, "missing_required"),
            (5, "malformed"),
            (6, "invalid_utf8"),
            (7, "out_of_range"),
            (9, "malformed")
        ]
    );
    assert_eq!(
        dead[7].2, "7,\"j\n8,k\n",
        "the rest of the file behind the open quote"
    );
    for (offset, letter) in outcome.offsets().into_iter().zip(&outcome.letters) {
        let at = offset.unwrap() as usize;
        assert_eq!(&text[at..at + letter.raw.len()], &letter.raw[..]);
    }
}

#[tokio::test]
async fn delimiter_quote_null_and_header_are_options() {
    let csv = CsvOptions {
        header: false,
        delimiter: b';',
        quote: b'\'',
        null_value: "NA".to_owned(),
    };
    let columns = schema(&[("a", DataType::Utf8, true), ("b", DataType::Float64, true)]);
    let options = ReadOptions::new(Format::Csv, columns).with_csv(csv);
    let outcome = read(b"'x;y';1\nNA;NA\n'NA';nan\n;2", options).await;
    assert_eq!(outcome.dead(), []);
    assert_eq!(
        outcome.rows(),
        [
            r#"{"a":"x;y","b":1.0}"#,
            r#"{"a":null,"b":null}"#,
            r#"{"a":"NA","b":null}"#,
            r#"{"a":"","b":2.0}"#
        ]
    );
}

#[tokio::test]
async fn headers_that_cannot_do_are_errors_that_name_file_and_column() {
    let options = || ReadOptions::new(Format::Csv, columns());
    let error = try_read(b"name\na\n", options()).await.err().unwrap();
    assert!(matches!(&error, IngestError::MissingColumn { column, .. } if column == "id"));
    assert!(error.to_string().contains("in put%20.file"), "{error}");
    for header in [&b"id,id\n"[..], b"id,\"x\n", b"id,\xff\n"] {
        let error = try_read(header, options()).await.err().unwrap();
        assert!(matches!(error, IngestError::Corrupt { .. }), "{error}");
    }
    let nested = schema(&[("a", list(DataType::Utf8, true), true)]);
    let error = try_read(b"a\n", ReadOptions::new(Format::Csv, nested))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, IngestError::UnsupportedType { .. }),
        "{error}"
    );
    let same = CsvOptions {
        delimiter: b'"',
        ..CsvOptions::default()
    };
    let error = try_read(b"a\n", options().with_csv(same))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, IngestError::InvalidOption { .. }),
        "{error}"
    );
}
