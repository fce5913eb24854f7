//! What the fuzzers start from: files of tables that this crate writes, small ones.
//!
//! `cargo test -p berglake-format --test it seeds_are_written -- --ignored` makes them anew, the same
//! ones each time as long as the writers are the same.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, Int64Array, ListArray, MapArray, RecordBatch, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use berglake_format::commit::{Committer, MemoryCommitter, Operation, Transaction};
use berglake_format::plan::ScanTask;
use berglake_format::schema::to_arrow;
use berglake_format::snapshot::{Append, CommitNotes, RowDelta};
use berglake_format::storage::{Location, Storage};
use berglake_format::write::{DataWriter, DeletedRows, write_deletes};
use berglake_format::{Environment, Identity, ManualClock, SeededIds, Table, TableIdent, fuzzing};
use futures::TryStreamExt;
use iceberg::TableCreation;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, FormatVersion, Literal,
    ManifestListWriter, ManifestWriterBuilder, Schema, Struct, UnboundPartitionSpec,
};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::Compression;
use parquet::file::properties::{WriterProperties, WriterVersion};
use roaring::RoaringTreemap;

use super::Target;
use crate::model::Dice;

type File = (Target, String, Vec<u8>);

fn ident() -> TableIdent {
    TableIdent::from_strs(["db", "t"]).unwrap()
}

fn environment(seed: u64) -> Environment {
    Environment::new(
        // Years ahead, as the metadata builder takes some times from the clock of the machine.
        Arc::new(ManualClock::stepping(4_000_000_000_000_000, 1_000_000)),
        Arc::new(SeededIds::new(seed)),
        Identity {
            application: "seeds".into(),
            principal: "test".into(),
        },
    )
}

async fn created(version: FormatVersion, partitioned: bool, codec: &str) -> MemoryCommitter {
    let committer = MemoryCommitter::new(Storage::default(), environment(version as u64));
    let spec = match partitioned {
        true => fuzzing::partition().unwrap(),
        false => UnboundPartitionSpec::builder().build(),
    };
    let metadata_codec = if codec == "gzip" { "gzip" } else { "none" };
    let creation = TableCreation::builder()
        .name("t".into())
        .location("memory:///t".into())
        .schema(schema())
        .partition_spec(spec)
        .format_version(version)
        .properties(
            [
                ("write.parquet.compression-codec", codec),
                ("write.metadata.compression-codec", metadata_codec),
            ]
            .map(|(key, value)| (key.to_string(), value.to_string())),
        )
        .build();
    committer.create(ident(), creation).await.unwrap();
    committer
}

fn schema() -> Schema {
    Schema::builder()
        .with_fields(fuzzing::columns())
        .build()
        .unwrap()
}

async fn commit(committer: &MemoryCommitter, operation: impl Operation) -> Table {
    let applied = Transaction::new(committer)
        .step(ident(), operation)
        .commit()
        .await
        .unwrap();
    applied[0].table().clone()
}

/// Values for one field: small numbers in any type, every fifth NULL.
fn column(ty: &DataType, rows: usize) -> ArrayRef {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter(
        (0..rows as i64).map(|row| (row % 5 != 4).then_some(row)),
    ));
    let nulls = numbers.nulls().cloned();
    // Two elements in each list and map.
    let offsets = || OffsetBuffer::from_lengths(std::iter::repeat_n(2, rows));
    match ty {
        DataType::FixedSizeBinary(length) => {
            let value = |row: usize| (row % 5 != 4).then(|| vec![row as u8; *length as usize]);
            let values = (0..rows).map(value);
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, *length).unwrap())
        }
        DataType::List(item) => {
            let values = column(item.data_type(), 2 * rows);
            Arc::new(ListArray::new(item.clone(), offsets(), values, nulls))
        }
        DataType::Map(entries, sorted) => {
            let DataType::Struct(pair) = entries.data_type() else {
                panic!("{entries}");
            };
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2 * rows as i64));
            let keys = cast(&keys, pair[0].data_type()).unwrap();
            let values = column(pair[1].data_type(), 2 * rows);
            let pair = StructArray::new(pair.clone(), vec![keys, values], None);
            let map = MapArray::new(entries.clone(), offsets(), pair, nulls, *sorted);
            Arc::new(map)
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| column(field.data_type(), rows));
            Arc::new(StructArray::new(
                fields.clone(),
                columns.collect(),
                nulls.map(|nulls| NullBuffer::from_iter(nulls.iter())),
            ))
        }
        DataType::Date32 => cast(&cast(&numbers, &DataType::Int32).unwrap(), ty).unwrap(),
        DataType::Binary | DataType::LargeBinary => {
            cast(&cast(&numbers, &DataType::Utf8).unwrap(), ty).unwrap()
        }
        DataType::Decimal128(..) => {
            let small = cast(&numbers, &DataType::Float64).unwrap();
            cast(&small, ty).unwrap()
        }
        ty => cast(&numbers, ty).unwrap(),
    }
}

fn batch(rows: usize) -> RecordBatch {
    let schema = to_arrow(&schema()).unwrap();
    let columns = schema
        .fields()
        .iter()
        .map(|field| column(field.data_type(), rows));
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

async fn read(table: &Table, path: &str) -> Vec<u8> {
    let location = Location::parse(path).unwrap();
    table.storage().read(&location).await.unwrap().to_vec()
}

/// All that a table writes: metadata, lists, manifests, data files and position deletes or deletion
/// vectors.
async fn table(version: FormatVersion, partitioned: bool, codec: &str) -> Vec<File> {
    let committer = created(version, partitioned, codec).await;
    let table = committer.load(&ident()).await.unwrap();
    let notes = CommitNotes::default;
    let rows = if partitioned { 3 } else { 12 };
    let mut writer = DataWriter::new(&table).unwrap();
    writer.write(&batch(rows)).await.unwrap();
    let files = writer.finish().await.unwrap();
    let notes_of_append = notes();
    let mut table = commit(
        &committer,
        Append {
            files,
            notes: notes_of_append,
        },
    )
    .await;
    let plan = table.scan().plan().await.unwrap();
    let mut found = Vec::new();
    if !partitioned {
        for task in &plan.tasks {
            let bytes = read(&table, task.file.file_path()).await;
            found.push((Target::DataFile, codec.to_string(), bytes));
        }
    }
    if version > FormatVersion::V1 {
        let deletes: Vec<_> = plan
            .tasks
            .iter()
            .map(|task: &ScanTask| DeletedRows {
                data_file: task.file.as_ref().clone(),
                spec_id: task.spec_id,
                positions: (0..task.file.record_count())
                    .filter(|row| row % 3 != 1)
                    .collect(),
            })
            .collect();
        let delete_files = write_deletes(&table, &deletes).await.unwrap();
        let base = table.current_snapshot().map(|head| head.snapshot_id());
        table = commit(
            &committer,
            RowDelta {
                base,
                data_files: Vec::new(),
                delete_files,
                notes: notes(),
            },
        )
        .await;
    }
    found.extend(described(&table, &format!("v{}-{codec}-{partitioned}", version as u8)).await);
    found
}

/// The metadata of a table: its file, the lists and the manifests.
async fn described(table: &Table, name: &str) -> Vec<File> {
    let folder = table.metadata_folder().unwrap();
    let mut files: Vec<_> = table
        .storage()
        .list(&folder)
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    files.sort_by(|a, b| a.location.cmp(&b.location));
    let lists: Vec<_> = table
        .metadata()
        .snapshots()
        .map(|snapshot| Location::parse(snapshot.manifest_list()).unwrap())
        .collect();
    let mut found = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let bytes = read(table, &file.location.to_string()).await;
        let target = if lists.contains(&file.location) {
            Target::ManifestList
        } else if file.location.name().ends_with(".avro") {
            Target::Manifest
        } else {
            Target::Metadata
        };
        found.push((target, format!("{name}-{number}"), bytes));
    }
    found
}

/// A manifest and a list of format version 1, which this crate reads and does not write.
async fn version_1() -> Vec<File> {
    let storage = Storage::default();
    let io = storage.file_io();
    let schema = Arc::new(schema());
    let spec = fuzzing::partition().unwrap().bind(schema.clone()).unwrap();
    let at = "memory:///t/metadata/m.avro";
    let output = io.new_output(at).unwrap();
    let mut manifest = ManifestWriterBuilder::new(output, Some(3), schema, spec).build_v1();
    for number in 0..2_i64 {
        let partition = Struct::from_iter([
            Some(Literal::int(1)),
            (number == 0).then(|| Literal::string("a")),
            Some(Literal::date(20_000)),
            Some(Literal::decimal(1_250)),
        ]);
        let mut file = data_file(&format!("memory:///t/data/{number}.parquet"), partition);
        file.column_sizes([(1, 40), (2, 50)].into())
            .value_counts([(1, 7), (2, 7)].into())
            .split_offsets(Some(vec![4]));
        manifest.add_file(file.build().unwrap(), -1).unwrap();
    }
    let manifest = manifest.write_manifest_file().await.unwrap();
    let list = "memory:///t/metadata/l.avro";
    let output = io.new_output(list).unwrap().writer().await.unwrap();
    let mut writer = ManifestListWriter::v1(output, 3, Some(2));
    writer.add_manifests(std::iter::once(manifest)).unwrap();
    writer.close().await.unwrap();
    let mut found = Vec::new();
    for (target, path) in [(Target::Manifest, at), (Target::ManifestList, list)] {
        let bytes = storage.read(&Location::parse(path).unwrap()).await.unwrap();
        found.push((target, "v1".to_string(), bytes.to_vec()));
    }
    found
}

fn data_file(path: &str, partition: Struct) -> DataFileBuilder {
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::Data)
        .file_path(path.to_string())
        .file_format(DataFileFormat::Parquet)
        .partition_spec_id(0)
        .partition(partition)
        .record_count(7)
        .file_size_in_bytes(700);
    file
}

/// Deletion vectors and position deletes of the one data file that the fuzzers know.
async fn deletes(version: FormatVersion) -> Vec<File> {
    let mut found = Vec::new();
    for (name, positions) in [
        ("few", RoaringTreemap::from_iter([1, 4, 9])),
        ("run", RoaringTreemap::from_iter(100..9_000)),
        ("every-other", (0..10_000).step_by(2).collect()),
        (
            "far",
            RoaringTreemap::from_iter([0, 70_000, 1 << 33, (1 << 40) + 5]),
        ),
    ] {
        let codec = if name == "far" {
            "uncompressed"
        } else {
            "zstd"
        };
        let committer = created(version, false, codec).await;
        let table = committer.load(&ident()).await.unwrap();
        let mut file = data_file(fuzzing::DATA_FILE, Struct::empty());
        file.record_count(1 << 41);
        let deleted = DeletedRows {
            data_file: file.build().unwrap(),
            spec_id: 0,
            positions,
        };
        let written = write_deletes(&table, &[deleted]).await.unwrap();
        let file: &DataFile = &written[0].file;
        let mut bytes = read(&table, file.file_path()).await;
        let target = match version {
            FormatVersion::V3 => {
                let start = file.content_offset().unwrap() as usize;
                let size = file.content_size_in_bytes().unwrap() as usize;
                bytes = bytes[start..start + size].to_vec();
                Target::DeletionVector
            }
            _ => Target::PositionDeletes,
        };
        found.push((target, name.to_string(), bytes));
    }
    found
}

/// A Parquet file as others write it: of these columns, with other properties than ours.
fn parquet(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn without_ids(batch: &RecordBatch) -> RecordBatch {
    let schema = batch.schema();
    let fields = schema.fields().iter().map(|field| {
        let mut metadata = field.metadata().clone();
        metadata.remove(PARQUET_FIELD_ID_META_KEY);
        Field::clone(field).with_metadata(metadata)
    });
    let schema = ArrowSchema::new(fields.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec()).unwrap()
}

fn foreign() -> Vec<File> {
    let all = batch(9);
    let keys = all.project(&[0, 1]).unwrap();
    let nested = all.project(&[0, 12, 13, 14]).unwrap();
    let second = || {
        WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_max_row_group_row_count(Some(4))
    };
    let plain = || WriterProperties::builder().set_dictionary_enabled(false);
    let mut found = Vec::new();
    for (name, batch, properties) in [
        ("pages-2", &all, second().build()),
        ("nested", &nested, second().build()),
        ("plain", &all, plain().build()),
        ("keys", &keys, WriterProperties::default()),
        (
            "keys-brotli",
            &keys,
            plain()
                .set_compression(Compression::BROTLI(Default::default()))
                .build(),
        ),
        (
            "keys-lz4",
            &keys,
            second().set_compression(Compression::LZ4).build(),
        ),
    ] {
        let bytes = parquet(batch, properties);
        if batch.num_columns() == 2 {
            found.push((Target::EqualityDeletes, name.to_string(), bytes.clone()));
        }
        found.push((Target::DataFile, name.to_string(), bytes));
    }
    let unnamed = without_ids(&keys);
    for target in [Target::EqualityDeletes, Target::DataFile] {
        let bytes = parquet(&unnamed, WriterProperties::default());
        found.push((target, "without-ids".to_string(), bytes));
    }
    found
}

/// Parquet files whose column chunks have several pages.
fn pages() -> Vec<File> {
    let all = batch(120);
    let in_pages = || {
        WriterProperties::builder()
            .set_max_row_group_row_count(Some(60))
            .set_data_page_row_count_limit(10)
            .set_write_batch_size(10)
    };
    let second = || in_pages().set_writer_version(WriterVersion::PARQUET_2_0);
    let keys = all.project(&[0, 1]).unwrap();
    let nested = all.project(&[0, 12, 13, 14]).unwrap();
    let file = |name: &str, batch: &RecordBatch, properties: WriterProperties| {
        (
            Target::PageIndex,
            name.to_string(),
            parquet(batch, properties),
        )
    };
    vec![
        file("all", &all, in_pages().build()),
        file("keys", &keys, in_pages().build()),
        file("keys-2", &keys, second().build()),
        file("nested", &nested, in_pages().build()),
        file("nested-2", &nested, second().build()),
    ]
}

fn texts() -> Vec<File> {
    let mut found = Vec::new();
    for (number, text) in [
        "/w/t/a.parquet",
        "file:/w/t/a.parquet",
        "file:///w//t/name=a%20b/f:1.parquet",
        "FILE://localhost/w/t/v12.metadata.json",
        "s3://bucket/t/a",
        "s3a://b/t/größe/",
        "memory:/x/00012-a.gz.metadata.json",
        "hdfs://h/x",
        "file:///a/../b",
    ]
    .iter()
    .enumerate()
    {
        found.push((
            Target::Location,
            number.to_string(),
            text.as_bytes().to_vec(),
        ));
    }
    for (number, text) in [
        r#"[{"field-id":1,"names":["id"]},{"field-id":2,"names":["name","title"]}]"#,
        r#"[{"names":["id"]},{"field-id":13,"names":["tags"],"fields":[{"field-id":16,"names":["element"]}]},
{"field-id":14,"names":["scores"],"fields":[{"field-id":17,"names":["key"]},{"field-id":18,"names":["value"]}]},
{"field-id":15,"names":["place"],"fields":[{"field-id":19,"names":["lat"]},
{"field-id":20,"names":["names"],"fields":[{"field-id":21,"names":["element"]}]}]}]"#,
        "[]",
    ]
    .iter()
    .enumerate()
    {
        found.push((Target::NameMapping, number.to_string(), text.as_bytes().to_vec()));
    }
    found
}

async fn all() -> Vec<File> {
    let mut files = Vec::new();
    for (version, partitioned, codec) in [
        (FormatVersion::V2, false, "snappy"),
        (FormatVersion::V2, true, "gzip"),
        (FormatVersion::V3, false, "zstd"),
        (FormatVersion::V3, true, "uncompressed"),
    ] {
        files.extend(table(version, partitioned, codec).await);
    }
    for version in [FormatVersion::V2, FormatVersion::V3] {
        files.extend(deletes(version).await);
    }
    files.extend(version_1().await);
    files.extend(foreign());
    files.extend(pages());
    files.extend(texts());
    files
}

/// Some damage of each file, so that a fuzzer begins with the ways in which files fail, too.
fn damaged(dice: &mut Dice, bytes: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    let mut flipped = bytes.to_vec();
    if !bytes.is_empty() {
        flipped[dice.below(bytes.len())] ^= 1 << dice.below(8);
    }
    let cut = bytes[..dice.below(bytes.len() + 1)].to_vec();
    [("cut", cut), ("flipped", flipped)]
}

#[test]
#[ignore = "writes fuzz/corpus anew"]
fn seeds_are_written() {
    let files = super::blocking(all());
    let mut dice = Dice::new(1);
    for target in Target::ALL {
        let folder = super::folder("corpus", target);
        std::fs::create_dir_all(&folder).unwrap();
        for name in super::files(&folder).into_keys() {
            if ["seed-", "cut-", "flipped-"]
                .iter()
                .any(|kind| name.starts_with(kind))
            {
                std::fs::remove_file(folder.join(name)).unwrap();
            }
        }
        for (_, name, bytes) in files.iter().filter(|file| file.0 == target) {
            std::fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
            for (kind, damaged) in damaged(&mut dice, bytes) {
                std::fs::write(folder.join(format!("{kind}-{name}")), damaged).unwrap();
            }
        }
    }
}
