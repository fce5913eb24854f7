//! `$manifests` and `$all_manifests`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use futures::TryStreamExt;
use iceberg::spec::{
    Datum, FieldSummary, ManifestContentType, ManifestFile, PrimitiveType, Transform, Type,
};

use super::partition::source_type;
use super::values::{list_type, optional, required, structs};
use super::{Output, human, select};
use crate::{Error, Result, Table};

/// Rows of a batch.
const BATCH_ROWS: usize = if cfg!(test) { 2 } else { 8_192 };

/// A manifest, and the snapshot whose list names it.
type Row = (i64, ManifestFile);

/// The columns of `$manifests`.
pub(super) fn schema() -> SchemaRef {
    let mut fields = vec![
        required("content", DataType::Int32),
        required("path", DataType::Utf8),
        required("length", DataType::Int64),
        required("partition_spec_id", DataType::Int32),
        required("added_snapshot_id", DataType::Int64),
    ];
    // A list of version 1 may say nothing about them.
    fields.extend(COUNTS.map(|(name, ..)| optional(name, DataType::Int32)));
    fields.push(required(
        "partition_summaries",
        list_type(DataType::Struct(summary_fields())),
    ));
    Arc::new(Schema::new(fields))
}

/// The columns of `$all_manifests`: those of `$manifests` and two more.
pub(super) fn all_schema() -> SchemaRef {
    let mut fields = schema().fields().to_vec();
    fields.push(required("reference_snapshot_id", DataType::Int64));
    fields.push(optional("key_metadata", DataType::Binary));
    Arc::new(Schema::new(fields))
}

/// A count of files: its name, the kind of manifests that have it, and where it is.
type Count = (
    &'static str,
    ManifestContentType,
    fn(&ManifestFile) -> Option<u32>,
);

const COUNTS: [Count; 6] = {
    use ManifestContentType::{Data, Deletes};
    [
        ("added_data_files_count", Data, |m| m.added_files_count),
        ("existing_data_files_count", Data, |m| {
            m.existing_files_count
        }),
        ("deleted_data_files_count", Data, |m| m.deleted_files_count),
        ("added_delete_files_count", Deletes, |m| m.added_files_count),
        ("existing_delete_files_count", Deletes, |m| {
            m.existing_files_count
        }),
        ("deleted_delete_files_count", Deletes, |m| {
            m.deleted_files_count
        }),
    ]
};

fn summary_fields() -> Fields {
    vec![
        required("contains_null", DataType::Boolean),
        optional("contains_nan", DataType::Boolean),
        optional("lower_bound", DataType::Utf8),
        optional("upper_bound", DataType::Utf8),
    ]
    .into()
}

/// The manifests of one snapshot.
pub(super) fn manifests(table: &Table, manifests: &[ManifestFile]) -> Result<RecordBatch> {
    let rows: Vec<&ManifestFile> = manifests.iter().collect();
    let columns = columns(&Bounds::of(table)?, &rows)?;
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// One row for each snapshot and each manifest in its list.
pub(super) async fn all_manifests(table: &Table, output: &mut Output<'_>) -> Result<()> {
    let bounds = Bounds::of(table)?;
    let snapshots = select::snapshots(table).into_iter().cloned().collect();
    let mut lists = std::pin::pin!(select::lists(table, snapshots));
    let mut rows: Vec<Row> = Vec::new();
    while let Some((snapshot, list)) = lists.try_next().await? {
        rows.extend(list.into_iter().map(|manifest| (snapshot, manifest)));
        if rows.len() >= BATCH_ROWS {
            output.push(&all_batch(&bounds, &std::mem::take(&mut rows))?)?;
        }
    }
    output.push(&all_batch(&bounds, &rows)?)
}

fn all_batch(bounds: &Bounds, rows: &[Row]) -> Result<RecordBatch> {
    let manifests: Vec<&ManifestFile> = rows.iter().map(|(_, manifest)| manifest).collect();
    let mut columns = columns(bounds, &manifests)?;
    columns.push(Arc::new(Int64Array::from_iter_values(
        rows.iter().map(|(snapshot, _)| *snapshot),
    )));
    columns.push(Arc::new(BinaryArray::from_iter(
        manifests
            .iter()
            .map(|manifest| manifest.key_metadata.as_deref()),
    )));
    Ok(RecordBatch::try_new(all_schema(), columns)?)
}

fn columns(bounds: &Bounds, manifests: &[&ManifestFile]) -> Result<Vec<ArrayRef>> {
    let of = || manifests.iter().copied();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(of().map(|m| m.content as i32))),
        Arc::new(StringArray::from_iter_values(
            of().map(|m| m.manifest_path.as_str()),
        )),
        Arc::new(Int64Array::from_iter_values(
            of().map(|m| m.manifest_length),
        )),
        Arc::new(Int32Array::from_iter_values(
            of().map(|m| m.partition_spec_id),
        )),
        Arc::new(Int64Array::from_iter_values(
            of().map(|m| m.added_snapshot_id),
        )),
    ];
    for (_, content, get) in COUNTS {
        // A manifest has none of the other kind.
        let counts = of().map(|manifest| match get(manifest) {
            _ if manifest.content != content => Some(0),
            count => count.map(|count| i32::try_from(count).unwrap_or(i32::MAX)),
        });
        columns.push(Arc::new(Int32Array::from_iter(counts)));
    }
    columns.push(summaries(bounds, manifests)?);
    Ok(columns)
}

fn summaries(bounds: &Bounds, manifests: &[&ManifestFile]) -> Result<ArrayRef> {
    let of = || manifests.iter().copied();
    let all: Vec<&FieldSummary> = of().flat_map(|m| m.partitions.iter().flatten()).collect();
    let (mut lower, mut upper) = (Vec::with_capacity(all.len()), Vec::with_capacity(all.len()));
    for manifest in of() {
        for (place, summary) in manifest.partitions.iter().flatten().enumerate() {
            let text = |bytes: Option<&[u8]>| bounds.text(manifest, place, bytes);
            lower.push(text(
                summary.lower_bound.as_ref().map(|bytes| bytes.as_slice()),
            )?);
            upper.push(text(
                summary.upper_bound.as_ref().map(|bytes| bytes.as_slice()),
            )?);
        }
    }
    structs(
        of().map(|manifest| manifest.partitions.as_ref().map_or(0, Vec::len)),
        summary_fields(),
        vec![
            Arc::new(BooleanArray::from_iter(
                all.iter().map(|summary| Some(summary.contains_null)),
            )),
            Arc::new(BooleanArray::from_iter(
                all.iter().map(|summary| summary.contains_nan),
            )),
            Arc::new(StringArray::from_iter(lower)),
            Arc::new(StringArray::from_iter(upper)),
        ],
    )
}

/// The partition fields of each spec, to show their bounds.
struct Bounds {
    by_spec: HashMap<i32, Vec<Option<(Transform, PrimitiveType)>>>,
}

impl Bounds {
    fn of(table: &Table) -> Result<Self> {
        let metadata = table.metadata();
        let by_spec = metadata
            .partition_specs_iter()
            .map(|spec| {
                let fields = spec.fields().iter().map(|field| {
                    let Some(source) = source_type(metadata, field.source_id) else {
                        return Ok(None);
                    };
                    Ok(match field.transform.result_type(&source)? {
                        Type::Primitive(ty) => Some((field.transform, ty)),
                        _ => None,
                    })
                });
                Ok((spec.spec_id(), fields.collect::<Result<_>>()?))
            })
            .collect::<Result<_>>()?;
        Ok(Self { by_spec })
    }

    /// A bound as people write it. None where there is none; Java then says `null`, which might be a
    /// value as well.
    fn text(
        &self,
        manifest: &ManifestFile,
        place: usize,
        bytes: Option<&[u8]>,
    ) -> Result<Option<String>> {
        let fields = self.by_spec.get(&manifest.partition_spec_id);
        let field = fields.and_then(|fields| fields.get(place)?.as_ref());
        let (Some(bytes), Some((transform, ty))) = (bytes, field) else {
            return Ok(None);
        };
        let value = Datum::try_from_bytes(bytes, ty.clone()).map_err(|error| {
            Error::corrupt("a manifest list has a bound that is no value of its partition field")
                .with("manifest", &manifest.manifest_path)
                .with("spec", manifest.partition_spec_id)
                .with("field", place)
                .source_error(error)
        })?;
        Ok(Some(human::text(*transform, &value)))
    }
}
