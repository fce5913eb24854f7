//! Changes of how a table is partitioned.

use async_trait::async_trait;
use iceberg::spec::{
    FormatVersion, PartitionSpec, Schema, TableMetadata, Transform, UnboundPartitionField,
    UnboundPartitionSpec,
};
use iceberg::{TableRequirement, TableUpdate};

use super::columns::{check_transform, source};
use crate::commit::{Operation, PlannedChange};
use crate::partition::{field_name, is_field_name};
use crate::suggest::did_you_mean;
use crate::{Error, Result, Table};

/// Changes the default partition spec (specification, "Partition Evolution"). Files that are there
/// keep the spec that they were written with.
///
/// The edits are made in their order; together they are one new spec, or an older one that becomes the
/// default again. From format version 2 on, fields that are dropped leave the spec, and a field that
/// any spec once had, of the same column and transform, gets its old id, and its old name where that is
/// free. In format version 1 ids are places, so that a dropped field stays as one of the transform
/// `void`, and its name moves out of the way where a new field needs it. Java's reference
/// implementation does the same.
///
/// A concurrent change of the default spec or of the schema is a conflict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvolvePartitions {
    /// The edits, in order.
    pub edits: Vec<PartitionEdit>,
}

/// One change of a partition field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionEdit {
    /// Adds a field, behind the others.
    Add {
        /// The path of the column, its parts as they are stored. It may be in structs.
        source: Vec<String>,
        /// The transform.
        transform: Transform,
        /// The field's name; made of column and transform where none is given.
        name: Option<String>,
    },
    /// Drops a field.
    Drop(PartitionSelector),
    /// Renames a field. Files that are there keep the folders that they are in.
    Rename {
        /// The field's name.
        name: String,
        /// Its new name.
        to: String,
    },
    /// Drops a field and adds another.
    Replace {
        /// The field that goes.
        old: PartitionSelector,
        /// The path of the new field's column.
        source: Vec<String>,
        /// The new field's transform.
        transform: Transform,
        /// The new field's name; made of column and transform where none is given.
        name: Option<String>,
    },
}

/// Which partition field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionSelector {
    /// The one of this name.
    Name(String),
    /// The one of this column and transform.
    Term {
        /// The path of the column, its parts as they are stored.
        source: Vec<String>,
        /// The transform.
        transform: Transform,
    },
}

#[async_trait]
impl Operation for EvolvePartitions {
    /// Plans the new spec.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) with the field for columns and fields that do
    /// not exist, transforms that do not fit, names that are taken or cannot be written, and fields that
    /// say what another says already; [`Unsupported`](crate::ErrorKind::Unsupported) for specs that
    /// this program cannot keep or write.
    async fn plan(&self, base: &Table) -> Result<Option<PlannedChange>> {
        self.change(base)
            .map_err(|error| error.with("table", base.ident()))
    }
}

impl EvolvePartitions {
    fn change(&self, base: &Table) -> Result<Option<PlannedChange>> {
        let metadata = base.metadata();
        let mut draft = Draft::new(metadata)?;
        for edit in &self.edits {
            draft.edit(edit)?;
        }
        let spec = draft.finish()?;
        let current = metadata.default_partition_spec();
        if current.is_compatible_with(&spec) {
            return Ok(None);
        }
        let mut known = metadata.partition_specs_iter();
        let updates = match known.find(|older| older.is_compatible_with(&spec)) {
            Some(older) => vec![TableUpdate::SetDefaultSpec {
                spec_id: older.spec_id(),
            }],
            None => vec![
                TableUpdate::AddSpec {
                    spec: spec.into_unbound(),
                },
                TableUpdate::SetDefaultSpec {
                    spec_id: super::LAST_ADDED,
                },
            ],
        };
        let requirements = vec![
            TableRequirement::CurrentSchemaIdMatch {
                current_schema_id: metadata.current_schema_id(),
            },
            TableRequirement::DefaultSpecIdMatch {
                default_spec_id: metadata.default_partition_spec_id(),
            },
            TableRequirement::LastAssignedPartitionIdMatch {
                last_assigned_partition_id: metadata.last_partition_id(),
            },
        ];
        Ok(Some(PlannedChange::of_metadata(
            base,
            requirements,
            updates,
        )))
    }
}

/// A field of the spec that is being made.
#[derive(Debug, Clone)]
struct Field {
    id: i32,
    source_id: i32,
    transform: Transform,
    name: String,
    dropped: bool,
    added: bool,
}

impl Field {
    fn is_live(&self) -> bool {
        !self.dropped && self.transform != Transform::Void
    }
}

/// A spec between the current one and the next.
struct Draft<'a> {
    metadata: &'a TableMetadata,
    schema: &'a Schema,
    fields: Vec<Field>,
    last_id: i32,
}

impl<'a> Draft<'a> {
    fn new(metadata: &'a TableMetadata) -> Result<Self> {
        let spec = metadata.default_partition_spec();
        if let Some(field) = spec
            .fields()
            .iter()
            .find(|field| field.transform == Transform::Unknown)
        {
            return Err(Error::unsupported(
                "a table with an unknown partition transform is not repartitioned",
            )
            .with("partition field", &field.name));
        }
        let fields = spec.fields().iter().map(|field| Field {
            id: field.field_id,
            source_id: field.source_id,
            transform: field.transform,
            name: field.name.clone(),
            dropped: false,
            added: false,
        });
        let ids = metadata
            .partition_specs_iter()
            .filter_map(|spec| spec.highest_field_id());
        Ok(Self {
            metadata,
            schema: metadata.current_schema(),
            fields: fields.collect(),
            last_id: ids.fold(metadata.last_partition_id(), i32::max),
        })
    }

    fn is_v1(&self) -> bool {
        self.metadata.format_version() < FormatVersion::V2
    }

    fn edit(&mut self, edit: &PartitionEdit) -> Result<()> {
        match edit {
            PartitionEdit::Add {
                source,
                transform,
                name,
            } => self.add(source, *transform, name.as_deref()),
            PartitionEdit::Drop(selector) => self.drop(selector),
            PartitionEdit::Rename { name, to } => self.rename(name, to),
            PartitionEdit::Replace {
                old,
                source,
                transform,
                name,
            } => {
                self.drop(old)?;
                self.add(source, *transform, name.as_deref())
            }
        }
    }

    fn add(&mut self, path: &[String], transform: Transform, name: Option<&str>) -> Result<()> {
        let column = source(self.schema, path)?;
        let dotted = path.join(".");
        check_transform(column, transform, &dotted)?;
        let at = |error: Error| error.with("column", &dotted).with("transform", transform);
        let is_same = |field: &&Field| field.source_id == column.id && field.transform == transform;
        if let Some(same) = self.fields.iter().filter(|f| f.is_live()).find(is_same) {
            return Err(
                at(Error::invalid("the table is partitioned by this already"))
                    .with("partition field", &same.name),
            );
        }
        let is_time = |transform: &Transform| transform.dedup_name() == "time";
        if let Some(other) = self.fields.iter().find(|field| {
            field.is_live()
                && field.source_id == column.id
                && is_time(&field.transform)
                && is_time(&transform)
        }) {
            return Err(at(Error::invalid(
                "one of two times of the same column says what the other says",
            ))
            .with("partition field", &other.name)
            .help("replace the partition field that is there"));
        }
        // Dropped and added again by the same operation: it was never gone.
        if let Some(place) = self.fields.iter().position(|f| f.dropped && is_same(&f)) {
            let name = match (name, self.fields.get(place)) {
                (Some(name), _) => name.to_string(),
                (None, Some(field)) => field.name.clone(),
                (None, None) => return Err(Error::internal("a partition field is not there")),
            };
            self.make_room(&name, column.id, transform, Some(place))?;
            if let Some(field) = self.fields.get_mut(place) {
                field.dropped = false;
                field.name = name;
            }
            return Ok(());
        }
        let former = self.former(column.id, transform);
        let id = match former {
            Some((id, _)) => id,
            None => {
                self.last_id = self.last_id.checked_add(1).ok_or_else(|| {
                    Error::invalid("the table has no ids of partition fields left")
                })?;
                self.last_id
            }
        };
        let name = match (name, former) {
            (Some(name), _) => name.to_string(),
            (None, Some((_, name))) if self.is_free(name, column.id, transform) => name.to_string(),
            (None, _) => self.made_name(&dotted, column.id, transform),
        };
        self.make_room(&name, column.id, transform, None)?;
        self.fields.push(Field {
            id,
            source_id: column.id,
            transform,
            name,
            dropped: false,
            added: true,
        });
        Ok(())
    }

    /// Id and name of the field of this column and transform that a spec of the table once had. In
    /// format version 1 an id is a place, and so is given once.
    fn former(&self, source_id: i32, transform: Transform) -> Option<(i32, &'a str)> {
        if self.is_v1() {
            return None;
        }
        let metadata = self.metadata;
        let specs = metadata.partition_specs_iter();
        let fields = specs.flat_map(|spec| {
            let id = spec.spec_id();
            spec.fields().iter().map(move |field| (id, field))
        });
        fields
            .filter(|(_, field)| field.source_id == source_id && field.transform == transform)
            .filter(|(_, field)| self.fields.iter().all(|own| own.id != field.field_id))
            .max_by_key(|(spec_id, _)| *spec_id)
            .map(|(_, field)| (field.field_id, field.name.as_str()))
    }

    /// The name of a field that got none; with the width where the plain one is taken.
    fn made_name(&self, column: &str, source_id: i32, transform: Transform) -> String {
        let plain = field_name(column, transform);
        match transform {
            Transform::Bucket(width) | Transform::Truncate(width)
                if !self.is_free(&plain, source_id, transform) =>
            {
                format!("{plain}_{width}")
            }
            _ => plain,
        }
    }

    fn is_free(&self, name: &str, source_id: i32, transform: Transform) -> bool {
        let live = |field: &Field| field.is_live() && field.name == name;
        is_field_name(name)
            && !self.fields.iter().any(live)
            && !self.is_others_column(name, source_id, transform)
    }

    /// Whether a column has the name, other than the one that the field is itself.
    fn is_others_column(&self, name: &str, source_id: i32, transform: Transform) -> bool {
        let column = self.schema.field_by_name(name);
        column.is_some_and(|column| column.id != source_id || transform != Transform::Identity)
    }

    /// Checks that a field can have this name. A void field that has it gives it up.
    fn make_room(
        &mut self,
        name: &str,
        source_id: i32,
        transform: Transform,
        own: Option<usize>,
    ) -> Result<()> {
        let with = |message: &str| Error::invalid(message).with("partition field", name);
        if !is_field_name(name) {
            return Err(with("a partition field cannot have this name")
                .help("name it with letters, digits and underscores, and no digit first"));
        }
        if self.is_others_column(name, source_id, transform) {
            return Err(with("a column has the name of the partition field")
                .help("give the partition field another name: ADD PARTITION FIELD … AS name"));
        }
        for (place, field) in self.fields.iter_mut().enumerate() {
            if Some(place) == own || field.name != name {
                continue;
            }
            if field.is_live() {
                return Err(with("a partition field of this name exists")
                    .with("transform", field.transform)
                    .help("give the new one another name: ADD PARTITION FIELD … AS name"));
            }
            field.name = format!("{name}_{}", field.id);
        }
        Ok(())
    }

    fn drop(&mut self, selector: &PartitionSelector) -> Result<()> {
        let place = self.find(selector)?;
        match self.fields.get_mut(place) {
            Some(field) if field.added => {
                self.fields.remove(place);
            }
            Some(field) => field.dropped = true,
            None => return Err(Error::internal("a partition field is not there")),
        }
        Ok(())
    }

    fn rename(&mut self, name: &str, to: &str) -> Result<()> {
        let place = self.find(&PartitionSelector::Name(name.to_string()))?;
        let (source_id, transform) = match self.fields.get(place) {
            Some(field) => (field.source_id, field.transform),
            None => return Err(Error::internal("a partition field is not there")),
        };
        self.make_room(to, source_id, transform, Some(place))?;
        if let Some(field) = self.fields.get_mut(place) {
            field.name = to.to_string();
        }
        Ok(())
    }

    /// The place of a field. A void one is found by its name, so that it can leave the spec after an
    /// upgrade.
    fn find(&self, selector: &PartitionSelector) -> Result<usize> {
        let is_there = |field: &Field| !field.dropped && (field.is_live() || !self.is_v1());
        let place = match selector {
            PartitionSelector::Name(name) => self
                .fields
                .iter()
                .position(|field| is_there(field) && field.name == *name),
            PartitionSelector::Term {
                source: path,
                transform,
            } => {
                let column = source(self.schema, path)?;
                self.fields.iter().position(|field| {
                    is_there(field) && field.source_id == column.id && field.transform == *transform
                })
            }
        };
        place.ok_or_else(|| {
            let known = || {
                let there = self.fields.iter().filter(|field| is_there(field));
                there.map(|field| field.name.as_str())
            };
            let error = Error::invalid("the table has no such partition field");
            let (error, name) = match selector {
                PartitionSelector::Name(name) => {
                    (error.with("partition field", name), name.as_str())
                }
                PartitionSelector::Term { source, transform } => (
                    error
                        .with("column", source.join("."))
                        .with("transform", transform),
                    "",
                ),
            };
            match did_you_mean(name, known()) {
                Some(help) => error.help(help),
                None if known().next().is_none() => error.help("it is not partitioned"),
                None => {
                    let known: Vec<&str> = known().collect();
                    error.help(format!("partition fields are: {}", known.join(", ")))
                }
            }
        })
    }

    /// The spec that the edits have made.
    fn finish(self) -> Result<PartitionSpec> {
        let is_v1 = self.is_v1();
        let fields: Vec<UnboundPartitionField> = self
            .fields
            .iter()
            .filter(|field| is_v1 || !field.dropped)
            .map(|field| UnboundPartitionField {
                source_id: field.source_id,
                field_id: Some(field.id),
                name: field.name.clone(),
                transform: match field.dropped {
                    true => Transform::Void,
                    false => field.transform,
                },
            })
            .collect();
        let voids = |source_id: i32| {
            let of = |field: &&UnboundPartitionField| {
                field.source_id == source_id && field.transform == Transform::Void
            };
            fields.iter().filter(of).count()
        };
        if let Some(field) = fields.iter().find(|field| voids(field.source_id) > 1) {
            return Err(Error::unsupported(
                "a second partition field of one column cannot be dropped in format version 1",
            )
            .with("partition field", &field.name)
            .help("upgrade the table to format version 2, where dropped fields leave the spec"));
        }
        let last_id = self.metadata.partition_specs_iter().map(|s| s.spec_id());
        let spec_id = last_id.max().unwrap_or_default().saturating_add(1);
        UnboundPartitionSpec::builder()
            .with_spec_id(spec_id)
            .add_partition_fields(fields)
            .and_then(|builder| builder.build().bind(self.schema.clone()))
            .map_err(|error| {
                Error::invalid("the fields make no partition spec").source_error(error)
            })
    }
}

#[cfg(test)]
mod tests;
