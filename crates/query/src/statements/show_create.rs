//! `SHOW CREATE TABLE`: the statement that makes a table like this one elsewhere.

use std::fmt::Write;

use arrow::array::Array;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use berglake_format::schema::to_arrow_type;
use berglake_format::{Error, Result, Table};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;
use iceberg::spec::{
    Literal, NestedField, NullOrder, PrimitiveType, Schema, SortDirection, Transform, Type,
};

use super::{OWNER, find_table};
use crate::output::QueryOutput;
use crate::session::Session;
use crate::sql::{FORMAT_VERSION, type_name};
use crate::table::scalar;

/// Properties that are about this one table and its rows, and would be untrue of another.
const OWN: [&str; 3] = [OWNER, "berglake.progress", "berglake.flow"];

pub(super) async fn run(session: &Session, name: &ObjectName) -> Result<QueryOutput> {
    let table = find_table(session, name).await?;
    QueryOutput::texts(&["createtab_stmt"], &[vec![statement(&table)?]])
}

fn statement(table: &Table) -> Result<String> {
    let metadata = table.metadata();
    let schema = table.schema();
    let mut text = String::from("CREATE TABLE ");
    let ident = table.ident();
    let levels = ident.namespace().iter().map(|level| quoted(level));
    let name: Vec<String> = levels.chain([quoted(ident.name())]).collect();
    text.push_str(&name.join("."));
    let mut columns = Vec::new();
    for field in schema.as_struct().fields() {
        columns.push(format!("  {}", column(field)?));
    }
    let _ = write!(text, " (\n{}\n)\nUSING iceberg", columns.join(",\n"));
    let spec = metadata.default_partition_spec();
    let mut fields = Vec::new();
    for field in spec.fields() {
        if field.transform != Transform::Void {
            fields.push(term(schema, field.source_id, field.transform)?);
        }
    }
    if !fields.is_empty() {
        let _ = write!(text, "\nPARTITIONED BY ({})", fields.join(", "));
    }
    let order = metadata.default_sort_order();
    let mut fields = Vec::new();
    for field in &order.fields {
        let direction = match field.direction {
            SortDirection::Ascending => "ASC",
            SortDirection::Descending => "DESC",
        };
        let nulls = match field.null_order {
            NullOrder::First => "NULLS FIRST",
            NullOrder::Last => "NULLS LAST",
        };
        let by = term(schema, field.source_id, field.transform)?;
        fields.push(string(&format!("{by} {direction} {nulls}")));
    }
    if !fields.is_empty() {
        let _ = write!(text, "\nWITH (sorted_by = ARRAY[{}])", fields.join(", "));
    }
    let properties = metadata.properties();
    if let Some(comment) = properties.get("comment") {
        let _ = write!(text, "\nCOMMENT {}", string(comment));
    }
    let mut shown: Vec<(&str, String)> = properties
        .iter()
        .filter(|(key, _)| *key != "comment" && !is_own(key))
        .map(|(key, value)| (key.as_str(), value.clone()))
        .collect();
    shown.push((
        FORMAT_VERSION,
        super::show::format_version(table).to_string(),
    ));
    shown.sort();
    let shown: Vec<String> = shown
        .iter()
        .map(|(key, value)| format!("  {} = {}", string(key), string(value)))
        .collect();
    let _ = write!(text, "\nTBLPROPERTIES (\n{}\n)", shown.join(",\n"));
    // Elsewhere the table gets a place of its own.
    let location = metadata.location().replace(['\n', '\r'], " ");
    let _ = write!(text, "\n-- LOCATION {}", string(&location));
    Ok(text)
}

fn is_own(key: &str) -> bool {
    OWN.iter().any(|own| {
        key.strip_prefix(own)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn column(field: &NestedField) -> Result<String> {
    let mut text = format!("{} {}", quoted(&field.name), ty(&field.field_type));
    if field.required {
        text.push_str(" NOT NULL");
    }
    if let Some(default) = &field.write_default {
        let _ = write!(text, " DEFAULT {}", constant(default, field)?);
    }
    if let Some(doc) = &field.doc {
        let _ = write!(text, " COMMENT {}", string(doc));
    }
    Ok(text)
}

/// A type with all that can be said of it: what may not be NULL, and comments.
fn ty(of: &Type) -> String {
    match of {
        // This one means the same whatever else the statement says.
        Type::Primitive(PrimitiveType::Timestamptz) => "timestamp_ltz".to_string(),
        Type::Primitive(_) => type_name(of),
        Type::List(list) => format!("array<{}>", ty(&list.element_field.field_type)),
        Type::Map(map) => format!(
            "map<{}, {}>",
            ty(&map.key_field.field_type),
            ty(&map.value_field.field_type)
        ),
        Type::Struct(fields) => {
            let fields: Vec<String> = fields
                .fields()
                .iter()
                .map(|field| {
                    let mut text = format!("{}: {}", quoted(&field.name), ty(&field.field_type));
                    if field.required {
                        text.push_str(" NOT NULL");
                    }
                    if let Some(doc) = &field.doc {
                        let _ = write!(text, " COMMENT {}", string(doc));
                    }
                    text
                })
                .collect();
            format!("struct<{}>", fields.join(", "))
        }
    }
}

/// A partition field or a sort field: its column, or the transform of it.
pub(super) fn term(schema: &Schema, source_id: i32, transform: Transform) -> Result<String> {
    let path = path(schema.as_struct().fields(), source_id).ok_or_else(|| {
        Error::unsupported("a partition field or the sort order is over a column that is gone, or in a list or map")
            .with("field", source_id)
    })?;
    let column: Vec<String> = path.iter().map(|part| careful(part)).collect();
    Ok(super::show::transform(transform, &column.join(".")))
}

fn path(fields: &[iceberg::spec::NestedFieldRef], id: i32) -> Option<Vec<String>> {
    fields.iter().find_map(|field| {
        if field.id == id {
            return Some(vec![field.name.clone()]);
        }
        let Type::Struct(inner) = field.field_type.as_ref() else {
            return None;
        };
        let rest = path(inner.fields(), id)?;
        Some([vec![field.name.clone()], rest].concat())
    })
}

/// A name, in backticks unless it is one without them.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = |c: char| c.is_ascii_lowercase() || c == '_';
    if name.starts_with(starts) && name.chars().all(is_plain) {
        name.to_string()
    } else {
        format!("`{}`", name.replace('`', "``"))
    }
}

/// A name where words of SQL would be read as such.
fn careful(name: &str) -> String {
    match Token::make_keyword(name) {
        Token::Word(word) if word.keyword != Keyword::NoKeyword => format!("`{name}`"),
        _ => quoted(name),
    }
}

fn string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A default as a constant.
fn constant(default: &Literal, field: &NestedField) -> Result<String> {
    let wrong =
        || Error::corrupt("the default of a column is not of its type").with("name", &field.name);
    let Type::Primitive(primitive) = field.field_type.as_ref() else {
        return Err(wrong());
    };
    let arrow = to_arrow_type(&field.field_type, &field.name)?;
    let value = default
        .as_primitive_literal()
        .and_then(|value| scalar(&value, primitive, &arrow))
        .ok_or_else(wrong)?;
    use PrimitiveType as P;
    use ScalarValue as S;
    if let (S::FixedSizeBinary(_, Some(bytes)) | S::Binary(Some(bytes)), P::Fixed(_) | P::Binary) =
        (&value, primitive)
    {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        return Ok(format!("X'{hex}'"));
    }
    if let (S::FixedSizeBinary(_, Some(bytes)), P::Uuid) = (&value, primitive) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok(string(&hex));
    }
    let array = value.to_array().map_err(|_| wrong())?;
    let array: &dyn Array = array.as_ref();
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(array, &options)
        .map_err(|_| wrong())?
        .value(0)
        .to_string();
    Ok(match primitive {
        P::Boolean | P::Int | P::Long | P::Decimal { .. } => text,
        P::Float | P::Double if text.contains(['e', 'E']) => text,
        P::Float | P::Double if text.chars().all(|c| c.is_ascii_digit() || ".-".contains(c)) => {
            format!("{text}e0")
        }
        P::Float | P::Double => format!("CAST({} AS DOUBLE)", string(&text)),
        P::Date => format!("DATE {}", string(&text)),
        P::Time => format!("TIME {}", string(&text)),
        _ => string(&text),
    })
}
