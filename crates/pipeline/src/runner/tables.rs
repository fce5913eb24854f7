//! The tables that a pipeline keeps: created as defined, verified where they exist.

use std::collections::HashMap;

use arrow::datatypes::Schema;
use berglake_catalog::{Catalog, NewTable};
use berglake_format::partition::field_name;
use berglake_format::properties::WriteProperties;
use berglake_format::storage::Location;
use berglake_format::{Error, ErrorKind, NamespaceIdent, Result, Table, TableIdent, schema};
use iceberg::spec::{FormatVersion, Transform as IcebergTransform, UnboundPartitionSpec};

use super::owner::{self, PIPELINE_PROPERTY};
use super::types::declared_schema;
use super::{limits, refresh};
use crate::config::Config;
use crate::language::{PartitionField, TableDefinition, TableKind, TableName, Transform};

/// The catalog's name of a table of the language.
pub(crate) fn ident(name: &TableName) -> Result<TableIdent> {
    Ok(TableIdent::from_strs(name.parts())?)
}

/// The name in a property such as `berglake.dead-letter`, which must be qualified.
pub(super) fn parse_ident(text: &str) -> Result<TableIdent> {
    let parts: Vec<&str> = text.split('.').map(str::trim).collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(
            Error::invalid(format!("{text:?} is no qualified table name"))
                .help("write namespace.table"),
        );
    }
    Ok(TableIdent::from_strs(parts)?)
}

/// The target of a flow as it stands now.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) if it was dropped.
pub(super) async fn load(run: &super::FlowRun<'_>) -> Result<Table> {
    run.runner.catalog.load(&ident(&run.flow.target)?).await
}

/// What a table should be.
pub(super) struct Wanted<'a> {
    pub(super) ident: TableIdent,
    pub(super) definition: Option<&'a TableDefinition>,
    pub(super) columns: &'a Schema,
    /// Properties that keep what was inferred, set when the table is created.
    pub(super) pins: HashMap<String, String>,
}

/// The columns that a definition declares, if it does.
pub(super) fn declared_columns(
    definition: &TableDefinition,
) -> Option<arrow::datatypes::SchemaRef> {
    if definition.columns.is_empty() {
        return None;
    }
    let columns: Vec<_> = definition
        .columns
        .iter()
        .map(|column| column.node.clone())
        .collect();
    Some(declared_schema(&columns))
}

/// The table if it exists and is this pipeline's to write, or none.
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) if it exists with other columns or another
/// partitioning, belongs to another pipeline, or holds rows of others that a view would replace.
pub(super) async fn existing(
    catalog: &dyn Catalog,
    pipeline: &str,
    wanted: &Wanted<'_>,
) -> Result<Option<Table>> {
    let table = match catalog.load(&wanted.ident).await {
        Ok(table) => table,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    owner::may_write(&table, pipeline)?;
    let differences = differences(&table, wanted)?;
    if !differences.is_empty() {
        return Err(Error::invalid("the table exists with another definition")
            .with("table", &wanted.ident)
            .with("differences", differences.join("; "))
            .help("change the pipeline to match, write to another table, or drop this one and run again"));
    }
    if let Some(definition) = wanted.definition
        && definition.kind == TableKind::MaterializedView
    {
        refresh::may_replace(&table, pipeline, &definition.name.node.to_string())?;
    }
    Ok(Some(table))
}

fn differences(table: &Table, wanted: &Wanted<'_>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let actual = schema::to_arrow(table.schema())?;
    // Through Iceberg and back, so that both sides speak of the same types.
    let expected = schema::to_arrow(&schema::from_arrow(wanted.columns)?)?;
    for field in expected.fields() {
        match actual.column_with_name(field.name()) {
            None => found.push(format!("it has no column {:?}", field.name())),
            Some((_, column)) if !same_type(column.data_type(), field.data_type()) => {
                found.push(format!(
                    "column {:?} is {}, not {}",
                    field.name(),
                    column.data_type(),
                    field.data_type()
                ));
            }
            Some(_) => {}
        }
    }
    for column in actual.fields() {
        if !column.is_nullable() && expected.column_with_name(column.name()).is_none() {
            found.push(format!(
                "its required column {:?} is not written",
                column.name()
            ));
        }
    }
    if let Some(definition) = wanted.definition {
        let spec = table.metadata().default_partition_spec();
        let actual: Vec<String> = spec
            .fields()
            .iter()
            .map(|field| {
                let column = table
                    .schema()
                    .name_by_field_id(field.source_id)
                    .unwrap_or("?");
                format!("{}({column})", field.transform)
            })
            .collect();
        let expected: Vec<String> = definition
            .partitioning
            .iter()
            .map(|field| format!("{}({})", field.node.transform, field.node.column))
            .collect();
        if actual != expected {
            found.push(format!(
                "it is partitioned by [{}], not [{}]",
                actual.join(", "),
                expected.join(", ")
            ));
        }
    }
    Ok(found)
}

/// Equality of types without field ids and names of list and map children.
fn same_type(a: &arrow::datatypes::DataType, b: &arrow::datatypes::DataType) -> bool {
    use arrow::datatypes::DataType as D;
    match (a, b) {
        (D::Struct(a), D::Struct(b)) => {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|(a, b)| a.name() == b.name() && same_type(a.data_type(), b.data_type()))
        }
        (D::List(a), D::List(b)) | (D::LargeList(a), D::LargeList(b)) => {
            same_type(a.data_type(), b.data_type())
        }
        (D::Map(a, _), D::Map(b, _)) => match (a.data_type(), b.data_type()) {
            (D::Struct(a), D::Struct(b)) => a
                .iter()
                .zip(b)
                .all(|(a, b)| same_type(a.data_type(), b.data_type())),
            _ => false,
        },
        _ => a == b,
    }
}

/// The table, created now if it does not exist.
///
/// # Errors
/// As [`existing`], and those of creating it: a transform that does not fit its column, a location
/// outside the warehouse, properties that make no sense.
pub(super) async fn ensure(
    catalog: &dyn Catalog,
    config: &Config,
    wanted: &Wanted<'_>,
) -> Result<Table> {
    if let Some(table) = existing(catalog, &config.name, wanted).await? {
        return Ok(table);
    }
    let table = new_table(config, wanted)?;
    create_namespaces(catalog, wanted.ident.namespace()).await?;
    match catalog.create_table(table).await {
        Ok(table) => Ok(table),
        // Somebody else was faster; what they made must be what we wanted.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            existing(catalog, &config.name, wanted).await?.ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// The table if it exists; one that does not is checked as far as it can be without creating it.
///
/// # Errors
/// As [`ensure`], without those of the catalog.
pub(super) async fn check(
    catalog: &dyn Catalog,
    config: &Config,
    wanted: &Wanted<'_>,
) -> Result<Option<Table>> {
    let table = existing(catalog, &config.name, wanted).await?;
    if table.is_none() {
        let new = new_table(config, wanted)?;
        if let Some(spec) = new.partition_spec {
            spec.bind(new.schema)
                .map_err(|error| Error::invalid(error.message()).with("table", &wanted.ident))?;
        }
        WriteProperties::parse(&new.properties)
            .map_err(|error| error.with("table", &wanted.ident))?;
    }
    Ok(table)
}

/// What is to be created.
fn new_table(config: &Config, wanted: &Wanted<'_>) -> Result<NewTable> {
    let columns =
        schema::from_arrow(wanted.columns).map_err(|error| error.with("table", &wanted.ident))?;
    let mut properties = config.table_defaults().of(wanted.ident.namespace());
    let mut table = NewTable::new(wanted.ident.clone(), columns);
    if let Some(definition) = wanted.definition {
        let said = definition
            .properties
            .iter()
            .map(|(key, value)| (key.clone(), value.node.clone()));
        properties.extend(said);
        if let Some(comment) = &definition.comment {
            properties.insert("comment".into(), comment.clone());
        }
        if let Some(location) = &definition.location {
            table.location = Some(Location::parse(&location.node)?);
        }
        table.partition_spec = partition_spec(wanted, &definition.partitioning, &table.schema)?;
    }
    if let Some(version) = properties.remove("format-version") {
        table.format_version = match version.as_str() {
            "2" => FormatVersion::V2,
            "3" => FormatVersion::V3,
            other => {
                return Err(
                    Error::invalid(format!("format-version cannot be {other:?}"))
                        .with("table", &wanted.ident)
                        .help("use 2 or 3"),
                );
            }
        };
    }
    properties.insert(PIPELINE_PROPERTY.into(), config.name.clone());
    properties.extend(wanted.pins.clone());
    limits::check(&properties).map_err(|error| error.with("table", &wanted.ident))?;
    table.properties = properties;
    Ok(table)
}

async fn create_namespaces(catalog: &dyn Catalog, namespace: &NamespaceIdent) -> Result<()> {
    for depth in 1..=namespace.len() {
        let part = NamespaceIdent::from_strs(&namespace[..depth])?;
        match catalog.load_namespace(&part).await {
            Ok(_) => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match catalog.create_namespace(&part, HashMap::new()).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn partition_spec(
    wanted: &Wanted<'_>,
    fields: &[crate::language::Spanned<PartitionField>],
    columns: &iceberg::spec::Schema,
) -> Result<Option<UnboundPartitionSpec>> {
    if fields.is_empty() {
        return Ok(None);
    }
    let mut builder = UnboundPartitionSpec::builder();
    for field in fields {
        let PartitionField { column, transform } = &field.node;
        let source = columns.field_by_name(column).ok_or_else(|| {
            let known: Vec<_> = wanted
                .columns
                .fields()
                .iter()
                .map(|f| f.name().as_str())
                .collect();
            Error::invalid(format!(
                "PARTITIONED BY names the column {column:?}, which the table does not have"
            ))
            .with("table", &wanted.ident)
            .help(format!("it has {}", known.join(", ")))
        })?;
        let transform = match transform {
            Transform::Identity => IcebergTransform::Identity,
            Transform::Year => IcebergTransform::Year,
            Transform::Month => IcebergTransform::Month,
            Transform::Day => IcebergTransform::Day,
            Transform::Hour => IcebergTransform::Hour,
            Transform::Bucket(n) => IcebergTransform::Bucket(*n),
            Transform::Truncate(width) => IcebergTransform::Truncate(*width),
        };
        transform.result_type(&source.field_type).map_err(|_| {
            Error::invalid(format!(
                "the transform {transform} does not fit column {column:?}, which is {}",
                source.field_type
            ))
            .with("table", &wanted.ident)
        })?;
        builder = builder
            .add_partition_field(source.id, field_name(column, transform), transform)
            .map_err(|error| Error::from(error).with("table", &wanted.ident))?;
    }
    Ok(Some(builder.build()))
}
