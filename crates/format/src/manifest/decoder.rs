//! How the values of a manifest are found: by field ids, in the order in which its writer put them.
//!
//! A manifest carries the Avro schema that it was written with. A [`Decoder`] is that schema looked
//! through once: what each field is to us, and what types bounds and partition values have. Manifests of
//! one writer share it.
//!
//! The types of bounds come from the table schema in the manifest's header, and those of columns that it
//! lacks from the table: a manifest may name files that are older than its header, because one that was
//! merged after a column was dropped has the schema without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::metadata_columns::get_metadata_field;
use iceberg::spec::{PartitionSpec, PrimitiveType, Schema, Type};

use super::columns::Columns;
use crate::avro::{Container, Field, Form, Shape};
use crate::{Error, Result};

/// What the manifests of one writer, schema and partition spec have in common.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The fields of an entry.
    pub(super) fields: Vec<(EntryField, Arc<Shape>)>,
    /// Whether it is of format version 1, which has no sequence numbers.
    pub(super) is_v1: bool,
    /// The partition spec of its files.
    pub(super) spec_id: i32,
    /// How many fields that has.
    pub(super) partition_fields: usize,
    /// By column; few enough that a search is faster than a hash.
    types: BTreeMap<i32, PrimitiveType>,
}

/// A field of a manifest entry (specification, "Manifest Entry Fields").
#[derive(Debug)]
pub(super) enum EntryField {
    Status,
    SnapshotId,
    SequenceNumber,
    FileSequenceNumber,
    File(Vec<(FileField, Arc<Shape>)>),
    Other,
}

/// A field of a `data_file` struct (specification, "Data File Fields").
#[derive(Debug)]
pub(super) enum FileField {
    Content,
    Path,
    Format,
    Partition(Vec<PartitionValue>),
    RecordCount,
    Size,
    ColumnSizes,
    ValueCounts,
    NullValueCounts,
    NanValueCounts,
    LowerBounds,
    UpperBounds,
    KeyMetadata,
    SplitOffsets,
    EqualityIds,
    SortOrder,
    FirstRowId,
    ReferencedDataFile,
    ContentOffset,
    ContentSize,
    Other,
}

/// A value of a partition.
#[derive(Debug)]
pub(super) struct PartitionValue {
    /// Its place in the partition spec; none for one that the spec does not know.
    pub(super) place: Option<usize>,
    /// Its type, where it is known.
    pub(super) ty: Option<PrimitiveType>,
    /// How it is written.
    pub(super) shape: Arc<Shape>,
}

impl Decoder {
    /// Looks through the schemas of a manifest.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt), without the path.
    pub(super) fn new(
        manifest: &Container,
        spec: &PartitionSpec,
        columns: &Columns,
    ) -> Result<Self> {
        let own: Option<Schema> = manifest
            .entry("schema")
            .and_then(|schema| serde_json::from_slice(schema).ok());
        let types = columns.types().iter();
        let mut types: BTreeMap<_, _> = types.map(|(id, ty)| (*id, ty.clone())).collect();
        for (id, field) in own.iter().flat_map(Schema::field_id_to_fields) {
            if let Type::Primitive(ty) = field.field_type.as_ref() {
                types.insert(*id, ty.clone());
            }
        }
        let version = manifest.entry("format-version").map(|version| &version[..]);
        let shape = manifest.shape()?;
        let Form::Record(fields) = &shape.form else {
            return Err(Error::corrupt("the entries of the manifest are no records"));
        };
        let mut decoder = Self {
            fields: Vec::new(),
            is_v1: matches!(version, None | Some(b"1")),
            spec_id: spec.spec_id(),
            partition_fields: spec.fields().len(),
            types,
        };
        for field in fields {
            let what = decoder.entry_field(field, spec)?;
            decoder.fields.push((what, field.shape.clone()));
        }
        Ok(decoder)
    }

    /// The type of a column's bounds; none for a column that neither the manifest nor the table knows,
    /// and for one that is no primitive.
    pub(super) fn ty(&self, column: i32) -> Option<PrimitiveType> {
        let known = self.types.get(&column).cloned();
        known.or_else(
            || match get_metadata_field(column).ok()?.field_type.as_ref() {
                Type::Primitive(ty) => Some(ty.clone()),
                _ => None,
            },
        )
    }

    fn entry_field(&self, field: &Field, spec: &PartitionSpec) -> Result<EntryField> {
        Ok(match (field.id, &field.name[..]) {
            (Some(0), _) | (None, "status") => EntryField::Status,
            (Some(1), _) | (None, "snapshot_id") => EntryField::SnapshotId,
            (Some(3), _) | (None, "sequence_number") => EntryField::SequenceNumber,
            (Some(4), _) | (None, "file_sequence_number") => EntryField::FileSequenceNumber,
            (Some(2), _) | (None, "data_file") => {
                let mut found = Vec::new();
                for field in record(&field.shape, "data_file")? {
                    found.push((self.file_field(field, spec)?, field.shape.clone()));
                }
                EntryField::File(found)
            }
            _ => EntryField::Other,
        })
    }

    fn file_field(&self, field: &Field, spec: &PartitionSpec) -> Result<FileField> {
        Ok(match (field.id, &field.name[..]) {
            (Some(134), _) | (None, "content") => FileField::Content,
            (Some(100), _) | (None, "file_path") => FileField::Path,
            (Some(101), _) | (None, "file_format") => FileField::Format,
            (Some(102), _) | (None, "partition") => {
                FileField::Partition(self.partition(record(&field.shape, "partition")?, spec)?)
            }
            (Some(103), _) | (None, "record_count") => FileField::RecordCount,
            (Some(104), _) | (None, "file_size_in_bytes") => FileField::Size,
            (Some(108), _) | (None, "column_sizes") => FileField::ColumnSizes,
            (Some(109), _) | (None, "value_counts") => FileField::ValueCounts,
            (Some(110), _) | (None, "null_value_counts") => FileField::NullValueCounts,
            (Some(137), _) | (None, "nan_value_counts") => FileField::NanValueCounts,
            (Some(125), _) | (None, "lower_bounds") => FileField::LowerBounds,
            (Some(128), _) | (None, "upper_bounds") => FileField::UpperBounds,
            (Some(131), _) | (None, "key_metadata") => FileField::KeyMetadata,
            (Some(132), _) | (None, "split_offsets") => FileField::SplitOffsets,
            (Some(135), _) | (None, "equality_ids") => FileField::EqualityIds,
            (Some(140), _) | (None, "sort_order_id") => FileField::SortOrder,
            (Some(142), _) | (None, "first_row_id") => FileField::FirstRowId,
            (Some(143), _) | (None, "referenced_data_file") => FileField::ReferencedDataFile,
            (Some(144), _) | (None, "content_offset") => FileField::ContentOffset,
            (Some(145), _) | (None, "content_size_in_bytes") => FileField::ContentSize,
            _ => FileField::Other,
        })
    }

    /// The values of a partition in the order of the file. They are found by their ids; by their names
    /// where the file has no ids, or where the spec of a version 1 table was given others.
    fn partition(&self, fields: &[Field], spec: &PartitionSpec) -> Result<Vec<PartitionValue>> {
        let of_spec = spec.fields();
        let by_id = |field: &Field| {
            let of_id = |id| of_spec.iter().position(|own| own.field_id == id);
            field.id.and_then(of_id)
        };
        let by_name = |field: &Field| of_spec.iter().position(|own| own.name == field.name);
        let found = |place: &dyn Fn(&Field) -> Option<usize>| {
            let places: Vec<_> = fields.iter().map(place).collect();
            let all = (0..of_spec.len())
                .all(|own| places.iter().filter(|place| **place == Some(own)).count() == 1);
            all.then_some(places)
        };
        let places = found(&by_id).or_else(|| found(&by_name)).ok_or_else(|| {
            let names = fields.iter().map(|field| field.name.as_str());
            Error::corrupt("the manifest has other partition fields than its partition spec")
                .with("spec", spec.spec_id())
                .with("found", names.collect::<Vec<_>>().join(", "))
        })?;
        let values = fields.iter().zip(places).map(|(field, place)| {
            let ty = place.and_then(|place| {
                let own = &of_spec[place];
                let source = Type::Primitive(self.ty(own.source_id)?);
                match own.transform.result_type(&source).ok()? {
                    Type::Primitive(ty) => Some(ty),
                    _ => None,
                }
            });
            PartitionValue {
                place,
                ty,
                shape: field.shape.clone(),
            }
        });
        Ok(values.collect())
    }
}

fn record<'a>(shape: &'a Shape, name: &str) -> Result<&'a [Field]> {
    match &shape.form {
        Form::Record(fields) => Ok(fields),
        _ => Err(Error::corrupt("a field of the manifest is no record").with("field", name)),
    }
}
