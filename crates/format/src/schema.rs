//! Schemas: between Iceberg's and Arrow's.
//!
//! The `iceberg` crate has conversions of its own. Ours differ where they would hurt: `binary` is
//! Arrow's `Binary` (a `LargeBinary` cannot be truncated by a partition transform and is not what
//! engines hand us), a UUID stays a UUID on the way through Parquet, and each error names its column.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef, TimeUnit,
};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::{Error, Result};

/// The time zone of all timestamps with zone.
const UTC: &str = "+00:00";
/// The name of the struct between a map and its keys and values. Readers ignore it.
const MAP_ENTRIES: &str = "key_value";
const EXTENSION_NAME: &str = "ARROW:extension:name";
const UUID_EXTENSION: &str = "arrow.uuid";

/// The Arrow schema of an Iceberg schema. Each field, nested ones too, carries its id in the
/// metadata key `PARQUET:field_id`; timestamps are in µs (or ns), those with zone in `+00:00`.
/// `string` is `Utf8`, `binary` is `Binary`, `fixed` and `uuid` are `FixedSizeBinary`; a UUID is
/// marked with Arrow's extension type, so that Parquet files say what it is.
///
/// # Errors
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a type without Arrow form, with the column.
pub fn to_arrow(schema: &Schema) -> Result<ArrowSchemaRef> {
    let fields = arrow_fields(schema.as_struct(), "")?;
    Ok(Arc::new(ArrowSchema::new(fields)))
}

/// Whether a field of Arrow's holds UUIDs, which only its extension type tells from other 16 bytes.
pub fn is_uuid(field: &Field) -> bool {
    field.metadata().get(EXTENSION_NAME).map(String::as_str) == Some(UUID_EXTENSION)
}

/// The Arrow type of an Iceberg type, nested fields with their ids.
///
/// # Errors
/// As [`to_arrow`]; `path` names the column in it.
pub fn to_arrow_type(ty: &Type, path: &str) -> Result<DataType> {
    Ok(match ty {
        Type::Primitive(primitive) => arrow_primitive(primitive, path)?,
        Type::Struct(fields) => DataType::Struct(arrow_fields(fields, path)?),
        Type::List(list) => DataType::List(arrow_field(&list.element_field, path)?),
        Type::Map(map) => {
            let entries = Fields::from(vec![
                arrow_field(&map.key_field, path)?,
                arrow_field(&map.value_field, path)?,
            ]);
            let entries = Field::new(MAP_ENTRIES, DataType::Struct(entries), false);
            DataType::Map(Arc::new(entries), false)
        }
    })
}

/// The id that a field carries in `PARQUET:field_id`, if it carries one.
pub fn field_id(field: &Field) -> Option<i32> {
    field
        .metadata()
        .get(PARQUET_FIELD_ID_META_KEY)
        .and_then(|id| id.parse().ok())
}

/// An Iceberg schema for Arrow columns, with fresh ids from 1, breadth first as catalogs assign them.
///
/// Widening is applied where Iceberg has no such type: `Int8/16`, `UInt8/16` → `int`, `UInt32` →
/// `long`, `Float16` → `float`, `Utf8View` and `LargeUtf8` → `string`, timestamps in s and ms → µs,
/// timestamps of any zone → UTC (the instant stays), dictionaries → values.
///
/// # Errors
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) naming the column for types without Iceberg form
/// (`UInt64`, `Interval`, …), duplicate names.
pub fn from_arrow(schema: &ArrowSchema) -> Result<Schema> {
    let mut ids = FreshIds { last: 0 };
    let fields = ids.fields(schema.fields(), "")?;
    Schema::builder()
        .with_fields(fields)
        .build()
        .map_err(|error| {
            Error::invalid("the columns do not make a table schema").source_error(error)
        })
}

fn arrow_fields(fields: &StructType, path: &str) -> Result<Fields> {
    fields
        .fields()
        .iter()
        .map(|field| arrow_field(field, path))
        .collect()
}

fn arrow_field(field: &NestedFieldRef, parent: &str) -> Result<FieldRef> {
    let ty = to_arrow_type(&field.field_type, &below(parent, &field.name))?;
    let mut metadata =
        HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_string(), field.id.to_string())]);
    if matches!(*field.field_type, Type::Primitive(PrimitiveType::Uuid)) {
        metadata.insert(EXTENSION_NAME.to_string(), UUID_EXTENSION.to_string());
    }
    Ok(Arc::new(
        Field::new(&field.name, ty, !field.required).with_metadata(metadata),
    ))
}

fn arrow_primitive(ty: &PrimitiveType, path: &str) -> Result<DataType> {
    let unsupported =
        || Error::unsupported(format!("the type {ty} has no Arrow form")).with("column", path);
    Ok(match ty {
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Int => DataType::Int32,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        PrimitiveType::Decimal { precision, scale } => {
            let precision = u8::try_from(*precision).map_err(|_| unsupported())?;
            let scale = i8::try_from(*scale).map_err(|_| unsupported())?;
            if precision == 0 || precision > 38 || scale as i16 > i16::from(precision) {
                return Err(unsupported());
            }
            DataType::Decimal128(precision, scale)
        }
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        PrimitiveType::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        PrimitiveType::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())),
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Uuid => DataType::FixedSizeBinary(16),
        PrimitiveType::Fixed(length) => {
            DataType::FixedSizeBinary(i32::try_from(*length).map_err(|_| unsupported())?)
        }
        PrimitiveType::Binary => DataType::Binary,
    })
}

fn below(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_string()
    } else {
        format!("{parent}.{name}")
    }
}

/// Hands out field ids: all fields of a struct first, then what is inside each of them.
struct FreshIds {
    last: i32,
}

impl FreshIds {
    fn next(&mut self) -> i32 {
        self.last += 1;
        self.last
    }

    fn fields(&mut self, fields: &Fields, parent: &str) -> Result<Vec<NestedFieldRef>> {
        let mut seen = HashSet::new();
        for field in fields {
            if !seen.insert(field.name()) {
                return Err(Error::invalid("a column name occurs twice")
                    .with("column", below(parent, field.name())));
            }
        }
        let ids: Vec<i32> = fields.iter().map(|_| self.next()).collect();
        fields
            .iter()
            .zip(ids)
            .map(|(field, id)| {
                let ty = self.ty(field, &below(parent, field.name()))?;
                Ok(Arc::new(NestedField::new(
                    id,
                    field.name(),
                    ty,
                    !field.is_nullable(),
                )))
            })
            .collect()
    }

    fn ty(&mut self, field: &Field, path: &str) -> Result<Type> {
        match field.data_type() {
            DataType::Struct(fields) => {
                Ok(Type::Struct(StructType::new(self.fields(fields, path)?)))
            }
            DataType::List(element)
            | DataType::LargeList(element)
            | DataType::ListView(element)
            | DataType::LargeListView(element)
            | DataType::FixedSizeList(element, _) => {
                let id = self.next();
                let ty = self.ty(element, &below(path, "element"))?;
                Ok(Type::List(ListType::new(Arc::new(
                    NestedField::list_element(id, ty, !element.is_nullable()),
                ))))
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(pair) = entries.data_type() else {
                    return Err(no_form(field.data_type(), path));
                };
                let [key, value] = pair.as_ref() else {
                    return Err(no_form(field.data_type(), path));
                };
                let (key_id, value_id) = (self.next(), self.next());
                let key_type = self.ty(key, &below(path, "key"))?;
                let value_type = self.ty(value, &below(path, "value"))?;
                Ok(Type::Map(MapType::new(
                    Arc::new(NestedField::map_key_element(key_id, key_type)),
                    Arc::new(NestedField::map_value_element(
                        value_id,
                        value_type,
                        !value.is_nullable(),
                    )),
                )))
            }
            DataType::FixedSizeBinary(16) if is_uuid(field) => {
                Ok(Type::Primitive(PrimitiveType::Uuid))
            }
            other => primitive_of(other, path).map(Type::Primitive),
        }
    }
}

fn no_form(ty: &DataType, path: &str) -> Error {
    Error::invalid(format!("the Arrow type {ty} has no Iceberg form")).with("column", path)
}

fn primitive_of(ty: &DataType, path: &str) -> Result<PrimitiveType> {
    Ok(match ty {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => {
            PrimitiveType::Int
        }
        DataType::Int64 | DataType::UInt32 => PrimitiveType::Long,
        DataType::UInt64 => {
            return Err(
                no_form(ty, path).help("cast it to a signed 64-bit integer or to DECIMAL(20, 0)")
            );
        }
        DataType::Float16 | DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            let scale = u32::try_from(*scale).map_err(|_| no_form(ty, path))?;
            if *precision > 38 || scale > u32::from(*precision) {
                return Err(no_form(ty, path).help("decimals have at most 38 digits"));
            }
            PrimitiveType::Decimal {
                precision: u32::from(*precision),
                scale,
            }
        }
        DataType::Date32 | DataType::Date64 => PrimitiveType::Date,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Microsecond) => PrimitiveType::Time,
        DataType::Timestamp(TimeUnit::Nanosecond, None) => PrimitiveType::TimestampNs,
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => PrimitiveType::TimestamptzNs,
        DataType::Timestamp(_, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PrimitiveType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => PrimitiveType::Binary,
        DataType::FixedSizeBinary(length) => {
            PrimitiveType::Fixed(u64::try_from(*length).map_err(|_| no_form(ty, path))?)
        }
        DataType::Dictionary(_, values) => return primitive_of(values, path),
        DataType::RunEndEncoded(_, values) => return primitive_of(values.data_type(), path),
        DataType::Null => {
            return Err(no_form(ty, path).help("the column has only NULLs; cast it to a type"));
        }
        _ => return Err(no_form(ty, path)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_type() -> Schema {
        let primitives = [
            PrimitiveType::Boolean,
            PrimitiveType::Int,
            PrimitiveType::Long,
            PrimitiveType::Float,
            PrimitiveType::Double,
            PrimitiveType::Decimal {
                precision: 38,
                scale: 10,
            },
            PrimitiveType::Date,
            PrimitiveType::Time,
            PrimitiveType::Timestamp,
            PrimitiveType::Timestamptz,
            PrimitiveType::TimestampNs,
            PrimitiveType::TimestamptzNs,
            PrimitiveType::String,
            PrimitiveType::Uuid,
            PrimitiveType::Fixed(7),
            PrimitiveType::Binary,
        ];
        let mut fields: Vec<NestedFieldRef> = primitives
            .into_iter()
            .zip(1..)
            .map(|(ty, id)| {
                NestedField::new(id, format!("p{id}"), Type::Primitive(ty), id % 2 == 0).into()
            })
            .collect();
        let inner = StructType::new(vec![
            NestedField::required(20, "u", Type::Primitive(PrimitiveType::Uuid)).into(),
            NestedField::optional(21, "t", Type::Primitive(PrimitiveType::Timestamptz)).into(),
        ]);
        fields.push(NestedField::optional(17, "s", Type::Struct(inner.clone())).into());
        fields.push(
            NestedField::required(
                18,
                "l",
                Type::List(ListType::new(
                    NestedField::list_element(22, Type::Primitive(PrimitiveType::Uuid), true)
                        .into(),
                )),
            )
            .into(),
        );
        fields.push(
            NestedField::optional(
                19,
                "m",
                Type::Map(MapType::new(
                    NestedField::map_key_element(23, Type::Primitive(PrimitiveType::String)).into(),
                    NestedField::map_value_element(
                        24,
                        Type::Struct(StructType::new(vec![
                            NestedField::optional(25, "x", Type::Primitive(PrimitiveType::Int))
                                .into(),
                        ])),
                        false,
                    )
                    .into(),
                )),
            )
            .into(),
        );
        Schema::builder().with_fields(fields).build().unwrap()
    }

    #[test]
    fn every_type_survives_the_way_to_arrow_and_back() {
        let schema = every_type();
        let arrow = to_arrow(&schema).unwrap();
        let back = from_arrow(&arrow).unwrap();
        assert_eq!(back.as_struct(), schema.as_struct());
    }

    #[test]
    fn nested_fields_carry_their_ids_and_zones_are_utc() {
        let arrow = to_arrow(&every_type()).unwrap();
        assert_eq!(field_id(arrow.field_with_name("m").unwrap()), Some(19));
        let DataType::Map(entries, false) = arrow.field_with_name("m").unwrap().data_type() else {
            panic!("not a map");
        };
        let DataType::Struct(pair) = entries.data_type() else {
            panic!("no entries");
        };
        assert_eq!(
            pair.iter()
                .map(|f| (f.name().as_str(), field_id(f), f.is_nullable()))
                .collect::<Vec<_>>(),
            [("key", Some(23), false), ("value", Some(24), true)]
        );
        let DataType::List(element) = arrow.field_with_name("l").unwrap().data_type() else {
            panic!("not a list");
        };
        assert_eq!(
            (element.name().as_str(), field_id(element)),
            ("element", Some(22))
        );
        assert_eq!(
            arrow.field_with_name("p10").unwrap().data_type(),
            &DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
        );
    }

    #[test]
    fn narrower_arrow_types_are_widened() {
        let dictionary =
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::LargeUtf8));
        let cases = [
            (DataType::Int8, PrimitiveType::Int),
            (DataType::UInt16, PrimitiveType::Int),
            (DataType::UInt32, PrimitiveType::Long),
            (DataType::Float16, PrimitiveType::Float),
            (DataType::Utf8View, PrimitiveType::String),
            (dictionary, PrimitiveType::String),
            (DataType::BinaryView, PrimitiveType::Binary),
            (DataType::Time32(TimeUnit::Second), PrimitiveType::Time),
            (
                DataType::Timestamp(TimeUnit::Millisecond, None),
                PrimitiveType::Timestamp,
            ),
            (
                DataType::Timestamp(TimeUnit::Second, Some("Europe/Berlin".into())),
                PrimitiveType::Timestamptz,
            ),
        ];
        for (arrow, iceberg) in cases {
            let schema = ArrowSchema::new(vec![Field::new("c", arrow.clone(), true)]);
            let schema = from_arrow(&schema).unwrap();
            assert_eq!(
                *schema.as_struct().fields()[0].field_type,
                Type::Primitive(iceberg),
                "{arrow}"
            );
        }
    }

    #[test]
    fn types_without_iceberg_form_are_refused_with_their_column() {
        let inner = Fields::from(vec![Field::new("n", DataType::UInt64, true)]);
        let schema = ArrowSchema::new(vec![Field::new("s", DataType::Struct(inner), true)]);
        let error = from_arrow(&schema).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("column: s.n"), "{error}");
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        let field = Field::new("c", DataType::Int32, true);
        let error = from_arrow(&ArrowSchema::new(vec![field.clone(), field])).unwrap_err();
        assert!(
            error.to_string().contains("occurs twice (column: c)"),
            "{error}"
        );
    }
}
