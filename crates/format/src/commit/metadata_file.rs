//! Table metadata files: their names, reading and writing them.

use std::io::Read as _;

use bytes::Bytes;
use iceberg::spec::TableMetadata;
use serde::Deserialize;

use crate::storage::{Location, Storage};
use crate::{Environment, Error, Result};

/// Reads a metadata file, gzipped or not, of any name.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) if it does not exist,
/// [`Corrupt`](crate::ErrorKind::Corrupt) if it is no valid table metadata,
/// [`Unsupported`](crate::ErrorKind::Unsupported) if it uses a type that this version cannot read;
/// each names the path.
pub async fn read(storage: &Storage, location: &str) -> Result<TableMetadata> {
    let at = Location::parse(location)?;
    let bytes = storage.read(&at).await?;
    parse(&bytes).map_err(|error| error.with("path", location))
}

/// Reads metadata that came as JSON inside of something else, such as a catalog's answer.
///
/// # Errors
/// As [`read`], without a path.
pub fn from_value(json: serde_json::Value) -> Result<TableMetadata> {
    // The types parse from either; the text is only made where it is wanted to explain an error.
    TableMetadata::deserialize(&json).map_err(|error| {
        let explained = explain_value(&json);
        explained.unwrap_or_else(|| {
            Error::corrupt("the table metadata is not valid").source_error(error)
        })
    })
}

fn parse(bytes: &[u8]) -> Result<TableMetadata> {
    let unzipped;
    let json = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut buffer = Vec::new();
        flate2::read::GzDecoder::new(bytes)
            .read_to_end(&mut buffer)
            .map_err(|error| {
                Error::corrupt("the metadata file is no valid gzip").source_error(error)
            })?;
        unzipped = buffer;
        unzipped.as_slice()
    } else {
        bytes
    };
    serde_json::from_slice(json).map_err(|error| explain(json, error))
}

/// Says why metadata did not parse: most often a column of a type that only newer versions know.
fn explain(json: &[u8], error: serde_json::Error) -> Error {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(json) else {
        return Error::corrupt("the metadata file is no valid JSON").source_error(error);
    };
    explain_value(&value).unwrap_or_else(|| {
        Error::corrupt("the file is no valid table metadata").source_error(error)
    })
}

/// The error for a column of a type that only newer versions know, if there is one.
fn explain_value(value: &serde_json::Value) -> Option<Error> {
    let schemas = value["schemas"].as_array().into_iter().flatten();
    schemas.chain(value.get("schema")).find_map(newer_column)
}

/// The error for a column of a schema, as JSON, whose type only newer versions know, if there is one.
/// Such a schema cannot be parsed, and where it cannot does not say which column it was.
pub fn newer_column(schema: &serde_json::Value) -> Option<Error> {
    let (column, ty) = unsupported_column(&schema["fields"], "")?;
    Some(Error::unsupported(format!(
        "column {column:?} has the type {ty:?}, which this version cannot read"
    )))
}

fn unsupported_column(fields: &serde_json::Value, prefix: &str) -> Option<(String, String)> {
    for field in fields.as_array()? {
        let name = format!("{prefix}{}", field["name"].as_str().unwrap_or("?"));
        if let Some(found) = unsupported_type(&field["type"], &name) {
            return Some(found);
        }
    }
    None
}

fn unsupported_type(ty: &serde_json::Value, name: &str) -> Option<(String, String)> {
    match ty {
        serde_json::Value::String(text) => {
            let newer = ["variant", "unknown", "geometry", "geography"];
            newer
                .iter()
                .any(|n| text.starts_with(n))
                .then(|| (name.to_string(), text.clone()))
        }
        serde_json::Value::Object(object) => match object.get("type").and_then(|t| t.as_str()) {
            Some("struct") => unsupported_column(object.get("fields")?, &format!("{name}.")),
            Some("list") => unsupported_type(object.get("element")?, &format!("{name}.element")),
            Some("map") => unsupported_type(object.get("key")?, &format!("{name}.key"))
                .or_else(|| unsupported_type(object.get("value")?, &format!("{name}.value"))),
            _ => None,
        },
        _ => None,
    }
}

/// Writes metadata under a new name in the table's metadata folder and gives its location.
///
/// The name is `<version>-<uuid>.metadata.json`, the version one more than that of the current
/// file, whatever folder and style the current name has (`v3.metadata.json` included).
///
/// # Errors
/// As [`Storage::create`].
pub async fn write(
    storage: &Storage,
    environment: &Environment,
    metadata: &TableMetadata,
    current_location: Option<&str>,
) -> Result<String> {
    let codec = metadata
        .properties()
        .get("write.metadata.compression-codec")
        .map(String::as_str);
    let gzip = match codec {
        None | Some("none") => false,
        Some("gzip") => true,
        Some(other) => {
            return Err(Error::invalid(format!("unknown metadata codec {other:?}"))
                .with("property", "write.metadata.compression-codec")
                .help("use none or gzip"));
        }
    };
    let folder = match metadata.properties().get("write.metadata.path") {
        Some(path) => Location::parse(path)?,
        None => Location::parse(metadata.location())?.join("metadata"),
    };
    let version = current_location.map_or(0, |current| version_of(current).map_or(1, |v| v + 1));
    let suffix = if gzip {
        ".gz.metadata.json"
    } else {
        ".metadata.json"
    };
    let at = folder.join(&format!(
        "{version:05}-{}{suffix}",
        environment.ids().uuid()
    ));
    let mut bytes = serde_json::to_vec(metadata).map_err(|error| {
        Error::internal("table metadata cannot be written as JSON").source_error(error)
    })?;
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, &bytes)?;
        bytes = encoder.finish()?;
    }
    storage.create(&at, Bytes::from(bytes)).await?;
    Ok(at.to_string())
}

/// The version in a metadata file's name: `00012-….metadata.json` or `v12.metadata.json`.
pub fn version_of(location: &str) -> Option<u32> {
    let name = location.rsplit('/').next()?;
    let digits = name.strip_prefix('v').unwrap_or(name);
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_styles_of_names_are_read() {
        for (name, version) in [
            (
                "file:///w/t/metadata/00012-6f1d2c1e-0000-4000-8000-000000000000.metadata.json",
                Some(12),
            ),
            ("/w/t/metadata/v7.metadata.json", Some(7)),
            ("/w/t/metadata/v7.gz.metadata.json", Some(7)),
            ("/elsewhere/foo.metadata.json", None),
        ] {
            assert_eq!(version_of(name), version, "{name}");
        }
    }

    #[test]
    fn a_column_of_an_unknown_type_is_named() {
        let json = br#"{"format-version":3,"schemas":[{"type":"struct","fields":[
            {"id":1,"name":"a","required":false,"type":"int"},
            {"id":2,"name":"s","required":false,"type":{"type":"struct","fields":[
                {"id":3,"name":"v","required":false,"type":"variant"}]}}]}]}"#;
        let error = parse(json).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Unsupported);
        assert!(
            error.message().contains("\"s.v\"") && error.message().contains("variant"),
            "{error}"
        );
    }

    #[test]
    fn each_type_of_newer_versions_is_named_wherever_it_stands() {
        use iceberg::spec::{FormatVersion, NestedField, PrimitiveType, Type};
        use serde_json::{Value, json};

        let column = NestedField::optional(1, "c", Type::Primitive(PrimitiveType::Long));
        let fixture = crate::fixture::Fixture::new(FormatVersion::V3, vec![column.into()]);
        // All else is as it should be.
        let with = |ty: Value| {
            let mut json = serde_json::to_value(&fixture.metadata).unwrap();
            json["schemas"][0]["fields"][0]["type"] = ty;
            json
        };
        assert!(from_value(with(json!("long"))).is_ok());
        for ty in [
            "variant",
            "unknown",
            "geometry",
            "geometry(srid:3857)",
            "geography(srid:4326, spherical)",
        ] {
            let field = json!({"id": 4, "name": "x", "required": false, "type": ty});
            let list = json!({
                "type": "list", "element-id": 2, "element": ty, "element-required": false
            });
            let map = json!({
                "type": "map", "key-id": 2, "key": "string", "value-id": 3,
                "value": {"type": "struct", "fields": [field]}, "value-required": false
            });
            for (place, name) in [(json!(ty), "c"), (list, "c.element"), (map, "c.value.x")] {
                let json = with(place);
                let bytes = serde_json::to_vec(&json).unwrap();
                for error in [from_value(json).unwrap_err(), parse(&bytes).unwrap_err()] {
                    assert_eq!(error.kind(), crate::ErrorKind::Unsupported, "{error}");
                    let message = error.message();
                    assert!(message.contains(&format!("{name:?}")), "{message}");
                    assert!(message.contains(&format!("{ty:?}")), "{message}");
                }
            }
        }
    }

    #[test]
    fn broken_metadata_is_corrupt() {
        for broken in [&b"{"[..], b"", b"[]", b"{}", &[0x1f, 0x8b, 0, 1]] {
            assert_eq!(parse(broken).unwrap_err().kind(), crate::ErrorKind::Corrupt);
        }
    }
}
