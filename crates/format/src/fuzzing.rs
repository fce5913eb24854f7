//! Each decoder as a function of bytes, for the fuzzers in `fuzz/` and for the test that replays what
//! they found. Not for users of the crate.
//!
//! The bytes are put into a file in memory and read as production reads it, as far as a scan goes:
//! what a manifest says is planned with, what a delete file says is applied. A result is an error, or
//! one number for each thing that was read, by which tests tell whether it is what was written.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use futures::TryStreamExt;
use iceberg::TableCreation;
use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Datum, FormatVersion, ListType,
    ManifestContentType, ManifestFile, ManifestListWriter, MapType, NestedField, NestedFieldRef,
    Operation, PrimitiveType, Schema, Snapshot, SnapshotReference, SnapshotRetention, Struct,
    StructType, Summary, TableMetadata, TableMetadataBuilder, Transform, Type,
    UnboundPartitionSpec,
};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use crate::commit::metadata_file;
use crate::deletes::DeleteLoader;
use crate::inspect::MetadataTable;
use crate::plan::{DeleteFile, ScanPlan, ScanTask, SnapshotSelector, load_manifests};
use crate::read::file::ParquetFile;
use crate::read::{ReadOptions, name_mapping};
use crate::storage::{Location, Storage, normalize};
use crate::{Environment, Error, ErrorKind, Result, Table, TableIdent};

/// What is wrong with an outcome, whatever the bytes are: damage must be called damage, and be found.
/// `is_file` says that the bytes are a file's, which the error then names.
pub fn objection(outcome: &Result<Vec<u64>>, is_file: bool) -> Option<String> {
    let error = outcome.as_ref().err()?;
    // A damaged path is that of a file that is not there, or none at all.
    let is_answer = matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::InvalidInput
    );
    let names_file = error
        .context()
        .iter()
        .any(|(key, value)| *key == "path" && !value.is_empty());
    (!is_answer || (is_file && !names_file)).then(|| format!("{:?}: {error}", error.kind()))
}

/// The data file of all plans.
pub const DATA_FILE: &str = "memory:///t/data/a.parquet";
/// The keys that equality deletes are held against.
pub const KEYS: u64 = 16;
/// The file whose bytes are given.
const FILE: &str = "memory:///t/fuzzed";
/// A snapshot with a greater number than those of any file.
const SEQUENCE: i64 = 1 << 40;
/// No file in a corpus has more rows.
const GREATEST_ROWS: u64 = 1 << 20;

/// Table metadata, gzipped or not, and the metadata tables that need nothing else: the ids of the
/// snapshots.
pub async fn metadata(bytes: &[u8]) -> Result<Vec<u64>> {
    let storage = stored(FILE, bytes).await?;
    let metadata = metadata_file::read(&storage, FILE).await?;
    let table = table(storage, metadata);
    let mut ids: Vec<u64> = table
        .metadata()
        .snapshots()
        .map(|snapshot| snapshot.snapshot_id().cast_unsigned())
        .collect();
    ids.sort_unstable();
    // Whatever follows may fail on what the metadata says, but must not panic.
    let _ = table.refs();
    let _ = table.location();
    let _ = name_mapping(table.metadata());
    let _ = crate::schema::to_arrow(table.schema());
    let _ = table
        .ancestors(table.metadata().current_snapshot_id())
        .count();
    for of_metadata in MetadataTable::ALL {
        let _ = of_metadata.read(&table, &SnapshotSelector::Head).await;
    }
    let _ = table.scan().plan().await;
    Ok(ids)
}

/// A manifest list of a table of this format version, planned with: the lengths of its manifests.
pub async fn manifest_list(version: FormatVersion, bytes: &[u8]) -> Result<Vec<u64>> {
    let storage = stored(FILE, bytes).await?;
    let metadata = with_head(&partitioned(version)?, FILE)?;
    let table = table(storage, metadata);
    let head = head(&table)?;
    let manifests = crate::plan::manifest_list(&table, head).await?;
    // The manifests are not there.
    let _ = table.scan().filter(filter()).plan().await;
    let _ = MetadataTable::Manifests
        .read(&table, &SnapshotSelector::Head)
        .await;
    Ok(manifests
        .iter()
        .map(|manifest| manifest.manifest_length.cast_unsigned())
        .collect())
}

/// A manifest of a table of this format version, planned with and shown: the record counts of its
/// entries.
pub async fn manifest(version: FormatVersion, bytes: &[u8]) -> Result<Vec<u64>> {
    let storage = stored(FILE, bytes).await?;
    let metadata = partitioned(version)?;
    let mut listed = ManifestFile {
        manifest_path: FILE.to_string(),
        manifest_length: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        partition_spec_id: 0,
        content: ManifestContentType::Data,
        sequence_number: 7,
        min_sequence_number: 0,
        added_snapshot_id: 1,
        added_files_count: None,
        existing_files_count: None,
        deleted_files_count: None,
        added_rows_count: None,
        existing_rows_count: None,
        deleted_rows_count: None,
        partitions: None,
        key_metadata: None,
        first_row_id: (version == FormatVersion::V3).then_some(100),
    };
    let bare = table(storage.clone(), metadata.clone());
    let mut loaded = load_manifests(&bare, vec![listed.clone()]).await?;
    let entries = loaded.pop().map(|(_, entries)| entries).unwrap_or_default();

    // As the manifest of a table, with a list that says what is so.
    let count = |status| {
        let of_status = entries.iter().filter(|entry| entry.status() == status);
        u32::try_from(of_status.count()).ok()
    };
    listed.added_files_count = count(iceberg::spec::ManifestStatus::Added);
    listed.existing_files_count = count(iceberg::spec::ManifestStatus::Existing);
    listed.deleted_files_count = count(iceberg::spec::ManifestStatus::Deleted);
    listed.added_rows_count = Some(1);
    listed.existing_rows_count = Some(1);
    listed.deleted_rows_count = Some(0);
    let deletes = entries
        .iter()
        .any(|entry| entry.content_type() != DataContentType::Data);
    if deletes && version != FormatVersion::V1 {
        listed.content = ManifestContentType::Deletes;
    }
    let at = "memory:///t/list.avro";
    let output = storage.file_io().new_output(at)?.writer().await?;
    let mut list = match version {
        FormatVersion::V1 => ManifestListWriter::v1(output, SEQUENCE, None),
        FormatVersion::V2 => ManifestListWriter::v2(output, SEQUENCE, None, SEQUENCE),
        FormatVersion::V3 => ManifestListWriter::v3(output, SEQUENCE, None, SEQUENCE, Some(0)),
    };
    // A list may refuse what the manifest says.
    if list.add_manifests(std::iter::once(listed)).is_ok() {
        list.close().await?;
        let table = table(storage, with_head(&metadata, at)?);
        let _ = table.scan().filter(filter()).plan().await;
        for of_files in [
            MetadataTable::Entries,
            MetadataTable::Files,
            MetadataTable::Partitions,
        ] {
            let _ = of_files.read(&table, &SnapshotSelector::Head).await;
        }
    }
    Ok(entries.iter().map(|entry| entry.record_count()).collect())
}

/// A file with a deletion vector in the bytes from the first to the last, and its cardinality as the
/// manifest would record it: the deleted positions.
pub async fn deletion_vector(bytes: &[u8], cardinality: u64) -> Result<Vec<u64>> {
    let storage = stored(FILE, bytes).await?;
    let mut file = entry(DataContentType::PositionDeletes, bytes, cardinality);
    file.file_format(DataFileFormat::Puffin)
        .referenced_data_file(Some(DATA_FILE.to_string()))
        .content_offset(Some(0))
        .content_size_in_bytes(i64::try_from(bytes.len()).ok());
    positions(&storage, file).await
}

/// How many positions the blob of a deletion vector deletes, 0 where it cannot be decoded.
pub fn vector_cardinality(bytes: &[u8]) -> u64 {
    crate::deletes::decode_vector(bytes).map_or(0, |positions| positions.len())
}

/// The blob of a deletion vector with this bitmap: its length, magic and checksum around it.
pub fn sealed(bitmap: &[u8]) -> Vec<u8> {
    let content = [&crate::deletes::VECTOR_MAGIC[..], bitmap].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&content);
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    [
        &length.to_be_bytes()[..],
        &content,
        &crc.sum().to_be_bytes(),
    ]
    .concat()
}

/// How many rows a Parquet file claims to have, none where its footer cannot be read.
pub async fn claimed_rows(bytes: &[u8]) -> Option<u64> {
    let storage = stored(FILE, bytes).await.ok()?;
    let location = Location::parse(FILE).ok()?;
    let size = bytes.len() as u64;
    let (_, footer) = ParquetFile::read_footer(&storage, &location, size)
        .await
        .ok()?;
    let groups = footer.metadata().row_groups();
    groups
        .iter()
        .try_fold(0u64, |sum, group| {
            sum.checked_add(u64::try_from(group.num_rows()).ok()?)
        })
        .filter(|rows| *rows <= GREATEST_ROWS)
}

/// A Parquet file of position deletes, with as many rows as the manifest would record: the positions
/// that are deleted in [`DATA_FILE`].
pub async fn position_deletes(bytes: &[u8], rows: u64) -> Result<Vec<u64>> {
    let storage = stored(FILE, bytes).await?;
    let file = entry(DataContentType::PositionDeletes, bytes, rows);
    positions(&storage, file).await
}

/// A Parquet file of equality deletes by columns 1 and 2, with as many rows as the manifest would
/// record: which of the keys `(n, "n")` for n below [`KEYS`] are left.
pub async fn equality_deletes(bytes: &[u8], rows: u64) -> Result<Vec<u64>> {
    let table = table(stored(FILE, bytes).await?, unpartitioned()?);
    let mut file = entry(DataContentType::EqualityDeletes, bytes, rows);
    file.equality_ids(Some(vec![1, 2]));
    let mut task = task()?;
    task.equality_deletes.push(delete(file)?);
    let loader = DeleteLoader::new(table.storage().clone());
    let Some(equality) = loader.equality(&table, &task).await? else {
        return Ok(Vec::new());
    };
    let texts = (0..KEYS).map(|n| n.to_string());
    let columns: [ArrayRef; 2] = [
        Arc::new(Int64Array::from_iter_values(0..KEYS.cast_signed())),
        Arc::new(StringArray::from_iter_values(texts)),
    ];
    let keep = equality.keep(&columns, columns[0].len())?;
    let left = keep.values().set_indices();
    Ok(left.map(|index| index as u64).collect())
}

/// A data file of this many rows, read with all metadata columns: the first column.
pub async fn data_file(bytes: &[u8], rows: u64) -> Result<Vec<u64>> {
    let storage = stored(FILE, bytes).await?;
    let table = table(storage, unpartitioned()?);
    let mut task = task()?;
    task.file = Arc::new(built(entry(DataContentType::Data, bytes, rows))?);
    let plan = ScanPlan {
        schema: table.schema().clone(),
        snapshot: None,
        tasks: vec![task],
        metrics: crate::plan::PlanMetrics::default(),
        table,
    };
    let options = ReadOptions {
        positions: true,
        lineage: true,
        partitions: true,
        ..ReadOptions::default()
    };
    let batches: Vec<_> = crate::read::read(&plan, options).try_collect().await?;
    let mut found = Vec::new();
    for batch in &batches {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        found.extend((0..ids.len()).map(|row| ids.value(row).cast_unsigned()));
    }
    Ok(found)
}

/// A Parquet file of this many rows, of which some are read by its page index as the query engine does it:
/// a number for each row.
pub async fn page_index(bytes: &[u8], rows: u64) -> Result<Vec<u64>> {
    let storage = stored(FILE, bytes).await?;
    let location = Location::parse(FILE)?;
    let size = bytes.len() as u64;
    let read = tokio::spawn(async move {
        let (mut input, footer) = ParquetFile::read_footer(&storage, &location, size).await?;
        let groups = footer.metadata().row_groups();
        let counts = groups.iter().map(|group| group.num_rows().cast_unsigned());
        if counts.fold(0, u64::wrapping_add) != rows {
            return Err(ParquetError::General("other rows than recorded".into()));
        }
        let footer = ParquetMetaData::clone(footer.metadata());
        let reader = ParquetMetaDataReader::new_with_metadata(footer);
        let mut reader = reader.with_page_index_policy(PageIndexPolicy::Optional);
        reader.load_page_index(&mut input).await?;
        let footer = ArrowReaderMetadata::try_new(
            Arc::new(reader.finish()?),
            ArrowReaderOptions::new().with_skip_arrow_metadata(true),
        )?;
        let rows = usize::try_from(rows).unwrap_or_default();
        let some = (0..rows).step_by(24).map(|row| row..rows.min(row + 6));
        let some = RowSelection::from_consecutive_ranges(some, rows);
        let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(input, footer)
            .with_row_selection(some)
            .build()?;
        let counts = stream.map_ok(|batch| batch.num_rows() as u64);
        let count = counts.try_fold(0, |sum, rows| async move { Ok(sum + rows) });
        Ok((0..count.await?).collect())
    });
    let named = |error: Error| error.with("path", FILE);
    match read.await {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(error)) => Err(named(error.into())),
        Err(panic) => Err(named(
            Error::corrupt("the file cannot be decoded").source_error(panic),
        )),
    }
}

/// A name mapping: how many fields it has.
pub async fn mapping(bytes: &[u8]) -> Result<Vec<u64>> {
    let json = String::from_utf8_lossy(bytes);
    let set = [(
        iceberg::spec::DEFAULT_SCHEMA_NAME_MAPPING.to_string(),
        json.into_owned(),
    )];
    let metadata = changed(&unpartitioned()?, |builder| {
        builder.set_properties(set.into())
    })?;
    let found = name_mapping(&metadata)?;
    let fields = crate::schema::to_arrow(metadata.current_schema())?;
    let fields = crate::read::names::with_ids(
        fields.fields(),
        &found
            .as_ref()
            .map(crate::read::names::top_level)
            .unwrap_or_default(),
    );
    Ok(fields
        .iter()
        .filter_map(|field| crate::schema::field_id(field))
        .map(|id| u64::from(id.cast_unsigned()))
        .collect())
}

/// A location in any spelling. Its normal spelling is its own normal spelling and is a key of the
/// store; a number for each of its characters.
pub async fn location(bytes: &[u8]) -> Result<Vec<u64>> {
    let text = String::from_utf8_lossy(bytes);
    let location = Location::parse(&text)?;
    let normal = location.to_string();
    let again = Location::parse(&normal)?;
    let same = again == location && normalize(&text) == normal && normalize(&normal) == normal;
    if !same || !location.is_within(&again) {
        return Err(Error::internal("a location is not itself").with("location", normal));
    }
    let _ = location.object_path();
    let _ = metadata_file::version_of(&normal);
    let below = location.join(location.name());
    if !below.is_within(&location) {
        return Err(Error::internal("a location is not in its folder").with("location", below));
    }
    Ok(normal.chars().map(u64::from).collect())
}

async fn stored(path: &str, bytes: &[u8]) -> Result<Storage> {
    let storage = Storage::default();
    let bytes = Bytes::copy_from_slice(bytes);
    storage.write(&Location::parse(path)?, bytes).await?;
    Ok(storage)
}

async fn positions(storage: &Storage, file: DataFileBuilder) -> Result<Vec<u64>> {
    let mut task = task()?;
    task.position_deletes.push(delete(file)?);
    let found = DeleteLoader::new(storage.clone()).positions(&task).await?;
    // A vector of some bytes may delete billions of rows.
    let few = found.map(|found| found.iter().take(1 << 16).collect());
    Ok(few.unwrap_or_default())
}

fn delete(file: DataFileBuilder) -> Result<Arc<DeleteFile>> {
    Ok(Arc::new(DeleteFile {
        file: built(file)?,
        spec_id: 0,
        sequence_number: 1,
    }))
}

fn task() -> Result<ScanTask> {
    let mut file = entry(DataContentType::Data, &[], 0);
    file.file_path(DATA_FILE.to_string());
    Ok(ScanTask {
        file: Arc::new(built(file)?),
        range: None,
        spec_id: 0,
        sequence_number: 0,
        position_deletes: Vec::new(),
        equality_deletes: Vec::new(),
        residual: Predicate::AlwaysTrue,
    })
}

fn entry(content: DataContentType, bytes: &[u8], rows: u64) -> DataFileBuilder {
    let mut file = DataFileBuilder::default();
    file.content(content)
        .file_path(FILE.to_string())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .record_count(rows)
        .first_row_id(Some(1_000))
        .file_size_in_bytes(bytes.len() as u64);
    file
}

fn built(mut file: DataFileBuilder) -> Result<iceberg::spec::DataFile> {
    file.partition_spec_id(0);
    file.build()
        .map_err(|error| Error::internal("a file entry cannot be built").source_error(error))
}

fn table(storage: Storage, metadata: TableMetadata) -> Table {
    let namespace = crate::NamespaceIdent::new("db".to_string());
    Table::new(
        TableIdent::new(namespace, "t".to_string()),
        Arc::new(metadata),
        FILE,
        storage,
        Environment::default(),
    )
}

fn head(table: &Table) -> Result<&iceberg::spec::SnapshotRef> {
    let head = table.current_snapshot();
    head.ok_or_else(|| Error::internal("the table has no snapshot"))
}

/// The columns of all tables and files here.
pub fn columns() -> Vec<NestedFieldRef> {
    let optional = |id, name: &str, ty| Arc::new(NestedField::optional(id, name, ty));
    let primitive = |id, name: &str, ty| optional(id, name, Type::Primitive(ty));
    let decimal = |precision, scale| PrimitiveType::Decimal { precision, scale };
    let tags = ListType::new(primitive(16, "element", PrimitiveType::String));
    let scores = MapType::new(
        Arc::new(NestedField::required(
            17,
            "key",
            Type::Primitive(PrimitiveType::String),
        )),
        primitive(18, "value", PrimitiveType::Int),
    );
    let place = StructType::new(vec![
        primitive(19, "lat", PrimitiveType::Double),
        optional(
            20,
            "names",
            Type::List(ListType::new(primitive(
                21,
                "element",
                PrimitiveType::String,
            ))),
        ),
    ]);
    vec![
        primitive(1, "id", PrimitiveType::Long),
        primitive(2, "name", PrimitiveType::String),
        primitive(3, "at", PrimitiveType::Timestamptz),
        primitive(4, "day", PrimitiveType::Date),
        primitive(5, "price", decimal(9, 2)),
        primitive(6, "total", decimal(38, 10)),
        primitive(7, "x", PrimitiveType::Double),
        primitive(8, "y", PrimitiveType::Float),
        primitive(9, "flag", PrimitiveType::Boolean),
        primitive(10, "key", PrimitiveType::Uuid),
        primitive(11, "code", PrimitiveType::Fixed(4)),
        primitive(12, "raw", PrimitiveType::Binary),
        optional(13, "tags", Type::List(tags)),
        optional(14, "scores", Type::Map(scores)),
        optional(15, "place", Type::Struct(place)),
    ]
}

/// The partition spec of tables with manifests.
pub fn partition() -> Result<UnboundPartitionSpec> {
    Ok(UnboundPartitionSpec::builder()
        .add_partition_field(1, "id_bucket", Transform::Bucket(4))?
        .add_partition_field(2, "name", Transform::Identity)?
        .add_partition_field(3, "at_day", Transform::Day)?
        .add_partition_field(5, "price", Transform::Identity)?
        .build())
}

/// Looks at partitions and bounds of several types.
fn filter() -> Predicate {
    Reference::new("id")
        .less_than(Datum::long(5))
        .and(Reference::new("name").is_not_null())
        .and(Reference::new("at").greater_than(Datum::timestamptz_micros(0)))
        .and(Reference::new("x").is_not_nan())
        .and(Reference::new("name").starts_with(Datum::string("a")))
        .or(Reference::new("y").less_than(Datum::float(1.0)))
}

fn unpartitioned() -> Result<TableMetadata> {
    static MADE: OnceLock<TableMetadata> = OnceLock::new();
    kept(&MADE, || {
        created(FormatVersion::V3, UnboundPartitionSpec::builder().build())
    })
}

fn partitioned(version: FormatVersion) -> Result<TableMetadata> {
    static MADE: [OnceLock<TableMetadata>; 3] = [const { OnceLock::new() }; 3];
    kept(&MADE[version as usize - 1], || {
        created(version, partition()?)
    })
}

fn kept(
    cell: &OnceLock<TableMetadata>,
    make: impl FnOnce() -> Result<TableMetadata>,
) -> Result<TableMetadata> {
    if cell.get().is_none() {
        let _ = cell.set(make()?);
    }
    let made = cell.get().cloned();
    made.ok_or_else(|| Error::internal("the table was not made"))
}

/// Files without field ids are read by their names.
const MAPPING: &str = r#"[{"field-id":1,"names":["id"]},{"field-id":2,"names":["name","title"]}]"#;

fn created(version: FormatVersion, spec: UnboundPartitionSpec) -> Result<TableMetadata> {
    let creation = TableCreation::builder()
        .name("t".to_string())
        .location("memory:///t".to_string())
        .schema(Schema::builder().with_fields(columns()).build()?)
        .partition_spec(spec)
        .format_version(version)
        .properties([(
            iceberg::spec::DEFAULT_SCHEMA_NAME_MAPPING.to_string(),
            MAPPING.to_string(),
        )])
        .build();
    let built = TableMetadataBuilder::from_table_creation(creation)?.build()?;
    Ok(built.metadata)
}

fn changed(
    metadata: &TableMetadata,
    change: impl FnOnce(TableMetadataBuilder) -> iceberg::Result<TableMetadataBuilder>,
) -> Result<TableMetadata> {
    let builder = metadata.clone().into_builder(None);
    Ok(change(builder)?.build()?.metadata)
}

/// The metadata with a snapshot whose manifest list this is.
fn with_head(metadata: &TableMetadata, list: &str) -> Result<TableMetadata> {
    let version = metadata.format_version();
    let builder = Snapshot::builder()
        .with_snapshot_id(SEQUENCE)
        .with_sequence_number(match version {
            FormatVersion::V1 => 0,
            FormatVersion::V2 | FormatVersion::V3 => SEQUENCE,
        })
        .with_timestamp_ms(metadata.last_updated_ms() + 1)
        .with_manifest_list(list)
        .with_summary(Summary {
            operation: Operation::Append,
            additional_properties: [].into(),
        })
        .with_schema_id(metadata.current_schema_id());
    let snapshot = match version {
        FormatVersion::V3 => builder.with_row_range(0, 0).build(),
        FormatVersion::V1 | FormatVersion::V2 => builder.build(),
    };
    let main = SnapshotReference::new(SEQUENCE, SnapshotRetention::branch(None, None, None));
    changed(metadata, |builder| {
        builder.add_snapshot(snapshot)?.set_ref("main", main)
    })
}
