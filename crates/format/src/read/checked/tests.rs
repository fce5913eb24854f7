use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection, RowSelector};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::{WriterProperties, WriterVersion};

use super::*;
use crate::ErrorKind;

#[derive(Debug, Clone)]
struct File(Bytes);

impl AsyncFileReader for File {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let bytes = self.0.slice(range.start as usize..range.end as usize);
        async move { Ok(bytes) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async { Err(ParquetError::General("nobody asks for it".into())) }.boxed()
    }
}

const ROWS: i64 = 200;

/// Two row groups of five pages of 20 rows.
fn file(version: WriterVersion) -> Vec<u8> {
    let rows = || 0..ROWS;
    let numbers = Int64Array::from_iter(rows().map(|row| (row % 5 != 3).then_some(row)));
    let lists = rows().map(|row| (row % 3 != 1).then(|| vec![Some(row), None]));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(numbers) as ArrayRef, true),
        (
            "l",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
            true,
        ),
    ])
    .unwrap();
    let properties = WriterProperties::builder()
        .set_writer_version(version)
        .set_max_row_group_row_count(Some(100))
        .set_data_page_row_count_limit(20)
        .set_write_batch_size(20);
    let mut file = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

fn open(file: &[u8]) -> CheckedParquet<File> {
    let bytes = Bytes::copy_from_slice(file);
    CheckedParquet::new(File(bytes), file.len() as u64, None)
}

/// Reads the rows that are selected by the page index, with another reader than the one that loads it.
async fn selected(file: &[u8], selection: Option<RowSelection>) -> Result<usize, ParquetError> {
    let mut input = open(file);
    let footer = input.load_footer().await?;
    let mut reader = ParquetMetaDataReader::new_with_metadata(ParquetMetaData::clone(&footer))
        .with_page_index_policy(PageIndexPolicy::Optional);
    reader.load_page_index(&mut input).await?;
    let footer = Arc::new(reader.finish()?);
    let footer = ArrowReaderMetadata::try_new(footer, ArrowReaderOptions::new())?;
    let other = CheckedParquet::sharing(
        input.input.clone(),
        input.size,
        None,
        Arc::clone(&input.known),
    );
    let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(other, footer);
    if let Some(selection) = selection {
        builder = builder.with_row_selection(selection);
    }
    let batches: Vec<_> = builder.build()?.try_collect().await?;
    Ok(batches.iter().map(RecordBatch::num_rows).sum())
}

/// Some rows of the second page, and of the eighth.
fn some() -> RowSelection {
    RowSelection::from(vec![
        RowSelector::skip(25),
        RowSelector::select(10),
        RowSelector::skip(110),
        RowSelector::select(3),
        RowSelector::skip(52),
    ])
}

fn ours(error: ParquetError) -> Error {
    match error {
        ParquetError::External(error) => *error.downcast::<Error>().unwrap(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn whole_files_are_read_with_and_without_their_page_indexes() {
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        let file = file(version);
        assert_eq!(selected(&file, None).await.unwrap(), 200);
        assert_eq!(selected(&file, Some(some())).await.unwrap(), 13);
        let stream = ParquetRecordBatchStreamBuilder::new(open(&file))
            .await
            .unwrap();
        let batches: Vec<_> = stream.build().unwrap().try_collect().await.unwrap();
        assert_eq!(
            batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
            200
        );
    }
}

#[tokio::test]
async fn places_outside_of_the_file_are_not_asked_for() {
    let file = file(WriterVersion::PARQUET_1_0);
    let size = file.len() as u64;
    for (start, end) in [(0, size + 1), (size, size), (9, 9), (9, 8), (0, u64::MAX)] {
        let mut input = open(&file);
        let range = Range { start, end };
        let error = ours(input.get_byte_ranges(vec![0..4, range]).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.message().contains("impossible place"), "{error}");
    }
}

/// A reader that never saw the footer looks at it before it gives bytes away.
#[tokio::test]
async fn nothing_is_given_away_before_the_footer_is_known() {
    let file = file(WriterVersion::PARQUET_1_0);
    let footer = open(&file).load_footer().await.unwrap();
    let (start, length) = footer.row_group(0).column(0).byte_range();
    let mut damaged = file.clone();
    // The head of the first page's header is that of a field without a type.
    damaged[start as usize] = 0x1F;
    let chunk = start..start + length;
    open(&file).get_bytes(chunk.clone()).await.unwrap();
    let error = ours(open(&damaged).get_bytes(chunk).await.unwrap_err());
    assert!(
        error.context().contains(&("column", "n".to_string())),
        "{error:?}"
    );
}

/// Whatever byte of the offset indexes is changed: an error, or as many rows as are wanted.
#[tokio::test]
async fn an_offset_index_that_is_damaged_leads_to_no_other_rows() {
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        let file = file(version);
        let footer = open(&file).load_footer().await.unwrap();
        let mut refused = 0;
        let chunks = footer.row_groups().iter().flat_map(|group| group.columns());
        let indexes = chunks.map(|chunk| {
            let start = chunk.offset_index_offset().unwrap() as usize;
            start..start + chunk.offset_index_length().unwrap() as usize
        });
        for at in indexes.flatten() {
            for mask in [0x01, 0x02, 0x40, 0x80, 0xFF] {
                let mut damaged = file.clone();
                damaged[at] ^= mask;
                for (selection, wanted) in [(None, 200), (Some(some()), 13)] {
                    match selected(&damaged, selection).await {
                        Ok(rows) => assert_eq!(rows, wanted, "byte {at} xor {mask:#04x}"),
                        Err(_) => refused += 1,
                    }
                }
            }
        }
        // Most of them go without page indexes.
        assert!(refused > 10, "{refused}");
    }
}

/// Ranges of a damaged footer may lie in each other; all that are around one are found.
#[test]
fn ranges_are_found_around_and_within_others() {
    let ranges = [0..100, 10..20, 15..90, 15..16, 95..99, 100..110];
    let numbered = ranges.iter().enumerate().map(|(column, range)| {
        let at = At {
            group: 0,
            column,
            kind: Kind::Chunk,
        };
        (range.clone(), at)
    });
    let all = Ranges::new(numbered.rev().collect());
    let sorted = |found: Vec<usize>| {
        let mut found = found;
        found.sort_unstable();
        found
    };
    for start in 0..112 {
        for end in start + 1..112 {
            let range = start..end;
            let around = all.around(&range).map(|at| at.column);
            let within = all.within(&range).map(|(at, inside)| {
                let own = &ranges[at.column];
                assert_eq!(inside.start as u64, own.start - start);
                assert_eq!(inside.end as u64, own.end - start);
                at.column
            });
            let which = |holds: &dyn Fn(&Range<u64>) -> bool| {
                let all = ranges.iter().enumerate();
                all.filter(|(_, own)| holds(own))
                    .map(|(at, _)| at)
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                sorted(around.collect()),
                which(&|own| own.start <= start && end <= own.end)
            );
            assert_eq!(
                sorted(within.collect()),
                which(&|own| start <= own.start && own.end <= end)
            );
        }
    }
}
