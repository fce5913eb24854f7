use std::io::Write as _;

use iceberg::spec::{FormatVersion, NestedField, Operation, PrimitiveType, Transform, Type};

use super::*;
use crate::ErrorKind;
use crate::fixture::Fixture;
use crate::storage::Location;

/// A number as Avro writes it.
pub(crate) fn long(value: i64) -> Vec<u8> {
    let mut bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while bits > 0x7F {
        bytes.push((bits & 0x7F) as u8 | 0x80);
        bits >>= 7;
    }
    bytes.push(bits as u8);
    bytes
}

pub(crate) fn text(value: &[u8]) -> Vec<u8> {
    [long(value.len() as i64), value.to_vec()].concat()
}

fn header(schema: &str, codec: &str) -> Vec<u8> {
    [
        MAGIC.to_vec(),
        long(2),
        text(b"avro.schema"),
        text(schema.as_bytes()),
        text(b"avro.codec"),
        text(codec.as_bytes()),
        long(0),
        vec![7; MARKER],
    ]
    .concat()
}

fn block(count: i64, bytes: &[u8]) -> Vec<u8> {
    [long(count), text(bytes), vec![7; MARKER]].concat()
}

fn file(schema: &str, count: i64, bytes: &[u8]) -> Vec<u8> {
    [header(schema, "null"), block(count, bytes)].concat()
}

fn check(file: &[u8]) -> Result<()> {
    super::check(&Bytes::copy_from_slice(file))
}

fn refused(file: &[u8], message: &str) {
    let error = check(file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains(message), "{error}");
}

#[test]
fn values_of_all_types_are_walked() {
    let schema = r#"{"type":"record","name":"a.r","fields":[
        {"name":"nothing","type":"null"},
        {"name":"flag","type":"boolean"},
        {"name":"number","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"real","type":["null","double"]},
        {"name":"short","type":"float"},
        {"name":"fixed","type":{"type":"fixed","name":"f","size":3}},
        {"name":"again","type":"f"},
        {"name":"full","type":{"type":"a.f"}},
        {"name":"kind","type":{"type":"enum","name":"b.e","symbols":["x"]}},
        {"name":"kinds","type":{"type":"array","items":"b.e"}},
        {"name":"map","type":{"type":"map","values":["null","bytes"]}},
        {"name":"inner","type":{"type":{"type":"record","name":"s","fields":[
            {"name":"text","type":"string"}]}}}]}"#;
    let value = [
        vec![1],
        long(-7_000_000_000),
        long(1),
        vec![0; 8],
        vec![0; 4],
        vec![1; 9],
        long(0),
        // Two blocks, of which the second says how long it is.
        long(1),
        long(0),
        long(-2),
        long(2),
        long(0),
        long(0),
        long(0),
        long(2),
        text(b"key"),
        long(0),
        text(b"other"),
        long(1),
        text(b"value"),
        long(0),
        text("größe".as_bytes()),
    ]
    .concat();
    let values = value.repeat(3);
    check(&file(schema, 3, &values)).unwrap();
    let mut whole = file(schema, 3, &values);
    whole.extend(block(1, &value));
    check(&whole).unwrap();
    refused(&file(schema, 2, &values), "more values than it counts");
    refused(&file(schema, 4, &values), "cut short");
    for length in 0..whole.len() {
        // Between two blocks nothing tells that one is gone.
        let between = length == file(schema, 3, &values).len();
        let complete = between || length == header(schema, "null").len();
        assert_eq!(check(&whole[..length]).is_ok(), complete, "{length}");
    }
}

#[test]
fn absurd_counts_are_refused_before_anything_is_reserved_for_them() {
    let longs = r#"{"type":"array","items":"long"}"#;
    check(&file(
        longs,
        1,
        &[long(2), long(5), long(6), long(0)].concat(),
    ))
    .unwrap();
    for count in [4, 1 << 20, 1 << 40, i64::MAX, i64::MIN] {
        refused(&file(longs, 1, &[long(count), long(5)].concat()), "count");
        let map = r#"{"type":"map","values":"null"}"#;
        refused(&file(map, 1, &[long(count), long(5)].concat()), "count");
    }
    for count in [i64::MIN, -1, 100, i64::MAX] {
        refused(&file("\"long\"", count, &long(5)), "count");
        let size = [header("\"long\"", "null"), long(1), long(count), long(5)].concat();
        refused(&size, if count < 0 { "size" } else { "cut short" });
        refused(&[MAGIC.to_vec(), long(count), long(1)].concat(), "count");
    }
    for length in [-1, 6, 1 << 40] {
        refused(
            &file("\"bytes\"", 1, &[long(length), vec![0; 5]].concat()),
            "length",
        );
    }
    refused(&file("\"long\"", 1, &[0xFF; 20]), "no end");
    refused(&file(r#"["null","long"]"#, 1, &long(2)), "of no type");
}

#[test]
fn schemas_that_bound_nothing_are_refused() {
    for (schema, message) in [
        ("\"null\"", "have no bytes"),
        (
            r#"{"type":"record","name":"r","fields":[]}"#,
            "have no bytes",
        ),
        (r#"{"type":"array","items":"null"}"#, "not valid"),
        (
            r#"{"type":"record","name":"r","fields":[{"name":"x","type":"r"}]}"#,
            "holds itself",
        ),
        (
            r#"{"type":"record","name":"r","fields":[{"name":"x","type":["null","r"]}]}"#,
            "holds itself",
        ),
        ("\"other\"", "does not define"),
        ("7", "not valid"),
        ("{", "JSON"),
    ] {
        refused(&file(schema, 1, &[0; 10]), message);
    }
    // Each type has the one before it twice.
    let twice = (1..60).fold(
        r#"{"type":"fixed","name":"t0","size":0}"#.to_string(),
        |types, n| {
            let inner = n - 1;
            format!(
                r#"{types},{{"type":"record","name":"t{n}","fields":[
                    {{"name":"a","type":"t{inner}"}},{{"name":"b","type":"t{inner}"}}]}}"#
            )
        },
    );
    refused(&file(&format!("[{twice}]"), 1, &[2]), "too many types");
    let deep = (1..100).fold("\"long\"".to_string(), |inner, _| {
        format!(r#"{{"type":"array","items":{inner}}}"#)
    });
    refused(&file(&deep, 1, &[2]), "too many types");
    let deep = (1..100).fold(r#""long""#.to_string(), |types, n| {
        let inner = n - 1;
        let ty = if n == 1 {
            "long".into()
        } else {
            format!("t{inner}")
        };
        format!(
            r#"{types},{{"type":"record","name":"t{n}","fields":[{{"name":"a","type":"{ty}"}}]}}"#
        )
    });
    refused(&file(&format!("[{deep}]"), 1, &[2]), "too many types");
}

#[test]
fn deflated_blocks_are_looked_into_and_those_of_other_codecs_are_not() {
    let deflate = |bytes: &[u8]| {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let longs = r#"{"type":"array","items":"long"}"#;
    let head = header(longs, "deflate");
    let good = deflate(&[long(1), long(5), long(0)].concat());
    check(&[head.clone(), block(1, &good)].concat()).unwrap();
    let absurd = deflate(&[long(1 << 40), long(5), long(0)].concat());
    refused(&[head.clone(), block(1, &absurd)].concat(), "count");
    refused(
        &[head.clone(), block(1, &good[..good.len() - 2])].concat(),
        "decompressed",
    );
    refused(&[head, block(1, &[0xFF; 9])].concat(), "decompressed");
    let other = header(longs, "zstandard");
    check(&[other.clone(), block(1, b"anything")].concat()).unwrap();
    refused(
        &[other, block(1, b"anything"), long(3)].concat(),
        "cut short",
    );
}

#[tokio::test]
async fn manifests_and_lists_of_all_versions_are_good() {
    for version in [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3] {
        let fields = [
            (1, "id", PrimitiveType::Long),
            (2, "name", PrimitiveType::String),
            (
                3,
                "price",
                PrimitiveType::Decimal {
                    precision: 9,
                    scale: 2,
                },
            ),
            (4, "key", PrimitiveType::Fixed(5)),
        ];
        let fields = fields
            .map(|(id, name, ty)| NestedField::optional(id, name, Type::Primitive(ty)).into());
        let spec = Fixture::spec(&[
            (1, "id_bucket", Transform::Bucket(4)),
            (2, "name", Transform::Identity),
            (3, "price", Transform::Identity),
            (4, "key", Transform::Identity),
        ]);
        let mut fixture = Fixture::partitioned(version, fields.to_vec(), spec);
        let columns = fixture.batch(
            crate::schema::to_arrow(fixture.metadata.current_schema())
                .unwrap()
                .fields()
                .iter()
                .map(|field| arrow::array::new_null_array(field.data_type(), 3))
                .collect(),
        );
        let partition = iceberg::spec::Struct::from_iter([None, None, None, None]);
        let file = fixture.data_in(&columns, partition).await;
        fixture.commit(Operation::Append, vec![(0, file)]).await;
        let manifests = fixture.manifests().await;
        let list = fixture.metadata.current_snapshot().unwrap().manifest_list();
        let paths = manifests.iter().map(|manifest| &manifest.manifest_path[..]);
        for path in paths.chain([list]) {
            let location = Location::parse(path).unwrap();
            let bytes = fixture.storage.read(&location).await.unwrap();
            check(&bytes).unwrap();
        }
    }
}
