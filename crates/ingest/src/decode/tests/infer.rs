use super::*;

async fn infer(format: Format, contents: &[&[u8]]) -> Result<SchemaRef> {
    let folder = tempfile::tempdir().unwrap();
    for (at, bytes) in contents.iter().enumerate() {
        std::fs::write(folder.path().join(format!("{at:03}")), bytes).unwrap();
    }
    let store = FileStore::local();
    let listing = store
        .list(&format!("{}/*", folder.path().display()))
        .await
        .unwrap();
    infer_schema(&store, &listing.files, format, &CsvOptions::default()).await
}

fn types(schema: &Schema) -> Vec<String> {
    let name =
        |field: &Arc<Field>| format!("{} {}", field.name(), plan::sql_name(field.data_type()));
    schema.fields().iter().map(name).collect()
}

#[tokio::test]
async fn json_kinds_are_merged_over_records_and_files() {
    let inferred = infer(
        Format::Json,
        &[
            br#"{"a":1,"b":1,"c":1,"d":null,"e":true,"f":[],"g":{"x":1},"h":{},"i":1}"#,
            b"nonsense\n{\"a\":2,\"b\":1.5,\"c\":\"x\",\"e\":1,\"f\":[1],\"g\":{\"y\":null},\
              \"i\":99999999999999999999,\"j\":\"2024-01-01\"}",
        ],
    )
    .await
    .unwrap();
    assert_eq!(
        types(&inferred),
        [
            "a BIGINT", "b DOUBLE", "c STRING", "d STRING", "e STRING", "f ARRAY", "g STRUCT",
            "h MAP", "i STRING", "j STRING"
        ]
    );
    assert!(inferred.fields().iter().all(|field| field.is_nullable()));
    let DataType::Struct(fields) = inferred.field_with_name("g").unwrap().data_type() else {
        panic!("{inferred}");
    };
    assert_eq!(
        types(&Schema::new(fields.clone())),
        ["x BIGINT", "y STRING"]
    );
}

#[tokio::test]
async fn records_behind_the_sample_are_not_looked_at() {
    let mut text = "{\"a\":1}\n".repeat(SAMPLE_RECORDS);
    text.push_str("{\"a\":\"x\",\"b\":1}\n");
    let inferred = infer(Format::Json, &[text.as_bytes()]).await.unwrap();
    assert_eq!(types(&inferred), ["a BIGINT"]);
}

#[tokio::test]
async fn csv_columns_are_inferred_from_texts() {
    let text = b"id,zip,rate,ok,none,mix\n1,01234,1.5,true,,1\n-2,9,2,FALSE,,x\n";
    let inferred = infer(Format::Csv, &[text]).await.unwrap();
    assert_eq!(
        types(&inferred),
        [
            "id BIGINT",
            "zip STRING",
            "rate DOUBLE",
            "ok BOOLEAN",
            "none STRING",
            "mix STRING"
        ]
    );
}

#[tokio::test]
async fn without_columns_there_is_no_schema() {
    for (format, contents) in [
        (Format::Json, &[&b""[..]][..]),
        (Format::Json, &[]),
        (Format::Csv, &[b""]),
    ] {
        let error = infer(format, contents).await.unwrap_err();
        assert!(matches!(error, IngestError::NoSchema { .. }), "{error}");
    }
}

#[tokio::test]
async fn inferred_schemas_read_the_files_they_come_from() {
    let text = br#"[{"a":1,"b":{"c":[1.5,2]},"d":{}},{"a":"x","b":null}]"#;
    let inferred = infer(Format::Json, &[text]).await.unwrap();
    let outcome = read(text, ReadOptions::new(Format::Json, inferred)).await;
    assert_eq!(outcome.dead(), []);
    assert_eq!(
        outcome.rows(),
        [
            r#"{"a":"1","b":{"c":[1.5,2.0]},"d":{}}"#,
            r#"{"a":"x","b":null,"d":null}"#
        ]
    );
}

#[tokio::test]
async fn names_that_are_values_end_the_inference() {
    let wide = |from: usize, to: usize| {
        let fields: Vec<String> = (from..to).map(|n| format!("\"{n}\":{n}")).collect();
        format!("{{\"ids\":{{{}}}}}\n", fields.join(","))
    };
    let fits = wide(0, MAX_INFERRED_FIELDS - 1);
    let inferred = infer(Format::Json, &[fits.as_bytes()]).await.unwrap();
    let DataType::Struct(fields) = inferred.field(0).data_type() else {
        panic!("{inferred}");
    };
    assert_eq!(fields.len(), MAX_INFERRED_FIELDS - 1);
    let more = wide(1, MAX_INFERRED_FIELDS);
    // In one file and over several.
    for contents in [
        &[(fits.clone() + &more).as_bytes()][..],
        &[fits.as_bytes(), more.as_bytes()],
    ] {
        let error = infer(Format::Json, contents).await.unwrap_err().to_string();
        assert!(
            error.contains("10001 fields") && error.contains("MAP"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn of_a_field_that_is_repeated_the_last_value_counts() {
    let inferred = infer(Format::Json, &[br#"{"a":"x","b":1,"a":2}"#])
        .await
        .unwrap();
    assert_eq!(types(&inferred), ["a BIGINT", "b BIGINT"]);
}
