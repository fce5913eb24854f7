use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Date32Array, Decimal128Array, DictionaryArray,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int32Array, Int64Array,
    LargeStringArray, ListArray, RecordBatch, StringArray, StringViewArray, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Int64Type};
use iceberg::TableIdent;
use iceberg::puffin::PuffinReader;
use iceberg::spec::{
    DataContentType, DataFileFormat, Datum, FormatVersion, ListType, Literal, NestedField,
    PrimitiveLiteral, PrimitiveType as P, Schema, SortOrder, StructType, TableMetadataBuilder,
    Transform, Type, UnboundPartitionSpec,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use roaring::RoaringTreemap;

use super::*;
use crate::environment::{Identity, ManualClock, SeededIds};
use crate::storage::Storage;
use crate::{Environment, ErrorKind};

fn optional(id: i32, name: &str, ty: P) -> NestedField {
    NestedField::optional(id, name, Type::Primitive(ty))
}

fn required(id: i32, name: &str, ty: P) -> NestedField {
    NestedField::required(id, name, Type::Primitive(ty))
}

struct Spec<'a> {
    fields: Vec<NestedField>,
    partition: &'a [(i32, &'a str, Transform)],
    properties: &'a [(&'a str, &'a str)],
    version: FormatVersion,
}

impl Default for Spec<'_> {
    fn default() -> Self {
        Self {
            fields: Vec::new(),
            partition: &[],
            properties: &[],
            version: FormatVersion::V2,
        }
    }
}

impl Spec<'_> {
    fn table(self) -> Table {
        let schema = Schema::builder()
            .with_fields(self.fields.into_iter().map(Arc::new))
            .build()
            .unwrap();
        let mut spec = UnboundPartitionSpec::builder();
        for (source, name, transform) in self.partition {
            spec = spec
                .add_partition_field(*source, name.to_string(), *transform)
                .unwrap();
        }
        let properties = self
            .properties
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        let metadata = TableMetadataBuilder::new(
            schema,
            spec.build(),
            SortOrder::unsorted_order(),
            "memory:///t".to_string(),
            self.version,
            properties,
        )
        .unwrap()
        .build()
        .unwrap()
        .metadata;
        let environment = Environment::new(
            Arc::new(ManualClock::at(0)),
            Arc::new(SeededIds::new(1)),
            Identity::default(),
        );
        let ident = TableIdent::from_strs(["db", "t"]).unwrap();
        let storage = Storage::default();
        Table::new(
            ident,
            Arc::new(metadata),
            "memory:///t/m.json",
            storage,
            environment,
        )
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
        .unwrap()
}

async fn bytes(table: &Table, path: &str) -> bytes::Bytes {
    table
        .storage()
        .read(&Location::parse(path).unwrap())
        .await
        .unwrap()
}

async fn read(table: &Table, file: &WrittenFile) -> RecordBatch {
    let bytes = bytes(table, file.file.file_path()).await;
    assert_eq!(bytes.len() as u64, file.file.file_size_in_bytes());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let all = concat_batches(&schema, &batches).unwrap();
    assert_eq!(all.num_rows() as u64, file.file.record_count());
    all
}

async fn write_all(table: &Table, batches: &[RecordBatch]) -> Vec<WrittenFile> {
    let mut writer = DataWriter::new(table).unwrap();
    for batch in batches {
        writer.write(batch).await.unwrap();
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(writer.rows(), rows as u64);
    writer.finish().await.unwrap()
}

async fn stored(table: &Table) -> Vec<String> {
    use futures::TryStreamExt;
    let files: Vec<_> = table
        .storage()
        .list(&table.location().unwrap())
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    files.iter().map(|file| file.location.to_string()).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn primitive(file: &WrittenFile, at: usize) -> Option<PrimitiveLiteral> {
    match &file.file.partition()[at] {
        Some(Literal::Primitive(value)) => Some(value.clone()),
        None => None,
        other => panic!("{other:?} is no partition value"),
    }
}

/// One row of the routing test: a text, a number, a time in µs, a day, and a number in a struct.
type Row = (
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i32>,
    Option<Option<i32>>,
);

fn rows_batch(from: usize, rows: &[Row]) -> RecordBatch {
    let inner: Int32Array = rows.iter().map(|r| r.4.flatten()).collect();
    let outer = rows.iter().map(|r| r.4.is_some()).collect::<Vec<_>>();
    let fields = Fields::from(vec![Field::new("inner", DataType::Int32, true)]);
    let nested = StructArray::new(fields, vec![Arc::new(inner)], Some(outer.into()));
    let time: TimestampMicrosecondArray = rows.iter().map(|r| r.2).collect();
    batch(vec![
        // Another order than the table's: columns are found by name.
        ("nested", Arc::new(nested) as ArrayRef),
        (
            "day",
            Arc::new(rows.iter().map(|r| r.3).collect::<Date32Array>()),
        ),
        ("time", Arc::new(time.with_timezone("UTC"))),
        (
            "number",
            Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>()),
        ),
        (
            "text",
            Arc::new(rows.iter().map(|r| r.0.as_deref()).collect::<StringArray>()),
        ),
        (
            "id",
            Arc::new(Int64Array::from_iter_values(
                from as i64..(from + rows.len()) as i64,
            )),
        ),
    ])
}

fn rows_fields() -> Vec<NestedField> {
    vec![
        required(1, "id", P::Long),
        optional(2, "text", P::String),
        optional(3, "number", P::Long),
        optional(4, "time", P::Timestamptz),
        optional(5, "day", P::Date),
        NestedField::optional(
            6,
            "nested",
            Type::Struct(StructType::new(vec![optional(7, "inner", P::Int).into()])),
        ),
    ]
}

/// The transform of a row, computed without Arrow and without the specification's crate.
fn expected(row: &Row, source: i32, transform: Transform) -> Option<PrimitiveLiteral> {
    use PrimitiveLiteral as L;
    const HOUR: i64 = 3_600_000_000;
    let days = |row: &Row| match source {
        4 => row.2.map(|micros| micros.div_euclid(24 * HOUR)),
        _ => row.3.map(i64::from),
    };
    let date = |days: i64| {
        chrono::DateTime::from_timestamp(days * 86_400, 0)
            .unwrap()
            .date_naive()
    };
    use chrono::Datelike;
    match (transform, source) {
        (Transform::Void, _) => None,
        (Transform::Identity, 2) => row.0.clone().map(L::String),
        (Transform::Identity, 3) => row.1.map(L::Long),
        (Transform::Identity, 7) => row.4.flatten().map(L::Int),
        (Transform::Truncate(n), 2) => row
            .0
            .as_ref()
            .map(|text| L::String(text.chars().take(n as usize).collect())),
        (Transform::Truncate(n), 3) => {
            let n = i64::from(n);
            row.1.map(|v| L::Long(v - (((v % n) + n) % n)))
        }
        (Transform::Bucket(n), 3) => row.1.map(|v| {
            let hash = murmur3(&v.to_le_bytes());
            L::Int((hash & i32::MAX) % n as i32)
        }),
        (Transform::Year, _) => days(row).map(|d| L::Int(date(d).year() - 1970)),
        (Transform::Month, _) => {
            days(row).map(|d| L::Int((date(d).year() - 1970) * 12 + date(d).month0() as i32))
        }
        (Transform::Day, _) => days(row).map(|d| L::Int(d as i32)),
        (Transform::Hour, _) => row.2.map(|micros| L::Int(micros.div_euclid(HOUR) as i32)),
        other => panic!("no expectation for {other:?}"),
    }
}

/// The 32-bit Murmur3 hash with seed 0 of a multiple of four bytes.
fn murmur3(bytes: &[u8]) -> i32 {
    let mut hash = 0_u32;
    for word in bytes.chunks(4) {
        let word = u32::from_le_bytes(word.try_into().unwrap());
        hash ^= word
            .wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593);
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    (hash ^ (hash >> 16)) as i32
}

const CHOICES: &[&[(i32, &str, Transform)]] = &[
    &[],
    &[(2, "p", Transform::Identity)],
    &[(3, "p", Transform::Bucket(5))],
    &[
        (2, "p", Transform::Truncate(1)),
        (3, "q", Transform::Truncate(7)),
    ],
    &[(4, "p", Transform::Month)],
    &[(4, "p", Transform::Day), (7, "q", Transform::Identity)],
    &[(4, "p", Transform::Hour)],
    &[(5, "p", Transform::Year), (2, "q", Transform::Void)],
    &[(5, "p", Transform::Day)],
    &[(3, "p", Transform::Identity), (5, "q", Transform::Month)],
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_row_lands_once_in_the_partition_of_its_transforms(
        rows in prop::collection::vec(
            (
                prop::option::of("[aä/. ]{0,3}"),
                prop::option::of(-20_i64..20),
                prop::option::of(-200_000_000_000_000_i64..200_000_000_000_000),
                prop::option::of(-1000_i32..1000),
                prop::option::of(prop::option::of(0_i32..3)),
            ),
            1..60,
        ),
        sorted in any::<bool>(),
        choice in 0..CHOICES.len(),
        size in 1_usize..40,
    ) {
        let mut rows: Vec<Row> = rows;
        if sorted {
            rows.sort();
        }
        let partition = CHOICES[choice];
        let table = Spec { fields: rows_fields(), partition, ..Spec::default() }.table();
        let batches: Vec<_> = rows
            .chunks(size)
            .enumerate()
            .map(|(i, chunk)| rows_batch(i * size, chunk))
            .collect();
        runtime().block_on(async {
            let files = write_all(&table, &batches).await;
            let mut seen = Vec::new();
            for file in &files {
                assert_eq!(file.spec_id, table.metadata().default_partition_spec_id());
                let data = read(&table, file).await;
                for id in data.column(0).as_primitive::<Int64Type>().values() {
                    seen.push(*id as usize);
                    for (at, (source, _, transform)) in partition.iter().enumerate() {
                        let expected = expected(&rows[*id as usize], *source, *transform);
                        assert_eq!(primitive(file, at), expected);
                    }
                }
                // Rows of one file keep the order in which they came.
                assert!(seen[seen.len() - data.num_rows()..].is_sorted());
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..rows.len()).collect::<Vec<_>>());
        });
    }

    #[test]
    fn metrics_are_those_computed_naively(
        rows in prop::collection::vec(
            (
                prop::option::of(any::<i32>()),
                prop::option::of(prop::sample::select(vec![
                    -1.5, -0.0, 0.0, 2.5, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY,
                ])),
                prop::option::of("[a-cä\u{10FFFF}]{0,20}"),
                prop::option::of(-1000_i128..1000),
                prop::option::of(prop::collection::vec(any::<u8>(), 0..6)),
                prop::option::of(prop::option::of(any::<f32>())),
                prop::option::of(prop::collection::vec(prop::option::of(prop::num::f32::ANY), 0..3)),
            ),
            1..300,
        ),
        size in 1_usize..100,
    ) {
        let table = Spec {
            fields: metric_fields(),
            properties: &[
                // Small enough for several row groups, whose statistics must be merged.
                ("write.parquet.row-group-size-bytes", "2000"),
                ("write.metadata.metrics.column.b", "truncate(2)"),
            ],
            ..Spec::default()
        }
        .table();
        let batches: Vec<_> = rows.chunks(size).map(metric_batch).collect();
        runtime().block_on(async {
            let files = write_all(&table, &batches).await;
            assert_eq!(files.len(), 1);
            let file = &files[0].file;
            let n = rows.len() as u64;
            let nulls = |missing: usize| missing as u64;
            assert_eq!(file.null_value_counts()[&1], nulls(rows.iter().filter(|r| r.0.is_none()).count()));
            let inner: Vec<Option<f32>> = rows.iter().map(|r| r.5.flatten()).collect();
            assert_eq!(file.null_value_counts()[&8], nulls(inner.iter().filter(|v| v.is_none()).count()));
            for id in [1, 2, 3, 4, 5, 8] {
                assert_eq!(file.value_counts()[&id], n, "column {id}");
                assert!(file.column_sizes()[&id] > 0);
            }
            let floats: Vec<f64> = rows.iter().filter_map(|r| r.1).collect();
            assert_eq!(file.nan_value_counts()[&2], floats.iter().filter(|v| v.is_nan()).count() as u64);
            let nested = inner.iter().flatten().filter(|v| v.is_nan()).count();
            assert_eq!(file.nan_value_counts()[&8], nested as u64);
            let listed: Vec<f32> = rows.iter().filter_map(|r| r.6.clone()).flatten().flatten().collect();
            assert_eq!(file.nan_value_counts()[&9], listed.iter().filter(|v| v.is_nan()).count() as u64);

            let ints = rows.iter().filter_map(|r| r.0);
            assert_eq!(file.lower_bounds().get(&1), ints.clone().min().map(Datum::int).as_ref());
            assert_eq!(file.upper_bounds().get(&1), ints.max().map(Datum::int).as_ref());
            let numbers = || floats.iter().copied().filter(|v| !v.is_nan());
            let lower = numbers().reduce(f64::min).map(|v| if v == 0.0 { -0.0 } else { v });
            let upper = numbers().reduce(f64::max).map(|v| if v == 0.0 { 0.0 } else { v });
            for (bound, expected) in [(file.lower_bounds(), lower), (file.upper_bounds(), upper)] {
                let bits = bound.get(&2).map(|datum| match datum.literal() {
                    PrimitiveLiteral::Double(v) => v.0.to_bits(),
                    other => panic!("{other:?} is no double"),
                });
                assert_eq!(bits, expected.map(f64::to_bits));
            }
            let decimals = rows.iter().filter_map(|r| r.3);
            let unscaled = |datum: Option<&Datum>| datum.map(|datum| match datum.literal() {
                PrimitiveLiteral::Int128(v) => *v,
                other => panic!("{other:?} is no decimal"),
            });
            assert_eq!(unscaled(file.lower_bounds().get(&4)), decimals.clone().min());
            assert_eq!(unscaled(file.upper_bounds().get(&4)), decimals.max());

            // Cut bounds: a lower one is a prefix, an upper one is not below any value.
            let texts = || rows.iter().filter_map(|r| r.2.as_deref());
            let cut = texts().min().map(|text| Datum::string(text.chars().take(16).collect::<String>()));
            assert_eq!(file.lower_bounds().get(&3), cut.as_ref());
            match (file.upper_bounds().get(&3).map(Datum::literal), texts().max()) {
                (Some(PrimitiveLiteral::String(bound)), Some(max)) => {
                    assert!(bound.as_str() >= max && bound.chars().count() <= 16);
                }
                (None, None) => {}
                (None, Some(max)) => assert!(max.chars().take(16).all(|c| c == '\u{10FFFF}')),
                other => panic!("{other:?}"),
            }
            let blobs = || rows.iter().filter_map(|r| r.4.as_deref());
            match (file.upper_bounds().get(&5).map(Datum::literal), blobs().max()) {
                (Some(PrimitiveLiteral::Binary(bound)), Some(max)) => {
                    assert!(bound.as_slice() >= max && bound.len() <= 2);
                }
                (None, None) => {}
                (None, Some(max)) => assert!(max.len() > 2 && max[..2] == [255, 255]),
                other => panic!("{other:?}"),
            }
            // Inside a list there are counts and no bounds.
            assert!(file.value_counts().contains_key(&9));
            assert!(!file.lower_bounds().contains_key(&9) && !file.upper_bounds().contains_key(&9));
            let offsets = file.split_offsets().unwrap();
            assert!(offsets.is_sorted() && offsets[0] == 4);
            assert_eq!(read(&table, &files[0]).await.num_rows(), rows.len());
        });
    }
}

type MetricRow = (
    Option<i32>,
    Option<f64>,
    Option<String>,
    Option<i128>,
    Option<Vec<u8>>,
    Option<Option<f32>>,
    Option<Vec<Option<f32>>>,
);

fn metric_fields() -> Vec<NestedField> {
    let inner = StructType::new(vec![optional(8, "inner", P::Float).into()]);
    let element = NestedField::list_element(9, Type::Primitive(P::Float), false);
    vec![
        optional(1, "i", P::Int),
        optional(2, "f", P::Double),
        optional(3, "s", P::String),
        optional(
            4,
            "d",
            P::Decimal {
                precision: 20,
                scale: 2,
            },
        ),
        optional(5, "b", P::Binary),
        NestedField::optional(6, "n", Type::Struct(inner)),
        NestedField::optional(7, "l", Type::List(ListType::new(element.into()))),
    ]
}

fn metric_batch(rows: &[MetricRow]) -> RecordBatch {
    let decimals: Decimal128Array = rows.iter().map(|r| r.3).collect();
    // A NULL struct over a NaN: nobody sees that NaN, so it must not be counted.
    let inner: Float32Array = rows
        .iter()
        .map(|r| match r.5 {
            None => Some(f32::NAN),
            Some(value) => value,
        })
        .collect();
    let valid: Vec<bool> = rows.iter().map(|r| r.5.is_some()).collect();
    let fields = Fields::from(vec![Field::new("inner", DataType::Float32, true)]);
    let nested = StructArray::new(fields, vec![Arc::new(inner)], Some(valid.into()));
    let lists = ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(
        rows.iter().map(|r| r.6.clone()),
    );
    batch(vec![
        (
            "i",
            Arc::new(rows.iter().map(|r| r.0).collect::<Int32Array>()) as ArrayRef,
        ),
        (
            "f",
            Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>()),
        ),
        (
            "s",
            Arc::new(rows.iter().map(|r| r.2.as_deref()).collect::<StringArray>()),
        ),
        (
            "d",
            Arc::new(decimals.with_precision_and_scale(20, 2).unwrap()),
        ),
        (
            "b",
            Arc::new(rows.iter().map(|r| r.4.as_deref()).collect::<BinaryArray>()),
        ),
        ("n", Arc::new(nested)),
        ("l", Arc::new(lists)),
    ])
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

#[tokio::test]
async fn files_roll_at_the_target_size() {
    let table = Spec {
        fields: vec![required(1, "id", P::Long), optional(2, "noise", P::Binary)],
        properties: &[("write.target-file-size-bytes", "200000")],
        ..Spec::default()
    }
    .table();
    // One large batch and many small ones give the same files, about.
    let one = |ids: std::ops::Range<i64>| {
        let blobs: Vec<_> = ids.clone().map(|id| noise(id as u64, 100)).collect();
        batch(vec![
            (
                "id",
                Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef,
            ),
            ("noise", Arc::new(BinaryArray::from_iter_values(blobs))),
        ])
    };
    let small: Vec<_> = (0..100).map(|i| one(i * 100..(i + 1) * 100)).collect();
    for batches in [vec![one(0..10_000)], small] {
        let files = write_all(&table, &batches).await;
        let sizes: Vec<_> = files.iter().map(|f| f.file.file_size_in_bytes()).collect();
        assert!((4..=7).contains(&files.len()), "{sizes:?}");
        for size in &sizes[..sizes.len() - 1] {
            assert!((180_000..260_000).contains(size), "{sizes:?}");
        }
        let mut ids = Vec::new();
        for file in &files {
            ids.extend_from_slice(
                read(&table, file)
                    .await
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values(),
            );
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..10_000).collect::<Vec<_>>());
        discard(&table, &files).await;
    }
    assert_eq!(stored(&table).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_largest_file_is_closed_when_memory_is_full() {
    let table = Spec {
        fields: vec![required(1, "p", P::Int), optional(2, "noise", P::Binary)],
        partition: &[(1, "p", Transform::Identity)],
        ..Spec::default()
    }
    .table();
    let limit = 400_000;
    let mut writer = DataWriter::new(&table).unwrap().memory_limit(limit);
    for round in 0..60 {
        // Partition 0 grows ten times faster than the others.
        let keys: Vec<i32> = (0..20).map(|i| if i < 10 { 0 } else { i }).collect();
        let blobs: Vec<_> = (0..20).map(|i| noise(round * 20 + i, 500)).collect();
        writer
            .write(&batch(vec![
                ("p", Arc::new(Int32Array::from(keys)) as ArrayRef),
                ("noise", Arc::new(BinaryArray::from_iter_values(blobs))),
            ]))
            .await
            .unwrap();
        let held: usize = writer.open.values().map(OpenFile::memory).sum();
        assert!(held <= limit, "{held} bytes are held");
    }
    let files = writer.finish().await.unwrap();
    let mut per_partition = BTreeMap::new();
    for file in &files {
        let Some(PrimitiveLiteral::Int(p)) = primitive(file, 0) else {
            panic!("no partition");
        };
        let (count, rows) = per_partition.entry(p).or_insert((0, 0));
        *count += 1;
        *rows += file.file.record_count();
    }
    assert_eq!(per_partition.len(), 11);
    assert!(
        per_partition[&0].0 > 1,
        "the large partition was never closed early"
    );
    assert_eq!(per_partition[&0].1, 600);
    assert!(
        (10..20).all(|p| per_partition[&p] == (1, 60)),
        "{per_partition:?}"
    );
}

#[tokio::test]
async fn a_large_file_is_uploaded_in_parts() {
    let table = Spec {
        fields: vec![optional(1, "noise", P::Binary)],
        properties: &[
            ("write.parquet.row-group-size-bytes", "6000000"),
            ("write.parquet.compression-codec", "uncompressed"),
        ],
        ..Spec::default()
    }
    .table();
    let blobs: Vec<_> = (0..24).map(|i| noise(i, 1 << 20)).collect();
    let all = batch(vec![(
        "noise",
        Arc::new(BinaryArray::from_iter_values(&blobs)) as ArrayRef,
    )]);
    let files = write_all(&table, std::slice::from_ref(&all)).await;
    assert_eq!(files.len(), 1);
    assert!(files[0].file.split_offsets().unwrap().len() > 2);
    let data = read(&table, &files[0]).await;
    assert_eq!(data.column(0).to_data(), all.column(0).to_data());
}

#[tokio::test]
async fn the_footer_has_field_ids_the_schema_and_the_codec() {
    let element = NestedField::list_element(5, Type::Primitive(P::Uuid), true);
    let table = Spec {
        fields: vec![
            optional(1, "u", P::Uuid),
            NestedField::optional(2, "l", Type::List(ListType::new(element.into()))),
            optional(3, "t", P::Timestamptz),
            optional(4, "b", P::Boolean),
        ],
        properties: &[
            ("write.parquet.compression-codec", "lz4"),
            ("write.parquet.bloom-filter-enabled.column.u", "true"),
            ("write.parquet.bloom-filter-enabled.column.b", "true"),
            ("write.parquet.bloom-filter-enabled.column.gone", "true"),
        ],
        ..Spec::default()
    }
    .table();
    let uuids = FixedSizeBinaryArray::try_from_iter([[7_u8; 16]].into_iter()).unwrap();
    let files = write_all(&table, &[batch(vec![("u", Arc::new(uuids))])]).await;
    let bytes = bytes(&table, files[0].file.file_path()).await;
    let reader = SerializedFileReader::new(bytes).unwrap();
    let file = reader.metadata().file_metadata();
    let descr = file.schema_descr();
    let columns: Vec<_> = (0..descr.num_columns())
        .map(|i| {
            let column = descr.column(i);
            (
                column.path().string(),
                column.self_type().get_basic_info().id(),
            )
        })
        .collect();
    let expected = [("u", 1), ("l.list.element", 5), ("t", 3), ("b", 4)];
    assert_eq!(columns, expected.map(|(path, id)| (path.to_string(), id)));
    assert_eq!(
        descr.column(0).logical_type_ref(),
        Some(&parquet::basic::LogicalType::Uuid)
    );
    let json = file
        .key_value_metadata()
        .unwrap()
        .iter()
        .find(|pair| pair.key == "iceberg.schema")
        .and_then(|pair| pair.value.as_ref())
        .unwrap();
    let schema: Schema = serde_json::from_str(json).unwrap();
    assert_eq!(&schema, table.metadata().current_schema().as_ref());
    let group = reader.metadata().row_group(0);
    assert!(
        group
            .columns()
            .iter()
            .all(|c| c.compression() == Compression::LZ4_RAW)
    );
    assert!(group.column(0).bloom_filter_offset().is_some());
    assert!(group.column(3).bloom_filter_offset().is_none());
    let uuid = Datum::uuid(uuid::Uuid::from_bytes([7; 16]));
    assert_eq!(files[0].file.lower_bounds().get(&1), Some(&uuid));
}

#[tokio::test]
async fn metrics_modes_are_obeyed() {
    let names = ["none", "counts", "short", "full"];
    let table = Spec {
        fields: names
            .iter()
            .zip(1..)
            .map(|(name, id)| optional(id, name, P::String))
            .collect(),
        properties: &[
            ("write.metadata.metrics.column.none", "none"),
            ("write.metadata.metrics.column.counts", "counts"),
            ("write.metadata.metrics.column.short", "truncate(3)"),
            ("write.metadata.metrics.column.full", "full"),
        ],
        ..Spec::default()
    }
    .table();
    let long = "äbc".repeat(1000);
    let column: ArrayRef = Arc::new(StringArray::from(vec![long.as_str()]));
    let files = write_all(
        &table,
        &[batch(names.map(|n| (n, column.clone())).to_vec())],
    )
    .await;
    let file = &files[0].file;
    assert_eq!(
        file.value_counts(),
        &HashMap::from([(2, 1), (3, 1), (4, 1)])
    );
    let bounds = |lower: &str, upper: &str| (Datum::string(lower), Datum::string(upper));
    for (id, expected) in [
        (1, None),
        (2, None),
        (3, Some(bounds("äbc", "äbd"))),
        (4, Some(bounds(&long, &long))),
    ] {
        let found = file
            .lower_bounds()
            .get(&id)
            .cloned()
            .zip(file.upper_bounds().get(&id).cloned());
        assert_eq!(found, expected, "column {id}");
    }
}

#[tokio::test]
async fn both_zeros_and_all_nans_are_one_partition_each() {
    let table = Spec {
        fields: vec![optional(1, "f", P::Double)],
        partition: &[(1, "f", Transform::Identity)],
        ..Spec::default()
    }
    .table();
    let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
    let values = vec![
        Some(0.0),
        Some(f64::NAN),
        Some(-0.0),
        Some(other_nan),
        Some(-f64::NAN),
        None,
    ];
    let files = write_all(
        &table,
        &[batch(vec![("f", Arc::new(Float64Array::from(values)))])],
    )
    .await;
    let mut rows: Vec<_> = files
        .iter()
        .map(|file| {
            (
                format!("{:?}", primitive(file, 0)),
                file.file.record_count(),
            )
        })
        .collect();
    rows.sort();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert_eq!(rows.iter().map(|(_, n)| n).sum::<u64>(), 6);
    let nan = files.iter().find(|f| f.file.record_count() == 3).unwrap();
    assert_eq!(nan.file.nan_value_counts()[&1], 3);
    assert!(nan.file.lower_bounds().is_empty() && nan.file.upper_bounds().is_empty());
}

#[tokio::test]
async fn columns_are_matched_by_name_and_cast_without_loss() {
    let inner = StructType::new(vec![
        optional(9, "x", P::Long).into(),
        optional(10, "y", P::String).into(),
    ]);
    let table = Spec {
        fields: vec![
            required(1, "id", P::Long),
            optional(2, "view", P::String),
            optional(3, "dictionary", P::String),
            optional(4, "large", P::String),
            optional(5, "time", P::Timestamp),
            optional(6, "nanos", P::Timestamptz),
            optional(7, "missing", P::Date),
            NestedField::optional(8, "nested", Type::Struct(inner)),
        ],
        ..Spec::default()
    }
    .table();
    let nested = StructArray::from(vec![
        (
            Arc::new(Field::new("y", DataType::LargeUtf8, true)),
            Arc::new(LargeStringArray::from(vec!["y0", "y1"])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("x", DataType::Int8, true)),
            Arc::new(Int8Array::from(vec![-1, 2])) as ArrayRef,
        ),
    ]);
    let dictionary: DictionaryArray<Int32Type> = vec!["a", "b"].into_iter().collect();
    let nanos =
        TimestampNanosecondArray::from(vec![1_000, -2_000]).with_timezone("America/New_York");
    let files = write_all(
        &table,
        &[batch(vec![
            ("nested", Arc::new(nested) as ArrayRef),
            ("nanos", Arc::new(nanos)),
            (
                "time",
                Arc::new(TimestampMillisecondArray::from(vec![5, -7])),
            ),
            ("large", Arc::new(LargeStringArray::from(vec!["l0", "l1"]))),
            ("dictionary", Arc::new(dictionary)),
            ("view", Arc::new(StringViewArray::from(vec!["v0", "v1"]))),
            ("id", Arc::new(Int32Array::from(vec![1, 2]))),
        ])],
    )
    .await;
    let data = read(&table, &files[0]).await;
    let text = arrow::util::pretty::pretty_format_batches(&[data])
        .unwrap()
        .to_string();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip(3)
        .take(2)
        .map(|line| {
            line.split('|')
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    assert_eq!(
        rows,
        [
            [
                "1",
                "v0",
                "a",
                "l0",
                "1970-01-01T00:00:00.005",
                "1970-01-01T00:00:00.000001Z",
                "{x: -1, y: y0}"
            ],
            [
                "2",
                "v1",
                "b",
                "l1",
                "1969-12-31T23:59:59.993",
                "1969-12-31T23:59:59.999998Z",
                "{x: 2, y: y1}"
            ],
        ]
    );
}

#[tokio::test]
async fn a_missing_column_has_its_write_default() {
    let table = Spec {
        fields: vec![
            required(1, "id", P::Int),
            required(2, "s", P::String).with_write_default(Literal::string("d")),
            optional(
                3,
                "n",
                P::Decimal {
                    precision: 9,
                    scale: 2,
                },
            )
            .with_write_default(Literal::decimal(125)),
        ],
        version: FormatVersion::V3,
        ..Spec::default()
    }
    .table();
    let ids = Arc::new(Int32Array::from(vec![1, 2]));
    let files = write_all(&table, &[batch(vec![("id", ids)])]).await;
    let data = read(&table, &files[0]).await;
    assert_eq!(
        data.column(1).as_string::<i32>(),
        &StringArray::from(vec!["d", "d"])
    );
    assert_eq!(
        files[0].file.lower_bounds()[&3],
        Datum::try_from_bytes(
            &[125],
            P::Decimal {
                precision: 9,
                scale: 2
            }
        )
        .unwrap()
    );
}

#[tokio::test]
async fn bad_batches_are_refused_with_column_and_row_and_the_writer_goes_on() {
    let inner = StructType::new(vec![required(5, "x", P::Int).into()]);
    let element = NestedField::list_element(6, Type::Primitive(P::Int), true);
    let table = Spec {
        fields: vec![
            required(1, "id", P::Int),
            NestedField::optional(2, "s", Type::Struct(inner)),
            NestedField::optional(3, "l", Type::List(ListType::new(element.into()))),
            optional(4, "t", P::Timestamptz),
            optional(7, "f", P::Fixed(2)),
        ],
        ..Spec::default()
    }
    .table();
    let id = |ids: Vec<Option<i32>>| ("id", Arc::new(Int32Array::from(ids)) as ArrayRef);
    let ok = || id(vec![Some(1), Some(2), Some(3)]);
    let fields = Fields::from(vec![Field::new("x", DataType::Int32, true)]);
    let x: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, None]));
    let nested = StructArray::new(fields, vec![x], Some(vec![true, false, true].into()));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), Some(2)]),
        None,
        Some(vec![Some(3), None]),
    ]);
    type Case<'a> = (Vec<(&'a str, ArrayRef)>, &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        (
            vec![id(vec![Some(1), None])],
            &["a required column has a NULL", "column: id", "row: 1"],
        ),
        (
            vec![(
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![None::<i64>])),
            )],
            &["required column is missing", "column: id"],
        ),
        (
            vec![ok(), ("other", x_column())],
            &["no such column", "column: other", "id, s, l, t, f"],
        ),
        (
            vec![ok(), ("s", Arc::new(nested))],
            &["NULL", "column: s.x", "row: 2"],
        ),
        (
            vec![ok(), ("l", Arc::new(lists))],
            &["NULL", "column: l.element", "row: 2"],
        ),
        (
            vec![("id", Arc::new(Int64Array::from(vec![1, i64::MAX])))],
            &["does not fit", "column: id", "9223372036854775807"],
        ),
        (
            vec![("id", Arc::new(Float64Array::from(vec![1.0])))],
            &[
                "type of a column does not fit",
                "found: Float64",
                "expected: Int32",
            ],
        ),
        (
            vec![
                ok(),
                (
                    "t",
                    Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3])),
                ),
            ],
            &["column: t", "time zone"],
        ),
        (
            vec![
                ok(),
                (
                    "t",
                    Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3]).with_timezone("UTC")),
                ),
            ],
            &["column: t", "digits would be lost"],
        ),
        (
            vec![ok(), ("s", x_column())],
            &["column: s", "found: Int32"],
        ),
    ];
    let wrong_length: ArrayRef = Arc::new(BinaryArray::from_iter_values([[1, 2, 3]]));
    let one = || id(vec![Some(1)]);
    let mut cases = cases;
    cases.push((vec![one(), ("f", wrong_length)], &["column: f"]));
    cases.push((vec![one(), one()], &["occurs twice", "column: id"]));
    let mut writer = DataWriter::new(&table).unwrap();
    for (columns, parts) in cases {
        let error = writer.write(&batch(columns)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{error} lacks {part}");
        }
    }
    writer.write(&batch(vec![ok()])).await.unwrap();
    let files = writer.finish().await.unwrap();
    assert_eq!(files.iter().map(|f| f.file.record_count()).sum::<u64>(), 3);
}

fn x_column() -> ArrayRef {
    Arc::new(Int32Array::from(vec![1, 2, 3]))
}

#[tokio::test]
async fn a_wrong_property_stops_the_writer_before_anything_is_written() {
    let table = Spec {
        fields: vec![required(1, "id", P::Int)],
        properties: &[("write.parquet.compression-codec", "gzp")],
        ..Spec::default()
    }
    .table();
    let error = DataWriter::new(&table).unwrap_err();
    assert!(
        error.to_string().contains("gzp") && error.to_string().contains("db.t"),
        "{error}"
    );
}

#[tokio::test]
async fn a_partition_by_a_uuid_itself_is_refused_and_one_by_its_bucket_is_written() {
    let table = |transform| {
        Spec {
            fields: vec![optional(1, "u", P::Uuid)],
            partition: &[(1, "p", transform)],
            ..Spec::default()
        }
        .table()
    };
    let error = DataWriter::new(&table(Transform::Identity)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("bucket"), "{error}");

    let uuids = FixedSizeBinaryArray::try_from_iter([[7_u8; 16]].into_iter()).unwrap();
    let rows = batch(vec![("u", Arc::new(uuids))]);
    let files = write_all(&table(Transform::Bucket(4)), &[rows]).await;
    assert_eq!(files.len(), 1);
}

#[tokio::test]
async fn no_rows_make_no_file_and_an_abort_leaves_none() {
    let table = Spec {
        fields: vec![required(1, "id", P::Int)],
        properties: &[("write.target-file-size-bytes", "1")],
        ..Spec::default()
    }
    .table();
    let rows = |n| {
        batch(vec![(
            "id",
            Arc::new(Int32Array::from_iter_values(0..n)) as ArrayRef,
        )])
    };
    assert_eq!(write_all(&table, &[rows(0)]).await, []);
    let mut writer = DataWriter::new(&table).unwrap();
    writer.write(&rows(20_000)).await.unwrap();
    writer.abort().await;
    assert_eq!(stored(&table).await, Vec::<String>::new());
}

/// A table partitioned by identity with two data files, and deletes of rows of both.
async fn deleted(version: FormatVersion) -> (Table, Vec<WrittenFile>, Vec<DeletedRows>) {
    let table = Spec {
        fields: vec![required(1, "id", P::Int), required(2, "p", P::String)],
        partition: &[(2, "p", Transform::Identity)],
        version,
        ..Spec::default()
    }
    .table();
    let p = (0..200_000).map(|i| if i % 2 == 0 { "even" } else { "odd" });
    let files = write_all(
        &table,
        &[batch(vec![
            (
                "id",
                Arc::new(Int32Array::from_iter_values(0..200_000)) as ArrayRef,
            ),
            ("p", Arc::new(StringArray::from_iter_values(p))),
        ])],
    )
    .await;
    let positions = [
        RoaringTreemap::from_iter([0, 7, 99_999]),
        RoaringTreemap::from_iter((0..100_000).filter(|i| i % 3 != 0)),
    ];
    let deletes = files
        .iter()
        .zip(positions)
        .map(|(file, positions)| DeletedRows {
            data_file: file.file.clone(),
            spec_id: file.spec_id,
            positions,
        })
        .collect();
    (table, files, deletes)
}

#[tokio::test]
async fn version_2_has_one_position_delete_file_per_data_file() {
    let (table, _, deletes) = deleted(FormatVersion::V2).await;
    let written = write_deletes(&table, &deletes).await.unwrap();
    assert_eq!(written.len(), 2);
    for (rows, delete) in deletes.iter().zip(&written) {
        let path = rows.data_file.file_path();
        let file = &delete.file;
        assert_eq!(file.content_type(), DataContentType::PositionDeletes);
        assert_eq!(file.file_format(), DataFileFormat::Parquet);
        assert_eq!(file.referenced_data_file().as_deref(), Some(path));
        assert_eq!(file.partition(), rows.data_file.partition());
        assert_eq!(delete.spec_id, rows.spec_id);
        assert_eq!(file.sort_order_id(), None);
        let (path_id, pos_id) = (2_147_483_546, 2_147_483_545);
        assert!(path.len() > 40, "the path must be longer than a cut bound");
        assert_eq!(file.lower_bounds()[&path_id], Datum::string(path));
        assert_eq!(file.upper_bounds()[&path_id], Datum::string(path));
        let first = rows.positions.min().unwrap() as i64;
        let last = rows.positions.max().unwrap() as i64;
        assert_eq!(file.lower_bounds()[&pos_id], Datum::long(first));
        assert_eq!(file.upper_bounds()[&pos_id], Datum::long(last));
        let data = read(&table, delete).await;
        let schema = data.schema();
        let columns: Vec<_> = schema
            .fields()
            .iter()
            .map(|f| {
                (
                    f.name().as_str(),
                    crate::schema::field_id(f),
                    f.is_nullable(),
                )
            })
            .collect();
        assert_eq!(
            columns,
            [
                ("file_path", Some(path_id), false),
                ("pos", Some(pos_id), false)
            ]
        );
        assert!(
            data.column(0)
                .as_string::<i32>()
                .iter()
                .all(|p| p == Some(path))
        );
        let positions = data.column(1).as_primitive::<Int64Type>().values();
        assert!(positions.is_sorted());
        assert!(
            positions
                .iter()
                .map(|p| *p as u64)
                .eq(rows.positions.iter())
        );
    }
    // Beside their data files, so that partitions can be copied whole.
    let folder = |path: &str| path.rsplit_once('/').unwrap().0.to_string();
    assert_eq!(
        folder(written[0].file.file_path()),
        folder(deletes[0].data_file.file_path())
    );
    discard(&table, &written).await;
    assert_eq!(stored(&table).await.len(), 2);
}

#[tokio::test]
async fn version_3_has_one_puffin_file_of_deletion_vectors() {
    let (table, _, deletes) = deleted(FormatVersion::V3).await;
    let written = write_deletes(&table, &deletes).await.unwrap();
    assert_eq!(written.len(), 2);
    assert_eq!(written[0].file.file_path(), written[1].file.file_path());
    let path = written[0].file.file_path();
    let input = table.storage().file_io().new_input(path).unwrap();
    let reader = PuffinReader::new(input);
    let footer = reader.file_metadata().await.unwrap().clone();
    assert_eq!(footer.blobs().len(), 2, "nothing else may be in the file");
    let whole = bytes(&table, path).await;
    for ((rows, delete), blob) in deletes.iter().zip(&written).zip(footer.blobs()) {
        let file = &delete.file;
        assert_eq!(file.file_format(), DataFileFormat::Puffin);
        assert_eq!(file.record_count(), rows.positions.len());
        assert_eq!(file.file_size_in_bytes(), whole.len() as u64);
        assert_eq!(file.content_offset(), Some(blob.offset() as i64));
        assert_eq!(file.content_size_in_bytes(), Some(blob.length() as i64));
        assert_eq!(file.partition(), rows.data_file.partition());
        let target = rows.data_file.file_path();
        assert_eq!(file.referenced_data_file().as_deref(), Some(target));
        assert_eq!(blob.blob_type(), "deletion-vector-v1");
        assert_eq!((blob.snapshot_id(), blob.sequence_number()), (-1, -1));
        assert_eq!(blob.fields(), [2_147_483_645]);
        assert_eq!(blob.properties()["referenced-data-file"], target);
        assert_eq!(
            blob.properties()["cardinality"],
            rows.positions.len().to_string()
        );
        let data = whole.slice(blob.offset() as usize..(blob.offset() + blob.length()) as usize);
        let (length, rest) = data.split_at(4);
        let (vector, sum) = rest.split_at(rest.len() - 4);
        assert_eq!(
            u32::from_be_bytes(length.try_into().unwrap()) as usize,
            vector.len()
        );
        assert_eq!(vector[..4], [0xD1, 0xD3, 0x39, 0x64]);
        let mut crc = flate2::Crc::new();
        crc.update(vector);
        assert_eq!(sum, crc.sum().to_be_bytes());
        let positions = RoaringTreemap::deserialize_from(&vector[4..]).unwrap();
        assert_eq!(positions, rows.positions);
    }
}

#[tokio::test]
async fn deletes_that_make_no_sense_are_refused() {
    let (table, files, deletes) = deleted(FormatVersion::V2).await;
    let with = |positions: RoaringTreemap| DeletedRows {
        positions,
        ..deletes[0].clone()
    };
    let behind = RoaringTreemap::from_iter([files[0].file.record_count()]);
    let foreign = DeletedRows {
        spec_id: 77,
        ..deletes[0].clone()
    };
    for (deletes, part) in [
        (vec![with(RoaringTreemap::new())], "no positions"),
        (vec![with(behind)], "behind the end"),
        (vec![deletes[0].clone(), deletes[0].clone()], "named twice"),
        (vec![foreign], "spec: 77"),
    ] {
        let error = write_deletes(&table, &deletes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(write_deletes(&table, &[]).await.unwrap(), []);
    assert_eq!(
        stored(&table).await.len(),
        2,
        "a refused delete must leave no file"
    );
}
