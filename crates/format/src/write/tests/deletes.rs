//! Deletes in the form of each format version.

use super::*;

/// A table partitioned by identity with two data files, and deletes of rows of both.
async fn deleted(version: FormatVersion) -> (Table, Vec<WrittenFile>, Vec<DeletedRows>) {
    let table = Spec {
        fields: vec![required(1, "id", P::Int), required(2, "p", P::String)],
        partition: &[(2, "p", Transform::Identity)],
        version,
        ..Spec::default()
    }
    .table();
    let p = (0..200_000).map(|i| if i % 2 == 0 { "even" } else { "odd" });
    let files = write_all(
        &table,
        &[batch(vec![
            (
                "id",
                Arc::new(Int32Array::from_iter_values(0..200_000)) as ArrayRef,
            ),
            ("p", Arc::new(StringArray::from_iter_values(p))),
        ])],
    )
    .await;
    let positions = [
        RoaringTreemap::from_iter([0, 7, 99_999]),
        RoaringTreemap::from_iter((0..100_000).filter(|i| i % 3 != 0)),
    ];
    let deletes = files
        .iter()
        .zip(positions)
        .map(|(file, positions)| DeletedRows {
            data_file: file.file.clone(),
            spec_id: file.spec_id,
            positions,
        })
        .collect();
    (table, files, deletes)
}

#[tokio::test]
async fn version_2_has_one_position_delete_file_per_data_file() {
    let (table, _, deletes) = deleted(FormatVersion::V2).await;
    let written = write_deletes(&table, &deletes).await.unwrap();
    assert_eq!(written.len(), 2);
    for (rows, delete) in deletes.iter().zip(&written) {
        let path = rows.data_file.file_path();
        let file = &delete.file;
        assert_eq!(file.content_type(), DataContentType::PositionDeletes);
        assert_eq!(file.file_format(), DataFileFormat::Parquet);
        assert_eq!(file.referenced_data_file().as_deref(), Some(path));
        assert_eq!(file.partition(), rows.data_file.partition());
        assert_eq!(delete.spec_id, rows.spec_id);
        assert_eq!(file.sort_order_id(), None);
        let (path_id, pos_id) = (2_147_483_546, 2_147_483_545);
        assert!(path.len() > 40, "the path must be longer than a cut bound");
        assert_eq!(file.lower_bounds()[&path_id], Datum::string(path));
        assert_eq!(file.upper_bounds()[&path_id], Datum::string(path));
        let first = rows.positions.min().unwrap() as i64;
        let last = rows.positions.max().unwrap() as i64;
        assert_eq!(file.lower_bounds()[&pos_id], Datum::long(first));
        assert_eq!(file.upper_bounds()[&pos_id], Datum::long(last));
        let data = read(&table, delete).await;
        let schema = data.schema();
        let columns: Vec<_> = schema
            .fields()
            .iter()
            .map(|f| {
                (
                    f.name().as_str(),
                    crate::schema::field_id(f),
                    f.is_nullable(),
                )
            })
            .collect();
        assert_eq!(
            columns,
            [
                ("file_path", Some(path_id), false),
                ("pos", Some(pos_id), false)
            ]
        );
        assert!(
            data.column(0)
                .as_string::<i32>()
                .iter()
                .all(|p| p == Some(path))
        );
        let positions = data.column(1).as_primitive::<Int64Type>().values();
        assert!(positions.is_sorted());
        assert!(
            positions
                .iter()
                .map(|p| *p as u64)
                .eq(rows.positions.iter())
        );
    }
    // Beside their data files, so that partitions can be copied whole.
    let folder = |path: &str| path.rsplit_once('/').unwrap().0.to_string();
    assert_eq!(
        folder(written[0].file.file_path()),
        folder(deletes[0].data_file.file_path())
    );
    discard(&table, &written).await;
    assert_eq!(stored(&table).await.len(), 2);
}

#[tokio::test]
async fn version_3_has_one_puffin_file_of_deletion_vectors() {
    let (table, _, deletes) = deleted(FormatVersion::V3).await;
    let written = write_deletes(&table, &deletes).await.unwrap();
    assert_eq!(written.len(), 2);
    assert_eq!(written[0].file.file_path(), written[1].file.file_path());
    let path = written[0].file.file_path();
    let input = table.storage().file_io().new_input(path).unwrap();
    let reader = PuffinReader::new(input);
    let footer = reader.file_metadata().await.unwrap().clone();
    assert_eq!(footer.blobs().len(), 2, "nothing else may be in the file");
    let whole = bytes(&table, path).await;
    for ((rows, delete), blob) in deletes.iter().zip(&written).zip(footer.blobs()) {
        let file = &delete.file;
        assert_eq!(file.file_format(), DataFileFormat::Puffin);
        assert_eq!(file.record_count(), rows.positions.len());
        assert_eq!(file.file_size_in_bytes(), whole.len() as u64);
        assert_eq!(file.content_offset(), Some(blob.offset() as i64));
        assert_eq!(file.content_size_in_bytes(), Some(blob.length() as i64));
        assert_eq!(file.partition(), rows.data_file.partition());
        let target = rows.data_file.file_path();
        assert_eq!(file.referenced_data_file().as_deref(), Some(target));
        assert_eq!(blob.blob_type(), "deletion-vector-v1");
        assert_eq!((blob.snapshot_id(), blob.sequence_number()), (-1, -1));
        assert_eq!(blob.fields(), [2_147_483_645]);
        assert_eq!(blob.properties()["referenced-data-file"], target);
        assert_eq!(
            blob.properties()["cardinality"],
            rows.positions.len().to_string()
        );
        let data = whole.slice(blob.offset() as usize..(blob.offset() + blob.length()) as usize);
        let (length, rest) = data.split_at(4);
        let (vector, sum) = rest.split_at(rest.len() - 4);
        assert_eq!(
            u32::from_be_bytes(length.try_into().unwrap()) as usize,
            vector.len()
        );
        assert_eq!(vector[..4], [0xD1, 0xD3, 0x39, 0x64]);
        let mut crc = flate2::Crc::new();
        crc.update(vector);
        assert_eq!(sum, crc.sum().to_be_bytes());
        let positions = RoaringTreemap::deserialize_from(&vector[4..]).unwrap();
        assert_eq!(positions, rows.positions);
    }
}

#[tokio::test]
async fn deletes_that_make_no_sense_are_refused() {
    let (table, files, deletes) = deleted(FormatVersion::V2).await;
    let with = |positions: RoaringTreemap| DeletedRows {
        positions,
        ..deletes[0].clone()
    };
    let behind = RoaringTreemap::from_iter([files[0].file.record_count()]);
    let foreign = DeletedRows {
        spec_id: 77,
        ..deletes[0].clone()
    };
    for (deletes, part) in [
        (vec![with(RoaringTreemap::new())], "no positions"),
        (vec![with(behind)], "behind the end"),
        (vec![deletes[0].clone(), deletes[0].clone()], "named twice"),
        (vec![foreign], "spec: 77"),
    ] {
        let error = write_deletes(&table, &deletes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(write_deletes(&table, &[]).await.unwrap(), []);
    assert_eq!(
        stored(&table).await.len(),
        2,
        "a refused delete must leave no file"
    );
}
