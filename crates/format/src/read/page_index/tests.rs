use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;

use super::*;
use crate::ErrorKind;
use crate::read::thrift::written::{number, signed};

/// A column chunk of five pages of 20 rows, its column index and its offset index.
fn indexed() -> (ColumnChunkMetaData, Vec<u8>, Vec<u8>) {
    let numbers = Int64Array::from_iter((0..100).map(|row| (row % 5 != 3).then_some(row)));
    let batch = RecordBatch::try_from_iter([("n", Arc::new(numbers) as ArrayRef)]).unwrap();
    let properties = WriterProperties::builder()
        .set_data_page_row_count_limit(20)
        .set_write_batch_size(20);
    let mut file = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let footer = reader.parse_and_finish(&Bytes::from(file.clone())).unwrap();
    let chunk = footer.row_group(0).column(0).clone();
    let part = |offset: Option<i64>, length: Option<i32>| {
        let start = offset.unwrap() as usize;
        file[start..start + length.unwrap() as usize].to_vec()
    };
    let columns = part(chunk.column_index_offset(), chunk.column_index_length());
    let offsets = part(chunk.offset_index_offset(), chunk.offset_index_length());
    (chunk, columns, offsets)
}

/// An offset index of pages with these offsets, sizes and first rows.
fn offsets(pages: &[(i64, i64, i64)]) -> Vec<u8> {
    let mut bytes = vec![0x19, 0xFC];
    bytes.extend(number(pages.len() as u64));
    for (offset, size, first_row) in pages {
        for (head, value) in [(0x16, offset), (0x15, size), (0x16, first_row)] {
            bytes.push(head);
            bytes.extend(signed(*value));
        }
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

fn refused<T: std::fmt::Debug>(outcome: Result<T>, message: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(message), "{error}");
}

#[test]
fn indexes_of_a_writer_are_good_and_no_beginning_of_them_is() {
    let (chunk, columns, offsets) = indexed();
    assert_eq!(check_column_index(&columns).unwrap(), 5);
    let rows: Vec<_> = offset_index(&offsets, &chunk, 100)
        .unwrap()
        .iter()
        .map(|page| page.first_row)
        .collect();
    assert_eq!(rows, [0, 20, 40, 60, 80]);
    for length in 0..columns.len() {
        assert!(check_column_index(&columns[..length]).is_err(), "{length}");
    }
    for length in 0..offsets.len() {
        assert!(
            offset_index(&offsets[..length], &chunk, 100).is_err(),
            "{length}"
        );
    }
}

#[test]
fn pages_that_overlap_lie_outside_or_go_back_are_refused() {
    let (chunk, ..) = indexed();
    let place = place(&chunk).unwrap();
    let (start, end) = (place.start as i64, place.end as i64);
    let good = |pages: &[_]| offset_index(&offsets(pages), &chunk, 100);
    good(&[(start, 10, 0), (start + 10, 10, 50), (start + 30, 0, 100)]).unwrap();
    for pages in [
        &[(start - 1, 10, 0)][..],
        &[(start, end - start + 1, 0)],
        &[(start, -1, 0)],
        &[(start, i64::MAX, 0)],
        &[(i64::MAX, 1, 0)],
        &[(start, 10, 1)],
        &[(start, 10, -1)],
        &[(start, 10, 0), (start + 9, 10, 50)],
        &[(start, 10, 0), (start + 10, 10, 101)],
        &[(start, 10, 0), (start + 10, 10, 50), (start + 20, 10, 49)],
    ] {
        refused(good(pages), "a page where none can be");
    }
    refused(good(&[]), "no pages");
    offset_index(&offsets(&[]), &chunk, 0).unwrap();
}

#[test]
fn absurd_counts_are_refused() {
    let (chunk, ..) = indexed();
    for count in [1 << 20, 1 << 31, 1 << 40, u64::MAX] {
        for (head, ty) in [
            (0x19, 0xF2),
            (0x29, 0xF8),
            (0x39, 0xF8),
            (0x59, 0xF6),
            (0x69, 0xF6),
        ] {
            let list = [vec![head, ty], number(count), vec![0; 90]].concat();
            refused(check_column_index(&list), "a count is impossible");
        }
        let list = [vec![0x19, 0xFC], number(count), vec![0; 90]].concat();
        refused(offset_index(&list, &chunk, 100), "a count is impossible");
    }
}

#[test]
fn lists_of_different_lengths_are_refused() {
    // Two pages that are not all NULL, and one least value.
    let list = [0x19, 0x22, 2, 2, 0x19, 0x18, 1, b'a', 0];
    refused(check_column_index(&list), "different lengths");
    refused(check_column_index(&[0]), "no pages");
}
