//! The writer: what it makes of batches, by idea.

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

mod columns;
mod deletes;
mod files;
mod memory;
mod metrics;
mod routing;

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
