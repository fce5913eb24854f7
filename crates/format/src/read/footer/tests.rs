use arrow::array::{ArrayRef, RecordBatch};
use parquet::arrow::ArrowWriter;

use super::*;
use crate::ErrorKind;
use crate::read::thrift::written::number;

/// The footer of a file with columns of all kinds.
fn footer() -> Vec<u8> {
    let schema = iceberg::spec::Schema::builder()
        .with_fields(crate::fuzzing::columns())
        .build()
        .unwrap();
    let schema = crate::schema::to_arrow(&schema).unwrap();
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .map(|field| arrow::array::new_null_array(field.data_type(), 5))
        .collect();
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let (rest, last) = file.split_last_chunk::<FOOTER_SIZE>().unwrap();
    let length = FooterTail::try_new(last).unwrap().metadata_length();
    rest[rest.len() - length..].to_vec()
}

fn refused(footer: &[u8], message: &str) {
    let error = check(footer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(message), "{error}");
}

#[test]
fn a_footer_is_good_and_no_beginning_of_it_is() {
    let footer = footer();
    check(&footer).unwrap();
    for length in 0..footer.len() {
        assert!(check(&footer[..length]).is_err(), "{length}");
    }
}

/// The head of a field of a struct.
fn field(delta: u8, code: u8) -> Vec<u8> {
    vec![delta << 4 | code]
}

#[test]
fn values_of_all_types_are_walked() {
    let inner = [field(1, 1), field(1, 2), vec![0]].concat();
    let good = [
        // Fields that Parquet does not have.
        field(15, 3),
        vec![9],
        field(2, 5),
        number(300),
        field(1, 7),
        vec![0; 8],
        field(1, 8),
        number(3),
        vec![0; 3],
        field(1, 11),
        number(0),
        field(1, 11),
        number(2),
        vec![0x38, 1],
        number(1),
        vec![7, 2],
        number(0),
        field(1, 12),
        inner.clone(),
        field(1, 9),
        vec![0x2C],
        inner.repeat(2),
        // An id in full, a set of bytes, an empty list without a type, a UUID.
        field(0, 10),
        number(100),
        vec![0x23, 1, 2],
        field(1, 9),
        vec![0],
        field(1, 13),
        vec![0; 16],
        vec![0],
    ]
    .concat();
    check(&good).unwrap();
    for length in 0..good.len() {
        assert!(check(&good[..length]).is_err(), "{length}");
    }
    refused(&[field(1, 14), vec![0]].concat(), "no type");
    refused(&[field(1, 5), vec![0xFF; 20]].concat(), "no end");
}

#[test]
fn absurd_counts_are_refused_before_anything_is_reserved_for_them() {
    for count in [8, 1 << 20, 1 << 31, u64::MAX] {
        for head in [
            [field(2, 9), vec![0xFC]].concat(),
            [field(12, 9), vec![0xFC]].concat(),
            [field(12, 10), vec![0xF5]].concat(),
            field(12, 8),
            field(12, 11),
        ] {
            refused(&[head, number(count), vec![0; 5]].concat(), "count");
        }
    }
    refused(&[field(12, 9), vec![0xEC, 0, 0]].concat(), "cut short");
}

/// A schema of elements with these numbers of children.
fn schema(children: &[u64]) -> Vec<u8> {
    let element = |children: &u64| [field(5, 5), number(children * 2), vec![0]].concat();
    let elements: Vec<u8> = children.iter().flat_map(element).collect();
    let count = number(children.len() as u64);
    [field(2, 9), vec![0xFC], count, elements, vec![0]].concat()
}

#[test]
fn schemas_of_impossible_shape_are_refused() {
    check(&schema(&[2, 0, 1, 0])).unwrap();
    check(&schema(&[vec![1; 100], vec![0]].concat())).unwrap();
    refused(&schema(&[4, 0, 1, 0]), "impossible size");
    refused(&schema(&[1, 1 << 30]), "impossible size");
    let deep: Vec<u64> = std::iter::repeat_n(1, 200).chain([0]).collect();
    refused(&schema(&deep), "schema is too deep");
    let structs = [field(12, 12).repeat(100), vec![0; 101]].concat();
    refused(&structs, "too deep in each other");
    let lists = [field(12, 9), vec![0x19; 100], vec![0x15, 0, 0]].concat();
    refused(&lists, "too deep in each other");
}

/// The decoder takes a field for what it must be, whatever it says, and reads something else from there on.
#[test]
fn fields_of_another_type_than_they_must_be_are_refused() {
    let eight = || [field(9, 7), vec![0; 8], vec![0]].concat();
    let chunk = |metadata: Vec<u8>| {
        let head = [
            field(4, 9),
            vec![0x1C],
            field(1, 9),
            vec![0x1C],
            field(3, 12),
        ];
        [head.concat(), metadata, vec![0; 2]].concat()
    };
    for wrong in [
        // The id of a column, a version, a number of rows, row groups, keys and values.
        [field(2, 9), vec![0x1C], eight()].concat(),
        [field(1, 8), number(0)].concat(),
        field(3, 1),
        [field(4, 9), vec![0x15, 0]].concat(),
        [field(5, 12), vec![0]].concat(),
        // Of a column chunk its encodings, its size and whether its smallest value is exact.
        chunk([field(2, 9), vec![0x18, 0], vec![0]].concat()),
        chunk([field(6, 2), vec![0]].concat()),
        chunk([field(12, 12), field(8, 3), vec![1, 0], vec![0]].concat()),
    ] {
        refused(&[wrong, vec![0]].concat(), "another type");
    }
    check(
        &[
            chunk([field(2, 9), vec![0x15, 0], vec![0]].concat()),
            vec![0],
        ]
        .concat(),
    )
    .unwrap();
    // A list of truth values, of which the decoder takes no bytes: it would find keys and values in them.
    let hidden = [vec![0x09, 0x0A, 0xFC], number(1 << 30)].concat();
    let truths = [field(15, 9), vec![0x81], hidden, vec![0]].concat();
    refused(&truths, "truth values");
    let far = [field(0, 5), number(80_000), number(0), vec![0]].concat();
    refused(&far, "impossible id");
}
