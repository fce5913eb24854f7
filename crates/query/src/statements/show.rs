//! `SHOW` and `DESCRIBE`.

use std::collections::BTreeMap;

use arrow::array::StringArray;
use arrow::compute::ilike;
use berglake_format::{Error, NamespaceIdent, Result, Table};
use datafusion::sql::sqlparser::ast::ObjectName;
use iceberg::spec::{FormatVersion, MAIN_BRANCH, NullOrder, SortDirection, Transform};

use crate::error::advice;
use crate::output::QueryOutput;
use crate::session::Session;
use crate::sql::{FORMAT_VERSION, type_name};

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
    let names = tables.iter().map(|table| table.name().to_string());
    let namespace = namespace.join(".");
    let rows: Vec<Vec<String>> = matching(pattern, names.collect())?
        .into_iter()
        .map(|name| vec![namespace.clone(), name])
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
    let names = namespaces.iter().map(|namespace| namespace.join("."));
    let rows: Vec<Vec<String>> = matching(pattern, names.collect())?
        .into_iter()
        .map(|name| vec![name])
        .collect();
    QueryOutput::texts(&["namespace"], &rows)
}

/// The names that a pattern is of: as in LIKE, and with `*` as in Spark; case does not matter.
fn matching(pattern: Option<&str>, names: Vec<String>) -> Result<Vec<String>> {
    let Some(pattern) = pattern else {
        return Ok(names);
    };
    let pattern = StringArray::new_scalar(pattern.replace('*', "%"));
    let given = StringArray::from_iter_values(&names);
    let matches = ilike(&given, &pattern).map_err(|error| {
        Error::invalid("the pattern of LIKE cannot be used").source_error(error)
    })?;
    let matching = names.into_iter().zip(matches.iter());
    Ok(matching
        .filter_map(|(name, matches)| (matches == Some(true)).then_some(name))
        .collect())
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
    let order = metadata.default_sort_order();
    if !order.is_unsorted() {
        rows.push(row("", "", ""));
        rows.push(row("# Sort Order", "", ""));
        for (place, field) in order.fields.iter().enumerate() {
            let column = schema
                .name_by_field_id(field.source_id)
                .unwrap_or("a column that was dropped");
            let direction = match field.direction {
                SortDirection::Ascending => "ASC",
                SortDirection::Descending => "DESC",
            };
            let nulls = match field.null_order {
                NullOrder::First => "NULLS FIRST",
                NullOrder::Last => "NULLS LAST",
            };
            let by = transform(field.transform, column);
            rows.push(row(
                &format!("Sort {place}"),
                &format!("{by} {direction} {nulls}"),
                "",
            ));
        }
    }
    if extended {
        let version = format_version(&table);
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
        for (name, reference) in table.refs()? {
            if name != MAIN_BRANCH {
                let kind = if reference.is_branch() {
                    "Branch"
                } else {
                    "Tag"
                };
                rows.push(row(kind, &name, &reference.snapshot_id.to_string()));
            }
        }
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

/// The format version as it stands in properties.
pub(super) fn format_version(table: &Table) -> &'static str {
    match table.metadata().format_version() {
        FormatVersion::V1 => "1",
        FormatVersion::V2 => "2",
        FormatVersion::V3 => "3",
    }
}

/// The properties of a table, and what Spark shows among them.
pub(super) async fn properties(
    session: &Session,
    name: &ObjectName,
    key: Option<&str>,
) -> Result<QueryOutput> {
    let table = find_table(session, name).await?;
    let metadata = table.metadata();
    let mut all: BTreeMap<&str, String> = metadata
        .properties()
        .iter()
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    let snapshot = metadata
        .current_snapshot_id()
        .map_or_else(|| "none".to_string(), |id| id.to_string());
    all.insert("current-snapshot-id", snapshot);
    all.insert("format", "iceberg/parquet".to_string());
    all.insert(FORMAT_VERSION, format_version(&table).to_string());
    let rows: Vec<Vec<String>> = match key {
        None => all
            .into_iter()
            .map(|(key, value)| vec![key.to_string(), value])
            .collect(),
        Some(key) => match all.remove(key) {
            Some(value) => vec![vec![key.to_string(), value]],
            None => {
                let known: Vec<&str> = all.keys().copied().collect();
                let error = Error::not_found(format!("the table has no property {key:?}"))
                    .with("table", table.ident());
                return Err(match advice(key, &known, "properties are") {
                    Some(advice) => error.help(advice),
                    None => error,
                });
            }
        },
    };
    QueryOutput::texts(&["key", "value"], &rows)
}

pub(super) fn transform(transform: Transform, column: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_like_and_end_in_time() {
        let names = ["orders", "Orders_2026", "order", "a%b", "ordersX2026"];
        let names = || names.map(str::to_string).to_vec();
        let shown = |pattern: &str| matching(Some(pattern), names()).unwrap();
        assert_eq!(matching(None, names()).unwrap(), names());
        assert_eq!(shown("ORDER%").len(), 4);
        assert_eq!(shown("order*s"), ["orders"]);
        assert_eq!(shown("order_"), ["orders"]);
        assert_eq!(shown("orders_2026"), ["Orders_2026", "ordersX2026"]);
        assert_eq!(shown("orders\\_2026"), ["Orders_2026"]);
        assert_eq!(shown("a\\%b"), ["a%b"]);
        assert!(shown("orde").is_empty());

        // Trying each way to divide the name among the signs would take hours.
        let long = vec!["a".repeat(200)];
        assert!(
            matching(Some(&("%".repeat(60) + "q")), long.clone())
                .unwrap()
                .is_empty()
        );
        assert!(
            matching(Some(&("%a".repeat(60) + "q")), long)
                .unwrap()
                .is_empty()
        );
    }
}
