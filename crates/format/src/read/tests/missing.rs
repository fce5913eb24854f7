//! Columns that files lack, and ids that they lack.

use super::*;

#[tokio::test]
async fn a_required_column_without_default_that_is_missing_names_file_and_column() {
    let (mut fixture, file) = counted(FormatVersion::V2, 3).await;
    let required = NestedField::required(3, "must", Type::Primitive(PrimitiveType::Long));
    // No writer may do this; metadata of others can still say it.
    let json = serde_json::to_string(&fixture.metadata).unwrap();
    let schema = iceberg::spec::Schema::builder()
        .with_fields(vec![long(1, "id"), required.into()])
        .build()
        .unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
    json["schemas"][0] = serde_json::to_value(&schema).unwrap();
    json["last-column-id"] = 3.into();
    fixture.metadata = serde_json::from_value(json).unwrap();
    let error = read_all(&fixture).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let message = error.to_string();
    assert!(
        message.contains("must") && message.contains(file.file_path()),
        "{message}"
    );
}

#[tokio::test]
async fn identity_partition_values_fill_columns_that_files_lack() {
    let fields = vec![long(1, "id"), text(2, "kind"), long(3, "bucketed")];
    let spec = Fixture::spec(&[
        (2, "kind", Transform::Identity),
        (3, "b", Transform::Bucket(4)),
    ]);
    let mut fixture = Fixture::partitioned(FormatVersion::V2, fields, spec);
    let batch = fixture.batch(vec![longs([1]), texts(&[Some("x")]), longs([1])]);
    let partition = |kind| Struct::from_iter([kind, Some(Literal::int(1))]);
    let batch = batch.project(&[0]).unwrap();
    let named = fixture
        .data_in(&batch, partition(Some(Literal::string("film"))))
        .await;
    let null = fixture.data_in(&batch, partition(None)).await;
    fixture
        .commit(Operation::Append, vec![(0, named), (0, null)])
        .await;
    assert_eq!(
        print(&read_all(&fixture).await.unwrap()),
        "\
+----+------+----------+
| id | kind | bucketed |
+----+------+----------+
| 1  | film |          |
| 1  |      |          |
+----+------+----------+"
    );
}

fn date(id: i32, name: &str) -> NestedField {
    NestedField::optional(id, name, Type::Primitive(PrimitiveType::Date))
}

#[tokio::test]
async fn a_missing_column_is_its_partition_then_its_default_then_null() {
    let int = NestedField::optional(2, "n", Type::Primitive(PrimitiveType::Int));
    let spec = Fixture::spec(&[
        (2, "n", Transform::Identity),
        (3, "day", Transform::Identity),
        (4, "dropped", Transform::Void),
    ]);
    let columns = vec![
        long(1, "id"),
        int.into(),
        date(3, "day").into(),
        long(4, "void"),
    ];
    let mut fixture = Fixture::partitioned(FormatVersion::V3, columns, spec);
    let batch = fixture.batch(vec![
        longs([1]),
        Arc::new(Int32Array::from(vec![7])),
        Arc::new(arrow::array::Date32Array::from(vec![None])),
        longs([1]),
    ]);
    let partition = Struct::from_iter([Some(Literal::int(7)), None, None]);
    let data = fixture.data_in(&batch, partition).await;
    fixture.commit(Operation::Append, vec![(0, data)]).await;
    let plan = fixture.table().scan().plan().await.unwrap();
    let identity = identity_values(plan.table.metadata(), &plan.tasks[0]);
    let value = |field: &NestedField| {
        let column = missing_column(field, &identity, 2).unwrap();
        assert_eq!(column.len(), 2);
        let batch = RecordBatch::try_from_iter([(&field.name, column)]).unwrap();
        print(&[batch.slice(1, 1)])
            .lines()
            .nth(3)
            .unwrap()
            .trim_matches(['|', ' '])
            .to_string()
    };
    // The partition was written as an int; the column is a long now.
    let defaulted = |field: &NestedField, default| field.clone().with_initial_default(default);
    let promoted = defaulted(&long(2, "n"), Literal::long(1));
    assert_eq!(value(&promoted), "7");
    assert_eq!(missing_column(&promoted, &identity, 0).unwrap().len(), 0);
    let null = defaulted(&date(3, "day"), Literal::date(1));
    assert_eq!(value(&null), "");
    let void = defaulted(&long(4, "void"), Literal::long(5));
    assert_eq!(value(&void), "5");
    assert_eq!(value(&long(9, "added")), "");

    let misfit = text(2, "n").as_ref().clone();
    let required = NestedField::required(9, "must", Type::Primitive(PrimitiveType::Long));
    for field in [misfit, required] {
        let error = missing_column(&field, &identity, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&field.name), "{error}");
    }
}

#[test]
fn fields_keep_their_ids_or_get_them_from_the_mapping() {
    let mapping =
        r#"[{"field-id": 4, "names": ["s", "t"], "fields": [{"field-id": 5, "names": ["a"]}]}]"#;
    let mapping = serde_json::from_str(mapping).unwrap();
    let nested = |ids: bool| -> Fields {
        let field = |name: &str, ty, id: i32| {
            let id = [(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string())];
            let metadata = if ids { id.into() } else { Default::default() };
            Field::new(name, ty, true).with_metadata(metadata)
        };
        let a = field("a", DataType::Int64, 8);
        let s = DataType::Struct(vec![a, field("b", DataType::Int64, 9)].into());
        vec![field("t", s, 7), field("u", DataType::Int64, 6)].into()
    };
    let found = |fields: &Fields| {
        let DataType::Struct(inner) = fields[0].data_type() else {
            unreachable!()
        };
        let all = fields.iter().chain(inner);
        all.map(|field| crate::schema::field_id(field))
            .collect::<Vec<_>>()
    };
    let own = with_field_ids(&nested(true), Some(&mapping)).unwrap();
    assert_eq!(found(&own), [Some(7), Some(6), Some(8), Some(9)]);
    let mapped = with_field_ids(&nested(false), Some(&mapping)).unwrap();
    assert_eq!(found(&mapped), [Some(4), None, Some(5), None]);
    let error = with_field_ids(&nested(false), None).unwrap_err();
    assert!(error.to_string().contains("schema.name-mapping.default"));
}
