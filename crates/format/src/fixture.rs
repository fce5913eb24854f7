//! Tables for tests, built by hand: every manifest entry is the test's own.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{
    DataType, Date32Type, Field, Float64Type, Int32Type, Int64Type, Schema as ArrowSchema,
    TimestampMicrosecondType,
};
use flate2::Crc;
use iceberg::TableCreation;
use iceberg::metadata_columns::{
    RESERVED_FIELD_ID_DELETE_FILE_PATH, RESERVED_FIELD_ID_DELETE_FILE_POS,
};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, FormatVersion,
    ManifestContentType, ManifestEntry, ManifestFile, ManifestListWriter, ManifestWriter,
    ManifestWriterBuilder, NestedFieldRef, Operation, Schema, Snapshot, SnapshotReference,
    SnapshotRetention, Struct, Summary, TableMetadata, TableMetadataBuilder, Transform,
    UnboundPartitionSpec,
};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::file::properties::WriterProperties;
use roaring::RoaringTreemap;

use crate::manifest::load_entries;
use crate::schema::{field_id, to_arrow};
use crate::storage::{Location, Storage};
use crate::{Environment, Table, TableIdent};

pub(crate) struct Fixture {
    pub(crate) storage: Storage,
    pub(crate) metadata: TableMetadata,
    /// Rows per row group of files that are written.
    pub(crate) group: usize,
    next_id: i64,
    files: usize,
}

/// A file that a commit adds, and the spec of its manifest.
pub(crate) type Added = (i32, DataFile);

impl Fixture {
    pub(crate) fn new(version: FormatVersion, fields: Vec<NestedFieldRef>) -> Self {
        Self::partitioned(version, fields, UnboundPartitionSpec::builder().build())
    }

    pub(crate) fn partitioned(
        version: FormatVersion,
        fields: Vec<NestedFieldRef>,
        spec: UnboundPartitionSpec,
    ) -> Self {
        let creation = TableCreation::builder()
            .name("t".into())
            .location("memory:///wh/t".into())
            .schema(Schema::builder().with_fields(fields).build().unwrap())
            .partition_spec(spec)
            .format_version(version)
            .build();
        Self {
            storage: Storage::default(),
            metadata: TableMetadataBuilder::from_table_creation(creation)
                .unwrap()
                .build()
                .unwrap()
                .metadata,
            group: 4,
            next_id: 1,
            files: 0,
        }
    }

    pub(crate) fn spec(fields: &[(i32, &str, Transform)]) -> UnboundPartitionSpec {
        let mut builder = UnboundPartitionSpec::builder();
        for (source, name, transform) in fields {
            builder = builder
                .add_partition_field(*source, *name, *transform)
                .unwrap();
        }
        builder.build()
    }

    pub(crate) fn table(&self) -> Table {
        Table::new(
            TableIdent::from_strs(["db", "t"]).unwrap(),
            Arc::new(self.metadata.clone()),
            "memory:///wh/t/metadata/v.json",
            self.storage.clone(),
            Environment::default(),
        )
    }

    pub(crate) fn change(
        &mut self,
        change: impl FnOnce(TableMetadataBuilder) -> TableMetadataBuilder,
    ) {
        let builder = self.metadata.clone().into_builder(None);
        self.metadata = change(builder).build().unwrap().metadata;
    }

    pub(crate) fn evolve(&mut self, fields: Vec<NestedFieldRef>) {
        let schema = Schema::builder().with_fields(fields).build().unwrap();
        self.change(|builder| builder.add_current_schema(schema).unwrap());
    }

    pub(crate) fn respec(&mut self, spec: UnboundPartitionSpec) {
        self.change(|builder| builder.add_default_partition_spec(spec).unwrap());
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let set = HashMap::from([(key.to_string(), value.to_string())]);
        self.change(|builder| builder.set_properties(set).unwrap());
    }

    /// A batch of the current schema.
    pub(crate) fn batch(&self, columns: Vec<ArrayRef>) -> RecordBatch {
        RecordBatch::try_new(to_arrow(self.metadata.current_schema()).unwrap(), columns).unwrap()
    }

    pub(crate) async fn put(&mut self, suffix: &str, bytes: Vec<u8>) -> (String, u64) {
        self.files += 1;
        let path = format!("memory:///wh/t/data/{:03}-{suffix}", self.files);
        let size = bytes.len() as u64;
        let location = Location::parse(&path).unwrap();
        self.storage.write(&location, bytes.into()).await.unwrap();
        (path, size)
    }

    async fn parquet(&mut self, name: &str, batch: &RecordBatch) -> (String, u64) {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(self.group))
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        self.put(&format!("{name}.parquet"), bytes).await
    }

    /// A data file of these rows, with exact metrics.
    pub(crate) async fn data(&mut self, batch: &RecordBatch) -> DataFile {
        self.data_in(batch, Struct::empty()).await
    }

    pub(crate) async fn data_in(&mut self, batch: &RecordBatch, partition: Struct) -> DataFile {
        let (path, size) = self.parquet("data", batch).await;
        let mut builder = entry(DataContentType::Data, path, size, batch.num_rows());
        with_metrics(&mut builder, batch)
            .partition(partition)
            .build()
            .unwrap()
    }

    /// A position-delete file. `scoped` says whether metadata names the one data file.
    pub(crate) async fn position_deletes(
        &mut self,
        rows: &[(&str, i64)],
        scoped: bool,
    ) -> DataFileBuilder {
        let column = |name: &str, ty, id: i32| {
            let id = [(PARQUET_FIELD_ID_META_KEY.to_string(), id.to_string())];
            Field::new(name, ty, false).with_metadata(id.into())
        };
        let schema = ArrowSchema::new(vec![
            column(
                "file_path",
                DataType::Utf8,
                RESERVED_FIELD_ID_DELETE_FILE_PATH,
            ),
            column("pos", DataType::Int64, RESERVED_FIELD_ID_DELETE_FILE_POS),
        ]);
        let paths = StringArray::from_iter_values(rows.iter().map(|(path, _)| path));
        let positions = Int64Array::from_iter_values(rows.iter().map(|(_, at)| *at));
        let batch =
            RecordBatch::try_new(Arc::new(schema), vec![Arc::new(paths), Arc::new(positions)])
                .unwrap();
        let (path, size) = self.parquet("deletes", &batch).await;
        let mut builder = entry(DataContentType::PositionDeletes, path, size, rows.len());
        if scoped {
            builder.referenced_data_file(Some(rows[0].0.to_string()));
        }
        builder
    }

    /// The blob of a deletion vector.
    pub(crate) fn blob(positions: &RoaringTreemap) -> Vec<u8> {
        let mut content = vec![0xD1, 0xD3, 0x39, 0x64];
        positions.serialize_into(&mut content).unwrap();
        let mut crc = Crc::new();
        crc.update(&content);
        let mut blob = (content.len() as u32).to_be_bytes().to_vec();
        blob.extend(&content);
        blob.extend(crc.sum().to_be_bytes());
        blob
    }

    /// The entry of a deletion vector whose blob is these bytes.
    pub(crate) async fn vector(&mut self, target: &str, blob: &[u8], rows: u64) -> DataFile {
        let bytes = [b"PFA1", blob, b"footer"].concat();
        let (path, size) = self.put("vector.puffin", bytes).await;
        entry(DataContentType::PositionDeletes, path, size, rows as usize)
            .file_format(DataFileFormat::Puffin)
            .referenced_data_file(Some(target.to_string()))
            .content_offset(Some(4))
            .content_size_in_bytes(Some(blob.len() as i64))
            .build()
            .unwrap()
    }

    pub(crate) async fn equality_deletes(
        &mut self,
        ids: &[i32],
        batch: &RecordBatch,
        partition: Struct,
    ) -> DataFile {
        let (path, size) = self.parquet("equality", batch).await;
        entry(
            DataContentType::EqualityDeletes,
            path,
            size,
            batch.num_rows(),
        )
        .equality_ids(Some(ids.to_vec()))
        .partition(partition)
        .build()
        .unwrap()
    }

    /// Commits a snapshot on the head of `main` that adds these files to it.
    pub(crate) async fn commit(&mut self, operation: Operation, added: Vec<Added>) -> i64 {
        let mut manifests = self.added(added).await;
        manifests.extend(self.manifests().await);
        self.commit_manifests(operation, manifests).await
    }

    /// Manifests of files that the next snapshot adds.
    async fn added(&mut self, added: Vec<Added>) -> Vec<ManifestFile> {
        let id = self.next_id;
        let mut manifests = Vec::new();
        for content in [ManifestContentType::Data, ManifestContentType::Deletes] {
            let of_content = |file: &DataFile| {
                (file.content_type() == DataContentType::Data)
                    == (content == ManifestContentType::Data)
            };
            let mut specs: Vec<i32> = added
                .iter()
                .filter(|(_, file)| of_content(file))
                .map(|(spec, _)| *spec)
                .collect();
            specs.sort_unstable();
            specs.dedup();
            for spec in specs {
                let mut writer = self.manifest_writer(id, spec, content);
                for (_, file) in added.iter().filter(|(s, f)| *s == spec && of_content(f)) {
                    writer.add_file(file.clone(), -1).unwrap();
                }
                manifests.push(writer.write_manifest_file().await.unwrap());
            }
        }
        manifests
    }

    /// Commits a snapshot that adds these files and no longer has those. `merge` says whether manifests
    /// of one kind become one, also where nothing in them is removed.
    pub(crate) async fn exchange(
        &mut self,
        operation: Operation,
        added: Vec<Added>,
        removed: &[DataFile],
        merge: bool,
    ) -> i64 {
        let id = self.next_id;
        let place = |file: &DataFile| (file.file_path().to_string(), file.content_offset());
        let removed: Vec<_> = removed.iter().map(place).collect();
        let gone = |file: &DataFile| removed.contains(&place(file));
        let io = self.storage.file_io();
        let mut manifests = self.added(added).await;
        let mut groups: Vec<(ManifestFile, Vec<Arc<ManifestEntry>>)> = Vec::new();
        for manifest in self.manifests().await {
            let live = load_entries(&io, &manifest).await.unwrap();
            let live: Vec<_> = live
                .into_iter()
                .filter(ManifestEntry::is_alive)
                .map(Arc::new)
                .collect();
            if !merge && !live.iter().any(|entry| gone(&entry.data_file)) {
                manifests.push(manifest);
                continue;
            }
            let kind = |m: &ManifestFile| (m.partition_spec_id, m.content);
            match groups
                .iter_mut()
                .find(|(m, _)| merge && kind(m) == kind(&manifest))
            {
                Some((_, entries)) => entries.extend(live),
                None => groups.push((manifest, live)),
            }
        }
        for (manifest, entries) in groups {
            let (spec, content) = (manifest.partition_spec_id, manifest.content);
            let mut writer = self.manifest_writer(id, spec, content);
            for entry in entries {
                let file = entry.data_file.clone();
                let sequence = entry.sequence_number().unwrap();
                let of_file = entry.file_sequence_number;
                if gone(&file) {
                    writer.add_delete_file(file, sequence, of_file).unwrap();
                } else {
                    let snapshot = entry.snapshot_id().unwrap();
                    writer
                        .add_existing_file(file, snapshot, sequence, of_file)
                        .unwrap();
                }
            }
            manifests.push(writer.write_manifest_file().await.unwrap());
        }
        self.commit_manifests(operation, manifests).await
    }

    pub(crate) fn manifest_writer(
        &mut self,
        snapshot: i64,
        spec: i32,
        content: ManifestContentType,
    ) -> ManifestWriter {
        self.files += 1;
        let path = format!("memory:///wh/t/metadata/{:03}-m.avro", self.files);
        let builder = ManifestWriterBuilder::new(
            self.storage.file_io().new_output(path).unwrap(),
            Some(snapshot),
            self.metadata.current_schema().clone(),
            self.metadata
                .partition_spec_by_id(spec)
                .unwrap()
                .as_ref()
                .clone(),
        );
        match (self.metadata.format_version(), content) {
            (FormatVersion::V1, _) => builder.build_v1(),
            (FormatVersion::V2, ManifestContentType::Data) => builder.build_v2_data(),
            (FormatVersion::V2, ManifestContentType::Deletes) => builder.build_v2_deletes(),
            (FormatVersion::V3, ManifestContentType::Data) => builder.build_v3_data(),
            (FormatVersion::V3, ManifestContentType::Deletes) => builder.build_v3_deletes(),
        }
    }

    /// The manifests of the head.
    pub(crate) async fn manifests(&self) -> Vec<ManifestFile> {
        match self.metadata.current_snapshot() {
            Some(snapshot) => crate::manifest::load_list(&self.storage, &self.metadata, snapshot)
                .await
                .unwrap(),
            None => Vec::new(),
        }
    }

    pub(crate) async fn commit_manifests(
        &mut self,
        operation: Operation,
        manifests: Vec<ManifestFile>,
    ) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        let parent = self.metadata.current_snapshot_id();
        let sequence = self.metadata.next_sequence_number();
        let path = format!("memory:///wh/t/metadata/snap-{id}.avro");
        let output = self.storage.file_io().new_output(&path).unwrap();
        let output = output.writer().await.unwrap();
        let first_row = self.metadata.next_row_id();
        let mut list = match self.metadata.format_version() {
            FormatVersion::V1 => ManifestListWriter::v1(output, id, parent),
            FormatVersion::V2 => ManifestListWriter::v2(output, id, parent, sequence),
            FormatVersion::V3 => {
                ManifestListWriter::v3(output, id, parent, sequence, Some(first_row))
            }
        };
        list.add_manifests(manifests.into_iter()).unwrap();
        let next_row = list.next_row_id();
        list.close().await.unwrap();
        let builder = Snapshot::builder()
            .with_snapshot_id(id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence)
            .with_timestamp_ms(self.metadata.last_updated_ms() + 1_000)
            .with_manifest_list(path)
            .with_summary(Summary {
                operation,
                additional_properties: HashMap::new(),
            })
            .with_schema_id(self.metadata.current_schema_id());
        let snapshot = match next_row {
            Some(next) => builder.with_row_range(first_row, next - first_row).build(),
            None => builder.build(),
        };
        let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
        self.change(|builder| {
            builder
                .add_snapshot(snapshot)
                .unwrap()
                .set_ref("main", reference)
                .unwrap()
        });
        id
    }
}

fn entry(content: DataContentType, path: String, size: u64, rows: usize) -> DataFileBuilder {
    let mut builder = DataFileBuilder::default();
    builder
        .content(content)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .record_count(rows as u64)
        .file_size_in_bytes(size);
    builder
}

/// Exact counts and bounds of top-level primitive columns.
pub(crate) fn with_metrics<'a>(
    builder: &'a mut DataFileBuilder,
    batch: &RecordBatch,
) -> &'a mut DataFileBuilder {
    let (mut values, mut nulls, mut nans) = (HashMap::new(), HashMap::new(), HashMap::new());
    let (mut lower, mut upper) = (HashMap::new(), HashMap::new());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let Some(id) = field_id(field) else { continue };
        values.insert(id, array.len() as u64);
        nulls.insert(id, array.null_count() as u64);
        if let DataType::Float64 = array.data_type() {
            let nan = array.as_primitive::<Float64Type>().iter().flatten();
            nans.insert(id, nan.filter(|v| v.is_nan()).count() as u64);
        }
        if let Some((least, greatest)) = bounds(array) {
            lower.insert(id, least);
            upper.insert(id, greatest);
        }
    }
    builder
        .value_counts(values)
        .null_value_counts(nulls)
        .nan_value_counts(nans)
        .lower_bounds(lower)
        .upper_bounds(upper)
}

fn bounds(array: &ArrayRef) -> Option<(Datum, Datum)> {
    fn ends<T: PartialOrd + Copy>(
        values: impl Iterator<Item = T>,
        make: impl Fn(T) -> Datum,
    ) -> Option<(Datum, Datum)> {
        let mut ends: Option<(T, T)> = None;
        for value in values {
            ends = Some(match ends {
                None => (value, value),
                Some((low, high)) => (
                    if value < low { value } else { low },
                    if value > high { value } else { high },
                ),
            });
        }
        ends.map(|(low, high)| (make(low), make(high)))
    }
    match array.data_type() {
        DataType::Int32 => ends(
            array.as_primitive::<Int32Type>().iter().flatten(),
            Datum::int,
        ),
        DataType::Int64 => ends(
            array.as_primitive::<Int64Type>().iter().flatten(),
            Datum::long,
        ),
        DataType::Date32 => ends(
            array.as_primitive::<Date32Type>().iter().flatten(),
            Datum::date,
        ),
        DataType::Timestamp(_, Some(_)) => ends(
            array
                .as_primitive::<TimestampMicrosecondType>()
                .iter()
                .flatten(),
            Datum::timestamptz_micros,
        ),
        DataType::Float64 => ends(
            array
                .as_primitive::<Float64Type>()
                .iter()
                .flatten()
                .filter(|v| !v.is_nan()),
            Datum::double,
        ),
        DataType::Utf8 => ends(array.as_string::<i32>().iter().flatten(), Datum::string),
        _ => None,
    }
}
