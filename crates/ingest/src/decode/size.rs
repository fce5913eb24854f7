//! How many bytes rows have.

use arrow::array::{Array, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

use super::{BATCH_BYTES, BATCH_ROWS};

/// How many rows from the first make one part: at most [`BATCH_ROWS`], and with more than one at most
/// [`BATCH_BYTES`].
pub(super) fn rows_of_part(batch: &RecordBatch) -> usize {
    let mut rows = batch.num_rows().min(BATCH_ROWS);
    let bytes = |rows: usize| -> usize {
        let columns = batch.columns().iter();
        columns.map(|column| bytes(&column.slice(0, rows))).sum()
    };
    while rows > 1 && bytes(rows) > BATCH_BYTES {
        rows /= 2;
    }
    rows
}

/// The bytes of the values of an array. What several rows share, as the entry of a dictionary, counts
/// once for each of them: so much it is when it is written out.
fn bytes(array: &dyn Array) -> usize {
    use DataType as T;
    match array.data_type() {
        T::Utf8 => length(array.as_string::<i32>().offsets()),
        T::LargeUtf8 => length(array.as_string::<i64>().offsets()),
        T::Binary => length(array.as_binary::<i32>().offsets()),
        T::LargeBinary => length(array.as_binary::<i64>().offsets()),
        T::Utf8View => viewed(array.as_string_view().views()),
        T::BinaryView => viewed(array.as_binary_view().views()),
        T::Struct(_) => {
            let columns = array.as_struct().columns().iter();
            columns.map(|column| bytes(column)).sum()
        }
        T::List(_) => {
            let list = array.as_list::<i32>();
            items(list.offsets(), list.values())
        }
        T::LargeList(_) => {
            let list = array.as_list::<i64>();
            items(list.offsets(), list.values())
        }
        T::Map(_, _) => {
            let map = array.as_map();
            items(map.offsets(), map.entries())
        }
        T::FixedSizeList(_, _) => bytes(array.as_fixed_size_list().values()),
        T::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let values = dictionary.values();
            if values.is_empty() {
                return 0;
            }
            let entries = dictionary.normalized_keys().into_iter();
            entries.map(|entry| bytes(&values.slice(entry, 1))).sum()
        }
        T::FixedSizeBinary(width) => array.len() * usize::try_from(*width).unwrap_or_default(),
        other => array.len() * other.primitive_width().unwrap_or(1),
    }
}

fn length<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> usize {
    match (offsets.first(), offsets.last()) {
        (Some(first), Some(last)) => last.as_usize() - first.as_usize(),
        _ => 0,
    }
}

fn items<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>, items: &dyn Array) -> usize {
    let first = offsets.first().map_or(0, |first| first.as_usize());
    bytes(&items.slice(first, length(offsets)))
}

/// The length of a view is its lowest four bytes.
fn viewed(views: &ScalarBuffer<u128>) -> usize {
    views.iter().map(|view| *view as u32 as usize).sum()
}
