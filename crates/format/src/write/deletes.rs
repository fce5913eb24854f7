//! Delete files: position-delete files for version 2, deletion vectors for version 3.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use iceberg::metadata_columns::{
    RESERVED_FIELD_ID_POS, delete_file_path_field, delete_file_pos_field,
};
use iceberg::puffin::{
    Blob, CREATED_BY_PROPERTY, CompressionCodec, DELETION_VECTOR_V1, PuffinWriter,
};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, FormatVersion, PartitionSpecRef,
    Schema,
};
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::file::metadata::KeyValue;
use roaring::RoaringTreemap;

use super::{WrittenFile, discard, file, file_name, metrics, route};
use crate::deletes::VECTOR_MAGIC;
use crate::properties::{MetricsMode, MetricsProperties, WriteProperties};
use crate::storage::Location;
use crate::{Error, Result, Table, failpoint};

/// The first bytes of a Puffin file, before its first blob.
const PUFFIN_MAGIC_LENGTH: u64 = 4;
/// How many position-delete files are written at the same time.
const AT_ONCE: usize = 8;
/// How many positions are encoded at a time.
const ROWS: usize = 1 << 16;

/// Rows of one data file that are deleted.
#[derive(Debug, Clone)]
pub struct DeletedRows {
    /// The data file, as it stands in the manifest.
    pub data_file: DataFile,
    /// The partition spec that the data file was written with.
    pub spec_id: i32,
    /// The positions of the deleted rows, from 0 in file order.
    pub positions: RoaringTreemap,
}

/// Writes deletes in the form of the table's format version: on V2 one position-delete Parquet file
/// per data file (`referenced_data_file` set, bounds of the path equal and untruncated), on V3 one
/// Puffin file of deletion vectors, one vector per data file. On V3 the caller passes the *merged*
/// positions of the new and the existing vector.
///
/// The files are in the order of `deletes`, with the partition and the spec of their data files.
///
/// # Errors
/// Errors of the storage; [`InvalidInput`](crate::ErrorKind::InvalidInput) for empty positions,
/// positions behind the end of the file, a data file that is named twice, or an unknown spec;
/// [`Unsupported`](crate::ErrorKind::Unsupported) on V1, which has no deletes.
pub async fn write_deletes(table: &Table, deletes: &[DeletedRows]) -> Result<Vec<WrittenFile>> {
    check(deletes).map_err(|error| error.with("table", table.ident()))?;
    if deletes.is_empty() {
        return Ok(Vec::new());
    }
    match table.metadata().format_version() {
        FormatVersion::V1 => Err(Error::unsupported("tables of version 1 have no deletes")
            .with("table", table.ident())
            .help("upgrade the table to version 2")),
        FormatVersion::V2 => position_deletes(table, deletes).await,
        FormatVersion::V3 => deletion_vectors(table, deletes).await,
    }
}

fn check(deletes: &[DeletedRows]) -> Result<()> {
    let mut seen = HashSet::new();
    for rows in deletes {
        let path = rows.data_file.file_path();
        let wrong = |message: &str| Err(Error::invalid(message).with("path", path));
        if rows.data_file.content_type() != DataContentType::Data {
            return wrong("rows can only be deleted from a data file");
        }
        if !seen.insert(path) {
            return wrong("a data file is named twice among the deletes");
        }
        match rows.positions.max() {
            None => return wrong("no positions to delete are given"),
            Some(last) if last >= rows.data_file.record_count() => {
                return wrong("a position to delete is behind the end of the file");
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The partition spec that a data file was written with.
fn spec_of<'a>(table: &'a Table, rows: &DeletedRows) -> Result<&'a PartitionSpecRef> {
    table
        .metadata()
        .partition_spec_by_id(rows.spec_id)
        .ok_or_else(|| {
            Error::invalid("a data file names a partition spec that its table does not have")
                .with("table", table.ident())
                .with("path", rows.data_file.file_path())
                .with("spec", rows.spec_id)
        })
}

async fn position_deletes(table: &Table, deletes: &[DeletedRows]) -> Result<Vec<WrittenFile>> {
    let properties = WriteProperties::of(table.metadata())
        .map_err(|error| error.with("table", table.ident()))?;
    let folder = table.data_location()?;
    // The futures are made outside of the stream: a closure inside would make this future `Send` for
    // one lifetime only, and callers could not use it in a future of theirs that must be `Send`.
    let writes: Vec<_> = deletes
        .iter()
        .zip(0..)
        .map(|(rows, counter)| position_delete(table, &properties, &folder, rows, counter))
        .collect();
    let written: Vec<Result<WrittenFile>> = stream::iter(writes).buffered(AT_ONCE).collect().await;
    let mut files = Vec::with_capacity(written.len());
    let mut failed = None;
    for file in written {
        match file {
            Ok(file) => files.push(file),
            Err(error) => failed = Some(failed.unwrap_or(error)),
        }
    }
    match failed {
        None => Ok(files),
        Some(error) => {
            discard(table, &files).await;
            Err(error)
        }
    }
}

async fn position_delete(
    table: &Table,
    properties: &WriteProperties,
    folder: &Location,
    rows: &DeletedRows,
    counter: u64,
) -> Result<WrittenFile> {
    let data_file = &rows.data_file;
    let spec = spec_of(table, rows)?;
    let partition = data_file.partition();
    let below =
        route::folder(spec, table.metadata().current_schema(), partition).unwrap_or_default();
    let name = file_name(counter, table, "-deletes.parquet");
    let location = match below.as_str() {
        "" => folder.join(&name),
        below => folder.join(&format!("{below}/{name}")),
    };
    let encoding = {
        let (path, positions) = (data_file.file_path().to_string(), rows.positions.clone());
        let properties = properties.clone();
        tokio::task::spawn_blocking(move || encode(&path, &positions, &properties))
    };
    let (bytes, metrics) = encoding
        .await
        .map_err(|error| {
            Error::internal("a task that encodes deletes has stopped").source_error(error)
        })?
        .map_err(|error| error.with("path", &location))?;
    let size = bytes.len() as u64;
    table.storage().write(&location, bytes).await?;
    failpoint::hit(failpoint::DATA_FILE_WRITTEN);
    let file = file::data_file(
        DataContentType::PositionDeletes,
        &location,
        partition.clone(),
        spec.spec_id(),
        rows.positions.len(),
        size,
        metrics,
    )
    .referenced_data_file(Some(data_file.file_path().to_string()))
    .build()
    .map_err(undescribed)?;
    Ok(WrittenFile {
        file,
        spec_id: spec.spec_id(),
    })
}

pub(super) fn undescribed(error: iceberg::spec::DataFileBuilderError) -> Error {
    Error::internal("a delete file cannot be described").source_error(error)
}

/// A position-delete file as bytes, with its metrics.
fn encode(
    path: &str,
    positions: &RoaringTreemap,
    properties: &WriteProperties,
) -> Result<(Bytes, metrics::Metrics)> {
    let schema = Schema::builder()
        .with_fields([
            delete_file_path_field().clone(),
            delete_file_pos_field().clone(),
        ])
        .build()?;
    let arrow = crate::schema::to_arrow(&schema)?;
    // Whole bounds: equal and untruncated ones tell readers that all deletes are of this one file.
    let whole = MetricsProperties {
        default: Some(MetricsMode::Full),
        ..MetricsProperties::default()
    };
    let mut rest = positions.iter();
    let batches = std::iter::from_fn(|| {
        let chunk = rest
            .by_ref()
            .take(ROWS)
            .map(|position| {
                i64::try_from(position)
                    .map_err(|_| Error::invalid("a position to delete is past 2^63"))
            })
            .collect::<Result<Vec<_>>>();
        match chunk {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => {
                let paths = std::iter::repeat_n(path, chunk.len());
                let paths: ArrayRef = Arc::new(StringArray::from_iter_values(paths));
                let columns = vec![paths, Arc::new(Int64Array::from(chunk)) as ArrayRef];
                Some(RecordBatch::try_new(arrow.clone(), columns).map_err(Error::from))
            }
            Err(error) => Some(Err(error)),
        }
    });
    let footer = vec![KeyValue::new(
        "delete-type".to_string(),
        "position".to_string(),
    )];
    parquet(&schema, &whole, properties, footer, batches)
}

/// A delete file of these rows as bytes, with its metrics.
pub(super) fn parquet(
    schema: &Schema,
    metrics: &MetricsProperties,
    properties: &WriteProperties,
    footer: Vec<KeyValue>,
    batches: impl Iterator<Item = Result<RecordBatch>>,
) -> Result<(Bytes, metrics::Metrics)> {
    let arrow = crate::schema::to_arrow(schema)?;
    let leaves = metrics::leaves(schema, metrics);
    let parquet = file::parquet_schema(&arrow)?;
    let settings = WriteProperties {
        bloom_filter_columns: Vec::new(),
        ..properties.clone()
    };
    let compression = properties.delete_compression;
    let settings =
        file::parquet_properties(schema, &leaves, &parquet, &settings, compression, footer);
    let options = ArrowWriterOptions::new()
        .with_properties(settings)
        .with_skip_arrow_metadata(true)
        .with_parquet_schema(parquet);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), arrow, options)?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    let footer = writer.finish()?;
    let bytes = Bytes::from(std::mem::take(writer.inner_mut()));
    // NaN is counted for data only; no delete file has columns of floats.
    let metrics = metrics::of_file(&leaves, &footer, &vec![0; leaves.len()])?;
    Ok((bytes, metrics))
}

async fn deletion_vectors(table: &Table, deletes: &[DeletedRows]) -> Result<Vec<WrittenFile>> {
    for rows in deletes {
        spec_of(table, rows)?;
    }
    let name = file_name(0, table, "-deletes.puffin");
    let location = table.data_location()?.join(&name);
    let path = location.to_string();
    let at = |error: iceberg::Error| Error::from(error).with("path", &path);
    let output = table.storage().file_io().new_output(&path).map_err(at)?;
    let created_by = concat!("berglake version ", env!("CARGO_PKG_VERSION")).to_string();
    let properties = HashMap::from([(CREATED_BY_PROPERTY.to_string(), created_by)]);
    let mut writer = PuffinWriter::new(&output, properties, false)
        .await
        .map_err(at)?;
    // The writer does not tell where it puts a blob. Blobs follow the magic bytes without a gap, and
    // deletion vectors are never compressed.
    let mut offset = PUFFIN_MAGIC_LENGTH;
    let mut places = Vec::with_capacity(deletes.len());
    for rows in deletes {
        let data = deletion_vector(&rows.positions)?;
        let length = data.len() as u64;
        places.push((offset, length));
        offset += length;
        let referenced = rows.data_file.file_path().to_string();
        let blob = Blob::builder()
            .r#type(DELETION_VECTOR_V1.to_string())
            .fields(vec![RESERVED_FIELD_ID_POS])
            // The snapshot that adds the vector is not known yet; the specification wants -1.
            .snapshot_id(-1)
            .sequence_number(-1)
            .data(data)
            .properties(HashMap::from([
                ("referenced-data-file".to_string(), referenced),
                ("cardinality".to_string(), rows.positions.len().to_string()),
            ]))
            .build();
        writer.add(blob, CompressionCodec::None).await.map_err(at)?;
    }
    writer.close().await.map_err(at)?;
    failpoint::hit(failpoint::DATA_FILE_WRITTEN);
    let size = table.storage().head(&location).await?.size;
    deletes
        .iter()
        .zip(places)
        .map(|(rows, (offset, length))| {
            let signed = |number: u64| {
                i64::try_from(number).map_err(|_| Error::internal("a Puffin file is too large"))
            };
            let spec_id = rows.spec_id;
            let file = DataFileBuilder::default()
                .content(DataContentType::PositionDeletes)
                .file_path(path.clone())
                .file_format(DataFileFormat::Puffin)
                .partition(rows.data_file.partition().clone())
                .partition_spec_id(spec_id)
                .record_count(rows.positions.len())
                .file_size_in_bytes(size)
                .referenced_data_file(Some(rows.data_file.file_path().to_string()))
                .content_offset(Some(signed(offset)?))
                .content_size_in_bytes(Some(signed(length)?))
                .build()
                .map_err(undescribed)?;
            Ok(WrittenFile { file, spec_id })
        })
        .collect()
}

/// The blob `deletion-vector-v1`: length, magic, the positions as a portable 64-bit Roaring bitmap,
/// and a checksum of magic and positions. Length and checksum are big-endian.
/// See <https://iceberg.apache.org/puffin-spec/#deletion-vector-v1-blob-type>.
fn deletion_vector(positions: &RoaringTreemap) -> Result<Vec<u8>> {
    let mut vector = VECTOR_MAGIC.to_vec();
    positions.serialize_into(&mut vector)?;
    let length = u32::try_from(vector.len())
        .map_err(|_| Error::unsupported("a deletion vector is larger than 4 GiB"))?;
    let mut crc = flate2::Crc::new();
    crc.update(&vector);
    let mut blob = length.to_be_bytes().to_vec();
    blob.extend_from_slice(&vector);
    blob.extend_from_slice(&crc.sum().to_be_bytes());
    Ok(blob)
}
