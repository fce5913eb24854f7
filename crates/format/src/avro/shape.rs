//! The schema of an Avro file, as far as its values are found by it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::{Error, Result};

/// Types within types. Manifests have less than ten.
pub(super) const GREATEST_DEPTH: usize = 64;
/// All types, those in a type that is used twice counted twice. Manifests have some hundred, and two
/// for each partition field.
pub(super) const GREATEST_SCHEMA: usize = 20_000;

/// A type.
#[derive(Debug)]
pub(crate) struct Shape {
    /// What its values are.
    pub(crate) form: Form,
    /// The bytes that a value has at least.
    pub(super) least: usize,
    /// This type and all types in it.
    size: usize,
    /// How deep types lie in each other.
    depth: usize,
}

/// What the values of a type are.
#[derive(Debug)]
pub(crate) enum Form {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum,
    Array(Arc<Shape>),
    Map(Arc<Shape>),
    Union(Vec<Arc<Shape>>),
    Record(Vec<Field>),
}

/// A field of a record.
#[derive(Debug)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    /// Its id in the table, where the writer put it (specification, "Appendix A", Avro).
    pub(crate) id: Option<i32>,
    /// Its type.
    pub(crate) shape: Arc<Shape>,
}

impl Shape {
    fn new(form: Form) -> Result<Arc<Self>> {
        let (least, inner): (usize, Vec<&Arc<Self>>) = match &form {
            Form::Null => (0, Vec::new()),
            Form::Float => (4, Vec::new()),
            Form::Double => (8, Vec::new()),
            Form::Fixed(count) => (*count, Vec::new()),
            Form::Boolean | Form::Int | Form::Long | Form::Enum | Form::Bytes | Form::String => {
                (1, Vec::new())
            }
            Form::Array(inner) | Form::Map(inner) => (1, vec![inner]),
            Form::Union(variants) => (1, variants.iter().collect()),
            Form::Record(fields) => {
                let least = fields.iter().map(|field| field.shape.least);
                let least = least.fold(0, usize::saturating_add);
                (least, fields.iter().map(|field| &field.shape).collect())
            }
        };
        let size = inner.iter().map(|shape| shape.size);
        let size = size.fold(1, usize::saturating_add);
        let depth = 1 + inner.iter().map(|shape| shape.depth).max().unwrap_or(0);
        if size > GREATEST_SCHEMA || depth > GREATEST_DEPTH {
            return Err(
                Error::corrupt("the schema of the Avro file has too many types")
                    .with("types", size)
                    .with("depth", depth),
            );
        }
        Ok(Arc::new(Self {
            form,
            least,
            size,
            depth,
        }))
    }
}

/// Types that have a name, by their full names; none for one that is being defined.
#[derive(Default)]
pub(super) struct Names(HashMap<String, Option<Arc<Shape>>>);

impl Names {
    /// The shape of a type in its JSON form. `namespace` is that of the type around it.
    pub(super) fn shape(&mut self, ty: &Value, namespace: &str) -> Result<Arc<Shape>> {
        let invalid = || {
            Error::corrupt("the schema of the Avro file is not valid").with("type", shortened(ty))
        };
        let object = match ty {
            Value::String(name) => {
                return match primitive(name) {
                    Some(form) => Shape::new(form),
                    None => self.named(name, namespace).cloned(),
                };
            }
            Value::Array(variants) => {
                let variants = variants
                    .iter()
                    .map(|variant| self.shape(variant, namespace));
                return Shape::new(Form::Union(variants.collect::<Result<_>>()?));
            }
            Value::Object(object) => object,
            _ => return Err(invalid()),
        };
        let inner = |key: &str| object.get(key).ok_or_else(invalid);
        let ty = inner("type")?;
        match ty.as_str() {
            Some("array") => {
                let item = self.shape(inner("items")?, namespace)?;
                // No bytes would bound their number.
                if item.least == 0 {
                    return Err(invalid());
                }
                Shape::new(Form::Array(item))
            }
            Some("map") => Shape::new(Form::Map(self.shape(inner("values")?, namespace)?)),
            Some(kind @ ("record" | "fixed" | "enum")) => {
                let (name, namespace) = full_name(object, namespace).ok_or_else(invalid)?;
                self.0.insert(name.clone(), None);
                let form = match kind {
                    "record" => {
                        let fields = inner("fields")?.as_array().ok_or_else(invalid)?;
                        let fields = fields.iter().map(|field| {
                            let name = field.get("name").and_then(Value::as_str);
                            let id = field.get("field-id").and_then(Value::as_i64);
                            let ty = field.get("type").ok_or_else(invalid)?;
                            Ok(Field {
                                name: name.ok_or_else(invalid)?.to_string(),
                                id: id.and_then(|id| i32::try_from(id).ok()),
                                shape: self.shape(ty, &namespace)?,
                            })
                        });
                        Form::Record(fields.collect::<Result<_>>()?)
                    }
                    "fixed" => {
                        let size = inner("size")?.as_u64();
                        let size = size.and_then(|size| usize::try_from(size).ok());
                        Form::Fixed(size.ok_or_else(invalid)?)
                    }
                    _ => Form::Enum,
                };
                let shape = Shape::new(form)?;
                self.0.insert(name, Some(shape.clone()));
                Ok(shape)
            }
            // A primitive type with attributes, or a type in an object of its own.
            _ => self.shape(ty, namespace),
        }
    }

    fn named(&self, name: &str, namespace: &str) -> Result<&Arc<Shape>> {
        let full = (!name.contains('.') && !namespace.is_empty())
            .then(|| format!("{namespace}.{name}"))
            .and_then(|full| self.0.get(&full));
        match full.or_else(|| self.0.get(name)) {
            Some(Some(shape)) => Ok(shape),
            Some(None) => {
                Err(Error::corrupt("a type of the Avro file holds itself").with("type", name))
            }
            None => Err(Error::corrupt(
                "the schema of the Avro file uses a type that it does not define",
            )
            .with("type", name)),
        }
    }
}

fn primitive(name: &str) -> Option<Form> {
    match name {
        "null" => Some(Form::Null),
        "boolean" => Some(Form::Boolean),
        "int" => Some(Form::Int),
        "long" => Some(Form::Long),
        "float" => Some(Form::Float),
        "double" => Some(Form::Double),
        "bytes" => Some(Form::Bytes),
        "string" => Some(Form::String),
        _ => None,
    }
}

/// The full name of a type, and the namespace of what is in it.
fn full_name(ty: &serde_json::Map<String, Value>, around: &str) -> Option<(String, String)> {
    let name = ty.get("name")?.as_str()?;
    if let Some((namespace, _)) = name.rsplit_once('.') {
        return Some((name.to_string(), namespace.to_string()));
    }
    let own = ty.get("namespace").and_then(Value::as_str);
    Some(match own.unwrap_or(around) {
        "" => (name.to_string(), String::new()),
        namespace => (format!("{namespace}.{name}"), namespace.to_string()),
    })
}

/// As much of a type as fits into a message.
fn shortened(ty: &Value) -> String {
    let text = ty.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
