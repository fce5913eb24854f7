//! `ALTER TABLE`: from what was written to operations of the table format. All that one statement
//! changes is one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use berglake_format::commit::{Operation, Sequence};
use berglake_format::evolve::{
    EvolvePartitions, PartitionEdit, PartitionSelector, SetProperties, SetSortOrder, SortTerm,
    UpgradeFormat,
};
use berglake_format::snapshot::{self, RefKind, RefRetention};
use berglake_format::{Error, ErrorKind, Result, Table};
use datafusion::sql::sqlparser::ast::ObjectName;
use iceberg::spec::{FormatVersion, MAIN_BRANCH, Schema, Transform};

use super::{columns, commit, find_table, may_write, unless};
use crate::output::QueryOutput;
use crate::session::Session;
use crate::sql::{
    AlterTable, Alteration, CreateRef, DropRef, Existing, FORMAT_VERSION, PartitionBy,
    PartitionTerm, SortBy, TrinoProperties, normal, parts, placed,
};

/// Spark's property for how rows are spread before they are written, which goes with the sort order.
const DISTRIBUTION: &str = "write.distribution-mode";

pub(super) async fn run(session: &Session, alter: AlterTable) -> Result<QueryOutput> {
    let found = find_table(session, &alter.name).await;
    let Some(table) = unless(alter.if_exists, ErrorKind::NotFound, found)? else {
        return Ok(QueryOutput::nothing());
    };
    let force = session.settings().force_write;
    let operations = match alter.change {
        Alteration::CreateRef(create) => {
            // Other branches and tags change no row that the table shows.
            if create.name.value == MAIN_BRANCH {
                may_write(&table, force)?;
            }
            vec![create_ref(&table, create)?]
        }
        Alteration::DropRef(drop) => vec![drop_ref(drop)],
        change => {
            may_write(&table, force)?;
            match change {
                Alteration::RenameTo(to) => return rename(session, &table, &to).await,
                change => operations(session, &table, change).await?,
            }
        }
    };
    commit(session, &table, Sequence::new(operations)).await?;
    Ok(QueryOutput::nothing())
}

type Operations = Vec<Arc<dyn Operation>>;

async fn operations(session: &Session, table: &Table, change: Alteration) -> Result<Operations> {
    let one = |edit: PartitionEdit| -> Operations {
        vec![Arc::new(EvolvePartitions { edits: vec![edit] })]
    };
    Ok(match change {
        Alteration::Columns(edits) => {
            vec![Arc::new(columns::bind(session, table, &edits).await?)]
        }
        Alteration::SetProperties(set) => {
            let set = set.into_iter().map(|(key, value)| (key, Some(value)));
            properties(set.collect())?
        }
        Alteration::UnsetProperties { keys, if_exists } => {
            let known = table.metadata().properties();
            if let Some(missing) = keys.iter().find(|key| !known.contains_key(*key))
                && !if_exists
            {
                return Err(
                    Error::invalid(format!("the table has no property {missing:?}"))
                        .with("table", table.ident())
                        .help("UNSET TBLPROPERTIES IF EXISTS passes over what is not there"),
                );
            }
            properties(keys.into_iter().map(|key| (key, None)).collect())?
        }
        Alteration::Trino(given) => trino(table, given)?,
        Alteration::AddPartitionField(term) => {
            let schema = table.schema();
            one(PartitionEdit::Add {
                source: term.by.path(schema, "partitioned")?,
                transform: term.by.transform,
                name: name_of(&term),
            })
        }
        Alteration::DropPartitionField(by) => one(PartitionEdit::Drop(selector(table, &by)?)),
        Alteration::ReplacePartitionField { old, new } => one(PartitionEdit::Replace {
            old: selector(table, &old)?,
            source: new.by.path(table.schema(), "partitioned")?,
            transform: new.by.transform,
            name: name_of(&new),
        }),
        Alteration::WriteOrder {
            fields,
            distribution,
        } => {
            let mode = (DISTRIBUTION.to_string(), distribution.to_string());
            let properties = SetProperties {
                set: BTreeMap::from([mode]),
                remove: BTreeSet::new(),
            };
            vec![
                Arc::new(sort_order(table.schema(), &fields)?),
                Arc::new(properties),
            ]
        }
        Alteration::RenameTo(_) | Alteration::CreateRef(_) | Alteration::DropRef(_) => {
            return Err(Error::internal("this is no change of the metadata"));
        }
    })
}

async fn rename(session: &Session, table: &Table, to: &ObjectName) -> Result<QueryOutput> {
    let settings = session.settings();
    let mut to = parts(to)?;
    // A bare name stays beside the old one, as in Spark.
    if let [name] = to.as_slice() {
        let name = name.clone();
        let namespace = table.ident().namespace().iter();
        let quoted = |level: &String| {
            datafusion::sql::sqlparser::ast::Ident::with_quote('"', level.as_str())
        };
        to = namespace.map(quoted).chain([name]).collect();
    }
    let to = session.resolver(&settings).new_name(&to).await?;
    let catalog = session.engine().catalog();
    catalog.rename_table(table.ident(), &to).await?;
    Ok(QueryOutput::nothing())
}

/// Properties to set, and those without a value to remove. The format version is among them and none.
fn properties(given: Vec<(String, Option<String>)>) -> Result<Operations> {
    let mut operations: Operations = Vec::new();
    let mut change = SetProperties::default();
    for (key, value) in given {
        match value {
            Some(version) if key == FORMAT_VERSION => {
                let to = format_version(&version)?;
                operations.push(Arc::new(UpgradeFormat { to }));
            }
            Some(value) => {
                change.set.insert(key, value);
            }
            None => {
                change.remove.insert(key);
            }
        }
    }
    if !change.set.is_empty() || !change.remove.is_empty() {
        operations.push(Arc::new(change));
    }
    Ok(operations)
}

fn format_version(text: &str) -> Result<FormatVersion> {
    match text {
        "1" => Ok(FormatVersion::V1),
        "2" => Ok(FormatVersion::V2),
        "3" => Ok(FormatVersion::V3),
        other => Err(Error::invalid("there is no such format version")
            .with("format-version", other)
            .help("use 2 or 3")),
    }
}

/// Trino's `SET PROPERTIES`, where `partitioning` and `sorted_by` say how all of it is to be.
fn trino(table: &Table, given: TrinoProperties) -> Result<Operations> {
    let mut operations = properties(given.properties)?;
    if let Some(wanted) = given.partitioning {
        let edits = repartitioned(table, &wanted)?;
        operations.push(Arc::new(EvolvePartitions { edits }));
    }
    if let Some(fields) = given.sorted_by {
        operations.push(Arc::new(sort_order(table.schema(), &fields)?));
    }
    Ok(operations)
}

/// The edits after which a table is partitioned by just these fields.
fn repartitioned(table: &Table, wanted: &[PartitionBy]) -> Result<Vec<PartitionEdit>> {
    let schema = table.schema();
    let mut terms = Vec::with_capacity(wanted.len());
    for by in wanted {
        terms.push((by.source(schema, "partitioned")?, by.transform));
    }
    let spec = table.metadata().default_partition_spec();
    let live = || {
        spec.fields()
            .iter()
            .filter(|field| field.transform != Transform::Void)
    };
    let mut edits: Vec<PartitionEdit> = live()
        .filter(|field| !terms.contains(&(field.source_id, field.transform)))
        .map(|field| PartitionEdit::Drop(PartitionSelector::Name(field.name.clone())))
        .collect();
    for (by, term) in wanted.iter().zip(&terms) {
        if !live().any(|field| (field.source_id, field.transform) == *term) {
            edits.push(PartitionEdit::Add {
                source: by.path(schema, "partitioned")?,
                transform: by.transform,
                name: None,
            });
        }
    }
    Ok(edits)
}

fn sort_order(schema: &Schema, fields: &[SortBy]) -> Result<SetSortOrder> {
    let fields = fields.iter().map(|field| {
        Ok(SortTerm {
            source: field.by.path(schema, "sorted")?,
            transform: field.by.transform,
            direction: field.direction,
            null_order: field.nulls,
        })
    });
    Ok(SetSortOrder {
        fields: fields.collect::<Result<_>>()?,
    })
}

fn name_of(term: &PartitionTerm) -> Option<String> {
    term.name.as_ref().map(normal)
}

/// Which partition field is meant: a bare name is that of a column whose values are a field, or, if
/// there is no such field, that of a field.
fn selector(table: &Table, by: &PartitionBy) -> Result<PartitionSelector> {
    let schema = table.schema();
    let spec = table.metadata().default_partition_spec();
    if by.transform == Transform::Identity {
        let source = by.source(schema, "partitioned").ok();
        let is_column = source.is_some_and(|source| {
            spec.fields()
                .iter()
                .any(|field| field.source_id == source && field.transform == Transform::Identity)
        });
        let known = || spec.fields().iter().map(|field| field.name.as_str());
        let wanted = by.column();
        let named = known()
            .find(|name| *name == wanted)
            .or_else(|| known().find(|name| name.eq_ignore_ascii_case(&wanted)));
        match named {
            Some(name) if !is_column => return Ok(PartitionSelector::Name(name.to_string())),
            None if source.is_none() => {
                let known: Vec<&str> = known().collect();
                let error = Error::invalid(format!("the table has no partition field {wanted:?}"))
                    .with("table", table.ident());
                let error = placed(error, by.start);
                let advice = crate::error::advice(&wanted, &known, "partition fields are");
                return Err(match advice {
                    Some(advice) if !known.is_empty() => error.help(advice),
                    _ => error,
                });
            }
            _ => {}
        }
    }
    Ok(PartitionSelector::Term {
        source: by.path(schema, "partitioned")?,
        transform: by.transform,
    })
}

fn create_ref(table: &Table, create: CreateRef) -> Result<Arc<dyn Operation>> {
    let name = create.name.value;
    let kind = kind(create.is_branch);
    let existing = match create.existing {
        Existing::Fail => snapshot::Existing::Fail,
        Existing::Keep => snapshot::Existing::Keep,
        Existing::Replace => snapshot::Existing::Replace,
        Existing::Demand => {
            if !table.refs()?.contains_key(&name) {
                let what = if create.is_branch { "branch" } else { "tag" };
                let error = Error::not_found(format!("the table has no {what} {name:?}"))
                    .with("table", table.ident())
                    .help("CREATE OR REPLACE makes it where there is none");
                return Err(placed(error, create.name.span.start));
            }
            snapshot::Existing::Replace
        }
    };
    Ok(Arc::new(snapshot::CreateRef {
        name,
        kind,
        snapshot_id: create.snapshot_id,
        retention: RefRetention {
            max_ref_age_ms: create.max_ref_age_ms,
            min_snapshots_to_keep: create.min_snapshots_to_keep,
            max_snapshot_age_ms: create.max_snapshot_age_ms,
        },
        existing,
    }))
}

fn drop_ref(drop: DropRef) -> Arc<dyn Operation> {
    Arc::new(snapshot::DropRef {
        name: drop.name.value,
        kind: kind(drop.is_branch),
        if_exists: drop.if_exists,
    })
}

fn kind(is_branch: bool) -> RefKind {
    match is_branch {
        true => RefKind::Branch,
        false => RefKind::Tag,
    }
}
