use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};

use super::*;
use crate::ErrorKind;
use crate::read::thrift::written::{number, signed};

const CODECS: [Compression; 3] = [
    Compression::UNCOMPRESSED,
    Compression::SNAPPY,
    Compression::LZ4_RAW,
];

const ROWS: i64 = 300;

/// A chunk of a file, and its bytes.
type Chunk = (ColumnChunkMetaData, Bytes);

/// A file with texts, numbers and lists, some of them NULL.
fn file(properties: WriterPropertiesBuilder) -> Bytes {
    let rows = ROWS;
    let texts = (0..rows).map(|row| (row % 7 != 3).then(|| format!("text {row}")));
    let numbers = (0..rows).map(|row| (row % 5 != 3).then_some(row));
    let lists = (0..rows).map(|row| (row % 3 != 1).then(|| vec![Some(row), None]));
    let batch = RecordBatch::try_from_iter_with_nullable([
        (
            "text",
            Arc::new(StringArray::from_iter(texts)) as ArrayRef,
            true,
        ),
        ("number", Arc::new(Int64Array::from_iter(numbers)), true),
        (
            "own",
            Arc::new(Int64Array::from_iter_values(0..rows)),
            false,
        ),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
            true,
        ),
    ])
    .unwrap();
    let mut file = Vec::new();
    let properties = properties
        .set_data_page_row_count_limit(64)
        .set_write_batch_size(64);
    let mut writer =
        ArrowWriter::try_new(&mut file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    Bytes::from(file)
}

/// The chunks of such a file.
fn chunks(properties: WriterPropertiesBuilder) -> Vec<Chunk> {
    let file = file(properties);
    let footer = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
    let columns = footer.metadata().row_group(0).columns();
    columns
        .iter()
        .map(|chunk| {
            let (start, length) = chunk.byte_range();
            (
                chunk.clone(),
                file.slice(start as usize..(start + length) as usize),
            )
        })
        .collect()
}

/// Checks these bytes as some pages of a chunk, or as the whole of it.
fn check(chunk: &ColumnChunkMetaData, bytes: &Bytes) -> Result<()> {
    at(chunk, place(chunk).unwrap().start, bytes, None)
}

fn at(
    chunk: &ColumnChunkMetaData,
    start: u64,
    bytes: &Bytes,
    locations: Option<&[PageLocation]>,
) -> Result<()> {
    super::check(&Part {
        chunk,
        rows: ROWS,
        start,
        bytes,
        locations,
    })
}

fn checked(chunk: &ColumnChunkMetaData, bytes: &[u8]) -> Result<()> {
    check(chunk, &Bytes::copy_from_slice(bytes))
}

fn accepted(chunk: &ColumnChunkMetaData, bytes: &[u8]) {
    checked(chunk, bytes).unwrap();
}

fn refused(chunk: &ColumnChunkMetaData, bytes: &[u8], message: &str) {
    let error = checked(chunk, bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(message), "{error}");
}

#[test]
fn pages_of_all_versions_codecs_and_encodings_are_good() {
    for codec in CODECS {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for encoding in [
                None,
                Some(Encoding::PLAIN),
                Some(Encoding::DELTA_LENGTH_BYTE_ARRAY),
                Some(Encoding::DELTA_BYTE_ARRAY),
            ] {
                let mut properties = WriterProperties::builder()
                    .set_compression(codec)
                    .set_writer_version(version);
                if let Some(encoding) = encoding {
                    properties = properties
                        .set_dictionary_enabled(false)
                        .set_column_encoding("text".into(), encoding);
                }
                for (chunk, bytes) in chunks(properties) {
                    let what = format!("{codec} {version:?} {encoding:?} {}", chunk.column_path());
                    check(&chunk, &bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
                    // What is behind the last page is not looked at, but what is cut is missed.
                    for length in (1..bytes.len()).step_by(7) {
                        let cut = check(&chunk, &bytes.slice(..length));
                        let between = cut.is_ok();
                        assert!(!between || is_between(&bytes, length), "{what}: {length}");
                    }
                }
            }
        }
    }
}

/// Whether a page ends at this length.
fn is_between(bytes: &Bytes, length: usize) -> bool {
    let mut input = Input(bytes);
    while bytes.len() - input.0.len() < length {
        let header = Header::read(&mut input).unwrap();
        input
            .take(usize::try_from(header.compressed).unwrap())
            .unwrap();
    }
    bytes.len() - input.0.len() == length
}

/// The header of a page of this kind: 5 for data, 7 for a dictionary.
fn page(kind: u8, size: i64, values: i64, encoding: Encoding, body: &[u8]) -> Vec<u8> {
    [
        vec![0x15],
        signed(if kind == 7 { 2 } else { 0 }),
        vec![0x15],
        signed(size),
        vec![0x15],
        signed(body.len() as i64),
        vec![(kind - 3) << 4 | 0x0C, 0x15],
        signed(values),
        vec![0x15],
        signed(encoding as i64),
        if kind == 5 {
            [vec![0x15], signed(3), vec![0x15], signed(3)].concat()
        } else {
            Vec::new()
        },
        vec![0, 0],
        body.to_vec(),
    ]
    .concat()
}

fn chunk_of(name: &str) -> ColumnChunkMetaData {
    let chunks = chunks(WriterProperties::builder().set_compression(Compression::UNCOMPRESSED));
    let mut chunks = chunks.into_iter().map(|(chunk, _)| chunk);
    chunks
        .find(|chunk| chunk.column_path().parts()[0] == name)
        .unwrap()
}

#[test]
fn dictionaries_with_more_values_than_bytes_are_refused() {
    let chunk = chunk_of("own");
    let dictionary = |values, body: &[u8]| page(7, 16, values, Encoding::PLAIN, body);
    check(&chunk, &dictionary(2, &[0; 16]).into()).unwrap();
    for values in [3, -1, 1 << 30, i32::MAX.into(), i32::MIN.into()] {
        refused(
            &chunk,
            &dictionary(values, &[0; 16]),
            "a dictionary has more values",
        );
    }
    // Compressed, the size that it will have counts.
    let chunk = chunk.into_builder().set_compression(Compression::SNAPPY);
    let chunk = chunk.build().unwrap();
    check(&chunk, &dictionary(2, &[0; 3]).into()).unwrap();
    refused(
        &chunk,
        &dictionary(3, &[0; 3]),
        "a dictionary has more values",
    );
}

#[test]
fn pages_of_impossible_sizes_and_counts_are_refused() {
    let chunk = chunk_of("own");
    let data = |size, values| page(5, size, values, Encoding::PLAIN, &[0; 9]);
    accepted(&chunk, &data(9, 300));
    accepted(&chunk, &[data(9, 150), data(9, 150)].concat());
    refused(&chunk, &data(9, 301), "more values than its footer");
    refused(&chunk, &data(9, -1), "more values than its footer");
    refused(
        &chunk,
        &[data(9, 150), data(9, 151)].concat(),
        "more values",
    );
    for size in [-1, i32::MIN.into(), i32::MAX.into()] {
        refused(&chunk, &data(size, 1), "impossible size");
    }
    let whole = data(9, 1);
    refused(&chunk, &whole[..whole.len() - 1], "impossible size");
    refused(&chunk, &[whole.clone(), vec![0xFF; 3]].concat(), "no type");
    check(&chunk, &[data(9, 300), vec![0xFF; 3]].concat().into()).unwrap();
}

/// The decoder goes by the type and by 32 bits of a number.
#[test]
fn headers_that_say_two_things_are_refused() {
    let chunk = chunk_of("own");
    let header = |values| page(5, 9, values, Encoding::PLAIN, &[0; 9]);
    accepted(&chunk, &header(300));
    for ty in [1, 2, 3] {
        let mut other = header(300);
        other[1] = signed(ty)[0];
        refused(&chunk, &other, "not of the type");
    }
    for number in [1 << 31, (1 << 32) + 6, i64::MAX, i64::MIN] {
        refused(&chunk, &header(number), "too great");
    }
}

#[test]
fn encodings_that_count_more_values_than_their_page_are_refused() {
    // No NULLs and no lists, so that values begin with the page.
    let text = chunk_of("text");
    let required = chunk_of("own");
    assert_eq!(required.column_descr().max_def_level(), 0);
    let levels = [2u32.to_le_bytes().to_vec(), vec![8, 1]].concat();
    let deltas = |count: u64, rest: &[u8]| {
        [
            number(128),
            number(4),
            number(count),
            signed(1),
            rest.to_vec(),
        ]
        .concat()
    };
    // A block of 4 times 32 numbers of 2 bits each, of which the second part is not there.
    let three = deltas(3, &[signed(0), vec![2, 0, 0, 0], vec![0; 8]].concat());
    for (chunk, before) in [(&text, &levels[..]), (&required, &[])] {
        let at = |encoding, values: &[u8]| {
            let body = [before, values].concat();
            page(5, body.len() as i64, 4, encoding, &body)
        };
        let length = Encoding::DELTA_LENGTH_BYTE_ARRAY;
        let both = Encoding::DELTA_BYTE_ARRAY;
        accepted(chunk, &at(length, &three));
        let twice = [three.clone(), three.clone()].concat();
        accepted(chunk, &at(both, &twice));
        for count in [5, 1 << 20, 1 << 36, u64::MAX] {
            let absurd = deltas(count, &[0; 50]);
            refused(chunk, &at(length, &absurd), "more values than its page");
            refused(chunk, &at(both, &absurd), "more values than its page");
            let second = [three.clone(), absurd].concat();
            refused(chunk, &at(both, &second), "more values than its page");
        }
        refused(chunk, &at(both, &three[..10]), "cut short");
        let blocks = [number(128), number(0), number(3), signed(1)].concat();
        refused(chunk, &at(length, &blocks), "blocks of impossible size");
    }
    refused(
        &text,
        &page(5, 3, 4, Encoding::DELTA_BYTE_ARRAY, &[9; 3]),
        "cut short",
    );
}

#[test]
fn a_column_with_other_values_than_rows_is_refused() {
    let chunk = chunk_of("own");
    let page = |values| page(5, 9, values, Encoding::PLAIN, &[0; 9]);
    let whole = |pages: Vec<u8>| {
        let size = i64::try_from(pages.len()).unwrap();
        let chunk = chunk.clone().into_builder().set_total_compressed_size(size);
        checked(&chunk.build().unwrap(), &pages)
    };
    whole([page(150), page(150)].concat()).unwrap();
    let error = whole([page(150), page(149)].concat()).unwrap_err();
    assert!(
        error.message().contains("another number of rows"),
        "{error}"
    );
}

#[test]
fn pages_that_are_not_where_the_offset_index_has_them_are_refused() {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let footer = ArrowReaderMetadata::load(&file(WriterProperties::builder()), options).unwrap();
    let indexes = &footer.metadata().offset_index().unwrap()[0];
    let chunks = chunks(WriterProperties::builder());
    for ((chunk, bytes), index) in chunks.into_iter().zip(indexes) {
        let start = place(&chunk).unwrap().start;
        let right: Vec<_> = index
            .page_locations()
            .iter()
            .map(|page| PageLocation {
                offset: page.offset.cast_unsigned(),
                first_row: page.first_row_index,
            })
            .collect();
        let third_size = index.page_locations()[2].compressed_page_size as usize;
        let whole = |locations: &[PageLocation]| at(&chunk, start, &bytes, Some(locations));
        let third = |locations: &[PageLocation]| {
            let begin = (right[2].offset - start) as usize;
            let page = bytes.slice(begin..begin + third_size);
            at(&chunk, right[2].offset, &page, Some(locations))
        };
        whole(&right).unwrap();
        third(&right).unwrap();
        let mut elsewhere = right.clone();
        elsewhere[2].offset += 1;
        assert!(whole(&elsewhere).is_err() && third(&elsewhere).is_err());
        let mut fewer = right.clone();
        fewer.remove(2);
        assert!(whole(&fewer).is_err() && third(&fewer).is_err());
        let mut others = right.clone();
        others[3].first_row += 1;
        assert!(whole(&others).is_err() && third(&others).is_err());
    }
}
