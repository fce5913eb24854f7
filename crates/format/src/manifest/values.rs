//! Values of manifests and manifest lists, each as one of the types that Avro may have it in; none
//! where it is NULL. All of them fail with [`Corrupt`](crate::ErrorKind::Corrupt).

use crate::avro::{Form, Input, Shape};
use crate::{Error, Result};

#[inline]
pub(super) fn long(input: &mut Input<'_>, shape: &Shape) -> Result<Option<i64>> {
    match input.variant(shape)?.form {
        Form::Null => Ok(None),
        Form::Int | Form::Long => Ok(Some(input.long()?)),
        _ => Err(unexpected("a number")),
    }
}

#[inline]
pub(super) fn int(input: &mut Input<'_>, shape: &Shape) -> Result<Option<i32>> {
    long(input, shape)?.map(narrow).transpose()
}

pub(super) fn narrow(value: i64) -> Result<i32> {
    i32::try_from(value).map_err(|_| {
        Error::corrupt("a number of the manifest is out of range").with("number", value)
    })
}

pub(super) fn count(input: &mut Input<'_>, shape: &Shape, name: &'static str) -> Result<u64> {
    let value = required(long(input, shape)?, name)?;
    u64::try_from(value)
        .map_err(|_| Error::corrupt("a count of the manifest is negative").with(name, value))
}

pub(super) fn boolean(input: &mut Input<'_>, shape: &Shape) -> Result<Option<bool>> {
    match input.variant(shape)?.form {
        Form::Null => Ok(None),
        Form::Boolean => Ok(Some(input.array::<1>()? != [0])),
        _ => Err(unexpected("a truth value")),
    }
}

pub(super) fn bytes<'a>(input: &mut Input<'a>, shape: &Shape) -> Result<Option<&'a [u8]>> {
    match input.variant(shape)?.form {
        Form::Null => Ok(None),
        Form::Bytes | Form::String => Ok(Some(input.bytes()?)),
        Form::Fixed(length) => Ok(Some(input.take(length)?)),
        _ => Err(unexpected("bytes")),
    }
}

pub(super) fn text<'a>(input: &mut Input<'a>, shape: &Shape) -> Result<Option<&'a str>> {
    match input.variant(shape)?.form {
        Form::Null => Ok(None),
        Form::String => Ok(Some(utf8(input.bytes()?)?)),
        _ => Err(unexpected("a text")),
    }
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes)
        .map_err(|error| Error::corrupt("a text of the manifest is no UTF-8").source_error(error))
}

pub(super) fn required<T>(value: Option<T>, field: &'static str) -> Result<T> {
    value.ok_or_else(|| {
        Error::corrupt("an entry of the manifest lacks a field").with("field", field)
    })
}

pub(super) fn impossible(error: iceberg::Error) -> Error {
    Error::corrupt("a field of the manifest has a value that it cannot have").source_error(error)
}

pub(super) fn unexpected(expected: &'static str) -> Error {
    Error::corrupt("a field of the manifest is of another type").with("expected", expected)
}

/// The values of an array.
pub(super) fn list<T>(
    input: &mut Input<'_>,
    shape: &Shape,
    convert: impl Fn(i64) -> Result<T>,
) -> Result<Option<Vec<T>>> {
    let shape = input.variant(shape)?;
    let item = match &shape.form {
        Form::Null => return Ok(None),
        Form::Array(item) => item,
        _ => return Err(unexpected("an array")),
    };
    let mut found = Vec::new();
    input.items(|input| {
        let value = required(long(input, item)?, "element")?;
        found.push(convert(value)?);
        Ok(())
    })?;
    Ok(Some(found))
}
