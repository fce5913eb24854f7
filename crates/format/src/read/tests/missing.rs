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

/// A data file of these bytes without anything said of its columns.
async fn foreign(fixture: &mut Fixture, bytes: Vec<u8>, rows: u64) -> DataFile {
    let (path, size) = fixture.put("foreign.parquet", bytes).await;
    let mut file = iceberg::spec::DataFileBuilder::default();
    file.content(iceberg::spec::DataContentType::Data)
        .file_path(path)
        .file_format(iceberg::spec::DataFileFormat::Parquet)
        .partition(Struct::empty())
        .record_count(rows)
        .file_size_in_bytes(size);
    file.build().unwrap()
}

/// What is inside of a list or a map has the names `element`, `key` and `value` in a mapping, and in files
/// what the writer liked; the oldest form of a list has no level between it and its elements.
#[tokio::test]
async fn what_is_inside_of_lists_and_maps_is_mapped_whatever_the_writer_called_it() {
    let element = StructType::new(vec![long(6, "a"), long(7, "b")]);
    let element = NestedField::list_element(5, Type::Struct(element), false);
    let list = NestedField::optional(2, "l", Type::List(ListType::new(element.into())));
    let numbers = NestedField::list_element(8, Type::Primitive(PrimitiveType::Long), false);
    let numbers = NestedField::optional(3, "n", Type::List(ListType::new(numbers.into())));
    let key = NestedField::map_key_element(9, Type::Primitive(PrimitiveType::String));
    let value = Type::Struct(StructType::new(vec![long(11, "c")]));
    let value = NestedField::map_value_element(10, value, false);
    let map = MapType::new(key.into(), value.into());
    let map = NestedField::optional(4, "m", Type::Map(map));
    // The ids are those that a new table gets.
    let columns = vec![long(1, "id"), list.into(), numbers.into(), map.into()];
    let mut fixture = Fixture::new(FormatVersion::V2, columns);
    fixture.set(
        "schema.name-mapping.default",
        r#"[{"field-id": 1, "names": ["id"]},
            {"field-id": 2, "names": ["l"], "fields": [{"field-id": 5, "names": ["element"], "fields": [
                {"field-id": 6, "names": ["a"]}, {"field-id": 7, "names": ["b"]}]}]},
            {"field-id": 3, "names": ["n"], "fields": [{"field-id": 8, "names": ["element"]}]},
            {"field-id": 4, "names": ["m"], "fields": [{"field-id": 9, "names": ["key"]},
                {"field-id": 10, "names": ["value"], "fields": [{"field-id": 11, "names": ["c"]}]}]}]"#,
    );
    let mut added = Vec::new();
    for (item, entries, of_key, of_value) in [
        ("element", "key_value", "key", "value"),
        ("item", "entries", "keys", "values"),
        ("array_element", "map", "k", "v"),
    ] {
        // The fields of the struct stand in another order than in the table.
        let plain = |name: &str, ty| Field::new(name, ty, true);
        let pair = Fields::from(vec![
            plain("b", DataType::Int64),
            plain("a", DataType::Int64),
        ]);
        let pairs = StructArray::new(pair.clone(), vec![longs([20]), longs([10])], None);
        let item_of = |ty| Arc::new(plain(item, ty));
        let list = ListArray::new(
            item_of(DataType::Struct(pair)),
            OffsetBuffer::from_lengths([1]),
            Arc::new(pairs),
            None,
        );
        let numbers = ListArray::new(
            item_of(DataType::Int64),
            OffsetBuffer::from_lengths([2]),
            longs([7, 8]),
            None,
        );
        let inner = Fields::from(vec![plain("c", DataType::Int64)]);
        let values = StructArray::new(inner.clone(), vec![longs([30])], None);
        let of_entry = Fields::from(vec![
            Field::new(of_key, DataType::Utf8, false),
            plain(of_value, DataType::Struct(inner)),
        ]);
        let both: Vec<ArrayRef> = vec![texts(&[Some("k")]), Arc::new(values)];
        let pairs = StructArray::new(of_entry.clone(), both, None);
        let entries = Field::new(entries, DataType::Struct(of_entry), false);
        let offsets = OffsetBuffer::from_lengths([1]);
        let map = MapArray::new(Arc::new(entries), offsets, pairs, None, false);
        let columns: [(&str, ArrayRef); 4] = [
            ("id", longs([1])),
            ("l", Arc::new(list)),
            ("n", Arc::new(numbers)),
            ("m", Arc::new(map)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        added.push((0, foreign(&mut fixture, bytes, 1).await));
    }
    added.push((0, foreign(&mut fixture, two_levels(), 3).await));
    fixture.commit(Operation::Append, added).await;
    assert_eq!(
        print(&read_all(&fixture).await.unwrap()),
        "\
+----+------------------+--------+--------------+
| id | l                | n      | m            |
+----+------------------+--------+--------------+
| 1  | [{a: 10, b: 20}] | [7, 8] | {k: {c: 30}} |
| 1  | [{a: 10, b: 20}] | [7, 8] | {k: {c: 30}} |
| 1  | [{a: 10, b: 20}] | [7, 8] | {k: {c: 30}} |
| 2  |                  | [7, 8] |              |
| 3  |                  |        |              |
| 4  |                  | []     |              |
+----+------------------+--------+--------------+"
    );
}

/// A file of `id` and `n` whose list is of two levels, as Hive and old Spark wrote it.
fn two_levels() -> Vec<u8> {
    use parquet::data_type::Int64Type as Long;
    let message = "message hive_schema {
        optional int64 id;
        optional group n (LIST) { repeated int64 array; }
    }";
    let schema = parquet::schema::parser::parse_message_type(message).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::file::writer::SerializedFileWriter::new(
        &mut bytes,
        Arc::new(schema),
        Default::default(),
    )
    .unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let ids = column.typed::<Long>();
    ids.write_batch(&[2, 3, 4], Some(&[1, 1, 1]), None).unwrap();
    column.close().unwrap();
    // [7, 8], NULL and the empty list.
    let mut column = group.next_column().unwrap().unwrap();
    let numbers = column.typed::<Long>();
    numbers
        .write_batch(&[7, 8], Some(&[2, 2, 0, 1]), Some(&[0, 1, 0, 0]))
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}
