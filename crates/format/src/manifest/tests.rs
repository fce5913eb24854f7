use std::collections::{BTreeSet, HashMap};
use std::io::Write as _;

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion, Literal,
    ManifestContentType, ManifestList, ManifestStatus, NestedField, NestedFieldRef, Operation,
    PrimitiveType, Struct, Transform, Type,
};

use uuid::Uuid;

use super::*;
use crate::ErrorKind;
use crate::avro::tests::{long, text};
use crate::fixture::Fixture;

const VERSIONS: [FormatVersion; 3] = [FormatVersion::V1, FormatVersion::V2, FormatVersion::V3];

fn columns() -> Vec<(PrimitiveType, Datum, Literal)> {
    use PrimitiveType as T;
    let decimal = |precision| T::Decimal {
        precision,
        scale: 2,
    };
    let uuid = Uuid::from_u128(0xF0E1_D2C3_0000_0000_0000_0000_0000_0001);
    vec![
        (T::Boolean, Datum::bool(true), Literal::bool(true)),
        (T::Int, Datum::int(-7), Literal::int(-7)),
        (
            T::Long,
            Datum::long(1_i64 << 40),
            Literal::long(1_i64 << 40),
        ),
        (T::Float, Datum::float(-0.5), Literal::float(-0.5)),
        (T::Double, Datum::double(1e300), Literal::double(1e300)),
        (T::Date, Datum::date(-1), Literal::date(-1)),
        (T::Time, Datum::time_micros(7).unwrap(), Literal::time(7)),
        (
            T::Timestamp,
            Datum::timestamp_micros(-3),
            Literal::timestamp(-3),
        ),
        (
            T::Timestamptz,
            Datum::timestamptz_micros(3),
            Literal::timestamptz(3),
        ),
        (T::String, Datum::string("größe"), Literal::string("größe")),
        (
            T::Fixed(3),
            Datum::fixed(vec![1, 2, 3]),
            Literal::fixed(vec![1, 2, 3]),
        ),
        (
            T::Binary,
            Datum::binary(vec![0, 255]),
            Literal::binary(vec![0, 255]),
        ),
        (
            decimal(9),
            Datum::try_from_bytes(&(-12_345_i32).to_be_bytes(), decimal(9)).unwrap(),
            Literal::decimal(-12_345),
        ),
        (
            decimal(38),
            Datum::try_from_bytes(&(i128::MAX / 3).to_be_bytes(), decimal(38)).unwrap(),
            Literal::decimal(i128::MAX / 3),
        ),
        (T::Uuid, Datum::uuid(uuid), Literal::uuid(uuid)),
    ]
}

fn fields(types: impl Iterator<Item = PrimitiveType>) -> Vec<NestedFieldRef> {
    types
        .enumerate()
        .map(|(at, ty)| {
            let id = at as i32 + 1;
            NestedField::optional(id, format!("c{id}"), Type::Primitive(ty)).into()
        })
        .collect()
}

fn file(name: &str, partition: Struct) -> DataFileBuilder {
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::Data)
        .file_path(format!("memory:///t/{name}"))
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(0)
        .record_count(10)
        .file_size_in_bytes(1_000);
    file
}

/// Tables of every version with files of every type, in partitions of every type that the `iceberg`
/// crate can read again, and what that crate reads of them.
#[tokio::test]
async fn entries_are_what_another_decoder_reads() {
    for version in VERSIONS {
        // The crate writes UUIDs as texts, which no other engine does.
        let columns: Vec<_> = columns()
            .into_iter()
            .filter(|(ty, _, _)| *ty != PrimitiveType::Uuid)
            .collect();
        let spec: Vec<(i32, String)> = (1..=columns.len() as i32)
            .map(|id| (id, format!("p{id}")))
            .collect();
        let spec: Vec<_> = spec
            .iter()
            .map(|(id, name)| (*id, name.as_str(), Transform::Identity))
            .collect();
        let types = columns.iter().map(|(ty, _, _)| ty.clone());
        let mut fixture = Fixture::partitioned(version, fields(types), Fixture::spec(&spec));
        let values: Struct = columns
            .iter()
            .map(|(_, _, literal)| Some(literal.clone()))
            .collect();
        let nulls: Struct = columns.iter().map(|_| None).collect();
        let bounds: HashMap<i32, Datum> = columns
            .iter()
            .zip(1..)
            .map(|((_, datum, _), id)| (id, datum.clone()))
            .collect();
        let counts = |count: u64| (1..=columns.len() as i32).map(move |id| (id, count));
        let mut full = file("full.parquet", values.clone());
        full.column_sizes(counts(70).collect())
            .value_counts(counts(10).collect())
            .null_value_counts(counts(1).collect())
            .nan_value_counts([(4, 2), (5, 0)].into())
            .lower_bounds(bounds.clone())
            .upper_bounds(bounds)
            .key_metadata(Some(vec![1, 2]))
            .split_offsets(Some(vec![4, 1 << 33]))
            .sort_order_id(3);
        let mut added: Vec<DataFile> = vec![
            full.build().unwrap(),
            file("bare.parquet", nulls).build().unwrap(),
        ];
        if version > FormatVersion::V1 {
            let mut keys = file("keys.parquet", values.clone());
            keys.content(DataContentType::EqualityDeletes)
                .equality_ids(Some(vec![1, 3]));
            let mut vector = file("vector.puffin", values);
            vector
                .content(DataContentType::PositionDeletes)
                .file_format(DataFileFormat::Puffin)
                .referenced_data_file(Some("memory:///t/full.parquet".into()))
                .content_offset(Some(4))
                .content_size_in_bytes(Some(44));
            added.extend([keys.build().unwrap(), vector.build().unwrap()]);
        }
        let added = added.into_iter().map(|file| (0, file));
        fixture.commit(Operation::Overwrite, added.collect()).await;
        let table = fixture.table();
        let head = table.current_snapshot().unwrap();
        let list = Location::parse(head.manifest_list()).unwrap();
        let list = table.storage().read(&list).await.unwrap();
        let list = ManifestList::parse_with_version(&list, version).unwrap();
        let list: Vec<ManifestFile> = list.consume_entries().into_iter().collect();
        let own = load_list(table.storage(), table.metadata(), head).await;
        assert_eq!(own.unwrap(), list, "{version}");
        assert!(
            list[0]
                .partitions
                .as_ref()
                .is_some_and(|p| p[0].lower_bound.is_some())
        );
        let mut seen = 0;
        for manifest in fixture.manifests().await {
            let own = table.manifests().entries(&manifest).await.unwrap();
            let io = table.storage().file_io();
            assert_eq!(
                own,
                load_entries(&io, &manifest).await.unwrap(),
                "{version}"
            );
            assert_eq!(
                own.iter()
                    .any(|entry| entry.data_file().first_row_id().is_some()),
                version == FormatVersion::V3 && manifest.content == ManifestContentType::Data
            );
            seen += own.len();
        }
        assert_eq!(seen, if version > FormatVersion::V1 { 4 } else { 2 });
    }
}

#[tokio::test]
async fn only_the_metrics_that_are_asked_for_are_kept() {
    let mut fixture = Fixture::new(
        FormatVersion::V2,
        fields([PrimitiveType::Long, PrimitiveType::Long].into_iter()),
    );
    let both = HashMap::from([(1, 5), (2, 6)]);
    let bounds = HashMap::from([(1, Datum::long(1)), (2, Datum::long(2))]);
    let mut data = file("a.parquet", Struct::empty());
    data.column_sizes(both.clone())
        .value_counts(both.clone())
        .null_value_counts(both.clone())
        .nan_value_counts(both)
        .lower_bounds(bounds.clone())
        .upper_bounds(bounds);
    let added = vec![(0, data.build().unwrap())];
    fixture.commit(Operation::Append, added).await;
    let table = fixture.table();
    let manifest = &fixture.manifests().await[0];
    for (asked, left) in [
        (vec![], vec![]),
        (vec![2, 7], vec![2]),
        (vec![1, 2], vec![1, 2]),
    ] {
        let metrics = Metrics::Of(Arc::new(asked.into_iter().collect()));
        let entries = table.manifests().entries_with(manifest, &metrics).await;
        let entry = &entries.unwrap()[0];
        let file = entry.data_file();
        for found in [
            file.column_sizes(),
            file.value_counts(),
            file.null_value_counts(),
            file.nan_value_counts(),
        ] {
            let found: BTreeSet<i32> = found.keys().copied().collect();
            assert!(found.iter().eq(&left), "{found:?}");
        }
        for found in [file.lower_bounds(), file.upper_bounds()] {
            let found: BTreeSet<i32> = found.keys().copied().collect();
            assert!(found.iter().eq(&left), "{found:?}");
        }
        assert_eq!(
            (file.record_count(), file.file_path()),
            (10, "memory:///t/a.parquet")
        );
    }
}

/// A manifest made by hand, as other engines may write one.
struct ByHand {
    fixture: Fixture,
    schema: &'static str,
    codec: &'static str,
}

/// The fields in another order, one that nobody knows, an enum, ids without our names, a partition in
/// which the UUID is of fixed length.
const BY_HAND: &str = r#"{"type":"record","name":"manifest_entry","fields":[
    {"name":"later","type":{"type":"enum","name":"e","symbols":["x"]}},
    {"name":"file","field-id":2,"type":{"type":"record","name":"r2","fields":[
        {"name":"bytes","field-id":104,"type":"long"},
        {"name":"part","field-id":102,"type":{"type":"record","name":"r102","fields":[
            {"name":"gone","field-id":1999,"type":["null","string"]},
            {"name":"u","field-id":1001,"type":["null",{"type":"fixed","size":16,"name":"uuid_fixed","logicalType":"uuid"}]},
            {"name":"d","field-id":1000,"type":[{"type":"int","logicalType":"date"},"null"]}]}},
        {"name":"path","field-id":100,"type":"string"},
        {"name":"format","field-id":101,"type":"string"},
        {"name":"rows","field-id":103,"type":"long"},
        {"name":"lower","field-id":125,"type":["null",{"type":"array","logicalType":"map","items":
            {"type":"record","name":"k126_v127","fields":[
                {"name":"key","field-id":126,"type":"int"},
                {"name":"value","field-id":127,"type":"bytes"}]}}]}]}},
    {"name":"seq","field-id":3,"type":["null","long"]},
    {"name":"state","field-id":0,"type":"int"}]}"#;

impl ByHand {
    fn new(schema: &'static str, codec: &'static str) -> Self {
        let columns = [
            PrimitiveType::Timestamp,
            PrimitiveType::Uuid,
            PrimitiveType::Date,
        ];
        let spec = [
            (3, "p_date", Transform::Identity),
            (2, "p_uuid", Transform::Identity),
        ];
        Self {
            fixture: Fixture::partitioned(
                FormatVersion::V2,
                fields(columns.into_iter()),
                Fixture::spec(&spec),
            ),
            schema,
            codec,
        }
    }

    /// The entries of a manifest with this block.
    async fn entries(&mut self, count: i64, block: &[u8]) -> Result<Vec<ManifestEntry>> {
        let block = match self.codec {
            "deflate" => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(block).unwrap();
                encoder.finish().unwrap()
            }
            _ => block.to_vec(),
        };
        let table_schema = self.fixture.table().schema().clone();
        let table_schema = serde_json::to_vec(table_schema.as_ref()).unwrap();
        let header: [(&[u8], &[u8]); 4] = [
            (b"avro.schema", self.schema.as_bytes()),
            (b"avro.codec", self.codec.as_bytes()),
            (b"schema", &table_schema),
            (b"format-version", b"2"),
        ];
        let mut bytes = b"Obj\x01".to_vec();
        bytes.extend(long(header.len() as i64));
        for (key, value) in header {
            bytes.extend([text(key), text(value)].concat());
        }
        bytes.extend([long(0), vec![7; 16]].concat());
        bytes.extend([long(count), text(&block), vec![7; 16]].concat());
        let (path, size) = self.fixture.put("by-hand.avro", bytes).await;
        let added = file("a.parquet", [None, None].into_iter().collect());
        let added = vec![(0, added.build().unwrap())];
        self.fixture.commit(Operation::Append, added).await;
        let mut manifest = self.fixture.manifests().await[0].clone();
        manifest.manifest_path = path;
        manifest.manifest_length = size as i64;
        self.fixture.table().manifests().entries(&manifest).await
    }
}

/// An entry of [`BY_HAND`].
fn by_hand(state: i64, rows: i64, uuid: u128, bound: &[u8]) -> Vec<u8> {
    [
        long(0),
        long(700),
        // The partition: a field that the spec does not know, the UUID, the date.
        long(1),
        text(b"unknown"),
        long(1),
        uuid.to_be_bytes().to_vec(),
        long(0),
        long(19_000),
        text(b"s3a://b/t/a.parquet"),
        text(b"PARQUET"),
        long(rows),
        // A block of two bounds: of a column that nobody knows, and of the first.
        long(1),
        long(2),
        long(99),
        text(b"?"),
        long(1),
        text(bound),
        long(0),
        // No sequence number.
        long(0),
        long(state),
    ]
    .concat()
}

#[tokio::test]
async fn fields_are_found_by_id_in_any_order_and_whatever_they_are_called() {
    for codec in ["null", "deflate"] {
        let mut by = ByHand::new(BY_HAND, codec);
        let uuid = 0xFFEE_0000_0000_0000_0000_0000_0000_0001;
        let micros = 5_i64.to_le_bytes();
        let block = [
            by_hand(1, 12, uuid, &micros),
            by_hand(0, 13, 2, &19_000_i32.to_le_bytes()),
        ];
        let entries = by.entries(2, &block.concat()).await.unwrap();
        let [first, second] = entries.as_slice() else {
            panic!("{entries:?}");
        };
        let own = by.fixture.manifests().await[0].clone();
        assert_eq!(first.status(), ManifestStatus::Added);
        assert_eq!(first.snapshot_id(), Some(own.added_snapshot_id));
        assert_eq!(first.sequence_number(), Some(own.sequence_number));
        let data = first.data_file();
        assert_eq!(
            (
                data.record_count(),
                data.file_size_in_bytes(),
                data.file_path()
            ),
            (12, 700, "s3a://b/t/a.parquet")
        );
        let expected: Struct = [
            Some(Literal::date(19_000)),
            Some(Literal::uuid(Uuid::from_u128(uuid))),
        ]
        .into_iter()
        .collect();
        assert_eq!(data.partition(), &expected);
        let bounds = HashMap::from([(1, Datum::timestamp_micros(5))]);
        assert_eq!(data.lower_bounds(), &bounds);
        // An existing file must bring its sequence number, and its bound was a date once.
        assert_eq!(second.sequence_number(), None);
        let widened = Datum::timestamp_micros(19_000 * 86_400_000_000);
        assert_eq!(
            second.data_file().lower_bounds(),
            &HashMap::from([(1, widened)])
        );
    }
}

#[tokio::test]
async fn what_no_entry_can_be_is_refused() {
    let bound = 5_i64.to_le_bytes();
    let good = by_hand(1, 12, 1, &bound);
    let refused = async |count, block: &[u8], message: &str| {
        let mut by = ByHand::new(BY_HAND, "null");
        let error = by.entries(count, block).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(message), "{error}");
        assert!(
            error.context().iter().any(|(key, _)| *key == "path"),
            "{error}"
        );
    };
    refused(1, &by_hand(3, 12, 1, &bound), "cannot have").await;
    refused(1, &by_hand(1 << 40, 12, 1, &bound), "out of range").await;
    refused(1, &by_hand(1, -1, 1, &bound), "negative").await;
    refused(1, &by_hand(1, 12, 1, &bound[..3]), "column's type").await;
    refused(2, &good, "cut short").await;
    refused(1, &[good.clone(), vec![0]].concat(), "more values").await;
    refused(1 << 40, &good, "count").await;
    refused(1, &good[..good.len() - 1], "cut short").await;
}

#[tokio::test]
async fn schemas_of_other_things_are_refused() {
    for (schema, message) in [
        ("\"long\"", "no records"),
        (
            r#"{"type":"record","name":"r","fields":[{"name":"data_file","type":"long"}]}"#,
            "no record",
        ),
        (
            r#"{"type":"record","name":"r","fields":[{"name":"status","type":"string"}]}"#,
            "of another type",
        ),
        (
            r#"{"type":"record","name":"r","fields":[{"name":"status","type":"int"}]}"#,
            "lacks a field",
        ),
        (
            r#"{"type":"record","name":"r","fields":[{"name":"data_file","type":{"type":"record",
                "name":"f","fields":[{"name":"partition","type":{"type":"record","name":"p","fields":[
                {"name":"p_date","type":"int"}]}}]}}]}"#,
            "partition fields",
        ),
    ] {
        let mut by = ByHand::new(schema, "null");
        let error = by.entries(1, &long(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(message), "{message}: {error}");
    }
}

/// A file that says something in every field.
fn full(name: &str, columns: &[(PrimitiveType, Datum, Literal)], first_row_id: bool) -> DataFile {
    let counts = |count: u64| {
        (1..=columns.len() as i32)
            .map(move |id| (id, count))
            .collect()
    };
    let bounds: HashMap<i32, Datum> = (1..)
        .zip(columns)
        .map(|(id, (_, datum, _))| (id, datum.clone()))
        .collect();
    let values = columns.iter().map(|(_, _, literal)| Some(literal.clone()));
    let mut full = file(name, values.collect());
    full.column_sizes(counts(1 << 40))
        .value_counts(counts(10))
        .null_value_counts(counts(0))
        .nan_value_counts([(4, 2), (5, 0)].into())
        .lower_bounds(bounds.clone())
        .upper_bounds(bounds)
        .key_metadata(Some(vec![1, 2]))
        .split_offsets(Some(vec![4, 1 << 33]))
        .sort_order_id(3)
        .referenced_data_file(Some("memory:///t/other.parquet".into()))
        .first_row_id(first_row_id.then_some(77));
    full.build().unwrap()
}

#[tokio::test]
async fn what_is_written_is_what_both_decoders_read() {
    for version in [FormatVersion::V2, FormatVersion::V3] {
        for with_uuids in [false, true] {
            let columns: Vec<_> = columns()
                .into_iter()
                .filter(|(ty, _, _)| with_uuids || *ty != PrimitiveType::Uuid)
                .collect();
            let names: Vec<String> = (1..=columns.len()).map(|id| format!("p{id}")).collect();
            let spec: Vec<_> = (1..)
                .zip(&names)
                .map(|(id, name)| (id, name.as_str(), Transform::Identity))
                .collect();
            let types = columns.iter().map(|(ty, _, _)| ty.clone());
            let fixture = Fixture::partitioned(version, fields(types), Fixture::spec(&spec));
            let table = fixture.table();
            let spec = table.metadata().default_partition_spec();
            let location = Location::parse("memory:///t/metadata/m.avro").unwrap();
            let content = ManifestContentType::Data;
            let mut writer =
                ManifestWriter::new(location, 7, table.schema(), spec, version, content).unwrap();
            let is_v3 = version == FormatVersion::V3;
            let rich = full("full.parquet", &columns, is_v3);
            let nulls = columns.iter().map(|_| None).collect();
            let bare = file("bare.parquet", nulls).build().unwrap();
            writer.add_file(&rich, None).unwrap();
            writer.add_file(&bare, Some(4)).unwrap();
            writer.add_existing_file(&rich, 3, 5, 6).unwrap();
            writer.add_delete_file(&bare, 1, 2).unwrap();
            // So many that there are several blocks.
            for _ in 0..1_000 {
                writer.add_existing_file(&rich, 3, 5, 5).unwrap();
            }
            let mut manifest = writer.write(table.storage()).await.unwrap();
            assert!(
                manifest.manifest_length < 100_000,
                "{}",
                manifest.manifest_length
            );
            manifest.sequence_number = 9;
            let entries = table.manifests().entries(&manifest).await.unwrap();
            if !with_uuids {
                let io = table.storage().file_io();
                let others = load_entries(&io, &manifest).await.unwrap();
                assert!(entries == others, "{version}");
            }
            assert_eq!(entries.len(), 1_004);
            let numbers = |at: usize| {
                let entry: &ManifestEntry = &entries[at];
                let (snapshot, sequence) = (entry.snapshot_id(), entry.sequence_number());
                let numbers = (snapshot, sequence, entry.file_sequence_number);
                (entry.status(), numbers)
            };
            assert_eq!(
                numbers(0),
                (ManifestStatus::Added, (Some(7), Some(9), Some(9)))
            );
            assert_eq!(
                numbers(1),
                (ManifestStatus::Added, (Some(7), Some(4), Some(9)))
            );
            assert_eq!(
                numbers(2),
                (ManifestStatus::Existing, (Some(3), Some(5), Some(6)))
            );
            assert_eq!(
                numbers(3),
                (ManifestStatus::Deleted, (Some(7), Some(1), Some(2)))
            );
            for (at, file) in [
                (0, &rich),
                (1, &bare),
                (2, &rich),
                (3, &bare),
                (1_003, &rich),
            ] {
                assert_eq!(entries[at].data_file(), file, "{version}");
            }
            let counts = (
                manifest.added_files_count,
                manifest.existing_files_count,
                manifest.deleted_files_count,
                manifest.existing_rows_count,
                manifest.min_sequence_number,
            );
            assert_eq!(counts, (Some(2), Some(1_001), Some(1), Some(10_010), 4));
            let summaries = manifest.partitions.as_deref().unwrap();
            for (summary, (_, datum, _)) in summaries.iter().zip(&columns) {
                assert!(summary.contains_null && summary.contains_nan == Some(false));
                let bound = datum.to_bytes().unwrap();
                assert_eq!(summary.lower_bound.as_ref(), Some(&bound));
                assert_eq!(summary.upper_bound.as_ref(), Some(&bound));
            }
        }
    }
}

#[tokio::test]
async fn summaries_have_the_least_and_the_greatest_and_say_where_nan_is() {
    let types = [
        PrimitiveType::Double,
        PrimitiveType::String,
        PrimitiveType::Int,
    ];
    let spec = [
        (1, "größe", Transform::Identity),
        (2, "2.nd", Transform::Identity),
        // As the first is written.
        (3, "gr_xF6_xDFe", Transform::Identity),
    ];
    let fixture = Fixture::partitioned(
        FormatVersion::V2,
        fields(types.into_iter()),
        Fixture::spec(&spec),
    );
    let table = fixture.table();
    let spec = table.metadata().default_partition_spec();
    let location = Location::parse("memory:///t/metadata/m.avro").unwrap();
    let content = ManifestContentType::Data;
    let version = FormatVersion::V2;
    let mut writer =
        ManifestWriter::new(location, 7, table.schema(), spec, version, content).unwrap();
    for (number, text) in [(1.5, "b"), (f64::NAN, "a"), (-1.0, "c")] {
        let values = [
            Some(Literal::double(number)),
            Some(Literal::string(text)),
            Some(Literal::int(7)),
        ];
        let file = file("a.parquet", values.into_iter().collect());
        writer.add_file(&file.build().unwrap(), None).unwrap();
    }
    let mut deletes = file("d.parquet", [None, None, None].into_iter().collect());
    deletes.content(DataContentType::PositionDeletes);
    let error = writer
        .add_file(&deletes.build().unwrap(), None)
        .unwrap_err();
    assert!(error.to_string().contains("does not belong"), "{error}");
    let manifest = writer.write(table.storage()).await.unwrap();
    let summaries = manifest.partitions.as_deref().unwrap();
    let bytes = |datum: Datum| Some(datum.to_bytes().unwrap());
    assert_eq!(summaries[0].contains_nan, Some(true));
    assert_eq!(summaries[0].lower_bound, bytes(Datum::double(-1.0)));
    assert_eq!(summaries[0].upper_bound, bytes(Datum::double(1.5)));
    assert_eq!(summaries[1].contains_nan, Some(false));
    assert_eq!(summaries[1].lower_bound, bytes(Datum::string("a")));
    assert_eq!(summaries[1].upper_bound, bytes(Datum::string("c")));
    assert!(summaries.iter().all(|summary| !summary.contains_null));
    // Names that Avro does not allow are written as it does, each as another, and found by their ids.
    let entries = table.manifests().entries(&manifest).await.unwrap();
    let partition = entries[0].data_file().partition();
    let expected = [
        Some(Literal::double(1.5)),
        Some(Literal::string("b")),
        Some(Literal::int(7)),
    ];
    assert_eq!(partition, &Struct::from_iter(expected));
}
