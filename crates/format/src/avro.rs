//! Avro files, checked before they are decoded.
//!
//! The decoder of manifests believes what a file says of itself: it reserves memory for as many items
//! as an array claims to have, fills items that the file does not have with NULL, follows a type that
//! holds itself, and takes a file that ends within a count for one that ends before it. Memory that
//! cannot be had and a stack without end kill the process, which no caller can turn into an error. So
//! the file is walked first, by its own schema and without keeping anything: every count must fit into
//! the bytes that follow it, and every block must hold what it counts and no more (Avro specification,
//! "Object Container Files" and "Binary Encoding").
//!
//! Blocks are looked into where they are not compressed or compressed with deflate, which is what
//! engines write; of others only the frame is checked.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::Arc;

use serde_json::Value;

use crate::{Error, Result};

const MAGIC: &[u8] = b"Obj\x01";
/// Behind the header and behind each block.
const MARKER: usize = 16;
/// The decoder takes no block of more bytes.
const GREATEST_BLOCK: u64 = 512 * 1024 * 1024;
/// Types within types. Manifests have less than ten.
const GREATEST_DEPTH: usize = 64;
/// All types, those in a type that is used twice counted twice. Manifests have some hundred, and two
/// for each partition field.
const GREATEST_SCHEMA: usize = 20_000;

/// Checks a file.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt), without the path.
pub(crate) fn check(file: &[u8]) -> Result<()> {
    let mut input = Input(file);
    if input.take(MAGIC.len())? != MAGIC {
        return Err(Error::corrupt(
            "the file does not begin with Avro's magic bytes",
        ));
    }
    let (mut schema, mut codec) = (None, None);
    input.items(|input| {
        let (key, value) = (input.bytes()?, input.bytes()?);
        match key {
            b"avro.schema" => schema = Some(value),
            b"avro.codec" => codec = Some(value),
            _ => {}
        }
        Ok(())
    })?;
    let schema = schema.ok_or_else(|| Error::corrupt("the Avro file has no schema"))?;
    let schema: Value = serde_json::from_slice(schema).map_err(|error| {
        Error::corrupt("the schema of the Avro file is no valid JSON").source_error(error)
    })?;
    let shape = Names::default().shape(&schema, "")?;
    if shape.least == 0 {
        return Err(Error::corrupt("the values of the Avro file have no bytes"));
    }
    input.take(MARKER)?;
    while !input.0.is_empty() {
        let count = input.long()?;
        let size = input.long()?;
        let size = usize::try_from(size).map_err(|_| impossible("size", size))?;
        let block = input.take(size)?;
        input.take(MARKER)?;
        match codec {
            None | Some(b"null") => check_block(&shape, count, block)?,
            Some(b"deflate") => check_block(&shape, count, &inflated(block)?)?,
            Some(_) => {}
        }
    }
    Ok(())
}

fn check_block(shape: &Shape, count: i64, block: &[u8]) -> Result<()> {
    let mut input = Input(block);
    for _ in 0..input.fitting(count)? {
        input.skip(shape)?;
    }
    if !input.0.is_empty() {
        return Err(
            Error::corrupt("a block of the Avro file holds more values than it counts")
                .with("count", count)
                .with("bytes-left", input.0.len()),
        );
    }
    Ok(())
}

fn inflated(block: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    flate2::read::DeflateDecoder::new(block)
        .take(GREATEST_BLOCK + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Error::corrupt("a block of the Avro file cannot be decompressed").source_error(error)
        })?;
    if bytes.len() as u64 > GREATEST_BLOCK {
        return Err(Error::corrupt("a block of the Avro file is too large")
            .with("greatest-size", GREATEST_BLOCK));
    }
    Ok(bytes)
}

fn impossible(what: &'static str, found: i64) -> Error {
    Error::corrupt(format!(
        "a {what} in the Avro file is impossible: the bytes behind it are fewer, or it is negative"
    ))
    .with(what, found)
}

/// What is left of a file or of a block.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| Error::corrupt("the Avro file is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number in zigzag coding and of variable length.
    fn long(&mut self) -> Result<i64> {
        let mut bits = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.take(1)?[0];
            bits |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err(Error::corrupt("a number in the Avro file has no end"))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.long()?;
        let fits = usize::try_from(length).map_err(|_| impossible("length", length))?;
        self.take(fits).map_err(|_| impossible("length", length))
    }

    /// A count of things of one byte or more that follow.
    fn fitting(&self, count: i64) -> Result<usize> {
        let fits = usize::try_from(count).ok();
        fits.filter(|count| *count <= self.0.len())
            .ok_or_else(|| impossible("count", count))
    }

    /// The items of an array or a map, which come in blocks.
    fn items(&mut self, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                // The block's size in bytes follows, for those who skip it.
                self.long()?;
                count = count
                    .checked_neg()
                    .ok_or_else(|| impossible("count", count))?;
            }
            for _ in 0..self.fitting(count)? {
                each(self)?;
            }
        }
    }

    fn skip(&mut self, shape: &Shape) -> Result<()> {
        match &shape.form {
            Form::Bytes(count) => self.take(*count).map(drop),
            Form::Number => self.long().map(drop),
            Form::Text => self.bytes().map(drop),
            Form::Array(item) => self.items(|input| input.skip(item)),
            Form::Map(value) => self.items(|input| {
                input.bytes()?;
                input.skip(value)
            }),
            Form::Union(variants) => {
                let index = self.long()?;
                let variant = usize::try_from(index).ok().and_then(|at| variants.get(at));
                let variant = variant.ok_or_else(|| {
                    Error::corrupt("a value in the Avro file is of no type that its schema has")
                        .with("type", index)
                })?;
                self.skip(variant)
            }
            Form::Record(fields) => fields.iter().try_for_each(|field| self.skip(field)),
        }
    }
}

/// A type, as far as it says how many bytes a value has.
#[derive(Debug)]
struct Shape {
    form: Form,
    /// The bytes that a value has at least.
    least: usize,
    /// This type and all types in it.
    size: usize,
    /// How deep types lie in each other.
    depth: usize,
}

#[derive(Debug)]
enum Form {
    /// As many bytes.
    Bytes(usize),
    Number,
    /// A length and as many bytes.
    Text,
    Array(Arc<Shape>),
    Map(Arc<Shape>),
    Union(Vec<Arc<Shape>>),
    Record(Vec<Arc<Shape>>),
}

impl Shape {
    fn new(form: Form) -> Result<Arc<Self>> {
        let (least, inner) = match &form {
            Form::Bytes(count) => (*count, &[][..]),
            Form::Number | Form::Text => (1, &[][..]),
            Form::Array(inner) | Form::Map(inner) => (1, std::slice::from_ref(inner)),
            Form::Union(variants) => (1, &variants[..]),
            Form::Record(fields) => {
                let least = fields.iter().map(|field| field.least);
                (least.fold(0, usize::saturating_add), &fields[..])
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
struct Names(HashMap<String, Option<Arc<Shape>>>);

impl Names {
    /// The shape of a type in its JSON form. `namespace` is that of the type around it.
    fn shape(&mut self, ty: &Value, namespace: &str) -> Result<Arc<Shape>> {
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
                            let ty = field.get("type").ok_or_else(invalid)?;
                            self.shape(ty, &namespace)
                        });
                        Form::Record(fields.collect::<Result<_>>()?)
                    }
                    "fixed" => {
                        let size = inner("size")?.as_u64();
                        let size = size.and_then(|size| usize::try_from(size).ok());
                        Form::Bytes(size.ok_or_else(invalid)?)
                    }
                    _ => Form::Number,
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
        "null" => Some(Form::Bytes(0)),
        "boolean" => Some(Form::Bytes(1)),
        "int" | "long" => Some(Form::Number),
        "float" => Some(Form::Bytes(4)),
        "double" => Some(Form::Bytes(8)),
        "bytes" | "string" => Some(Form::Text),
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

#[cfg(test)]
mod tests;
