use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use iceberg::expr::Predicate;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, FormatVersion, NestedField,
    PrimitiveType, Type,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;
use crate::fixture::Fixture;
use crate::storage::Location;
use crate::{Error, ErrorKind};

fn fixture() -> Fixture {
    let id = NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long));
    Fixture::new(FormatVersion::V2, vec![id.into()])
}

const DATA: &str = "memory:///wh/t/data/a.parquet";

fn task(path: &str, deletes: Vec<DataFile>) -> ScanTask {
    let file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path.to_string())
        .file_format(DataFileFormat::Parquet)
        .record_count(10)
        .file_size_in_bytes(10)
        .build()
        .unwrap();
    let position_deletes = deletes
        .into_iter()
        .map(|file| {
            Arc::new(DeleteFile {
                file,
                spec_id: 0,
                sequence_number: 1,
            })
        })
        .collect();
    ScanTask {
        file: Arc::new(file),
        range: None,
        spec_id: 0,
        sequence_number: 0,
        position_deletes,
        equality_deletes: Vec::new(),
        residual: Predicate::AlwaysTrue,
    }
}

async fn positions(fixture: &Fixture, task: &ScanTask) -> Result<Vec<u64>> {
    let loader = DeleteLoader::new(fixture.storage.clone());
    let positions = loader.positions(task).await?;
    Ok(positions.map_or_else(Vec::new, |positions| positions.iter().collect()))
}

/// The rows that selections leave, by looking at each.
fn left(selections: &[Option<RowSelection>], row_counts: &[u64]) -> Vec<u64> {
    let mut rows = Vec::new();
    let mut start = 0;
    for (selection, count) in selections.iter().zip(row_counts) {
        match selection {
            None => rows.extend(start..start + count),
            Some(selection) => {
                let mut at = start;
                for selector in selection.iter() {
                    let end = at + selector.row_count as u64;
                    if !selector.skip {
                        rows.extend(at..end);
                    }
                    at = end;
                }
                assert_eq!(at, start + count, "a selection covers its whole row group");
            }
        }
        start += count;
    }
    rows
}

#[test]
fn untouched_row_groups_have_no_selection() {
    let deleted: RoaringTreemap = [4, 5, 9, 100].into_iter().collect();
    let selections = selections(&deleted, &[4, 4, 0, 4]);
    assert_eq!(
        selections.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, true, false, true]
    );
    assert_eq!(
        left(&selections, &[4, 4, 0, 4]),
        [0, 1, 2, 3, 6, 7, 8, 10, 11]
    );
}

proptest! {
    #[test]
    fn selections_leave_exactly_what_is_not_deleted(
        deleted in prop::collection::btree_set(0u64..60, 0..40),
        row_counts in prop::collection::vec(0u64..12, 0..6),
    ) {
        let total: u64 = row_counts.iter().sum();
        let map: RoaringTreemap = deleted.iter().copied().collect();
        let expected: Vec<u64> = (0..total).filter(|row| !deleted.contains(row)).collect();
        prop_assert_eq!(left(&selections(&map, &row_counts), &row_counts), expected);
    }

    #[test]
    fn a_vector_of_any_bytes_is_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = vector::decode(&bytes);
    }

    #[test]
    fn a_bitmap_of_any_bytes_behind_a_right_checksum_is_decoded_or_refused(
        bitmap in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let content = [&[0xD1, 0xD3, 0x39, 0x64][..], &bitmap].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&content);
        let blob = [
            &(content.len() as u32).to_be_bytes()[..],
            &content,
            &crc.sum().to_be_bytes(),
        ]
        .concat();
        let _ = vector::decode(&blob);
    }
}

#[test]
fn each_part_of_a_vector_is_checked() {
    let positions: RoaringTreemap = [0, 7, 1 << 33, (1 << 40) + 1].into_iter().collect();
    let blob = Fixture::blob(&positions);
    assert_eq!(vector::decode(&blob).unwrap(), positions);
    for at in 0..blob.len() {
        let mut damaged = blob.clone();
        damaged[at] ^= 1;
        let error = vector::decode(&damaged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}");
    }
    for length in 0..blob.len() {
        assert!(vector::decode(&blob[..length]).is_err());
    }
}

#[tokio::test]
async fn impossible_places_and_counts_of_vectors_are_refused_with_the_path() {
    let mut fixture = fixture();
    let map: RoaringTreemap = [1, 2].into_iter().collect();
    let blob = Fixture::blob(&map);
    let good = fixture.vector(DATA, &blob, 2).await;
    let found = positions(&fixture, &task(DATA, vec![good.clone()]))
        .await
        .unwrap();
    assert_eq!(found, [1, 2]);

    let changed = |offset: Option<i64>, size: Option<i64>, rows: u64| {
        DataFileBuilder::default()
            .content(DataContentType::PositionDeletes)
            .file_path(good.file_path().to_string())
            .file_format(DataFileFormat::Puffin)
            .record_count(rows)
            .file_size_in_bytes(good.file_size_in_bytes())
            .referenced_data_file(Some(DATA.to_string()))
            .content_offset(offset)
            .content_size_in_bytes(size)
            .build()
            .unwrap()
    };
    let size = blob.len() as i64;
    for wrong in [
        changed(None, Some(size), 2),
        changed(Some(4), None, 2),
        changed(Some(-1), Some(size), 2),
        changed(Some(4), Some(-1), 2),
        changed(Some(4), Some(i64::MAX), 2),
        changed(Some(i64::MAX), Some(size), 2),
        changed(Some(4), Some(3), 2),
        changed(Some(5), Some(size), 2),
        changed(Some(4), Some(size), 3),
    ] {
        let error = positions(&fixture, &task(DATA, vec![wrong]))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(good.file_path()), "{error}");
    }
}

#[tokio::test]
async fn paths_are_compared_in_their_normal_spelling_and_others_left_out() {
    let mut fixture = fixture();
    let rows = [
        ("memory:/wh//t/data/a.parquet", 3),
        (DATA, 1),
        (DATA, 1),
        ("memory:///wh/t/data/b.parquet", 2),
    ];
    let file = fixture
        .position_deletes(&rows, false)
        .await
        .build()
        .unwrap();
    let more = fixture
        .position_deletes(&[(DATA, 9)], true)
        .await
        .build()
        .unwrap();
    let both = task(DATA, vec![file.clone(), more]);
    assert_eq!(positions(&fixture, &both).await.unwrap(), [1, 3, 9]);
    let other = task("memory:///wh/t/data/c.parquet", vec![file]);
    let loader = DeleteLoader::new(fixture.storage.clone());
    assert!(loader.positions(&other).await.unwrap().is_none());
}

#[tokio::test]
async fn a_delete_file_is_loaded_once_per_loader() {
    let mut fixture = fixture();
    let file = fixture
        .position_deletes(&[(DATA, 9)], true)
        .await
        .build()
        .unwrap();
    let location = Location::parse(file.file_path()).unwrap();
    let task = task(DATA, vec![file.clone()]);
    let loader = DeleteLoader::new(fixture.storage.clone());
    let first = loader.positions(&task).await.unwrap().unwrap();
    fixture.storage.delete(&location).await.unwrap();
    let again = loader.clone().positions(&task).await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    let error = positions(&fixture, &task).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(file.file_path()), "{error}");
}

async fn parquet(fixture: &mut Fixture, ids: bool, position: Option<i64>) -> DataFile {
    let column = |name: &str, ty, id: &str| {
        let metadata = match ids {
            true => HashMap::from([("PARQUET:field_id".to_string(), id.to_string())]),
            false => HashMap::new(),
        };
        Field::new(name, ty, true).with_metadata(metadata)
    };
    let schema = Arc::new(Schema::new(vec![
        column("pos", DataType::Int64, "2147483545"),
        column("file_path", DataType::Utf8, "2147483546"),
    ]));
    let columns = vec![
        Arc::new(Int64Array::from(vec![position])) as _,
        Arc::new(StringArray::from(vec![DATA])) as _,
    ];
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let (path, size) = fixture.put("odd.parquet", bytes).await;
    DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .record_count(1)
        .file_size_in_bytes(size)
        .build()
        .unwrap()
}

/// A footer that names one path for each row group names none for the file.
#[tokio::test]
async fn paths_that_a_footer_tells_are_those_of_their_rows() {
    let other = "memory:///t/data/other.parquet";
    for (paths, of_data, of_other) in [
        ([DATA, DATA, DATA], vec![3, 5, 9], vec![]),
        ([DATA, DATA, other], vec![3, 5], vec![9]),
        ([DATA, other, other], vec![3], vec![5, 9]),
        ([other, other, other], vec![], vec![3, 5, 9]),
    ] {
        for rows_of_group in [1, 2, 3] {
            let mut fixture = fixture();
            let schema = Arc::new(Schema::new(vec![
                Field::new("file_path", DataType::Utf8, false),
                Field::new("pos", DataType::Int64, false),
            ]));
            let columns = vec![
                Arc::new(StringArray::from(paths.to_vec())) as _,
                Arc::new(Int64Array::from(vec![3, 5, 9])) as _,
            ];
            let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
            let properties = WriterProperties::builder()
                .set_max_row_group_row_count(Some(rows_of_group))
                .set_statistics_truncate_length(None)
                .build();
            let mut bytes = Vec::new();
            let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            let (path, size) = fixture.put("told.parquet", bytes).await;
            let file = DataFileBuilder::default()
                .content(DataContentType::PositionDeletes)
                .file_path(path)
                .file_format(DataFileFormat::Parquet)
                .record_count(3)
                .file_size_in_bytes(size)
                .build()
                .unwrap();
            for (data_file, deleted) in [(DATA, &of_data), (other, &of_other)] {
                let found = positions(&fixture, &task(data_file, vec![file.clone()])).await;
                let what = format!("{paths:?} in groups of {rows_of_group}: {data_file}");
                assert_eq!(&found.unwrap(), deleted, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn delete_files_without_ids_are_read_by_their_fixed_names() {
    let mut fixture = fixture();
    let file = parquet(&mut fixture, false, Some(4)).await;
    let found = positions(&fixture, &task(DATA, vec![file])).await.unwrap();
    assert_eq!(found, [4]);
}

#[tokio::test]
async fn negative_and_missing_positions_are_corrupt() {
    let mut fixture = fixture();
    for position in [Some(-1), None] {
        let file = parquet(&mut fixture, true, position).await;
        let path = file.file_path().to_string();
        let error: Error = positions(&fixture, &task(DATA, vec![file]))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&path), "{error}");
    }
}
