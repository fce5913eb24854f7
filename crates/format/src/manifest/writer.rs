//! Writing manifests.
//!
//! Entries become bytes as they are added, so that a manifest takes no more memory than its file, and blocks
//! are compressed with deflate, as other engines do it. (The `iceberg` crate's writer keeps all entries,
//! leaks the names of partition fields with each, compresses nothing, and writes UUIDs as texts.)

use std::collections::{HashMap, HashSet};

use iceberg::spec::{
    DataContentType, DataFile, Datum, FieldSummary, FormatVersion, Literal, ManifestContentType,
    ManifestFile, ManifestStatus, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Type,
    UNASSIGNED_SEQUENCE_NUMBER,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::avro::{Output, Writer};
use crate::evaluate::value;
use crate::storage::{Location, Storage};
use crate::{Error, Result};

/// A manifest that is being written.
#[derive(Debug)]
pub(crate) struct ManifestWriter {
    location: Location,
    file: Writer,
    version: FormatVersion,
    content: ManifestContentType,
    spec_id: i32,
    snapshot_id: i64,
    partition: Vec<Summary>,
    added: Count,
    existing: Count,
    deleted: Count,
    min_sequence_number: Option<i64>,
}

/// How many files of one status there are.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    files: u32,
    rows: u64,
}

/// What the values of a partition field are.
#[derive(Debug)]
struct Summary {
    ty: PrimitiveType,
    contains_null: bool,
    contains_nan: bool,
    bounds: Option<(Datum, Datum)>,
}

impl ManifestWriter {
    /// A manifest for files of this spec, to be written to this place by this snapshot, in the form of
    /// format version 2 or 3. The schema has all source columns of the spec.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the spec does not go with the schema.
    pub(crate) fn new(
        location: Location,
        snapshot_id: i64,
        schema: &Schema,
        spec: &PartitionSpec,
        version: FormatVersion,
        content: ManifestContentType,
    ) -> Result<Self> {
        let types = spec.partition_type(schema)?;
        let types = types
            .fields()
            .iter()
            .map(|field| match field.field_type.as_ref() {
                Type::Primitive(ty) => Ok(ty.clone()),
                other => Err(Error::corrupt("a partition field is of no primitive type")
                    .with("field", &field.name)
                    .with("type", other)),
            });
        let types: Vec<PrimitiveType> = types.collect::<Result<_>>()?;
        let entries = entries(spec, &types, version)?.to_string();
        let (schema_id, spec_id) = (schema.schema_id().to_string(), spec.spec_id().to_string());
        let (table_schema, fields) = (json_of(schema)?, json_of(spec.fields())?);
        let content_name = match content {
            ManifestContentType::Data => "data",
            ManifestContentType::Deletes => "deletes",
        };
        let number = match version {
            FormatVersion::V3 => "3",
            FormatVersion::V1 | FormatVersion::V2 => "2",
        };
        let header: [(&str, &[u8]); 7] = [
            ("avro.schema", entries.as_bytes()),
            ("schema", &table_schema),
            ("schema-id", schema_id.as_bytes()),
            ("partition-spec", &fields),
            ("partition-spec-id", spec_id.as_bytes()),
            ("format-version", number.as_bytes()),
            ("content", content_name.as_bytes()),
        ];
        let name = location.to_string();
        let marker = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes());
        Ok(Self {
            file: Writer::new(&header, marker.into_bytes()),
            location,
            version,
            content,
            spec_id: spec.spec_id(),
            snapshot_id,
            partition: types.into_iter().map(Summary::new).collect(),
            added: Count::default(),
            existing: Count::default(),
            deleted: Count::default(),
            min_sequence_number: None,
        })
    }

    /// Adds a file that is new. It inherits its sequence numbers unless it brings one.
    ///
    /// # Errors
    /// [`Internal`](crate::ErrorKind::Internal) for a file that is not of the manifest's content, or whose
    /// partition is not of its spec.
    pub(crate) fn add_file(&mut self, file: &DataFile, sequence_number: Option<i64>) -> Result<()> {
        let numbers = Numbers {
            snapshot_id: self.snapshot_id,
            sequence_number,
            file_sequence_number: None,
        };
        self.add(ManifestStatus::Added, numbers, file)
    }

    /// Adds a file that an older snapshot has added.
    ///
    /// # Errors
    /// As [`add_file`](Self::add_file).
    pub(crate) fn add_existing_file(
        &mut self,
        file: &DataFile,
        snapshot_id: i64,
        sequence_number: i64,
        file_sequence_number: i64,
    ) -> Result<()> {
        let numbers = Numbers {
            snapshot_id,
            sequence_number: Some(sequence_number),
            file_sequence_number: Some(file_sequence_number),
        };
        self.add(ManifestStatus::Existing, numbers, file)
    }

    /// Adds a file that this snapshot removes.
    ///
    /// # Errors
    /// As [`add_file`](Self::add_file).
    pub(crate) fn add_delete_file(
        &mut self,
        file: &DataFile,
        sequence_number: i64,
        file_sequence_number: i64,
    ) -> Result<()> {
        let numbers = Numbers {
            snapshot_id: self.snapshot_id,
            sequence_number: Some(sequence_number),
            file_sequence_number: Some(file_sequence_number),
        };
        self.add(ManifestStatus::Deleted, numbers, file)
    }

    /// About how many bytes the manifest has.
    pub(crate) fn size(&self) -> u64 {
        self.file.size() as u64
    }

    /// Writes the manifest; how a manifest list has it.
    ///
    /// # Errors
    /// Those of the storage, with the path.
    pub(crate) async fn write(self, storage: &Storage) -> Result<ManifestFile> {
        let bytes = self.file.finish()?;
        let length = bytes.len() as i64;
        storage.write(&self.location, bytes.into()).await?;
        let summaries = self.partition.into_iter().map(Summary::finish);
        Ok(ManifestFile {
            manifest_path: self.location.to_string(),
            manifest_length: length,
            partition_spec_id: self.spec_id,
            content: self.content,
            // The list writes the number of its snapshot instead.
            sequence_number: UNASSIGNED_SEQUENCE_NUMBER,
            min_sequence_number: self
                .min_sequence_number
                .unwrap_or(UNASSIGNED_SEQUENCE_NUMBER),
            added_snapshot_id: self.snapshot_id,
            added_files_count: Some(self.added.files),
            existing_files_count: Some(self.existing.files),
            deleted_files_count: Some(self.deleted.files),
            added_rows_count: Some(self.added.rows),
            existing_rows_count: Some(self.existing.rows),
            deleted_rows_count: Some(self.deleted.rows),
            partitions: Some(summaries.collect::<Result<_>>()?),
            key_metadata: None,
            first_row_id: None,
        })
    }

    fn add(&mut self, status: ManifestStatus, numbers: Numbers, file: &DataFile) -> Result<()> {
        self.check(file)?;
        let count = match status {
            ManifestStatus::Added => &mut self.added,
            ManifestStatus::Existing => &mut self.existing,
            ManifestStatus::Deleted => &mut self.deleted,
        };
        count.files += 1;
        count.rows = count.rows.saturating_add(file.record_count());
        if status != ManifestStatus::Deleted
            && let Some(number) = numbers.sequence_number
        {
            let least = self.min_sequence_number.get_or_insert(number);
            *least = number.min(*least);
        }
        for (summary, value) in self.partition.iter_mut().zip(file.partition().iter()) {
            summary.add(value)?;
        }
        let (version, partition) = (self.version, &self.partition);
        self.file.add(|output| {
            output.long(status as i64);
            output.optional(Some(numbers.snapshot_id), Output::long);
            output.optional(numbers.sequence_number, Output::long);
            output.optional(numbers.file_sequence_number, Output::long);
            write_file(output, file, partition, version)
        })
    }

    fn check(&self, file: &DataFile) -> Result<()> {
        let is_data = file.content_type() == DataContentType::Data;
        if is_data != (self.content == ManifestContentType::Data)
            || file.partition().fields().len() != self.partition.len()
        {
            return Err(Error::internal("a file does not belong into this manifest")
                .with("file", file.file_path())
                .with("manifest", &self.location)
                .with("spec", self.spec_id));
        }
        Ok(())
    }
}

/// The numbers of an entry.
struct Numbers {
    snapshot_id: i64,
    sequence_number: Option<i64>,
    file_sequence_number: Option<i64>,
}

impl Summary {
    fn new(ty: PrimitiveType) -> Self {
        Self {
            ty,
            contains_null: false,
            contains_nan: false,
            bounds: None,
        }
    }

    fn add(&mut self, value: Option<&Literal>) -> Result<()> {
        let value = match value {
            None => {
                self.contains_null = true;
                return Ok(());
            }
            Some(Literal::Primitive(value)) => value::datum(&self.ty, value),
            Some(_) => None,
        };
        let value = value.ok_or_else(|| {
            Error::internal("a partition value is of another type than its field")
                .with("type", &self.ty)
        })?;
        if value.is_nan() {
            self.contains_nan = true;
            return Ok(());
        }
        self.bounds = Some(match self.bounds.take() {
            None => (value.clone(), value),
            Some((lower, upper)) if value < lower => (value, upper),
            Some((lower, upper)) if value > upper => (lower, value),
            Some(bounds) => bounds,
        });
        Ok(())
    }

    fn finish(self) -> Result<FieldSummary> {
        let (lower, upper) = self.bounds.unzip();
        let bytes = |bound: Option<Datum>| bound.map(|bound| bound.to_bytes()).transpose();
        Ok(FieldSummary {
            contains_null: self.contains_null,
            contains_nan: Some(self.contains_nan),
            lower_bound: bytes(lower)?,
            upper_bound: bytes(upper)?,
        })
    }
}

/// Writes a `data_file` struct, its fields in the order of [`entries`].
fn write_file(
    output: &mut Output,
    file: &DataFile,
    partition: &[Summary],
    version: FormatVersion,
) -> Result<()> {
    output.long(file.content_type() as i64);
    output.bytes(file.file_path().as_bytes());
    let format = file.file_format().to_string().to_ascii_uppercase();
    output.bytes(format.as_bytes());
    for (summary, value) in partition.iter().zip(file.partition().iter()) {
        write_value(output, &summary.ty, value)?;
    }
    output.long(signed(file.record_count())?);
    output.long(signed(file.file_size_in_bytes())?);
    for counts in [
        file.column_sizes(),
        file.value_counts(),
        file.null_value_counts(),
        file.nan_value_counts(),
    ] {
        let counts = sorted(counts).map(|(id, count)| Ok((id, signed(*count)?)));
        let counts: Vec<(i32, i64)> = counts.collect::<Result<_>>()?;
        output.long(1);
        output.array(counts.into_iter(), |output, (id, count)| {
            output.long(i64::from(id));
            output.long(count);
        });
    }
    for bounds in [file.lower_bounds(), file.upper_bounds()] {
        let bounds = sorted(bounds).map(|(id, bound)| Ok((id, bound.to_bytes()?)));
        let bounds: Vec<_> = bounds.collect::<Result<_>>()?;
        output.long(1);
        output.array(bounds.into_iter(), |output, (id, bound)| {
            output.long(i64::from(id));
            output.bytes(&bound);
        });
    }
    output.optional(file.key_metadata(), Output::bytes);
    output.optional(file.split_offsets(), |output, offsets| {
        output.array(offsets.iter(), |output, offset| output.long(*offset));
    });
    output.optional(file.equality_ids(), |output, ids| {
        output.array(ids.into_iter(), |output, id| output.long(i64::from(id)));
    });
    output.optional(file.sort_order_id().map(i64::from), Output::long);
    let referenced = file.referenced_data_file();
    let referenced = referenced.as_deref().map(str::as_bytes);
    if version >= FormatVersion::V3 {
        output.optional(file.first_row_id(), Output::long);
        output.optional(referenced, Output::bytes);
        output.optional(file.content_offset(), Output::long);
        output.optional(file.content_size_in_bytes(), Output::long);
    } else {
        output.optional(referenced, Output::bytes);
    }
    Ok(())
}

fn sorted<T>(map: &HashMap<i32, T>) -> impl Iterator<Item = (i32, &T)> {
    let mut entries: Vec<(i32, &T)> = map.iter().map(|(id, value)| (*id, value)).collect();
    entries.sort_unstable_by_key(|(id, _)| *id);
    entries.into_iter()
}

fn signed(count: u64) -> Result<i64> {
    i64::try_from(count).map_err(|_| {
        Error::internal("a count is greater than a manifest can have").with("count", count)
    })
}

/// Writes a partition value (specification, "Appendix A", Avro).
fn write_value(output: &mut Output, ty: &PrimitiveType, value: Option<&Literal>) -> Result<()> {
    use PrimitiveLiteral as L;
    let Some(value) = value else {
        output.long(0);
        return Ok(());
    };
    output.long(1);
    match (value, ty) {
        (Literal::Primitive(L::Boolean(value)), _) => output.boolean(*value),
        (Literal::Primitive(L::Int(value)), _) => output.long(i64::from(*value)),
        (Literal::Primitive(L::Long(value)), _) => output.long(*value),
        (Literal::Primitive(L::Float(value)), PrimitiveType::Double) => {
            output.fixed(&f64::from(value.0).to_le_bytes());
        }
        (Literal::Primitive(L::Float(value)), _) => output.fixed(&value.to_le_bytes()),
        (Literal::Primitive(L::Double(value)), _) => output.fixed(&value.to_le_bytes()),
        (Literal::Primitive(L::String(value)), _) => output.bytes(value.as_bytes()),
        (Literal::Primitive(L::Binary(value)), PrimitiveType::Fixed(_)) => output.fixed(value),
        (Literal::Primitive(L::Binary(value)), _) => output.bytes(value),
        (Literal::Primitive(L::UInt128(value)), _) => output.fixed(&value.to_be_bytes()),
        (Literal::Primitive(L::Int128(value)), PrimitiveType::Decimal { precision, .. }) => {
            let length = Type::decimal_required_bytes(*precision)? as usize;
            let bytes = value.to_be_bytes();
            output.fixed(&bytes[bytes.len().saturating_sub(length)..]);
        }
        (other, _) => {
            return Err(
                Error::internal("a partition value is of another type than its field")
                    .with("type", ty)
                    .with("value", format!("{other:?}")),
            );
        }
    }
    Ok(())
}

/// The Avro schema of an entry (specification, "Manifest Entry Fields" and "Data File Fields").
fn entries(spec: &PartitionSpec, types: &[PrimitiveType], version: FormatVersion) -> Result<Value> {
    let field = |id: i32, name: &str, ty: Value| json!({"name": name, "type": ty, "field-id": id});
    let optional = |id: i32, name: &str, ty: Value| json!({"name": name, "type": ["null", ty], "default": null, "field-id": id});
    let map = |id: i32, name: &str, [key, value]: [i32; 2], ty: &str| {
        let items = json!({"type": "record", "name": format!("k{key}_v{value}"), "fields": [
            field(key, "key", json!("int")), field(value, "value", json!(ty)),
        ]});
        optional(
            id,
            name,
            json!({"type": "array", "items": items, "logicalType": "map"}),
        )
    };
    let list = |id: i32, name: &str, element: i32, ty: &str| {
        optional(
            id,
            name,
            json!({"type": "array", "items": ty, "element-id": element}),
        )
    };
    let mut names = HashSet::new();
    let partition = spec.fields().iter().zip(types).map(|(own, ty)| {
        let ty = avro_type(ty, own.field_id)?;
        let mut name = avro_name(&own.name);
        // Two names can come to the same.
        while !names.insert(name.clone()) {
            name.push_str(&format!("_{}", own.field_id));
        }
        Ok(optional(own.field_id, &name, ty))
    });
    let partition: Vec<Value> = partition.collect::<Result<_>>()?;
    let partition = json!({"type": "record", "name": "r102", "fields": partition});
    let mut file = vec![
        field(134, "content", json!("int")),
        field(100, "file_path", json!("string")),
        field(101, "file_format", json!("string")),
        field(102, "partition", partition),
        field(103, "record_count", json!("long")),
        field(104, "file_size_in_bytes", json!("long")),
        map(108, "column_sizes", [117, 118], "long"),
        map(109, "value_counts", [119, 120], "long"),
        map(110, "null_value_counts", [121, 122], "long"),
        map(137, "nan_value_counts", [138, 139], "long"),
        map(125, "lower_bounds", [126, 127], "bytes"),
        map(128, "upper_bounds", [129, 130], "bytes"),
        optional(131, "key_metadata", json!("bytes")),
        list(132, "split_offsets", 133, "long"),
        list(135, "equality_ids", 136, "int"),
        optional(140, "sort_order_id", json!("int")),
    ];
    if version >= FormatVersion::V3 {
        file.extend([
            optional(142, "first_row_id", json!("long")),
            optional(143, "referenced_data_file", json!("string")),
            optional(144, "content_offset", json!("long")),
            optional(145, "content_size_in_bytes", json!("long")),
        ]);
    } else {
        file.push(optional(143, "referenced_data_file", json!("string")));
    }
    let file = json!({"type": "record", "name": "r2", "fields": file});
    Ok(
        json!({"type": "record", "name": "manifest_entry", "fields": [
            field(0, "status", json!("int")),
            optional(1, "snapshot_id", json!("long")),
            optional(3, "sequence_number", json!("long")),
            optional(4, "file_sequence_number", json!("long")),
            field(2, "data_file", file),
        ]}),
    )
}

/// The Avro type of a partition field. Types that have a name have one of their own in each field: not all
/// readers know a type by its name where it is used again.
fn avro_type(ty: &PrimitiveType, field: i32) -> Result<Value> {
    let micros = |utc: bool| json!({"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": utc});
    let nanos =
        |utc: bool| json!({"type": "long", "logicalType": "timestamp-nanos", "adjust-to-utc": utc});
    Ok(match ty {
        PrimitiveType::Boolean => json!("boolean"),
        PrimitiveType::Int => json!("int"),
        PrimitiveType::Long => json!("long"),
        PrimitiveType::Float => json!("float"),
        PrimitiveType::Double => json!("double"),
        PrimitiveType::Date => json!({"type": "int", "logicalType": "date"}),
        PrimitiveType::Time => json!({"type": "long", "logicalType": "time-micros"}),
        PrimitiveType::Timestamp => micros(false),
        PrimitiveType::Timestamptz => micros(true),
        PrimitiveType::TimestampNs => nanos(false),
        PrimitiveType::TimestamptzNs => nanos(true),
        PrimitiveType::String => json!("string"),
        PrimitiveType::Binary => json!("bytes"),
        PrimitiveType::Uuid => json!({
            "type": "fixed", "size": 16, "logicalType": "uuid", "name": format!("uuid_{field}"),
        }),
        PrimitiveType::Fixed(length) => json!({
            "type": "fixed", "size": length, "name": format!("fixed_{field}"),
        }),
        PrimitiveType::Decimal { precision, scale } => json!({
            "type": "fixed", "size": Type::decimal_required_bytes(*precision)?,
            "logicalType": "decimal", "precision": precision, "scale": scale,
            "name": format!("decimal_{field}"),
        }),
    })
}

/// The name of a partition field as Avro allows it: what is no letter, digit or underscore as its code.
/// Readers know the field by its id.
fn avro_name(name: &str) -> String {
    let mut avro = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter == '_' || letter.is_ascii_alphabetic() {
            avro.push(letter);
        } else if letter.is_ascii_digit() {
            if avro.is_empty() {
                avro.push('_');
            }
            avro.push(letter);
        } else {
            avro.push_str(&format!("_x{:X}", u32::from(letter)));
        }
    }
    avro
}

fn json_of(value: &(impl serde::Serialize + ?Sized)) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| {
        Error::internal("the header of a manifest cannot be written").source_error(error)
    })
}
