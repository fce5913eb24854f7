use std::sync::Arc;

use arrow::array::{Array, AsArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use proptest::prelude::*;

use super::super::messages::{
    Attribute, Decoder, Envelope, MessageBatch, MessageOptions, Tombstones,
};
use crate::dead_letter::{Coordinates, ErrorType};
use crate::decode::{BATCH_BYTES, BATCH_ROWS, MAX_RECORD_BYTES};

fn options() -> MessageOptions {
    MessageOptions::json(Arc::new(Schema::new(vec![
        Field::new("title", DataType::Utf8, true),
        Field::new("year", DataType::Int32, true),
    ])))
}

fn decoder(options: &MessageOptions) -> Decoder {
    Decoder::new("main/films".into(), "films".into(), options).unwrap()
}

fn message(offset: i64, payload: Option<&[u8]>) -> Envelope<'_> {
    Envelope {
        partition: 3,
        offset,
        timestamp: Some(1_000),
        key: Some(b"k"),
        payload,
    }
}

fn decoded(options: &MessageOptions, payloads: &[Option<&[u8]>]) -> MessageBatch {
    let mut decoder = decoder(options);
    for (offset, payload) in payloads.iter().enumerate() {
        let message = message(offset as i64, *payload);
        decoder.push(&message, &Vec::new()).unwrap();
    }
    decoder.take().unwrap().unwrap()
}

#[test]
fn records_are_rows_and_broken_ones_dead_letters_with_their_coordinates() {
    let batch = decoded(
        &options(),
        &[
            Some(br#"{"title": "Vertigo", "year": 1958, "more": 1}"#),
            Some(b"{broken"),
            Some(b""),
            Some(br#"{"title": 1984}"#),
            Some(br#"{"year": "1958"}"#),
            Some(b"\xff"),
            Some(b"[]"),
        ],
    );
    let titles: &StringArray = batch.batch.column(0).as_string();
    assert_eq!(
        titles.iter().collect::<Vec<_>>(),
        [Some("Vertigo"), Some("1984")]
    );
    let found: Vec<_> = batch
        .dead_letters
        .iter()
        .map(|letter| {
            let Coordinates::Kafka {
                topic,
                partition,
                offset,
            } = &letter.at
            else {
                panic!("{letter:?}")
            };
            assert_eq!(
                (&**topic, *partition, &*letter.source),
                ("films", 3, "main/films")
            );
            (*offset, letter.error_type)
        })
        .collect();
    assert_eq!(
        found,
        [
            (1, ErrorType::Malformed),
            (2, ErrorType::Malformed),
            (4, ErrorType::TypeMismatch),
            (5, ErrorType::InvalidUtf8),
            (6, ErrorType::TypeMismatch),
        ]
    );
    assert_eq!(&*batch.dead_letters[0].raw, b"{broken");
}

#[test]
fn what_a_message_carries_becomes_columns_where_it_is_asked_for() {
    let mut options = options();
    for attribute in Attribute::ALL {
        options = options.with_attribute(attribute, format!("_{}", attribute.argument()));
    }
    let mut decoder = decoder(&options);
    let headers: Vec<(&str, Option<&[u8]>)> = vec![
        ("a", Some(b"1")),
        ("b", None),
        ("a", Some(b"2")),
        ("c", Some(b"\xff\x00")),
    ];
    decoder.push(&message(7, Some(b"{}")), &headers).unwrap();
    let bare = Envelope {
        timestamp: None,
        key: None,
        ..message(8, Some(b"{}"))
    };
    decoder.push(&bare, &Vec::new()).unwrap();
    let bad_key = Envelope {
        key: Some(b"\xff"),
        ..message(9, Some(b"{}"))
    };
    decoder.push(&bad_key, &Vec::new()).unwrap();
    decoder.refuse_headers(&message(10, Some(b"{}")));
    let MessageBatch {
        batch,
        dead_letters,
        ..
    } = decoder.take().unwrap().unwrap();
    let column = |name: &str| batch.column_by_name(name).unwrap().clone();
    let keys = column("_key");
    let keys: &StringArray = keys.as_string();
    assert_eq!(keys.iter().collect::<Vec<_>>(), [Some("k"), None]);
    let times = column("_timestamp");
    let times = times.as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.iter().collect::<Vec<_>>(), [Some(1_000_000), None]);
    let map = column("_headers");
    let map = map.as_map();
    let entries = map.value(0);
    let values: &StringArray = entries.column(1).as_string();
    assert_eq!(
        values.iter().collect::<Vec<_>>(),
        [Some("2"), None, Some("base64:/wA=")]
    );
    assert_eq!(map.value(1).len(), 0);
    let partitions = column("_partition");
    let partitions: &Int32Array = partitions.as_primitive();
    assert_eq!(partitions.values(), &[3, 3]);
    let offsets = column("_offset");
    let offsets: &Int64Array = offsets.as_primitive();
    assert_eq!(offsets.values(), &[7, 8]);
    let topics = column("_topic_column");
    let topics: &StringArray = topics.as_string();
    assert_eq!(topics.value(0), "films");
    let kinds: Vec<_> = dead_letters
        .iter()
        .map(|letter| letter.error_type)
        .collect();
    assert_eq!(kinds, [ErrorType::InvalidUtf8, ErrorType::InvalidUtf8]);
}

#[test]
fn a_tombstone_is_what_was_asked_for() {
    let payloads: &[Option<&[u8]>] = &[Some(b"{}"), None];
    let letters = decoded(&options(), payloads);
    assert_eq!(letters.batch.num_rows(), 1);
    assert_eq!(letters.dead_letters[0].error_type, ErrorType::Tombstone);
    let rows = decoded(&options().with_tombstones(Tombstones::Row), payloads);
    assert_eq!((rows.batch.num_rows(), rows.dead_letters.len()), (2, 0));
    assert!(rows.batch.column(0).is_null(1));
    let skipped = decoded(&options().with_tombstones(Tombstones::Skip), payloads);
    assert_eq!(
        (skipped.batch.num_rows(), skipped.dead_letters.len()),
        (1, 0)
    );
    let required = Schema::new(vec![Field::new("title", DataType::Utf8, false)]);
    let required = MessageOptions::json(Arc::new(required)).with_tombstones(Tombstones::Row);
    let error = required.output_schema().unwrap_err().to_string();
    assert!(error.contains("title"), "{error}");
}

#[test]
fn a_record_that_is_too_large_is_cut() {
    let payload = vec![b' '; MAX_RECORD_BYTES + 1];
    let batch = decoded(&options(), &[Some(&payload)]);
    let letter = &batch.dead_letters[0];
    assert_eq!(letter.error_type, ErrorType::TooLarge);
    assert_eq!(letter.raw.len(), MAX_RECORD_BYTES);
    assert!(letter.message.contains(&payload.len().to_string()));
}

#[test]
fn a_name_is_used_once() {
    let twice = options().with_attribute(Attribute::Key, "title");
    let error = twice.output_schema().unwrap_err().to_string();
    assert!(error.contains("key") && error.contains("title"), "{error}");
}

#[test]
fn batches_end_when_they_are_full() {
    let mut decoder = decoder(&options());
    for offset in 0..BATCH_ROWS {
        assert!(!decoder.is_full());
        decoder
            .push(&message(offset as i64, Some(b"{}")), &Vec::new())
            .unwrap();
    }
    assert!(decoder.is_full());
    assert_eq!(
        decoder.take().unwrap().unwrap().batch.num_rows(),
        BATCH_ROWS
    );
    assert!(!decoder.is_full());
    assert!(decoder.take().unwrap().is_none());
}

#[test]
fn keys_and_headers_fill_a_batch_as_payloads_do() {
    let large = vec![b'k'; BATCH_BYTES / 2];
    let with_key = |offset| Envelope {
        key: Some(&large),
        ..message(offset, None)
    };
    let headers: Vec<(&str, Option<&[u8]>)> = vec![("h", Some(&large))];
    for (key, headers) in [(true, Vec::new()), (false, headers)] {
        let mut decoder = decoder(&options().with_tombstones(Tombstones::Row));
        for offset in 0..2 {
            assert!(!decoder.is_full());
            let envelope = match key {
                true => with_key(offset),
                false => message(offset, None),
            };
            decoder.push(&envelope, &headers).unwrap();
        }
        assert!(decoder.is_full(), "key: {key}");
    }
    let mut decoder = decoder(&options());
    for offset in 0..2 {
        assert!(!decoder.is_full());
        decoder.refuse_headers(&with_key(offset));
    }
    assert!(decoder.is_full());
}

#[test]
fn a_dead_letter_tells_the_key_of_its_message() {
    let keys: [(Option<&[u8]>, &str); 3] = [
        (Some(b"id \"7\"\n"), r#"; the key is "id \"7\"\n""#),
        (Some(b"\xff\x00"), "; the key is base64:/wA="),
        (None, "deletes its key"),
    ];
    for (key, expected) in keys {
        let mut decoder = decoder(&options());
        let message = Envelope {
            key,
            ..message(0, None)
        };
        decoder.push(&message, &Vec::new()).unwrap();
        let letters = decoder.take().unwrap().unwrap().dead_letters;
        let told = &letters[0].message;
        assert!(told.ends_with(expected), "{told}");
    }
}

#[test]
fn many_headers_are_one_map() {
    let names: Vec<String> = (0..50_000).map(|n| format!("h{}", n % 25_000)).collect();
    let headers: Vec<(&str, Option<&[u8]>)> = names.iter().map(|name| (&**name, None)).collect();
    let options = options().with_attribute(Attribute::Headers, "h");
    let mut decoder = decoder(&options);
    decoder.push(&message(0, Some(b"{}")), &headers).unwrap();
    let batch = decoder.take().unwrap().unwrap().batch;
    assert_eq!(batch.column(2).as_map().value(0).len(), 25_000);
}

proptest! {
    /// Whatever bytes come, each message is exactly one row or one dead letter, in order.
    #[test]
    fn every_message_is_once_a_row_or_a_dead_letter(
        payloads in prop::collection::vec(
            prop_oneof![
                Just(Some(br#"{"title": "a"}"#.to_vec())),
                Just(Some(br#"{"title": {}}"#.to_vec())),
                Just(None),
                prop::collection::vec(any::<u8>(), 0..20).prop_map(Some),
            ],
            1..50,
        )
    ) {
        let options = options().with_attribute(Attribute::Offset, "o");
        let payloads: Vec<Option<&[u8]>> = payloads.iter().map(Option::as_deref).collect();
        let batch = decoded(&options, &payloads);
        let rows: &Int64Array = batch.batch.column(2).as_primitive();
        let letters = batch.dead_letters.iter().map(|letter| match letter.at {
            Coordinates::Kafka { offset, .. } => offset,
            _ => -1,
        });
        let letters: Vec<i64> = letters.collect();
        prop_assert!(rows.values().is_sorted());
        prop_assert!(letters.is_sorted());
        let mut all: Vec<i64> = rows.values().iter().copied().chain(letters).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..payloads.len() as i64).collect::<Vec<_>>());
    }
}
