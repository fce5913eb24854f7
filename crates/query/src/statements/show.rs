//! `SHOW` and `DESCRIBE`.

use berglake_format::{Error, NamespaceIdent, Result};
use datafusion::sql::sqlparser::ast::ObjectName;
use iceberg::spec::{FormatVersion, Transform};

use crate::output::QueryOutput;
use crate::session::Session;
use crate::sql::type_name;

use super::{find_namespace, find_table};

pub(super) async fn tables(
    session: &Session,
    namespace: Option<&ObjectName>,
    pattern: Option<&str>,
) -> Result<QueryOutput> {
    let namespace = match namespace {
        Some(name) => find_namespace(session, name).await?,
        None => NamespaceIdent::from_vec(session.settings().namespace)?,
    };
    let tables = session.engine().catalog().list_tables(&namespace).await?;
    let rows: Vec<Vec<String>> = tables
        .iter()
        .filter(|table| matches(pattern, table.name()))
        .map(|table| vec![table.namespace().join("."), table.name().to_string()])
        .collect();
    QueryOutput::texts(&["namespace", "table_name"], &rows)
}

pub(super) async fn namespaces(
    session: &Session,
    parent: Option<&ObjectName>,
    pattern: Option<&str>,
) -> Result<QueryOutput> {
    let parent = match parent {
        Some(name) => Some(find_namespace(session, name).await?),
        None => None,
    };
    let namespaces = session
        .engine()
        .catalog()
        .list_namespaces(parent.as_ref())
        .await?;
    let rows: Vec<Vec<String>> = namespaces
        .iter()
        .map(|namespace| namespace.join("."))
        .filter(|name| matches(pattern, name))
        .map(|name| vec![name])
        .collect();
    QueryOutput::texts(&["namespace"], &rows)
}

/// Patterns as in LIKE, and with `*` as in Spark; case does not matter.
fn matches(pattern: Option<&str>, name: &str) -> bool {
    fn rest(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('%' | '*', after)) => {
                (0..=name.len()).any(|skipped| rest(after, &name[skipped..]))
            }
            Some((letter, after)) => name
                .split_first()
                .is_some_and(|(first, left)| first == letter && rest(after, left)),
        }
    }
    let letters = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    pattern.is_none_or(|pattern| rest(&letters(pattern), &letters(name)))
}

pub(super) async fn describe(
    session: &Session,
    name: &ObjectName,
    extended: bool,
) -> Result<QueryOutput> {
    let table = find_table(session, name).await?;
    let metadata = table.metadata();
    let schema = table.schema();
    let row = |a: &str, b: &str, c: &str| vec![a.to_string(), b.to_string(), c.to_string()];
    let mut rows: Vec<Vec<String>> = schema
        .as_struct()
        .fields()
        .iter()
        .map(|field| {
            let mut ty = type_name(&field.field_type);
            if field.required {
                ty.push_str(" not null");
            }
            row(&field.name, &ty, field.doc.as_deref().unwrap_or_default())
        })
        .collect();
    let spec = metadata.default_partition_spec();
    if !spec.is_unpartitioned() {
        rows.push(row("", "", ""));
        rows.push(row("# Partitioning", "", ""));
        for (place, field) in spec.fields().iter().enumerate() {
            let column = schema
                .name_by_field_id(field.source_id)
                .unwrap_or("a column that was dropped");
            rows.push(row(
                &format!("Part {place}"),
                &transform(field.transform, column),
                "",
            ));
        }
    }
    if extended {
        let version = match metadata.format_version() {
            FormatVersion::V1 => "1",
            FormatVersion::V2 => "2",
            FormatVersion::V3 => "3",
        };
        let snapshot = metadata
            .current_snapshot_id()
            .map_or_else(|| "none".to_string(), |id| id.to_string());
        rows.push(row("", "", ""));
        rows.push(row("# Detailed Table Information", "", ""));
        rows.push(row("Name", &table.ident().to_string(), ""));
        if let Some(comment) = metadata.properties().get("comment") {
            rows.push(row("Comment", comment, ""));
        }
        rows.push(row("Location", metadata.location(), ""));
        rows.push(row("Provider", "iceberg", ""));
        rows.push(row("Format Version", version, ""));
        rows.push(row("Table UUID", &metadata.uuid().to_string(), ""));
        rows.push(row("Current Snapshot", &snapshot, ""));
        let mut properties: Vec<_> = metadata
            .properties()
            .iter()
            .filter(|(key, _)| *key != "comment")
            .collect();
        properties.sort();
        for (key, value) in properties {
            rows.push(row("Property", key, value));
        }
    }
    QueryOutput::texts(&["col_name", "data_type", "comment"], &rows)
}

fn transform(transform: Transform, column: &str) -> String {
    match transform {
        Transform::Identity => column.to_string(),
        Transform::Year => format!("years({column})"),
        Transform::Month => format!("months({column})"),
        Transform::Day => format!("days({column})"),
        Transform::Hour => format!("hours({column})"),
        Transform::Bucket(n) => format!("bucket({n}, {column})"),
        Transform::Truncate(n) => format!("truncate({n}, {column})"),
        other => format!("{other}({column})"),
    }
}

pub(super) async fn describe_namespace(
    session: &Session,
    name: &ObjectName,
) -> Result<QueryOutput> {
    let namespace = find_namespace(session, name).await?;
    let properties = session
        .engine()
        .catalog()
        .load_namespace(&namespace)
        .await
        .map_err(|error: Error| error.with("namespace", namespace.join(".")))?;
    let mut rows = vec![vec!["Namespace".to_string(), namespace.join(".")]];
    let mut properties: Vec<_> = properties.into_iter().collect();
    properties.sort();
    rows.extend(properties.into_iter().map(|(key, value)| vec![key, value]));
    QueryOutput::texts(&["name", "value"], &rows)
}
