use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

use super::*;

fn letter(file: &str, row: u64, byte_offset: Option<u64>) -> DeadLetter {
    DeadLetter {
        source: "in/*.json".into(),
        at: Coordinates::File {
            file: file.into(),
            row,
            byte_offset,
        },
        raw: Bytes::from_static(b"\xff{"),
        error_type: ErrorType::Malformed,
        message: "no JSON".to_owned(),
    }
}

#[test]
fn the_id_depends_on_flow_file_and_row_alone() {
    let base = letter("a.json", 1, Some(10));
    let id = base.error_id("f");
    assert_eq!(id, letter("a.json", 1, None).error_id("f"));
    assert_eq!(id.len(), 32);
    assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    for other in [letter("a.json", 2, Some(10)), letter("b.json", 1, Some(10))] {
        assert_ne!(id, other.error_id("f"));
    }
    assert_ne!(id, base.error_id("g"));
    // Stored ids must stay what they are: a replay after an upgrade has to find them.
    assert_eq!(id, "63e666b4df22580bbf1fff302bd32d80");
}

#[test]
fn dead_letters_become_rows_with_nulls_where_nothing_applies() {
    let kafka = DeadLetter {
        at: Coordinates::Kafka {
            topic: "t".into(),
            partition: 3,
            offset: 9,
        },
        ..letter("", 0, None)
    };
    let letters = [
        letter("a.json", 7, Some(42)),
        letter("a.parquet", 8, None),
        kafka,
    ];
    let now = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
    let batch = to_batch("f", &letters, now).unwrap();
    assert_eq!(batch.schema(), schema());
    assert_eq!(batch.num_rows(), 3);
    let rows = batch["row"].as_primitive::<Int64Type>();
    assert_eq!(
        (rows.value(0), rows.value(1), rows.is_null(2)),
        (7, 8, true)
    );
    let offsets = batch["byte_offset"].as_primitive::<Int64Type>();
    assert_eq!(
        (offsets.value(0), offsets.is_null(1), offsets.is_null(2)),
        (42, true, true)
    );
    assert_eq!(batch["raw"].as_binary::<i32>().value(0), b"\xff{");
    assert_eq!(batch["error_type"].as_string::<i32>().value(0), "malformed");
    assert!(batch["kafka_topic"].is_null(0));
    assert_eq!(batch["kafka_topic"].as_string::<i32>().value(2), "t");
    assert_eq!(
        batch["kafka_partition"]
            .as_primitive::<Int32Type>()
            .value(2),
        3
    );
    assert_eq!(
        batch["kafka_offset"].as_primitive::<Int64Type>().value(2),
        9
    );
    assert!(batch["file"].is_null(2));
    let times = batch["error_timestamp"].as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(2), 1_700_000_000_000_001);
}

#[test]
fn no_dead_letters_are_an_empty_batch() {
    assert_eq!(
        to_batch("f", &[], DateTime::UNIX_EPOCH).unwrap().num_rows(),
        0
    );
}

#[test]
fn names_of_error_types_are_stable_and_distinct() {
    let names: Vec<_> = ErrorType::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(
        names,
        [
            "malformed",
            "invalid_utf8",
            "field_count",
            "type_mismatch",
            "out_of_range",
            "missing_required",
            "too_large",
            "too_deep",
            "tombstone"
        ]
    );
}

#[test]
fn long_values_are_shortened_at_characters() {
    assert_eq!(shortened("a\nb"), "a\\nb");
    let long = "é".repeat(200);
    assert_eq!(shortened(&long).chars().count(), 81);
}
