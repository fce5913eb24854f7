//! When files are closed, how they are uploaded, and what their footers say.

use super::*;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

#[tokio::test]
async fn files_roll_at_the_target_size() {
    let table = Spec {
        fields: vec![required(1, "id", P::Long), optional(2, "noise", P::Binary)],
        properties: &[("write.target-file-size-bytes", "200000")],
        ..Spec::default()
    }
    .table();
    // One large batch and many small ones give the same files, about.
    let one = |ids: std::ops::Range<i64>| {
        let blobs: Vec<_> = ids.clone().map(|id| noise(id as u64, 100)).collect();
        batch(vec![
            (
                "id",
                Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef,
            ),
            ("noise", Arc::new(BinaryArray::from_iter_values(blobs))),
        ])
    };
    let small: Vec<_> = (0..100).map(|i| one(i * 100..(i + 1) * 100)).collect();
    for batches in [vec![one(0..10_000)], small] {
        let files = write_all(&table, &batches).await;
        let sizes: Vec<_> = files.iter().map(|f| f.file.file_size_in_bytes()).collect();
        assert!((4..=7).contains(&files.len()), "{sizes:?}");
        for size in &sizes[..sizes.len() - 1] {
            assert!((180_000..260_000).contains(size), "{sizes:?}");
        }
        let mut ids = Vec::new();
        for file in &files {
            ids.extend_from_slice(
                read(&table, file)
                    .await
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values(),
            );
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..10_000).collect::<Vec<_>>());
        discard(&table, &files).await;
    }
    assert_eq!(stored(&table).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_largest_file_is_closed_when_memory_is_full() {
    let table = Spec {
        fields: vec![required(1, "p", P::Int), optional(2, "noise", P::Binary)],
        partition: &[(1, "p", Transform::Identity)],
        ..Spec::default()
    }
    .table();
    let limit = 500_000;
    let mut writer = DataWriter::new(&table).unwrap().memory_limit(limit);
    for round in 0..60 {
        // Partition 0 grows ten times faster than the others.
        let keys: Vec<i32> = (0..20).map(|i| if i < 10 { 0 } else { i }).collect();
        let blobs: Vec<_> = (0..20).map(|i| noise(round * 20 + i, 500)).collect();
        writer
            .write(&batch(vec![
                ("p", Arc::new(Int32Array::from(keys)) as ArrayRef),
                ("noise", Arc::new(BinaryArray::from_iter_values(blobs))),
            ]))
            .await
            .unwrap();
        let held: usize = writer.open.values().map(OpenFile::memory).sum();
        assert!(held <= limit, "{held} bytes are held");
    }
    let files = writer.finish().await.unwrap();
    let mut per_partition = BTreeMap::new();
    for file in &files {
        let Some(PrimitiveLiteral::Int(p)) = primitive(file, 0) else {
            panic!("no partition");
        };
        let (count, rows) = per_partition.entry(p).or_insert((0, 0));
        *count += 1;
        *rows += file.file.record_count();
    }
    assert_eq!(per_partition.len(), 11);
    assert!(
        per_partition[&0].0 > 1,
        "the large partition was never closed early"
    );
    assert_eq!(per_partition[&0].1, 600);
    assert!(
        (10..20).all(|p| per_partition[&p] == (1, 60)),
        "{per_partition:?}"
    );
}

#[tokio::test]
async fn a_large_file_is_uploaded_in_parts() {
    let table = Spec {
        fields: vec![optional(1, "noise", P::Binary)],
        properties: &[
            ("write.parquet.row-group-size-bytes", "6000000"),
            ("write.parquet.compression-codec", "uncompressed"),
        ],
        ..Spec::default()
    }
    .table();
    let blobs: Vec<_> = (0..24).map(|i| noise(i, 1 << 20)).collect();
    let all = batch(vec![(
        "noise",
        Arc::new(BinaryArray::from_iter_values(&blobs)) as ArrayRef,
    )]);
    let files = write_all(&table, std::slice::from_ref(&all)).await;
    assert_eq!(files.len(), 1);
    assert!(files[0].file.split_offsets().unwrap().len() > 2);
    let data = read(&table, &files[0]).await;
    assert_eq!(data.column(0).to_data(), all.column(0).to_data());
}

#[tokio::test]
async fn the_footer_has_field_ids_the_schema_and_the_codec() {
    let element = NestedField::list_element(5, Type::Primitive(P::Uuid), true);
    let table = Spec {
        fields: vec![
            optional(1, "u", P::Uuid),
            NestedField::optional(2, "l", Type::List(ListType::new(element.into()))),
            optional(3, "t", P::Timestamptz),
            optional(4, "b", P::Boolean),
        ],
        properties: &[
            ("write.parquet.compression-codec", "lz4"),
            ("write.parquet.bloom-filter-enabled.column.u", "true"),
            ("write.parquet.bloom-filter-enabled.column.b", "true"),
            ("write.parquet.bloom-filter-enabled.column.gone", "true"),
        ],
        ..Spec::default()
    }
    .table();
    let uuids = FixedSizeBinaryArray::try_from_iter([[7_u8; 16]].into_iter()).unwrap();
    let files = write_all(&table, &[batch(vec![("u", Arc::new(uuids))])]).await;
    let bytes = bytes(&table, files[0].file.file_path()).await;
    let reader = SerializedFileReader::new(bytes).unwrap();
    let file = reader.metadata().file_metadata();
    let descr = file.schema_descr();
    let columns: Vec<_> = (0..descr.num_columns())
        .map(|i| {
            let column = descr.column(i);
            (
                column.path().string(),
                column.self_type().get_basic_info().id(),
            )
        })
        .collect();
    let expected = [("u", 1), ("l.list.element", 5), ("t", 3), ("b", 4)];
    assert_eq!(columns, expected.map(|(path, id)| (path.to_string(), id)));
    assert_eq!(
        descr.column(0).logical_type_ref(),
        Some(&parquet::basic::LogicalType::Uuid)
    );
    let json = file
        .key_value_metadata()
        .unwrap()
        .iter()
        .find(|pair| pair.key == "iceberg.schema")
        .and_then(|pair| pair.value.as_ref())
        .unwrap();
    let schema: Schema = serde_json::from_str(json).unwrap();
    assert_eq!(&schema, table.metadata().current_schema().as_ref());
    let group = reader.metadata().row_group(0);
    assert!(
        group
            .columns()
            .iter()
            .all(|c| c.compression() == Compression::LZ4_RAW)
    );
    assert!(group.column(0).bloom_filter_offset().is_some());
    assert!(group.column(3).bloom_filter_offset().is_none());
    let uuid = Datum::uuid(uuid::Uuid::from_bytes([7; 16]));
    assert_eq!(files[0].file.lower_bounds().get(&1), Some(&uuid));
}

#[tokio::test]
async fn no_rows_make_no_file_and_an_abort_leaves_none() {
    let table = Spec {
        fields: vec![required(1, "id", P::Int)],
        properties: &[("write.target-file-size-bytes", "1")],
        ..Spec::default()
    }
    .table();
    let rows = |n| {
        batch(vec![(
            "id",
            Arc::new(Int32Array::from_iter_values(0..n)) as ArrayRef,
        )])
    };
    assert_eq!(write_all(&table, &[rows(0)]).await, []);
    let mut writer = DataWriter::new(&table).unwrap();
    writer.write(&rows(20_000)).await.unwrap();
    writer.abort().await;
    assert_eq!(stored(&table).await, Vec::<String>::new());
}
