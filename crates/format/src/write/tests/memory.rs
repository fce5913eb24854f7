//! What waits in memory is counted as it is, held against Arrow's own account of its arrays.

use arrow::array::{UInt32Array, new_null_array};
use arrow::compute::take_record_batch;

use super::pending::{Pending, Size};
use super::*;

/// What Arrow says that these batches take: their arrays, and their buffers in full.
fn held<'a>(batches: impl Iterator<Item = &'a RecordBatch>) -> usize {
    let columns = batches.flat_map(RecordBatch::columns);
    columns.map(|column| column.get_array_memory_size()).sum()
}

/// Rows of eight columns: numbers, texts, NULLs and lists.
fn wide(rows: i64) -> RecordBatch {
    let texts = |n: i64| {
        let text = (0..rows).map(move |i| (i % n != 0).then(|| format!("text {i}")));
        Arc::new(StringArray::from_iter(text)) as ArrayRef
    };
    let numbers = || Arc::new(Int64Array::from_iter_values(0..rows)) as ArrayRef;
    let lists = (0..rows).map(|i| Some((0..i % 3).map(move |n| Some(n as i32))));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    batch(vec![
        ("id", numbers()),
        (
            "p",
            Arc::new(Int32Array::from_iter_values(
                (0..rows).map(|i| (i % 300) as i32),
            )),
        ),
        ("a", numbers()),
        ("b", texts(i64::MAX)),
        ("c", texts(2)),
        (
            "d",
            Arc::new(Float64Array::from_iter_values((0..rows).map(|i| i as f64))),
        ),
        ("e", Arc::new(lists)),
        ("f", new_null_array(&DataType::Int64, rows as usize)),
    ])
}

#[test]
fn crumbs_are_counted_with_their_arrays_and_joined_in_their_order() {
    let all = wide(2_000);
    let schema = all.schema();
    let mut pending = Pending::default();
    let mut bytes = 0;
    for row in 0..2_000_u32 {
        let crumb = take_record_batch(&all, &UInt32Array::from(vec![row])).unwrap();
        let size = Size::of(&crumb).unwrap();
        bytes += size.bytes;
        pending.push(&schema, crumb, size).unwrap();
        let held = held(pending.batches());
        assert!(pending.memory() >= held, "{} < {held}", pending.memory());
        assert!(
            pending.memory() <= 4 * held,
            "{} > 4 * {held}",
            pending.memory()
        );
        // Seven of each step at most: of 1, 8, 64 and 512 rows.
        assert!(pending.batches().count() <= 28);
    }
    assert_eq!(pending.bytes(), bytes);
    let (batches, rows) = pending.take(&schema).unwrap();
    assert_eq!(rows, 2_000);
    assert_eq!(concat_batches(&schema, &batches).unwrap(), all);
    assert!(pending.is_empty());
    assert_eq!(pending.memory(), 0);
}

#[test]
fn whole_batches_are_neither_copied_nor_moved() {
    let all = wide(6_000);
    let schema = all.schema();
    let mut pending = Pending::default();
    let slices = [(0, 3), (3, 2_000), (2_003, 2), (2_005, 3_000), (5_005, 995)];
    for (from, rows) in slices {
        let slice = all.slice(from, rows);
        let size = Size::of(&slice).unwrap();
        pending.push(&schema, slice, size).unwrap();
    }
    assert_eq!(pending.batches().count(), 5);
    let (batches, _) = pending.take(&schema).unwrap();
    let first = |batch: &RecordBatch| batch.column(0).to_data().buffers()[0].as_ptr();
    assert_eq!(batches.len(), 5);
    let original = all.slice(3, 2_000);
    assert_eq!(first(&batches[1]), first(&original));
    assert_eq!(concat_batches(&schema, &batches).unwrap(), all);
}

#[tokio::test]
async fn the_limit_holds_for_the_arrays_of_rows_that_are_scattered_over_partitions() {
    let element = NestedField::list_element(9, Type::Primitive(P::Int), false);
    let table = Spec {
        fields: vec![
            optional(1, "id", P::Long),
            optional(2, "p", P::Int),
            optional(3, "a", P::Long),
            optional(4, "b", P::String),
            optional(5, "c", P::String),
            optional(6, "d", P::Double),
            NestedField::optional(7, "e", Type::List(ListType::new(element.into()))),
            optional(8, "f", P::Long),
        ],
        partition: &[(2, "p", Transform::Identity)],
        ..Spec::default()
    }
    .table();
    let limit = 2 << 20;
    let mut writer = DataWriter::new(&table).unwrap().memory_limit(limit);
    // Each batch has one row for each partition.
    for _ in 0..30 {
        writer.write(&wide(300)).await.unwrap();
        let held: usize = writer.open.values().map(|file| held(file.pending())).sum();
        assert!(held <= limit, "{held} bytes are held");
    }
    let files = writer.finish().await.unwrap();
    let rows: u64 = files.iter().map(|file| file.file.record_count()).sum();
    assert_eq!(rows, 9_000);
}
