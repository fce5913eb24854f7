//! Reading manifests so that they can be written again with nothing lost.
//!
//! The decoder of the `iceberg` crate takes the types of bounds and of partition values from the schema
//! in the manifest's header. It drops the bounds of columns that this schema lacks, and it fails on a
//! partition field whose source column is not there. But a manifest may name files that are older than
//! its header: one that was merged after a column was dropped has the schema without it. So the schema
//! in the header is completed with the columns that the table has or had, and then the manifest is
//! decoded.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use iceberg::io::FileIO;
use iceberg::spec::{
    Manifest, ManifestEntry, ManifestFile, NestedField, PartitionSpec, PrimitiveType, Schema,
    TableMetadata, Transform, Type,
};

use super::manifests::{inherit, inherit_row_ids, load_entries, undecodable};
use crate::plan::{Loaded, check_entries};
use crate::storage::Location;
use crate::{Error, ErrorKind, Result, Table, task};

/// Manifests that are fetched and decoded at the same time.
const AT_ONCE: usize = 8;
/// What an Avro file begins with.
const MAGIC: &[u8] = b"Obj\x01";

/// The primitive columns that a table has or had, nested ones too, by id. Each has the type that it had
/// last, which every older value can be read as.
#[derive(Debug)]
pub(super) struct Columns(BTreeMap<i32, PrimitiveType>);

impl Columns {
    pub(super) fn of(metadata: &TableMetadata) -> Self {
        let mut schemas: Vec<_> = metadata.schemas_iter().collect();
        schemas.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
        let mut columns = BTreeMap::new();
        for schema in std::iter::once(metadata.current_schema()).chain(schemas) {
            for (id, field) in schema.field_id_to_fields() {
                if let Type::Primitive(ty) = field.field_type.as_ref() {
                    columns.entry(*id).or_insert_with(|| ty.clone());
                }
            }
        }
        Self(columns)
    }

    /// The schema with the columns that it lacks behind its own; none if it lacks none. They have ids
    /// and types. Their names say nothing, because other columns may have the old ones now, and are no
    /// names that a partition field can have.
    pub(super) fn complete(&self, schema: &Schema) -> Option<Schema> {
        let missing = self
            .0
            .iter()
            .filter(|(id, _)| schema.field_by_id(**id).is_none());
        let missing: Vec<_> = missing
            .map(|(id, ty)| {
                let mut name = format!("dropped column {id}");
                while schema.field_by_name_case_insensitive(&name).is_some() {
                    name.push('\'');
                }
                let ty = Type::Primitive(ty.clone());
                Arc::new(NestedField::optional(*id, name, ty))
            })
            .collect();
        if missing.is_empty() {
            return None;
        }
        let own = schema.as_struct().fields().iter().cloned();
        let completed = Schema::builder()
            .with_schema_id(schema.schema_id())
            .with_fields(own.chain(missing))
            .with_identifier_field_ids(schema.identifier_field_ids());
        completed.build().ok()
    }
}

/// The schema under other names, where a column has the name of a partition field of the spec and is not
/// its column; none where no name has to change. Columns were renamed and added since the spec was the
/// default one, and the decoder binds a spec by names, too.
pub(super) fn renamed(schema: &Schema, spec: &PartitionSpec) -> Option<Schema> {
    let is_in_the_way = |column: &NestedField| {
        spec.fields().iter().any(|field| {
            field.name == column.name
                && (field.source_id != column.id || field.transform != Transform::Identity)
        })
    };
    let columns = schema.as_struct().fields();
    if !columns.iter().any(|column| is_in_the_way(column)) {
        return None;
    }
    let columns = columns.iter().map(|column| {
        if !is_in_the_way(column) {
            return column.clone();
        }
        let mut column = NestedField::clone(column);
        column.name = format!("column {}", column.id);
        while schema
            .field_by_name_case_insensitive(&column.name)
            .is_some()
        {
            column.name.push('\'');
        }
        Arc::new(column)
    });
    let renamed = Schema::builder()
        .with_schema_id(schema.schema_id())
        .with_fields(columns)
        .with_identifier_field_ids(schema.identifier_field_ids());
    renamed.build().ok()
}

/// The entries of a manifest, also of one that cannot be bound as it is: another engine has written it
/// after the source column of its spec was dropped, or another column took its partition field's name.
///
/// # Errors
/// As [`load_entries`].
pub(crate) async fn load_any(
    base: &Table,
    io: &FileIO,
    manifest: &ManifestFile,
) -> Result<Vec<Arc<ManifestEntry>>> {
    match load_entries(io, manifest).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let columns = Columns::of(base.metadata());
            entries(base, &columns, manifest).await.map_err(|_| error)
        }
        loaded => loaded,
    }
}

/// These manifests with their entries, in their order.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) and [`Corrupt`](crate::ErrorKind::Corrupt) with the path.
pub(super) async fn load_whole(
    base: &Table,
    columns: &Arc<Columns>,
    manifests: Vec<ManifestFile>,
) -> Result<Vec<Loaded>> {
    stream::iter(manifests)
        .map(|manifest| {
            let (base, columns) = (base.clone(), columns.clone());
            async move {
                let path = manifest.manifest_path.clone();
                task::decode(&path, async move {
                    let entries = entries(&base, &columns, &manifest).await?;
                    check_entries(base.metadata(), &manifest, &entries)?;
                    Ok((manifest, entries))
                })
                .await
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .map_err(|error: Error| error.with("table", base.ident()))
}

async fn entries(
    base: &Table,
    columns: &Columns,
    manifest: &ManifestFile,
) -> Result<Vec<Arc<ManifestEntry>>> {
    // What is encrypted is left to the decoder.
    if manifest.key_metadata.is_none() {
        let location = Location::parse(&manifest.manifest_path)?;
        let bytes = base.storage().read(&location).await?;
        crate::avro::check(&bytes).map_err(|error| error.with("path", &manifest.manifest_path))?;
        let spec = manifest.partition_spec_id;
        let spec = base.metadata().partition_spec_by_id(spec);
        let completed = with_schema(&bytes, |schema| {
            let whole = columns.complete(schema);
            let named = spec.and_then(|spec| renamed(whole.as_ref().unwrap_or(schema), spec));
            named.or(whole)
        });
        // Types that do not go together are a reason to take the manifest as it is.
        if let Some(decoded) = completed.and_then(|bytes| Manifest::parse_avro(&bytes).ok()) {
            return inherited(manifest, decoded);
        }
        let decoded = Manifest::parse_avro(&bytes).map_err(|error| {
            undecodable("the manifest cannot be read", error).with("path", &manifest.manifest_path)
        })?;
        return inherited(manifest, decoded);
    }
    load_entries(&base.storage().file_io(), manifest).await
}

/// The entries with all that they inherit from the manifest list.
fn inherited(manifest: &ManifestFile, decoded: Manifest) -> Result<Vec<Arc<ManifestEntry>>> {
    let (mut entries, _) = decoded.into_parts();
    for entry in &mut entries {
        inherit(Arc::make_mut(entry), manifest);
    }
    inherit_row_ids(manifest, &mut entries)?;
    Ok(entries)
}

/// A manifest with another schema in its header; none where it stays as it is, or is not understood.
fn with_schema(bytes: &[u8], change: impl FnOnce(&Schema) -> Option<Schema>) -> Option<Vec<u8>> {
    let (header, blocks) = header(bytes)?;
    let (_, own) = header.iter().find(|(key, _)| *key == b"schema")?;
    let schema = change(&serde_json::from_slice(own).ok()?)?;
    let schema = serde_json::to_vec(&schema).ok()?;
    let mut changed = Vec::with_capacity(bytes.len() + schema.len());
    changed.extend_from_slice(MAGIC);
    put_number(&mut changed, header.len());
    for (key, value) in header {
        let value = if key == b"schema" { &schema } else { value };
        for part in [key, value] {
            put_number(&mut changed, part.len());
            changed.extend_from_slice(part);
        }
    }
    put_number(&mut changed, 0);
    changed.extend_from_slice(blocks);
    Some(changed)
}

type HeaderEntry<'a> = (&'a [u8], &'a [u8]);

/// The entries of an Avro file's header, and what follows them (Avro specification, "Object Container
/// Files").
fn header(bytes: &[u8]) -> Option<(Vec<HeaderEntry<'_>>, &[u8])> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut entries = Vec::new();
    loop {
        let count = take_number(&mut rest)?;
        if count == 0 {
            return Some((entries, rest));
        }
        if count < 0 {
            // The size of the block in bytes.
            take_number(&mut rest)?;
        }
        for _ in 0..count.unsigned_abs() {
            entries.push((take_bytes(&mut rest)?, take_bytes(&mut rest)?));
        }
    }
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// A number of variable length, seven bits in each byte, with the sign in the last bit.
fn take_number(rest: &mut &[u8]) -> Option<i64> {
    let mut folded: u64 = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        folded |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            let number = (folded >> 1).cast_signed();
            return Some(if folded & 1 == 0 { number } else { !number });
        }
    }
    None
}

fn put_number(bytes: &mut Vec<u8>, number: usize) {
    let mut folded = (number as u64) << 1;
    while folded >= 0x80 {
        bytes.push((folded & 0x7F) as u8 | 0x80);
        folded >>= 7;
    }
    bytes.push(folded as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_avro() {
        for (number, expected) in [
            (0, vec![0]),
            (1, vec![2]),
            (63, vec![126]),
            (64, vec![128, 1]),
        ] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(bytes, expected);
        }
        for number in [0, 1, 127, 128, 300, 1 << 20, 1 << 40] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(take_number(&mut bytes.as_slice()), Some(number as i64));
        }
        assert_eq!(take_number(&mut [1].as_slice()), Some(-1));
        assert_eq!(take_number(&mut [3].as_slice()), Some(-2));
        assert_eq!(take_number(&mut [0x80].as_slice()), None);
        assert_eq!(take_number(&mut [0xFF; 20].as_slice()), None);
    }

    #[test]
    fn what_is_no_header_is_left_as_it_is() {
        for bytes in [
            &b""[..],
            b"Obj",
            b"Obj\x01",
            b"Obj\x01\x00",
            b"Obj\x01\x02\x0cschema\x04{}",
            b"Obj\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
            b"Obj\x01\x02\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
        ] {
            assert_eq!(with_schema(bytes, |schema| Some(schema.clone())), None);
        }
    }
}
